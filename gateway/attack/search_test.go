package attack

import (
	"cmp"
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"gonum.org/v1/gonum/mat"

	"github.com/sandgate/sandgate/compute/budget"
)

// The search works on small populations: attributes of a known target and one
// secret bit. Queries count the rows that agree with the target in some
// attributes, differ in others, and have the secret, or do not, or either.
const (
	searchRows  = 500
	searchAttrs = 4
	searchAsks  = 5 // queries of one attack
)

// shape is one query: for every attribute and then the secret 0 any, 1 equal to
// the target's (true), 2 different (false).
type shape [searchAttrs + 1]int

// population is one data set as bit sets over its rows, relative to the target.
type population struct {
	equal  [searchAttrs + 1][searchRows/64 + 1]uint64
	secret bool
	attrs  [][searchAttrs]int
	bits   []bool
}

// target is the record every attack is about; it is unique in no attribute alone.
var target = [searchAttrs]int{3, 1, 4, 2}

func populate(rng *rand.Rand) *population {
	p := &population{secret: rng.IntN(2) == 0}
	for i := range searchRows {
		attrs, bit := target, p.secret
		if i > 0 {
			for j := range attrs {
				attrs[j] = rng.IntN(8)
			}
			bit = rng.IntN(2) == 0
		}
		p.attrs, p.bits = append(p.attrs, attrs), append(p.bits, bit)
		for j := range attrs {
			if attrs[j] == target[j] {
				p.equal[j][i/64] |= 1 << (i % 64)
			}
		}
		if bit {
			p.equal[searchAttrs][i/64] |= 1 << (i % 64)
		}
	}
	return p
}

// count is the exact answer.
func (p *population) count(s shape) int {
	n := 0
	for w := range p.equal[0] {
		word := ^uint64(0)
		if w == searchRows/64 {
			word = 1<<(searchRows%64) - 1
		}
		for j, how := range s {
			switch how {
			case 1:
				word &= p.equal[j][w]
			case 2:
				word &^= p.equal[j][w]
			}
		}
		n += bits.OnesCount64(word)
	}
	return n
}

// sql is the condition of a shape.
func (s shape) sql() string {
	var parts []string
	for j, how := range s {
		switch {
		case how == 0:
		case j == searchAttrs && how == 1:
			parts = append(parts, "secret")
		case j == searchAttrs:
			parts = append(parts, "NOT secret")
		case how == 1:
			parts = append(parts, fmt.Sprintf("a%d = %d", j, target[j]))
		default:
			parts = append(parts, fmt.Sprintf("a%d <> %d", j, target[j]))
		}
	}
	if parts == nil {
		return "TRUE"
	}
	return strings.Join(parts, " AND ")
}

// rule is a linear classifier of answers.
type rule struct {
	weights *mat.VecDense
	cut     float64
}

func (r rule) guess(x []float64) bool { return mat.Dot(r.weights, mat.NewVecDense(len(x), x)) > r.cut }

// learn is Fisher's discriminant on the first half of the shadows, and its success
// on the second.
func learn(answers [][]float64, secret []bool) (rule, float64) {
	half, m := len(answers)/2, len(answers[0])
	mean := [2]*mat.VecDense{mat.NewVecDense(m, nil), mat.NewVecDense(m, nil)}
	count := [2]float64{}
	class := func(i int) int {
		if secret[i] {
			return 1
		}
		return 0
	}
	for i := range half {
		mean[class(i)].AddVec(mean[class(i)], mat.NewVecDense(m, answers[i]))
		count[class(i)]++
	}
	for c := range mean {
		mean[c].ScaleVec(1/max(1, count[c]), mean[c])
	}
	cov := mat.NewSymDense(m, nil)
	d := mat.NewVecDense(m, nil)
	for i := range half {
		d.SubVec(mat.NewVecDense(m, answers[i]), mean[class(i)])
		cov.SymRankOne(cov, 1/float64(half), d)
	}
	for j := range m {
		cov.SetSym(j, j, cov.At(j, j)+1e-3)
	}
	w := mat.NewVecDense(m, nil)
	d.SubVec(mean[1], mean[0])
	if err := w.SolveVec(cov, d); err != nil {
		return rule{}, 0
	}
	r := rule{w, (mat.Dot(w, mean[0]) + mat.Dot(w, mean[1])) / 2}
	right := 0
	for i := half; i < len(answers); i++ {
		if r.guess(answers[i]) == secret[i] {
			right++
		}
	}
	return r, float64(right) / float64(len(answers)-half)
}

// search tries candidates as QueryCheetah does (CCS 2024): a sample at random, then
// single changes to the best, each scored on shadow populations through answer.
func search(rng *rand.Rand, shadows []*population, candidates int, answer func(exact int) float64) (best []shape, r rule, success float64) {
	secret := make([]bool, len(shadows))
	for i, p := range shadows {
		secret[i] = p.secret
	}
	try := func(c []shape) (rule, float64) {
		answers := make([][]float64, len(shadows))
		for i, p := range shadows {
			answers[i] = make([]float64, len(c))
			for q, s := range c {
				answers[i][q] = answer(p.count(s))
			}
		}
		return learn(answers, secret)
	}
	drawShape := func() (s shape) {
		for j := range s {
			s[j] = rng.IntN(3)
		}
		return s
	}
	for n := range candidates {
		c := make([]shape, searchAsks)
		for q := range c {
			c[q] = drawShape()
		}
		if n >= candidates/4 && best != nil { // local search
			copy(c, best)
			if q := rng.IntN(searchAsks); rng.IntN(4) == 0 {
				c[q] = drawShape()
			} else {
				c[q][rng.IntN(searchAttrs+1)] = rng.IntN(3)
			}
		}
		got, s := try(c)
		if s > success || best == nil {
			best, r, success = c, got, s
		}
	}
	return best, r, success
}

// The best of thousands of query sets, found with shadow populations and the real
// kernel's noise, is put to the API for many populations at once.
func TestAttack05_QuerySearch(t *testing.T) {
	a := Shared(t)
	rng := rand.New(rand.NewPCG(5, 5))
	groups, price := Trials(100, 400), budget.Nano(4_400_000)
	truth := make([]*population, groups)
	var csv strings.Builder
	csv.WriteString("id,grp,a0,a1,a2,a3,secret,d\n")
	for g := range truth {
		truth[g] = populate(rng)
		for i, x := range truth[g].attrs {
			fmt.Fprintf(&csv, "%d-%d,%d,%d,%d,%d,%d,%v,0\n", g, i, g, x[0], x[1], x[2], x[3], truth[g].bits[i])
		}
	}
	columns := []Column{column("grp", 0, groups-1, "key"), {Name: "secret", YAML: "type: bool", Uses: "filter"}, column("d", 0, 5000, "filter")}
	for j := range searchAttrs {
		columns = append(columns, column(fmt.Sprint("a", j), 0, 7, "filter"))
	}
	slices.SortFunc(columns, func(x, y Column) int { return cmp.Compare(x.Name, y.Name) })
	a.Add(t, Table{ID: "searched", Rule: shortBudget(), Columns: columns, CSV: csv.String()})
	shadows := make([]*population, Trials(200, 3000))
	for i := range shadows {
		shadows[i] = populate(rng)
	}
	candidates := Trials(120, 5000)
	// Noise of the kernel, drawn once: the search needs many millions of answers.
	plan := countPlan(t, price)
	noise := make([]float64, 20_000)
	for i := range noise {
		noise[i] = draw(t, plan, 1_000_000) - 1_000_000
	}
	best, r, seen := search(rng, shadows, candidates, func(exact int) float64 { return max(0, float64(exact)+noise[rng.IntN(len(noise))]) })
	// Control: the same search against thresholds and rounding alone.
	rounded := func(exact int) float64 {
		if exact < 10 {
			return 0
		}
		return math.Round(float64(exact)/5) * 5
	}
	exact := func(x int) float64 { return float64(x) }
	worst := 0.0
	for _, f := range []func(int) float64{exact, rounded} {
		queries, with, _ := search(rng, shadows, candidates, f)
		right := 0
		for _, p := range truth {
			x := make([]float64, len(queries))
			for q, s := range queries {
				x[q] = f(p.count(s))
			}
			if with.guess(x) == p.secret {
				right++
			}
		}
		worst = max(worst, float64(right)/float64(groups))
	}
	// Asked once, and again with dummy conditions until the budget ends.
	once, sum, rounds := 0, make([][]float64, groups), 0
	for ; ; rounds++ {
		answers := make([][]float64, searchAsks)
		for q, s := range best {
			rel, err := a.Run(Op(0), "searched", fmt.Sprintf("SELECT grp, COUNT(*) AS n FROM searched WHERE %s AND d <> %d GROUP BY grp", s.sql(), 1000+10*rounds+q), int64(price))
			if Reason(err) == "BUDGET_EXHAUSTED" {
				answers = nil
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			answers[q] = byKey(t, rel, groups)
		}
		if answers == nil {
			break
		}
		for g := range truth {
			x := make([]float64, searchAsks)
			for q := range x {
				x[q] = answers[q][g]
			}
			if rounds == 0 && r.guess(x) == truth[g].secret {
				once++
			}
			if sum[g] == nil {
				sum[g] = make([]float64, searchAsks)
			}
			for q := range x {
				sum[g][q] += x[q]
			}
		}
	}
	all := 0
	for g, x := range sum {
		for q := range x {
			x[q] /= float64(rounds)
		}
		if r.guess(x) == truth[g].secret {
			all++
		}
	}
	var text []string
	for _, s := range best {
		text = append(text, s.sql())
	}
	sd3 := 3 * 0.5 / math.Sqrt(float64(groups))
	got, control := float64(once)/float64(groups), round3(worst)
	Record(t, Score{Attack: fmt.Sprintf("05 query search, %d candidates", candidates), Figure: round3(got), Bound: fmt.Sprintf("0.55 (+3 sd: %.3f)", 0.55+sd3), Control: control, Pass: got <= 0.55+sd3 && control >= 0.9, Trials: groups,
		Note: fmt.Sprintf("%.3f on shadows; %s", seen, strings.Join(text, "; "))})
	spent, _ := a.Spent(t, Op(0), "searched", "operator_year")
	got, bound := float64(all)/float64(groups), guessRate(spent)+sd3
	Record(t, Score{Attack: fmt.Sprintf("05 the best queries, asked %d times over", rounds), Figure: round3(got), Bound: fmt.Sprintf("%.3f", bound), Control: control, Pass: got <= bound, Trials: groups})
}
