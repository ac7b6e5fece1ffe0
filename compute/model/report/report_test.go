package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/compute/model/gate"
	"github.com/sandgate/sandgate/policies"
)

func report(v gate.Verdict) *gate.Report {
	r := &gate.Report{Version: 1, Verdict: v, Family: policies.FamilyAdditive, Release: policies.ReleaseParameters, Private: true, Rho: 24_400_000, Epsilon: "1.001",
		Features: 2, Parameters: 9, Units: 16_000, HeldOut: 4000, Attacked: 4000, Shadows: 64, ShadowUnits: 16_000, Canaries: 100, Targets: 400}
	r.Attacks = []gate.Finding{
		{Code: gate.CodeMembership, Figures: []gate.Figure{{Name: "auc", Of: gate.OfTraining, Value: "0.502", Lo: "0.500", Hi: "0.504", MostHi: "0.550"}}, Control: []gate.Figure{{Name: "auc", Of: gate.OfTraining, Value: "1.000", Lo: "1.000", Hi: "1.000", MostHi: "0.550"}}},
		{Code: gate.CodeAttribute, Figures: []gate.Figure{{Name: "surplus", Of: gate.OfModel, Column: "<b>年龄&", Value: "0.101", Lo: "0.050", Hi: "0.152", MostLo: "0.000"}}, Control: []gate.Figure{{Name: "surplus", Of: gate.OfModel, Column: "<b>年龄&", Value: "0.400"}}},
	}
	for _, f := range []string{"0.001", "0.010", "0.100", "0.500"} {
		r.ROC = append(r.ROC, gate.Point{FPR: f, TPR: f, Control: "1.000"})
	}
	if v == gate.Fail {
		r.Reasons = []*policies.Reason{{Code: gate.CodeAttribute, ZH: "泄露属性", EN: "gives away attributes"}}
	}
	return r
}

func additive() *model.Parameters {
	return &model.Parameters{Family: policies.FamilyAdditive, Features: []model.Feature{
		{Column: "age", Kind: model.KindNumber, Bounds: [2]int64{0, 1000}, Edges: []int64{200, 500}, Scale: 1}, {Column: "district", Kind: model.KindCategory, Codes: []string{"a", "b", "c"}}},
		Tables: [][]float64{{-0.5, 0.1, 0.6, 0}, {0.2, -0.1, 0, 0}}}
}

// The page is whole, in both languages, draws every plot and asks for nothing.
func TestR02_PageIsSelfContained(t *testing.T) {
	e := &model.Evaluation{Calibration: []model.CalibrationPart{{From: 0, To: 0.5, Units: 90, Observed: &model.Estimate{Value: 0.2, Low: 0.1, High: 0.3}}, {From: 0.5, To: 1, Units: 80, Observed: &model.Estimate{Value: 0.8, Low: 0.7, High: 0.9}}, {From: 1, To: 2}}}
	p := Page{Title: "住院<风险>", Report: report(gate.Pass), Evaluation: e, Parameters: additive()}
	b, err := p.HTML("zh")
	if err != nil {
		t.Fatal(err)
	}
	s := string(b)
	for _, want := range []string{"合格：可以发布", "passed: it may be released", "成员推断", "住院&lt;风险&gt;", "&lt;b&gt;年龄&amp;", "0.502 [0.500, 0.504]", "hi ≤ 0.550", "ρ 0.0244", "age", "district"} {
		if !strings.Contains(s, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if n := strings.Count(s, "<svg"); n != 4 {
		t.Errorf("%d plots", n)
	}
	if strings.Index(s, "合格：") > strings.Index(s, "passed:") {
		t.Error("English stands first")
	}
	if m := regexp.MustCompile(`(?i)<script|javascript:|\son[a-z]+=|\b(src|href)=|@import|url\(\s*['"]?http|<iframe|<link|<\?xml|<!ENTITY`).FindString(s); m != "" {
		t.Errorf("the page holds %q", m)
	}
	// Every plot is well-formed.
	for _, x := range regexp.MustCompile(`(?s)<svg.*?</svg>`).FindAllString(s, -1) {
		d := xml.NewDecoder(strings.NewReader(x))
		for {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("a plot is malformed: %v", err)
			}
		}
	}
	again, err := p.HTML("zh")
	if err != nil || !bytes.Equal(again, b) {
		t.Error("the page differs the second time")
	}
	english, err := p.HTML("en")
	if err != nil || strings.Contains(string(english), "合格") {
		t.Errorf("the English page holds Chinese: %v", err)
	}
}

// Shapes are the model: they are drawn of what may leave alone.
func TestR02_ShapesOfReleasedParametersAlone(t *testing.T) {
	scores := report(gate.Pass)
	scores.Release = policies.ReleaseScores
	for name, r := range map[string]*gate.Report{"failed": report(gate.Fail), "void": report(gate.Void), "scores": scores} {
		b, err := Page{Report: r, Parameters: additive()}.HTML("zh")
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(b), "<svg"); n != 1 {
			t.Errorf("%s: %d plots", name, n)
		}
	}
	b, err := Page{Report: report(gate.Fail)}.HTML("zh")
	if err != nil || !strings.Contains(string(b), "不得发布") || !strings.Contains(string(b), "gives away attributes") {
		t.Errorf("a failed model's page: %v", err)
	}
	linear := &model.Parameters{Family: policies.FamilyLogistic, Coefficients: [][]float64{{0.1, 0.5, -0.2, 0.3}}, Features: additive().Features}
	if b, err = (Page{Report: report(gate.Pass), Parameters: linear}).HTML("en"); err != nil || strings.Count(string(b), "<svg") != 3 {
		t.Errorf("a logistic model: %v", err)
	}
	linear.Coefficients[0] = linear.Coefficients[0][:3]
	if _, err = (Page{Report: report(gate.Pass), Parameters: linear}).HTML("en"); err == nil {
		t.Error("a model without its coefficients is drawn")
	}
	for _, p := range []Page{{}, {Report: &gate.Report{}}, {Report: &gate.Report{ROC: []gate.Point{{FPR: "x"}, {}}}}} {
		if _, err := p.HTML("zh"); err == nil {
			t.Error("a page without its report is drawn")
		}
	}
	if _, err := (Page{Report: report(gate.Pass)}).HTML("fr"); err == nil {
		t.Error("an unknown language is rendered")
	}
}
