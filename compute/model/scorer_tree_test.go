package model

import (
	"math"
	"math/rand/v2"
	"testing"
)

// Walking rows together gives, bit for bit, what walking each alone gives: whatever the
// shape of the tree, and however many rows the last block has.
func TestTreesScoreAsTheyAreWalked(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	features := []Feature{{Column: "a", Kind: KindNumber, Edges: make([]int64, 62)}, {Column: "b", Kind: KindCategory, Codes: make([]string, 200)}, {Column: "c", Kind: KindNumber}}
	for _, rows := range []int{1, treeBlock - 1, treeBlock, treeBlock + 1, 3*treeBlock + 7} {
		p := &Parameters{Features: features}
		for range 5 {
			tree := Tree{Nodes: []Node{{}}}
			for at := 0; at < len(tree.Nodes); at++ {
				if len(tree.Nodes) > 200 || len(tree.Nodes) > 20 && r.IntN(2) == 0 {
					tree.Nodes[at].Value = r.NormFloat64()
					continue
				}
				f := r.IntN(len(features))
				tree.Nodes[at] = Node{Feature: f, Bin: r.IntN(features[f].Bins()), Equal: features[f].Kind == KindCategory, Left: len(tree.Nodes), Right: len(tree.Nodes) + 1}
				tree.Nodes = append(tree.Nodes, Node{}, Node{})
			}
			p.Trees = append(p.Trees, tree)
		}
		d := &Data{Units: make([]int32, rows), Values: make([][]float32, len(features))}
		for _, f := range features {
			bins := make([]uint16, rows)
			for i := range bins {
				bins[i] = uint16(r.IntN(f.Bins()))
			}
			d.Bins = append(d.Bins, bins)
		}
		out := make([]float64, rows)
		newTreeScorer(p).Score(d, out)
		for row, got := range out {
			want := 0.0
			for i := range p.Trees {
				want += p.Trees[i].Nodes[p.Trees[i].leaf(d, row)].Value
			}
			if want *= 1 / float64(len(p.Trees)); got != want {
				t.Fatalf("row %d of %d scores %v, walked alone %v", row+1, rows, got, want)
			}
		}
	}
}

// Centres looked at four by four: the nearest, and of equals the first.
func TestNearestIsTheFirstOfTheNearest(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 3000 {
		n, count := 1+r.IntN(5), 1+r.IntN(13)
		draw := func(n int) []float64 {
			x := make([]float64, n)
			for i := range x {
				x[i] = float64(r.IntN(3)) // so that many are equally near
			}
			return x
		}
		centres, x := draw(n*count), draw(n)
		best, want := math.Inf(1), 0
		for k := range count {
			s := 0.0
			for j := range x {
				s += (x[j] - centres[k*n+j]) * (x[j] - centres[k*n+j])
			}
			if s < best {
				best, want = s, k
			}
		}
		if got := nearest(centres, x); got != want {
			t.Fatalf("nearest of %d is %d, not %d", count, got, want)
		}
	}
	if nearest(nil, nil) != 0 {
		t.Error("nearest of none")
	}
}
