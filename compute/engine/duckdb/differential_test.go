package duckdb

import (
	"bytes"
	"context"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/compute/internal/reference"
	"github.com/sandgate/sandgate/compute/protect"
	"github.com/sandgate/sandgate/compute/render"
)

// rounds is how many random cases a test runs: few in a plain test run, all with
// SANDGATE_ATTACK=full.
func rounds(few int) int {
	if os.Getenv("SANDGATE_ATTACK") == "full" {
		return 10_000
	}
	return few
}

// bench is an engine to run statements in and an analyser to gate them with.
type bench struct {
	t        *testing.T
	s        *session
	analyser *planner
}

func newBench(t *testing.T) *bench {
	t.Helper()
	s, err := open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.conn.Close(); _ = s.connector.Close() })
	for i := range 8 {
		if err := s.exec(append(consentTable(i), fmt.Sprintf("ATTACH ':memory:' AS d%d", i))...); err != nil {
			t.Fatal(err)
		}
	}
	analyser, err := OpenAnalyser()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = analyser.Close() })
	return &bench{t: t, s: s, analyser: &planner{db: analyser}}
}

// gate returns what Check says of a text; ran is false when the parser or planner
// already had none of it.
func (b *bench) gate(p *protect.Plan, schemas []algebra.Schema, text string) (ran bool, err error) {
	ctx := context.Background()
	tree, err := b.analyser.syntax(ctx, text)
	if err != nil || bytes.Contains(tree[:min(len(tree), 40)], []byte(`"error":true`)) {
		return false, err
	}
	bound, err := b.analyser.bind(ctx, schemas, text)
	if err != nil {
		return false, err
	}
	return true, render.Check(p, schemas, tree, bound)
}

// run executes a text over the loaded tables.
func (b *bench) run(p *protect.Plan, text string) (protect.Partials, error) {
	schema := engine.SchemaOf(p)
	var out protect.Partials
	err := b.s.each(text, schema.Columns(), func(values []driver.Value) error {
		row, err := resultRow(schema, values)
		if err == nil && row.Group != 0 {
			out.Total = &protect.Cell{Keys: row.Keys, M: row.M}
		} else if err == nil {
			out.Cells = append(out.Cells, protect.Cell{Keys: row.Keys, M: row.M})
		}
		return err
	})
	return out, err
}

func (b *bench) load(w *world, p *protect.Plan) {
	b.t.Helper()
	if err := b.s.exec(w.tables(p)...); err != nil {
		b.t.Fatal(err)
	}
}

// summary is an order-free text of partials.
func summary(p protect.Partials) string {
	var lines []string
	for _, c := range p.Cells {
		line := ""
		for _, k := range c.Keys {
			line += storedText(k) + " "
		}
		lines = append(lines, fmt.Sprint(line, "-> ", c.M))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// TestR01_EngineAgreesWithReference: random plans over random data pass the gate
// and give the partials that the definitions say.
func TestR01_EngineAgreesWithReference(t *testing.T) {
	b := newBench(t)
	r := rand.New(rand.NewPCG(7, 1))
	var w *world
	seen, filled := map[string]int{}, 0
	n := rounds(200)
	for i := range n {
		if i%10 == 0 {
			w = newWorld(r)
		}
		p := w.randomPlan(r)
		schemas, err := p.Core.SchemasOf(w.schemas)
		if err != nil {
			t.Fatal(err)
		}
		text, err := render.SQL(p, schemas)
		if err != nil {
			t.Fatalf("%d: %v\n%s", i, err, planText(p))
		}
		if ran, err := b.gate(p, schemas, text); err != nil || !ran {
			t.Fatalf("%d: %v\n%s\n%s", i, err, text, planText(p))
		}
		b.load(w, p)
		got, err := b.run(p, text)
		if err != nil {
			t.Fatalf("%d: %v\n%s", i, err, text)
		}
		want := reference.Partials(p, w.data)
		if summary(got) != summary(want) {
			t.Fatalf("%d: %s\n got %s\nwant %s\n%s", i, text, summary(got), summary(want), planText(p))
		}
		for _, m := range p.Measures {
			seen[string(m.Kind)]++
		}
		for _, word := range []string{"UNION ALL", "GROUP BY p._unit", "LEFT JOIN", "AS w ON", "CASE", "make_date", "date_diff", " // ", " % ", "abs(", "isodow", "FILTER", "HAVING"} {
			if strings.Contains(text, word) {
				seen[word]++
			}
		}
		if len(want.Cells) > 1 {
			filled++
		}
	}
	for word, k := range seen {
		if k == 0 {
			t.Errorf("%s never occurred", word)
		}
	}
	if len(seen) < 18 || filled < n/8 {
		t.Errorf("the cases are too poor: %d of several cells, constructs %v", filled, seen)
	}
}

func planText(p *protect.Plan) string {
	text, _ := json.Marshal(p)
	return string(text)
}
