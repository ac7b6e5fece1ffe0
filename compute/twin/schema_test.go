package twin

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/policies"
)

func code(err error) string {
	var r *policies.Reason
	if errors.As(err, &r) {
		return r.Code
	}
	return ""
}

// Every constant of a schema comes from the catalogue; what it lacks is refused by the
// name of the column.
func TestSchemaRefusals(t *testing.T) {
	ok := Spec{Dataset: "registry", Columns: learned, Rho: epsilonOne}
	for _, c := range []struct {
		name   string
		change func(*Spec, *policies.Entry)
		code   string
		names  string
	}{
		{"no bounds, no list", func(s *Spec, _ *policies.Entry) { s.Columns = append(slices.Clone(learned), "free") }, CodeColumn, "free"},
		{"all columns, of which one has none", func(s *Spec, _ *policies.Entry) { s.Columns = nil }, CodeColumn, "free"},
		{"unknown column", func(s *Spec, _ *policies.Entry) { s.Columns = []string{"salary"} }, CodeColumn, "salary"},
		{"the unit itself", func(s *Spec, _ *policies.Entry) { s.Columns = []string{"sex", "person"} }, CodeColumn, "person"},
		{"named twice", func(s *Spec, _ *policies.Entry) { s.Columns = []string{"sex", "sex"} }, CodeSpec, "sex"},
		{"dropped", func(s *Spec, e *policies.Entry) { e.Masks = map[string]policies.Mask{"sex": {Op: "drop"}} }, CodeColumn, "sex"},
		{"nothing to learn", func(s *Spec, _ *policies.Entry) { s.Columns = []string{"name"} }, CodeSpec, ""},
		{"65 columns", func(s *Spec, e *policies.Entry) {
			s.Columns = nil
			for i := range 65 {
				name := strings.Repeat("x", i+1)
				e.Dataset.Columns = append(e.Dataset.Columns, policies.Column{Name: name, Type: algebra.Bool})
				s.Columns = append(s.Columns, name)
			}
		}, CodeSpec, ""},
		{"1001 codes", func(s *Spec, e *policies.Entry) {
			e.Dataset.Columns[1].Codes = nil
			for i := range 1001 {
				e.Dataset.Columns[1].Codes = append(e.Dataset.Columns[1].Codes, policies.Code{Value: strings.Repeat("a", i%32) + strings.Repeat("b", i/32)})
			}
		}, CodeColumn, "sex"},
		{"a code of 257 bytes", func(s *Spec, e *policies.Entry) { e.Dataset.Columns[1].Codes[0].Value = strings.Repeat("x", 257) }, CodeColumn, "sex"},
		{"constant in a unit, but not in the twin", func(s *Spec, _ *policies.Entry) { s.PerUnit = []string{"free"} }, CodeSpec, "free"},
		{"rows above the rule", func(s *Spec, _ *policies.Entry) { s.RowsPerUnit = 6 }, CodeSpec, ""},
		{"negative rows", func(s *Spec, _ *policies.Entry) { s.RowsPerUnit = -1 }, CodeSpec, ""},
		{"no price", func(s *Spec, _ *policies.Entry) { s.Rho = "" }, CodePrice, ""},
		{"no price at all", func(s *Spec, _ *policies.Entry) { s.Rho = "0" }, CodePrice, ""},
		{"another data set", func(s *Spec, _ *policies.Entry) { s.Dataset = "other" }, CodeSpec, ""},
		{"public data", func(_ *Spec, e *policies.Entry) { e.Dataset.Unit, e.Dataset.Public = nil, true }, CodeSpec, ""},
		{"not ready", func(_ *Spec, e *policies.Entry) { e.Rule = nil }, "DATASET_NOT_READY", ""},
	} {
		s, e := ok, registry()
		c.change(&s, &e)
		_, err := NewSchema(s, e)
		if got := code(err); got != c.code || !strings.Contains(err.Error(), c.names) {
			t.Errorf("%s: %s (%v), want %s naming %q", c.name, got, err, c.code, c.names)
		}
	}
	if _, err := NewSchema(ok, registry()); err != nil {
		t.Fatal(err)
	}
}

func TestSchemaOfTheCatalogue(t *testing.T) {
	s := schemaOf(t, Spec{Columns: append(slices.Clone(learned), "citizen_id", "employer", "name")}, registry())
	if len(s.Columns) != 12 || len(s.Generated) != 3 || !slices.Equal(s.Reads(), learned) {
		t.Fatalf("%d columns, %d made up, reads %v", len(s.Columns), len(s.Generated), s.Reads())
	}
	cells := map[string]int{"sex": 3, "born": 17, "income": 12, "visits": 22, "insured": 3, "household": 9}
	for _, c := range s.Columns {
		if want := cells[c.Column]; want != 0 && c.Bins() != want {
			t.Errorf("%s has %d cells, want %d", c.Column, c.Bins(), want)
		}
		if c.Kind == model.KindNumber {
			next := c.Bounds[0]
			for cell := range c.Bins() - 1 {
				lo, hi := c.span(cell)
				if lo != next || hi < lo {
					t.Errorf("%s: cell %d holds %d to %d, want from %d", c.Column, cell, lo, hi, next)
				}
				next = hi + 1
			}
			if next != c.Bounds[1]+1 {
				t.Errorf("%s: the cells end at %d", c.Column, next-1)
			}
		}
	}
	// Masked identifiers no longer look like one.
	e := registry()
	e.Masks = map[string]policies.Mask{"citizen_id": {Op: "pseudonym"}}
	if g := schemaOf(t, Spec{Columns: []string{"sex", "citizen_id"}}, e).Generated; len(g) != 1 || g[0].Kind != policies.IdentOpaque {
		t.Errorf("a pseudonym is made up as %v", g)
	}
}

// A schema's digest changes with the catalogue and with nothing else.
func TestStale(t *testing.T) {
	e := registry()
	s := schemaOf(t, Spec{Columns: []string{"sex", "visits"}}, e)
	x := learnt(t, s, encoded(t, s, pick(residents(3000, 1, 1), "sex", "visits")), 1)
	if err := x.Stale(schemaOf(t, Spec{Columns: []string{"sex", "visits"}, Rho: "0.01"}, e)); err != nil {
		t.Errorf("another price makes it stale: %v", err)
	}
	e.Dataset.Columns[8].Bounds.Hi = "21"
	if err := x.Stale(schemaOf(t, Spec{Columns: []string{"sex", "visits"}}, e)); code(err) != CodeStale || !strings.Contains(err.Error(), "registry") {
		t.Errorf("other bounds: %v", err)
	}
}

// pick leaves columns of residents.
func pick(b model.Batch, names ...string) model.Batch {
	out := model.Batch{Units: b.Units}
	for _, name := range names {
		out.Columns = append(out.Columns, b.Columns[slices.Index(learned, name)])
	}
	return out
}
