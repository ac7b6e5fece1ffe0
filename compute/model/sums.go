package model

import (
	"errors"
	"math"
	"runtime"
	"sync"

	"github.com/sandgate/sandgate/policies"
)

var errPass = errors.New("failed to compute a pass: its parameters do not have the form of the design")

// shardRows is from how many rows a second goroutine pays.
const shardRows = 1 << 15

// Sums computes the exact sums of a pass over the units of d that are members (nil:
// all). Every unit's contribution, the mean over its rows, is brought onto the lattice
// in integers of which the sum of squares is at most Norm²; adding or removing any
// unit moves the result by no more. The integers of one unit depend on its rows and the
// pass alone, so the result does not depend on order or number of goroutines.
func Sums(d *Data, design Design, p Pass, members []bool) ([]int64, error) {
	if members != nil && len(members) != d.Count || !wellFormed(d, design) {
		return nil, badRows()
	}
	if p.Kind == PassScores {
		return modelScores(d, design, p, members)
	}
	if !design.admits(p) {
		return nil, errPass
	}
	return overUnits(d, p, members, func() contributor { return newContributor(d, design, p) }), nil
}

// contributor adds what one row contributes to its unit, times w.
type contributor interface {
	row(a *unitSum, r int, w float64)
}

// overUnits adds up the units' lattice vectors.
func overUnits(d *Data, p Pass, members []bool, fresh func() contributor) []int64 {
	shards := max(1, min(runtime.GOMAXPROCS(0), d.Rows()/shardRows))
	if p.Width > 1<<18 {
		shards = 1 // each shard holds a vector of its own
	}
	out := make([][]int64, shards)
	var wait sync.WaitGroup
	for s := range shards {
		from, to := unitStart(d, d.Rows()*s/shards), unitStart(d, d.Rows()*(s+1)/shards)
		wait.Go(func() {
			a := newUnitSum(p)
			c := fresh()
			for r := from; r < to; {
				end := r + 1
				for end < to && d.Units[end] == d.Units[r] {
					end++
				}
				if members == nil || members[d.Units[r]] {
					w := 1 / float64(end-r)
					for ; r < end; r++ {
						c.row(a, r, w)
					}
					a.flush()
				}
				r = end
			}
			out[s] = a.total
		})
	}
	wait.Wait()
	for _, o := range out[1:] {
		for i, v := range o {
			out[0][i] += v
		}
	}
	return out[0]
}

// unitStart moves a row forward to the first row of a unit.
func unitStart(d *Data, r int) int {
	for r > 0 && r < d.Rows() && d.Units[r] == d.Units[r-1] {
		r++
	}
	return r
}

// unitSum gathers one unit's contribution and adds it to the total on the lattice.
type unitSum struct {
	v       []float64
	touched []int32
	values  []float64 // of what is touched
	mark    []bool
	dense   bool
	// cap, when not 0, cuts all coordinates but the first touched one before the whole
	// is held to the norm (moments, whose count is kept whole).
	cap float64

	inverse float64 // steps per unit of value, an integer
	norm    int64
	q       []int64
	total   []int64
}

func newUnitSum(p Pass) *unitSum {
	a := &unitSum{v: make([]float64, p.Width), total: make([]int64, p.Width), inverse: math.Round(1 / p.Step), norm: p.Norm}
	switch p.Kind {
	case PassGradient:
		a.dense = true
		a.q = make([]int64, p.Width)
	default:
		a.mark = make([]bool, p.Width)
	}
	return a
}

// add adds to a coordinate of a sparse contribution.
func (a *unitSum) add(i int, x float64) {
	if !a.mark[i] {
		a.mark[i] = true
		a.touched = append(a.touched, int32(i))
		a.v[i] = x
		return
	}
	a.v[i] += x
}

// flush ends a unit.
func (a *unitSum) flush() {
	if a.dense {
		a.settle(a.v, a.q)
		for i, q := range a.q {
			a.total[i] += q
		}
		clear(a.v)
		return
	}
	n := len(a.touched)
	values := a.values[:0]
	for _, i := range a.touched {
		values = append(values, a.v[i])
		a.mark[i] = false
	}
	a.values = values
	if a.cap > 0 && n > 1 {
		cut(values[1:], a.cap)
	}
	if cap(a.q) < n {
		a.q = make([]int64, 2*n)
	}
	q := a.q[:n]
	a.settle(values, q)
	for k, i := range a.touched {
		a.total[i] += q[k]
	}
	a.touched = a.touched[:0]
}

// cut scales v to a norm of at most limit.
func cut(v []float64, limit float64) {
	s := 0.0
	for _, x := range v {
		s += x * x
	}
	if s > limit*limit {
		f := limit / math.Sqrt(s)
		for i := range v {
			v[i] *= f
		}
	}
}

// settle writes v on the lattice into q with a sum of squares of at most norm². What
// is no number becomes nothing.
func (a *unitSum) settle(v []float64, q []int64) {
	s := 0.0
	for _, x := range v {
		s += x * x
	}
	length, limit := math.Sqrt(s)*a.inverse, float64(a.norm)
	if !(length <= math.MaxFloat64) {
		clear(q)
		return
	}
	f := a.inverse
	if length > limit {
		// Rounding adds at most half a step per coordinate.
		f *= max(0.5*limit, limit-0.5*math.Sqrt(float64(len(v)))) / length
	}
	square := int64(0)
	for i, x := range v {
		n := int64(math.Floor(x*f + 0.5))
		q[i] = n
		square += n * n
	}
	for square > a.norm*a.norm {
		// Towards zero no coordinate grows, so this ends at the first or second turn.
		f *= (1 - 1e-9) * min(1, limit/(math.Sqrt(s)*f))
		square = 0
		for i, x := range v {
			n := int64(x * f)
			q[i] = n
			square += n * n
		}
	}
}

// wellFormed keeps data that were not made by the encoder of this design from being
// read out of range.
func wellFormed(d *Data, design Design) bool {
	rows := d.Rows()
	ok := len(d.Bins) == len(design.Features) && len(d.Values) == len(design.Features) && len(d.Label) == rows && len(d.Groups) == len(design.Groups)
	for i := 0; ok && i < len(d.Bins); i++ {
		number := design.Features[i].Kind == KindNumber
		ok = len(d.Bins[i]) == rows && (d.Values[i] != nil) == number && (!number || len(d.Values[i]) == rows)
	}
	for i := 0; ok && i < len(d.Groups); i++ {
		ok = len(d.Groups[i]) == rows
	}
	return ok && (rows == 0 || d.Units[0] == 0 && int(d.Units[rows-1]) == d.Count-1)
}

// admits says whether a pass has the form that its kind has in the design.
func (d Design) admits(p Pass) bool {
	if p.Norm < 1 || p.Norm > 1<<31 || !(p.Step > 0 && p.Step <= 1) || p.Model != nil {
		return false
	}
	for _, x := range p.Theta {
		if math.IsNaN(x) || math.Abs(x) > maxTheta {
			return false
		}
	}
	inputs, outputs, bins := len(slotsOf(d.Features)), d.outputs(), width(d.terms(), d.Features)
	theta, want, leaves := 0, 0, 0
	switch p.Kind {
	case PassMoments:
		want = momentsWidth(inputs, outputs)
		if len(p.Theta) > 0 && d.Spec.Family == policies.FamilyLogistic {
			theta = inputs
		}
	case PassGradient:
		want, theta = inputs*outputs, inputs*outputs
	case PassBins:
		if len(p.Trees) > 1 || bins == 0 {
			return false
		}
		want = p.Width
		leaves = p.Width / (2 * bins)
		if p.Width != 2*bins*max(1, leaves) || leaves == 0 {
			return false
		}
	case PassResiduals:
		want, theta = bins, bins+1
	case PassLeaves:
		if len(p.Trees) == 0 {
			return false
		}
		want = p.Width
		leaves = p.Width / (2 * len(p.Trees))
		if p.Width != 2*leaves*len(p.Trees) {
			return false
		}
	case PassClusters:
		if d.Spec.Setting.Clusters == 0 {
			return false
		}
		want, theta = d.Spec.Setting.Clusters*inputs, d.Spec.Setting.Clusters*(inputs-1)
	default:
		return false
	}
	if p.Width != want || p.Width < 1 || p.Width > maxWidth || len(p.Theta) != theta {
		return false
	}
	for i := range p.Trees {
		if leaves == 0 || !p.Trees[i].valid(d.Features, leaves) {
			return false
		}
	}
	return true
}

// maxTheta bounds parameters: a score of more is 0 or 1 to the last digit anyway.
const maxTheta = 1e6

// valid holds a tree to the features; cells are at most leaves.
func (t *Tree) valid(features []Feature, leaves int) bool {
	if len(t.Nodes) == 0 || len(t.Nodes) > 4*maxLeaves {
		return false
	}
	for i, n := range t.Nodes {
		if n.Cell < 0 || n.Cell > leaves || math.IsNaN(n.Value) || math.Abs(n.Value) > maxTheta {
			return false
		}
		if n.Left == 0 {
			if n.Right != 0 || n.Feature != 0 || n.Bin != 0 || n.Equal {
				return false
			}
			continue
		}
		// Children lie behind their parent, so a walk ends.
		if n.Left <= i || n.Right <= i || n.Left >= len(t.Nodes) || n.Right >= len(t.Nodes) || n.Left == n.Right ||
			n.Feature < 0 || n.Feature >= len(features) || n.Bin < 0 || n.Bin >= features[n.Feature].Bins() || n.Equal != (features[n.Feature].Kind == KindCategory) {
			return false
		}
	}
	return true
}
