package model

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/sandgate/sandgate/policies"
)

// models of every family, trained once on little data.
var models = sync.OnceValue(func() map[string]*Parameters {
	t := &testing.T{}
	out := map[string]*Parameters{}
	columns := made(3_000, 11)
	for _, f := range trained {
		s := spec(f, f != policies.FamilyTree)
		if s.Private {
			s.Rho = "0.2"
		}
		s.Features = append(features(2, 2), policies.ModelFeature{Column: "n9"})
		if f == policies.FamilyAdditive {
			s.Pairs = [][2]string{{"c0", "n0"}}
		}
		if f == policies.FamilyForest {
			s.Setting.Trees = 3
		}
		p, _ := train(t, s, columns, 1)
		out[string(f)] = p
	}
	s := spec(policies.FamilyAdditive, false)
	s.Features, s.Label.Column = features(2, 1), "cost"
	p, _ := train(t, s, columns, 1)
	out["additive of a number"] = p
	return out
})

// R02: a parameter file is read back as it was written, equal models give equal bytes,
// and it holds nothing but numbers, names of the catalogue and fixed words.
func TestR02ParameterFile(t *testing.T) {
	for name, p := range models() {
		text, err := p.Encode()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		q, err := Parse(text)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		again, err := q.Encode()
		if err != nil || !bytes.Equal(text, again) {
			t.Errorf("%s: read and written again it differs (%v)", name, err)
		}
		if digest, _ := p.Digest(); !strings.Contains(string(text), digest) {
			t.Errorf("%s: the digest is not in the file", name)
		}
		var loose map[string]any
		if json.Unmarshal(text, &loose) != nil || loose["format"] != Format {
			t.Errorf("%s: no JSON with its format", name)
		}
		if p.Count() < 2 {
			t.Errorf("%s: %d parameters", name, p.Count())
		}
	}
}

// R02: whatever byte is changed, the file is refused.
func TestR02AlteredFilesAreRefused(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for name, p := range models() {
		text, err := p.Encode()
		if err != nil {
			t.Fatal(err)
		}
		for range 300 {
			bad := bytes.Clone(text)
			at := r.IntN(len(bad))
			switch r.IntN(3) {
			case 0:
				bad[at] ^= byte(1 + r.IntN(255))
			case 1:
				bad = append(bad[:at], bad[at+1:]...)
			default:
				bad = append(bad[:at], append([]byte{byte(' ' + r.IntN(90))}, bad[at:]...)...)
			}
			if bytes.Equal(bad, text) {
				continue
			}
			var reason *policies.Reason
			if _, err := Parse(bad); !errors.As(err, &reason) || reason.Code != CodeParameter {
				t.Fatalf("%s: a change at byte %d is accepted: %v", name, at, err)
			}
		}
	}
}

// What a forger with the digest's recipe could write is still held to the format.
func TestParametersOutOfFormat(t *testing.T) {
	all := models()
	for name, c := range map[string]struct {
		of   policies.ModelFamily
		edit func(*Parameters)
	}{
		"format":         {policies.FamilyLinear, func(p *Parameters) { p.Format = "sandgate-model/v2" }},
		"family":         {policies.FamilyLinear, func(p *Parameters) { p.Family = "svm" }},
		"operator":       {policies.FamilyLinear, func(p *Parameters) { p.Operators = append(p.Operators, "eval") }},
		"nan":            {policies.FamilyLinear, func(p *Parameters) { p.Coefficients[0][0] = math.NaN() }},
		"huge":           {policies.FamilyLogistic, func(p *Parameters) { p.Coefficients[0][1] = 1e7 }},
		"too few":        {policies.FamilyLogistic, func(p *Parameters) { p.Coefficients[0] = p.Coefficients[0][1:] }},
		"too many rows":  {policies.FamilyLogistic, func(p *Parameters) { p.Coefficients = append(p.Coefficients, p.Coefficients[0]) }},
		"foreign part":   {policies.FamilyLinear, func(p *Parameters) { p.Centres = [][]float64{{1}} }},
		"table":          {policies.FamilyAdditive, func(p *Parameters) { p.Tables[0] = p.Tables[0][1:] }},
		"pair":           {policies.FamilyAdditive, func(p *Parameters) { p.Pairs[0][0] = 99 }},
		"cycle":          {policies.FamilyTree, func(p *Parameters) { p.Trees[0].Nodes[1] = Node{Left: 1, Right: 2} }},
		"shared child":   {policies.FamilyTree, func(p *Parameters) { p.Trees[0].Nodes[0].Right = p.Trees[0].Nodes[0].Left }},
		"bin":            {policies.FamilyTree, func(p *Parameters) { p.Trees[0].Nodes[0].Bin = 10_000 }},
		"cell":           {policies.FamilyForest, func(p *Parameters) { p.Trees[0].Nodes[0].Cell = 1 }},
		"no trees":       {policies.FamilyForest, func(p *Parameters) { p.Trees = nil }},
		"centre":         {policies.FamilyKMeans, func(p *Parameters) { p.Centres[0] = nil }},
		"codes":          {policies.FamilyLinear, func(p *Parameters) { p.Features[2].Codes = []string{"a", "a", "b"} }},
		"bounds":         {policies.FamilyLinear, func(p *Parameters) { p.Features[0].Bounds = [2]int64{5, 5} }},
		"edges":          {policies.FamilyLinear, func(p *Parameters) { p.Features[0].Edges = []int64{5, 5} }},
		"kind":           {policies.FamilyLinear, func(p *Parameters) { p.Features[0].Kind = "text" }},
		"no features":    {policies.FamilyTree, func(p *Parameters) { p.Features = nil }},
		"price":          {policies.FamilyLinear, func(p *Parameters) { p.Rho = "0.020" }},
		"free":           {policies.FamilyLinear, func(p *Parameters) { p.Rho = "" }},
		"design":         {policies.FamilyLinear, func(p *Parameters) { p.Design = "x" }},
		"label":          {policies.FamilyLinear, func(p *Parameters) { p.Target.Classes = 2 }},
		"label of none":  {policies.FamilyKMeans, func(p *Parameters) { p.Target.Column = "ill" }},
		"classes":        {policies.FamilySoftmax, func(p *Parameters) { p.Target.Classes = 4 }},
		"positive codes": {policies.FamilyLogistic, func(p *Parameters) { p.Target.Positive = []string{"perhaps"} }},
	} {
		text, err := json.Marshal(all[string(c.of)])
		if err != nil {
			t.Fatal(err)
		}
		var p Parameters
		if err := json.Unmarshal(text, &p); err != nil {
			t.Fatal(err)
		}
		if p.check() != nil {
			t.Fatalf("%s: the original does not check", name)
		}
		c.edit(&p)
		if p.check() == nil {
			t.Errorf("%s: accepted", name)
		}
		if _, err := p.Scorer(); err == nil {
			t.Errorf("%s: scores", name)
		}
	}
}

// reference scores one row by the words of docs/model-file.md.
func reference(p *Parameters, ints []int64, texts []string, null []bool) []float64 {
	bin := func(f int) int {
		x := p.Features[f]
		if null[f] {
			return x.Bins() - 1
		}
		if x.Kind == KindCategory {
			for i, c := range x.Codes {
				if c == texts[f] {
					return i
				}
			}
		}
		b := 0
		for _, e := range x.Edges {
			if ints[f] >= e {
				b++
			}
		}
		return b
	}
	value := func(f int) float64 {
		b := p.Features[f].Bounds
		v := min(max(ints[f], b[0]), b[1])
		return float64(float32(2*float64(v-b[0])/float64(b[1]-b[0]) - 1))
	}
	inputs := []float64{1}
	for f, x := range p.Features {
		if x.Kind == KindNumber {
			v := 0.0
			if !null[f] {
				v = value(f)
			}
			inputs = append(inputs, v)
		} else {
			for i := 1; i < len(x.Codes); i++ {
				v := 0.0
				if !null[f] && texts[f] == x.Codes[i] {
					v = 1
				}
				inputs = append(inputs, v)
			}
		}
		if x.Nullable {
			v := 0.0
			if null[f] {
				v = 1
			}
			inputs = append(inputs, v)
		}
	}
	var linear []float64
	for _, row := range p.Coefficients {
		s := 0.0
		for i, w := range row {
			s += w * inputs[i]
		}
		linear = append(linear, s)
	}
	sigmoid := func(z float64) float64 { return 1 / (1 + math.Exp(-z)) }
	clip := func(z float64) float64 { return math.Min(math.Max(z, -1), 1) }
	switch p.Family {
	case policies.FamilyLinear:
		return []float64{clip(linear[0])}
	case policies.FamilyLogistic:
		return []float64{sigmoid(linear[0])}
	case policies.FamilySoftmax:
		sum := 1.0
		for _, z := range linear {
			sum += math.Exp(z)
		}
		for i, z := range linear {
			linear[i] = math.Exp(z) / sum
		}
		return linear
	case policies.FamilyAdditive:
		s := p.Intercept
		for f := range p.Features {
			s += p.Tables[f][bin(f)]
		}
		for i, q := range p.Pairs {
			s += p.Tables[len(p.Features)+i][bin(q[0])*p.Features[q[1]].Bins()+bin(q[1])]
		}
		if p.Target.Classes == 2 {
			return []float64{sigmoid(s)}
		}
		return []float64{clip(s)}
	case policies.FamilyKMeans:
		best, at := math.Inf(1), 0
		for k, c := range p.Centres {
			s := 0.0
			for i, x := range c {
				s += (inputs[1+i] - x) * (inputs[1+i] - x)
			}
			if s < best {
				best, at = s, k
			}
		}
		return []float64{float64(at)}
	}
	sum := 0.0
	for _, tree := range p.Trees {
		n := tree.Nodes[0]
		for n.Left != 0 {
			b := bin(n.Feature)
			if (n.Equal && b == n.Bin) || (!n.Equal && b < n.Bin) {
				n = tree.Nodes[n.Left]
			} else {
				n = tree.Nodes[n.Right]
			}
		}
		sum += n.Value
	}
	return []float64{sum / float64(len(p.Trees))}
}

// The scorer agrees with the file's description, on any rows, missing and out of bounds.
func TestScorerAgainstTheDescription(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	for name, p := range models() {
		const n = 5000 // more than two blocks
		columns := make([]Column, len(p.Features))
		for f, x := range p.Features {
			columns[f].Null = make([]bool, n)
			for i := range n {
				columns[f].Null[i] = r.IntN(5) == 0
				if x.Kind == KindCategory {
					columns[f].Texts = append(columns[f].Texts, x.Codes[r.IntN(len(x.Codes))])
				} else {
					columns[f].Ints = append(columns[f].Ints, x.Bounds[0]-50+r.Int64N(x.Bounds[1]-x.Bounds[0]+100))
				}
			}
		}
		d, err := EncodeRows(p.Features, columns)
		if err != nil {
			t.Fatal(err)
		}
		got := scoresOf(t, p, d)
		width := len(got) / n
		ints, texts, null := make([]int64, len(columns)), make([]string, len(columns)), make([]bool, len(columns))
		for i := range n {
			for f, c := range columns {
				null[f] = c.Null[i]
				if c.Texts != nil {
					texts[f] = c.Texts[i]
				} else {
					ints[f] = c.Ints[i]
				}
			}
			for k, want := range reference(p, ints, texts, null) {
				if math.Abs(got[i*width+k]-want) > 1e-9 {
					t.Fatalf("%s: row %d output %d: %v, want %v", name, i, k, got[i*width+k], want)
				}
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, p := range models() {
		text, err := p.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
		if len(text) > 400 {
			f.Add(text[:len(text)-30])
		}
	}
	f.Add([]byte(`{"format":"sandgate-model/v1"}`))
	f.Add([]byte(`{"trees":[{"nodes":[{"left":0}]}],"digest":""}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := Parse(text)
		if err != nil {
			return
		}
		again, err := p.Encode()
		if err != nil || !bytes.Equal(again, text) {
			t.Fatalf("accepted, but written otherwise: %v", err)
		}
		columns := make([]Column, len(p.Features))
		for i, x := range p.Features {
			columns[i] = Column{Ints: []int64{0, math.MinInt64, math.MaxInt64}, Texts: []string{x.Column, "", ""}, Null: []bool{true, x.Kind == KindCategory, x.Kind == KindCategory}}
			if x.Type == "text" {
				columns[i].Ints = nil
			} else {
				columns[i].Texts = nil
			}
		}
		d, err := EncodeRows(p.Features, columns)
		if err != nil {
			return // a code that does not fit the column's type
		}
		scoresOf(t, p, d)
	})
}

func BenchmarkScore(b *testing.B) {
	for _, f := range trained {
		s := spec(f, false)
		if f == policies.FamilyForest {
			s.Setting.Trees = 10
		}
		s.Features = append(features(10, 8), policies.ModelFeature{Column: "born"}, policies.ModelFeature{Column: "gone"})[:19]
		columns := made(20_000, 1)
		columns["born"] = columns["n0"]
		p, x := train(b, s, columns, 1)
		scorer, err := p.Scorer()
		if err != nil {
			b.Fatal(err)
		}
		out := make([]float64, x.Train.Rows()*scorer.Width())
		b.Run(string(f), func(b *testing.B) {
			for range b.N {
				scorer.Score(x.Train, out)
			}
			b.ReportMetric(float64(x.Train.Rows()*b.N)/b.Elapsed().Seconds()/1e6, "Mrows/s")
		})
	}
}
