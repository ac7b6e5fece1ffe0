package city

import (
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/masking"
	"github.com/sandgate/sandgate/policies"
)

// verdict of one cell against its catalogue column.
type verdict int

const (
	plain verdict = iota
	missing
	clamped // outside the bounds
	other   // not on the code list, which has an Other
	bad     // ingest sets the row aside
)

// judge is written from the catalogue's definition and shares no code with
// ingest, so that the two check each other.
func judge(c policies.Column, v string) verdict {
	if v == "" || slices.Contains(c.Missing, v) {
		if c.Nullable {
			return missing
		}
		return bad
	}
	if c.Codes != nil {
		if slices.ContainsFunc(c.Codes, func(x policies.Code) bool { return x.Value == v }) {
			return plain
		}
		if c.Other != "" {
			return other
		}
		return bad
	}
	switch c.Identifier {
	case policies.IdentCitizen:
		if n, ok := masking.NormaliseCitizenID(v); !ok || masking.CitizenID(n) != masking.OK {
			return bad
		}
	case policies.IdentCredit:
		if masking.CreditCode(v) != masking.OK {
			return bad
		}
	case policies.IdentPhone:
		if masking.Phone(v) != masking.OK {
			return bad
		}
	}
	n, ok := minimal(c, v)
	if !ok {
		return bad
	}
	if c.Bounds != nil {
		lo, ok1 := minimal(c, c.Bounds.Lo)
		hi, ok2 := minimal(c, c.Bounds.Hi)
		if !ok1 || !ok2 || lo >= hi {
			panic("bounds of " + c.Name)
		}
		if n < lo || n > hi {
			return clamped
		}
	}
	return plain
}

// minimal reads v in the column's minimal units; 0 for text.
func minimal(c policies.Column, v string) (int64, bool) {
	switch c.Type {
	case algebra.Text:
		return 0, true
	case algebra.Int:
		n, err := strconv.ParseInt(v, 10, 64)
		return n, err == nil
	case algebra.Decimal:
		whole, frac, _ := strings.Cut(v, ".")
		if len(frac) > int(c.Scale) {
			return 0, false
		}
		n, err := strconv.ParseInt(whole+frac+strings.Repeat("0", int(c.Scale)-len(frac)), 10, 64)
		return n, err == nil
	case algebra.Date:
		d, err := time.Parse(time.DateOnly, v)
		return d.Unix() / 86400, err == nil
	default:
		return 0, false
	}
}

// tally counts verdicts per cell, and rows with at least one bad cell.
type tally struct {
	rows, badRows int
	cells         map[string]map[verdict]int
}

// check reads a whole CSV file; its header must list the catalogue's columns in
// the catalogue's order.
func check(t *testing.T, d policies.Dataset, r io.Reader) (tally, [][]string) {
	t.Helper()
	in := csv.NewReader(r)
	header, err := in.Read()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	out := tally{cells: map[string]map[verdict]int{}}
	for _, c := range d.Columns {
		names = append(names, c.Name)
		out.cells[c.Name] = map[verdict]int{}
	}
	if !slices.Equal(names, header) {
		t.Fatalf("%s: header %q, catalogue %q", d.ID, header, names)
	}
	all, err := in.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range all {
		worst := plain
		for i, c := range d.Columns {
			v := judge(c, row[i])
			out.cells[c.Name][v]++
			worst = max(worst, v)
		}
		out.rows++
		if worst == bad {
			out.badRows++
		}
	}
	return out, all
}

func datasets(b *bundle) map[string]policies.Dataset {
	m := map[string]policies.Dataset{}
	for _, c := range b.catalogues {
		for _, d := range c.Datasets {
			m[d.ID] = d
		}
	}
	return m
}

// TestGeneratedDataConforms: the tables hold what the catalogue says, and the
// dirt a demo needs, below the limits that would refuse the file.
func TestGeneratedDataConforms(t *testing.T) {
	b := cityBundle(t)
	sets := datasets(b)
	if len(sets) != len(Tables()) {
		t.Errorf("%d catalogue entries for %d tables", len(sets), len(Tables()))
	}
	g := New(Config{Seed: 7, Residents: 2000})
	total := map[verdict]int{}
	for _, info := range Tables() {
		d, ok := sets[info.Name]
		if !ok {
			t.Fatalf("table %s is not in a catalogue", info.Name)
		}
		if _, _, _, ok := b.dataset(info.Department, info.Name); !ok {
			t.Errorf("table %s does not belong to department %s", info.Name, info.Department)
		}
		var buf bytes.Buffer
		if err := g.Write(info.Name, &buf); err != nil {
			t.Fatal(err)
		}
		got, all := check(t, d, &buf)
		if limit := d.BadRows.MaxPercent * float64(got.rows) / 100; float64(got.badRows) > limit {
			t.Errorf("%s: %d bad rows of %d", d.ID, got.badRows, got.rows)
		}
		if got.rows >= badEvery && got.badRows == 0 {
			t.Errorf("%s: no bad row in %d", d.ID, got.rows)
		}
		for _, c := range d.Columns {
			cells := got.cells[c.Name]
			if n := cells[clamped] + cells[other]; n*50 > got.rows+250 {
				t.Errorf("%s.%s: %d of %d cells clamped or other", d.ID, c.Name, n, got.rows)
			}
			if c.Nullable && cells[missing] == 0 && got.rows > 500 {
				t.Errorf("%s.%s: nullable but never empty", d.ID, c.Name)
			}
			for v, n := range cells {
				total[v] += n
			}
			if c.Name == "industry" { // a small city lacks the rare sections
				continue
			}
			for _, code := range c.Codes {
				if i := slices.Index(info.Columns, c.Name); c.Other != code.Value && got.rows > 1500 && !appears(all, i, code.Value) {
					t.Errorf("%s.%s: a code of the list never appears", d.ID, c.Name)
				}
			}
		}
		if d.OneRow {
			unique(t, d, all)
		}
	}
	if total[clamped] == 0 || total[other] == 0 || total[missing] == 0 {
		t.Errorf("the city lacks dirt: %v", total)
	}
}

func appears(all [][]string, column int, v string) bool {
	return slices.ContainsFunc(all, func(row []string) bool { return row[column] == v })
}

func unique(t *testing.T, d policies.Dataset, all [][]string) {
	seen := map[string]bool{}
	for _, row := range all {
		if seen[row[0]] {
			t.Errorf("%s: a unit has two rows", d.ID)
			return
		}
		seen[row[0]] = true
	}
}

// TestJudgeSeesEveryFault is the control of the test above.
func TestJudgeSeesEveryFault(t *testing.T) {
	amount := policies.Column{Type: algebra.Decimal, Scale: 2, Bounds: &policies.Bounds{Lo: "0.00", Hi: "10.00"}}
	code := policies.Column{Type: algebra.Text, Codes: []policies.Code{{Value: "a"}}}
	rest := policies.Column{Type: algebra.Text, Codes: []policies.Code{{Value: "a"}}, Other: "a"}
	null := policies.Column{Type: algebra.Int, Nullable: true, Missing: []string{"?"}}
	for _, tt := range []struct {
		c    policies.Column
		v    string
		want verdict
	}{
		{amount, "10", plain}, {amount, "10.01", clamped}, {amount, "-0.01", clamped}, {amount, "1.001", bad},
		{amount, "待核", bad}, {amount, "", bad}, {code, "a", plain}, {code, "b", bad}, {rest, "b", other},
		{null, "", missing}, {null, "?", missing}, {null, "x", bad}, {null, "7", plain},
		{policies.Column{Type: algebra.Text, Identifier: policies.IdentCitizen}, "110105194912310021", bad},
		{policies.Column{Type: algebra.Text, Identifier: policies.IdentCredit}, "91350211M0000XUF46", bad},
		{policies.Column{Type: algebra.Date}, "0000-00-00", bad},
	} {
		if got := judge(tt.c, tt.v); got != tt.want {
			t.Errorf("judge(%+v, %q) = %d, want %d", tt.c, tt.v, got, tt.want)
		}
	}
}

// TestRealDataConforms checks every value of the public diabetes encounters, when
// SANDGATE_REAL_DATA names the directory that holds the file.
func TestRealDataConforms(t *testing.T) {
	dir := os.Getenv("SANDGATE_REAL_DATA")
	if dir == "" {
		t.Skip("SANDGATE_REAL_DATA is not set")
	}
	f, err := os.Open(filepath.Join(dir, "diabetes-encounters.csv.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	d := datasets(diabetesBundle(t))["diabetes_encounters"]
	got, _ := check(t, d, z)
	if got.rows != 101_766 || got.badRows != 0 {
		t.Errorf("%d rows, %d bad", got.rows, got.badRows)
	}
	for name, cells := range got.cells {
		if cells[bad] > 0 || cells[clamped] > 20 || cells[other] > 0 {
			t.Errorf("%s: %v", name, cells)
		}
	}
}
