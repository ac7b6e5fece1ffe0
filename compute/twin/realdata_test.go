package twin

import (
	"compress/gzip"
	"encoding/csv"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/policies"
)

// encounters reads hospital encounters that the project does not ship, with bounds and
// code lists as a hospital would register them.
func encounters(t testing.TB) (Schema, model.Batch) {
	name := os.Getenv("SANDGATE_REAL_DATA")
	if name == "" {
		t.Skip("REAL DATA IS MISSING, THE PROPERTY WAS NOT TESTED: name diabetes-encounters.csv.gz, or its folder, in SANDGATE_REAL_DATA")
	}
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		name = filepath.Join(name, "diabetes-encounters.csv.gz")
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(z).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	e := registry()
	e.Dataset.ID = "encounters"
	e.Dataset.Columns = []policies.Column{{Name: "person", Type: algebra.Text}}
	var b model.Batch
	for _, row := range rows[1:] {
		u, _ := strconv.ParseUint(row[slices.Index(rows[0], "patient_nbr")], 10, 64)
		b.Units = append(b.Units, u)
	}
	for _, c := range []struct{ name, hi string }{{"time_in_hospital", "14"}, {"num_lab_procedures", "132"}, {"num_procedures", "6"}, {"num_medications", "80"},
		{"number_inpatient", "20"}, {"number_diagnoses", "16"}, {"race", ""}, {"gender", ""}, {"age", ""}, {"A1Cresult", ""}, {"insulin", ""}, {"readmitted", ""}} {
		x, at := policies.Column{Name: c.name, Type: algebra.Text}, slices.Index(rows[0], c.name)
		column, seen := model.Column{}, map[string]bool{}
		for _, row := range rows[1:] {
			if c.hi != "" {
				v, _ := strconv.ParseInt(row[at], 10, 64)
				column.Ints = append(column.Ints, v)
				continue
			}
			seen[row[at]] = true
			column.Texts = append(column.Texts, row[at])
		}
		if c.hi != "" {
			x.Type, x.Bounds = algebra.Int, &policies.Bounds{Lo: "0", Hi: c.hi}
		}
		for code := range seen {
			x.Codes = append(x.Codes, policies.Code{Value: code})
		}
		slices.SortFunc(x.Codes, func(a, b policies.Code) int {
			if a.Value < b.Value {
				return -1
			}
			return 1
		})
		e.Dataset.Columns = append(e.Dataset.Columns, x)
		b.Columns = append(b.Columns, column)
	}
	return schemaOf(t, Spec{RowsPerUnit: 3}, e), b
}

// A twin of 71 518 real patients at ε = 1 keeps their marginals.
func TestRealEncounters_Twin(t *testing.T) {
	if testing.Short() {
		t.Skip("arithmetic: left out of the short run under the race detector")
	}
	s, b := encounters(t)
	d := encoded(t, s, b)
	x := learnt(t, s, d, 1)
	_, drawn := drawnFrom(t, s, x, d.Count)
	one, two := distances(s, d, drawn)
	t.Logf("ε = 1: mean distance of 1-way marginals %.4f, of 2-way ones %.4f; reported %+v", one, two, x.Quality)
	// Columns drawn apart from each other are 0.041 away in pairs.
	if one > 0.02 || two > 0.03 {
		t.Errorf("mean distance of 1-way marginals %.4f (at most 0.02), of 2-way ones %.4f (at most 0.03)", one, two)
	}
}
