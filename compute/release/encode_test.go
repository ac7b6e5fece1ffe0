package release

import (
	"bytes"
	"crypto/sha256"
	"math"
	"math/big"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/protect"
)

// sample is a release with every kind of cell.
func sample(t testing.TB) *Release {
	f := testFacts(1)
	f.OneRow = true
	f.Columns["day"] = protect.ColumnFacts{Type: algebra.Type{Kind: algebra.Date}, Codes: []algebra.Value{{Type: algebra.Type{Kind: algebra.Date}, I: -1}, {Type: algebra.Type{Kind: algebra.Date}, I: 20_000}}}
	f.Columns["ok"] = protect.ColumnFacts{Type: boolType}
	f.Columns["rate"] = protect.ColumnFacts{Type: yuanType, Codes: []algebra.Value{{Type: yuanType, I: -5}}}
	p := build(t, core(f, []string{"h", "day", "ok", "rate"}, agg(f, algebra.CountRows, ""), agg(f, algebra.Sum, "pay"), agg(f, algebra.Avg, "debt")), 4_000_000, f)
	x := protect.Partials{Cells: []protect.Cell{cellOf(p, []algebra.Value{text("b"), {Type: algebra.Type{Kind: algebra.Date}, I: 20_000}, {Type: boolType, I: 1}, {Type: yuanType, I: -5}},
		map[protect.MeasureKind]int64{protect.MeasureRows: 5000, protect.MeasureNonNull: 4000, protect.MeasureSum: 123_456})}}
	return release(t, p, x, seeded(9))
}

func TestRowsPrintsTypes(t *testing.T) {
	var dates, bools, rates, nulls []string
	for _, row := range sample(t).Rows() {
		if row[0].Null {
			nulls = append(nulls, row[0].Suppressed)
		}
		dates, bools, rates = append(dates, row[1].Value), append(bools, row[2].Value), append(rates, row[3].Value)
	}
	if len(dates) != 16 || dates[0] != "1969-12-31" || dates[2] != "2024-10-04" || bools[0] != "false" || bools[1] != "true" || rates[0] != "-0.05" || len(nulls) != 4 || nulls[0] != "" {
		t.Errorf("%v %v %v %v", dates, bools, rates, nulls)
	}
	for _, c := range []struct {
		x     int64
		scale uint8
		want  string
	}{{0, 0, "0"}, {0, 2, "0.00"}, {-1, 2, "-0.01"}, {12345, 2, "123.45"}, {math.MinInt64, 0, "-9223372036854775808"}, {5, 11, "0.00000000005"}} {
		if got := algebra.FormatDecimal(big.NewInt(c.x), c.scale); got != c.want {
			t.Errorf("algebra.FormatDecimal(%d,%d) = %s", c.x, c.scale, got)
		}
	}
}

func TestR01LoadGivesTheSameRelease(t *testing.T) {
	base := sample(t)
	derived, err := base.Apply(algebra.Post{Outputs: []algebra.Output{{Ref: 6, Name: "均值 <avg>"}, {Ref: 0, Name: "h"}}})
	if err != nil {
		t.Fatal(err)
	}
	private := release(t, privatePlan(t, 10), keyed(map[string]int64{"键\u2028<\"": 5000}, privatePlan(t, 10)), seeded(4))
	ex, err := exactTable(t, []string{"g"}, []int64{100, 200, 43, 9}, nil, 352, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []*Release{base, derived, private, ex} {
		b, digest := r.Encode(), r.Digest()
		again, err := Load(b, digest)
		if err != nil {
			t.Fatalf("%v: %s", err, b)
		}
		if !bytes.Equal(again.Encode(), b) || !reflect.DeepEqual(again.Rows(), r.Rows()) || !reflect.DeepEqual(again.Columns(), r.Columns()) ||
			again.Rho() != r.Rho() || again.Mode() != r.Mode() || again.Derived() != r.Derived() || again.Len() != r.Len() {
			t.Errorf("a loaded release differs:\n%s\n%s", b, again.Encode())
		}
		for i := range b { // every single byte counts
			c := bytes.Clone(b)
			c[i] ^= 1
			if _, err := Load(c, digest); err == nil {
				t.Fatalf("byte %d may be changed", i)
			}
		}
		if _, err := Load(b, [32]byte{}); err == nil {
			t.Error("a wrong digest is accepted")
		}
	}
	if base.Rho() <= 0 || !derived.Derived() || base.Derived() {
		t.Error("price or derivation lost")
	}
}

// Bytes with a fitting digest are still refused unless they are exactly what
// Encode would have written.
func TestR01LoadRefusesOtherForms(t *testing.T) {
	good := `{"v":1,"mode":"dp","rho":5,"derived":false,"source":"","columns":[{"name":"","kind":"key","func":"","type":"text","scale":0},{"name":"","kind":"estimate","func":"avg","type":"decimal","scale":2}],"rows":[[{"s":"a"},{"v":"5","lo":"1","hi":"9"}],[{},{"x":"TOO_NOISY"}]]}`
	if _, err := Load([]byte(good), sha256.Sum256([]byte(good))); err != nil {
		t.Fatalf("the base case is refused: %v", err)
	}
	for _, c := range [][2]string{
		{`"v":1`, `"v":2`}, {`"mode":"dp"`, `"mode":"raw"`}, {`"mode":"dp"`, `"mode":"exact"`}, {`"rho":5`, `"rho":-5`}, {`"rho":5`, `"rho":0`},
		{`"rho":5`, `"rho":5.0`}, {`"rho":5`, `"rho":5,"rho":5`}, {`"rho":5`, `"rho": 5`}, {`"rho":5`, `"rho":5,"extra":1`},
		{`"derived":false`, `"derived":true`}, {`"source":""`, `"source":"00"`}, {`"kind":"key"`, `"kind":"raw"`},
		{`"func":"avg"`, `"func":"mode"`}, {`"func":"avg"`, `"func":"corr"`}, {`"func":"avg"`, `"func":"count"`}, {`"scale":2`, `"scale":1`}, {`"scale":2`, `"scale":200`},
		{`"type":"text"`, `"type":"blob"`}, {`"type":"text"`, `"type":"int"`}, {`"name":""`, `"name":"x"`},
		{`{"s":"a"}`, `{"s":"a","v":"1"}`}, {`{"s":"a"}`, `{"v":"1"}`}, {`{"s":"a"}`, `{"s":"\u0061"}`}, {`{"s":"a"},`, ``},
		{`"v":"5"`, `"v":"05"`}, {`"v":"5"`, `"v":"+5"`}, {`"v":"5"`, `"v":"5e0"`}, {`"v":"5"`, `"v":"99"`}, {`"v":"5"`, `"v":"-1"`}, {`"v":"5"`, `"v":""`},
		{`"v":"5"`, `"v":"` + strings.Repeat("9", 101) + `"`}, {`"hi":"9"`, `"hi":""`}, {`"x":"TOO_NOISY"`, `"x":"BELOW_K"`}, {`"x":"TOO_NOISY"`, `"x":"HUSH"`},
		{`{"x":"TOO_NOISY"}`, `{"v":"5","lo":"1","hi":"9","x":"TOO_NOISY"}`}, {`{"x":"TOO_NOISY"}`, `{}`}, {`]]}`, `]]}{}`}, {`]]}`, "]]}\n"}, {`"rows":[`, `"rows":null,"r":[`},
	} {
		bad := strings.Replace(good, c[0], c[1], 1)
		if bad == good {
			t.Fatalf("%s does not occur", c[0])
		}
		if r, err := Load([]byte(bad), sha256.Sum256([]byte(bad))); err == nil || r != nil {
			t.Errorf("accepted: %s -> %s", c[0], c[1])
		} else if strings.Contains(err.Error(), "HUSH") {
			t.Errorf("the error quotes the bytes: %v", err)
		}
	}
}

func FuzzLoad(f *testing.F) {
	b := sample(f).Encode()
	f.Add(b)
	f.Add([]byte(`{"v":1,"mode":"dp","rho":5,"derived":false,"source":"","columns":[{"name":"","kind":"key","func":"","type":"text","scale":0}],"rows":[[{"s":"a"}],[{}]]}`))
	f.Add([]byte(`{"v":1,"mode":"exact","rho":0,"derived":false,"source":"","columns":[{"name":"","kind":"estimate","func":"count","type":"int","scale":0}],"rows":[[{"x":"BELOW_K"}]]}`))
	f.Add([]byte("{}"))
	f.Add([]byte("null"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := Load(b, [32]byte{1}); err == nil {
			t.Fatal("a wrong digest is accepted")
		}
		r, err := Load(b, sha256.Sum256(b))
		if err != nil {
			return
		}
		if !bytes.Equal(r.Encode(), b) {
			t.Fatalf("accepted but not canonical:\n%s\n%s", b, r.Encode())
		}
		if r.Digest() != sha256.Sum256(b) {
			t.Fatal("digest differs")
		}
		r.Rows()
		if !r.Derived() && len(r.Columns()) > 0 {
			if _, err := r.Apply(algebra.Post{Outputs: []algebra.Output{{Ref: 0}}, Order: []algebra.Order{{Ref: 0, Desc: true}}}); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestReleaseIsSafeForConcurrentUse(t *testing.T) {
	r := sample(t)
	want := r.Digest()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			d, err := r.Apply(algebra.Post{Outputs: []algebra.Output{{Ref: 4, Name: "n"}}, Order: []algebra.Order{{Ref: 4}}})
			if err != nil || d.Len() != r.Len() || r.Digest() != want {
				t.Errorf("concurrent use: %v", err)
			}
			rows := r.Rows()
			rows[0][0] = Cell{}
			r.Columns()[0] = Column{}
		})
	}
	wg.Wait()
	if r.Digest() != want {
		t.Error("a reader changed the release")
	}
}
