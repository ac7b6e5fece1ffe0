package engine

import (
	"crypto/rand"
	"math"
	mathrand "math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/compute/model/encrypted"
	"github.com/sandgate/sandgate/policies"
)

// linearModel is a model of a family with coefficients that somebody could have learnt.
func linearModel(t *testing.T, f policies.ModelFamily, r *mathrand.Rand) *model.Parameters {
	t.Helper()
	p := &model.Parameters{Format: model.Format, Family: f, Private: true, Rho: "0.02", Design: strings.Repeat("0a", 32),
		Features: []model.Feature{
			{Column: "age", Kind: model.KindNumber, Type: "int", Bounds: [2]int64{0, 120}, Nullable: true},
			{Column: "pay", Kind: model.KindNumber, Type: "decimal", Bounds: [2]int64{-500, 3_000_000}, Scale: 2},
			{Column: "job", Kind: model.KindCategory, Type: "text", Codes: []string{"a", "b", "c", "d"}, Nullable: true},
			{Column: "own", Kind: model.KindCategory, Type: "bool", Codes: []string{"false", "true"}},
		}}
	outputs := 1
	switch f {
	case policies.FamilyLinear:
		p.Operators = []string{"scale", "indicate", "linear"}
		p.Target = model.Target{Column: "y", Type: "decimal", Bounds: [2]int64{0, 3_000_000}, Scale: 2}
	case policies.FamilyLogistic:
		p.Operators = []string{"scale", "indicate", "linear", "logistic"}
		p.Target = model.Target{Column: "y", Type: "text", Classes: 2, Codes: []string{"u", "v"}, Positive: []string{"v"}}
	default:
		p.Operators = []string{"scale", "indicate", "linear", "softmax"}
		p.Target = model.Target{Column: "y", Type: "text", Classes: 4, Codes: []string{"u", "v", "w", "x"}}
		outputs = 3
	}
	for range outputs {
		row := make([]float64, 1+2+1+3+1+1)
		for i := range row {
			row[i], _ = strconv.ParseFloat(strconv.FormatFloat(3*r.NormFloat64()/math.Sqrt(float64(len(row))), 'e', 5, 64), 64)
		}
		p.Coefficients = append(p.Coefficients, row)
	}
	return p
}

// TestR04_EncryptedScoresAreTheClearOnes takes rows as somebody writes them through
// coding, encryption, evaluation, decryption and link, and through the parameter file.
func TestR04_EncryptedScoresAreTheClearOnes(t *testing.T) {
	scheme, err := encrypted.New()
	if err != nil {
		t.Fatal(err)
	}
	r := mathrand.New(mathrand.NewPCG(48, 1))
	columns := []string{"job", "age", "own", "pay"}
	for _, f := range []policies.ModelFamily{policies.FamilyLinear, policies.FamilyLogistic, policies.FamilySoftmax} {
		p := linearModel(t, f, r)
		file, err := p.Encode()
		if err != nil {
			t.Fatal(err)
		}
		var rows [][]string
		for range 500 {
			age, job := strconv.Itoa(r.IntN(200)-20), string(rune('a'+r.IntN(4))) // beyond the bounds, too
			if r.IntN(5) == 0 {
				age, job = "", ""
			}
			rows = append(rows, []string{job, age, strconv.FormatBool(r.IntN(2) == 0), strconv.Itoa(r.IntN(40_000)) + ".25"})
		}
		want, err := ScoreRows(file, columns, rows)
		if err != nil {
			t.Fatal(err)
		}
		schema, ok := p.Schema()
		data, err := CodeRows(&schema, columns, rows)
		if !ok || err != nil {
			t.Fatal(err)
		}
		weights, err := encrypted.NewWeights(p.Coefficients)
		if err != nil {
			t.Fatal(err)
		}
		key, err := scheme.Client(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		e, err := scheme.Evaluate(weights, key.Seed(), key.Key(), len(rows), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		err = schema.Columns(data, func(values []float32) error {
			part, err := key.Encrypt(values)
			if err != nil {
				return err
			}
			return e.Add(part)
		})
		if err != nil {
			t.Fatal(err)
		}
		sums := make([]float64, len(rows)*schema.Outputs())
		for k := range schema.Outputs() {
			reply, err := e.Reply(k)
			if err != nil {
				t.Fatal(err)
			}
			z, err := key.Open(reply, len(rows))
			if err != nil {
				t.Fatal(err)
			}
			for i, v := range z {
				sums[i*schema.Outputs()+k] = v
			}
		}
		scorer, err := p.Scorer()
		if err != nil {
			t.Fatal(err)
		}
		clear := make([]float64, len(sums))
		scorer.Score(data, clear)
		linked := slices.Clone(sums)
		for i := 0; i < len(linked); i += schema.Outputs() {
			schema.Link(linked[i : i+schema.Outputs()])
		}
		for i := range clear {
			if d := math.Abs(linked[i] - clear[i]); d > 1e-9 {
				t.Fatalf("%s: score %d differs by %g", f, i, d)
			}
		}
		got := ShowScores(&schema, sums)
		if !slices.Equal(got.Columns, want.Columns) || !slices.EqualFunc(got.Rows, want.Rows, slices.Equal) {
			t.Errorf("%s: %v…, want %v…", f, got.Rows[:3], want.Rows[:3])
		}
	}
}
