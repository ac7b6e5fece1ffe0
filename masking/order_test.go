package masking

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
)

type named struct {
	op string
	p  Params
}

func (n named) String() string {
	return fmt.Sprint(n.op, n.p.Digits, n.p.Level, n.p.At, n.p.Edges, n.p.Width, n.p.Lo, n.p.Hi)
}

var (
	dateType = algebra.Type{Kind: algebra.Date}
	fenType  = algebra.Type{Kind: algebra.Decimal, Scale: 2}
	testKey  = []byte("0123456789abcdef0123456789abcdef")
)

// masksOf lists masks of columns of a type, many of them comparable.
func masksOf(t algebra.Type) []named {
	out := []named{{op: OpKeep}, {op: OpDrop}, {op: OpNull}, {op: OpPseudonym}}
	add := func(op string, p Params) { out = append(out, named{op, p}) }
	switch t.Kind {
	case algebra.Date:
		add(OpConstant, Params{Value: "2000-01-01"})
		add(OpYear, Params{})
		add(OpQuarter, Params{})
		add(OpMonth, Params{})
		add(OpClip, Params{Lo: "1950-01-01"})
		add(OpClip, Params{Lo: "1960-01-01", Hi: "2010-12-31"})
		for _, at := range []string{"2026-01-01", "2020-02-29"} {
			for _, e := range []string{"0 18 60", "0 6 18 35 60", "10 18 60", "18 60", "5"} {
				add(OpAgeBand, Params{At: at, Edges: strings.Fields(e)})
			}
			add(OpAgeBand, Params{At: at, Width: "5"})
			add(OpAgeBand, Params{At: at, Width: "10"})
		}
	case algebra.Int, algebra.Decimal:
		add(OpConstant, Params{Value: "7"})
		for _, e := range []string{"0 20 40", "10 20 40", "-30 0 20 30 40", "20", "0 7 20 40"} {
			add(OpBand, Params{Edges: strings.Fields(e)})
		}
		for _, w := range []string{"5", "10", "3", "20"} {
			add(OpBand, Params{Width: w})
			add(OpRound, Params{Width: w})
		}
		add(OpClip, Params{Lo: "0"})
		add(OpClip, Params{Hi: "40"})
		add(OpClip, Params{Lo: "0", Hi: "40"})
		add(OpClip, Params{Lo: "-20", Hi: "60"})
	case algebra.Text:
		add(OpConstant, Params{Value: "x"})
		for _, d := range []int{2, 4, 6} {
			add(OpArea, Params{Digits: d})
		}
		for _, l := range []string{LevelProvince, LevelCity, LevelDistrict} {
			add(OpAddress, Params{Level: l})
		}
		for _, op := range []string{OpName, OpID, OpPhone, OpCard, OpEmailDomain, OpPlate} {
			add(op, Params{})
		}
	}
	for i := range out {
		out[i].p.Type, out[i].p.Key = t, testKey
	}
	return out
}

// valuesOf draws canonical values, with many near each other.
func valuesOf(t algebra.Type, r *rand.Rand, n int) []string {
	var out []string
	for range n {
		switch t.Kind {
		case algebra.Date:
			out = append(out, algebra.FormatDate(-20000+r.Int64N(45000)))
		case algebra.Text:
			out = append(out, sampleText(r))
		default:
			out = append(out, formatInt(t, (-100+r.Int64N(200))*pow10(t.Scale)+r.Int64N(pow10(t.Scale))))
		}
	}
	return out
}

func pow10(n uint8) int64 {
	out := int64(1)
	for range n {
		out *= 10
	}
	return out
}

func pick(r *rand.Rand, words string) string {
	all := strings.Fields(words)
	return all[r.IntN(len(all))]
}

func sampleText(r *rand.Rand) string {
	switch r.IntN(6) {
	case 0:
		return fmt.Sprintf("23%02d%02d", 1+r.IntN(3), 1+r.IntN(3))
	case 1:
		return pick(r, "黑龙江省 北京市 江西省 内蒙古自治区 砂门市") + pick(r, "哈尔滨市 新余市 北京市 市辖区 锡林郭勒盟 大兴安岭地区 延边朝鲜族自治州 张三") +
			pick(r, "尖山区 新市区 红旗区 鄂温克族自治旗 阳光小区 市区 张三家") + pick(r, "1号 中央街 区政府 ,")
	case 2:
		return pick(r, "张三 欧阳娜娜 阿依古丽·买买提 李四")
	case 3:
		return randomID(r)
	case 4:
		return pick(r, "a b c.d") + "@" + pick(r, "mail.example.cn Mail.example.CN example.org")
	}
	return pick(r, "黑A 京B") + pick(r, "12345 D12345 1234学 1234挂")
}

// TestR20_OrderMeansFunctionOf: where A ≥ B is said, no two values with one result
// under B differ under A; NULL counts as a value.
func TestR20_OrderMeansFunctionOf(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for _, typ := range []algebra.Type{dateType, intType, fenType, text} {
		values := valuesOf(typ, r, 3000)
		masks := masksOf(typ)
		results := make([][]string, len(masks))
		for i, m := range masks {
			op := mustNew(t, m.op, m.p)
			for _, v := range values {
				out, null := op.Apply(v)
				if null {
					out = "\x00"
				}
				results[i] = append(results[i], out)
			}
			// A missing value stays missing, so it is one more input.
			results[i] = append(results[i], "\x00")
		}
		functionOf := func(a, b int) bool {
			of := map[string]string{}
			for i, key := range results[b] {
				if got, ok := of[key]; ok && got != results[a][i] {
					return false
				}
				of[key] = results[a][i]
			}
			return true
		}
		atLeast := make([][]bool, len(masks))
		for a, m := range masks {
			for _, o := range masks {
				atLeast[a] = append(atLeast[a], AtLeast(m.op, m.p, o.op, o.p))
			}
		}
		said := 0
		for a := range masks {
			for b := range masks {
				ge := atLeast[a][b]
				if ge && !functionOf(a, b) {
					t.Errorf("%v: %v ≥ %v is said, and its result is no function of the other's", typ.Kind, masks[a], masks[b])
				}
				if a == b && !ge {
					t.Errorf("%v is not as general as itself", masks[a])
				}
				if ge && a != b {
					said++
				}
				for c := range masks {
					if ge && atLeast[b][c] && !atLeast[a][c] {
						t.Errorf("not transitive: %v ≥ %v ≥ %v", masks[a], masks[b], masks[c])
					}
				}
			}
		}
		// keep alone is under all the others, drop above.
		if said < 2*len(masks) {
			t.Errorf("%v: only %d pairs are comparable", typ.Kind, said)
		}
	}
}

func TestR20_OrderExamples(t *testing.T) {
	d, n := func(p Params) Params { p.Type = dateType; return p }, func(p Params) Params { p.Type = intType; return p }
	for _, c := range []struct {
		a    string
		pa   Params
		b    string
		pb   Params
		want bool
	}{
		{OpYear, d(Params{}), OpMonth, d(Params{}), true},
		{OpMonth, d(Params{}), OpYear, d(Params{}), false},
		{OpAgeBand, d(Params{At: "2026-01-01", Width: "10"}), OpAgeBand, d(Params{At: "2026-01-01", Width: "5"}), true},
		{OpAgeBand, d(Params{At: "2026-01-01", Width: "10"}), OpAgeBand, d(Params{At: "2025-01-01", Width: "5"}), false},
		{OpAgeBand, d(Params{At: "2026-01-01", Width: "10"}), OpYear, d(Params{}), false},
		{OpBand, n(Params{Width: "10"}), OpBand, n(Params{Width: "3"}), false},
		{OpBand, n(Params{Edges: []string{"0", "10"}}), OpBand, n(Params{Width: "5"}), true},
		{OpRound, n(Params{Width: "10"}), OpRound, n(Params{Width: "5"}), false},
		{OpConstant, n(Params{Value: "1"}), OpBand, n(Params{Width: "5"}), true},
		{OpConstant, n(Params{Value: "1"}), OpNull, n(Params{}), false},
		{OpDrop, n(Params{}), OpNull, n(Params{}), true},
		{OpNull, n(Params{}), OpDrop, n(Params{}), false},
		{OpNull, n(Params{}), OpBand, d(Params{}), false}, // another column's type
		{"rot13", n(Params{}), OpKeep, n(Params{}), false},
		{OpKeep, n(Params{}), "rot13", n(Params{}), false},
	} {
		if got := AtLeast(c.a, c.pa, c.b, c.pb); got != c.want {
			t.Errorf("%s %+v ≥ %s %+v: %v", c.a, c.pa, c.b, c.pb, got)
		}
	}
}

// TestR20_CoarserForms: the grid cell and the quotient of a value are functions of
// its band wherever that is said, and somewhere it is said.
func TestR20_CoarserForms(t *testing.T) {
	masks := []Params{{Width: "5"}, {Width: "10"}, {Edges: []string{"0", "10", "20", "30"}}, {Edges: []string{"10", "20"}}, {Width: "3"}}
	grids := [][]int64{{-100, 0, 10, 20, 100}, {-100, 100}, {-100, 5, 100}, {-100, 10, 20, 100}, {-100, 9, 30, 100}}
	said := 0
	check := func(p Params, form func(int64) int64) {
		said++
		band := mustNew(t, OpBand, p).(IntOperator)
		of := map[int64]int64{}
		for v := int64(-100); v < 100; v++ {
			b, f := band.ApplyInt(v), form(v)
			if got, ok := of[b]; ok && got != f {
				t.Fatalf("%+v: the form tells more than the band at %d", p, v)
			}
			of[b] = f
		}
	}
	for _, p := range masks {
		p.Type = intType
		for _, g := range grids {
			if CoarserGrid(p, g) {
				check(p, func(v int64) int64 { return bands{edges: g[:len(g)-1]}.floor(v) })
			}
		}
		for by := int64(1); by < 40; by++ {
			if CoarserQuotient(p, by) {
				check(p, func(v int64) int64 { return max(v, 0) / by })
			}
		}
	}
	if said < 10 {
		t.Errorf("only %d forms are allowed", said)
	}
	if CoarserGrid(Params{Width: "5", Type: intType}, []int64{-100, 7, 100}) || CoarserGrid(Params{Type: intType}, grids[0]) {
		t.Error("a finer grid is allowed")
	}
}
