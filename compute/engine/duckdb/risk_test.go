package duckdb

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/compute/engine/ingest"
	"github.com/sandgate/sandgate/masking/risk"
)

// TestR20_ClassesAgainstGroup: the classes that jailed workers count are those of
// the rows, NULLs, equal spellings of a unit and quotes in a name included.
func TestR20_ClassesAgainstGroup(t *testing.T) {
	text, integer := algebra.Type{Kind: algebra.Text}, algebra.Type{Kind: algebra.Int}
	spec := ingest.Spec{Dataset: "risk", UnitColumn: "id", UnitKind: "record", Columns: []ingest.Column{
		{Name: "id", Type: text}, {Name: `are"a`, Type: text, Nullable: true}, {Name: "age", Type: integer, Nullable: true}, {Name: "disease", Type: text, Nullable: true},
	}}
	schema := algebra.Schema{Dataset: "risk", Unit: "id", Columns: []algebra.SchemaColumn{{Name: `are"a`, Type: text}, {Name: "age", Type: integer}, {Name: "disease", Type: text}}}
	r := rand.New(rand.NewPCG(1, 2))
	var rows [][]string
	raw := "id,\"are\"\"a\",age,disease\n"
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	for range 400 {
		row := []string{fmt.Sprintf("U%d", r.IntN(150)), pick("东", "西", ""), pick("10", "9", "-3", ""), pick("x", "y", "z", "")}
		rows = append(rows, row)
		raw += strings.Join(row, ",") + "\n"
	}
	s := store(t)
	m, err := take(t, s, spec, raw)
	if err != nil {
		t.Fatal(err)
	}
	runner, file := engine.Runner{Pool: pool(t)}, snapshot(t, s, m.Snapshot)
	for _, c := range []struct {
		quasi, sensitive []string
		q, v             []int
	}{
		{[]string{`are"a`, "age"}, []string{"disease"}, []int{1, 2}, []int{3}},
		{[]string{`are"a`}, []string{"age", "disease"}, []int{1}, []int{2, 3}},
		{nil, []string{"disease"}, nil, []int{3}},
		{[]string{"age"}, nil, []int{2}, nil},
	} {
		classes, sensitive, err := runner.Classes(context.Background(), schema, c.quasi, c.sensitive, file, testLimits)
		if err != nil {
			t.Fatal(err)
		}
		question := risk.Question{Model: risk.Enclave, Context: 0.1, Quasi: len(c.quasi), Sensitive: sensitive}
		got, err := risk.Assess(classes, question)
		if err != nil {
			t.Fatal(err)
		}
		for i, name := range c.sensitive {
			question.Sensitive[i] = risk.Sensitive{Name: name}
			if name == "age" {
				question.Sensitive[i].Order = []string{"", "-3", "9", "10"}
			}
		}
		want, err := risk.Assess(risk.Group(rows, 0, c.q, c.v), question)
		if err != nil {
			t.Fatal(err)
		}
		if got.Units != want.Units || got.Classes != want.Classes || got.K != want.K || got.Above != want.Above || fmt.Sprint(got.Sizes) != fmt.Sprint(want.Sizes) || got.Level != want.Level {
			t.Errorf("%v: %+v, want %+v", c.quasi, got, want)
		}
		for i, d := range got.Diversity {
			w := want.Diversity[i]
			if d.Distinct != w.Distinct || d.OneValue != w.OneValue || math.Abs(d.T-w.T) > 1e-9 || math.Abs(d.Entropy-w.Entropy) > 1e-9 {
				t.Errorf("%v %s: %+v, want %+v", c.quasi, d.Name, d, w)
			}
		}
	}
	if _, _, err := runner.Classes(context.Background(), schema, []string{"id"}, nil, file, testLimits); err == nil {
		t.Error("a column that is not stored")
	}
	if _, _, err := runner.Classes(context.Background(), schema, []string{`x" FROM d0.main.t; SELECT 1 --`}, nil, file, testLimits); err == nil || errors.Is(err, engine.ErrPartials) {
		t.Errorf("a name that no schema has reaches a worker: %v", err)
	}
	empty, err := take(t, s, spec, "id,\"are\"\"a\",age,disease\n")
	if err != nil {
		t.Fatal(err)
	}
	for _, quasi := range [][]string{nil, {"age"}} {
		classes, _, err := runner.Classes(context.Background(), schema, quasi, []string{"disease"}, snapshot(t, s, empty.Snapshot), testLimits)
		if err != nil || len(classes) != 0 {
			t.Errorf("empty table by %v: %v %v", quasi, classes, err)
		}
	}
}
