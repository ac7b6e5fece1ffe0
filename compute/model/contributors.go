package model

import "math"

// newContributor is what the rows of a checked pass add.
func newContributor(d *Data, design Design, p Pass) contributor {
	switch p.Kind {
	case PassMoments:
		m := newMatrix(design.Features, d)
		return &moments{m: m, x: make([]float64, len(m.slots)), y: make([]float64, design.outputs()), design: design, theta: p.Theta, cap: design.momentsBound(p.Rho > 0)}
	case PassGradient:
		m := newMatrix(design.Features, d)
		return &gradient{m: m, x: make([]float64, len(m.slots)), p: make([]float64, design.outputs()), design: design, theta: p.Theta}
	case PassResiduals:
		return &residuals{c: newCells(design.terms(), design.Features, d), design: design, theta: p.Theta, cap: residualCap(p), at: make([]int, len(design.terms()))}
	case PassLeaves:
		return &leaves{d: d, design: design, trees: p.Trees, each: p.Width / len(p.Trees)}
	case PassClusters:
		m := newMatrix(design.Features, d)
		return &clusters{m: m, x: make([]float64, len(m.slots)), theta: p.Theta}
	}
	h := &histogram{c: newCells(design.terms(), design.Features, d), design: design, width: 2 * width(design.terms(), design.Features)}
	if len(p.Trees) == 1 {
		h.tree = &p.Trees[0]
	}
	return h
}

// half is a label as a share of class 1: itself, or a number brought to [0, 1].
func (d Design) half(y float32) float64 {
	if d.Target.Classes == 0 {
		return (1 + float64(y)) / 2
	}
	return float64(y)
}

// centred writes the label as moments use it: a number as it is, a binary label as
// ±1/2, classes as indicators of all but the first.
func (d Design) centred(y float32, out []float64) {
	switch d.Target.Classes {
	case 0:
		out[0] = float64(y)
	case 2:
		out[0] = float64(y) - 0.5
	default:
		clear(out)
		if c := int(y); c > 0 && c <= len(out) {
			out[c-1] = 1
		}
	}
}

// moments: 1, then the upper triangle of xxᵀ row by row, then per output y·x, then |y|².
// Indicators make most of a row zero, so only what is not is added.
type moments struct {
	m      *matrix
	x, y   []float64
	some   []int // slots that are not zero
	design Design
	theta  []float64
	cap    float64
}

func (c *moments) row(a *unitSum, r int, w float64) {
	a.cap = c.cap
	c.m.fill(r, c.x)
	c.design.centred(c.m.d.Label[r], c.y)
	c.some = c.some[:0]
	for i, x := range c.x {
		if x != 0 {
			c.some = append(c.some, i)
		}
	}
	a.add(0, w) // the first touched: kept whole
	curve := w
	if len(c.theta) > 0 { // the curvature of the likelihood of a logistic model
		p := logistic(dot(c.theta, c.x))
		curve = w * p * (1 - p)
	}
	n := len(c.x)
	for k, i := range c.some {
		at, f := 1+i*n-i*(i-1)/2-i, c.x[i]*curve
		for _, j := range c.some[k:] {
			a.add(at+j, f*c.x[j])
		}
	}
	at, square := 1+n*(n+1)/2, 0.0
	for _, y := range c.y {
		square += y * y
		if y != 0 {
			for _, j := range c.some {
				a.add(at+j, y*w*c.x[j])
			}
		}
		at += n
	}
	a.add(at, square*w)
}

func dot(a, b []float64) float64 {
	s := 0.0
	for i, x := range a {
		s += x * b[i]
	}
	return s
}

func logistic(z float64) float64 { return 1 / (1 + math.Exp(-z)) }

// gradient of the negative log-likelihood, per output.
type gradient struct {
	m      *matrix
	x, p   []float64
	design Design
	theta  []float64
}

func (c *gradient) row(a *unitSum, r int, w float64) {
	c.m.fill(r, c.x)
	n := len(c.x)
	class := int(c.m.d.Label[r])
	if len(c.p) == 1 {
		c.p[0] = logistic(dot(c.theta, c.x))
	} else {
		linearScores(c.theta, c.x, c.p)
		softmax(c.p)
	}
	for k, p := range c.p {
		g := p
		if class == k+1 {
			g--
		}
		g *= w
		out := a.v[k*n : (k+1)*n]
		for j, xj := range c.x {
			out[j] += g * xj
		}
	}
}

func linearScores(theta, x, out []float64) {
	n := len(x)
	for k := range out {
		out[k] = dot(theta[k*n:(k+1)*n], x)
	}
}

// softmax turns the scores of all classes but the first, whose score is 0, into
// probabilities.
func softmax(z []float64) {
	top := 0.0
	for _, x := range z {
		top = max(top, x)
	}
	sum := math.Exp(-top)
	for i, x := range z {
		z[i] = math.Exp(x - top)
		sum += z[i]
	}
	for i := range z {
		z[i] /= sum
	}
}

// histogram: by node, term and bin the weight of class 0 and of class 1.
type histogram struct {
	c      *cells
	design Design
	tree   *Tree
	width  int
}

func (c *histogram) row(a *unitSum, r int, w float64) {
	base := 0
	if c.tree != nil {
		cell := c.tree.Nodes[c.tree.leaf(c.c.d, r)].Cell
		if cell == 0 {
			return
		}
		base = (cell - 1) * c.width
	}
	half := c.design.half(c.c.d.Label[r])
	zero, one := w*(1-half), w*half
	for t := range c.c.terms {
		at := base + 2*c.c.at(t, r)
		if zero != 0 {
			a.add(at, zero)
		}
		if one != 0 {
			a.add(at+1, one)
		}
	}
}

// residuals: by term and bin, label less prediction. Theta is the intercept and the
// tables.
type residuals struct {
	c      *cells
	design Design
	theta  []float64
	cap    float64
	at     []int
}

func (c *residuals) row(a *unitSum, r int, w float64) {
	f := c.theta[0]
	for t := range c.at {
		c.at[t] = c.c.at(t, r)
		f += c.theta[1+c.at[t]]
	}
	if c.design.Target.Classes == 2 {
		f = logistic(f)
	}
	x := w * min(max(float64(c.c.d.Label[r])-f, -c.cap), c.cap)
	for _, at := range c.at {
		a.add(at, x)
	}
}

// leaves: by tree and leaf the weight of class 0 and of class 1.
type leaves struct {
	d      *Data
	design Design
	trees  []Tree
	each   int
}

func (c *leaves) row(a *unitSum, r int, w float64) {
	half := c.design.half(c.d.Label[r])
	for t := range c.trees {
		if cell := c.trees[t].Nodes[c.trees[t].leaf(c.d, r)].Cell; cell > 0 {
			at := t*c.each + 2*(cell-1)
			a.add(at, w*(1-half))
			a.add(at+1, w*half)
		}
	}
}

// clusters: by nearest centre the weight and the coordinates.
type clusters struct {
	m     *matrix
	x     []float64
	theta []float64
}

func (c *clusters) row(a *unitSum, r int, w float64) {
	c.m.fill(r, c.x)
	n := len(c.x) - 1
	near := nearest(c.theta, c.x[1:])
	a.add(near*(n+1), w)
	for j, x := range c.x[1:] {
		a.add(near*(n+1)+1+j, x*w)
	}
}

// nearest is the index of the centre nearest to x, the first of equals.
func nearest(centres, x []float64) int {
	best, at := math.Inf(1), 0
	near := func(k int, s float64) {
		if s < best {
			best, at = s, k
		}
	}
	n, k := len(x), 0
	// Four at a time: an addition need not wait for the one before. Each sum is taken
	// in the same order either way.
	for ; n > 0 && (k+4)*n <= len(centres); k += 4 {
		c0, c1, c2, c3 := centres[k*n:][:n], centres[(k+1)*n:][:n], centres[(k+2)*n:][:n], centres[(k+3)*n:][:n]
		var s0, s1, s2, s3 float64
		for j, y := range x {
			d0, d1, d2, d3 := y-c0[j], y-c1[j], y-c2[j], y-c3[j]
			s0 += d0 * d0
			s1 += d1 * d1
			s2 += d2 * d2
			s3 += d3 * d3
		}
		near(k, s0)
		near(k+1, s1)
		near(k+2, s2)
		near(k+3, s3)
	}
	for ; k*n < len(centres); k++ {
		s := 0.0
		for j, y := range centres[k*n : (k+1)*n] {
			s += (x[j] - y) * (x[j] - y)
		}
		near(k, s)
	}
	return at
}
