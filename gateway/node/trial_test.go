package node

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sandgate/sandgate/compute/federate"
	"github.com/sandgate/sandgate/compute/federate/fit"
	"github.com/sandgate/sandgate/policies"
)

// juror is a domain that gives a verdict.
type juror struct {
	*domain
	party string
	mu    sync.Mutex
	asked []string
}

func (d *juror) Judge(_ context.Context, t *federate.Trial, brief []byte) (*federate.Signed, []policies.Reason) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = append(d.asked, t.Run+string(brief))
	text := []byte("verdict of " + d.party)
	sig, err := signer(d.party)(fit.VerdictBytes(text))
	if err != nil {
		return nil, []policies.Reason{{Code: "SIGN", ZH: "不", EN: "no"}}
	}
	return &federate.Signed{Text: text, Sig: sig}, nil
}

func trialOf(nonce string, brief []byte, change func(*federate.Trial)) *federate.Trial {
	t := &federate.Trial{V: federate.Version, Nonce: hash(nonce), Run: strings.Repeat("5", 32), Aggregator: "gateway", Receiver: "operator", Contributors: cities, Deadline: time.Now().Add(time.Minute).Unix(), Brief: federate.BriefDigest(brief)}
	if change != nil {
		change(t)
	}
	return t
}

// R39: contributors are asked for verdicts over the network and answer once; one that tries
// no models says so, signed, and one that dials again is asked again while the trial is open.
// What the hub did not sign, or is not for a node, it answers to nobody.
func TestR39_TrialsOverTheNetwork(t *testing.T) {
	var mu sync.Mutex
	said := map[string]Judgement{}
	hub := NewHub(HubConfig{Schemes: schemes, Sign: signer("gateway"), Verify: verify, Dir: t.TempDir(), Now: time.Now,
		Judged: func(_, party string, j Judgement) error {
			mu.Lock()
			defer mu.Unlock()
			said[party] = j
			return nil
		}})
	a := newAuthority(t, "ca")
	address := serve(t, a, func() *Hub { return hub })
	jurors := map[string]*juror{}
	run := func(party string) (stop func()) {
		j, err := OpenJournal(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		var d Domain = jurors[party]
		if party == "city_d" {
			d = jurors[party].domain // it tries no models
		}
		n := New(Config{Party: party, MinContributors: 3, Schemes: schemes, Sign: signer(party), Verify: verify, Journal: j, Domain: d, Now: time.Now, Logger: slog.New(slog.DiscardHandler)}, Remote(dial(t, a, address, a.pair(party))))
		ctx, cancel := context.WithCancel(t.Context())
		over := make(chan struct{})
		go func() { defer close(over); n.Run(ctx); j.Close() }()
		stop = sync.OnceFunc(func() { cancel(); <-over })
		t.Cleanup(stop)
		return stop
	}
	for _, party := range append([]string{"regulator"}, cities...) {
		jurors[party] = &juror{domain: &domain{}, party: party}
		if party != "city_c" {
			run(party)
		}
	}
	brief := []byte("brief")
	if _, err := hub.Try(trialOf("other brief", []byte("another"), nil), brief); err == nil {
		t.Error("a trial of another brief was asked")
	}
	if _, err := hub.Try(trialOf("few", brief, func(x *federate.Trial) { x.Contributors = cities[:2] }), brief); err == nil {
		t.Error("a trial of two was asked")
	}
	id, err := hub.Try(trialOf("one", brief, nil), brief)
	if err != nil {
		t.Fatal(err)
	}
	missing := func(want ...string) {
		t.Helper()
		for range 3000 {
			if st, err := hub.Trial(id); err != nil {
				t.Fatal(err)
			} else if slices.Equal(st.Missing, want) && st.Over == (len(want) == 0) {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		st, _ := hub.Trial(id)
		t.Fatalf("the trial waits for %v", st.Missing)
	}
	missing("city_c")
	if err := hub.As("city_a").Judge(t.Context(), id, Judgement{Verdict: &federate.Signed{Text: []byte("another")}}); err == nil {
		t.Error("a second verdict was taken")
	}
	if err := hub.As("regulator").Judge(t.Context(), id, Judgement{Verdict: &federate.Signed{Text: []byte("mine")}}); !errors.Is(err, ErrRound) {
		t.Errorf("a verdict of who was not asked: %v", err)
	}
	foreign := (&federate.TrialRefusal{V: federate.Version, Trial: id, From: "city_a", At: 1, Reasons: []policies.Reason{{Code: "NO", ZH: "不", EN: "no"}}}).Encode()
	if err := hub.As("city_c").Judge(t.Context(), id, Judgement{Refusal: &federate.Signed{Text: foreign}}); err == nil {
		t.Error("another's refusal was taken")
	}
	run("city_c") // it comes late, and is asked
	missing()
	mu.Lock()
	defer mu.Unlock()
	for _, city := range cities[:3] {
		if v := said[city].Verdict; v == nil || string(v.Text) != "verdict of "+city || len(jurors[city].asked) != 1 || jurors[city].asked[0] != strings.Repeat("5", 32)+"brief" {
			t.Errorf("%s: %+v", city, said[city])
		}
	}
	r := said["city_d"].Refusal
	if r == nil {
		t.Fatal("who tries no models gave a verdict")
	}
	if x, err := federate.DecodeTrialRefusal(r.Text); err != nil || x.Reasons[0].Code != "FEDERATION_KIND" || verify("city_d", r.Text, r.Sig) != nil {
		t.Errorf("%v %s", err, r.Text)
	}
	if len(jurors["regulator"].asked) != 0 {
		t.Error("the regulator was asked")
	}
}

// R39: a trial that its aggregator did not sign, of another name, party, brief or time is not
// put to the domain.
func TestR39_FalseTrials(t *testing.T) {
	d := &juror{domain: &domain{}, party: "city_a"}
	hub := NewHub(HubConfig{Schemes: schemes, Sign: signer("gateway"), Verify: verify, Dir: t.TempDir(), Now: time.Now})
	n := New(Config{Party: "city_a", Sign: signer("city_a"), Verify: verify, Domain: d, Now: time.Now, Logger: slog.New(slog.DiscardHandler)}, hub.As("city_a"))
	event := func(by string, change func(*federate.Trial), alter func(*Event)) Event {
		x := trialOf("one", []byte("brief"), change)
		sig, err := signer(by)(federate.SigningBytes(x.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		e := Event{Session: x.ID(), Trial: &federate.Signed{Text: x.Encode(), Sig: sig}, Brief: []byte("brief")}
		if alter != nil {
			alter(&e)
		}
		return e
	}
	for what, e := range map[string]Event{
		"another's signature": event("city_b", nil, nil),
		"another name":        event("gateway", nil, func(e *Event) { e.Session = hash("x") }),
		"another brief":       event("gateway", nil, func(e *Event) { e.Brief = []byte("brieg") }),
		"another party":       event("gateway", func(x *federate.Trial) { x.Contributors = cities[1:] }, nil),
		"too late":            event("gateway", func(x *federate.Trial) { x.Deadline = 1 }, nil),
		"unsorted":            event("gateway", func(x *federate.Trial) { x.Contributors = []string{"city_b", "city_a", "city_c"} }, nil),
		"another form":        event("gateway", nil, func(e *Event) { e.Trial.Text = append(e.Trial.Text, ' ') }),
	} {
		if err := n.judge(t.Context(), e); err == nil || len(d.asked) > 0 {
			t.Errorf("%s: %v, asked %d times", what, err, len(d.asked))
		}
	}
	if err := n.judge(t.Context(), event("gateway", nil, nil)); !errors.Is(err, ErrRound) || len(d.asked) != 1 {
		t.Errorf("control: %v, asked %d times", err, len(d.asked))
	}
}

// FuzzDecodeTrial: whatever the bytes are, what reads is written again as it was.
func FuzzDecodeTrial(f *testing.F) {
	f.Add(trialOf("one", []byte("brief"), nil).Encode())
	f.Add((&federate.TrialRefusal{V: federate.Version, Trial: hash("x"), From: "city_a", At: 1, Reasons: []policies.Reason{{Code: "NO", ZH: "不", EN: "no"}}}).Encode())
	f.Fuzz(func(t *testing.T, text []byte) {
		if x, fault := federate.DecodeTrial(text); fault == nil && string(x.Encode()) != string(text) {
			t.Error("a trial has two spellings")
		}
		if x, err := federate.DecodeTrialRefusal(text); err == nil && string(x.Encode()) != string(text) {
			t.Error("a refusal has two spellings")
		}
	})
}
