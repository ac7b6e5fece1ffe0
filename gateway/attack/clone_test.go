package attack

import (
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// sticky is a query system that answers with noise fixed by the texts of the
// conditions and by the set of units they select, and rounds: no budget. It is
// the control of the cloning attack (Gadotti et al., USENIX Security 2019).
type sticky struct{ salt string }

func (s sticky) layer(parts ...string) float64 {
	h := fnv.New64a()
	fmt.Fprint(h, s.salt, parts)
	return rand.New(rand.NewPCG(h.Sum64(), 7)).NormFloat64()
}

func (s sticky) answer(exact int, set string, conditions ...string) float64 {
	x := float64(exact)
	for _, c := range conditions {
		x += s.layer("static", c) + s.layer("dynamic", c, set)
	}
	return math.Round(x)
}

// spread is the sample variance.
func spread(x []float64) float64 {
	mean, sq := 0.0, 0.0
	for _, v := range x {
		mean += v / float64(len(x))
	}
	for _, v := range x {
		sq += (v - mean) * (v - mean)
	}
	return sq / float64(len(x)-1)
}

// split guesses that the upper half has the secret and returns how often that is
// right.
func split(score []float64, secret []bool) float64 {
	sorted := slices.Clone(score)
	slices.Sort(sorted)
	cut, right := sorted[len(sorted)/2], 0
	for i, x := range score {
		if (x >= cut) == secret[i] {
			right++
		}
	}
	return float64(right) / float64(len(score))
}

// Cloning with dummy conditions: pairs of queries that differ in whether the
// target may be selected, cloned by conditions that change nothing. Under noise
// that sticks to conditions and sets, the differences vary over the clones
// only if the target is there. Here every clone is a fresh draw, and paid for.
func TestAttack04_Cloning(t *testing.T) {
	a := Shared(t)
	rng := rand.New(rand.NewPCG(4, 4))
	groups := Trials(200, 1000)
	secret := make([]bool, groups)
	holders := make([]int, groups) // of the secret among the crowd, unknown to the attacker
	var csv strings.Builder
	csv.WriteString("id,grp,role,secret,d\n")
	for g := range groups {
		secret[g] = rng.IntN(2) == 0
		fmt.Fprintf(&csv, "t%d,%d,t,%v,0\n", g, g, secret[g])
		for i := range crowd {
			s := i < crowd/3 || rng.IntN(2) == 0
			if s {
				holders[g]++
			}
			fmt.Fprintf(&csv, "o%d-%d,%d,o,%v,%d\n", g, i, g, s, i)
		}
	}
	a.Add(t, Table{ID: "clones", Rule: shortBudget(), Columns: []Column{column("grp", 0, groups-1, "key"), codes("role", "filter", "t", "o"), {Name: "secret", YAML: "type: bool", Uses: "filter"}, column("d", 0, 5000, "filter")}, CSV: csv.String()})
	diffs := make([][]float64, groups)
	asked := 0
	ask := func(conditions string) []float64 {
		r, err := a.Run(Op(0), "clones", "SELECT grp, COUNT(*) AS n FROM clones WHERE "+conditions+" GROUP BY grp", 4_400_000)
		if Reason(err) == "BUDGET_EXHAUSTED" {
			return nil
		}
		if err != nil {
			t.Fatal(err)
		}
		asked++
		return byKey(t, r, groups)
	}
	for clone := 1000; ; clone++ {
		dummy := fmt.Sprintf("secret AND d <> %d", clone)
		with, without := ask(dummy), ask(dummy+" AND role <> 't'")
		if with == nil || without == nil {
			break
		}
		for g := range diffs {
			diffs[g] = append(diffs[g], with[g]-without[g])
		}
	}
	if len(diffs[0]) < 4 {
		t.Fatalf("only %d clones were paid", len(diffs[0]))
	}
	mean, variance := 0, make([]float64, groups)
	for g, d := range diffs {
		sum := 0.0
		for _, x := range d {
			sum += x
		}
		if (sum/float64(len(d)) > 0.5) == secret[g] {
			mean++
		}
		variance[g] = spread(d)
	}
	got := max(float64(mean)/float64(groups), split(variance, secret))
	// Control: the same attack on noise that sticks, with the clones that no budget
	// stops.
	right := 0
	for g := range groups {
		s := sticky{fmt.Sprint("salt", g)}
		var d []float64
		all := holders[g]
		if secret[g] {
			all++
		}
		others, everyone := "others", "others"
		if secret[g] {
			everyone = "others and target"
		}
		for clone := range 40 {
			dummy := fmt.Sprint("d<>", clone)
			d = append(d, s.answer(all, everyone, "secret", dummy)-s.answer(holders[g], others, "secret", "role<>t", dummy))
		}
		if (spread(d) > 0.9) == secret[g] {
			right++
		}
	}
	control := float64(right) / float64(groups)
	bound := 0.55 + 3*0.5/math.Sqrt(float64(groups))
	Record(t, Score{Attack: "04 cloning with dummy conditions", Figure: round3(got), Bound: fmt.Sprintf("0.55 (+3 sd: %.3f)", bound), Control: round3(control), Pass: got <= bound && control >= 0.9, Trials: groups,
		Note: fmt.Sprintf("better of mean and variance over %d paid clones; control: noise fixed by conditions and set, 40 clones", len(diffs[0]))})
}
