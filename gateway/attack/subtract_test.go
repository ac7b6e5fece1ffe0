package attack

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/stat/distuv"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
)

// guessRate is the best rate at which one bit of one unit can be guessed from
// answers that together cost ρ: Φ(√(ρ/2)), the Gaussian trade-off at the sum.
func guessRate(nano int64) float64 {
	return distuv.UnitNormal.CDF(math.Sqrt(float64(nano) / 1e9 / 2))
}

// byKey reads the one estimate of every integer key 0…n−1.
func byKey(t testing.TB, r *sandgatev1.Release, n int) []float64 {
	t.Helper()
	out, seen := make([]float64, n), 0
	for _, row := range r.GetRows() {
		k := int(number(t, row.GetCells()[0].GetValue()))
		out[k] = number(t, row.GetCells()[1].GetValue())
		seen++
	}
	if seen != n {
		t.Fatalf("%d of %d public keys are answered", seen, n)
	}
	return out
}

// shortBudget is the rule of tables whose budget is spent to the end: a smaller one
// at quick strength. Bounds follow what was spent.
func shortBudget() string {
	if Full() {
		return ""
	}
	return `budget: {operator_year: "0.0352", dataset_year: "0.1232", lifetime: "0.1232"}`
}

// crowd is how many known units stand beside a target: far enough from 0, where
// counts are cut off.
const crowd = 60

// targets is a table in which every group holds one target, present or not, and
// a crowd that every operator knows.
func targets(rng *rand.Rand, n int) (present []bool, csv string) {
	var b strings.Builder
	b.WriteString("id,grp,role,age\n")
	for g := range n {
		present = append(present, rng.IntN(2) == 0)
		if present[g] {
			fmt.Fprintf(&b, "t%d,%d,t,40\n", g, g)
		}
		for i := range crowd {
			fmt.Fprintf(&b, "o%d-%d,%d,o,%d\n", g, i, g, 20+i%40)
		}
	}
	return present, b.String()
}

// A count with and without one unit, its complement, and the isolating query, each
// repeated with harmless conditions until nothing is paid any more; by one
// operator, then by all of them together.
func TestAttack02_DifferencingTrackerComplement(t *testing.T) {
	a := Shared(t)
	rng := rand.New(rand.NewPCG(2, 2))
	const groups, price = 200, 4_400_000
	tables := Trials(1, 6)
	right := map[string]int{}
	var each, all int64
	for n := range tables {
		id := fmt.Sprintf("pairs%d", n)
		present, csv := targets(rng, groups)
		a.Add(t, Table{ID: id, Columns: []Column{column("grp", 0, groups-1, "key, filter"), codes("role", "filter", "t", "o"), column("age", 0, 1000, "filter")}, CSV: csv, Rule: shortBudget()})
		// A condition that no row fails makes another query of it: a fresh draw.
		fresh := 100
		ask := func(op, cond string) ([]float64, bool) {
			fresh++
			r, err := a.Run(op, id, fmt.Sprintf("SELECT grp, COUNT(*) AS n FROM %s WHERE %s AND age <> %d GROUP BY grp", id, cond, fresh), price)
			if Reason(err) == "BUDGET_EXHAUSTED" {
				return nil, false
			}
			if err != nil {
				t.Fatal(err)
			}
			return byKey(t, r, groups), true
		}
		// Counts are shown as at least 0, so a lone unit is asked together with a
		// crowd of known size.
		attacks := []struct {
			name     string
			plus     string
			minus    string
			subtract float64 // known size of the crowd when nothing is subtracted
		}{
			{"pair", "role IN ('t', 'o')", "role = 'o'", 0},
			{"complement", "TRUE", "role <> 't'", 0},
			{"isolating", "(role = 't' OR role = 'o')", "", crowd},
		}
		together := make([]float64, groups)
		var weight float64
		for i, x := range attacks {
			sum, rounds := make([]float64, groups), 0.0
			for {
				p, ok := ask(Op(i), x.plus)
				if !ok {
					break
				}
				m := make([]float64, groups)
				if x.minus != "" {
					if m, ok = ask(Op(i), x.minus); !ok {
						break
					}
				}
				rounds++
				for g := range sum {
					sum[g] += p[g] - m[g] - x.subtract
				}
			}
			if rounds < 4 {
				t.Fatalf("%s: only %v rounds were paid", x.name, rounds)
			}
			w := 1.0
			if x.minus != "" {
				w = 0.5 // twice the variance
			}
			weight += w * rounds
			for g, s := range sum {
				if (s/rounds > 0.5) == present[g] {
					right[x.name]++
				}
				together[g] += w * s
			}
			spent, limit := a.Spent(t, Op(i), id, "operator_year")
			if spent > limit {
				t.Errorf("operator spent %d of %d", spent, limit)
			}
			each = max(each, spent)
		}
		for op := 3; op < Operators; op++ {
			for {
				p, ok := ask(Op(op), "(role = 't' OR role = 'o')")
				if !ok {
					break
				}
				weight++
				for g := range together {
					together[g] += p[g] - crowd
				}
			}
		}
		for g, s := range together {
			if (s/weight > 0.5) == present[g] {
				right["collusion"]++
			}
		}
		spent, limit := a.Spent(t, Op(0), id, "dataset_year")
		if spent > limit {
			t.Errorf("all operators spent %d of %d", spent, limit)
		}
		all = max(all, spent)
	}
	total := float64(groups * tables)
	sd3 := 3 * 0.5 / math.Sqrt(total)
	for _, x := range []struct {
		name   string
		rho    int64
		public float64 // e^ε/(1+e^ε) of the published cap
	}{{"pair", each, 2}, {"complement", each, 2}, {"isolating", each, 2}, {"collusion", all, 4}} {
		got := float64(right[x.name]) / total
		bound := guessRate(x.rho) + sd3
		loose := min(1, math.Exp(x.public)/(1+math.Exp(x.public))+sd3)
		// Control: exact answers to the same pair differ by the target, always.
		Record(t, Score{Attack: "02 differencing, " + x.name, Figure: round3(got), Bound: fmt.Sprintf("%.3f (e^ε/(1+e^ε): %.3f)", bound, loose), Control: 1.0,
			Pass: got <= bound && got <= loose, Trials: int(total)})
	}
}

func round3(x float64) float64 { return math.Round(x*1000) / 1000 }

// ridge solves for one bit per unit from weighted subset counts.
func ridge(t testing.TB, design *mat.Dense, answers [][]float64, noise float64) [][]float64 {
	t.Helper()
	_, n := design.Dims()
	var gram mat.SymDense
	gram.SymOuterK(1, design.T())
	for i := range n {
		gram.SetSym(i, i, gram.At(i, i)+4*noise+1e-6)
	}
	var chol mat.Cholesky
	if !chol.Factorize(&gram) {
		t.Fatal("normal equations are singular")
	}
	out := make([][]float64, len(answers))
	for i, y := range answers {
		var rhs, x mat.VecDense
		rhs.MulVec(design.T(), mat.NewVecDense(len(y), y))
		if err := chol.SolveVecTo(&x, &rhs); err != nil {
			t.Fatal(err)
		}
		out[i] = x.RawVector().Data
	}
	return out
}

func subset(rng *rand.Rand, n int) (row []float64, list string) {
	row = make([]float64, n)
	var b strings.Builder
	for i := range row {
		if rng.IntN(2) == 0 {
			row[i] = 1
			fmt.Fprintf(&b, ", %d", i)
		}
	}
	return row, strings.TrimPrefix(b.String(), ", ")
}

// Linear reconstruction: a secret bit per unit from counts over random subsets of
// a public key, several tables of 512 units at once (one per group), as far as
// one operator's default budget goes.
func TestAttack03_LinearReconstruction(t *testing.T) {
	a := Shared(t)
	rng := rand.New(rand.NewPCG(3, 3))
	const n, groups = 512, 16
	var csv strings.Builder
	csv.WriteString("id,grp,seq,secret\n")
	secret := make([][]float64, groups)
	for g := range secret {
		secret[g] = make([]float64, n)
		for i := range n {
			secret[g][i] = float64(rng.IntN(2))
			fmt.Fprintf(&csv, "%d-%d,%d,%d,%v\n", g, i, g, i, secret[g][i] == 1)
		}
	}
	a.Add(t, Table{ID: "recon", Columns: []Column{column("grp", 0, groups-1, "key"), column("seq", 0, n-1, "key, filter"), {Name: "secret", YAML: "type: bool", Uses: "filter"}}, CSV: csv.String()})
	// Full strength asks m = 4n cheap questions, quick strength fewer dear ones:
	// the same budget.
	m := Trials(24, 4*n)
	price := int64(88_000_000 / m)
	subsets, lists := make([][]float64, m), make([]string, m)
	for i := range m {
		subsets[i], lists[i] = subset(rng, n)
	}
	replies := make([][]float64, m)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := w; i < m; i += 4 {
				r, err := a.Run(Op(0), "recon", "SELECT grp, COUNT(*) AS n FROM recon WHERE secret AND seq IN ("+lists[i]+") GROUP BY grp", price)
				if err != nil {
					if Reason(err) != "BUDGET_EXHAUSTED" {
						t.Error(err)
					}
					return
				}
				replies[i] = byKey(t, r, groups)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	solve := func(m int, answer func(q, g int) (float64, bool), noise float64) float64 {
		var design []float64
		ys := make([][]float64, groups)
		rows := 0
		for q := range m {
			if _, ok := answer(q, 0); !ok {
				continue
			}
			prior := 0.0
			for _, v := range subsets[q] {
				prior += v / 2
			}
			design = append(design, subsets[q]...)
			rows++
			for g := range groups {
				v, _ := answer(q, g)
				ys[g] = append(ys[g], v-prior)
			}
		}
		right := 0
		for g, x := range ridge(t, mat.NewDense(rows, n, design), ys, noise) {
			for i := range x {
				if (x[i] >= 0) == (secret[g][i] == 1) {
					right++
				}
			}
		}
		return float64(right) / (n * groups)
	}
	spent, limit := a.Spent(t, Op(0), "recon", "operator_year")
	if spent < limit*95/100 || spent > limit {
		t.Errorf("the attack spent %d of %d", spent, limit)
	}
	got := solve(m, func(q, g int) (float64, bool) {
		if replies[q] == nil {
			return 0, false
		}
		return replies[q][g], true
	}, 1e9/2/float64(price))
	for len(subsets) < 4*n {
		row, _ := subset(rng, n)
		subsets = append(subsets, row)
	}
	control := solve(4*n, func(q, g int) (float64, bool) {
		sum := 0.0
		for i, v := range subsets[q] {
			sum += v * secret[g][i]
		}
		return sum, true
	}, 0)
	if control < 0.95 {
		t.Errorf("control: exact answers give %.3f", control)
	}
	bound := 0.55 + 3*0.5/math.Sqrt(n*groups)
	Record(t, Score{Attack: fmt.Sprintf("03 linear reconstruction, n=%d m=%d", n, m), Figure: round3(got), Bound: fmt.Sprintf("0.55 (+3 sd: %.3f)", bound), Control: round3(control), Pass: got <= bound, Trials: n * groups})
}
