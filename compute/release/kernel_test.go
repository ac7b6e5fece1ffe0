package release

import (
	"bytes"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"math"
	"math/big"
	"math/rand/v2"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/protect"
)

func cellOf(p *protect.Plan, keys []algebra.Value, m map[protect.MeasureKind]int64) protect.Cell {
	c := protect.Cell{Keys: keys}
	for _, x := range p.Measures {
		c.M = append(c.M, big.NewInt(m[x.Kind]))
	}
	return c
}

// Every registered combination is answered, empty ones and NULL too, in key order;
// an unregistered code never shows and never turns the answer into an error.
func TestR01PublicKeysAllAnswered(t *testing.T) {
	f := testFacts(1)
	p := build(t, core(f, []string{"g", "h"}, agg(f, algebra.CountRows, "")), 4_000_000, f)
	x := protect.Partials{Cells: []protect.Cell{
		cellOf(p, []algebra.Value{text("zz"), text("a")}, map[protect.MeasureKind]int64{protect.MeasureRows: 1 << 40}),
		cellOf(p, []algebra.Value{text("b"), null(textType)}, map[protect.MeasureKind]int64{protect.MeasureRows: 100_000}),
		cellOf(p, []algebra.Value{null(textType), text("a")}, map[protect.MeasureKind]int64{protect.MeasureRows: 1 << 40}),
	}}
	r := release(t, p, x, seeded(1))
	var keys []string
	for _, row := range r.Rows() {
		h := row[1].Value
		if row[1].Null {
			h = "NULL"
		}
		keys = append(keys, row[0].Value+h)
		n, _ := strconv.Atoi(row[2].Value)
		if big := row[0].Value == "b" && row[1].Null; n < 0 || big != (n > 90_000) || n > 110_000 {
			t.Errorf("cell %s%s: %d", row[0].Value, h, n)
		}
		if row[2].Kind != KindEstimate || row[2].Suppressed != "" || row[2].Lo == "" {
			t.Errorf("cell %+v", row[2])
		}
	}
	if got := strings.Join(keys, " "); got != "aa ab ac aNULL ba bb bc bNULL ca cb cc cNULL da db dc dNULL" {
		t.Errorf("keys %s", got)
	}
	cols := r.Columns()
	if len(cols) != 3 || cols[0].Kind != KindKey || cols[2].Func != algebra.CountRows || cols[2].Type.Kind != algebra.Int {
		t.Errorf("columns %+v", cols)
	}
}

// The noise of different cells, measures and runs is independent and has the plan's σ.
func TestR01NoisePerCell(t *testing.T) {
	f := testFacts(1)
	p := build(t, core(f, []string{"g"}, agg(f, algebra.CountRows, ""), agg(f, algebra.Sum, "pay")), 4_000_000, f)
	seen := map[string]int{}
	for range 20 {
		x := protect.Partials{}
		for _, k := range p.Keys[0].Codes {
			x.Cells = append(x.Cells, cellOf(p, []algebra.Value{k}, map[protect.MeasureKind]int64{protect.MeasureRows: 1_000_000, protect.MeasureSum: 1 << 50}))
		}
		r := release(t, p, x, NewSource())
		for _, row := range r.Rows() {
			seen[row[2].Value]++
		}
	}
	if len(seen) < 78 {
		t.Errorf("80 noisy sums take only %d values", len(seen))
	}
}

func TestAverageTooNoisyIsWithheld(t *testing.T) {
	f := testFacts(1)
	f.OneRow = true
	p := build(t, core(f, nil, agg(f, algebra.Avg, "pay")), 880_000, f)
	sigma := 34.0 // two measures share the price
	for _, c := range []struct {
		n        int64
		withheld bool
	}{{0, true}, {5, true}, {1000, false}} {
		x := protect.Partials{Cells: []protect.Cell{cellOf(p, []algebra.Value{}, map[protect.MeasureKind]int64{protect.MeasureRows: c.n})}}
		hits := 0
		for i := range 200 {
			cell := release(t, p, x, seeded(uint64(i))).Rows()[0][0]
			if cell.Suppressed == TooNoisy {
				hits++
				if !cell.Null || cell.Value != "" || cell.Lo != "" {
					t.Fatalf("a withheld average carries a value: %+v", cell)
				}
			} else if v, err := strconv.ParseFloat(cell.Value, 64); err != nil || v < 0 || v > 10_000 || !strings.Contains(cell.Value, ".") {
				t.Fatalf("average %+v leaves its registered bounds", cell)
			}
		}
		if c.withheld != (hits > 190) || !c.withheld && hits > 0 {
			t.Errorf("n = %d (σ %.0f): %d of 200 withheld", c.n, sigma, hits)
		}
	}
	for _, code := range []string{TooNoisy, BelowK, Complement} {
		if x := Explain(code); x.ZH == "" || x.EN == "" {
			t.Errorf("%s is not explained", code)
		}
	}
}

// Whatever is wrong, the error is one constant and no release comes with it.
func TestR01KernelErrorsAreConstant(t *testing.T) {
	f := testFacts(2)
	p := build(t, core(f, []string{"g"}, agg(f, algebra.CountRows, ""), agg(f, algebra.Sum, "debt")), 4_000_000, f)
	good := func() protect.Partials {
		return protect.Partials{Cells: []protect.Cell{cellOf(p, []algebra.Value{text("a")}, map[protect.MeasureKind]int64{protect.MeasureRows: 3})}}
	}
	if _, err := DP(p, good(), seeded(1)); err != nil {
		t.Fatal(err)
	}
	bad := map[string]func(p *protect.Plan, x *protect.Partials) io.Reader{
		"short keys":  func(p *protect.Plan, x *protect.Partials) io.Reader { x.Cells[0].Keys = nil; return seeded(1) },
		"key type":    func(p *protect.Plan, x *protect.Partials) io.Reader { x.Cells[0].Keys[0] = num(1); return seeded(1) },
		"nil measure": func(p *protect.Plan, x *protect.Partials) io.Reader { x.Cells[0].M[0] = nil; return seeded(1) },
		"short measures": func(p *protect.Plan, x *protect.Partials) io.Reader {
			x.Cells[0].M = x.Cells[0].M[:1]
			return seeded(1)
		},
		"negative count": func(p *protect.Plan, x *protect.Partials) io.Reader { x.Cells[0].M[0].SetInt64(-1); return seeded(1) },
		"cell twice": func(p *protect.Plan, x *protect.Partials) io.Reader {
			x.Cells = append(x.Cells, x.Cells[0])
			return seeded(1)
		},
		"no random":       func(p *protect.Plan, x *protect.Partials) io.Reader { return nil },
		"random runs dry": func(p *protect.Plan, x *protect.Partials) io.Reader { return io.LimitReader(seeded(1), 100) },
		"exact plan":      func(p *protect.Plan, x *protect.Partials) io.Reader { p.Mode = protect.ModeExact; return seeded(1) },
		"no noise": func(p *protect.Plan, x *protect.Partials) io.Reader {
			p.Measures[0].Sigma2 = new(big.Int)
			return seeded(1)
		},
		"negative noise": func(p *protect.Plan, x *protect.Partials) io.Reader {
			p.Measures[0].Sigma2 = big.NewInt(-5)
			return seeded(1)
		},
		"underpaid":       func(p *protect.Plan, x *protect.Partials) io.Reader { p.Measures[0].Rho /= 2; return seeded(1) },
		"total too small": func(p *protect.Plan, x *protect.Partials) io.Reader { p.Rho--; return seeded(1) },
		"bad output":      func(p *protect.Plan, x *protect.Partials) io.Reader { p.Outputs[0].A = 9; return seeded(1) },
		"private, no τ":   func(p *protect.Plan, x *protect.Partials) io.Reader { p.Keys[0].Codes = nil; return seeded(1) },
		"nil plan":        func(p *protect.Plan, x *protect.Partials) io.Reader { *p = protect.Plan{}; return seeded(1) },
	}
	for name, breakIt := range bad {
		q := *p
		q.Measures = append([]protect.Measure(nil), p.Measures...)
		q.Outputs = append([]protect.Output(nil), p.Outputs...)
		q.Keys = append([]protect.Key(nil), p.Keys...)
		x := good()
		rnd := breakIt(&q, &x)
		r, err := DP(&q, x, rnd)
		if r != nil || err != ErrKernel {
			t.Errorf("%s: %v, %v", name, r, err)
		}
	}
	if r, err := DP(nil, good(), seeded(1)); r != nil || !errors.Is(err, ErrKernel) {
		t.Errorf("nil plan: %v %v", r, err)
	}
	if r, err := Exact(nil, good(), nil); r != nil || !errors.Is(err, ErrKernel) {
		t.Errorf("nil exact plan: %v %v", r, err)
	}
}

// Invariant "one door": nothing reachable from a Release, through pointers and
// unexported fields, is or equals an exact partial; and the partials stay as they were.
func TestR01PartialsNotReachable(t *testing.T) {
	canaries := []int64{7_777_777_777_771, 8_888_888_888_883}
	f := testFacts(1)
	c := core(f, []string{"g"}, agg(f, algebra.CountRows, ""), agg(f, algebra.Sum, "pay"))
	dp := build(t, c, 100, f) // much noise: none at all would be a release of the exact value, by chance
	ex := build(t, c, 0, exactFacts())
	ex.Exact.SnapUnits = 5000
	for _, p := range []*protect.Plan{dp, ex} {
		canaries, units := canaries, int64(1000)
		if p.Mode == protect.ModeExact {
			// One row per unit, and a list of them: 1 013 rows, not a multiple of 5.
			units = 1013
			canaries = []int64{units, 777_777_771}
		}
		x := protect.Partials{}
		held := map[*big.Int]bool{}
		for _, k := range p.Keys[0].Codes {
			cell := cellOf(p, []algebra.Value{k}, map[protect.MeasureKind]int64{protect.MeasureRows: canaries[0], protect.MeasureSum: canaries[1], protect.MeasureUnits: units})
			if p.Mode == protect.ModeExact {
				cell.Lists = [][]uint64{nil, {900_001, 900_007}}
				for u := range units {
					cell.Lists[0] = append(cell.Lists[0], uint64(len(x.Cells))<<32+uint64(u))
				}
			}
			x.Cells = append(x.Cells, cell)
			for _, m := range cell.M {
				held[m] = true
			}
		}
		var r *Release
		var err error
		if p.Mode == protect.ModeDP {
			r, err = DP(p, x, seeded(3))
		} else {
			total := cellOf(p, nil, map[protect.MeasureKind]int64{protect.MeasureRows: 4 * canaries[0], protect.MeasureSum: 4 * canaries[1], protect.MeasureUnits: 4 * units})
			x.Total = &total
			r, err = Exact(p, x, openCheck(5000))
		}
		if err != nil {
			t.Fatal(err)
		}
		ints := 0
		walk(reflect.ValueOf(r), map[uintptr]bool{}, func(v *big.Int) {
			ints++
			if held[v] {
				t.Errorf("%s: a release points at a partial", p.Mode)
			}
			for _, c := range canaries {
				if v.IsInt64() && v.Int64() == c {
					t.Errorf("%s: a release holds an exact value", p.Mode)
				}
			}
		})
		if ints < 8 {
			t.Errorf("%s: the walk saw only %d integers", p.Mode, ints)
		}
		for _, c := range canaries {
			if bytes.Contains(r.Encode(), []byte(strconv.FormatInt(c, 10))) {
				t.Errorf("%s: the encoding holds an exact value", p.Mode)
			}
		}
		if x.Cells[0].M[0].Int64() != canaries[0] {
			t.Errorf("%s: the partials were changed", p.Mode)
		}
	}
	for i := range reflect.TypeFor[Release]().NumField() {
		if f := reflect.TypeFor[Release]().Field(i); f.IsExported() {
			t.Errorf("field %s of Release is exported", f.Name)
		}
	}
}

func walk(v reflect.Value, seen map[uintptr]bool, visit func(*big.Int)) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() || seen[v.Pointer()] {
			return
		}
		seen[v.Pointer()] = true
		if v.Type() == reflect.TypeFor[*big.Int]() {
			visit((*big.Int)(v.UnsafePointer()))
			return
		}
		walk(v.Elem(), seen, visit)
	case reflect.Struct:
		for i := range v.NumField() {
			walk(v.Field(i), seen, visit)
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			walk(v.Index(i), seen, visit)
		}
	case reflect.Map, reflect.Interface, reflect.Func, reflect.Chan:
		if !v.IsNil() {
			panic("a Release holds a " + v.Kind().String() + ", which this walk cannot see through")
		}
	}
}

// Attack 12, static part: no seedable generator and no floating point in the
// kernel's production code, and no clock, file or network.
func TestR01NoSeedNoFloat(t *testing.T) {
	allowed := map[string]bool{}
	for _, p := range []string{"bytes", "cmp", "crypto/aes", "crypto/cipher", "crypto/rand", "crypto/sha256", "encoding/binary",
		"encoding/hex", "encoding/json", "errors", "fmt", "io", "math/big", "math/bits", "slices", "strings", "sync", "time", "unicode/utf8",
		"github.com/sandgate/sandgate/compute/algebra", "github.com/sandgate/sandgate/compute/budget",
		"github.com/sandgate/sandgate/compute/disclosure", "github.com/sandgate/sandgate/compute/protect", "github.com/sandgate/sandgate/policies"} {
		allowed[p] = true
	}
	check := func(name string, src any) (found []string) {
		file, err := parser.ParseFile(token.NewFileSet(), name, src, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, im := range file.Imports {
			if p, _ := strconv.Unquote(im.Path.Value); !allowed[p] {
				found = append(found, "import "+p)
			}
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch x := n.(type) {
			case *ast.BasicLit:
				if x.Kind == token.FLOAT || x.Kind == token.IMAG {
					found = append(found, "float literal "+x.Value)
				}
			case *ast.Ident:
				switch x.Name {
				case "float32", "float64", "Float64", "SetFloat64", "Now", "Since":
					found = append(found, x.Name)
				}
			}
			return true
		})
		return found
	}
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, f := range files {
		if strings.HasSuffix(f.Name(), ".go") && !strings.HasSuffix(f.Name(), "_test.go") {
			n++
			for _, what := range check(f.Name(), nil) {
				t.Errorf("%s: %s", f.Name(), what)
			}
		}
	}
	if n < 5 {
		t.Errorf("only %d files were checked", n)
	}
	if got := check("control.go", "package x\nimport \"math/rand/v2\"\nvar y float64 = 1.5"); len(got) != 3 {
		t.Errorf("control: the check found %v", got)
	}
}

// Property: an average's interval is Fieller's, rounded outwards, by exact rational
// arithmetic; and its value lies inside.
func TestRatioAgainstRationals(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 6))
	wide := protect.Output{Func: algebra.Avg, Range: protect.Range{Lo: math.MinInt64, Hi: math.MaxInt64}}
	z2 := big.NewRat(1_959_964*1_959_964, 1_000_000_000_000)
	shown := 0
	for range 5000 {
		c, n := big.NewInt(rng.Int64N(1<<40)-1<<39), big.NewInt(rng.Int64N(1<<uint(1+rng.IntN(30)))-2)
		sc2, sn2 := big.NewInt(1+rng.Int64N(1<<50)), big.NewInt(1+rng.Int64N(1<<uint(1+rng.IntN(24))))
		v := ratio(wide, c, n, sc2, sn2)
		if clear := n.Sign() > 0 && n.Int64()*n.Int64() > 9*sn2.Int64(); clear == v.null() {
			t.Fatalf("n %s σ² %s: withheld %q", n, sn2, v.withheld)
		}
		if v.null() {
			continue
		}
		shown++
		// outside reports whether θ = x/100 is outside Fieller's set.
		outside := func(x *big.Int) bool {
			theta := new(big.Rat).SetFrac(x, big.NewInt(100))
			left := new(big.Rat).Mul(theta, new(big.Rat).SetInt(n))
			left.Sub(new(big.Rat).SetInt(c), left)
			left.Mul(left, left)
			right := new(big.Rat).Mul(theta, theta)
			right.Mul(right, new(big.Rat).SetInt(sn2)).Add(right, new(big.Rat).SetInt(sc2)).Mul(right, z2)
			return left.Cmp(right) >= 0
		}
		two := big.NewInt(2)
		if !outside(v.lo) || !outside(v.hi) || v.lo.Cmp(v.num) > 0 || v.num.Cmp(v.hi) > 0 {
			t.Fatalf("C %s N %s: [%s, %s] around %s is too narrow", c, n, v.lo, v.hi, v.num)
		}
		if new(big.Int).Sub(v.hi, v.lo).Cmp(big.NewInt(6)) > 0 && (outside(new(big.Int).Add(v.lo, two)) || outside(new(big.Int).Sub(v.hi, two))) {
			t.Fatalf("C %s N %s: [%s, %s] is too wide", c, n, v.lo, v.hi)
		}
	}
	if shown < 1000 {
		t.Errorf("only %d averages were clear", shown)
	}
}
