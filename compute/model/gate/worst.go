package gate

import (
	"cmp"
	"context"
	"math"
	"slices"
)

// repetitions of the worst-case attack, and the level at which one of them counts as
// significant: at 0.05 two of ten repetitions on the same units are significant by
// chance in every twelfth run, at 0.005 still in one of some tens of small tables.
const (
	repetitions = 10
	strict      = 3.0902 // normal quantile of 0.999
)

// worstCase trains a classifier to tell members from others by the scores alone: sorted
// class probabilities, probability of the true class, and whether the model is right
// (as SACRO-ML's worst-case attack does with a random forest).
func (b *bench) worstCase(ctx context.Context, l *lineup) ([]Figure, error) {
	x, err := b.exposed(l)
	if err != nil {
		return nil, err
	}
	aucs, hits := make([]float64, repetitions), make([]bool, repetitions)
	if err := b.each(ctx, "worst case", repetitions, func(i int) error {
		s := b.rnd.fork("worst case", i)
		var train, test []int
		for _, side := range []bool{true, false} {
			var units []int
			for u, m := range l.member {
				if m == side {
					units = append(units, u)
				}
			}
			shuffle(s, units)
			train, test = append(train, units[:len(units)/2]...), append(test, units[len(units)/2:]...)
		}
		f := grow(s, x, l.member, train)
		guess, member := make([]float64, len(test)), make([]bool, len(test))
		for j, u := range test {
			guess[j], member[j] = f.vote(x[u]), l.member[u]
		}
		in, out := split(guess, member)
		a, se := auc(in, out)
		aucs[i], hits[i] = a, a-0.5 > strict*max(se, 1e-9)
		return nil
	}); err != nil {
		return nil, err
	}
	mean, significant := 0.0, 0
	for i := range aucs {
		mean += aucs[i] / repetitions
		if hits[i] {
			significant++
		}
	}
	// The repetitions share their units: together they know what all units know once.
	a := float64(len(l.member)) / 2
	h := normal95 * math.Sqrt((2*a+1)/(12*a*a))
	return []Figure{figure("auc", OfModel, interval{mean, max(0, mean-h), min(1, mean+h)}),
		{Name: "significant", Of: OfModel, Value: places3(float64(significant) / repetitions)}}, nil
}

// exposed is what the scores show of each attacked unit, averaged over its rows.
func (b *bench) exposed(l *lineup) ([][]float64, error) {
	classes, w := b.Design.Target.Classes, b.Target.Width()
	p, err := scores(b.Target, l.data)
	if err != nil {
		return nil, err
	}
	phi, err := b.signal(b.Target, l.data)
	if err != nil {
		return nil, err
	}
	x := make([][]float64, len(l.units))
	for u := range l.units {
		for r := l.rows[u]; r < l.rows[u+1]; r++ {
			row := slices.Clone(p[r*w : (r+1)*w])
			switch {
			case classes > 1:
				row = append(row, ofClass(row, 0))
				own := ofClass(p[r*w:(r+1)*w], int(l.data.Label[r]))
				right := 0.0
				if own == slices.Max(row) {
					right = 1
				}
				slices.Sort(row)
				row = append(row, own, right)
			case b.labelled():
				row = append(row, math.Abs(row[0]-float64(l.data.Label[r])))
			default:
				row = append(row, phi[r])
			}
			if x[u] == nil {
				x[u] = make([]float64, len(row))
			}
			for i, v := range row {
				x[u][i] += v / float64(l.rows[u+1]-l.rows[u])
			}
		}
	}
	for u := range x {
		if x[u] == nil { // a unit without rows shows nothing
			x[u] = make([]float64, widest(x))
		}
	}
	return x, nil
}

func widest(x [][]float64) (n int) {
	for _, v := range x {
		n = max(n, len(v))
	}
	return n
}

// forest is a random forest of shallow trees, the attacker's classifier.
type forest [][]branch

// branch is a node: rows go left whose feature is at most cut; a leaf has no right.
type branch struct {
	feature     int
	cut         float64
	left, right int
	value       float64
}

const (
	trees    = 40
	deepest  = 5
	leafRows = 10
)

func grow(s *stream, x [][]float64, y []bool, rows []int) forest {
	f := make(forest, trees)
	for t := range f {
		bag := make([]int, len(rows))
		for i := range bag {
			bag[i] = rows[s.below(len(rows))]
		}
		f[t] = append(f[t], branch{})
		f.divide(s, t, 0, x, y, bag, deepest)
	}
	return f
}

func (f forest) divide(s *stream, t, node int, x [][]float64, y []bool, rows []int, depth int) {
	ones := 0
	for _, r := range rows {
		if y[r] {
			ones++
		}
	}
	f[t][node].value = float64(ones) / float64(max(1, len(rows)))
	if depth == 0 || len(rows) < 2*leafRows || ones == 0 || ones == len(rows) {
		return
	}
	width := len(x[rows[0]])
	best, feature, cut := 1e-12, -1, 0.0
	for range max(1, int(math.Sqrt(float64(width)))) {
		c := s.below(width)
		slices.SortFunc(rows, func(a, b int) int { return cmp.Compare(x[a][c], x[b][c]) })
		left, n, p := 0, len(rows), float64(ones)/float64(len(rows))
		for i := range n - 1 {
			if y[rows[i]] {
				left++
			}
			if i+1 < leafRows || n-i-1 < leafRows || x[rows[i]][c] == x[rows[i+1]][c] {
				continue
			}
			// Reduction of the Gini impurity, up to a constant.
			d := float64(left)/float64(i+1) - p
			if gain := d * d * float64(i+1) * float64(n) / float64(n-i-1); gain > best {
				best, feature, cut = gain, c, (x[rows[i]][c]+x[rows[i+1]][c])/2
			}
		}
	}
	if feature < 0 {
		return
	}
	var l, r []int
	for _, i := range rows {
		if x[i][feature] <= cut {
			l = append(l, i)
		} else {
			r = append(r, i)
		}
	}
	if len(l) == 0 || len(r) == 0 { // the cut fell onto a value by rounding
		return
	}
	a := len(f[t])
	f[t] = append(f[t], branch{}, branch{})
	f[t][node].feature, f[t][node].cut, f[t][node].left, f[t][node].right = feature, cut, a, a+1
	f.divide(s, t, a, x, y, l, depth-1)
	f.divide(s, t, a+1, x, y, r, depth-1)
}

func (f forest) vote(x []float64) (p float64) {
	for _, t := range f {
		n := 0
		for t[n].right > 0 {
			if x[t[n].feature] <= t[n].cut {
				n = t[n].left
			} else {
				n = t[n].right
			}
		}
		p += t[n].value / float64(len(f))
	}
	return p
}
