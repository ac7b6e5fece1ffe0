package duckdb

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/compute/engine/ingest"
	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/sandbox"
)

// modelDesign is a logistic model of one category and one number.
func modelDesign() model.Design {
	edges := []int64{25, 50, 75}
	threshold := int64(50)
	return model.Design{
		Spec: policies.ModelSpec{Dataset: "people", Family: policies.FamilyLogistic, Label: policies.ModelLabel{Column: "income", Threshold: "50"}, HoldOut: 30, RowsPerUnit: 1,
			Features: []policies.ModelFeature{{Column: "job"}, {Column: "age"}}, RhoEvaluation: "0.01", Release: policies.ReleaseScores,
			Setting: policies.ModelSettings{Steps: 10, Clip: 1, L2: 0.001, Rate: 1, Leaf: 20}},
		Features: []model.Feature{{Column: "job", Kind: model.KindCategory, Type: algebra.Text, Codes: []string{"a", "b"}}, {Column: "age", Kind: model.KindNumber, Type: algebra.Int, Bounds: [2]int64{0, 100}, Edges: edges}},
		Target:   model.Target{Column: "income", Type: algebra.Int, Classes: 2, Threshold: &threshold, Bounds: [2]int64{0, 100}},
		Columns:  []string{"job", "age", "income"},
	}
}

// TestR02_ModelWorker: a jailed worker codes a snapshot's columns, answers a pass with
// the sums that the rows have, trains inside, and refuses what no model can be made of
// with one code; what it is asked beyond that ends it.
func TestR02_ModelWorker(t *testing.T) {
	text, integer := algebra.Type{Kind: algebra.Text}, algebra.Type{Kind: algebra.Int}
	spec := ingest.Spec{Dataset: "people", UnitColumn: "id", UnitKind: "record", OneRow: true, Columns: []ingest.Column{
		{Name: "id", Type: text}, {Name: "job", Type: text}, {Name: "age", Type: integer}, {Name: "income", Type: integer},
	}}
	schema := algebra.Schema{Dataset: "people", Unit: "id", Columns: []algebra.SchemaColumn{{Name: "job", Type: text}, {Name: "age", Type: integer}, {Name: "income", Type: integer}}}
	rnd := rand.New(rand.NewPCG(1, 2))
	table := func(rows int, row func(i int) (job string, age, income int)) string {
		var b strings.Builder
		b.WriteString("id,job,age,income\n")
		for i := range rows {
			job, age, income := row(i)
			fmt.Fprintf(&b, "u%d,%s,%d,%d\n", i, job, age, income)
		}
		return b.String()
	}
	usual := func(i int) (string, int, int) {
		age := rnd.IntN(100)
		return []string{"a", "b"}[i%2], age, min(99, age/2+rnd.IntN(60))
	}
	s, design := store(t), modelDesign()
	sql, types, err := engine.ModelStatement(schema, design.Columns, 1)
	if err != nil {
		t.Fatal(err)
	}
	runner := engine.Runner{Pool: pool(t)}
	limits := sandbox.Limits{Wall: time.Minute, Memory: 1 << 30, Threads: 1, Result: engine.ModelAllowance([]int{4096}, true)}
	run := func(raw string, limits sandbox.Limits, use func(context.Context, *engine.ModelRun) error) error {
		t.Helper()
		m, err := take(t, s, spec, raw)
		if err != nil {
			t.Fatal(err)
		}
		job := engine.ModelJob{SQL: sql, Types: types, Design: design, Seed: []byte("0123456789abcdef")}
		return runner.Model(t.Context(), job, snapshot(t, s, m.Snapshot), limits, nil, use)
	}
	good := table(1000, usual)
	plan, err := design.Plan()
	if err != nil {
		t.Fatal(err)
	}
	var file []byte
	err = run(good, limits, func(_ context.Context, m *engine.ModelRun) error {
		sums, err := m.Sums(plan.Passes[0])
		if err != nil || len(sums) != plan.Passes[0].Width {
			return errors.Join(errors.New("no sums"), err)
		}
		// The first coordinate counts the units that are trained on.
		if n := float64(sums[0]) * plan.Passes[0].Step; n < 600 || n > 800 {
			t.Errorf("%g units are trained on, of 1000 with 30 %% held out", n)
		}
		again, err := m.Sums(plan.Passes[0])
		if err != nil || !slices.Equal(sums, again) {
			t.Errorf("a pass has other sums when it is asked again: %v", err)
		}
		file, err = m.Fit()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	scored, err := runner.Score(t.Context(), file, []string{"age", "job"}, [][]string{{"10", "a"}, {"90", "b"}}, limits)
	if err != nil || len(scored.Rows) != 2 || scored.Rows[0][0] >= scored.Rows[1][0] {
		t.Errorf("scores %v, %v", scored, err)
	}
	here, err := engine.ScoreRows(file, []string{"age", "job"}, [][]string{{"10", "a"}, {"90", "b"}})
	if err != nil || !slices.EqualFunc(here.Rows, scored.Rows, slices.Equal) {
		t.Errorf("scores %v here and %v in a worker: %v", here, scored, err)
	}
	for what, rows := range map[string][][]string{"unlisted code": {{"10", "c"}}, "text for a number": {{"x", "a"}}, "missing": {{"", "a"}}, "short": {{"1"}}} {
		var fault *engine.ScoreFault
		if _, err := runner.Score(t.Context(), file, []string{"age", "job"}, rows, limits); !errors.As(err, &fault) || fault.Row != 1 {
			t.Errorf("%s: %v", what, err)
		}
	}
	changed := []byte(strings.Replace(string(file), "0.", "1.", 1))
	if _, err := runner.Score(t.Context(), changed, []string{"age", "job"}, [][]string{{"10", "a"}}, limits); err == nil {
		t.Error("a changed file gives scores")
	}
	nothing := func(context.Context, *engine.ModelRun) error { return nil }
	for _, c := range []struct {
		what, raw string
		want      engine.ModelCode
	}{
		{"ten units", table(10, usual), engine.ModelUnfit},
		{"one class", table(1000, func(i int) (string, int, int) { return "a", i % 100, 99 }), engine.ModelUnfit},
		{"no variation", table(1000, func(i int) (string, int, int) { return "a", 7, i % 100 }), engine.ModelUnfit},
		{"not in the list", table(1000, func(i int) (string, int, int) { return "c", i % 100, i % 97 }), engine.ModelNotListed},
	} {
		var refused *engine.ModelRefused
		if err := run(c.raw, limits, nothing); !errors.As(err, &refused) || refused.Code != c.want {
			t.Errorf("%s: %v", c.what, err)
		}
	}
	// A request that is none, and a worker that says more than was planned for.
	var killed *sandbox.ErrKilled
	err = run(good, limits, func(_ context.Context, m *engine.ModelRun) error {
		_, err := m.Sums(model.Pass{Kind: "rows", Norm: 1, Step: 1, Width: 3})
		return err
	})
	if !errors.As(err, &killed) {
		t.Errorf("an unknown pass: %v", err)
	}
	small := limits
	small.Result = 40
	err = run(good, small, func(_ context.Context, m *engine.ModelRun) error { _, err := m.Fit(); return err })
	if !errors.As(err, &killed) || killed.Cause != sandbox.CauseResultCap {
		t.Errorf("parameters beyond the allowance: %v", err)
	}
	stop, cancel := context.WithCancel(t.Context())
	began := time.Now()
	m, err := take(t, s, spec, good)
	if err != nil {
		t.Fatal(err)
	}
	job := engine.ModelJob{SQL: sql, Types: types, Design: design, Seed: []byte("0123456789abcdef")}
	err = runner.Model(stop, job, snapshot(t, s, m.Snapshot), limits, nil, func(ctx context.Context, m *engine.ModelRun) error {
		cancel()
		<-ctx.Done()
		return ctx.Err()
	})
	if err == nil || time.Since(began) > 20*time.Second {
		t.Errorf("a cancelled model: %v after %v", err, time.Since(began))
	}
}

// TestR02_ModuleWorker: an operator's module counts inside the jailed worker. One that
// breaks at a single person's value ends as one that does not: with counts, that differ
// by one unit's share.
func TestR02_ModuleWorker(t *testing.T) {
	text, integer, cents := algebra.Type{Kind: algebra.Text}, algebra.Type{Kind: algebra.Int}, algebra.Type{Kind: algebra.Decimal, Scale: 2}
	spec := ingest.Spec{Dataset: "people", UnitColumn: "id", UnitKind: "record", OneRow: true, Columns: []ingest.Column{
		{Name: "id", Type: text}, {Name: "job", Type: text}, {Name: "paid", Type: cents}, {Name: "income", Type: integer},
	}}
	schema := algebra.Schema{Dataset: "people", Unit: "id", Columns: []algebra.SchemaColumn{{Name: "job", Type: text}, {Name: "paid", Type: cents}, {Name: "income", Type: integer}}}
	design := modelDesign()
	design.Features = []model.Feature{design.Features[0], {Column: "paid", Kind: model.KindNumber, Type: algebra.Decimal, Bounds: [2]int64{0, 320_000}, Scale: 2}}
	design.Columns = []string{"job", "paid", "income"}
	design.Spec.Family, design.Spec.Release, design.Spec.HoldOut, design.Spec.Setting = policies.FamilyModule, policies.ReleaseAggregates, 0, policies.ModelSettings{}
	design.Spec.Module, design.Spec.Bounds = &policies.ModelModule{}, &policies.ScoreBounds{Low: 0, High: 1, Bins: 10}
	sql, types, err := engine.ModelStatement(schema, design.Columns, 1)
	if err != nil {
		t.Fatal(err)
	}
	pass, err := model.EvaluationPass(design)
	if err != nil {
		t.Fatal(err)
	}
	s, runner := store(t), engine.Runner{Pool: pool(t)}
	limits := sandbox.Limits{Wall: time.Minute, Memory: 1 << 30, Threads: 1, Result: engine.ModelAllowance([]int{pass.Width}, false)}
	run := func(module string, value string) ([]int64, error) {
		t.Helper()
		file, err := os.ReadFile("../../../testdata/wasm/" + module + ".wasm")
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		b.WriteString("id,job,paid,income\n")
		for i := range 500 {
			fmt.Fprintf(&b, "u%d,%s,%d.00,%d\n", i, []string{"a", "b"}[i%2], 10+i, i%100)
		}
		if value != "" {
			fmt.Fprintf(&b, "target,a,%s,99\n", value)
		}
		m, err := take(t, s, spec, b.String())
		if err != nil {
			t.Fatal(err)
		}
		job := engine.ModelJob{SQL: sql, Types: types, Design: design, Seed: []byte("0123456789abcdef"), Module: file}
		var sums []int64
		err = runner.Model(t.Context(), job, snapshot(t, s, m.Snapshot), limits, nil, func(_ context.Context, m *engine.ModelRun) error {
			var err error
			if sums, err = m.Sums(pass); err == nil {
				var again []int64
				if again, err = m.Sums(pass); err == nil && !slices.Equal(sums, again) {
					err = errors.New("the counts are others when they are asked again")
				}
			}
			return err
		})
		return sums, err
	}
	without, err := run("spy-c", "")
	if err != nil {
		t.Fatal(err)
	}
	for _, value := range []string{"111.11", "222.22", "444.44", "555.55", "666.66"} {
		with, err := run("spy-c", value)
		if err != nil {
			t.Errorf("a person with %s is told by the end of the worker: %v", value, err)
			continue
		}
		square := int64(0)
		for i := range with {
			square += (with[i] - without[i]) * (with[i] - without[i])
		}
		if square == 0 || square > pass.Norm*pass.Norm {
			t.Errorf("a person with %s moves the counts by a square of %d; %d is a unit's", value, square, pass.Norm*pass.Norm)
		}
	}
	var refused *engine.ModelRefused
	if _, err := run("words-c", ""); !errors.As(err, &refused) || refused.Code != engine.ModelModule {
		t.Errorf("a module of other columns: %v", err)
	}
	// A module is neither trained nor attacked, and its worker is asked for nothing else.
	for what, use := range map[string]func(context.Context, *engine.ModelRun) error{
		"fit":  func(_ context.Context, m *engine.ModelRun) error { _, err := m.Fit(); return err },
		"gate": func(_ context.Context, m *engine.ModelRun) error { _, err := m.Gate([]byte("{}")); return err },
	} {
		file, err := os.ReadFile("../../../testdata/wasm/income-c.wasm")
		if err != nil {
			t.Fatal(err)
		}
		m, err := take(t, s, spec, "id,job,paid,income\nu1,a,1.00,1\n")
		if err != nil {
			t.Fatal(err)
		}
		job := engine.ModelJob{SQL: sql, Types: types, Design: design, Seed: []byte("0123456789abcdef"), Module: file}
		if err := runner.Model(t.Context(), job, snapshot(t, s, m.Snapshot), limits, nil, use); err == nil {
			t.Errorf("%s is answered", what)
		}
	}
}
