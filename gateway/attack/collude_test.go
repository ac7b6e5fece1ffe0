package attack

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"gonum.org/v1/gonum/mat"
)

// collusion is an attack that five operators share: a count of groups in which one
// unit each is present or not, asked again and again, and random subsets of a
// table of secret bits.
type collusion struct {
	present []bool
	secret  [][]float64

	mu      sync.Mutex
	rng     *rand.Rand
	sums    []float64
	asked   float64
	fresh   int
	subsets []float64
	answers [][]float64
}

const (
	colludeGroups, colludeBits, colludeUnits = 200, 512, 16
	colludePrice                             = 4_400_000
)

// newCollusion adds its two tables, id and id+"bits".
func newCollusion(t testing.TB, a *Arena, id string, until time.Time, seed uint64) (c *collusion, csv string) {
	t.Helper()
	rule := ""
	if !Full() {
		rule = `budget: {operator_year: "0.0132", dataset_year: "0.044", lifetime: "0.1"}`
	}
	c = &collusion{rng: rand.New(rand.NewPCG(6, seed)), sums: make([]float64, colludeGroups), fresh: 100, secret: make([][]float64, colludeUnits), answers: make([][]float64, colludeUnits)}
	c.present, csv = targets(c.rng, colludeGroups)
	a.Add(t, Table{ID: id, Rule: rule, NotAfter: until, CSV: csv, Columns: []Column{column("grp", 0, colludeGroups-1, "key"), codes("role", "filter", "t", "o"), column("age", 0, 1000, "filter")}})
	var b strings.Builder
	b.WriteString("id,grp,seq,secret\n")
	for g := range c.secret {
		c.secret[g] = make([]float64, colludeBits)
		for i := range colludeBits {
			c.secret[g][i] = float64(c.rng.IntN(2))
			fmt.Fprintf(&b, "%d-%d,%d,%d,%v\n", g, i, g, i, c.secret[g][i] == 1)
		}
	}
	a.Add(t, Table{ID: id + "bits", Rule: rule, NotAfter: until, CSV: b.String(), Columns: []Column{column("grp", 0, colludeUnits-1, "key"), column("seq", 0, colludeBits-1, "key, filter"), {Name: "secret", YAML: "type: bool", Uses: "filter"}}})
	return c, csv
}

// ask has one operator ask both tables until he is not answered any more; paid is
// what the first of them took.
func (c *collusion) ask(t testing.TB, a *Arena, id, operator string) (got int, paid int64) {
	for {
		c.mu.Lock()
		c.fresh++
		again := c.fresh
		row, list := subset(c.rng, colludeBits)
		c.mu.Unlock()
		counts, err := a.Run(operator, id, fmt.Sprintf("SELECT grp, COUNT(*) AS n FROM %s WHERE (role = 't' OR role = 'o') AND age <> %d GROUP BY grp", id, again), colludePrice)
		if Reason(err) == "BUDGET_EXHAUSTED" {
			return got, paid
		}
		if err != nil {
			t.Error(err)
			return got, paid
		}
		got++
		paid += counts.GetPriceNanoRho()
		bits, err := a.Run(operator, id+"bits", "SELECT grp, COUNT(*) AS n FROM "+id+"bits WHERE secret AND seq IN ("+list+") GROUP BY grp", colludePrice)
		// At the very end the one table's budget may go to another operator.
		if err != nil && Reason(err) != "BUDGET_EXHAUSTED" {
			t.Error(err)
			return got, paid
		}
		count, bit := byKey(t, counts, colludeGroups), []float64(nil)
		if bits != nil {
			bit = byKey(t, bits, colludeUnits)
		}
		c.learn(count, row, bit)
	}
}

// learn takes in the answers to one count and to the subset row.
func (c *collusion) learn(count, row, bit []float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	for g, x := range count {
		c.sums[g] += x - crowd
	}
	if bit == nil {
		return
	}
	prior := 0.0
	for _, v := range row {
		prior += v / 2
	}
	c.subsets = append(c.subsets, row...)
	for g, x := range bit {
		c.answers[g] = append(c.answers[g], x-prior)
	}
}

// averaged is how often the averages of the counts tell who is present.
func (c *collusion) averaged() float64 {
	right := 0
	for g, s := range c.sums {
		if (s/c.asked > 0.5) == c.present[g] {
			right++
		}
	}
	return float64(right) / colludeGroups
}

// reconstructed is how many of the secret bits all subsets together tell.
func (c *collusion) reconstructed(t testing.TB) float64 {
	t.Helper()
	right := 0
	for g, x := range ridge(t, mat.NewDense(len(c.answers[0]), colludeBits, c.subsets), c.answers, 1e9/2/colludePrice) {
		for i := range x {
			if (x[i] >= 0) == (c.secret[g][i] == 1) {
				right++
			}
		}
	}
	return float64(right) / (colludeBits * colludeUnits)
}

// unlimited is the control: the kernel's noise for as long as nobody counts what
// is spent.
func (c *collusion) unlimited(t testing.TB) float64 {
	t.Helper()
	const some, unlimited = 20, 4000
	plan, open := countPlan(t, colludePrice), 0
	for g := range some {
		sum, truth := 0.0, int64(crowd)
		if c.present[g] {
			truth++
		}
		for range unlimited {
			sum += draw(t, plan, truth) - crowd
		}
		if (sum/unlimited > 0.5) == c.present[g] {
			open++
		}
	}
	return float64(open) / some
}

// Five operators attack together, all at once, within one year: whoever may still
// spend, the data set's cap of the year ends it for all of them.
func TestAttack06_CollusionWithinOneYear(t *testing.T) {
	a := Shared(t)
	const id = "together"
	c, _ := newCollusion(t, a, id, time.Now().AddDate(3, 0, 0), 7)
	share, paid := make([]int, 5), make([]int64, 5)
	var wg sync.WaitGroup
	for op := range share {
		wg.Go(func() { share[op], paid[op] = c.ask(t, a, id, Op(op)) })
	}
	wg.Wait()
	year, limit := a.Spent(t, Op(0), id, "dataset_year")
	sum, most := int64(0), int64(0)
	for op, n := range share {
		mine, cap := a.Spent(t, Op(op), id, "operator_year")
		if mine != paid[op] || mine > cap {
			t.Errorf("%s spent %d of %d and paid %d for %d answers", Op(op), mine, cap, paid[op], n)
		}
		sum += mine
		most += cap
	}
	if sum != year || year > limit || year <= limit-colludePrice || most <= limit {
		t.Errorf("five spent %d, the data set %d of %d; alone they might spend %d", sum, year, limit, most)
	}
	// A sixth finds nothing left.
	if _, err := a.Run(Op(5), id, "SELECT grp, COUNT(*) AS n FROM "+id+" GROUP BY grp", colludePrice); Reason(err) != "BUDGET_EXHAUSTED" {
		t.Errorf("a sixth operator: %v", err)
	}
	got, control := c.averaged(), c.unlimited(t)
	bound := guessRate(year) + 3*0.5/math.Sqrt(colludeGroups)
	where := "real program"
	if a.Domain != nil {
		where = "inside the test"
	}
	Record(t, Score{Attack: "06 five operators at once within a year", Figure: fmt.Sprintf("%.3f; %d of %d nano-ρ", got, year, limit), Bound: fmt.Sprintf("%.3f; the year's cap", bound), Control: round3(control),
		Pass: got <= bound && year <= limit && control >= 0.8 && !t.Failed(), Trials: colludeGroups, Note: fmt.Sprintf("%s; answers of each: %v", where, share)})
	bits, _ := a.Spent(t, Op(0), id+"bits", "dataset_year")
	rate := c.reconstructed(t)
	Record(t, Score{Attack: fmt.Sprintf("06 five operators split reconstruction within a year, n=%d m=%d", colludeBits, len(c.answers[0])), Figure: round3(rate), Bound: fmt.Sprintf("%.3f", guessRate(bits)), Control: "1 (03)", Pass: rate <= guessRate(bits), Trials: colludeBits * colludeUnits})
}

// Five operators share one attack, and come back every year while the rows stay
// what they are: the data set's caps end it, for the year and for ever. The clock
// is moved, so the gateway is inside this process.
func TestAttack06_CollusionAndRollover(t *testing.T) {
	a := SharedInside(t)
	const id = "years"
	c, csv := newCollusion(t, a, id, time.Now().AddDate(3, 11, 0), 6)
	defer a.Wind(0)
	collude := func() (got int) {
		for op := range 5 {
			n, _ := c.ask(t, a, id, Op(op))
			got += n
		}
		return got
	}
	type cap struct{ spent, limit int64 }
	check := func(scope string) cap {
		spent, limit := a.Spent(t, Op(0), id, scope)
		if spent > limit {
			t.Errorf("%s: %d of %d", scope, spent, limit)
		}
		return cap{spent, limit}
	}
	first := collude()
	year := check("dataset_year")
	if year.spent < year.limit-colludePrice {
		t.Errorf("the first year ended at %d of %d: another limit stopped it", year.spent, year.limit)
	}
	perYear := []int{first}
	for y := 1; y <= 3; y++ {
		a.Wind(time.Duration(y) * 366 * 24 * time.Hour)
		if y == 2 {
			a.Ingest(t, id, csv) // the same rows again are no new rows
		}
		perYear = append(perYear, collude())
	}
	life := check("lifetime")
	if life.spent < life.limit-colludePrice {
		t.Errorf("the attack spent only %d of %d", life.spent, life.limit)
	}
	got, control := c.averaged(), c.unlimited(t)
	bound := guessRate(life.spent) + 3*0.5/math.Sqrt(colludeGroups)
	Record(t, Score{Attack: "06 five operators over four years, unchanged rows", Figure: fmt.Sprintf("%.3f; %d of %d nano-ρ", got, life.spent, life.limit), Bound: fmt.Sprintf("%.3f; the lifetime cap", bound), Control: round3(control),
		Pass: got <= bound && life.spent <= life.limit && control >= 0.8, Trials: colludeGroups, Note: fmt.Sprintf("answers in each year: %v", perYear)})
	rate := c.reconstructed(t)
	Record(t, Score{Attack: fmt.Sprintf("06 five operators split reconstruction, n=%d m=%d", colludeBits, len(c.answers[0])), Figure: round3(rate), Bound: fmt.Sprintf("%.3f", guessRate(life.spent)), Control: "1 (03)", Pass: rate <= guessRate(life.spent), Trials: colludeBits * colludeUnits})
}
