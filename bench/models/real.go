package main

import (
	"compress/gzip"
	"encoding/csv"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/policies"
)

// numbers and their registered upper bounds; categories have the codes of the file.
var (
	numbers = map[string]string{"time_in_hospital": "14", "num_lab_procedures": "132", "num_procedures": "6", "num_medications": "80", "number_outpatient": "20",
		"number_emergency": "20", "number_inpatient": "20", "number_diagnoses": "16"}
	categories = []string{"race", "gender", "age", "max_glu_serum", "A1Cresult", "metformin", "insulin", "change", "diabetesMed", "admission_type_id"}
)

// rhoOfOne is ε = 1 at δ = 10⁻⁶.
const rhoOfOne = "0.0244"

// table is the file: columns by name, and the patient of each row.
type table struct {
	entry   policies.Entry
	columns map[string]model.Column
	units   []uint64
}

func open(file string) (*table, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	lines, err := csv.NewReader(z).ReadAll()
	if err != nil {
		return nil, err
	}
	t := &table{columns: map[string]model.Column{}}
	d := &t.entry.Dataset
	d.ID, d.Unit = "encounters", &policies.Unit{Column: "patient_nbr", Kind: "person"}
	d.Columns = []policies.Column{{Name: "patient_nbr", Type: algebra.Int}}
	t.entry.Department, t.entry.Masked, t.entry.Levels, t.entry.Rule = "health", true, map[string]int{"age": 3}, &policies.DisclosureRule{Mode: "dp", MaxRows: 5}
	for at, name := range lines[0] {
		var c model.Column
		codes := map[string]bool{}
		for _, row := range lines[1:] {
			n, err := strconv.ParseInt(row[at], 10, 64)
			switch {
			case name == "patient_nbr":
				t.units = append(t.units, uint64(n))
			case numbers[name] != "" && err != nil:
				return nil, err
			case numbers[name] != "":
				c.Ints = append(c.Ints, n)
			default:
				c.Texts = append(c.Texts, row[at])
				codes[row[at]] = true
			}
		}
		t.columns[name] = c
		switch {
		case numbers[name] != "":
			d.Columns = append(d.Columns, policies.Column{Name: name, Type: algebra.Int, Bounds: &policies.Bounds{Lo: "0", Hi: numbers[name]}})
		case slices.Contains(categories, name) || name == "readmitted":
			x := policies.Column{Name: name, Type: algebra.Text}
			for code := range codes {
				x.Codes = append(x.Codes, policies.Code{Value: code})
			}
			slices.SortFunc(x.Codes, func(a, b policies.Code) int { return strings.Compare(a.Value, b.Value) })
			d.Columns = append(d.Columns, x)
		}
	}
	return t, nil
}

// split codes the rows of a design and divides the patients.
func (t *table) split(s policies.ModelSpec) (model.Design, model.Split, error) {
	d, err := model.NewDesign(s, t.entry)
	if err != nil {
		return d, model.Split{}, err
	}
	enc, err := model.NewEncoder(d, []byte("0123456789abcdef0123456789abcdef"))
	if err != nil {
		return d, model.Split{}, err
	}
	b := model.Batch{Units: t.units}
	for _, name := range d.Columns {
		b.Columns = append(b.Columns, t.columns[name])
	}
	err = enc.Add(b)
	return d, enc.Finish(), err
}

// result is one training.
type result struct {
	Family  policies.ModelFamily `json:"family"`
	Private bool                 `json:"private"`
	Train   float64              `json:"train_seconds"`
	Score   float64              `json:"score_seconds"`
	Held    []float64            `json:"held"` // scores of the rows held out
}

// handed is what Python reads: one row of each patient. Numbers are as they are stored,
// categories and bins by index.
type handed struct {
	Design  model.Design `json:"design"`
	Numbers []bool       `json:"numbers"`
	Train   side         `json:"train"`
	Held    side         `json:"held"`
	Results []result     `json:"results"`
}

type side struct {
	Values [][]float64 `json:"values"` // feature → row
	Bins   [][]uint16  `json:"bins"`
	Label  []float32   `json:"label"`
}

func real(file, dir string) error {
	t, err := open(file)
	if err != nil {
		return err
	}
	var out handed
	for _, c := range []struct {
		family policies.ModelFamily
		rho    string
		seeds  int
	}{{policies.FamilyLogistic, "", 1}, {policies.FamilyTree, "", 1}, {policies.FamilyForest, "", 1}, {policies.FamilyAdditive, "", 1}, {policies.FamilyAdditive, rhoOfOne, 5}, {policies.FamilyLogistic, rhoOfOne, 5}} {
		s := policies.ModelSpec{Dataset: "encounters", Family: c.family, RhoEvaluation: "0.005", Release: policies.ReleaseScores, RowsPerUnit: 1,
			Label: policies.ModelLabel{Column: "readmitted", Positive: []string{"<30", ">30"}}, Private: c.rho != "", Rho: c.rho}
		for _, x := range t.entry.Dataset.Columns[1:] {
			if x.Name != "readmitted" {
				s.Features = append(s.Features, policies.ModelFeature{Column: x.Name})
			}
		}
		d, rows, err := t.split(s)
		if err != nil {
			return err
		}
		for seed := range c.seeds {
			begin := time.Now()
			p, err := train(d, rows.Train, uint64(seed))
			if err != nil {
				return err
			}
			took := time.Since(begin)
			begin = time.Now()
			held, err := scored(p, rows.Held)
			if err != nil {
				return err
			}
			out.Results = append(out.Results, result{c.family, s.Private, took.Seconds(), time.Since(begin).Seconds(), held})
		}
		// The key and the features are the same for all: so are the rows.
		out.Design, out.Train, out.Held = d, sideOf(d, rows.Train), sideOf(d, rows.Held)
	}
	for _, f := range out.Design.Features {
		out.Numbers = append(out.Numbers, f.Kind == model.KindNumber)
	}
	w, err := os.Create(filepath.Join(dir, "real.json"))
	if err != nil {
		return err
	}
	err = json.NewEncoder(w).Encode(out)
	if cerr := w.Close(); err == nil {
		err = cerr
	}
	return err
}

func sideOf(d model.Design, rows *model.Data) side {
	s := side{Bins: rows.Bins, Label: rows.Label}
	for i, f := range d.Features {
		v := make([]float64, rows.Rows())
		for r := range v {
			v[r] = float64(rows.Bins[i][r])
			if f.Kind == model.KindNumber {
				v[r] = float64(f.Bounds[0]) + (float64(rows.Values[i][r])+1)/2*float64(f.Bounds[1]-f.Bounds[0])
			}
		}
		s.Values = append(s.Values, v)
	}
	return s
}
