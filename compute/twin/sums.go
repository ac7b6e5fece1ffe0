package twin

import (
	"runtime"
	"sync"

	"github.com/sandgate/sandgate/compute/model"
)

// shardRows is from how many rows a second goroutine pays.
const shardRows = 1 << 15

// Sums computes the exact sums of a pass over the units of d. The i-th of a unit's n
// rows weighs ⌊(i+1)k/n⌋−⌊ik/n⌋ of the k steps that a unit is worth, in integers, so
// that what a unit adds to each table sums to k at most and its norm over all tables is
// at most k√tables ≤ Norm, whatever its rows hold. Units with more rows than the schema
// allows and cells outside of it are an error: no encoder makes them.
func Sums(d *model.Data, s Schema, p Pass) ([]int64, error) {
	k := s.steps(p)
	if k == 0 {
		return nil, reason(CodePass, "这一遍不具有孪生结构规定的形式", "the pass does not have the form of the schema", "重新学习", "learn again")
	}
	if !s.holds(d) {
		return nil, badRows()
	}
	shards := max(1, min(runtime.GOMAXPROCS(0), d.Rows()/shardRows))
	out := make([][]int64, shards)
	var wait sync.WaitGroup
	for i := range shards {
		from, to := unitStart(d, d.Rows()*i/shards), unitStart(d, d.Rows()*(i+1)/shards)
		wait.Go(func() {
			weight := weights(d, from, to, k)
			if p.Kind == PassCells {
				out[i] = s.cellSums(d, from, to, weight, k)
			} else {
				out[i] = pairSums(d, p, from, to, weight)
			}
		})
	}
	wait.Wait()
	for _, o := range out[1:] {
		for i, v := range o {
			out[0][i] += v
		}
	}
	return out[0], nil
}

// unitStart moves a row forward to the first row of a unit.
func unitStart(d *model.Data, r int) int {
	for r > 0 && r < d.Rows() && d.Units[r] == d.Units[r-1] {
		r++
	}
	return r
}

func weights(d *model.Data, from, to int, k int64) []int64 {
	out := make([]int64, to-from)
	for r := from; r < to; {
		end := r + 1
		for end < to && d.Units[end] == d.Units[r] {
			end++
		}
		n := int64(end - r)
		for i := range n {
			out[r-from+int(i)] = (i+1)*k/n - i*k/n
		}
		r = end
	}
	return out
}

func (s Schema) cellSums(d *model.Data, from, to int, weight []int64, k int64) []int64 {
	out := make([]int64, s.cellsWidth())
	at := 0
	for c := range s.Columns {
		t := out[at : at+s.Columns[c].Bins()]
		for i, b := range d.Bins[c][from:to] {
			t[b] += weight[i]
		}
		at += len(t)
	}
	for r := from; r < to && s.RowsPerUnit > 1; {
		end := r + 1
		for end < to && d.Units[end] == d.Units[r] {
			end++
		}
		out[at+end-r-1] += k
		r = end
	}
	return out
}

func pairSums(d *model.Data, p Pass, from, to int, weight []int64) []int64 {
	out := make([]int64, p.Width)
	// The groups of the rows are looked up once per column.
	groups, size := make([][]uint8, len(p.Groups)), make([]int, len(p.Groups))
	for c, g := range p.Groups {
		groups[c] = make([]uint8, to-from)
		for i, b := range d.Bins[c][from:to] {
			groups[c][i] = uint8(g[b])
		}
		for _, x := range g {
			size[c] = max(size[c], x+1)
		}
	}
	at := 0
	for _, pair := range p.Pairs {
		a, b, n := groups[pair[0]], groups[pair[1]], size[pair[1]]
		t := out[at : at+size[pair[0]]*n]
		for i, w := range weight {
			t[int(a[i])*n+int(b[i])] += w
		}
		at += len(t)
	}
	return out
}

// holds keeps data that no encoder of this schema made from being summed.
func (s Schema) holds(d *model.Data) bool {
	rows := d.Rows()
	if len(d.Bins) != len(s.Columns) || rows > 0 && (d.Units[0] != 0 || int(d.Units[rows-1]) != d.Count-1) {
		return false
	}
	run := 0
	for r := range rows {
		if run++; r > 0 && d.Units[r] != d.Units[r-1] {
			if d.Units[r] != d.Units[r-1]+1 {
				return false
			}
			run = 1
		}
		if run > s.RowsPerUnit {
			return false
		}
	}
	for c, bins := range d.Bins {
		if len(bins) != rows {
			return false
		}
		for _, b := range bins {
			if int(b) >= s.Columns[c].Bins() {
				return false
			}
		}
	}
	return true
}
