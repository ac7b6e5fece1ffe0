package model

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/policies"
)

// The inputs of a schema times the coefficients, through the link, are the scores.
func TestSchemaScoresAsTheScorer(t *testing.T) {
	for _, f := range []policies.ModelFamily{policies.FamilyLinear, policies.FamilyLogistic, policies.FamilySoftmax} {
		s := spec(f, false)
		p, x := train(t, s, made(2000, 1), 1)
		scorer, err := p.Scorer()
		if err != nil {
			t.Fatal(err)
		}
		want := make([]float64, x.Train.Rows()*scorer.Width())
		scorer.Score(x.Train, want)
		text, _ := json.Marshal(func() Schema { s, _ := p.Schema(); return s }())
		schema, err := ParseSchema(text)
		if err != nil {
			t.Fatal(err)
		}
		if schema.Outputs() != scorer.Width() || schema.Inputs() != len(p.Coefficients[0])-1 {
			t.Fatalf("%s: %d inputs and %d outputs", f, schema.Inputs(), schema.Outputs())
		}
		got := make([]float64, len(want))
		for i := range got {
			got[i] = p.Coefficients[i%scorer.Width()][0]
		}
		j := 0
		err = schema.Columns(x.Train, func(values []float32) error {
			j++
			for r, v := range values {
				if !(v >= -1 && v <= 1) {
					t.Fatalf("%s: input %d of row %d is out of range", f, j, r)
				}
				for k := range scorer.Width() {
					got[r*scorer.Width()+k] += p.Coefficients[k][j] * float64(v)
				}
			}
			return nil
		})
		if err != nil || j != schema.Inputs() {
			t.Fatal(j, err)
		}
		for r := range x.Train.Rows() {
			schema.Link(got[r*scorer.Width() : (r+1)*scorer.Width()])
		}
		for i := range got {
			if math.Abs(got[i]-want[i]) > 1e-12 {
				t.Fatalf("%s, row %d: %v, want %v", f, i, got[i], want[i])
			}
		}
		for what, bad := range map[string]string{
			"another field":  strings.Replace(string(text), "{", `{"coefficients":[[1]],`, 1),
			"another family": strings.Replace(string(text), `"`+string(f)+`"`, `"tree"`, 1),
			"more":           string(text) + "{}",
			"no features":    `{"family":"` + string(f) + `","features":[]}`,
			"nothing":        "",
		} {
			if _, err := ParseSchema([]byte(bad)); err == nil {
				t.Errorf("%s: taken", what)
			}
		}
	}
}

func FuzzParseSchema(f *testing.F) {
	f.Add([]byte(`{"family":"logistic","features":[{"column":"a","kind":"category","type":"text","codes":["x","y"],"nullable":true}],"target":{"column":"b","classes":2,"codes":["0","1"],"positive":["1"]}}`))
	f.Add([]byte(`{"family":"linear","features":[{"column":"a","kind":"number","type":"int","bounds":[0,9]}],"target":{"column":"b","classes":0,"bounds":[0,9]}}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := ParseSchema(text)
		if err != nil {
			return
		}
		if s.Inputs() < 1 || s.Outputs() < 1 {
			t.Fatal("a schema without inputs or outputs")
		}
		s.Link(make([]float64, s.Outputs()))
	})
}
