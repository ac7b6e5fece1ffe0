package protect

import (
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/budget"
)

var (
	intType  = algebra.Type{Kind: algebra.Int}
	yuanType = algebra.Type{Kind: algebra.Decimal, Scale: 2}
	textType = algebra.Type{Kind: algebra.Text}
)

func codes(n int) (out []algebra.Value) {
	for i := range n {
		out = append(out, algebra.Value{Type: textType, S: fmt.Sprintf("%04d", i)})
	}
	return out
}

var huge, hundred = codes(2500), codes(100)

func facts(m int64) Facts {
	return Facts{Dataset: "social_insurance", Department: "人社局", Mode: ModeDP, MaxRows: m, K: 10, Round: 5,
		QueryRho: budget.DefaultQuery, QueryMaxRho: 4_400_000,
		Columns: map[string]ColumnFacts{
			"area":   {Type: textType, Codes: codes(4)},
			"sector": {Type: textType, Codes: hundred, Nullable: true},
			"huge":   {Type: textType, Codes: huge},
			"firm":   {Type: textType, Private: true},
			"bare":   {Type: textType},
			"id":     {Type: intType},
			"flag":   {Type: algebra.Type{Kind: algebra.Bool}},
			"twice":  {Type: textType, Codes: append(codes(2), codes(1)...)},
			"pay":    {Type: yuanType, Bounds: &Range{0, 4_000_000}, Stored: &Range{0, 4_000_000}},
			"debt":   {Type: intType, Nullable: true, Bounds: &Range{-500, 70}, Stored: &Range{-9000, 9000}},
			"loose":  {Type: intType, Bounds: &Range{-5, 5}},
			"flat":   {Type: intType, Bounds: &Range{8, 8}, Stored: &Range{8, 8}},
			"wide":   {Type: intType, Bounds: &Range{math.MinInt64, math.MaxInt64}, Stored: &Range{math.MinInt64, math.MaxInt64}},
			"upside": {Type: intType, Bounds: &Range{5, -5}},
			"free":   {Type: intType},
		}}
}

var dim = Facts{Dataset: "areas", Department: "民政局", Public: true, Unique: []string{"code"}, Columns: map[string]ColumnFacts{
	"code": {Type: textType}, "zone": {Type: textType, Codes: codes(3)}, "people": {Type: intType, Bounds: &Range{0, 100}, Stored: &Range{0, 100}}}}

func col(f Facts, table int, name string) algebra.Col {
	return algebra.Col{Table: table, Name: name, Type: f.Columns[name].Type}
}

// query is SELECT keys, aggs FROM f; an aggregate is "sum pay", "count", …
func query(f Facts, keys string, aggs ...string) algebra.Core {
	c := algebra.Core{Tables: []algebra.Table{{Dataset: f.Dataset}}}
	for _, k := range strings.Fields(keys) {
		c.Keys = append(c.Keys, col(f, 0, k))
	}
	for _, a := range aggs {
		fn, arg, has := strings.Cut(a, " ")
		x := algebra.Agg{Func: algebra.Func(fn)}
		if has {
			c := col(f, 0, arg)
			x.Arg = &c
		}
		c.Aggs = append(c.Aggs, x)
	}
	return c
}

func joined(f Facts, outer bool, keys string, aggs ...string) algebra.Core {
	c := query(f, keys, aggs...)
	c.Tables = append(c.Tables, algebra.Table{Dataset: dim.Dataset})
	c.Joins = []algebra.Join{{Table: 1, Outer: outer, Left: col(f, 0, "area"), Right: col(dim, 1, "code")}}
	return c
}

// describe prints measures as kind col offset clamp √Sens2(or Sens2).
func describe(p *Plan) string {
	var out []string
	for _, m := range p.Measures {
		s := string(m.Kind)
		if m.Col != nil {
			s += "(" + m.Col.Name + ")"
		}
		if m.Offset != 0 {
			s += fmt.Sprintf("-%d", m.Offset)
		}
		if m.Clamp != nil {
			s += fmt.Sprintf("[%d,%d]", m.Clamp.Lo, m.Clamp.Hi)
		}
		out = append(out, s+"="+m.Sens2.String())
	}
	return strings.Join(out, " ")
}

func TestMeasuresAndSensitivities(t *testing.T) {
	for _, c := range []struct {
		m       int64
		oneRow  bool
		keys    string
		aggs    []string
		want    string
		outputs string
	}{
		{3, false, "", []string{"count"}, "rows=9", "0"},
		{3, true, "", []string{"count", "count"}, "rows=1", "0 0"},
		{3, false, "", []string{"count_units"}, "units=1", "0"},
		{3, false, "area", []string{"count_units"}, "units=3", "0"},
		{9, false, "area", []string{"count_units"}, "units=4", "0"},
		{2, false, "", []string{"sum pay"}, "sum(pay)=64000000000000", "0"},
		{2, false, "", []string{"avg pay"}, "sum(pay)-2000000=16000000000000 rows=4", "0/1"},
		{1, false, "", []string{"avg debt", "count_col debt", "count", "sum debt"}, "sum(debt)--215[-500,70]=81225 non_null(debt)=1 rows=1", "0/1 1 2 0"},
		{1, false, "", []string{"avg pay", "count", "count_col pay"}, "sum(pay)-2000000=4000000000000 rows=1", "0/1 1 1"},
		{1, false, "", []string{"sum loose"}, "sum(loose)[-5,5]=25", "0"},
		{2, false, "", []string{"avg flat"}, "sum(flat)-8=4 rows=4", "0/1"}, // never without noise
		{1, false, "", []string{"sum wide"}, "sum(wide)=85070591730234615865843651857942052864", "0"},
		{1, false, "", []string{"avg wide"}, "sum(wide)--1=85070591730234615865843651857942052864 rows=1", "0/1"},
		{1, false, "flag", []string{"count"}, "rows=1", "0"},
	} {
		f := facts(c.m)
		f.OneRow = c.oneRow
		p, r := Build(query(f, c.keys, c.aggs...), []Facts{f}, 4_000_000)
		if r != nil {
			t.Errorf("%v: %v", c.aggs, r)
			continue
		}
		if got := describe(p); got != c.want {
			t.Errorf("m=%d %s %v:\n got %s\nwant %s", c.m, c.keys, c.aggs, got, c.want)
		}
		var outs []string
		for _, o := range p.Outputs {
			s := fmt.Sprint(o.A)
			if o.Func == algebra.Avg {
				s += fmt.Sprint("/", o.B)
			}
			outs = append(outs, s)
		}
		if got := strings.Join(outs, " "); got != c.outputs {
			t.Errorf("%v: outputs %s, want %s", c.aggs, got, c.outputs)
		}
		if c.oneRow && p.MaxRows != 1 {
			t.Errorf("one row per unit but m = %d", p.MaxRows)
		}
	}
}

func TestKeysAndJoins(t *testing.T) {
	f := facts(2)
	p, r := Build(query(f, "area sector flag", "count"), []Facts{f}, 880_000)
	if r != nil || p.MaxCells != 4*101*2 || !p.Keys[1].Nullable || p.Keys[0].Nullable || len(p.Keys[2].Codes) != 2 || p.Selection != nil {
		t.Fatalf("%v %+v", r, p)
	}
	for _, outer := range []bool{false, true} {
		c := joined(f, outer, "area", "count")
		c.Keys = append(c.Keys, col(dim, 1, "zone"))
		people := col(dim, 1, "people")
		c.Aggs = append(c.Aggs, algebra.Agg{Func: algebra.Avg, Arg: &people})
		p, r := Build(c, []Facts{f, dim}, 880_000)
		if r != nil || p.Keys[1].Nullable != outer {
			t.Fatalf("outer %v: %v %+v", outer, r, p)
		}
		// An outer join leaves NULLs, so the average needs a count of its own.
		if want := map[bool]string{false: "rows=4 sum(people)-50=10000", true: "rows=4 sum(people)-50=10000 non_null(people)=4"}[outer]; describe(p) != want {
			t.Errorf("outer %v: %s", outer, describe(p))
		}
	}
	// Codes in any order become canonical.
	g := facts(1)
	a := g.Columns["area"]
	a.Codes = []algebra.Value{a.Codes[2], a.Codes[0], a.Codes[1]}
	g.Columns["area"] = a
	p, r = Build(query(g, "area", "count"), []Facts{g}, 880_000)
	if r != nil || p.Keys[0].Codes[0].S != "0000" || p.Keys[0].Codes[2].S != "0002" || a.Codes[0].S != "0002" {
		t.Errorf("codes not sorted, or the facts were changed: %v %v", p.Keys[0].Codes, a.Codes)
	}
}

func TestPrivateKeys(t *testing.T) {
	f := facts(4)
	p, r := Build(query(f, "firm area", "count"), []Facts{f}, 4_000_001)
	if r != nil {
		t.Fatal(r)
	}
	s := p.Selection
	if s == nil || s.K != 10 || s.Sens2.Int64() != 1 || p.Measures[s.Measure].Kind != MeasureFirst || p.Keys[0].Codes != nil || p.MaxCells != MaxPrivateCells {
		t.Fatalf("%+v", p)
	}
	if u := p.Measures[s.Measure]; u.Sigma2.Sign() != 0 || u.Rho != 0 {
		t.Errorf("a measure that only the selection reads has a price: %+v", u)
	}
	// ρ: half for the rows, half for the selection → σ² = 1e9/4e6 = 250.
	if s.Sigma2.Int64() != 250 || s.Rho != 2_000_000 || p.Measures[0].Rho > 2_000_000 || p.Rho > 4_000_001 {
		t.Errorf("σ² %s ρ %s, rows ρ %s", s.Sigma2, s.Rho, p.Measures[0].Rho)
	}
	// σ = 15.81; Q(z) ≤ 1e-9 at z = 5.9978: τ = ⌈94.83⌉+2.
	if s.Tau != 97 {
		t.Errorf("τ = %d", s.Tau)
	}
	one := facts(4)
	one.OneRow = true
	p, _ = Build(query(one, "firm", "count_units"), []Facts{one}, 4_000_000)
	if p.Selection.Measure != p.Outputs[0].A || p.Measures[0].Kind != MeasureRows || p.Measures[0].Sigma2.Sign() == 0 {
		t.Errorf("with one row per unit the selection reads the row count: %+v", p)
	}
	// The design's figure: k = 10, σ = 10, δ 1e-9 → about 70 units in all.
	if got := 9 + tau(big.NewInt(100)); got < 69 || got > 72 {
		t.Errorf("τ at σ = 10: %d units", got)
	}
}

func TestZTable(t *testing.T) {
	if q := 0.5 * math.Erfc(zTau/1e6/math.Sqrt2); q > 1e-9 || q < 0.9999e-9 {
		t.Errorf("z of τ: tail %g, want just under 1e-9", q)
	}
	if q := 0.5 * math.Erfc(z95/1e6/math.Sqrt2); q > 0.025 || q < 0.0249999 {
		t.Errorf("z95: tail %g", q)
	}
}

func TestHalfWidth95(t *testing.T) {
	for _, s := range []int64{1, 2, 3, 4, 10, 100, 569, 4711} {
		h := HalfWidth95(big.NewInt(s)).Int64()
		cover := func(h int64) float64 {
			in, all := 0.0, 0.0
			for x := -40*int64(math.Sqrt(float64(s))) - 40; x <= 40*int64(math.Sqrt(float64(s)))+40; x++ {
				p := math.Exp(-float64(x*x) / (2 * float64(s)))
				all += p
				if x >= -h && x <= h {
					in += p
				}
			}
			return in / all
		}
		if cover(h) < 0.95 {
			t.Errorf("σ² %d: ±%d covers %.4f", s, h, cover(h))
		}
		if h > 0 && cover(h-1) >= 0.9505 {
			t.Errorf("σ² %d: ±%d is wider than needed", s, h)
		}
	}
}

// R01: every refusal names what is wrong, in both languages, with its rule.
func TestR01BuildRefuses(t *testing.T) {
	f := facts(2)
	with := func(change func(*Facts)) Facts { g := facts(2); change(&g); return g }
	filtered := query(f, "", "count")
	filtered.Aggs[0].Filter = &algebra.Pred{Op: algebra.OpConst, Values: []algebra.Value{{Type: algebra.Type{Kind: algebra.Bool}, I: 1}}}
	exact := with(func(g *Facts) { g.Mode, g.OneRow = ModeExact, true })
	private := dim
	private.Public, private.Mode, private.MaxRows, private.QueryMaxRho, private.K, private.Round = false, ModeDP, 2, 4_400_000, 10, 5
	mixed := private
	mixed.Mode = ModeExact
	badJoin := joined(f, false, "", "count")
	badJoin.Joins[0].Right = col(dim, 1, "zone")
	cross := joined(f, false, "", "count")
	cross.Joins = nil
	other := query(f, "", "sum pay")
	other.Aggs[0].Arg.Table = 7
	wrongType := query(f, "", "sum pay")
	wrongType.Aggs[0].Arg.Type.Scale = 3
	badWhere := query(f, "", "count")
	ghost := algebra.Col{Name: "ghost", Type: intType}
	badWhere.Where = &algebra.Pred{Op: algebra.OpNot, Args: []algebra.Pred{{Op: algebra.OpIsNull, Col: &ghost}}}
	for _, c := range []struct {
		name  string
		core  algebra.Core
		facts []Facts
		price budget.Nano
		code  string
		names string // must stand in both texts
	}{
		{"no facts", query(f, "", "count"), nil, 1, "CORE_INVALID", ""},
		{"no tables", algebra.Core{}, nil, 1, "CORE_INVALID", ""},
		{"other data set", query(f, "", "count"), []Facts{dim}, 1, "CORE_INVALID", ""},
		{"public fact", query(dim, "", "count"), []Facts{dim}, 1, "FACT_TABLE_PUBLIC", "areas"},
		{"unknown mode", query(f, "", "count"), []Facts{with(func(g *Facts) { g.Mode = "raw" })}, 1, "RULE_INCOMPLETE", "mode"},
		{"no bound", query(f, "", "count"), []Facts{with(func(g *Facts) { g.MaxRows = 0 })}, 1, "RULE_INCOMPLETE", "max_rows"},
		{"no maximum", query(f, "", "count"), []Facts{with(func(g *Facts) { g.QueryMaxRho = 0 })}, 1, "RULE_INCOMPLETE", "query_max"},
		{"no k", query(f, "firm", "count"), []Facts{with(func(g *Facts) { g.K = 0 })}, 1, "RULE_INCOMPLETE", "k"},
		{"exact with several rows", query(f, "", "count"), []Facts{with(func(g *Facts) { g.Mode = ModeExact })}, 0, "RULE_INCOMPLETE", "one_row_per_unit"},
		{"exact with a private key", query(exact, "firm", "count"), []Facts{exact}, 0, "KEY_NOT_PUBLIC", "firm"},
		{"exact with a filtered aggregate", filtered, []Facts{exact}, 0, "EXACT_UNSUPPORTED", "FILTER"},
		{"exact without k", query(f, "", "count"), []Facts{with(func(g *Facts) { g.Mode, g.K = ModeExact, 1 })}, 0, "RULE_INCOMPLETE", "k"},
		{"exact without rounding", query(f, "", "count"), []Facts{with(func(g *Facts) { g.Mode, g.Round = ModeExact, 1 })}, 0, "RULE_INCOMPLETE", "round"},
		{"cross join", cross, []Facts{f, dim}, 1, "CORE_INVALID", ""},
		{"private join", joined(f, false, "", "count"), []Facts{f, private}, 1, "PRIVATE_JOIN", "areas"},
		{"mixed modes", joined(f, false, "", "count"), []Facts{f, mixed}, 1, "MODE_MIXED", "areas"},
		{"mixed modes, exact first", joined(exact, false, "", "count"), []Facts{exact, private}, 0, "MODE_MIXED", "areas"},
		{"join not unique", badJoin, []Facts{f, dim}, 1, "JOIN_NOT_UNIQUE", "zone"},
		{"ghost table", other, []Facts{f}, 1, "CORE_INVALID", ""},
		{"wrong type", wrongType, []Facts{f}, 1, "COLUMN_UNKNOWN", "pay"},
		{"ghost in where", badWhere, []Facts{f}, 1, "COLUMN_UNKNOWN", "ghost"},
		{"no code list", query(f, "bare", "count"), []Facts{f}, 1, "KEY_NOT_PUBLIC", "bare"},
		{"codes twice", query(f, "twice", "count"), []Facts{f}, 1, "CODES_INVALID", "twice"},
		{"too many cells", query(f, "area huge flag", "count"), []Facts{f}, 1, "TOO_MANY_CELLS", "flag"},
		{"key twice", query(f, "area area", "count"), []Facts{f}, 1, "CORE_INVALID", ""},
		{"no aggregate", query(f, "area"), []Facts{f}, 1, "NO_AGGREGATE", ""},
		{"unknown function", query(f, "", "mode pay"), []Facts{f}, 1, "CORE_INVALID", ""},
		{"no grid", query(f, "", "max pay"), []Facts{f}, 1, "GRID_MISSING", "pay"},
		{"sum of nothing", query(f, "", "sum"), []Facts{f}, 1, "CORE_INVALID", ""},
		{"count of something", query(f, "", "count pay"), []Facts{f}, 1, "CORE_INVALID", ""},
		{"sum of text", query(f, "", "sum area"), []Facts{f}, 1, "MEASURE_TYPE", "area"},
		{"avg of text", query(f, "", "avg firm"), []Facts{f}, 1, "MEASURE_TYPE", "firm"},
		{"no bounds", query(f, "", "sum free"), []Facts{f}, 1, "MEASURE_NO_BOUNDS", "free"},
		{"no bounds, exact", query(f, "", "sum free"), []Facts{exact}, 0, "MEASURE_NO_BOUNDS", "free"},
		{"bounds upside down", query(f, "", "avg upside"), []Facts{f}, 1, "BOUNDS_INVALID", "upside"},
		{"free", query(f, "", "count"), []Facts{f}, 0, "PRICE_NOT_POSITIVE", ""},
		{"negative", query(f, "", "count"), []Facts{f}, -1, "PRICE_NOT_POSITIVE", ""},
		{"dear", query(f, "", "count"), []Facts{f}, 4_400_001, "PRICE_TOO_HIGH", "0.0044"},
		{"indivisible", query(f, "", "count", "sum pay"), []Facts{f}, 1, "PRICE_TOO_LOW", "2"},
	} {
		p, r := Build(c.core, c.facts, c.price)
		if p != nil || r == nil {
			t.Errorf("%s: not refused", c.name)
			continue
		}
		if r.Code != c.code || r.Rule == "" || r.SetBy == "" || !strings.Contains(r.ZH, c.names) || !strings.Contains(r.EN, c.names) || r.ZH == r.EN {
			t.Errorf("%s: %+v", c.name, r)
		}
		if c.code != "CORE_INVALID" && (r.HintZH == "" || r.HintEN == "") {
			t.Errorf("%s: no hint", c.name)
		}
	}
}

func TestExactPlan(t *testing.T) {
	f := facts(3)
	f.Mode, f.OneRow = ModeExact, true
	p, r := Build(query(f, "area", "sum debt", "avg pay"), []Facts{f}, 123)
	if r != nil {
		t.Fatal(r)
	}
	if p.Rho != 0 || p.Selection != nil || p.Exact.K != 10 || p.Exact.Round != 5 || p.MaxRows != math.MaxInt64 {
		t.Errorf("%+v", p)
	}
	if got := describe(p); got != "sum(debt)[-500,70]=0 rows=0 non_null(debt)=0 sum(pay)-2000000=0 units=0" {
		t.Error(got)
	}
	debt, pay := p.Core.Aggs[0].Arg, p.Core.Aggs[1].Arg
	for i, l := range []List{{}, {Col: debt}, {Col: debt, Top: true}, {Col: pay, Top: true}} {
		if p.Exact.List(l) != i || len(p.Exact.Lists) != 4 {
			t.Errorf("list %d: %+v", i, p.Exact.Lists)
		}
	}
	for _, m := range p.Measures {
		if m.Sigma2 == nil || m.Sigma2.Sign() != 0 || m.Rho != 0 {
			t.Errorf("%+v", m)
		}
	}
	// Sum of debt: largest magnitude 500, three digits: base 5. Average of pay:
	// 4 000 000 has seven digits: its sum is rounded to 5·10⁴.
	if p.RoundBase(0).Int64() != 5 || p.RoundBase(1).Int64() != 50000 {
		t.Errorf("bases %s %s", p.RoundBase(0), p.RoundBase(1))
	}
	if e := p.ExpectedError(); e[0].Half.Int64() != 2 || e[1].At(100).Int64() != (25_000+4_000_000*5/2)/100 {
		t.Errorf("%+v", e)
	}
}

// Property: over random queries and prices the shares never exceed the price, each
// ρ covers its σ² and no smaller σ² would fit its share.
func TestR01PriceCoversNoise(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 4))
	all := []string{"count", "count_units", "sum pay", "avg pay", "sum debt", "avg debt", "count_col debt", "sum wide", "avg flat"}
	keys := []string{"", "area", "firm", "area sector", "firm area"}
	for range 2000 {
		f := facts(1 + rng.Int64N(50))
		f.QueryMaxRho = math.MaxInt64
		var aggs []string
		for _, i := range rng.Perm(len(all))[:1+rng.IntN(len(all))] {
			aggs = append(aggs, all[i])
		}
		price := 200 + budget.Nano(rng.Int64N(1<<rng.IntN(60)+1))
		p, r := Build(query(f, keys[rng.IntN(len(keys))], aggs...), []Facts{f}, price)
		if r != nil {
			t.Fatal(r)
		}
		sum, n := new(big.Int), 0
		check := func(sens2, sigma2 *big.Int, rho budget.Nano) {
			n++
			sum.Add(sum, big.NewInt(int64(rho)))
			exact := new(big.Rat).SetFrac(new(big.Int).Mul(sens2, big.NewInt(nanoPerRho)), new(big.Int).Lsh(sigma2, 1))
			if exact.Cmp(new(big.Rat).SetInt64(int64(rho))) > 0 || sens2.Sign() < 1 || sigma2.Sign() < 1 {
				t.Fatalf("Δ² %s σ² %s cost %s, booked %d", sens2, sigma2, exact.FloatString(3), rho)
			}
			if one := big.NewInt(1); sigma2.Cmp(one) > 0 {
				less := new(big.Rat).SetFrac(new(big.Int).Mul(sens2, big.NewInt(nanoPerRho)), new(big.Int).Lsh(new(big.Int).Sub(sigma2, one), 1))
				// A share is no less than its part by the roots of the loads, and those
				// differ by less than a factor of six here.
				share := new(big.Rat).SetInt64(int64(price) / int64(6*(len(p.Measures)+1)))
				if less.Cmp(share) < 0 {
					t.Fatalf("σ² %s is larger than its share needs", sigma2)
				}
			}
		}
		for _, m := range p.Measures {
			if m.Sigma2.Sign() > 0 {
				check(m.Sens2, m.Sigma2, m.Rho)
			}
		}
		if s := p.Selection; s != nil {
			check(s.Sens2, s.Sigma2, s.Rho)
		}
		if sum.Cmp(big.NewInt(int64(price))) > 0 || sum.Cmp(big.NewInt(int64(p.Rho))) != 0 {
			t.Fatalf("price %d, booked %s in %d parts, plan says %d", price, sum, n, p.Rho)
		}
	}
}

// Build is a function: same inputs, same bytes, inputs untouched.
func TestBuildIsPure(t *testing.T) {
	f := facts(3)
	c := joined(f, true, "area sector", "avg debt", "sum pay", "count_units")
	fs := []Facts{f, dim}
	before := fmt.Sprintf("%#v %+v", c, fs[0].Columns["area"])
	p1, r1 := Build(c, fs, 1_000_003)
	p2, r2 := Build(c, fs, 1_000_003)
	if r1 != nil || r2 != nil {
		t.Fatal(r1, r2)
	}
	j1, _ := json.Marshal(p1)
	j2, _ := json.Marshal(p2)
	if string(j1) != string(j2) || !reflect.DeepEqual(p1, p2) {
		t.Error("two plans of one query differ")
	}
	if after := fmt.Sprintf("%#v %+v", c, fs[0].Columns["area"]); len(after) != len(before) {
		t.Error("Build changed its inputs")
	}
	var back Plan
	if err := json.Unmarshal(j1, &back); err != nil || !reflect.DeepEqual(&back, p1) {
		t.Errorf("a plan does not survive JSON: %v", err)
	}
	p1.Measures[0].Sens2.SetInt64(1)
	p1.Measures[0].Col.Name = "x"
	if p3, _ := Build(c, fs, 1_000_003); !reflect.DeepEqual(p2, p3) {
		t.Error("a plan shares memory with its inputs")
	}
}

func TestExpectedErrorAndPriceFor(t *testing.T) {
	f := facts(1)
	p, _ := Build(query(f, "", "count"), []Facts{f}, budget.DefaultQuery)
	// The design's figure: the default price gives a count σ = 24.
	if e := p.ExpectedError()[0]; e.SD.Int64() != 24 || e.Half.Int64() != 47 || e.PerValue {
		t.Errorf("%+v", e)
	}
	c := query(f, "", "count", "avg pay", "sum pay")
	p, _ = Build(c, []Facts{f}, 3_000_000)
	e := p.ExpectedError()
	if !e[1].PerValue || e[1].Scale != 2 || e[1].At(1000).Cmp(e[1].At(10)) >= 0 || e[2].At(5).Cmp(e[2].Half) != 0 {
		t.Errorf("%+v", e)
	}
	for i, n := range []int64{1, 5000, 1} {
		target := e[i].At(n)
		price, r := PriceFor(c, []Facts{f}, i, target, n)
		if r != nil || price > 3_000_000 {
			t.Fatalf("output %d: price %s, %v", i, price, r)
		}
		q, _ := Build(c, []Facts{f}, price)
		if q.ExpectedError()[i].At(n).Cmp(target) > 0 {
			t.Errorf("output %d: price %s misses its target", i, price)
		}
		if q, r := Build(c, []Facts{f}, price-1); r == nil && q.ExpectedError()[i].At(n).Cmp(target) <= 0 {
			t.Errorf("output %d: %s is not the least price", i, price)
		}
	}
	_, r := PriceFor(c, []Facts{f}, 0, big.NewInt(3), 1)
	if r == nil || r.Code != "TARGET_TOO_FINE" || !strings.Contains(r.EN, "0.0044") || !strings.Contains(r.ZH, "人社局") || r.HintEN == "" {
		t.Errorf("%+v", r)
	}
	for _, bad := range []int{-1, 3} {
		if _, r := PriceFor(c, []Facts{f}, bad, big.NewInt(3), 1); r == nil {
			t.Errorf("output %d does not exist", bad)
		}
	}
	f.Mode, f.OneRow = ModeExact, true
	if price, r := PriceFor(c, []Facts{f}, 0, big.NewInt(3), 1); price != 0 || r != nil {
		t.Errorf("exact mode costs %s, %v", price, r)
	}
}
