package gate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"sync"

	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/policies"
)

// Trainer trains a model the way the target was trained, on the units of data that
// members names, with noise from rnd when the model is private. It is called from
// several goroutines at once and must not change data. Given equal arguments and bytes
// of rnd it should give an equal model: the run is then repeatable.
type Trainer func(ctx context.Context, members []bool, data *model.Data, rnd io.Reader) (model.Scorer, error)

// Trial is a model to be tried, with all that an informed attacker is granted.
type Trial struct {
	Design model.Design
	Data   *model.Data // all units, in training or held out
	// Members says per unit whether the target was trained on it. Which units those are
	// must have been drawn at random, or members and others differ before any attack.
	Members   []bool
	Target    model.Scorer
	Structure Structure
	Rho       budget.Nano // price of the training; 0 of a model that is not private
	Train     Trainer
}

// Centred is the scorer of a clustering: what leaves of it are its centres, which tell
// more than the index of the nearest.
type Centred interface {
	model.Scorer
	// Distances writes each row's distance to the nearest centre.
	Distances(d *model.Data, out []float64)
}

// Options of a run; a zero takes the default in brackets.
type Options struct {
	// Shadows are the models trained for membership inference, and again for the
	// informed adversary: even, 64…512 [64].
	Shadows int
	// Attacked is how many units are attacked at most, half members: 200…100000 [4000].
	Attacked int
	// ShadowUnits is how many units a shadow is trained on at most [as many as the target].
	// Fewer make shadows that leak more than the target; the report says the size.
	ShadowUnits int
	// Canaries are planted in one training, 20…1000 [100].
	Canaries int
	// Sensitive names the feature columns whose values are guessed [every feature].
	Sensitive []string
	// Workers is how many models are trained at once [GOMAXPROCS].
	Workers int
}

// Smallest samples that are judged at all, and the sample from which a mark holds for
// the single model and not only for the way it is trained; see Report.
const (
	leastUnits    = 100
	resolvedUnits = 1250
	sharpUnits    = 2000
)

func (o Options) completed() (Options, error) {
	set := func(v *int, def, lo, hi int) bool {
		if *v == 0 {
			*v = def
		}
		return *v >= lo && *v <= hi
	}
	switch {
	case !set(&o.Shadows, 64, 64, 512) || o.Shadows%2 != 0:
		return o, errors.New("failed to read gate options: shadows is even, 64 to 512")
	case !set(&o.Attacked, 4000, 2*leastUnits, 100_000):
		return o, errors.New("failed to read gate options: attacked is 200 to 100000")
	case o.ShadowUnits < 0 || o.ShadowUnits > 0 && o.ShadowUnits < 2*leastUnits:
		return o, errors.New("failed to read gate options: shadow units is 200 or more")
	case !set(&o.Canaries, 100, 20, 1000):
		return o, errors.New("failed to read gate options: canaries is 20 to 1000")
	case !set(&o.Workers, runtime.GOMAXPROCS(0), 1, 256):
		return o, errors.New("failed to read gate options: workers is 1 to 256")
	}
	return o, nil
}

// bench is a trial made ready for attack.
type bench struct {
	Trial
	opt    Options
	rnd    *stream
	name   string  // prefix of progress stages
	starts []int   // unit → first row; one more for the end
	in     []int32 // units in training
	out    []int32 // units held out
	cols   []column
	bounds bool // the model under trial is private: its bounds are asked of the control too
	report func(stage string, done, total int)
}

func newBench(t Trial, opt Options, rnd *stream, name string, report func(string, int, int)) (*bench, error) {
	if err := t.check(); err != nil {
		return nil, fmt.Errorf("failed to read the trial: %w", err)
	}
	b := &bench{Trial: t, opt: opt, rnd: rnd, name: name, report: report, starts: make([]int, t.Data.Count+1)}
	for _, u := range t.Data.Units {
		b.starts[u+1]++
	}
	for u := range t.Data.Count {
		b.starts[u+1] += b.starts[u]
		if t.Members[u] {
			b.in = append(b.in, int32(u))
		} else {
			b.out = append(b.out, int32(u))
		}
	}
	if len(b.in) < leastUnits || len(b.out) < leastUnits {
		return nil, &policies.Reason{Code: CodeSample, Rule: rule, SetBy: "sandgate",
			ZH:     fmt.Sprintf("样本太少，无法检验：训练与留出的隐私单元各须至少 %d 个", leastUnits),
			EN:     fmt.Sprintf("too few units to judge the model: at least %d in training and %d held out are needed", leastUnits, leastUnits),
			HintZH: "使用更大的数据集，或提高 hold_out", HintEN: "use a larger data set, or raise hold_out"}
	}
	b.cols = columns(t.Design, t.Data)
	return b, nil
}

func (t *Trial) check() error {
	d := t.Data
	switch {
	case d == nil || t.Target == nil || t.Train == nil:
		return errors.New("data, target and trainer are needed")
	case len(t.Members) != d.Count:
		return errors.New("members does not name every unit")
	case len(d.Bins) != len(t.Design.Features) || len(d.Values) != len(t.Design.Features) || len(d.Bins) == 0:
		return errors.New("the data does not have the features of the design")
	case t.labelled() && len(d.Label) != d.Rows():
		return errors.New("the data has no label for every row")
	case t.Target.Width() < 1 || t.Design.Target.Classes > 1 && t.Target.Width() != t.Design.Target.Classes-1:
		return errors.New("the target gives another number of scores than the design has")
	case t.Rho < 0 || t.Design.Spec.Private != (t.Rho > 0):
		return errors.New("a private model has a price, and no other")
	}
	last := int32(0)
	for _, u := range d.Units {
		if u < last || int(u) >= d.Count {
			return errors.New("the rows' units do not ascend")
		}
		last = u
	}
	for f, x := range t.Design.Features {
		if len(d.Bins[f]) != d.Rows() || (x.Kind == model.KindNumber) != (len(d.Values[f]) == d.Rows()) {
			return fmt.Errorf("feature %d is not coded for every row", f+1)
		}
		for _, v := range d.Bins[f] {
			if int(v) >= x.Bins() {
				return fmt.Errorf("feature %d has a bin that the design lacks", f+1)
			}
		}
	}
	for _, y := range d.Label {
		if c := t.Design.Target.Classes; math.IsNaN(float64(y)) || c > 0 && (y < 0 || int(y) >= c || y != float32(int(y))) {
			return errors.New("a label is none of the design's classes")
		}
	}
	return nil
}

func (t *Trial) labelled() bool { return t.Design.Target.Column != "" }

// each runs work for 0…n-1 on the workers and reports progress; the error of the lowest
// index wins, so that a failing run fails the same way each time.
func (b *bench) each(ctx context.Context, stage string, n int, work func(i int) error) error {
	var mu sync.Mutex
	var wg sync.WaitGroup
	next, done, at := 0, 0, n
	var first error
	for range min(b.opt.Workers, n) {
		wg.Go(func() {
			for {
				mu.Lock()
				i := next
				next++
				stop := i >= n || first != nil
				mu.Unlock()
				if stop {
					return
				}
				err := ctx.Err()
				if err == nil {
					err = work(i)
				}
				mu.Lock()
				if err != nil && i < at {
					first, at = err, i
				}
				done++
				if b.report != nil && first == nil {
					b.report(b.name+stage, done, n)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return first
}

// train trains one shadow.
func (b *bench) train(ctx context.Context, members []bool, data *model.Data, rnd io.Reader) (model.Scorer, error) {
	s, err := b.Train(ctx, members, data, rnd)
	if err != nil {
		return nil, fmt.Errorf("failed to train a shadow model: %w", err)
	}
	if s == nil || s.Width() != b.Target.Width() {
		return nil, errors.New("failed to train a shadow model: it gives other scores than the target")
	}
	return s, nil
}
