package attack

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
)

// byGroup reads column c of every integer key 0…n−1.
func byGroup(t testing.TB, r *sandgatev1.Release, n, c int) []*sandgatev1.ReleaseCell {
	t.Helper()
	out := make([]*sandgatev1.ReleaseCell, n)
	for _, row := range r.GetRows() {
		out[int(number(t, row.GetCells()[0].GetValue()))] = row.GetCells()[c]
	}
	for g, x := range out {
		if x == nil {
			t.Fatalf("key %d is not answered", g)
		}
	}
	return out
}

// One outlier, present or not in each of many groups: told by a sum under a filter
// that only it meets; by how much answers vary or how wide their intervals are;
// by whether an average is withheld.
func TestAttack07_OutlierVarianceAndAbsence(t *testing.T) {
	a := Shared(t)
	rng := rand.New(rand.NewPCG(7, 7))
	groups := Trials(200, 1000)
	const few, least = 45, 400 // a crowd at which half of the averages are withheld
	present := make([]bool, groups)
	var csv strings.Builder
	csv.WriteString("id,grp,role,fee,d\n")
	for g := range groups {
		present[g] = rng.IntN(2) == 0
		if present[g] {
			fmt.Fprintf(&csv, "t%d,%d,t,1000000,0\n", g, g) // far beyond the registered bounds
		}
		for i := range few {
			fmt.Fprintf(&csv, "o%d-%d,%d,o,%d,0\n", g, i, g, rng.IntN(20))
		}
	}
	a.Add(t, Table{ID: "outlier", Rule: shortBudget(), Columns: []Column{column("grp", 0, groups-1, "key"), codes("role", "filter", "t", "o"), column("fee", 0, 1000, "measure, filter"), column("d", 0, 5000, "filter")}, CSV: csv.String()})
	fresh := least
	ask := func(op, aggs, cond string) *sandgatev1.Release {
		fresh++
		r, err := a.Run(op, "outlier", fmt.Sprintf("SELECT grp, %s FROM outlier WHERE %s AND d <> %d GROUP BY grp", aggs, cond, fresh), 4_400_000)
		if Reason(err) == "BUDGET_EXHAUSTED" {
			return nil
		}
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	// A tiny filter: the outlier's whole value, or nothing.
	sums, asked := make([]float64, groups), 0.0
	for r := ask(Op(0), "SUM(fee) AS s", "role = 't'"); r != nil; r = ask(Op(0), "SUM(fee) AS s", "role = 't'") {
		asked++
		for g, c := range byGroup(t, r, groups, 1) {
			sums[g] += number(t, c.GetValue())
		}
	}
	tiny := 0
	for g, s := range sums {
		if (s/asked > 500) == present[g] {
			tiny++
		}
	}
	// Variance, widths and absence, over the crowd.
	draws, absent := make([][]float64, groups), make([]float64, groups)
	spans, widths := make([]float64, groups), map[string]bool{}
	width := func(c *sandgatev1.ReleaseCell) float64 { return number(t, c.GetUpper()) - number(t, c.GetLower()) }
	for r := ask(Op(1), "SUM(fee) AS s, AVG(fee) AS m", "TRUE"); r != nil; r = ask(Op(1), "SUM(fee) AS s, AVG(fee) AS m", "TRUE") {
		for g, c := range byGroup(t, r, groups, 1) {
			draws[g] = append(draws[g], number(t, c.GetValue()))
			widths[fmt.Sprint(width(c))] = true
		}
		for g, c := range byGroup(t, r, groups, 2) {
			if c.GetWithheld() != "" {
				absent[g]++
				spans[g] += 1000
			} else {
				spans[g] += width(c)
			}
		}
	}
	variance := make([]float64, groups)
	withheld := 0.0
	for g := range groups {
		variance[g] = spread(draws[g])
		withheld += absent[g]
		absent[g] = -absent[g] + rng.Float64()*0.01 // more people, fewer absences; ties by lot
		spans[g] = -spans[g]
	}
	share := withheld / float64(groups*len(draws[0]))
	if share < 0.05 || share > 0.95 {
		t.Errorf("%.2f of the averages are withheld: absence says nothing", share)
	}
	spent, _ := a.Spent(t, Op(0), "outlier", "operator_year")
	bound := guessRate(spent) + 3*0.5/math.Sqrt(float64(groups))
	text := fmt.Sprintf("%.3f", bound)
	// Controls: exact sums; noise scaled to the values at hand; an average that is
	// absent only where nobody is.
	local, exact, empty := make([]float64, groups), 0, 0
	for g, p := range present {
		value, scale, absent := 0.0, 20.0, true
		if p {
			value, scale, absent = 1_000_000, 1_000_000, false
		}
		var x []float64
		for range draws[g] {
			x = append(x, rng.NormFloat64()*scale)
		}
		if local[g] = spread(x); (value > 500) == p {
			exact++
		}
		if absent != p {
			empty++
		}
	}
	n := float64(groups)
	got := float64(tiny) / n
	Record(t, Score{Attack: "07 outlier in a tiny filter", Figure: round3(got), Bound: text, Control: round3(float64(exact) / n), Pass: got <= bound && exact == groups, Trials: groups})
	got = max(split(variance, present), split(spans, present))
	byScale := split(local, present)
	Record(t, Score{Attack: "07 variance of answers, widths of intervals", Figure: round3(got), Bound: text, Control: round3(byScale), Pass: got <= bound && byScale > 0.85 && len(widths) == 1, Trials: groups,
		Note: fmt.Sprintf("%d width(s) of a sum's interval", len(widths))})
	got = split(absent, present)
	Record(t, Score{Attack: "07 absent averages", Figure: round3(got), Bound: text, Control: round3(float64(empty) / n), Pass: got <= bound && empty == groups, Trials: groups,
		Note: fmt.Sprintf("%.2f of the averages are withheld", share)})
}
