package release

import (
	"cmp"
	"encoding/hex"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/protect"
)

// fixed is a release with known values, as Load would give it: key g (text),
// count (int), avg (decimal, 2 digits).
func fixed(rows ...[3]any) *Release {
	r := &Release{mode: protect.ModeDP, rho: 1, cols: []Column{
		{Kind: KindKey, Type: textType},
		{Kind: KindEstimate, Func: algebra.CountRows, Type: intType},
		{Kind: KindEstimate, Func: algebra.Avg, Type: yuanType}}}
	for _, x := range rows {
		var v []value
		for i, c := range x {
			switch c := c.(type) {
			case nil:
				if i == 0 {
					v = append(v, value{})
				} else {
					v = append(v, value{withheld: TooNoisy})
				}
			case string:
				v = append(v, value{text: &c})
			case int:
				n := big.NewInt(int64(c))
				v = append(v, value{num: n, lo: n, hi: n})
			}
		}
		r.rows = append(r.rows, v)
	}
	return r
}

func outputs(refs ...int) (out []algebra.Output) {
	for _, r := range refs {
		out = append(out, algebra.Output{Ref: r, Name: string(rune('p' + r))})
	}
	return out
}

func TestApply(t *testing.T) {
	r := fixed([3]any{"b", 10, 250}, [3]any{"a", 30, nil}, [3]any{nil, 20, 100}, [3]any{"c", 10, 300})
	two := int64(2)
	op := func(op algebra.PredOp, ref int, v ...algebra.Value) *algebra.PostPred {
		return &algebra.PostPred{Op: op, Ref: ref, Values: v}
	}
	dec := func(i int64, s uint8) algebra.Value {
		return algebra.Value{Type: algebra.Type{Kind: algebra.Decimal, Scale: s}, I: i}
	}
	other := func(i int) *int { return &i }
	for _, c := range []struct {
		name string
		post algebra.Post
		want string
	}{
		{"project", algebra.Post{Outputs: outputs(1, 0)}, "10,b 30,a 20,NULL 10,c"},
		{"twice", algebra.Post{Outputs: outputs(0, 0)}, "b,b a,a NULL,NULL c,c"},
		{"order, nulls last", algebra.Post{Outputs: outputs(0), Order: []algebra.Order{{Ref: 0}}}, "a b c NULL"},
		{"desc, nulls last", algebra.Post{Outputs: outputs(0), Order: []algebra.Order{{Ref: 0, Desc: true}}}, "c b a NULL"},
		{"desc, nulls first", algebra.Post{Outputs: outputs(0), Order: []algebra.Order{{Ref: 0, Desc: true, NullsFirst: true}}}, "NULL c b a"},
		{"two orders, stable", algebra.Post{Outputs: outputs(0), Order: []algebra.Order{{Ref: 1}, {Ref: 2, Desc: true}}}, "c b NULL a"},
		{"withheld sorts as null", algebra.Post{Outputs: outputs(0), Order: []algebra.Order{{Ref: 2}}}, "NULL b c a"},
		{"limit, offset", algebra.Post{Outputs: outputs(0), Limit: &two, Offset: 1}, "a NULL"},
		{"offset past the end", algebra.Post{Outputs: outputs(0), Offset: 1 << 60, Limit: &two}, ""},
		{"order by a column not chosen", algebra.Post{Outputs: outputs(0), Order: []algebra.Order{{Ref: 1, Desc: true}}, Limit: &two}, "a NULL"},
		{"having ge", algebra.Post{Outputs: outputs(0), Having: op(algebra.OpGe, 1, num(20))}, "a NULL"},
		{"having across scales", algebra.Post{Outputs: outputs(0), Having: op(algebra.OpGt, 2, num(2))}, "b c"},
		{"having finer scale", algebra.Post{Outputs: outputs(0), Having: op(algebra.OpEq, 2, dec(25000, 4))}, "b"},
		{"having text", algebra.Post{Outputs: outputs(0), Having: op(algebra.OpLt, 0, text("b"))}, "a"},
		{"having in", algebra.Post{Outputs: outputs(0), Having: op(algebra.OpIn, 0, text("b"), text("c"))}, "b c"},
		{"not in with null is never true", algebra.Post{Outputs: outputs(0), Having: &algebra.PostPred{Op: algebra.OpNot, Args: []algebra.PostPred{*op(algebra.OpIn, 0, text("b"), null(textType))}}}, ""},
		{"not of unknown", algebra.Post{Outputs: outputs(0), Having: &algebra.PostPred{Op: algebra.OpNot, Args: []algebra.PostPred{*op(algebra.OpEq, 2, num(1))}}}, "b c"},
		{"withheld is null", algebra.Post{Outputs: outputs(0), Having: op(algebra.OpIsNull, 2)}, "a"},
		{"column to column", algebra.Post{Outputs: outputs(0), Having: &algebra.PostPred{Op: algebra.OpGt, Ref: 1, Other: other(2)}}, "b NULL c"},
		{"or with unknown", algebra.Post{Outputs: outputs(0), Having: &algebra.PostPred{Op: algebra.OpOr, Args: []algebra.PostPred{*op(algebra.OpEq, 2, num(1)), *op(algebra.OpEq, 1, num(30))}}}, "a NULL"},
		{"and with unknown", algebra.Post{Outputs: outputs(0), Having: &algebra.PostPred{Op: algebra.OpAnd, Args: []algebra.PostPred{*op(algebra.OpNe, 2, num(1)), *op(algebra.OpLe, 1, num(30))}}}, "b c"},
		{"const false", algebra.Post{Outputs: outputs(0), Having: op(algebra.OpConst, 0, algebra.Value{Type: boolType})}, ""},
		{"const null", algebra.Post{Outputs: outputs(0), Having: op(algebra.OpConst, 0, null(boolType))}, ""},
	} {
		before := r.Digest()
		d, err := r.Apply(c.post)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		var got []string
		for _, row := range d.Rows() {
			var cells []string
			for _, x := range row {
				if x.Null {
					x.Value = "NULL"
				}
				cells = append(cells, x.Value)
			}
			got = append(got, strings.Join(cells, ","))
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: got %q, want %q", c.name, strings.Join(got, " "), c.want)
		}
		if r.Digest() != before || !d.Derived() || d.source != hex.EncodeToString(before[:]) || d.Rho() != r.Rho() {
			t.Errorf("%s: source changed or not marked derived", c.name)
		}
		if d.Columns()[0].Name == "" {
			t.Errorf("%s: no name", c.name)
		}
		if _, err := d.Apply(c.post); err == nil {
			t.Errorf("%s: a derived release was processed again", c.name)
		}
	}
}

func TestApplyRefuses(t *testing.T) {
	r := fixed([3]any{"b", 10, 250})
	minus, nine := int64(-1), 9
	deep := algebra.PostPred{Op: algebra.OpIsNull}
	for range 1000 {
		deep = algebra.PostPred{Op: algebra.OpNot, Args: []algebra.PostPred{deep}}
	}
	having := func(p algebra.PostPred) algebra.Post { return algebra.Post{Outputs: outputs(0), Having: &p} }
	secret := "4111"
	for name, post := range map[string]algebra.Post{
		"no output":      {},
		"output":         {Outputs: outputs(3)},
		"negative":       {Outputs: outputs(-1)},
		"name":           {Outputs: []algebra.Output{{Ref: 0, Name: "\xff"}}},
		"order":          {Outputs: outputs(0), Order: []algebra.Order{{Ref: 3}}},
		"limit":          {Outputs: outputs(0), Limit: &minus},
		"offset":         {Outputs: outputs(0), Offset: -1},
		"op":             having(algebra.PostPred{Op: "like", Values: []algebra.Value{text(secret)}}),
		"empty op":       having(algebra.PostPred{}),
		"and of nothing": having(algebra.PostPred{Op: algebra.OpAnd}),
		"not of two":     having(algebra.PostPred{Op: algebra.OpNot, Args: []algebra.PostPred{deep, deep}}),
		"no value":       having(algebra.PostPred{Op: algebra.OpEq}),
		"two values":     having(algebra.PostPred{Op: algebra.OpEq, Values: []algebra.Value{text(secret), text(secret)}}),
		"types":          having(algebra.PostPred{Op: algebra.OpEq, Ref: 1, Values: []algebra.Value{text(secret)}}),
		"redacted":       having(algebra.PostPred{Op: algebra.OpEq, Values: []algebra.Value{{Type: textType, Redacted: true}}}),
		"scale":          having(algebra.PostPred{Op: algebra.OpEq, Ref: 1, Values: []algebra.Value{{Type: algebra.Type{Kind: algebra.Decimal, Scale: 255}}}}),
		"other":          having(algebra.PostPred{Op: algebra.OpEq, Other: &nine}),
		"const":          having(algebra.PostPred{Op: algebra.OpConst, Values: []algebra.Value{num(1)}}),
		"isnull":         having(algebra.PostPred{Op: algebra.OpIsNull, Ref: 9}),
		"deep":           having(deep),
	} {
		if d, err := r.Apply(post); err == nil || d != nil {
			t.Errorf("%s: accepted", name)
		} else if strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the error quotes a literal: %v", name, err)
		}
	}
}

// Property: sorting and cutting agree with a plain reference on random releases.
func TestApplyOrderAgainstReference(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 8))
	for range 300 {
		var rows [][3]any
		for range rng.IntN(12) {
			x := [3]any{string(rune('a' + rng.IntN(3))), rng.IntN(4), rng.IntN(4)}
			if rng.IntN(4) == 0 {
				x[2] = nil
			}
			rows = append(rows, x)
		}
		desc, first := rng.IntN(2) == 0, rng.IntN(2) == 0
		limit, offset := rng.Int64N(14), rng.Int64N(6)
		got, err := fixed(rows...).Apply(algebra.Post{Outputs: outputs(0, 1, 2), Limit: &limit, Offset: offset,
			Order: []algebra.Order{{Ref: 2, Desc: desc, NullsFirst: first}, {Ref: 0}}})
		if err != nil {
			t.Fatal(err)
		}
		rank := func(x any) int {
			switch v, ok := x.(int); {
			case !ok && first:
				return -1000
			case !ok:
				return 1000
			case desc:
				return -v
			default:
				return v
			}
		}
		slices.SortStableFunc(rows, func(a, b [3]any) int {
			return cmp.Or(cmp.Compare(rank(a[2]), rank(b[2])), cmp.Compare(a[0].(string), b[0].(string)))
		})
		rows = rows[min(int(offset), len(rows)):]
		rows = rows[:min(int(limit), len(rows))]
		want := fixed(rows...)
		if show(got) != show(want) {
			t.Fatalf("got %s, want %s", show(got), show(want))
		}
	}
}
