package policies

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/masking"
)

func gridColumn(kind algebra.Kind, lo, hi string, g *Grid) Column {
	c := Column{Name: "x", Title: Text{ZH: "数"}, Type: kind, Grid: g, Bounds: &Bounds{Lo: lo, Hi: hi}}
	if kind == algebra.Decimal {
		c.Scale = 2
	}
	return c
}

func TestR20_ParseGrid(t *testing.T) {
	step := func(from, to, step string) *Grid { return &Grid{From: from, To: to, Step: step} }
	many := &Grid{}
	for range 300 {
		many.Edges = append(many.Edges, "1")
	}
	for _, c := range []struct {
		name string
		col  Column
		want []int64
		err  string
	}{
		{"edges", gridColumn(algebra.Int, "0", "120", &Grid{Edges: []string{"0", "18", "60", "120"}}), []int64{0, 18, 60, 120}, ""},
		{"wider than the bounds", gridColumn(algebra.Int, "1", "50", &Grid{Edges: []string{"0", "18", "50", "60"}}), []int64{0, 18, 50, 60}, ""},
		{"steps of a decimal", gridColumn(algebra.Decimal, "0", "2.00", step("0", "2", "0.75")), []int64{0, 75, 150, 200}, ""},
		{"months", gridColumn(algebra.Date, "1970-01-01", "1970-03-15", step("1970-01-01", "1970-03-15", "1 month")), []int64{0, 31, 59, 73}, ""},
		{"months before 1970", gridColumn(algebra.Date, "1969-12-01", "1970-01-01", step("1969-12-01", "1970-01-01", "1 month")), []int64{-31, 0}, ""},
		{"days", gridColumn(algebra.Date, "1970-01-01", "1970-01-15", step("1970-01-01", "1970-01-15", "7 days")), []int64{0, 7, 14}, ""},
		{"no bounds", Column{Type: algebra.Int, Grid: &Grid{Edges: []string{"1", "2"}}}, nil, "needs registered bounds"},
		{"text", Column{Type: algebra.Text, Grid: &Grid{Edges: []string{"1", "2"}}}, nil, "needs registered bounds"},
		{"nothing", gridColumn(algebra.Int, "0", "9", &Grid{}), nil, "give edges"},
		{"both", gridColumn(algebra.Int, "0", "9", &Grid{Edges: []string{"0", "9"}, Step: "1"}), nil, "not both"},
		{"half a step", gridColumn(algebra.Int, "0", "9", step("0", "9", "")), nil, "give edges"},
		{"one edge", gridColumn(algebra.Int, "0", "9", &Grid{Edges: []string{"0"}}), nil, "1 to 200 cells"},
		{"too many", gridColumn(algebra.Int, "0", "9", many), nil, "1 to 200 cells"},
		{"too many steps", gridColumn(algebra.Int, "0", "201", step("0", "201", "1")), nil, "1 to 200 cells"},
		{"descending", gridColumn(algebra.Int, "0", "9", &Grid{Edges: []string{"0", "5", "5", "9"}}), nil, "ascend"},
		{"backwards", gridColumn(algebra.Int, "0", "9", step("9", "0", "1")), nil, "ascend"},
		{"too short below", gridColumn(algebra.Int, "0", "9", &Grid{Edges: []string{"1", "9"}}), nil, "cover the bounds"},
		{"too short above", gridColumn(algebra.Int, "0", "9", &Grid{Edges: []string{"0", "8"}}), nil, "cover the bounds"},
		{"empty first cell", gridColumn(algebra.Int, "5", "9", &Grid{Edges: []string{"0", "5", "9"}}), nil, "outside the bounds"},
		{"empty last cell", gridColumn(algebra.Int, "0", "9", &Grid{Edges: []string{"0", "10", "12"}}), nil, "outside the bounds"},
		{"step zero", gridColumn(algebra.Int, "0", "9", step("0", "9", "0")), nil, "positive"},
		{"not a number", gridColumn(algebra.Int, "0", "9", &Grid{Edges: []string{"0", "nine"}}), nil, "not a number"},
		{"finer than the column", gridColumn(algebra.Decimal, "0", "9", step("0", "9", "0.001")), nil, "not a number"},
		{"step of a date", gridColumn(algebra.Date, "1970-01-01", "1971-01-01", step("1970-01-01", "1971-01-01", "2 fortnights")), nil, "like"},
		{"step of a date, no unit", gridColumn(algebra.Date, "1970-01-01", "1971-01-01", step("1970-01-01", "1971-01-01", "30")), nil, "like"},
		{"months from the 31st", gridColumn(algebra.Date, "1970-01-31", "1971-01-01", step("1970-01-31", "1971-01-01", "1 month")), nil, "day 1"},
	} {
		got, err := ParseGrid(c.col)
		if c.err == "" {
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("%s: %v %v, want %v", c.name, got, err, c.want)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %v %v, want %q", c.name, got, err, c.err)
		}
		if c.col.Bounds != nil && checkColumn(func() Column { x := c.col; x.Name, x.Title = "x", Text{ZH: "数"}; return x }()) == nil {
			t.Errorf("%s: a catalogue with it is accepted", c.name)
		}
	}
}

// A mask that coarsens a date coarsens its grid, which still covers every stored
// value; one that destroys order leaves none.
func TestR20_GridFollowsTheMask(t *testing.T) {
	day := gridColumn(algebra.Date, "2023-05-06", "2025-12-31", &Grid{Edges: []string{"2023-05-06", "2024-01-01", "2024-06-15", "2025-12-31"}})
	for _, c := range []struct {
		mask Mask
		want []string
	}{
		{Mask{Op: masking.OpKeep}, []string{"2023-05-06", "2024-01-01", "2024-06-15", "2025-12-31"}},
		{Mask{Op: masking.OpMonth}, []string{"2023-05-01", "2024-01-01", "2024-06-01", "2026-01-01"}},
		{Mask{Op: masking.OpNull}, nil},
	} {
		got, err := maskedGrid(day, c.mask)
		var text []string
		for _, e := range got {
			text = append(text, algebra.FormatDate(e))
		}
		if err != nil || !slices.Equal(text, c.want) {
			t.Errorf("%s: %v %v", c.mask.Op, text, err)
		}
	}
	if got, err := maskedGrid(day, Mask{Op: masking.OpYear}); err != nil || !slices.Equal(got, []int64{2023, 2024, 2026}) {
		t.Errorf("year: %v %v", got, err)
	}
}

// A grid shapes answers and not what is stored: changing it leaves snapshots fresh.
func TestR20_GridIsNotInTheSpec(t *testing.T) {
	d := Dataset{ID: "d", Columns: []Column{gridColumn(algebra.Int, "0", "9", nil)}}
	plain := Entry{Dataset: d}.SpecDigest()
	d.Columns = []Column{gridColumn(algebra.Int, "0", "9", &Grid{Edges: []string{"0", "5", "9"}})}
	e := Entry{Dataset: d}
	if e.SpecDigest() != plain {
		t.Error("a grid makes the snapshot stale")
	}
	cols, err := e.Stored()
	if err != nil || !slices.Equal(cols[0].Grid, []int64{0, 5, 9}) {
		t.Errorf("%+v %v", cols, err)
	}
	d.Columns[0].Bounds.Hi = "8"
	if (Entry{Dataset: d}).SpecDigest() == plain {
		t.Error("control: other bounds do not make it stale")
	}
}

// Every example catalogue is sound with its grids.
func TestR20_ExampleGrids(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "testdata", "*", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	grids := 0
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		docs, err := ParseBundle(text)
		if err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		for _, d := range docs {
			if d.Catalogue == nil {
				continue
			}
			for _, set := range d.Catalogue.Datasets {
				if err := checkDataset(set); err != nil {
					t.Errorf("%s %s: %v", f, set.ID, err)
				}
				for _, c := range set.Columns {
					if c.Grid != nil {
						grids++
					}
				}
			}
		}
	}
	if grids < 20 {
		t.Errorf("only %d grids in the examples", grids)
	}
}
