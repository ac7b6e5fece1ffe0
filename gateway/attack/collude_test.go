package attack

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"gonum.org/v1/gonum/mat"
)

// Five operators share one attack, and come back every year while the rows stay
// what they are: the data set's caps end it, for the year and for ever. The clock
// is moved, so the gateway is inside this process.
func TestAttack06_CollusionAndRollover(t *testing.T) {
	a := SharedInside(t)
	rng := rand.New(rand.NewPCG(6, 6))
	const groups, n, units, price = 200, 512, 16, 4_400_000
	rule := ""
	if !Full() {
		rule = `budget: {operator_year: "0.0132", dataset_year: "0.044", lifetime: "0.1"}`
	}
	until := time.Now().AddDate(3, 11, 0)
	present, csv := targets(rng, groups)
	a.Add(t, Table{ID: "years", Rule: rule, NotAfter: until, CSV: csv, Columns: []Column{column("grp", 0, groups-1, "key"), codes("role", "filter", "t", "o"), column("age", 0, 1000, "filter")}})
	secret := make([][]float64, units)
	var b strings.Builder
	b.WriteString("id,grp,seq,secret\n")
	for g := range secret {
		secret[g] = make([]float64, n)
		for i := range n {
			secret[g][i] = float64(rng.IntN(2))
			fmt.Fprintf(&b, "%d-%d,%d,%d,%v\n", g, i, g, i, secret[g][i] == 1)
		}
	}
	a.Add(t, Table{ID: "yearsbits", Rule: rule, NotAfter: until, CSV: b.String(), Columns: []Column{column("grp", 0, units-1, "key"), column("seq", 0, n-1, "key, filter"), {Name: "secret", YAML: "type: bool", Uses: "filter"}}})
	defer a.Wind(0)
	sums, asked, fresh := make([]float64, groups), 0.0, 100
	var subsets []float64
	answers := make([][]float64, units)
	// collude asks as all five until none of them is answered any more.
	collude := func() (got int) {
		for op := range 5 {
			for {
				fresh++
				r, err := a.Run(Op(op), "years", fmt.Sprintf("SELECT grp, COUNT(*) AS n FROM years WHERE (role = 't' OR role = 'o') AND age <> %d GROUP BY grp", fresh), price)
				if Reason(err) == "BUDGET_EXHAUSTED" {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				got++
				asked++
				for g, x := range byKey(t, r, groups) {
					sums[g] += x - crowd
				}
				row, list := subset(rng, n)
				if r, err = a.Run(Op(op), "yearsbits", "SELECT grp, COUNT(*) AS n FROM yearsbits WHERE secret AND seq IN ("+list+") GROUP BY grp", price); err != nil {
					t.Fatal(err)
				}
				prior := 0.0
				for _, v := range row {
					prior += v / 2
				}
				subsets = append(subsets, row...)
				for g, x := range byKey(t, r, units) {
					answers[g] = append(answers[g], x-prior)
				}
			}
		}
		return got
	}
	type cap struct{ spent, limit int64 }
	check := func(scope string) cap {
		spent, limit := a.Spent(t, Op(0), "years", scope)
		if spent > limit {
			t.Errorf("%s: %d of %d", scope, spent, limit)
		}
		return cap{spent, limit}
	}
	first := collude()
	year := check("dataset_year")
	if year.spent < year.limit-price {
		t.Errorf("the first year ended at %d of %d: another limit stopped it", year.spent, year.limit)
	}
	perYear := []int{first}
	for y := 1; y <= 3; y++ {
		a.Wind(time.Duration(y) * 366 * 24 * time.Hour)
		if y == 2 {
			a.Ingest(t, "years", csv) // the same rows again are no new rows
		}
		perYear = append(perYear, collude())
	}
	life := check("lifetime")
	if life.spent < life.limit-price {
		t.Errorf("the attack spent only %d of %d", life.spent, life.limit)
	}
	right := 0
	for g, s := range sums {
		if (s/asked > 0.5) == present[g] {
			right++
		}
	}
	got := float64(right) / groups
	bound := guessRate(life.spent) + 3*0.5/math.Sqrt(groups)
	// Control: the kernel's noise for as long as nobody counts what is spent.
	const some, unlimited = 60, 2000
	plan, open := countPlan(t, price), 0
	for g := range some {
		sum, truth := 0.0, int64(crowd)
		if present[g] {
			truth++
		}
		for range unlimited {
			sum += draw(t, plan, truth) - crowd
		}
		if (sum/unlimited > 0.5) == present[g] {
			open++
		}
	}
	control := float64(open) / some
	Record(t, Score{Attack: "06 five operators over four years, unchanged rows", Figure: fmt.Sprintf("%.3f; %d of %d nano-ρ", got, life.spent, life.limit), Bound: fmt.Sprintf("%.3f; the lifetime cap", bound), Control: round3(control),
		Pass: got <= bound && life.spent <= life.limit && control > 0.9, Trials: groups, Note: fmt.Sprintf("answers in each year: %v", perYear)})
	right = 0
	for g, x := range ridge(t, mat.NewDense(len(answers[0]), n, subsets), answers, 1e9/2/price) {
		for i := range x {
			if (x[i] >= 0) == (secret[g][i] == 1) {
				right++
			}
		}
	}
	rate := float64(right) / (n * units)
	Record(t, Score{Attack: fmt.Sprintf("06 five operators split reconstruction, n=%d m=%d", n, len(answers[0])), Figure: round3(rate), Bound: fmt.Sprintf("%.3f", guessRate(life.spent)), Control: "1 (03)", Pass: rate <= guessRate(life.spent), Trials: n * units})
}
