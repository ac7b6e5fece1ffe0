package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/compute/twin"
	"github.com/sandgate/sandgate/internal/durable"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
)

// likenable is a schema of four columns, and the exact sums over people made up for it.
func likenable(t testing.TB) (twin.Schema, func(twin.Pass) ([]int64, error)) {
	t.Helper()
	codes := func(n int) (out []policies.Code) {
		for i := range n {
			out = append(out, policies.Code{Value: fmt.Sprint("c", i)})
		}
		return out
	}
	e := policies.Entry{Department: "bureau", Masked: true, Levels: map[string]int{"a": 2}, Rule: &policies.DisclosureRule{Mode: "dp", MaxRows: 5}, Dataset: policies.Dataset{
		ID: "people", Unit: &policies.Unit{Column: "person", Kind: "person"}, OneRow: true, Columns: []policies.Column{
			{Name: "person", Type: algebra.Text}, {Name: "a", Type: algebra.Text, Codes: codes(4)}, {Name: "b", Type: algebra.Text, Codes: codes(3)},
			{Name: "c", Type: algebra.Text, Codes: codes(6)}, {Name: "d", Type: algebra.Text, Codes: codes(2)},
		}}}
	schema, err := twin.NewSchema(twin.Spec{Dataset: "people", Rho: "0.02"}, e)
	if err != nil {
		t.Fatal(err)
	}
	encoder, err := twin.NewEncoder(schema, bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	batch := model.Batch{Columns: make([]model.Column, 4)}
	for i := range 5000 {
		batch.Units = append(batch.Units, uint64(i))
		for c, n := range []int{4, 3, 6, 2} {
			batch.Columns[c].Texts = append(batch.Columns[c].Texts, fmt.Sprint("c", (i/(c+1)+i%7)%n))
		}
	}
	if err := encoder.Add(batch); err != nil {
		t.Fatal(err)
	}
	rows := encoder.Finish()
	return schema, func(p twin.Pass) ([]int64, error) { return twin.Sums(rows, schema, p) }
}

// R29: wherever keeping what a twin is learned of fails, the next start goes on: no
// answer that was durable is drawn again, no pass is asked twice for it, and the twin is
// the one that the kept answers give.
func TestR29_FaultWhileATwinIsLearned(t *testing.T) {
	schema, exact := likenable(t)
	quiet := func(engine.ModelProgress) {}
	for _, step := range []string{"model.key.write", "model.key.rename", "model.key.syncdir", "model.mend", "model.answer", "model.write", "model.rename", "model.syncdir"} {
		for _, when := range []string{"/before", "/after"} {
			for _, nth := range []int{1, 2, 3} {
				if nth > 1 && step != "model.answer" {
					continue
				}
				t.Run(fmt.Sprint(step, when, nth), func(t *testing.T) {
					d := keeping(t)
					asked := 0
					learn := func() (document []byte, err error) {
						kept, err := d.openModel("t1", true)
						if err != nil {
							return nil, err
						}
						defer kept.close()
						return learnTwin(t.Context(), func(p twin.Pass) ([]int64, error) { asked++; return exact(p) }, kept, schema, quiet)
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
					var before []answered
					if kept, err := d.openModel("t1", false); err == nil {
						a, err := kept.answers()
						if err != nil {
							t.Fatal(err)
						}
						before = a.all
						if err := a.close(); err != nil {
							t.Fatal(err)
						}
					}
					first := asked
					document, err := learn()
					if err != nil {
						t.Fatal(err)
					}
					// The document itself may have been durable already.
					if more := asked - first; more != 3-len(before) {
						t.Errorf("%d answers were durable, and %d passes were asked again", len(before), more)
					}
					kept, err := d.openModel("t1", false)
					if err != nil {
						t.Fatal(err)
					}
					a, err := kept.answers()
					if err != nil {
						t.Fatal(err)
					}
					defer func() { _ = a.close() }()
					if len(a.all) != 3 {
						t.Fatalf("%d answers are kept", len(a.all))
					}
					var sums [][]int64
					for i, x := range a.all {
						sums = append(sums, x.sums)
						if i < len(before) && !slices.Equal(x.sums, before[i].sums) {
							t.Errorf("answer %d was drawn again", i)
						}
					}
					want, err := twin.Learn(t.Context(), schema, twin.Replay(sums, nil), nil)
					if err != nil {
						t.Fatal(err)
					}
					if text, err := want.Encode(); err != nil || !bytes.Equal(text, document) {
						t.Error("the twin is not the one that the kept answers give")
					}
					if again, err := learn(); err != nil || !bytes.Equal(again, document) || asked != first+3-len(before) {
						t.Error("a twin that is kept is learned again")
					}
				})
			}
		}
	}
}

// R02: nothing but the plan is answered, no answer is exact, and an answer belongs to
// its pass. Without the plan's check the dearer pass would have been answered: control.
func TestR02_TwinsBuyNoPrecision(t *testing.T) {
	schema, exact := likenable(t)
	d := keeping(t)
	kept, err := d.openModel("t1", true)
	if err != nil {
		t.Fatal(err)
	}
	journal, err := kept.answers()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = journal.close() }()
	asked := 0
	o := &twinOracle{exact: func(p twin.Pass) ([]int64, error) { asked++; return exact(p) }, schema: schema, kept: journal}
	plan := schema.Plan().Passes
	for what, change := range map[string]func(*twin.Pass){
		"dearer": func(p *twin.Pass) { p.Rho *= 10 }, "free": func(p *twin.Pass) { p.Rho = 0 }, "of a lower norm": func(p *twin.Pass) { p.Norm-- },
		"finer": func(p *twin.Pass) { p.Step /= 2 }, "of another kind": func(p *twin.Pass) { p.Kind = twin.PassFine }, "narrower": func(p *twin.Pass) { p.Width-- },
	} {
		p := plan[0]
		change(&p)
		if _, err := o.Sums(context.Background(), p); err == nil || asked != 0 {
			t.Errorf("a pass that is %s is answered", what)
		}
	}
	dear := plan[0]
	dear.Rho *= 10
	if _, err := exact(dear); err != nil {
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
	other := &twinOracle{exact: exact, schema: schema, kept: journal}
	if again, err := other.Sums(context.Background(), plan[0]); err != nil || !slices.Equal(again, got) {
		t.Error("a kept answer is not given again")
	}
}

// R01: a document that was changed on the disk is never handed out.
func TestR01_DamagedTwinsStayInside(t *testing.T) {
	schema, exact := likenable(t)
	d := keeping(t)
	kept, err := d.openModel("t1", true)
	if err != nil {
		t.Fatal(err)
	}
	document, err := learnTwin(t.Context(), exact, kept, schema, func(engine.ModelProgress) {})
	if err != nil {
		t.Fatal(err)
	}
	c, err := certifyTwin(document)
	if err != nil || c.Schema != schema.Digest() || c.Document != digestOf(document) || c.Rho != schema.Rho || c.MarginalsOnly {
		t.Fatalf("%+v, %v", c, err)
	}
	if _, err := certifyTwin([]byte(strings.Replace(string(document), `"rare":`, `"rare":1`, 1))); err == nil {
		t.Error("a changed document is certified")
	}
	d.opt.Logger = slog.New(slog.DiscardHandler)
	published := state.Twin{Request: entry.TwinRequest{Twin: "t1"}, Published: &entry.TwinPublished{Certificate: c}}
	if got, err := d.twinDocument(published); err != nil || !bytes.Equal(got, document) {
		t.Fatal(err)
	}
	// A whole document, under the very key, of other answers.
	if err := os.Remove(d.modelPath("t1", partAnswers)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(d.modelPath("t1", partDocument)); err != nil {
		t.Fatal(err)
	}
	if _, err := learnTwin(t.Context(), exact, kept, schema, func(engine.ModelProgress) {}); err != nil {
		t.Fatal(err)
	}
	var refused *Refusal
	if _, err := d.twinDocument(published); !errors.As(err, &refused) || refused.Reasons[0].Code != "TWIN_DAMAGED" {
		t.Errorf("another document is handed out: %v", err)
	}
	if err := d.dropModel("t1"); err != nil {
		t.Fatal(err)
	}
	if _, err := d.twinDocument(published); !errors.As(err, &refused) || refused.Reasons[0].Code != "TWIN_DAMAGED" {
		t.Errorf("a document without its key: %v", err)
	}
}
