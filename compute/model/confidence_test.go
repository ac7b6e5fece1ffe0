package model

import "testing"

func TestConfidenceIsOfTheScoresPart(t *testing.T) {
	low, high := &Estimate{0.2, 0.1, 0.3}, &Estimate{0.8, 0.7, 0.9}
	e := &Evaluation{Calibration: []CalibrationPart{{From: 0, To: 0.5, Observed: low}, {From: 0.5, To: 0.75}, {From: 0.75, To: 1, Observed: high}}}
	for _, x := range []struct {
		name   string
		scores []string
		want   *Estimate
	}{
		{"within", []string{"0.31"}, low}, {"lower edge", []string{"0.75"}, high}, {"upper end", []string{"1.00"}, high}, {"hidden by noise", []string{"0.60"}, nil},
		{"beyond", []string{"1.20"}, nil}, {"below", []string{"-0.10"}, nil}, {"no number", []string{"centre"}, nil}, {"none", nil, nil},
		{"largest of several", []string{"0.80", "0.10"}, high}, {"the class that is not given", []string{"0.10", "0.05"}, high}, {"unsure of all", []string{"0.30", "0.30"}, low},
	} {
		if got := e.Confidence(x.scores); got != x.want {
			t.Errorf("%s: %v, want %v", x.name, got, x.want)
		}
	}
	if got := (&Evaluation{}).Confidence([]string{"0.5"}); got != nil {
		t.Errorf("without an evaluation: %v", got)
	}
}
