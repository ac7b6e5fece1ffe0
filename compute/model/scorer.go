package model

import (
	"errors"

	"github.com/sandgate/sandgate/policies"
)

// Scorer gives the scores of the model. Data come from EncodeRows with the features of
// the parameters, or from an Encoder of the same design.
func (p *Parameters) Scorer() (Scorer, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	switch p.Family {
	case policies.FamilyAdditive:
		return &additiveScorer{p}, nil
	case policies.FamilyTree, policies.FamilyForest:
		return newTreeScorer(p), nil
	case policies.FamilyKMeans:
		s := &centreScorer{p: p}
		for _, c := range p.Centres {
			s.flat = append(s.flat, c...)
		}
		return s, nil
	}
	return newLinearScorer(p), nil
}

// scoreBlock is how many rows are scored at a time, so that sums stay in the cache.
const scoreBlock = 2048

var errScore = errors.New("model: a scorer was given rows of another design, or too short an output")

// ready panics where a caller passes rows that the features do not describe: that is a
// fault of the program, not of data.
func ready(p *Parameters, d *Data, out []float64, width int) {
	if len(d.Bins) != len(p.Features) || len(d.Values) != len(p.Features) || len(out) < d.Rows()*width {
		panic(errScore)
	}
}

// linearScorer holds per output and feature either a slope or one number per bin.
type linearScorer struct {
	p     *Parameters
	terms [][]linearTerm // output → feature
}

type linearTerm struct {
	slope   float64
	missing uint16    // bin
	absent  float64   // coefficient of being missing
	byBin   []float64 // of a category; nil of a number
}

func newLinearScorer(p *Parameters) *linearScorer {
	s := &linearScorer{p: p}
	slots := slotsOf(p.Features)
	for _, row := range p.Coefficients {
		terms := make([]linearTerm, len(p.Features))
		for i, f := range p.Features {
			terms[i].missing = uint16(f.Bins() - 1)
			if f.Kind == KindCategory {
				terms[i].byBin = make([]float64, f.Bins())
			}
		}
		for j, sl := range slots {
			switch sl.what {
			case slotValue:
				terms[sl.feature].slope = row[j]
			case slotCode:
				terms[sl.feature].byBin[sl.code] = row[j]
			case slotMissing:
				t := &terms[sl.feature]
				t.absent = row[j]
				if t.byBin != nil {
					t.byBin[t.missing] = row[j]
				}
			}
		}
		s.terms = append(s.terms, terms)
	}
	return s
}

func (s *linearScorer) Width() int { return len(s.terms) }

func (s *linearScorer) Score(d *Data, out []float64) {
	width := len(s.terms)
	ready(s.p, d, out, width)
	var z [scoreBlock]float64
	for from := 0; from < d.Rows(); from += scoreBlock {
		n := min(scoreBlock, d.Rows()-from)
		for k, terms := range s.terms {
			sum := z[:n]
			for i := range sum {
				sum[i] = s.p.Coefficients[k][0]
			}
			for f := range terms {
				terms[f].add(d.Bins[f][from:from+n], d.Values[f], from, sum)
			}
			for i, x := range sum {
				out[(from+i)*width+k] = x
			}
		}
		switch s.p.Family {
		case policies.FamilyLogistic:
			for i := from; i < from+n; i++ {
				out[i] = logistic(out[i])
			}
		case policies.FamilySoftmax:
			for i := from; i < from+n; i++ {
				softmax(out[i*width : (i+1)*width])
			}
		default:
			for i := from; i < from+n; i++ {
				out[i] = min(max(out[i], -1), 1)
			}
		}
	}
}

func (t *linearTerm) add(bins []uint16, values []float32, from int, sum []float64) {
	switch {
	case t.byBin != nil:
		for i, b := range bins {
			sum[i] += t.byBin[b]
		}
	case t.absent == 0: // the value of what is missing is 0
		for i, v := range values[from : from+len(sum)] {
			sum[i] += t.slope * float64(v)
		}
	default:
		for i, v := range values[from : from+len(sum)] {
			if bins[i] == t.missing {
				sum[i] += t.absent
			} else {
				sum[i] += t.slope * float64(v)
			}
		}
	}
}

type additiveScorer struct{ p *Parameters }

func (s *additiveScorer) Width() int { return 1 }

func (s *additiveScorer) Score(d *Data, out []float64) {
	ready(s.p, d, out, 1)
	terms := s.p.tableTerms()
	for from := 0; from < d.Rows(); from += scoreBlock {
		n := min(scoreBlock, d.Rows()-from)
		sum := out[from : from+n]
		for i := range sum {
			sum[i] = s.p.Intercept
		}
		for k, t := range terms {
			table, a := s.p.Tables[k], d.Bins[t.a][from:from+n]
			if t.b < 0 {
				for i, bin := range a {
					sum[i] += table[bin]
				}
				continue
			}
			stride := s.p.Features[t.b].Bins()
			for i, bin := range d.Bins[t.b][from : from+n] {
				sum[i] += table[int(a[i])*stride+int(bin)]
			}
		}
		for i, x := range sum {
			if s.p.Target.Classes == 2 {
				sum[i] = logistic(x)
			} else {
				sum[i] = min(max(x, -1), 1)
			}
		}
	}
}

type centreScorer struct {
	p    *Parameters
	flat []float64
}

func (s *centreScorer) Width() int { return 1 }

func (s *centreScorer) Score(d *Data, out []float64) {
	ready(s.p, d, out, 1)
	m := newMatrix(s.p.Features, d)
	x := make([]float64, len(m.slots))
	for r := range d.Rows() {
		m.fill(r, x)
		out[r] = float64(nearest(s.flat, x[1:]))
	}
}
