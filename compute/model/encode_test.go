package model

import (
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/policies"
)

func smallDesign(t testing.TB, rows int) Design {
	s := spec(policies.FamilyLogistic, true)
	s.Features = []policies.ModelFeature{{Column: "n0"}, {Column: "c0"}, {Column: "n9"}, {Column: "born", Bins: 4}}
	s.Groups = []string{"c1"}
	s.RowsPerUnit = rows
	return design(t, s)
}

func TestEncodeValues(t *testing.T) {
	d := smallDesign(t, 5)
	e, err := NewEncoder(d, testKey)
	if err != nil {
		t.Fatal(err)
	}
	n := 6
	units := make([]uint64, n) // one unit
	no := make([]bool, n)
	b := Batch{Units: units, Columns: []Column{
		{Ints: []int64{0, 99, 100, 999, -50, 5000}},                                                           // n0
		{Texts: []string{"a", "b", "c", "a", "", "c"}, Null: []bool{false, false, false, false, true, false}}, // c0
		{Ints: []int64{0, 1, 999, 500, 0, 62}, Null: []bool{true, false, false, false, false, false}},         // n9
		{Ints: []int64{-18263, 0, 18627, 0, 0, 0}},                                                            // born
		{Ints: []int64{1, 0, 1, 0, 1, 1}, Null: []bool{false, false, false, false, false, true}},              // ill
		{Texts: []string{"a", "b", "c", "d", "a", "a"}, Null: no},                                             // c1
	}}
	if !slices.Equal(d.Columns, []string{"n0", "c0", "n9", "born", "ill", "c1"}) {
		t.Fatal(d.Columns)
	}
	if err := e.Add(b); err != nil {
		t.Fatal(err)
	}
	s := e.Finish()
	x := s.Train
	if x.Count == 0 {
		x = s.Held
	}
	if x.Rows() != 5 || x.Count != 1 { // the sixth has no label
		t.Fatalf("%d rows of %d units", x.Rows(), x.Count)
	}
	if !slices.Equal(x.Bins[0], []uint16{0, 0, 1, 5, 0}) {
		t.Errorf("bins of n0: %v", x.Bins[0])
	}
	if !slices.Equal(x.Bins[1], []uint16{0, 1, 2, 0, 3}) || x.Values[1] != nil {
		t.Errorf("codes of c0: %v", x.Bins[1])
	}
	if x.Bins[2][0] != 16 || x.Values[2][0] != 0 || x.Bins[2][2] != 15 {
		t.Errorf("n9: %v %v", x.Bins[2], x.Values[2])
	}
	if v := x.Values[0]; v[0] != -1 || v[3] != 1 || v[4] != -1 || math.Abs(float64(v[1])-(2*99.0/999-1)) > 1e-6 {
		t.Errorf("values of n0: %v", v)
	}
	if v := x.Values[3]; v[0] != -1 || v[2] != 1 || x.Bins[3][2] != 3 {
		t.Errorf("values of born: %v, bins %v", v, x.Bins[3])
	}
	if !slices.Equal(x.Label, []float32{1, 0, 1, 0, 1}) || !slices.Equal(x.Groups[0], []uint16{0, 1, 2, 3, 0}) {
		t.Errorf("labels %v, groups %v", x.Label, x.Groups)
	}
}

func TestEncodeLabels(t *testing.T) {
	s := spec(policies.FamilyTree, true)
	s.Features = features(1, 0)
	s.Label = policies.ModelLabel{Column: "cost", Threshold: "500"}
	l, err := newLabeller(design(t, s).Target)
	if err != nil {
		t.Fatal(err)
	}
	out := make([]float32, 4)
	if err := l.encode(Column{Ints: []int64{49_999, 50_000, 100_000, 0}, Null: []bool{false, false, false, true}}, out); err != nil {
		t.Fatal(err)
	}
	if out[0] != 0 || out[1] != 1 || out[2] != 1 || !math.IsNaN(float64(out[3])) {
		t.Errorf("threshold: %v", out)
	}
	s.Label = policies.ModelLabel{Column: "kind", Positive: []string{"z", "x"}}
	l, _ = newLabeller(design(t, s).Target)
	out = make([]float32, 3)
	if err := l.encode(Column{Texts: []string{"x", "y", "z"}}, out); err != nil || !slices.Equal(out, []float32{1, 0, 1}) {
		t.Errorf("positive codes: %v %v", out, err)
	}
}

// A value outside a code list is refused by the column's name, never by the value.
func TestEncodeRefusals(t *testing.T) {
	d := smallDesign(t, 1)
	good := func() Batch {
		return Batch{Units: []uint64{1}, Columns: []Column{{Ints: []int64{1}}, {Texts: []string{"a"}}, {Ints: []int64{1}}, {Ints: []int64{1}}, {Ints: []int64{1}}, {Texts: []string{"a"}}}}
	}
	for name, c := range map[string]struct {
		code, in string
		edit     func(*Batch)
	}{
		"code":    {CodeCode, "c0", func(b *Batch) { b.Columns[1].Texts[0] = "secret" }},
		"group":   {CodeCode, "c1", func(b *Batch) { b.Columns[5].Texts[0] = "secret" }},
		"bool":    {CodeCode, "ill", func(b *Batch) { b.Columns[4].Ints[0] = 7 }},
		"type":    {CodeRows, "types", func(b *Batch) { b.Columns[0] = Column{Texts: []string{"1"}} }},
		"columns": {CodeRows, "columns", func(b *Batch) { b.Columns = b.Columns[:5] }},
		"null":    {CodeRows, "length", func(b *Batch) { b.Columns[0].Null = []bool{true, true} }},
		"ranks":   {CodeRows, "length", func(b *Batch) { b.Ranks = []int32{1, 2} }},
	} {
		e, err := NewEncoder(d, testKey)
		if err != nil {
			t.Fatal(err)
		}
		b := good()
		c.edit(&b)
		var r *policies.Reason
		if err := e.Add(b); !errors.As(err, &r) || r.Code != c.code || !strings.Contains(r.EN, c.in) || strings.Contains(r.Text("zh")+r.Text("en"), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := NewEncoder(d, []byte("short")); err == nil {
		t.Error("a short key is accepted")
	}
}

// Hold-out and choice of rows depend on the unit's own rows and the key alone: not on
// the file's order, batches or the other units. The hold-out has its share.
func TestEncodeSplitIsStable(t *testing.T) {
	d := smallDesign(t, 2)
	r := rand.New(rand.NewPCG(1, 1))
	type row struct {
		unit uint64
		n0   int64
	}
	var rows []row
	for u := range uint64(3000) {
		for k := range 1 + u%4 {
			rows = append(rows, row{u * 977, int64(u%200)*5 + int64(k)})
		}
	}
	code := func(rows []row, key []byte, ranks bool) (Split, map[uint64]bool) {
		e, err := NewEncoder(d, key)
		if err != nil {
			t.Fatal(err)
		}
		for len(rows) > 0 {
			n := min(len(rows), 700)
			b := Batch{Columns: make([]Column, 6)}
			for i, x := range rows[:n] {
				b.Units = append(b.Units, x.unit)
				if ranks {
					b.Ranks = append(b.Ranks, int32(x.n0%5)+1)
				}
				b.Columns[0].Ints = append(b.Columns[0].Ints, x.n0)
				for _, c := range []int{2, 3, 4} {
					b.Columns[c].Ints = append(b.Columns[c].Ints, int64(i%2))
				}
				b.Columns[4].Ints[i] = x.n0 % 2
				b.Columns[2].Ints[i], b.Columns[3].Ints[i] = 0, 0
				b.Columns[1].Texts, b.Columns[5].Texts = append(b.Columns[1].Texts, "a"), append(b.Columns[5].Texts, "b")
			}
			if err := e.Add(b); err != nil {
				t.Fatal(err)
			}
			rows = rows[n:]
		}
		held := map[uint64]bool{}
		return e.Finish(), held
	}
	plain, _ := code(rows, testKey, false)
	if h := float64(plain.Held.Count) / 3000; math.Abs(h-0.2) > 4*math.Sqrt(0.16/3000) {
		t.Errorf("%.3f of the units are held out", h)
	}
	if plain.Held.Count+plain.Train.Count != 3000 {
		t.Errorf("units are lost: %d and %d", plain.Held.Count, plain.Train.Count)
	}
	for u, n := 0, 0; u < plain.Train.Count; u++ {
		n = 0
		for _, x := range plain.Train.Units {
			if int(x) == u {
				n++
			}
		}
		if n < 1 || n > 2 {
			t.Fatalf("unit %d has %d rows", u, n)
		}
		if u > 50 {
			break
		}
	}
	shuffled := slices.Clone(rows)
	r.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	again, _ := code(shuffled, testKey, false)
	count := func(d *Data) map[float32]int {
		out := map[float32]int{}
		for _, v := range d.Values[0] {
			out[v]++
		}
		return out
	}
	if !reflect.DeepEqual(count(plain.Train), count(again.Train)) || !slices.Equal(plain.Train.Units, again.Train.Units) {
		t.Error("the order of rows changes which are used")
	}
	half, _ := code(rows[:len(rows)/2], testKey, false)
	if !slices.Equal(half.Train.Values[0][:200], plain.Train.Values[0][:200]) {
		t.Error("other units change which rows are used")
	}
	other, _ := code(rows, []byte("another key of at least 16 bytes"), false)
	if slices.Equal(other.Train.Units, plain.Train.Units) {
		t.Error("the key changes nothing")
	}
	ranked, _ := code(rows, testKey, true)
	for _, v := range ranked.Train.Values[0] {
		if n0 := int64(math.Round((float64(v) + 1) / 2 * 999)); n0%5 > 1 {
			t.Fatalf("a row of rank %d is used", n0%5+1)
		}
	}
}

func TestEncodeRows(t *testing.T) {
	d := smallDesign(t, 1)
	x, err := EncodeRows(d.Features, []Column{{Ints: []int64{5, 6}}, {Texts: []string{"a", "b"}}, {Ints: []int64{1, 2}, Null: []bool{true, false}}, {Ints: []int64{0, 0}}})
	if err != nil || x.Rows() != 2 || x.Count != 2 || x.Bins[2][0] != 16 || x.Values[1] != nil {
		t.Errorf("%+v %v", x, err)
	}
	if _, err := EncodeRows(d.Features, []Column{{Ints: []int64{5}}}); err == nil {
		t.Error("too few columns are accepted")
	}
	if _, err := EncodeRows(d.Features, []Column{{Ints: []int64{5, 6}}, {Texts: []string{"a"}}, {Ints: []int64{1, 2}}, {Ints: []int64{0, 0}}}); err == nil {
		t.Error("ragged columns are accepted")
	}
}
