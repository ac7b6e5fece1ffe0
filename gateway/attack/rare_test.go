package attack

import (
	"fmt"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/protect"
	"github.com/sandgate/sandgate/compute/release"
)

// Thousands of private keys held by 1…k−1 units each are never released, whatever
// is asked; neither is a common key under a filter that leaves it fewer than k.
func TestAttack13_RareKeyIsNeverReleased(t *testing.T) {
	a := Shared(t)
	rng := rand.New(rand.NewPCG(13, 13))
	const k = 10
	rare := Trials(5_000, 20_000)
	// units[band][code]: band 9 holds few units of every common code.
	units := make([]map[string]int, 10)
	for i := range units {
		units[i] = map[string]int{}
	}
	var csv strings.Builder
	csv.WriteString("id,code,band,fee\n")
	row := 0
	add := func(code string, band, n int) {
		for range n {
			row++
			fmt.Fprintf(&csv, "u%d,%s,%d,%d\n", row, code, band, rng.IntN(100))
		}
		units[band][code] += n
	}
	for i := range rare {
		add(fmt.Sprintf("R%05d", i), rng.IntN(9), 1+i%(k-1))
	}
	for _, code := range []string{"C1", "C2", "C3", "C4"} {
		add(code, 0, 3000)
		add(code, 9, k-1)
	}
	a.Add(t, Table{ID: "rare", Columns: []Column{{Name: "code", YAML: "type: text", Uses: "private key, filter"}, column("band", 0, 9, "key, filter"), column("fee", 0, 100, "measure, filter")}, CSV: csv.String()})
	held := func(code string, bands ...int) int {
		n := 0
		for _, b := range bands {
			n += units[b][code]
		}
		return n
	}
	all := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}
	leaked, shown, queries := 0, 0, 0
	ask := func(where string, bands ...int) {
		for _, aggs := range []string{"COUNT(*) AS n", "COUNT(DISTINCT id) AS n, SUM(fee) AS s, AVG(fee) AS m"} {
			for _, price := range []int64{0, 4_400_000} {
				r, err := a.Run(Op(queries%Operators), "rare", "SELECT code, "+aggs+" FROM rare "+where+" GROUP BY code", price)
				if err != nil {
					t.Fatal(err)
				}
				queries++
				for _, x := range r.GetRows() {
					code := x.GetCells()[0].GetValue()
					shown++
					if held(code, bands...) < k {
						leaked++
						t.Errorf("key %s, held by %d units, was released (%s)", code, held(code, bands...), where)
					}
				}
			}
		}
	}
	ask("", all...)
	ask("WHERE band = 9", 9)
	ask("WHERE code IN ('R00001', 'R00002', 'R00008', 'R00017')", all...)
	if Full() {
		for b := range 9 {
			ask(fmt.Sprintf("WHERE band = %d", b), b)
		}
	}
	if shown == 0 {
		t.Error("no key at all was released: the attack proves nothing")
	}
	// Control: noisy counts above a plain threshold of one, as without
	// pre-threshold and τ, show rare keys.
	facts := protect.Facts{Dataset: "rare", Mode: protect.ModeDP, MaxRows: 1, OneRow: true, K: 1, QueryMaxRho: 4_400_000,
		Columns: map[string]protect.ColumnFacts{"code": {Type: algebra.Type{Kind: algebra.Text}, Private: true}}}
	key := algebra.Col{Name: "code", Type: algebra.Type{Kind: algebra.Text}}
	plan, reason := protect.Build(algebra.Core{Tables: []algebra.Table{{Dataset: "rare"}}, Keys: []algebra.Col{key}, Aggs: []algebra.Agg{{Func: algebra.CountRows}}}, []protect.Facts{facts}, 4_400_000)
	if reason != nil {
		t.Fatal(reason)
	}
	plan.Selection.Tau = 2
	var p protect.Partials
	for i := range rare {
		n := big.NewInt(int64(1 + i%(k-1)))
		m := make([]*big.Int, len(plan.Measures))
		for j := range m {
			m[j] = n
		}
		p.Cells = append(p.Cells, protect.Cell{Keys: []algebra.Value{{Type: key.Type, S: fmt.Sprintf("R%05d", i)}}, M: m})
	}
	r, err := release.DP(plan, p, release.NewSource())
	if err != nil {
		t.Fatal(err)
	}
	if r.Len() < rare/10 {
		t.Errorf("control: only %d of %d rare keys are shown", r.Len(), rare)
	}
	Record(t, Score{Attack: fmt.Sprintf("13 rare private keys, %d of them", rare), Figure: leaked, Bound: 0, Control: r.Len(), Pass: leaked == 0, Trials: rare * queries})
}

// Exact mode on one table: no released cell has fewer than k units in it or
// outside it, and withheld ones cannot be had from the table's own total.
func TestAttack02_ExactModeCellAndComplement(t *testing.T) {
	a := Shared(t)
	sizes := map[string]int{"a": 400, "b": 9, "c": 57, "d": 1, "e": 0, "f": 12}
	var csv strings.Builder
	csv.WriteString("id,grp,half,staff\n")
	for _, g := range []string{"a", "b", "c", "d", "f"} {
		for i := range sizes[g] {
			half := 0
			if g == "c" && i < 48 { // 9 of c's 57 stay outside
				half = 1
			}
			fmt.Fprintf(&csv, "%s%d,%s,%d,%d\n", g, i, g, half, i%50)
		}
	}
	a.Add(t, exactTable("exact1", csv.String(), codes("grp", "key, filter", "a", "b", "c", "d", "e", "f"), column("half", 0, 1, "filter, key"), column("staff", 0, 100, "measure, filter")))
	small, cells := 0, 0
	withheld := map[string]bool{}
	check := func(sql string, exact func(key string) int) {
		r := a.MustRun(t, Op(0), "exact1", sql, 0)
		if r.GetMode() != "exact" || r.GetPriceNanoRho() != 0 {
			t.Errorf("mode %s, price %d", r.GetMode(), r.GetPriceNanoRho())
		}
		for _, row := range r.GetRows() {
			key := ""
			if r.GetColumns()[0].GetKey() {
				key = row.GetCells()[0].GetValue()
			}
			for i, c := range row.GetCells() {
				if r.GetColumns()[i].GetKey() {
					continue
				}
				cells++
				switch {
				case c.GetWithheld() != "":
					withheld[c.GetWithheld()] = true
					if c.GetValue() != "" || c.GetLower() != "" || c.GetUpper() != "" {
						t.Errorf("withheld cell carries a value")
					}
				case exact(key) < 10:
					small++
					t.Errorf("%s: cell %q of %d units is released", sql, key, exact(key))
				case i == 1 && len(row.GetCells()) == 2 && int(number(t, c.GetValue()))%5 != 0:
					t.Errorf("%s: count is not rounded", sql)
				}
			}
		}
	}
	check("SELECT grp, COUNT(*) AS n FROM exact1 GROUP BY grp", func(k string) int { return sizes[k] })
	check("SELECT grp, AVG(staff) AS m, SUM(staff) AS s FROM exact1 GROUP BY grp", func(k string) int { return sizes[k] })
	check("SELECT COUNT(*) AS n FROM exact1 WHERE grp <> 'd'", func(string) int { return 0 }) // complement: one unit
	check("SELECT COUNT(*) AS n FROM exact1 WHERE grp <> 'b'", func(string) int { return 0 }) // complement: nine
	check("SELECT COUNT(*) AS n FROM exact1 WHERE grp = 'b'", func(string) int { return 9 })
	check("SELECT grp, COUNT(*) AS n FROM exact1 WHERE half = 1 GROUP BY grp", func(string) int { return 0 }) // 100 % cell
	// A cell with too few units and one withheld for its neighbours must look the
	// same: two words would tell which are really small.
	if len(withheld) != 1 {
		t.Errorf("withheld for %v: one word was expected", withheld)
	}
	// Control: the exact table holds three cells that k protects.
	Record(t, Score{Attack: "02 exact mode, one table: k and complement", Figure: small, Bound: 0, Control: 3, Pass: small == 0, Trials: cells})
}

// Differencing over several releases of one snapshot: sums over ranges that grow
// by one unit at a time give that unit's value, to within rounding, when releases
// are not held against each other. Operators take turns.
func TestAttack02_ExactModeGrowingRanges(t *testing.T) {
	a := Shared(t)
	rng := rand.New(rand.NewPCG(2, 20))
	n := Trials(12, 200)
	secret := make([]int, n)
	var csv strings.Builder
	csv.WriteString("id,seq,staff\n")
	for i := range 100 + n {
		staff := rng.IntN(50)
		if i >= 100 {
			secret[i-100] = staff * 20
			staff = secret[i-100]
		}
		fmt.Fprintf(&csv, "u%d,%d,%d\n", i, i, staff)
	}
	for i := range 50 {
		fmt.Fprintf(&csv, "v%d,%d,1\n", i, 100+n)
	}
	a.Add(t, exactTable("exact6", csv.String(), column("seq", 0, 900, "filter"), column("staff", 0, 1000, "measure")))
	answered, refused := 0, map[string]int{}
	sum := func(below int) (v float64, ok bool) {
		r, err := a.Run(Op(below%Operators), "exact6", fmt.Sprintf("SELECT SUM(staff) AS s FROM exact6 WHERE seq < %d", below), 0)
		if err != nil {
			refused[Reason(err)]++
			return 0, false
		}
		c := r.GetRows()[0].GetCells()[0]
		if c.GetWithheld() != "" {
			refused[c.GetWithheld()]++
			return 0, false
		}
		answered++
		return number(t, c.GetValue()), true
	}
	near := 0
	last, had := sum(100)
	for i := range n {
		next, ok := sum(101 + i)
		if d := next - last - float64(secret[i]); ok && had && d >= -100 && d <= 100 {
			near++
		}
		if ok {
			last, had = next, true
		} else {
			had = false
		}
	}
	if answered == 0 {
		t.Errorf("nothing was answered: %v", refused)
	}
	// Control: exact sums of the same ranges differ by the unit's value.
	Record(t, Score{Attack: "02 exact mode, ranges that grow by one unit", Figure: round3(float64(near) / float64(n)), Bound: 0, Control: 1.0, Pass: near == 0, Trials: n,
		Note: fmt.Sprintf("one unit's value to ±10 %% of its range from two neighbouring sums; %d answered, refused %v", answered, refused)})
}
