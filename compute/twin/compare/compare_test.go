package compare

import (
	"bytes"
	"encoding/json"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/model"
)

func key(s string) Field { return Field{Text: s} }

func value(v, half float64) Field { return Field{Cell: Cell{v, v - half, v + half}} }

var heads = []Head{{Name: "district", Key: true}, {Name: "n", Estimate: true}, {Name: "note"}}

func rows(of ...[]Field) Table { return Table{Columns: heads, Rows: of} }

// Groups are matched by their keys in whatever order, what one side alone has or
// withholds is counted and not compared, and shares are of the data's mean value.
func TestAnswersAreMatchedByKeys(t *testing.T) {
	absent := Field{Absent: true}
	groups, columns, ok := Answers(
		rows([]Field{key("a"), value(100, 3), key("x")}, []Field{key("b"), value(300, 4), key("x")}, []Field{key("c"), value(50, 1), key("x")}, []Field{key("d"), absent, key("x")}, []Field{key("e"), value(1, 1), key("x")}, []Field{key("e"), value(2, 1), key("x")}),
		rows([]Field{key("b"), value(290, 3), key("y")}, []Field{key("a"), value(110, 4), key("y")}, []Field{key("d"), value(7, 1), key("y")}, []Field{key("z"), value(7, 1), key("y")}, []Field{key("e"), value(7, 1), key("y")}), false)
	if !ok || groups != (Groups{Both: 3, Data: 1, Twin: 1, Unclear: 1}) || len(columns) != 1 {
		t.Fatalf("%v, %+v, %+v", ok, groups, columns)
	}
	c := columns[0]
	// Both differences are 10, by noises of 3 and 4, whose half widths make 5.
	sd := 5 / 1.959964
	about := math.Sqrt(100 - sd*sd)
	if c.Name != "n" || c.Cells != 2 || c.Withheld != 1 || c.Data != 200 || math.Abs(c.Mean.Low-5) > 1e-9 || math.Abs(c.Mean.High-15) > 1e-9 || math.Abs(c.Mean.About-about) > 1e-9 || len(c.Points) != 2 || c.Points[0].Group != "a" {
		t.Errorf("%+v", c)
	}
	if low, mid, high, ok := c.Share(); !ok || low != 250 || high != 750 || mid != int64(math.Round(about*50)) {
		t.Errorf("a share of %d (%d, %d)", mid, low, high)
	}
	if _, _, ok := Answers(rows(), Table{Columns: heads[:2]}, false); ok {
		t.Error("answers of other columns are compared")
	}
}

// Rounded values are apart by no more and no less than their ends allow; noise is not
// put together as if it were rounding.
func TestExactAnswersSubtractTheirEnds(t *testing.T) {
	for _, x := range []struct {
		data, twin, half float64
		exact            bool
		want             Range
	}{
		{100, 80, 5, true, Range{10, 20, 30}},
		{80, 100, 5, true, Range{10, 20, 30}},
		{100, 95, 5, true, Range{0, 5, 15}},
		{100, 100, 0, true, Range{}},
		{100, 100, 5, false, Range{0, 0, math.Hypot(5, 5)}},
	} {
		a, b := value(x.data, x.half), value(x.twin, x.half)
		if got := apart(a.Cell, b.Cell, x.exact); math.Abs(got.Low-x.want.Low)+math.Abs(got.About-x.want.About)+math.Abs(got.High-x.want.High) > 1e-9 {
			t.Errorf("%v and %v: %+v, expected %+v", x.data, x.twin, got, x.want)
		}
	}
}

// Of a thousand noised pairs the true difference lies in the range of about 950; with one
// side's interval alone it would not.
func TestRangesHoldTheTrueDifference(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	const trials = 4000
	in, naive := 0, 0
	for range trials {
		truth, s1, s2 := 40*r.Float64(), 5.0, 3+4*r.Float64()
		a, b := value(1000+truth+s1*r.NormFloat64(), 1.959964*s1), value(1000+s2*r.NormFloat64(), 1.959964*s2)
		g := apart(a.Cell, b.Cell, false)
		if g.Low <= truth && truth <= g.High {
			in++
		}
		b.Low, b.High = b.Value, b.Value
		if g = apart(a.Cell, b.Cell, false); g.Low <= truth && truth <= g.High {
			naive++
		}
		if !g.holds() {
			t.Fatalf("%+v", g)
		}
	}
	if in < trials*93/100 || naive > trials*90/100 {
		t.Errorf("%d of %d ranges hold the difference, %d with one interval alone", in, trials, naive)
	}
}

// Evaluations are compared figure by figure; a figure or group that one lacks is not.
func TestFiguresThatBothHave(t *testing.T) {
	e := func(v float64) *model.Estimate { return &model.Estimate{Value: v, Low: v - 0.03, High: v + 0.04} }
	data := model.Evaluation{Accuracy: e(0.8), AUC: e(0.9), Groups: []model.GroupPart{{Column: "sex", Code: "1", Accuracy: e(0.7)}, {Column: "sex", Code: "2", Withheld: true}}}
	twin := model.Evaluation{Accuracy: e(0.6), R2: e(0.1), Groups: []model.GroupPart{{Column: "sex", Code: "2", Accuracy: e(0.5)}, {Column: "sex", Code: "1", Accuracy: e(0.7)}}}
	f := Figures(data, twin)
	if len(f) != 2 || f[0].Name != "accuracy" || f[0].Group != "" || f[1].Group != "sex=1" || f[1].Error.Low != 0 {
		t.Fatalf("%+v", f)
	}
	if math.Abs(f[0].Error.Low-0.15) > 1e-9 || math.Abs(f[0].Error.High-0.25) > 1e-9 {
		t.Errorf("%+v", f[0].Error)
	}
}

// Two models agree where both find the same class likeliest; predictions of a number
// are apart as a share of its range.
func TestModelsAgree(t *testing.T) {
	if g := agreed([]float64{0.9, 0.2, 0.6}, []float64{0.7, 0.1, 0.4}, 1, true); g.Share != 6667 || g.Rows != 3 {
		t.Errorf("binary: %+v", g)
	}
	if g := agreed([]float64{0.1, 0.2, 0.5, 0.3}, []float64{0.3, 0.3, 0.2, 0.6}, 2, true); g.Share != 5000 || g.Rows != 2 {
		t.Errorf("three classes: %+v", g)
	}
	if g := agreed([]float64{1, 0}, []float64{-1, 0.5}, 1, false); g.Share != 6250 || g.Classes {
		t.Errorf("a number: %+v", g)
	}
}

func sample() *Report {
	r := Range{1, 2, 3}
	c := Cell{2, 1, 3}
	s := []Source{{Dataset: "clinic", Twin: "ab", Units: 10}}
	return &Report{Party: "alpha", At: 1, Queries: []Query{
		{Name: "q", Job: "jobs/1", Known: true, Sources: s, Groups: Groups{Both: 1}, Columns: []Column{{Name: "n", Cells: 1, Data: 2, Mean: r, Worst: r, Points: []Point{{"a", c, c}}}}},
		{Name: "r", Job: "jobs/2", Refused: "TWIN_NONE"}},
		Models: []Model{{Product: "p", Model: "m", Sources: s, Data: "PASS", Twin: "PASS", Figures: []Figure{{"auc", "", c, c, r}}, Agree: &Agree{Rows: 1, Share: 10_000}}}}
}

// A document is read as it was written; what it never holds is refused without a word of
// it; Of leaves what is of one twin.
func TestDocumentsOfComparisons(t *testing.T) {
	text, err := sample().Encode()
	if err != nil {
		t.Fatal(err)
	}
	r, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := r.Encode(); err != nil || !bytes.Equal(again, text) {
		t.Errorf("read and written it differs: %v", err)
	}
	if of := r.Of("clinic", "ab"); len(of.Queries) != 1 || len(of.Models) != 1 {
		t.Errorf("%+v", of)
	}
	if of := r.Of("clinic", "cd"); len(of.Queries)+len(of.Models) != 0 || len(r.Queries) != 2 {
		t.Errorf("another twin: %+v", of)
	}
	for _, x := range [][2]string{{`"sandgate-comparison/v1"`, `"sandgate-comparison/v2"`}, {`"low": 1,`, `"low": 9,`}, {`"cells": 1`, `"cells": -1`}, {`"share": 10000`, `"share": 10001`}, {`"party"`, `"SECRET"`}, {`"both": 1`, `"both": -1`}, {`"at": 1`, `"at": -1`}} {
		changed := strings.Replace(string(text), x[0], x[1], 1)
		if changed == string(text) {
			t.Fatalf("there is no %s", x[0])
		}
		if _, err := Parse([]byte(changed)); err == nil || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: %v", x[1], err)
		}
	}
	if _, err := Parse(append(text, '{')); err == nil {
		t.Error("what follows a document is ignored")
	}
	bad := sample()
	bad.Queries[0].Columns[0].Data = math.Inf(1)
	if _, err := bad.Encode(); err == nil {
		t.Error("what is no number is written")
	}
}

func FuzzParse(f *testing.F) {
	text, err := sample().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"format":"sandgate-comparison/v1","party":"a","at":0}`))
	f.Add([]byte(`{"format":"sandgate-comparison/v1","queries":[{"columns":[{"mean":{"low":1e999}}]}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := Parse(text)
		if err != nil {
			return
		}
		again, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		back, err := Parse(again)
		if err != nil {
			t.Fatal(err)
		}
		a, _ := json.Marshal(r)
		b, _ := json.Marshal(back)
		if !bytes.Equal(a, b) {
			t.Fatal("read again it differs")
		}
	})
}
