package model

import (
	"crypto/sha256"
	"encoding/binary"
	"math"

	"github.com/sandgate/sandgate/policies"
)

// tree grows one tree by level from (noisy) histograms, and fills its leaves from a
// pass of their own.
func (s *session) tree() (*Parameters, error) {
	t, err := s.grow(0)
	if err != nil {
		return nil, err
	}
	return s.filled([]Tree{t})
}

// forest grows trees. Private ones have splits drawn from the design alone: with many
// trees, noisy histograms would leave nothing of the price for the leaves.
func (s *session) forest() (*Parameters, error) {
	var trees []Tree
	for k := range s.design.Spec.Setting.Trees {
		if s.design.Spec.Private {
			trees = append(trees, s.design.randomTree(k))
			continue
		}
		t, err := s.grow(k)
		if err != nil {
			return nil, err
		}
		trees = append(trees, t)
	}
	return s.filled(trees)
}

// grow splits the nodes of a level by the histograms of their rows. All passes of the
// plan are asked for, whether or not there is anything left to split.
func (s *session) grow(index int) (Tree, error) {
	d, seed := s.design, s.design.Digest()
	bins := width(d.terms(), d.Features)
	t := Tree{Nodes: []Node{{Cell: 1}}}
	for level := range d.Spec.Setting.Depth {
		a, err := s.ask(PassBins, nil, []Tree{t})
		if err != nil {
			return t, err
		}
		if level == 0 && index == 0 {
			root := histogramOf(d, a.v[:2*bins])
			if err := s.enough(root.zero, root.one, a.sigma*math.Sqrt(2*float64(bins))/float64(len(d.Features))); err != nil {
				return t, err
			}
		}
		cells := 0
		for n := range len(t.Nodes) {
			cell := t.Nodes[n].Cell
			if cell == 0 {
				continue
			}
			t.Nodes[n].Cell = 0
			use := d.candidates(seed, index, n)
			best, ok := d.split(histogramOf(d, a.v[(cell-1)*2*bins:cell*2*bins]), a.sigma, use)
			if !ok {
				continue
			}
			best.Left, best.Right = len(t.Nodes), len(t.Nodes)+1
			t.Nodes[n] = best
			t.Nodes = append(t.Nodes, Node{Cell: cells + 1}, Node{Cell: cells + 2})
			cells += 2
		}
	}
	return t, nil
}

// enough refuses too few units, or too few of a class.
func (s *session) enough(zero, one, sigma float64) error {
	if err := s.supported(zero+one, sigma); err != nil {
		return err
	}
	if s.design.Target.Classes == 2 {
		return s.bothClasses(zero, one, sigma)
	}
	return nil
}

// candidates are the features that a node may split by: all of them in a tree, in a
// forest a third, drawn from the design.
func (d Design) candidates(seed [32]byte, tree, node int) []bool {
	use := make([]bool, len(d.Features))
	if d.Spec.Family != policies.FamilyForest {
		for i := range use {
			use[i] = true
		}
		return use
	}
	for want, k := (len(use)+2)/3, uint64(0); want > 0; k++ {
		f := drawn(seed, uint64(tree), uint64(node), k) % uint64(len(use))
		if !use[f] {
			use[f] = true
			want--
		}
	}
	return use
}

// drawn is a number that depends on a seed and a place in the model.
func drawn(seed [32]byte, words ...uint64) uint64 {
	buf := append([]byte("sandgate/model-draw/v1\n"), seed[:]...)
	for _, w := range words {
		buf = binary.BigEndian.AppendUint64(buf, w)
	}
	sum := sha256.Sum256(buf)
	return binary.BigEndian.Uint64(sum[:])
}

// histogramOf a node: its bins, and its totals as the mean of what the features say.
type nodeHistogram struct {
	bins      []float64
	zero, one float64
}

func histogramOf(d Design, v []float64) nodeHistogram {
	h := nodeHistogram{bins: v}
	for i := 0; i < len(v); i += 2 {
		h.zero += v[i]
		h.one += v[i+1]
	}
	k := float64(len(d.Features))
	h.zero, h.one = h.zero/k, h.one/k
	return h
}

// split finds the split with the largest gain that both sides can bear: at least Leaf
// units each, and a difference beyond three standard deviations of the noise.
func (d Design) split(h nodeHistogram, sigma float64, use []bool) (Node, bool) {
	n := h.zero + h.one
	leaf := float64(d.Spec.Setting.Leaf)
	if !(n >= 2*leaf) {
		return Node{}, false
	}
	q := min(max(h.one/n, 0), 1)
	best, gain := Node{}, 1e-6*n
	try := func(f, bin int, equal bool, zero, one float64, bins int) {
		left := zero + one
		margin := 2 * sigma * math.Sqrt(2*float64(bins))
		if left-margin < leaf || n-left-margin < leaf {
			return
		}
		diff := one - q*left
		noise := float64(bins) * sigma * sigma * (q*q + (1-q)*(1-q))
		if diff*diff < 9*noise {
			return
		}
		if g := (diff*diff - noise) * n / (left * (n - left)); g > gain {
			best, gain = Node{Feature: f, Bin: bin, Equal: equal}, g
		}
	}
	at := 0
	for i, f := range d.Features {
		v := h.bins[at : at+2*f.Bins()]
		at += len(v)
		if !use[i] {
			continue
		}
		if f.Kind == KindCategory {
			for b := range f.Bins() {
				try(i, b, true, v[2*b], v[2*b+1], 1)
			}
			continue
		}
		zero, one := 0.0, 0.0
		for b := 1; b < f.Bins(); b++ {
			zero, one = zero+v[2*b-2], one+v[2*b-1]
			try(i, b, false, zero, one, b)
		}
	}
	return best, gain > 1e-6*n
}

// randomTree splits by features and edges drawn from the design, never twice by the
// same on one path.
func (d Design) randomTree(index int) Tree {
	seed := d.Digest()
	t := Tree{Nodes: []Node{{}}}
	// span is the bins of each feature that reach a node.
	spans := [][][2]int{make([][2]int, len(d.Features))}
	for i, f := range d.Features {
		spans[0][i] = [2]int{0, f.Bins() - 1}
	}
	level := []int{0}
	for range d.Spec.Setting.Depth {
		var next []int
		for _, n := range level {
			for k := range uint64(4 * len(d.Features)) {
				i := int(drawn(seed, uint64(index), uint64(n), k, 1) % uint64(len(d.Features)))
				f, span := d.Features[i], spans[n][i]
				if span[1]-span[0] < 1 {
					continue
				}
				bin := span[0] + 1 + int(drawn(seed, uint64(index), uint64(n), k, 2)%uint64(span[1]-span[0]))
				left, right := append([][2]int(nil), spans[n]...), append([][2]int(nil), spans[n]...)
				if f.Kind == KindCategory {
					left[i] = [2]int{bin, bin} // one code against all others; not split again
					right[i] = [2]int{0, 0}
				} else {
					left[i], right[i] = [2]int{span[0], bin - 1}, [2]int{bin, span[1]}
				}
				t.Nodes[n] = Node{Feature: i, Bin: bin, Equal: f.Kind == KindCategory, Left: len(t.Nodes), Right: len(t.Nodes) + 1}
				next = append(next, len(t.Nodes), len(t.Nodes)+1)
				t.Nodes = append(t.Nodes, Node{}, Node{})
				spans = append(spans, left, right)
				break
			}
		}
		level = next
	}
	return t
}

// filled asks for the label sums of all leaves, prunes what too few units reach and
// writes the leaves' values.
func (s *session) filled(trees []Tree) (*Parameters, error) {
	d := s.design
	for t := range trees {
		cells := 0
		for n := range trees[t].Nodes {
			if trees[t].Nodes[n].Left == 0 {
				cells++
				trees[t].Nodes[n].Cell = cells
			}
		}
	}
	a, err := s.ask(PassLeaves, nil, trees)
	if err != nil {
		return nil, err
	}
	each := len(a.v) / len(trees)
	out := &Parameters{}
	var share float64
	for t := range trees {
		v := a.v[t*each : (t+1)*each]
		zero, one := 0.0, 0.0
		for i := 0; i < len(v); i += 2 {
			zero, one = zero+v[i], one+v[i+1]
		}
		if t == 0 {
			if err := s.enough(zero, one, a.sigma*math.Sqrt(float64(len(v)))); err != nil {
				return nil, err
			}
			share = min(max(one/(zero+one), 0), 1)
		}
		p := pruner{from: trees[t], sums: v, leaf: float64(d.Spec.Setting.Leaf), share: share, classes: d.Target.Classes}
		out.Trees = append(out.Trees, p.tree())
	}
	return out, nil
}

// pruner rebuilds a tree of which every leaf is reached by enough units.
type pruner struct {
	from    Tree
	sums    []float64
	leaf    float64
	share   float64
	classes int
}

// branch is a subtree with its sums.
type branch struct {
	node        Node
	left, right *branch
	zero, one   float64
}

func (p *pruner) small(b *branch) bool { return b.left == nil && !(b.zero+b.one >= p.leaf) }

// build takes away leaves below the least number of units: their rows go the way of
// their sibling. Two small siblings become one leaf.
func (p *pruner) build(n int) *branch {
	node := p.from.Nodes[n]
	if node.Left == 0 {
		at := 2 * (node.Cell - 1)
		return &branch{zero: p.sums[at], one: p.sums[at+1]}
	}
	b := &branch{node: node, left: p.build(node.Left), right: p.build(node.Right)}
	b.zero, b.one = b.left.zero+b.right.zero, b.left.one+b.right.one
	switch {
	case p.small(b.left) && p.small(b.right):
		return &branch{zero: b.zero, one: b.one}
	case p.small(b.left):
		return b.right
	case p.small(b.right):
		return b.left
	}
	return b
}

func (p *pruner) tree() Tree {
	var t Tree
	type place struct {
		b  *branch
		at int
	}
	t.Nodes = []Node{{}}
	for queue := []place{{p.build(0), 0}}; len(queue) > 0; queue = queue[1:] {
		b, at := queue[0].b, queue[0].at
		if b.left == nil {
			t.Nodes[at] = Node{Value: p.value(b.zero, b.one)}
			continue
		}
		n := len(t.Nodes)
		t.Nodes[at] = Node{Feature: b.node.Feature, Bin: b.node.Bin, Equal: b.node.Equal, Left: n, Right: n + 1}
		t.Nodes = append(t.Nodes, Node{}, Node{})
		queue = append(queue, place{b.left, n}, place{b.right, n + 1})
	}
	return t
}

// pseudoUnits draw a leaf to the mean: no leaf says never or always.
const pseudoUnits = 10

func (p *pruner) value(zero, one float64) float64 {
	zero, one = max(zero, 0), max(one, 0)
	q := (one + pseudoUnits*p.share) / (zero + one + pseudoUnits)
	if p.classes == 0 {
		return 2*q - 1
	}
	return q
}
