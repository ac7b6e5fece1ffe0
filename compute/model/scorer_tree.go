package model

// treeScorer walks all rows of a block down one level of a tree at a time: no step
// waits for the one before, and none is a branch that the processor could guess wrong.
type treeScorer struct {
	p      *Parameters
	trees  [][]step
	values [][]float64 // of nodes
}

// step is a node. Rows go left whose bin of feature, less from, is below width: both
// kinds of split are that, in arithmetic that wraps around. A leaf leads to itself.
type step struct {
	first       uint32 // of the feature's bins
	from, width uint16
	next        [2]uint32 // right, left
}

func newTreeScorer(p *Parameters) *treeScorer {
	s := &treeScorer{p: p}
	for _, t := range p.Trees {
		steps, values := make([]step, len(t.Nodes)), make([]float64, len(t.Nodes))
		for i, n := range t.Nodes {
			x := step{first: uint32(n.Feature * treeBlock), width: uint16(n.Bin), next: [2]uint32{uint32(n.Right), uint32(n.Left)}}
			if n.Equal {
				x.from, x.width = uint16(n.Bin), 1
			}
			if n.Left == 0 {
				x.next = [2]uint32{uint32(i), uint32(i)}
			}
			steps[i], values[i] = x, n.Value
		}
		s.trees, s.values = append(s.trees, steps), append(s.values, values)
	}
	return s
}

func (s *treeScorer) Width() int { return 1 }

// treeBlock is how many rows walk together: their places and bins stay in the cache.
const treeBlock = 512

func (s *treeScorer) Score(d *Data, out []float64) {
	ready(s.p, d, out, 1)
	out = out[:d.Rows()]
	clear(out)
	var places [treeBlock]uint32
	bins := make([]uint16, len(d.Bins)*treeBlock) // by feature, row by row of the block
	for from := 0; from < len(out); from += treeBlock {
		block := out[from:min(from+treeBlock, len(out))]
		for f, column := range d.Bins {
			copy(bins[f*treeBlock:], column[from:from+len(block)])
		}
		at := places[:len(block)]
		for t, steps := range s.trees {
			clear(at)
			for moved := true; moved; {
				moved = walk(steps, bins, at)
			}
			values := s.values[t]
			for r, n := range at {
				block[r] += values[n]
			}
		}
	}
	share := 1 / float64(len(s.p.Trees))
	for r := range out {
		out[r] *= share
	}
}

// walk moves every row one level down and says whether one moved. Within Score its
// variables would not fit the registers.
//
//go:noinline
func walk(steps []step, bins []uint16, at []uint32) bool {
	moved := uint32(0)
	for r, n := range at {
		x := &steps[n]
		side := 0
		if bins[int(x.first)+r]-x.from < x.width {
			side = 1
		}
		next := x.next[side]
		moved |= next ^ n
		at[r] = next
	}
	return moved != 0
}
