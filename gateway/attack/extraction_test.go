package attack

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"gonum.org/v1/gonum/mat"

	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/compute/model/gate"
)

// asked is what the scoring API tells of rows: scores with two digits.
func asked(s model.Scorer, d *model.Data) []float64 {
	out := make([]float64, d.Rows())
	s.Score(d, out)
	for i := range out {
		out[i] = math.Round(out[i]*100) / 100
	}
	return out
}

// nearby is the rows with one feature of each taken from another row.
func nearby(d *model.Data, r *rand.Rand) *model.Data {
	n := *d
	n.Bins, n.Values = make([][]uint16, len(d.Bins)), make([][]float32, len(d.Values))
	for f := range d.Bins {
		n.Bins[f] = append([]uint16(nil), d.Bins[f]...)
		if d.Values[f] != nil {
			n.Values[f] = append([]float32(nil), d.Values[f]...)
		}
	}
	for row := range d.Rows() {
		f, other := r.IntN(len(d.Bins)), r.IntN(d.Rows())
		n.Bins[f][row] = d.Bins[f][other]
		if d.Values[f] != nil {
			n.Values[f][row] = d.Values[f][other]
		}
	}
	return &n
}

// copied fits a copy of a scorer to its answers: least squares on the log odds.
func copied(t testing.TB, d *model.Data, answers []float64) func(*model.Data) []float64 {
	t.Helper()
	inputs := func(d *model.Data) *mat.Dense {
		x := mat.NewDense(d.Rows(), 1+2*len(d.Bins), nil)
		for r := range d.Rows() {
			for k, v := range append([]float64{1}, place(d, r)...) {
				x.Set(r, k, v)
			}
			for f := range d.Bins { // a code or bin counts by itself, too
				x.Set(r, 1+len(d.Bins)+f, float64(d.Bins[f][r]%2))
			}
		}
		return x
	}
	odds := mat.NewVecDense(len(answers), nil)
	for i, p := range answers {
		p = min(0.995, max(0.005, p))
		odds.SetVec(i, math.Log(p/(1-p)))
	}
	x := inputs(d)
	var normal mat.Dense
	normal.Mul(x.T(), x)
	for k := range normal.RawMatrix().Rows {
		normal.Set(k, k, normal.At(k, k)+1e-6)
	}
	var right, w mat.VecDense
	right.MulVec(x.T(), odds)
	if err := w.SolveVec(&normal, &right); err != nil {
		t.Fatal(err)
	}
	return func(d *model.Data) []float64 {
		var z mat.VecDense
		z.MulVec(inputs(d), &w)
		out := make([]float64, d.Rows())
		for i := range out {
			out[i] = 1 / (1 + math.Exp(-z.AtVec(i)))
		}
		return out
	}
}

// sure is how much of a score goes to the row's own label.
func sure(d *model.Data, scores []float64) []float64 {
	out := make([]float64, len(scores))
	for i, p := range scores {
		if out[i] = 1 - p; d.Label[i] > 0.5 {
			out[i] = p
		}
	}
	return out
}

// told is the AUC of a statistic between members and others.
func told(d *model.Data, members []bool, x []float64) float64 {
	var in, not []float64
	for r, u := range d.Units {
		if members[u] {
			in = append(in, x[r])
		} else {
			not = append(not, x[r])
		}
	}
	above := 0.0
	for _, a := range in {
		for _, b := range not {
			if a > b {
				above++
			} else if a == b {
				above += 0.5
			}
		}
	}
	return above / float64(len(in)) / float64(len(not))
}

// Somebody who may ask for scores alone asks about everybody he knows of and about rows
// close to them, makes a copy of the model from the answers, and asks both who was in
// the training data and what label a person has of whom he knows all else. The control
// is a nearest neighbour behind the same interface.
func TestR02_Attack17_ExtractionThroughScores(t *testing.T) {
	for _, m := range six() {
		if m.name != "logistic, for scores" && m.name != "one nearest neighbour" {
			continue
		}
		control := m.name == "one nearest neighbour"
		e := residents(m.offices)
		d, err := model.NewDesign(m.spec, e)
		if err != nil {
			t.Fatal(err)
		}
		split := settled(t, d, e, m.units, 61)
		data, members := gate.Together(split)
		var target model.Scorer
		if control {
			trainer, _ := m.train(d)
			target, err = trainer(context.Background(), members, data, nil)
		} else {
			var p *model.Parameters
			if p, err = model.Train(context.Background(), d, model.Local(split.Train, d, nil), nil); err == nil {
				target, err = p.Scorer()
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		r := rand.New(rand.NewPCG(5, 17))
		own := asked(target, data)
		const around = 8
		mean := make([]float64, len(own))
		var copies []func(*model.Data) []float64
		for range around {
			close := nearby(data, r)
			answers := asked(target, close)
			copies = append(copies, copied(t, close, answers))
			for i, p := range sure(data, answers) {
				mean[i] += p / around
			}
		}
		apart := sure(data, own)
		for i := range apart {
			apart[i] -= mean[i]
		}
		stolen := make([]float64, len(own))
		for _, c := range copies {
			for i, p := range c(data) {
				stolen[i] += p / around
			}
		}
		agree := 0.0
		for i := range own {
			if (stolen[i] > 0.5) == (own[i] > 0.5) {
				agree++
			}
		}
		// What is guessed of members beyond what is guessed of people who were not there.
		right, of := map[bool]float64{}, map[bool]float64{}
		for row, u := range data.Units {
			of[members[u]]++
			if (own[row] > 0.5) == (data.Label[row] > 0.5) {
				right[members[u]]++
			}
		}
		surplus := right[true]/of[true] - right[false]/of[false]
		byAnswers, byCopy := told(data, members, apart), told(data, members, sure(data, stolen))
		t.Logf("%s: membership by answers %.3f, by the copy %.3f; copy agrees on %.3f; label surplus %.3f", m.name, byAnswers, byCopy, agree/float64(len(own)), surplus)
		if control {
			if byAnswers < 0.65 || surplus < 0.2 {
				t.Errorf("the attack does not find what a nearest neighbour gives away: AUC %.3f, surplus %.3f", byAnswers, surplus)
			}
			continue
		}
		// Of so few people a figure without any leak lies within three standard errors.
		slack := 3 * math.Sqrt(1/of[true]+1/of[false]) / math.Sqrt(12)
		wide := 3 * 0.5 * math.Sqrt(1/of[true]+1/of[false])
		Record(t, Score{Attack: "17 scores asked for, model copied", Figure: fmt.Sprintf("membership AUC %.3f, by the copy %.3f; label surplus %.3f", byAnswers, byCopy, surplus),
			Bound:   fmt.Sprintf("AUC ≤ %.3f, surplus ≤ %.3f", 0.5+slack+0.01, wide+0.01),
			Control: "one nearest neighbour behind the same interface: AUC ≥ 0.65, surplus ≥ 0.20",
			Pass:    byAnswers <= 0.5+slack+0.01 && byCopy <= 0.5+slack+0.01 && surplus <= wide+0.01, Trials: len(own) * (1 + around),
			Note: fmt.Sprintf("the copy agrees on %.3f of the rows: that a model can be copied is the quota's matter", agree/float64(len(own)))})
	}
}
