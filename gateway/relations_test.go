package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/compute/release"
	"github.com/sandgate/sandgate/compute/twin"
	"github.com/sandgate/sandgate/internal/durable"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
)

// relatable is a span over two tables made up of the same people, with their twins and its
// exact sums.
func relatable(t testing.TB) (twin.Span, []*twin.Twin, func(twin.Pass) ([]int64, error)) {
	span, twins, of := relatableBut(t)
	return span, twins, of(-1)
}

// relatableBut is relatable with the sums of all people but one.
func relatableBut(t testing.TB) (twin.Span, []*twin.Twin, func(but int) func(twin.Pass) ([]int64, error)) {
	t.Helper()
	codes := func(n int) (out []policies.Code) {
		for i := range n {
			out = append(out, policies.Code{Value: fmt.Sprint("c", i)})
		}
		return out
	}
	var members []twin.Member
	var twins []*twin.Twin
	var rows []func(but int) twin.Joined
	for i, id := range []string{"firms", "people"} {
		e := policies.Entry{Department: "bureau", Masked: true, Levels: map[string]int{"a": 2}, Rule: &policies.DisclosureRule{Mode: "dp", MaxRows: 5}, Dataset: policies.Dataset{
			ID: id, Unit: &policies.Unit{Column: "person", Kind: "person"}, OneRow: true, Columns: []policies.Column{
				{Name: "person", Type: algebra.Text}, {Name: "a", Type: algebra.Text, Codes: codes(4)}, {Name: "b", Type: algebra.Text, Codes: codes(3)},
			}}}
		s, err := twin.NewSchema(twin.Spec{Dataset: id, Rho: "0.1"}, e)
		if err != nil {
			t.Fatal(err)
		}
		of := func(but int) twin.Joined {
			enc, err := twin.NewEncoder(s, bytes.Repeat([]byte{7}, 32))
			if err != nil {
				t.Fatal(err)
			}
			batch := model.Batch{Columns: make([]model.Column, 2)}
			for u := range 6000 {
				if i == 0 && u%4 == 3 || u == but {
					continue
				}
				batch.Units = append(batch.Units, uint64(u))
				for c, n := range []int{4, 3} {
					batch.Columns[c].Texts = append(batch.Columns[c].Texts, fmt.Sprint("c", u%n))
				}
			}
			if err := enc.Add(batch); err != nil {
				t.Fatal(err)
			}
			return enc.FinishJoined()
		}
		joined := of(-1)
		noisy := twin.Noised(twin.Local(joined.Data, s), func(sums []int64, norm int64, rho budget.Nano) ([]int64, error) {
			return release.Sums(sums, norm, rho, release.NewSource())
		})
		x, err := twin.Learn(t.Context(), s, noisy, nil)
		if err != nil {
			t.Fatal(err)
		}
		members, twins, rows = append(members, twin.Member{Entry: e, Schema: s, Twin: x}), append(twins, x), append(rows, of)
	}
	span, err := twin.NewSpan(members, "0.02")
	if err != nil {
		t.Fatal(err)
	}
	return span, twins, func(but int) func(twin.Pass) ([]int64, error) {
		var data []twin.Joined
		for _, of := range rows {
			data = append(data, of(but))
		}
		return func(p twin.Pass) ([]int64, error) { return twin.SpanSums(data, span, p) }
	}
}

// R29: wherever keeping what relations are learned of fails, the next start goes on: no
// answer that was durable is drawn again, and the relations are those that the kept answers
// give.
func TestR29_FaultWhileRelationsAreLearned(t *testing.T) {
	span, twins, exact := relatable(t)
	for _, step := range []string{"model.key.write", "model.mend", "model.answer", "model.write", "model.rename", "model.syncdir"} {
		for _, when := range []string{"/before", "/after"} {
			for _, nth := range []int{1, 2} {
				if nth > 1 && step != "model.answer" {
					continue
				}
				t.Run(fmt.Sprint(step, when, nth), func(t *testing.T) {
					d := keeping(t)
					asked := 0
					learn := func() (document []byte, err error) {
						kept, err := d.openModel("r1", true)
						if err != nil {
							return nil, err
						}
						defer kept.close()
						return learnRelations(t.Context(), func(p twin.Pass) ([]int64, error) { asked++; return exact(p) }, kept, span, twins, func(engine.ModelProgress) {})
					}
					met, seen := false, 0
					durable.Inject(func(p string) error {
						if p == step+when {
							if seen++; seen == nth {
								met = true
								return errDisk
							}
						}
						return nil
					})
					t.Cleanup(func() { durable.Inject(nil) })
					if _, err := learn(); !errors.Is(err, errDisk) {
						t.Fatal(err)
					}
					if durable.Inject(nil); !met {
						t.Fatal("the point was not met")
					}
					before := answersOf(t, d, "r1")
					first := asked
					document, err := learn()
					if err != nil {
						t.Fatal(err)
					}
					if more := asked - first; more != 2-len(before) {
						t.Errorf("%d answers were durable, and %d passes were asked again", len(before), more)
					}
					var sums [][]int64
					for i, x := range answersOf(t, d, "r1") {
						sums = append(sums, x.sums)
						if i < len(before) && !slices.Equal(x.sums, before[i].sums) {
							t.Errorf("answer %d was drawn again", i)
						}
					}
					want, err := twin.LearnRelations(t.Context(), span, twins, twin.Replay(sums, nil), nil)
					if err != nil {
						t.Fatal(err)
					}
					if text, err := want.Encode(); err != nil || !bytes.Equal(text, document) {
						t.Error("the relations are not those that the kept answers give")
					}
				})
			}
		}
	}
}

// answersOf are the answered passes that are kept of one learning.
func answersOf(t *testing.T, d *Domain, id string) []answered {
	t.Helper()
	kept, err := d.openModel(id, false)
	if err != nil {
		return nil
	}
	defer kept.close()
	a, err := kept.answers()
	if err != nil {
		t.Fatal(err)
	}
	if err := a.close(); err != nil {
		t.Fatal(err)
	}
	return a.all
}

// R02: nothing but a span's plan is answered, no answer is exact, and what was answered for
// one span is not given for another. Without the plan's check the dearer pass would have
// been answered: control.
func TestR02_RelationsBuyNoPrecision(t *testing.T) {
	span, _, exact := relatable(t)
	d := keeping(t)
	kept, err := d.openModel("r1", true)
	if err != nil {
		t.Fatal(err)
	}
	journal, err := kept.answers()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = journal.close() }()
	asked := 0
	count := func(p twin.Pass) ([]int64, error) { asked++; return exact(p) }
	o := &spanOracle{exact: count, span: span, digest: span.Digest(), kept: journal}
	plan := span.Plan().Passes
	for what, change := range map[string]func(*twin.Pass){
		"dearer": func(p *twin.Pass) { p.Rho *= 10 }, "free": func(p *twin.Pass) { p.Rho = 0 }, "of a lower norm": func(p *twin.Pass) { p.Norm-- },
		"finer": func(p *twin.Pass) { p.Step /= 2 }, "of another kind": func(p *twin.Pass) { p.Kind = twin.PassTies }, "narrower": func(p *twin.Pass) { p.Width-- },
		"a twin's": func(p *twin.Pass) { p.Kind = twin.PassFine },
	} {
		p := plan[0]
		change(&p)
		if _, err := o.Sums(context.Background(), p); err == nil || asked != 0 {
			t.Errorf("a pass that is %s is answered", what)
		}
	}
	if _, err := count(plan[0]); err != nil {
		t.Errorf("the worker itself would refuse it, so that the plan is not what did: %v", err)
	}
	got, err := o.Sums(context.Background(), plan[0])
	if err != nil {
		t.Fatal(err)
	}
	if sums, _ := exact(plan[0]); slices.Equal(sums, got) {
		t.Error("the sums that left are exact")
	}
	if _, err := o.Sums(context.Background(), plan[0]); err == nil {
		t.Error("one pass is answered twice")
	}
	same := &spanOracle{exact: count, span: span, digest: span.Digest(), kept: journal}
	if again, err := same.Sums(context.Background(), plan[0]); err != nil || !slices.Equal(again, got) {
		t.Error("a kept answer is not given again")
	}
	other := &spanOracle{exact: count, span: span, digest: strings.Repeat("0", 64), kept: journal}
	if _, err := other.Sums(context.Background(), plan[0]); err == nil {
		t.Error("an answer is given for another span")
	}
}

// R01: a document that was changed on the disk is never handed out.
func TestR01_DamagedRelationsStayInside(t *testing.T) {
	span, twins, exact := relatable(t)
	d := keeping(t)
	kept, err := d.openModel("r1", true)
	if err != nil {
		t.Fatal(err)
	}
	defer kept.close()
	quiet := func(engine.ModelProgress) {}
	document, err := learnRelations(t.Context(), exact, kept, span, twins, quiet)
	if err != nil {
		t.Fatal(err)
	}
	c, err := certifyRelations(document)
	if err != nil || c.Document != digestOf(document) || c.Rho != span.Rho || c.Units < 5800 {
		t.Fatalf("%+v, %v", c, err)
	}
	if _, err := certifyRelations([]byte(strings.Replace(string(document), `"units":`, `"units":1`, 1))); err == nil {
		t.Error("a changed document is certified")
	}
	d.opt.Logger = slog.New(slog.DiscardHandler)
	published := state.Relations{Request: entry.RelationsRequest{Relations: "r1"}, Published: &entry.RelationsPublished{Certificate: c}}
	if got, err := d.relationsDocument(published); err != nil || !bytes.Equal(got, document) {
		t.Fatal(err)
	}
	// A whole document, under the very key, of other answers.
	for _, part := range []string{partAnswers, partDocument} {
		if err := os.Remove(d.modelPath("r1", part)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := learnRelations(t.Context(), exact, kept, span, twins, quiet); err != nil {
		t.Fatal(err)
	}
	var refused *Refusal
	if _, err := d.relationsDocument(published); !errors.As(err, &refused) || refused.Reasons[0].Code != "RELATIONS_DAMAGED" {
		t.Errorf("another document is handed out: %v", err)
	}
	if err := d.dropModel("r1"); err != nil {
		t.Fatal(err)
	}
	if _, err := d.relationsDocument(published); !errors.As(err, &refused) || refused.Reasons[0].Code != "RELATIONS_DAMAGED" {
		t.Errorf("a document without its key: %v", err)
	}
}

// R02: whoever knows all rows but one person's, and the answers that relations are made of,
// hardly tells whether that person is in the tables: no better than the price allows. The
// same attack on exact sums, and on noise for a person who counts a sixteenth, tells.
func TestR02_RelationsTellNothingOfOne(t *testing.T) {
	span, _, of := relatableBut(t)
	const person, trials = 4001, 400 // has rows in both tables
	with, without := of(-1), of(person)
	pass := span.Plan().Passes[0]
	in, err := with(pass)
	if err != nil {
		t.Fatal(err)
	}
	out, err := without(pass)
	if err != nil {
		t.Fatal(err)
	}
	moved := 0.0
	for i := range in {
		moved += float64((in[i] - out[i]) * (in[i] - out[i]))
	}
	if moved == 0 || moved > float64(pass.Norm*pass.Norm) {
		t.Fatalf("one person moves the sums by %.0f, and the norm is %d", math.Sqrt(moved), pass.Norm)
	}
	// area is that under the curve of the likelihood ratio, the best there is.
	area := func(answer func([]int64) []int64) float64 {
		scores := func(sums []int64) (s []float64) {
			for range trials {
				x := 0.0
				for i, v := range answer(sums) {
					x += float64(v-out[i]) * float64(in[i]-out[i])
				}
				s = append(s, x)
			}
			return s
		}
		a, b, wins := scores(in), scores(out), 0.0
		for _, x := range a {
			for _, y := range b {
				switch {
				case x > y:
					wins++
				case x == y:
					wins += 0.5
				}
			}
		}
		return wins / trials / trials
	}
	noised := func(norm int64) func([]int64) []int64 {
		return func(sums []int64) []int64 {
			got, err := release.Sums(sums, norm, pass.Rho, release.NewSource())
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
	}
	// By ρ-zCDP the ratio is at best that of two normals √(2ρ) apart.
	allowed := 0.5 * math.Erfc(-math.Sqrt(pass.Rho.Rho())/math.Sqrt2)
	if got, most := area(noised(pass.Norm)), allowed+4/math.Sqrt(12*trials/2); got > most {
		t.Errorf("area %.3f, at most %.3f", got, most)
	}
	if got := area(func(s []int64) []int64 { return s }); got < 0.99 {
		t.Errorf("control: exact sums give an area of %.3f", got)
	}
	if got := area(noised(pass.Norm / 16)); got < 0.75 {
		t.Errorf("control: a sixteenth of the noise gives an area of %.3f", got)
	}
}
