package node

import (
	"context"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/federate"
	"github.com/sandgate/sandgate/compute/federate/fit"
	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/policies"
)

// shop is the catalogue entry that all domains have of their own.
func shop() policies.Entry {
	number := func(name string) policies.Column {
		return policies.Column{Name: name, Type: algebra.Int, Bounds: &policies.Bounds{Lo: "0", Hi: "999"}}
	}
	d := policies.Dataset{ID: "shop", Unit: &policies.Unit{Column: "person", Kind: "person"}, Columns: []policies.Column{{Name: "person", Type: algebra.Text}, number("x"), number("y")}}
	return policies.Entry{Dataset: d, Department: "trade", Masked: true, Levels: map[string]int{"x": 3}, Rule: &policies.DisclosureRule{Mode: "dp", MaxRows: 1}}
}

// buyers have y near half of x.
func buyers(n int, seed uint64) *model.Data {
	r := rand.New(rand.NewPCG(seed, 3))
	d := &model.Data{Count: n, Bins: make([][]uint16, 1), Values: make([][]float32, 1)}
	for u := range n {
		x := float32(2*r.Float64() - 1)
		d.Units, d.Bins[0], d.Values[0] = append(d.Units, int32(u)), append(d.Bins[0], 0), append(d.Values[0], x)
		d.Label = append(d.Label, max(-1, min(1, x/2+float32(r.NormFloat64()/10))))
	}
	return d
}

// trainee is a domain that takes part in trainings: of a brief it believes nothing that it
// can find out by itself.
type trainee struct {
	party   string
	entry   *policies.Entry // nil at the regulator
	split   model.Split
	mu      sync.Mutex
	history []fit.Round
	steps   map[string]*fit.Step
	models  map[string]*fit.Model
	sums    map[string][]int64
}

func (d *trainee) Decide(ctx context.Context, p *federate.Proposal, _ federate.Signed, brief []byte) (string, []policies.Reason) {
	refuse := func(code string) (string, []policies.Reason) {
		return "", []policies.Reason{{Code: code, ZH: "不", EN: "no"}}
	}
	b, f := federate.DecodeBrief(brief)
	if f != nil || p.Brief != federate.BriefDigest(brief) || b.Model == nil {
		return refuse("BRIEF")
	}
	step, err := fit.DecodeBrief(b.Model.Step)
	if err != nil {
		return refuse("STEP")
	}
	design := step.Design
	if d.entry != nil {
		if design, err = model.NewDesign(step.Design.Spec, *d.entry); err != nil {
			return refuse("DESIGN")
		}
	}
	m, err := fit.Of(step, b.Terms, design)
	if err != nil {
		return refuse("TERMS")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if r := m.Admit(d.history, step.Answers); r != nil {
		return "", []policies.Reason{*r}
	}
	next, _, err := m.Next(ctx, step.Answers)
	if err != nil || next == nil {
		return refuse("NEXT")
	}
	if next.Schema == p.Schema && !next.Fits(p) {
		return refuse("FITS")
	}
	d.steps[p.Session()], d.models[p.Session()] = next, m
	return next.Schema, nil
}

func (d *trainee) of(session string) (*fit.Step, *fit.Model) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.steps[session], d.models[session]
}

func (d *trainee) Values(_ context.Context, p *federate.Proposal) (func([]int64) error, error) {
	s, m := d.of(p.Session())
	data := d.split.Train
	if s.Pass.Kind == model.PassScores {
		data = d.split.Held
	}
	sums, err := model.Sums(data, m.Design(), s.Pass, nil)
	if err != nil {
		return nil, err
	}
	cells, err := s.Cells(sums)
	return func(out []int64) error { cells = cells[copy(out, cells):]; return nil }, err
}

func (d *trainee) Answering(context.Context, string, *federate.Proposal, string) error { return nil }

func (d *trainee) Released(_ context.Context, session string, _ *federate.Proposal, part []int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sums[session] = append(d.sums[session], part...)
	return nil
}

func (d *trainee) Deliver(_ context.Context, session string, p *federate.Proposal, values string) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	x := &federate.Delivery{V: federate.Version, Session: session, From: d.party, Receiver: p.Receiver, Request: "request", At: time.Now().Unix(), Brief: p.Brief, Values: values, Release: fit.EncodeValues(d.sums[session])}
	return x.Encode(), nil
}

func (d *trainee) Ended(session string, _ *federate.Proposal, r *federate.Result, _ *federate.Fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := d.steps[session]; s != nil {
		one := fit.Round{Session: session, Pass: s.Index}
		if r != nil {
			one.Values = r.Values
		}
		d.history = append(d.history, one)
	}
}

// rounds is how many a domain has a record of.
func (d *trainee) rounds() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.history)
}

// R39: four domains and a regulator train a linear model round by round through a hub: each
// decides and computes from the brief, its own catalogue and its own records. A hub that
// changes what a round gave is refused by every domain; control: the same brief unchanged
// goes on.
func TestR39_DomainsTrainAModel(t *testing.T) {
	domains := map[string]*trainee{}
	entry := shop()
	var mu sync.Mutex
	delivered := map[string]*federate.Delivery{}
	hub := NewHub(HubConfig{Schemes: schemes, Sign: signer("gateway"), Verify: verify, Dir: t.TempDir(), Now: time.Now,
		Deliver: func(session string, _ *federate.Proposal, d *federate.Delivery, _ federate.Signed) error {
			mu.Lock()
			defer mu.Unlock()
			delivered[session] = d
			return nil
		}})
	for i, party := range append([]string{"regulator"}, cities...) {
		d := &trainee{party: party, steps: map[string]*fit.Step{}, models: map[string]*fit.Model{}, sums: map[string][]int64{}}
		if party != "regulator" {
			d.entry, d.split = &entry, model.Split{Train: buyers(800+100*i, uint64(i)), Held: buyers(300, uint64(50+i))}
		}
		domains[party] = d
		j, err := OpenJournal(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		n := New(Config{Party: party, MinContributors: 3, Schemes: schemes, Sign: signer(party), Verify: verify, Journal: j, Domain: d, Now: time.Now, Logger: slog.New(slog.DiscardHandler)}, hub.As(party))
		ctx, stop := context.WithCancel(t.Context())
		over := make(chan struct{})
		go func() { defer close(over); n.Run(ctx); j.Close() }()
		t.Cleanup(func() { stop(); <-over })
	}
	spec := policies.ModelSpec{Dataset: "shop", Family: policies.FamilyLinear, Label: policies.ModelLabel{Column: "y"}, Features: []policies.ModelFeature{{Column: "x"}}, Private: true, Rho: "0.1", RhoEvaluation: "0.05", Release: policies.ReleaseParameters}
	design, err := model.NewDesign(spec, entry)
	if err != nil {
		t.Fatal(err)
	}
	common := federate.Terms{MaxUnits: 1 << 12, Overlap: 1, Period: "2026-10"}
	m, err := fit.New(design, fit.Terms{Terms: common, Decryptors: 3, Retries: 1}, strings.Repeat("5", 32))
	if err != nil {
		t.Fatal(err)
	}
	ask := func(nonce string, answers []fit.Answer) (string, State) {
		t.Helper()
		step, _, err := m.Next(t.Context(), answers)
		if err != nil {
			t.Fatal(err)
		}
		text, err := m.Brief(answers).Encode()
		if err != nil {
			t.Fatal(err)
		}
		brief := (&federate.Brief{V: federate.Version, Kind: federate.BriefModel, Salt: hash("salt"), Region: "region", Dataset: "shop", Purpose: "trade", Asked: federate.Asked{Request: []byte("signed")}, Terms: common, Model: &federate.ModelBrief{Step: text}}).Encode()
		p := proposal(federate.Mask, nonce)
		p.Query, p.Schema, p.Columns, p.Brief = step.Query, step.Schema, step.Columns, federate.BriefDigest(brief)
		session, err := hub.Propose(p, brief)
		if err != nil {
			t.Fatal(err)
		}
		for {
			st, err := hub.State(session)
			if err != nil {
				t.Fatal(err)
			}
			if st.Phase == federate.Done || st.Phase == federate.Failed {
				return session, st
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	var answers []fit.Answer
	for i := range m.Rounds() {
		if i == 1 { // the hub lies about the first round
			forged := slices.Clone(answers)
			forged[0].Values = slices.Clone(forged[0].Values)
			forged[0].Values[2] += 1 << 12
			if _, st := ask("forged", forged); st.Phase != federate.Failed || st.Fault.Reason.Code != "FEDERATION_DECLINED" || !strings.Contains(st.Fault.Reason.HintEN, fit.CodeHistory) {
				t.Fatalf("a round on a changed answer: %s %v", st.Phase, st.Fault)
			}
		}
		session, st := ask(string(rune('a'+i)), answers)
		if st.Phase != federate.Done {
			t.Fatal(st.Fault)
		}
		mu.Lock()
		d := delivered[session]
		mu.Unlock()
		values, err := fit.DecodeValues(d.Release)
		if err != nil || d.Values != federate.ValuesDigest(values) {
			t.Fatalf("the delivery is not the result's: %v", err)
		}
		answers = append(answers, fit.Answer{Session: session, Values: values})
		for _, x := range domains { // a domain may hear of the end after the hub
			for start := time.Now(); x.rounds() <= i && time.Since(start) < 30*time.Second; time.Sleep(time.Millisecond) {
			}
		}
	}
	_, out, err := m.Next(t.Context(), answers)
	if err != nil {
		t.Fatal(err)
	}
	if c := out.Parameters.Coefficients[0]; math.Abs(c[0]) > 0.05 || math.Abs(c[1]-0.5) > 0.1 {
		t.Errorf("y = %v + %v·x, want 0 + 0.5·x", c[0], c[1])
	}
}
