package model

import "math"

// kmeans moves centres to the (noisy) means of what is nearest to them. The first
// centres are spread over the registered bounds and code lists, without data. A centre
// that too few units are near is put beside the largest one, and left out in the end.
func (s *session) kmeans() (*Parameters, error) {
	d := s.design
	set := d.Spec.Setting
	slots := slotsOf(d.Features)[1:]
	n := len(slots)
	theta := d.spread(slots, set.Clusters)
	least := float64(set.Leaf)
	counts := make([]float64, set.Clusters)
	for step := range set.Steps {
		a, err := s.ask(PassClusters, theta, nil)
		if err != nil {
			return nil, err
		}
		total, big := 0.0, 0
		for k := range counts {
			counts[k] = a.v[k*(n+1)]
			total += counts[k]
			if counts[k] > counts[big] {
				big = k
			}
		}
		if step == 0 {
			if err := s.supported(total, a.sigma*math.Sqrt(float64(set.Clusters))); err != nil {
				return nil, err
			}
		}
		moved := 0.0
		for k := range counts {
			centre := theta[k*n : (k+1)*n]
			if !(counts[k]-2*a.sigma >= least) {
				continue
			}
			for j := range centre {
				x := within(a.v[k*(n+1)+1+j]/counts[k], lowest(slots[j]), 1)
				moved = max(moved, math.Abs(x-centre[j]))
				centre[j] = x
			}
		}
		if a.sigma == 0 && moved < 1e-9 {
			break
		}
		if step+1 == set.Steps {
			break
		}
		seed := d.Digest()
		for k := range counts {
			if counts[k]-2*a.sigma >= least || step > set.Steps/2 {
				continue
			}
			for j := range n {
				jitter := float64(drawn(seed, uint64(step), uint64(k), uint64(j))>>11)/(1<<53) - 0.5
				theta[k*n+j] = within(theta[big*n+j]+0.5*jitter, lowest(slots[j]), 1)
			}
		}
	}
	out := &Parameters{}
	for k := range counts {
		if counts[k] >= least {
			out.Centres = append(out.Centres, theta[k*n:(k+1)*n])
		}
	}
	if len(out.Centres) == 0 {
		return nil, tooFewUnits(set.Leaf)
	}
	return out, nil
}

func lowest(s slot) float64 {
	if s.what == slotValue {
		return -1
	}
	return 0
}

// spread puts centres all over the box of the registered bounds: points of a golden-
// ratio sequence per number, one code per category.
func (d Design) spread(slots []slot, clusters int) []float64 {
	out := make([]float64, 0, clusters*len(slots))
	for k := range clusters {
		for j, s := range slots {
			x := 0.0
			switch s.what {
			case slotValue:
				_, x = math.Modf(float64(k+1)*0.6180339887498949 + float64(j)*0.7548776662466927)
				x = 2*x - 1
			case slotCode:
				if k%len(d.Features[s.feature].Codes) == int(s.code) {
					x = 1
				}
			}
			out = append(out, x)
		}
	}
	return out
}
