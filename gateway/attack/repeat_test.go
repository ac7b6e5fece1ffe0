package attack

import (
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/compute/protect"
	"github.com/sandgate/sandgate/compute/release"
)

// column declares an int column with bounds for a table.
func column(name string, lo, hi int, uses string) Column {
	return Column{Name: name, YAML: fmt.Sprintf(`type: int, bounds: {lo: "%d", hi: "%d"}`, lo, hi), Uses: uses}
}

// codes declares a text column with a public code list.
func codes(name, uses string, values ...string) Column {
	var list []string
	for _, v := range values {
		list = append(list, fmt.Sprintf("{value: %q}", v))
	}
	return Column{Name: name, YAML: "type: text, codes: [" + strings.Join(list, ", ") + "]", Uses: uses}
}

// countPlan is the plan of COUNT(*) over one row per unit, for the controls.
func countPlan(t testing.TB, price budget.Nano) *protect.Plan {
	t.Helper()
	f := protect.Facts{Dataset: "t", Mode: protect.ModeDP, MaxRows: 1, OneRow: true, K: 10, QueryRho: price, QueryMaxRho: price, Columns: map[string]protect.ColumnFacts{}}
	core := algebra.Core{Tables: []algebra.Table{{Dataset: "t"}}, Aggs: []algebra.Agg{{Func: algebra.CountRows}}}
	p, reason := protect.Build(core, []protect.Facts{f}, price)
	if reason != nil {
		t.Fatal(reason)
	}
	return p
}

// draw releases a count once more, with fresh noise.
func draw(t testing.TB, p *protect.Plan, exact int64) float64 {
	t.Helper()
	r, err := release.DP(p, protect.Partials{Cells: []protect.Cell{{Keys: []algebra.Value{}, M: []*big.Int{big.NewInt(exact)}}}}, release.NewSource())
	if err != nil {
		t.Fatal(err)
	}
	return number(t, r.Rows()[0][0].Value)
}

func number(t testing.TB, s string) float64 {
	t.Helper()
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		t.Fatalf("released value %q is no number", s)
	}
	return v
}

// spellings are texts of one query: the count of rows with 18 ≤ age ≤ 60 in
// three groups.
func spellings(rng *rand.Rand, n int) []string {
	ranges := []string{
		"%[1]sage >= 18 AND %[1]sage <= 60", "%[1]sage BETWEEN 18 AND 60", "18 <= %[1]sage AND 60 >= %[1]sage", "NOT (%[1]sage < 18) AND NOT (%[1]sage > 60)",
		"NOT (%[1]sage < 18 OR %[1]sage > 60)", "%[1]sage > 17 AND %[1]sage < 61", "%[1]sage >= 17.5 AND %[1]sage < 60.25", "%[1]sage BETWEEN 18 AND 60 AND %[1]sage <= 60",
	}
	sets := []string{"%[1]sgrp IN ('a', 'b', 'c')", "%[1]sgrp in ('c','a','b','a')", "(%[1]sgrp = 'a' OR 'b' = %[1]sgrp OR %[1]sgrp = 'c')", "NOT (%[1]sgrp <> 'a' AND %[1]sgrp <> 'b' AND %[1]sgrp <> 'c')"}
	counts := []string{"COUNT(*)", "count(1)", "COUNT()", "Count(*) AS \"人数\"", "count(42) AS n", "COUNT(*) AS \"grp2\""}
	tails := []string{"", " ORDER BY grp NULLS LAST", " ORDER BY COUNT(*) DESC", " HAVING COUNT(*) > 0 OR COUNT(*) <= 0", " LIMIT 100", " ORDER BY grp LIMIT 3 OFFSET 0", ";"}
	gaps := []string{" ", "\n", "\t", " /* again */ ", " -- x\n"}
	pick := func(list []string) string { return list[rng.IntN(len(list))] }
	var out []string
	for len(out) < n {
		alias, from := "", "spell"
		switch rng.IntN(3) {
		case 1:
			alias, from = "s.", "spell AS s"
		case 2:
			alias, from = `"S".`, "Spell s"
		}
		a, b := fmt.Sprintf(pick(ranges), alias), fmt.Sprintf(pick(sets), alias)
		if rng.IntN(2) == 0 {
			a, b = b, a
		}
		cols := []string{alias + "grp", pick(counts)}
		if rng.IntN(2) == 0 {
			cols[0], cols[1] = cols[1], cols[0]
		}
		g := pick(gaps)
		head := "SELECT" + g + strings.Join(cols, ","+g) + g + "FROM " + from + g + "WHERE " + a + g + "AND " + b + g
		group := "GROUP BY " + alias + "grp"
		if rng.IntN(3) == 0 {
			group = "group by all"
		}
		out = append(out, head+group+pick(tails))
	}
	return out
}

// Replay, averaging, other spellings, collusion: one answer, one charge.
func TestAttack01_ReplayAndAveraging(t *testing.T) {
	a := Shared(t)
	rng := rand.New(rand.NewPCG(1, 1))
	var csv strings.Builder
	csv.WriteString("id,grp,age\n")
	truth := 0
	for i := range 3000 {
		grp, age := string("abcd"[rng.IntN(4)]), rng.IntN(100)
		if grp == "a" && age >= 18 && age <= 60 {
			truth++
		}
		fmt.Fprintf(&csv, "u%d,%s,%d\n", i, grp, age)
	}
	a.Add(t, Table{ID: "spell", Columns: []Column{codes("grp", "key, filter", "a", "b", "c", "d"), column("age", 0, 120, "filter")}, CSV: csv.String()})
	base := "SELECT grp, COUNT(*) FROM spell WHERE age BETWEEN 18 AND 60 AND grp IN ('a','b','c') GROUP BY grp"
	first := a.MustRun(t, Op(0), "spell", base, 0)
	digests := map[string]int{first.GetDigest(): 1}
	values := map[string]bool{}
	n := Trials(48, 200)
	texts := append(spellings(rng, n), make([]string, n/4)...)
	for i := n; i < len(texts); i++ {
		texts[i] = base
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := w; i < len(texts); i += 4 {
				// Two colluding operators share the asking.
				r, err := a.Run(Op(i%2), "spell", texts[i], 0)
				mu.Lock()
				if err != nil {
					t.Errorf("%q: %v", texts[i], err)
				} else {
					digests[r.GetDigest()]++
					if digests[r.GetDigest()] == 1 {
						t.Errorf("a second draw for %q", texts[i])
					}
					if r.GetPriceNanoRho() != 0 || r.GetRepeatOf() == "" {
						t.Errorf("repeat charged %d", r.GetPriceNanoRho())
					}
					for _, row := range r.GetRows() {
						key, val := "", ""
						for j, c := range row.GetCells() {
							if r.GetColumns()[j].GetKey() {
								key = c.GetValue()
							} else {
								val = c.GetValue()
							}
						}
						if key == "a" {
							values[val] = true
						}
					}
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	mine, _ := a.Spent(t, Op(0), "spell", "operator_year")
	theirs, _ := a.Spent(t, Op(1), "spell", "operator_year")
	if mine != first.GetPriceNanoRho() || theirs != 0 {
		t.Errorf("charged %d and %d, the first answer cost %d", mine, theirs, first.GetPriceNanoRho())
	}
	// Control: fresh draws of the same cell, averaged, give the truth away.
	plan := countPlan(t, budget.DefaultQuery)
	const draws = 20_000
	sum := 0.0
	for range draws {
		sum += draw(t, plan, int64(truth))
	}
	off := math.Abs(sum/draws - float64(truth))
	if off > 1 {
		t.Errorf("control: the average of %d fresh draws is %.2f off", draws, off)
	}
	Record(t, Score{Attack: fmt.Sprintf("01 replay, averaging, %d spellings", n), Figure: fmt.Sprintf("%d answer(s), %d charge(s)", len(digests), mine/first.GetPriceNanoRho()), Bound: "1 answer, 1 charge",
		Control: fmt.Sprintf("average of fresh draws off by %.2f", off), Pass: len(digests) == 1 && len(values) == 1 && mine == first.GetPriceNanoRho(), Trials: len(texts) + 1})
}

// The same query by many at once: every draw that is made is paid for.
func TestAttack01_ConcurrentRepeatsArePaid(t *testing.T) {
	a := Shared(t)
	var csv strings.Builder
	csv.WriteString("id,age\n")
	for i := range 500 {
		fmt.Fprintf(&csv, "u%d,%d\n", i, i%100)
	}
	a.Add(t, Table{ID: "atonce", Columns: []Column{column("age", 0, 120, "filter")}, CSV: csv.String()})
	digests, paid := map[string]bool{}, int64(0)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			r, err := a.Run(Op(i%3), "atonce", "SELECT COUNT(*) FROM atonce WHERE age < 50", 0)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			digests[r.GetDigest()] = true
			paid += r.GetPriceNanoRho()
			mu.Unlock()
		})
	}
	wg.Wait()
	spent, _ := a.Spent(t, Op(0), "atonce", "dataset_year")
	one := a.MustRun(t, Op(0), "atonce", "SELECT COUNT(*) FROM atonce WHERE age < 51", 0).GetPriceNanoRho()
	Record(t, Score{Attack: "01 one query, 12 at once", Figure: fmt.Sprintf("%d draw(s), %d paid", len(digests), spent/one), Bound: "draws ≤ paid", Control: "see 01",
		Pass: int64(len(digests))*one <= spent && paid == spent, Trials: 12})
}
