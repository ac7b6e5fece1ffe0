package masking

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sandgate/sandgate/compute/algebra"
)

func TestR20_EveryOperatorDeclaresItself(t *testing.T) {
	for _, op := range Operators() {
		d, ok := Describe(op)
		for _, w := range []Words{d.Title, d.Keeps, d.Exposes} {
			if !ok || w.ZH == "" || w.EN == "" || w.ZH == w.EN {
				t.Errorf("%s: a text is missing: %+v", op, d)
			}
		}
	}
	if len(declarations) != len(operators) {
		t.Errorf("%d declarations of %d operators", len(declarations), len(operators))
	}
	if _, ok := Describe("rot13"); ok {
		t.Error("an unknown operator is described")
	}
	if !MayNull("rot13") || MayNull(OpYear) || !MayNull(OpArea) {
		t.Error("MayNull")
	}
}

// TestIntOperators: the integer form of an operator and its text form agree, it is
// monotone, its image holds what it gives and nothing it cannot give.
func TestIntOperators(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	for _, typ := range []algebra.Type{dateType, intType, fenType} {
		for _, m := range masksOf(typ) {
			op, ok := mustNew(t, m.op, m.p).(IntOperator)
			if !ok {
				continue
			}
			out, _, err := OutType(m.op, m.p)
			if err != nil {
				t.Fatal(err)
			}
			lo, hi := int64(-10000), int64(20000)
			image := op.Image(lo, hi, 100000)
			if image == nil || !slices.IsSorted(image) || op.Image(lo, hi, len(image)-1) != nil {
				t.Fatalf("%v: image of %d values", m, len(image))
			}
			rising, falling, hit := true, true, map[int64]bool{}
			for v := lo; v < hi; v++ {
				x, y := op.ApplyInt(v), op.ApplyInt(v+1)
				rising, falling = rising && x <= y, falling && x >= y
				if _, ok := slices.BinarySearch(image, x); !ok {
					t.Fatalf("%v: a result is not in the image", m)
				}
				hit[x], hit[y] = true, true
			}
			if !rising && !falling {
				t.Errorf("%v is not monotone", m)
			}
			if len(hit) != len(image) {
				t.Errorf("%v: %d of %d values of the image can be had", m, len(hit), len(image))
			}
			for _, v := range valuesOf(typ, r, 200) {
				i, ok := parseInt(typ, v)
				got, null := mustNew(t, m.op, m.p).Apply(v)
				if !ok || null || got != formatInt(out, op.ApplyInt(i)) {
					t.Fatalf("%v: text and integer differ", m)
				}
			}
		}
	}
}

func TestNumbersAtTheEndsOf64Bits(t *testing.T) {
	for _, m := range masksOf(intType) {
		op, ok := mustNew(t, m.op, m.p).(IntOperator)
		if !ok || m.op == OpClip {
			continue
		}
		for _, v := range []int64{math.MinInt64, math.MinInt64 + 1, math.MaxInt64 - 1, math.MaxInt64} {
			if got := op.ApplyInt(v); m.p.Width != "" && (got > 0) != (v > 0) {
				t.Errorf("%v of %d overflows to %d", m, v, got)
			}
		}
		op.Image(math.MaxInt64-3, math.MaxInt64, 10)
	}
}

// TestAgeAgainstCalendar holds ages to a year-by-year count.
func TestAgeAgainstCalendar(t *testing.T) {
	at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	op := mustNew(t, OpAgeBand, Params{Type: dateType, At: "2026-03-01", Width: "1"})
	for born := time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC); born.Year() < 2028; born = born.AddDate(0, 0, 13) {
		want := 0
		for !born.AddDate(want+1, 0, 0).After(at) {
			want++
		}
		if got, null := op.Apply(born.Format(time.DateOnly)); null || got != fmt.Sprint(want) {
			t.Fatalf("born %s: %s, want %d", born.Format(time.DateOnly), got, want)
		}
	}
}

func TestRoundAgainstHalfAwayFromZero(t *testing.T) {
	for _, w := range []int64{1, 2, 5, 7, 10} {
		op := mustNew(t, OpRound, Params{Type: intType, Width: fmt.Sprint(w)}).(IntOperator)
		for v := int64(-50); v <= 50; v++ {
			if want := int64(math.Round(float64(v)/float64(w))) * w; op.ApplyInt(v) != want {
				t.Fatalf("round %d to %d: %d, want %d", v, w, op.ApplyInt(v), want)
			}
		}
	}
}

func TestNewOperatorsRefuse(t *testing.T) {
	for name, c := range map[string]struct {
		op   string
		p    Params
		want string
	}{
		"no bands":          {OpBand, Params{Type: intType}, "edges or width"},
		"both":              {OpBand, Params{Type: intType, Width: "5", Edges: []string{"1"}}, "edges or width"},
		"falling edges":     {OpBand, Params{Type: intType, Edges: []string{"5", "4"}}, "ascend"},
		"edge twice":        {OpBand, Params{Type: intType, Edges: []string{"5", "5"}}, "ascend"},
		"edge of text":      {OpBand, Params{Type: intType, Edges: []string{"secret7"}}, "no canonical int"},
		"too many edges":    {OpBand, Params{Type: intType, Edges: make([]string, MaxEdges+1)}, "at most"},
		"width 0":           {OpBand, Params{Type: intType, Width: "0"}, "positive"},
		"width -5":          {OpRound, Params{Type: intType, Width: "-5"}, "positive"},
		"no width":          {OpRound, Params{Type: fenType}, "positive"},
		"band of date":      {OpBand, Params{Type: dateType, Width: "5"}, "int or decimal"},
		"age of int":        {OpAgeBand, Params{Type: intType, Width: "5", At: "2026-01-01"}, "date column"},
		"age without at":    {OpAgeBand, Params{Type: dateType, Width: "5"}, "reference date"},
		"age at 30 Feb":     {OpAgeBand, Params{Type: dateType, Width: "5", At: "2026-02-30"}, "reference date"},
		"ends":              {OpClip, Params{Type: intType}, "lo, hi or both"},
		"ends crossed":      {OpClip, Params{Type: intType, Lo: "5", Hi: "4"}, "above hi"},
		"end is no date":    {OpClip, Params{Type: dateType, Lo: "5"}, "no canonical date"},
		"no level":          {OpAddress, Params{Type: text}, "set level"},
		"unknown level":     {OpAddress, Params{Type: text, Level: "street"}, "set level"},
		"level elsewhere":   {OpArea, Params{Type: text, Digits: 2, Level: LevelCity}, "takes no level"},
		"at elsewhere":      {OpYear, Params{Type: dateType, At: "2026-01-01"}, "takes no at"},
		"edges elsewhere":   {OpRound, Params{Type: intType, Width: "5", Edges: []string{"1"}}, "takes no edges"},
		"lo elsewhere":      {OpBand, Params{Type: intType, Width: "5", Lo: "1"}, "takes no lo"},
		"domain of a date":  {OpEmailDomain, Params{Type: dateType}, "text column"},
		"plate of a number": {OpPlate, Params{Type: intType}, "text column"},
		"quarter of text":   {OpQuarter, Params{Type: text}, "date column"},
	} {
		op, err := New(c.op, c.p)
		if op != nil || err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret7") {
			t.Errorf("%s: %v, %v; want %q", name, op, err, c.want)
		}
	}
}

// TestR06R20_PseudonymsOfTwoAgreementsDoNotJoin, and the control: under one key
// the same attack joins every row.
func TestR06R20_PseudonymsOfTwoAgreementsDoNotJoin(t *testing.T) {
	master := bytes.Repeat([]byte{7}, 32)
	r := rand.New(rand.NewPCG(13, 14))
	var people []string
	for range 500 {
		people = append(people, randomID(r))
	}
	release := func(c Context) map[string]bool {
		key, err := ContextKey(master, c)
		if err != nil {
			t.Fatal(err)
		}
		op, out := mustNew(t, OpPseudonym, Params{Type: text, Key: key}), map[string]bool{}
		for _, p := range people {
			s, _ := op.Apply(p)
			out[s] = true
		}
		return out
	}
	joined := func(a, b map[string]bool) int {
		n := 0
		for s := range a {
			if b[s] {
				n++
			}
		}
		return n
	}
	base := Context{"visits", "alpha-2026", "plan"}
	for _, other := range []Context{
		{"visits", "beta-2026", "plan"}, {"visits", "alpha-2026", "trade"}, {"population", "alpha-2026", "plan"},
		{"visits", "", "plan"}, {"visits", "alpha-2026plan", ""}, {"visitsalpha-2026", "plan", ""},
	} {
		if n := joined(release(base), release(other)); n != 0 {
			t.Errorf("%+v: %d of %d rows join", other, n, len(people))
		}
	}
	if n := joined(release(base), release(base)); n != len(people) {
		t.Errorf("control: under one key %d of %d rows join", n, len(people))
	}
	if _, err := ContextKey(master[:31], base); err == nil {
		t.Error("a short master key")
	}
	if _, err := ContextKey(master, Context{Agreement: "a"}); err == nil {
		t.Error("a context without data set")
	}
}

func FuzzAddress(f *testing.F) {
	for _, s := range []string{"", "黑龙江省哈尔滨市南岗区中山路1号", "北京市北京市朝阳区", "重庆市市辖区渝中区", "河南省济源市沁园街道", "内蒙古自治区锡林郭勒盟二连浩特市", "省", "上海市\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, v string) {
		p, noP := address(v, LevelProvince)
		c, noC := address(v, LevelCity)
		d, noD := address(v, LevelDistrict)
		if noP != noC || noC != noD {
			t.Fatal("levels differ in what they can read")
		}
		if !noP && (!strings.HasPrefix(c, p) || !strings.HasPrefix(d, c) || !strings.HasPrefix(v, p)) {
			t.Fatal("a finer level does not start with the coarser one")
		}
		for level, want := range map[string]string{LevelProvince: p, LevelCity: c} {
			if got, null := address(d, level); !noP && (null || got != want) {
				t.Fatalf("%s of the district is another one than of the address", level)
			}
		}
	})
}
