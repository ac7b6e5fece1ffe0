package twin

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/internal/leak"
)

// half keeps the units that are chosen.
func half(d *model.Data, chosen []bool) *model.Data {
	out := &model.Data{Bins: make([][]uint16, len(d.Bins))}
	last := int32(-1)
	for r, u := range d.Units {
		if !chosen[u] {
			continue
		}
		if u != last {
			out.Count++
			last = u
		}
		out.Units = append(out.Units, int32(out.Count-1))
		for c := range d.Bins {
			out.Bins[c] = append(out.Bins[c], d.Bins[c][r])
		}
	}
	return out
}

// nearness of a row to the rows of a twin: minus the mean number of columns in which the
// five nearest rows differ.
func nearness(drawn *model.Data, row []uint16) float64 {
	byDistance := make([]int, len(row)+1)
	for r := range drawn.Rows() {
		off := 0
		for c, b := range row {
			if drawn.Bins[c][r] != b {
				off++
			}
		}
		byDistance[off]++
	}
	left, sum := 5, 0
	for off, n := range byDistance {
		n = min(n, left)
		left -= n
		sum += n * off
	}
	return -float64(sum) / 5
}

// lira is the likelihood ratio attack (Carlini et al., IEEE S&P 2022): shadow twins of
// random halves give each target's statistic with it and without it; from those not
// looked at it is told by the ratio of two Gaussians. Returned is the area under the curve.
func lira(in [][]bool, statistic [][]float64, looked int) float64 {
	var scores []float64
	var member []bool
	for target := range statistic[0] {
		var with, without []float64
		for i := range looked {
			if x := statistic[i][target]; in[i][target] {
				with = append(with, x)
			} else {
				without = append(without, x)
			}
		}
		if len(with) < 2 || len(without) < 2 {
			continue
		}
		for i := looked; i < len(statistic); i++ {
			x := statistic[i][target]
			scores, member = append(scores, gaussian(x, with)-gaussian(x, without)), append(member, in[i][target])
		}
	}
	order := make([]int, len(scores))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		switch {
		case scores[a] < scores[b]:
			return -1
		case scores[a] > scores[b]:
			return 1
		}
		return 0
	})
	members, ranks := 0.0, 0.0
	for i := 0; i < len(order); {
		j := i
		for j < len(order) && scores[order[j]] == scores[order[i]] {
			j++
		}
		for _, k := range order[i:j] {
			if member[k] {
				members++
				ranks += float64(i+j-1)/2 + 1
			}
		}
		i = j
	}
	others := float64(len(order)) - members
	return (ranks - members*(members+1)/2) / (members * others)
}

func gaussian(x float64, sample []float64) float64 {
	mean, variance := total(sample)/float64(len(sample)), 0.0
	for _, s := range sample {
		variance += (s - mean) * (s - mean) / float64(len(sample)-1)
	}
	variance = max(variance, 1e-6)
	return -(x-mean)*(x-mean)/(2*variance) - math.Log(variance)/2
}

// R03: membership by the ratio of likelihoods, of rows that hardly anybody is like, from
// what the twin says of them and from how near its rows come to them.
func TestR03_Attack18_MembershipByLikelihoodRatio(t *testing.T) {
	if testing.Short() {
		t.Skip("arithmetic: left out of the short run under the race detector")
	}
	columns := []string{"sex", "district", "job", "visits", "chapter", "scheme"}
	const units = 2400
	shadows, targets := leak.Trials(18, 48), 150
	looked := shadows * 2 / 3
	b := pick(residents(units, 1, 9), columns...)
	schema := func(rho string) Schema { return schemaOf(t, Spec{Columns: columns, Rho: rho}, registry()) }
	all := encoded(t, schema(epsilonOne), b)
	everywhere := learnt(t, schema("100000"), all, 1)
	row := func(r int) []uint16 {
		out := make([]uint16, len(columns))
		for c := range out {
			out[c] = all.Bins[c][r]
		}
		return out
	}
	order := make([]int, units)
	odds := make([]float64, units)
	for r := range order {
		order[r], odds[r] = r, likelihood(everywhere, row(r))
	}
	slices.SortFunc(order, func(a, b int) int {
		if odds[a] < odds[b] {
			return -1
		}
		return 1
	})
	order = order[:targets]
	random := rand.New(rand.NewPCG(5, 18))
	in, chosen := make([][]bool, shadows), make([][]bool, shadows)
	for i := range shadows {
		chosen[i] = make([]bool, units)
		for u := range chosen[i] {
			chosen[i][u] = random.IntN(2) == 0
		}
		for _, r := range order {
			in[i] = append(in[i], chosen[i][all.Units[r]])
		}
	}
	attack := func(rho string) (byLikelihood, byDistance float64) {
		s := schema(rho)
		said, near := make([][]float64, shadows), make([][]float64, shadows)
		for i := range shadows {
			part := half(all, chosen[i])
			x := learnt(t, s, part, uint64(i))
			_, drawn := drawnFrom(t, s, x, part.Count)
			for _, r := range order {
				said[i] = append(said[i], math.Log(likelihood(x, row(r))+1e-9))
				near[i] = append(near[i], nearness(drawn, row(r)))
			}
		}
		return lira(in, said, looked), lira(in, near, looked)
	}
	copied := make([][]float64, shadows)
	for i := range shadows {
		part := half(all, chosen[i])
		for _, r := range order {
			copied[i] = append(copied[i], nearness(part, row(r)))
		}
	}
	said, near := attack(epsilonOne)
	bare, _ := attack("100000")
	handed := lira(in, copied, looked)
	// Targets of one twin hang together: chance is counted by twins and not by rows.
	trials := (shadows - looked) * targets
	bound := 0.5 + 2.5*math.Sqrt(1/(12*float64(trials)/4)) + 0.05
	if bare < 0.6 || handed < 0.8 {
		t.Errorf("without protection a member is told with AUC %.3f and %.3f only: the test shows nothing", bare, handed)
	}
	for _, x := range []struct {
		name         string
		auc, control float64
		by           string
	}{{"18 membership by ratio of likelihoods", said, bare, "without noise"}, {"18 membership by distance, as a ratio of likelihoods", near, handed, "the records themselves"}} {
		leak.Record(t, leak.Score{Attack: x.name, Figure: fmt.Sprintf("AUC %.3f", x.auc), Bound: fmt.Sprintf("%.3f", bound), Control: fmt.Sprintf("%s: AUC %.3f", x.by, x.control),
			Pass: x.auc <= bound, Trials: trials})
	}
}
