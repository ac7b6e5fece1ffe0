package model

import (
	"compress/gzip"
	"encoding/csv"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/policies"
)

// encounters reads hospital encounters that the project does not ship, with bounds and
// code lists as a hospital would register them.
func encounters(t *testing.T) (policies.Entry, map[string]Column, []uint64) {
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
	r := csv.NewReader(z)
	head, err := r.Read()
	if err != nil {
		t.Fatal(err)
	}
	e := clinic()
	e.Dataset.Columns = []policies.Column{{Name: "patient_nbr", Type: algebra.Int}}
	e.Dataset.Unit.Column, e.Masks = "patient_nbr", nil
	for name, hi := range map[string]string{"time_in_hospital": "14", "num_lab_procedures": "132", "num_procedures": "6", "num_medications": "80", "number_outpatient": "20",
		"number_emergency": "20", "number_inpatient": "20", "number_diagnoses": "16"} {
		e.Dataset.Columns = append(e.Dataset.Columns, policies.Column{Name: name, Type: algebra.Int, Bounds: &policies.Bounds{Lo: "0", Hi: hi}})
	}
	categories := []string{"race", "gender", "age", "max_glu_serum", "A1Cresult", "metformin", "insulin", "change", "diabetesMed", "admission_type_id", "readmitted"}
	columns, codes, units := map[string]Column{}, map[string]map[string]bool{}, []uint64(nil)
	for {
		row, err := r.Read()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		for i, name := range head {
			c := columns[name]
			switch {
			case name == "patient_nbr":
				u, _ := strconv.ParseUint(row[i], 10, 64)
				units = append(units, u)
			case slices.Contains(categories, name):
				if codes[name] == nil {
					codes[name] = map[string]bool{}
				}
				codes[name][row[i]] = true
				c.Texts = append(c.Texts, row[i])
			default:
				v, _ := strconv.ParseInt(row[i], 10, 64)
				c.Ints = append(c.Ints, v)
			}
			columns[name] = c
		}
	}
	for _, name := range categories {
		c := policies.Column{Name: name, Type: algebra.Text}
		for code := range codes[name] {
			c.Codes = append(c.Codes, policies.Code{Value: code})
		}
		e.Dataset.Columns = append(e.Dataset.Columns, c)
	}
	return e, columns, units
}

// Readmission after a stay with diabetes: what ε = 1 costs on real records, 71 518
// patients with up to three stays each.
func TestRealEncounters_PrivateModels(t *testing.T) {
	if testing.Short() {
		t.Skip("arithmetic: left out of the short run under the race detector")
	}
	e, columns, units := encounters(t)
	for _, c := range []struct {
		family      policies.ModelFamily
		plain, loss float64
	}{{policies.FamilyLogistic, 0.62, 0.015}, {policies.FamilyAdditive, 0.63, 0.03}, {policies.FamilyTree, 0.60, 0.06}, {policies.FamilyForest, 0.60, 0.06}} {
		var figures [2]float64
		for i, private := range []bool{false, true} {
			s := spec(c.family, private)
			s.Features, s.RowsPerUnit = nil, 3
			for _, col := range e.Dataset.Columns[1 : len(e.Dataset.Columns)-1] {
				s.Features = append(s.Features, policies.ModelFeature{Column: col.Name})
			}
			slices.SortFunc(s.Features, func(a, b policies.ModelFeature) int {
				return slices.Index(headOf(e), a.Column) - slices.Index(headOf(e), b.Column)
			})
			s.Label = policies.ModelLabel{Column: "readmitted", Positive: []string{"<30", ">30"}}
			d, err := NewDesign(s, e)
			if err != nil {
				t.Fatal(err)
			}
			enc, err := NewEncoder(d, testKey)
			if err != nil {
				t.Fatal(err)
			}
			b := Batch{Units: units}
			for _, name := range d.Columns {
				b.Columns = append(b.Columns, columns[name])
			}
			if err := enc.Add(b); err != nil {
				t.Fatal(err)
			}
			x := enc.Finish()
			p, err := Train(t.Context(), d, noisyOracle(x.Train, d, 1), nil)
			if err != nil {
				t.Fatal(err)
			}
			figures[i] = auc(scoresOf(t, p, x.Held), x.Held.Label)
		}
		t.Logf("%s: AUC %.4f without noise, %.4f at ε = 1", c.family, figures[0], figures[1])
		if figures[0] < c.plain || figures[1] < figures[0]-c.loss {
			t.Errorf("%s: AUC %.4f without noise (want %.2f), %.4f at ε = 1 (at most %.3f less)", c.family, figures[0], c.plain, figures[1], c.loss)
		}
	}
}

// headOf lists the columns by name, in an order that does not change from run to run.
func headOf(e policies.Entry) []string {
	var out []string
	for _, c := range e.Dataset.Columns {
		out = append(out, c.Name)
	}
	slices.Sort(out)
	return out
}
