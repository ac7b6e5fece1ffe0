package budget

import (
	"encoding/json"
	"errors"
	"math"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestParseRounding(t *testing.T) {
	for _, c := range []struct {
		in        string
		up, down  Nano
		canonical string
	}{
		{"0.00088", 880_000, 880_000, "0.00088"},
		{"0", 0, 0, "0"},
		{"1", 1e9, 1e9, "1"},
		{"0.0000000001", 1, 0, ""},
		{"0.0000000010", 1, 1, "0.000000001"},
		{"1.0500000004", 1_050_000_001, 1_050_000_000, ""},
		{"9223372036.854775807", math.MaxInt64, math.MaxInt64, "9223372036.854775807"},
		{"007.5", 7_500_000_000, 7_500_000_000, "7.5"},
	} {
		up, err := ParsePrice(c.in)
		if err != nil || up != c.up {
			t.Errorf("ParsePrice(%s) = %d, %v; want %d", c.in, up, err, c.up)
		}
		down, err := ParseLimit(c.in)
		if err != nil || down != c.down {
			t.Errorf("ParseLimit(%s) = %d, %v; want %d", c.in, down, err, c.down)
		}
		if c.canonical != "" && up.String() != c.canonical {
			t.Errorf("String of %s = %s", c.in, up)
		}
	}
	for _, bad := range []string{"", ".", "1.", ".5", "-1", "+1", "1e3", " 1", "1,5", "1.2.3", "９", "NaN", "0x1",
		"9223372036.8547758071", "9223372036.854775808", strings.Repeat("0", 41)} {
		if n, err := ParsePrice(bad); err == nil {
			t.Errorf("ParsePrice(%q) = %d, want an error", bad, n)
		}
	}
	if n, err := ParseLimit("9223372036.8547758079"); err != nil || n != math.MaxInt64 {
		t.Errorf("a limit rounds down to MaxInt64: %d %v", n, err)
	}
	if got := Nano(math.MinInt64).String(); got != "-9223372036.854775808" {
		t.Errorf("MinInt64 prints as %s", got)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"0.00088", "1", "0.0000000001", "9223372036.854775807", "-1", "1e9", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		up, err1 := ParsePrice(s)
		down, err2 := ParseLimit(s)
		if err2 != nil {
			if err1 == nil {
				t.Fatalf("%q is a price but no limit", s)
			}
			return
		}
		r, ok := new(big.Rat).SetString(s)
		if !ok {
			t.Fatalf("%q accepted but is no number", s)
		}
		r.Mul(r, big.NewRat(unit, 1))
		floor := new(big.Int).Div(r.Num(), r.Denom())
		if floor.Cmp(big.NewInt(int64(down))) != 0 {
			t.Fatalf("limit %q: %d, want %s", s, down, floor)
		}
		ceil := new(big.Int).Set(floor)
		if !r.IsInt() {
			ceil.Add(ceil, big.NewInt(1))
		}
		if err1 == nil && ceil.Cmp(big.NewInt(int64(up))) != 0 {
			t.Fatalf("price %q: %d, want %s", s, up, ceil)
		}
		if again, err := ParsePrice(down.String()); err != nil || again != down {
			t.Fatalf("%d prints as %s and reads as %d, %v", down, down, again, err)
		}
	})
}

// The figures are those of the design's table, computed independently; Census
// 2020 published 17.14 for a rounded ρ of 2.56.
func TestEpsilonTable(t *testing.T) {
	for _, c := range []struct {
		rho        Nano
		delta, eps float64
	}{
		{6_600_000, 1e-6, 0.50}, {24_400_000, 1e-6, 1.00}, {88_200_000, 1e-6, 2.00},
		{311_100_000, 1e-6, 4.00}, {1_052_400_000, 1e-6, 8.00},
		{6_600_000, 1e-10, 0.70}, {24_400_000, 1e-10, 1.37}, {88_200_000, 1e-10, 2.70},
		{311_100_000, 1e-10, 5.28}, {1_052_400_000, 1e-10, 10.33}, {2_560_000_000, 1e-10, 17.16},
		{880_000, 1e-6, 0.17}, {4_400_000, 1e-6, 0.40},
	} {
		got, err := Epsilon(c.rho, c.delta)
		if err != nil || math.Abs(got-c.eps) > 0.0051 {
			t.Errorf("Epsilon(%s, %g) = %.4f, %v; want %.2f", c.rho, c.delta, got, err, c.eps)
		}
		// A plain scan of α must find nothing better.
		for a := 1.001; a < 1e4; a *= 1.01 {
			e := a*c.rho.Rho() + math.Log(1/(a*c.delta))/(a-1) + math.Log(1-1/a)
			if e < got-1e-9 {
				t.Fatalf("rho %s: alpha %g gives %.9f below %.9f", c.rho, a, e, got)
			}
		}
	}
	for _, d := range []float64{0, 1, -1, math.NaN(), math.Inf(1)} {
		if _, err := Epsilon(1, d); err == nil {
			t.Errorf("delta %g accepted", d)
		}
	}
	if _, err := Epsilon(-1, 1e-6); err == nil {
		t.Error("negative rho accepted")
	}
	for _, r := range []Nano{1, math.MaxInt64} {
		if e, err := Epsilon(r, 1e-6); err != nil || math.IsNaN(e) || math.IsInf(e, 0) || e < 0 {
			t.Errorf("Epsilon(%d) = %g, %v", r, e, err)
		}
	}
}

func TestScopeKeysInjective(t *testing.T) {
	seen := map[string]Scope{}
	ids := []string{"a", "b", "a/b", "a%2Fb", "", "/", "%", "a/2026", "2026"}
	for _, k := range []ScopeKind{ScopeQuery, ScopeOperatorYear, ScopeDatasetYear, ScopeLifetime, ScopeInformation} {
		for _, d := range ids {
			for _, o := range ids {
				for _, y := range []int{2026, 2027} {
					s := Scope{Kind: k, Dataset: d}
					if k == ScopeOperatorYear {
						s.Operator = o
					}
					if k == ScopeInformation {
						s.Snapshot = o
					}
					if k == ScopeOperatorYear || k == ScopeDatasetYear {
						s.Year = y
					}
					if prev, ok := seen[s.Key()]; ok && prev != s {
						t.Fatalf("%+v and %+v share key %s", prev, s, s.Key())
					}
					seen[s.Key()] = s
				}
			}
		}
	}
}

func TestReserveNamesTheExhaustedScope(t *testing.T) {
	l := DefaultLimits()
	var f Filter
	for i := range 100 { // 100 default queries fill one operator's year exactly
		if err := f.Reserve(Charges("d", "op", 2026, DefaultQuery, l)); err != nil {
			t.Fatalf("query %d: %v", i, err)
		}
	}
	before, _ := json.Marshal(f)
	err := f.Reserve(Charges("d", "op", 2026, 1, l))
	var e *Exhausted
	if !errors.As(err, &e) || e.Scope.Kind != ScopeOperatorYear || e.Spent != 88_000_000 || e.Limit != 88_000_000 || e.Asked != 1 {
		t.Fatalf("got %#v", err)
	}
	for _, lang := range []string{"zh", "en"} {
		if s := e.Text(lang); !strings.Contains(s, "0.088") || !strings.Contains(s, "operator_year/d/op/2026") {
			t.Errorf("text %s: %s", lang, s)
		}
	}
	after, _ := json.Marshal(f)
	if string(before) != string(after) {
		t.Fatalf("a refused reservation changed the filter:\n%s\n%s", before, after)
	}
	// Three more operators fill the data set's year; the fifth is stopped by collusion's cap.
	for _, op := range []string{"b", "c"} {
		for range 100 {
			if err := f.Reserve(Charges("d", op, 2026, DefaultQuery, l)); err != nil {
				t.Fatal(err)
			}
		}
	}
	n := 0
	for f.Reserve(Charges("d", "e", 2026, DefaultQuery, l)) == nil {
		n++
	}
	if n != 53 {
		t.Errorf("the data set's year let %d further queries pass, want 53", n)
	}
	// A new year renews the years but not the lifetime.
	if err := f.Reserve(Charges("d", "op", 2027, DefaultQuery, l)); err != nil {
		t.Errorf("new year: %v", err)
	}
	err = f.Reserve(Charges("d", "op", 2026, l.Query+1, l))
	if !errors.As(err, &e) || e.Scope.Kind != ScopeQuery {
		t.Errorf("query cap: %v", err)
	}
}

func TestReserveMalformed(t *testing.T) {
	var f Filter
	life := Scope{Kind: ScopeLifetime, Dataset: "d"}
	for name, cs := range map[string][]Charge{
		"none":           nil,
		"unknown kind":   {{Scope{Kind: "weekly", Dataset: "d"}, 1, 10}},
		"negative":       {{life, -1, 10}},
		"negative limit": {{life, 0, -1}},
		"second bad":     {{life, 5, 10}, {Scope{Kind: ScopeDatasetYear, Dataset: "d"}, -5, 10}},
		"twice over":     {{life, 6, 10}, {life, 5, 10}},
	} {
		if err := f.Reserve(cs); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if f.Spent(life) != 0 {
		t.Errorf("refused charges were booked: %s", f.Spent(life))
	}
	if err := f.Reserve([]Charge{{life, 6, 10}, {life, 4, 10}}); err != nil || f.Spent(life) != 10 {
		t.Errorf("6+4 of 10: %v, spent %d", err, f.Spent(life))
	}
}

// Property: against a big.Int reference no scope is ever overspent and no
// affordable charge refused, near zero as well as near MaxInt64.
func TestReserveAgainstReference(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	pick := func() Nano {
		switch r.IntN(4) {
		case 0:
			return Nano(r.Int64N(5))
		case 1:
			return math.MaxInt64 - Nano(r.Int64N(5))
		default:
			return Nano(r.Int64())
		}
	}
	for range 3000 {
		var f Filter
		ref := map[string]*big.Int{}
		for range 12 {
			var cs []Charge
			for i := range 1 + r.IntN(3) {
				cs = append(cs, Charge{Scope{Kind: ScopeLifetime, Dataset: string(rune('a' + i))}, pick(), pick()})
			}
			fits := true
			for _, c := range cs {
				s := new(big.Int).SetInt64(int64(c.Amount))
				if have := ref[c.Scope.Key()]; have != nil {
					s.Add(s, have)
				}
				fits = fits && s.Cmp(big.NewInt(int64(c.Limit))) <= 0
			}
			err := f.Reserve(cs)
			if fits != (err == nil) {
				t.Fatalf("charges %v on %v: fits %v, err %v", cs, ref, fits, err)
			}
			if fits {
				for _, c := range cs {
					if ref[c.Scope.Key()] == nil {
						ref[c.Scope.Key()] = new(big.Int)
					}
					ref[c.Scope.Key()].Add(ref[c.Scope.Key()], big.NewInt(int64(c.Amount)))
				}
			}
			for _, c := range cs {
				want := new(big.Int)
				if ref[c.Scope.Key()] != nil {
					want = ref[c.Scope.Key()]
				}
				if want.Cmp(big.NewInt(int64(f.Spent(c.Scope)))) != 0 {
					t.Fatalf("spent %d, want %s", f.Spent(c.Scope), want)
				}
			}
		}
	}
}

func TestLastNanoAndOverflow(t *testing.T) {
	s := Scope{Kind: ScopeLifetime, Dataset: "d"}
	var f Filter
	if err := f.Reserve([]Charge{{s, math.MaxInt64 - 1, math.MaxInt64}}); err != nil {
		t.Fatal(err)
	}
	for _, a := range []Nano{2, math.MaxInt64, math.MaxInt64 - 1} {
		if f.Reserve([]Charge{{s, a, math.MaxInt64}}) == nil {
			t.Fatalf("%d wrapped around", a)
		}
	}
	if err := f.Reserve([]Charge{{s, 1, math.MaxInt64}}); err != nil {
		t.Fatalf("the last nano is affordable: %v", err)
	}
	if f.Reserve([]Charge{{s, 1, math.MaxInt64}}) == nil {
		t.Fatal("one past the last nano accepted")
	}
	if f.Reserve([]Charge{{s, 0, 5}}) == nil {
		t.Fatal("a lowered limit below the spending must refuse even a free charge")
	}
}

func TestFilterMarshal(t *testing.T) {
	var a, b Filter
	ops := []string{"z", "a", "m", "k"}
	for i := range ops {
		_ = a.Reserve(Charges("d", ops[i], 2026, 10, DefaultLimits()))
		_ = b.Reserve(Charges("d", ops[len(ops)-1-i], 2026, 10, DefaultLimits()))
	}
	ja, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	jb, _ := json.Marshal(&b)
	if string(ja) != string(jb) {
		t.Fatalf("order of charges shows:\n%s\n%s", ja, jb)
	}
	var c Filter
	if err := json.Unmarshal(ja, &c); err != nil || c.Spent(Scope{Kind: ScopeLifetime, Dataset: "d"}) != 40 {
		t.Fatalf("round trip: %v %s", err, ja)
	}
	for _, bad := range []string{`{"a":-1}`, `{"a":1,"a":2}`, `{ "a":1}`, `{"b":1,"a":1}`, `[]`, `{"a":1.5}`, `{"a":"1"}`, `{"a":9223372036854775808}`} {
		var x Filter
		if err := x.UnmarshalJSON([]byte(bad)); err == nil {
			t.Errorf("%s accepted", bad)
		}
	}
	d := c.Clone()
	_ = d.Reserve(Charges("d", "a", 2026, 10, DefaultLimits()))
	if c.Spent(Scope{Kind: ScopeLifetime, Dataset: "d"}) != 40 {
		t.Error("a clone shares the accounts")
	}
}

// A table that grows is kept as partitions, each a data set of its own: a new part
// starts with its whole lifetime, the spent lifetime of an old part stays spent and
// stops every query that reads it, alone or in a union, and no other.
func TestPartitionsHaveTheirOwnLifetime(t *testing.T) {
	l := Limits{Query: 10, OperatorYear: 1000, DatasetYear: 1000, Lifetime: 30}
	var f Filter
	life := func(part string) Nano { return f.Spent(Scope{Kind: ScopeLifetime, Dataset: part}) }
	for year := 2025; f.Reserve(Charges("visits_2024", "op", year, 10, l)) == nil; year++ {
	}
	if life("visits_2024") != 30 || life("visits_2025") != 0 {
		t.Fatalf("spent %d and %d", life("visits_2024"), life("visits_2025"))
	}
	union := func(parts ...string) error {
		var all []Charge
		for _, p := range parts {
			all = append(all, Charges(p, "op", 2040, 10, l)...)
		}
		return f.Reserve(all)
	}
	var e *Exhausted
	if err := union("visits_2025", "visits_2024"); !errors.As(err, &e) || e.Scope != (Scope{Kind: ScopeLifetime, Dataset: "visits_2024"}) {
		t.Errorf("a union with a spent part: %v", err)
	}
	if life("visits_2025") != 0 {
		t.Error("a refused union charged its other part")
	}
	for i := range 3 {
		if err := union("visits_2025", "visits_2026"); err != nil {
			t.Errorf("query %d of unspent parts: %v", i, err)
		}
	}
	if life("visits_2025") != 30 || life("visits_2026") != 30 || union("visits_2026") == nil {
		t.Errorf("every part of a union bears the whole price: %d and %d", life("visits_2025"), life("visits_2026"))
	}
}
