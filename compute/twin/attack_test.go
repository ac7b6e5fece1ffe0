package twin

import (
	"fmt"
	"math"
	"testing"

	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/internal/leak"
)

// halves cuts units into those a twin is learned from and a control of the same kind.
func halves(d *model.Data) (members, control *model.Data) {
	parts := [2]*model.Data{{Bins: make([][]uint16, len(d.Bins))}, {Bins: make([][]uint16, len(d.Bins))}}
	for r, u := range d.Units {
		p := parts[u%2]
		if len(p.Units) == 0 || r == 0 || d.Units[r-1] != u {
			p.Count++
		}
		p.Units = append(p.Units, int32(p.Count-1))
		for c := range d.Bins {
			p.Bins[c] = append(p.Bins[c], d.Bins[c][r])
		}
	}
	return parts[0], parts[1]
}

// R03: a twin tells no more of those it was learned from than of others like them:
// exact copies, singling out, linkage and inference in the manner of Anonymeter. A
// "twin" that hands out records fails each of the same tests.
func TestR03_Attack18_TwinAgainstControl(t *testing.T) {
	if testing.Short() {
		t.Skip("arithmetic: left out of the short run under the race detector")
	}
	s := schemaOf(t, Spec{Columns: learned, RowsPerUnit: 1}, registry())
	members, control := halves(encoded(t, s, residents(12_000, 1, 5)))
	_, twin := drawnFrom(t, s, learnt(t, s, members, 2), members.Count)
	attacks := map[string]func(drawn, d leak.Coded) leak.Rate{
		"same cells in all columns": leak.Copies,
		"linkage":                   func(drawn, d leak.Coded) leak.Rate { return leak.Linked(drawn, d, 1500) },
		"inference":                 func(drawn, d leak.Coded) leak.Rate { return leak.Inferred(drawn, d, 8, 1500) },
	}
	for k := 2; k <= 6; k += 2 {
		attacks[fmt.Sprintf("singling out by %d columns", k)] = func(drawn, d leak.Coded) leak.Rate { return leak.SingledOut(drawn, d, k, 1) }
	}
	for name, attack := range attacks {
		in, out := attack(twin.Bins, members.Bins), attack(twin.Bins, control.Bins)
		bareIn, bareOut := attack(members.Bins, members.Bins), attack(members.Bins, control.Bins)
		if !leak.More(bareIn, bareOut) {
			t.Errorf("%s: handing out the records themselves goes unnoticed (%.4f, %.4f)", name, bareIn.Share, bareOut.Share)
		}
		leak.Record(t, leak.Score{Attack: "18 " + name, Figure: fmt.Sprintf("%.3f of members, %.3f of others", in.Share, out.Share),
			Bound: fmt.Sprintf("of others + %.3f", leak.Margin(in, out)), Control: fmt.Sprintf("the records themselves: %.3f, %.3f", bareIn.Share, bareOut.Share),
			Pass: !leak.More(in, out), Trials: in.Trials + out.Trials})
	}
}

// R03: a value that one unit has, or a handful, never appears in a twin at ε = 1. At a
// price at which there is no noise to speak of it does.
func TestR03_Attack18_RareValuesNeverAppear(t *testing.T) {
	if testing.Short() {
		t.Skip("arithmetic: left out of the short run under the race detector")
	}
	b := pick(residents(6000, 1, 6), "sex", "visits", "chapter", "district")
	const rare = "d11"
	for r := range b.Columns[3].Texts {
		if b.Columns[3].Texts[r] == rare {
			b.Columns[3].Texts[r] = "d10"
		}
	}
	for r := range 5 {
		b.Columns[3].Texts[1000*r] = rare
	}
	appears := func(rho string, seed uint64) bool {
		s := schemaOf(t, Spec{Columns: []string{"sex", "visits", "chapter", "district"}, Rho: rho}, registry())
		x := learnt(t, s, encoded(t, s, b), seed)
		rows, _ := drawnFrom(t, s, x, 20_000)
		for _, v := range rows.Columns[3].Texts {
			if v == rare {
				return true
			}
		}
		return false
	}
	times, trials := 0, leak.Trials(12, 60)
	for seed := range uint64(trials) {
		if appears(epsilonOne, seed) {
			times++
		}
	}
	bare := appears("100000", 1)
	if !bare {
		t.Error("it does not appear without noise either: the test shows nothing")
	}
	leak.Record(t, leak.Score{Attack: "18 a code that five of 6 000 units have", Figure: fmt.Sprintf("in %d twins", times), Bound: 0, Control: fmt.Sprintf("without noise it appears: %v", bare),
		Pass: times == 0, Trials: trials})
}

// Membership by likelihood: whether one unit was there hardly moves what the twin says
// of its row, while without noise it would.
func TestR03_Attack18_MembershipByLikelihood(t *testing.T) {
	if testing.Short() {
		t.Skip("arithmetic: left out of the short run under the race detector")
	}
	columns := []string{"sex", "job", "district"}
	b := pick(residents(1500, 1, 7), columns...)
	b.Columns[0].Texts[0], b.Columns[1].Texts[0], b.Columns[1].Null[0], b.Columns[2].Texts[0] = "s01", "j19", false, "d00"
	told := func(rho string) float64 {
		s := schemaOf(t, Spec{Columns: columns, Rho: rho}, registry())
		with := encoded(t, s, b)
		target := []uint16{1, 19, 0}
		unit := int32(-1)
		for r, u := range with.Units {
			if with.Bins[0][r] == target[0] && with.Bins[1][r] == target[1] && with.Bins[2][r] == target[2] {
				unit = u
			}
		}
		less := without(with, unit)
		right, trials := 0.0, 30
		for i := range trials {
			a, c := likelihood(learnt(t, s, with, uint64(2*i)), target), likelihood(learnt(t, s, less, uint64(2*i+1)), target)
			switch {
			case a > c:
				right++
			case a == c:
				right += 0.5
			}
		}
		return right / float64(trials)
	}
	auc, bound, bare := told("0.1"), 0.5+2.5*math.Sqrt(0.25/30)+0.05, told("100000")
	if bare < 0.9 {
		t.Errorf("without noise a member is told with AUC %.2f only: the test shows nothing", bare)
	}
	leak.Record(t, leak.Score{Attack: "18 membership of one outlier by likelihood, ε 2.1", Figure: fmt.Sprintf("AUC %.2f", auc), Bound: fmt.Sprintf("%.2f", bound), Control: fmt.Sprintf("without noise: AUC %.2f", bare),
		Pass: auc <= bound, Trials: 60})
}

// likelihood of a row under a twin.
func likelihood(x *Twin, row []uint16) float64 {
	p := 1.0
	sizes := func(c int) int {
		n := 0
		for _, g := range x.Groups[c] {
			n = max(n, g+1)
		}
		return n
	}
	for _, v := range x.Order {
		at := 0
		for _, q := range v.Parents {
			at = at*sizes(q) + x.Groups[q][row[q]]
		}
		g := x.Groups[v.Column][row[v.Column]]
		sum, cells := int64(0), int64(0)
		for _, w := range v.Weights[at] {
			sum += w
		}
		for cell, w := range x.Cells[v.Column] {
			if x.Groups[v.Column][cell] == g {
				cells += w
			}
		}
		p *= float64(v.Weights[at][g]) / float64(sum) * float64(x.Cells[v.Column][row[v.Column]]) / float64(cells)
	}
	return p
}

// R03: no row of a twin is a row of the data, in full: dates and amounts are drawn on
// the registered grid, not kept.
func TestR03_Attack18_NoExactCopies(t *testing.T) {
	if testing.Short() {
		t.Skip("arithmetic: left out of the short run under the race detector")
	}
	s := schemaOf(t, Spec{Columns: learned, RowsPerUnit: 1}, registry())
	b := residents(6000, 1, 8)
	spelled := func(columns []model.Column) map[string]bool {
		out := map[string]bool{}
		for r := range max(len(columns[0].Texts), len(columns[0].Ints)) {
			line := ""
			for _, c := range columns {
				if c.Ints != nil {
					line += fmt.Sprintf("%d|", c.Ints[r])
				} else {
					line += c.Texts[r] + "|"
				}
			}
			out[line] = true
		}
		return out
	}
	rows, _ := drawnFrom(t, s, learnt(t, s, encoded(t, s, b), 1), 20_000)
	real, copied := spelled(b.Columns), 0
	for line := range spelled(rows.Columns) {
		if real[line] {
			copied++
		}
	}
	if len(real) < 5900 {
		t.Errorf("the data hold %d different rows: the test shows nothing", len(real))
	}
	leak.Record(t, leak.Score{Attack: "18 exact copies, value by value", Figure: copied, Bound: 0, Control: fmt.Sprintf("the records themselves: %d", len(real)), Pass: copied == 0, Trials: 20_000})
}
