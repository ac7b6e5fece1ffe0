package engine

import (
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/policies"
)

func guest(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "testdata", "wasm", name+".wasm"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// paidDesign is a module of a code and a decimal, with a label and a group.
func paidDesign() model.Design {
	scheme := model.Feature{Column: "scheme", Kind: model.KindCategory, Type: algebra.Text, Codes: []string{"employee", "resident"}}
	return model.Design{
		Spec: policies.ModelSpec{Family: policies.FamilyModule, RhoEvaluation: "0.004", RowsPerUnit: 2, Release: policies.ReleaseAggregates,
			Module: &policies.ModelModule{}, Bounds: &policies.ScoreBounds{Low: 0, High: 1, Bins: 20}},
		Features: []model.Feature{scheme, {Column: "paid", Kind: model.KindNumber, Type: algebra.Decimal, Bounds: [2]int64{0, 320_000}, Scale: 2, Nullable: true}},
		Target:   model.Target{Column: "high", Type: algebra.Bool, Classes: 2, Codes: []string{"false", "true"}, Positive: []string{"true"}},
		Groups:   []model.Feature{scheme}, Columns: []string{"scheme", "paid", "high"},
	}
}

// person is one unit: what it paid in its rows.
type person struct {
	paid []int64
	high int64
}

func coded(t testing.TB, d model.Design, people []person) *model.Data {
	t.Helper()
	e, err := model.NewEncoder(d, []byte("0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	b := model.Batch{Columns: make([]model.Column, 3)}
	for i, p := range people {
		for _, v := range p.paid {
			b.Units = append(b.Units, uint64(i))
			b.Columns[0].Texts = append(b.Columns[0].Texts, d.Features[0].Codes[i%2])
			b.Columns[1].Ints, b.Columns[1].Null = append(b.Columns[1].Ints, v), append(b.Columns[1].Null, v < 0)
			b.Columns[2].Ints = append(b.Columns[2].Ints, p.high)
		}
	}
	if err := e.Add(b); err != nil {
		t.Fatal(err)
	}
	s := e.Finish()
	if s.Train.Count != 0 || s.Held.Count != len(people) {
		t.Fatalf("%d units are kept for training, %d of %d counted", s.Train.Count, s.Held.Count, len(people))
	}
	return s.Held
}

func crowd(n int) []person {
	out := make([]person, n)
	for i := range out {
		paid := int64(1000 + 75*i)
		out[i] = person{[]int64{paid}, int64(i * 2 / n)}
		if i%5 == 0 {
			out[i].paid = append(out[i].paid, paid+10)
		}
	}
	return out
}

// countedBy are the sums of a pass; score replaces the module when it is given.
func countedBy(t testing.TB, file []byte, people []person, score func(*model.Data) []float64) ([]int64, model.Pass) {
	t.Helper()
	d := paidDesign()
	data := coded(t, d, people)
	var scores []float64
	if score != nil {
		scores = score(data)
	} else {
		m, err := OpenModule(t.Context(), file, d)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		if scores, err = m.Scores(data); err != nil {
			t.Fatal(err)
		}
	}
	p, err := model.EvaluationPass(d)
	if err != nil {
		t.Fatal(err)
	}
	sums, err := model.ScoreSums(data, d, p, scores, nil)
	if err != nil {
		t.Fatal(err)
	}
	return sums, p
}

// moved is the L2 distance between two sums, in lattice steps.
func moved(a, b []int64) float64 {
	s := 0.0
	for i := range a {
		s += float64(a[i]-b[i]) * float64(a[i]-b[i])
	}
	return math.Sqrt(s)
}

// TestR02_AModuleMovesOneUnitsShare: whatever a hostile module does when it meets one
// person's value, the counts with that person and without differ by no more than one
// unit's contribution. As a control, a module that sees all rows at once tells everybody
// of that value, and moves them by hundreds.
func TestR02_AModuleMovesOneUnitsShare(t *testing.T) {
	people := crowd(400)
	without, pass := countedBy(t, guest(t, "spy-c"), people, nil)
	for _, value := range []int64{11111, 22222, 33333, 44444, 55555, 66666, 77777, 88888, -1} {
		with, _ := countedBy(t, guest(t, "spy-c"), append(people[:len(people):len(people)], person{[]int64{value, value}, 1}), nil)
		if got := moved(with, without); got > float64(pass.Norm) || got == 0 {
			t.Errorf("a person with %d moves the counts by %.0f; one unit may move them by %d", value, got, pass.Norm)
		}
	}
	// The control: what the same module answers when it is given all rows in one batch;
	// TestR02_ABatchTellsOfOnePerson of compute/wasm runs it so.
	batch := func(d *model.Data) []float64 {
		scores := make([]float64, d.Rows())
		for i := range scores {
			scores[i] = 0.25
		}
		for _, v := range d.Exact[1] {
			if v == 11111 {
				for i := range scores {
					scores[i] = 0.95
				}
			}
		}
		return scores
	}
	clean, _ := countedBy(t, nil, people, batch)
	told, _ := countedBy(t, nil, append(people[:len(people):len(people)], person{[]int64{11111}, 1}), batch)
	if moved(clean, without) != 0 {
		t.Error("the control is not the module")
	}
	if got := moved(told, clean); got < 100*float64(pass.Norm) {
		t.Errorf("the control moves the counts by %.0f only: it proves nothing", got)
	}
}

// A module reads what the catalogue says: a code as text, a decimal in its own units,
// and what is missing as missing; its figures are those of its scores.
func TestModuleReadsTheCatalogue(t *testing.T) {
	d := paidDesign()
	data := coded(t, d, []person{{[]int64{160_000}, 1}, {[]int64{160_000}, 0}, {[]int64{-1}, 0}, {[]int64{500_000}, 1}})
	m, err := OpenModule(t.Context(), guest(t, "income-c"), d)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	scores, err := m.Scores(data)
	if err != nil || scores[0] != 0.5 || scores[1] != 0.45 || !math.IsNaN(scores[2]) || scores[3] != 0.9 {
		t.Errorf("%v (%v)", scores, err)
	}
	d.Features[1].Scale = 0
	if _, err := OpenModule(t.Context(), guest(t, "income-c"), d); err == nil {
		t.Error("a module of other types is taken")
	}
	sums, p := countedBy(t, guest(t, "income-c"), crowd(4000), nil)
	e, err := model.Evaluate(sums, paidDesign())
	if err != nil || e.AUC == nil || e.AUC.Value < 0.6 || e.Mean == nil || len(e.Calibration) != 20 || len(e.Groups) != 3 || e.Groups[0].Mean == nil || e.Groups[0].Observed == nil || !e.Groups[2].Withheld {
		t.Errorf("%+v (%v)", e, err)
	}
	if e.Mean.Value <= e.Groups[1].Mean.Value || e.Mean.Value >= e.Groups[0].Mean.Value {
		t.Errorf("means: %v, %v and %v", e.Mean, e.Groups[0].Mean, e.Groups[1].Mean)
	}
	if want := binary.Size(sums) / 8; p.Width != want || p.Width != 2*21*4 {
		t.Errorf("width %d", p.Width)
	}
}
