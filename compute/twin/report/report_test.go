package report

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/compute/release"
	"github.com/sandgate/sandgate/compute/twin"
	"github.com/sandgate/sandgate/policies"
)

// learn makes a twin of invented rows: visits depend on district, whose third code has
// markup in it.
func learn(t *testing.T, rho string) *twin.Twin {
	t.Helper()
	e := policies.Entry{Department: "bureau", Masked: true, Levels: map[string]int{"sex": 2}, Rule: &policies.DisclosureRule{Mode: "dp", MaxRows: 1},
		Dataset: policies.Dataset{ID: "clinic", Unit: &policies.Unit{Column: "person", Kind: "person"}, Columns: []policies.Column{
			{Name: "person", Type: algebra.Text},
			{Name: "district", Type: algebra.Text, Codes: []policies.Code{{Value: "a"}, {Value: "b"}, {Value: "<i>c"}}},
			{Name: "sex", Type: algebra.Text, Codes: []policies.Code{{Value: "1"}, {Value: "2"}}},
			{Name: "visits", Type: algebra.Int, Bounds: &policies.Bounds{Lo: "0", Hi: "9"}},
			{Name: "citizen_id", Type: algebra.Text, Identifier: policies.IdentCitizen},
		}}}
	s, err := twin.NewSchema(twin.Spec{Dataset: "clinic", Rho: rho}, e)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	b := model.Batch{Columns: make([]model.Column, 3)}
	for u := range uint64(8000) {
		d := []int{0, 2, 2, 1, 2}[r.IntN(5)]
		b.Units = append(b.Units, u)
		b.Columns[0].Texts = append(b.Columns[0].Texts, []string{"a", "b", "<i>c"}[d])
		b.Columns[1].Texts = append(b.Columns[1].Texts, fmt.Sprint(1+r.IntN(2)))
		b.Columns[2].Ints = append(b.Columns[2].Ints, int64(3*d+r.IntN(4)))
	}
	enc, err := twin.NewEncoder(s, []byte("a key of the tests, 32 bytes long"))
	if err == nil {
		err = enc.Add(b)
	}
	if err != nil {
		t.Fatal(err)
	}
	random := rand.NewChaCha8([32]byte{1})
	oracle := twin.Noised(twin.Local(enc.Finish(), s), func(sums []int64, norm int64, rho budget.Nano) ([]int64, error) {
		return release.Sums(sums, norm, rho, random)
	})
	x, err := twin.Learn(context.Background(), s, oracle, nil)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// The page holds the document's figures with their ranges, Chinese before English, asks
// for nothing from outside, and keeps markup of the catalogue from being any.
func TestPageOfATwin(t *testing.T) {
	x := learn(t, "0.05")
	p := Page{Twin: x, Lines: []Line{{"孪生", "twin", "twin-1<b>"}, {"部门", "department", "bureau"}}}
	b, err := p.HTML("zh")
	if err != nil {
		t.Fatal(err)
	}
	s := string(b)
	v := view{}
	q := x.Quality
	digest, _ := x.Digest()
	wants := []string{"合成孪生的质量", "twin-1&lt;b&gt;", "clinic", digest, "ρ 0.05", "citizen_id", "visits × district", "&lt;i&gt;c",
		v.Percent(q.OneWay.Mean.High), v.Percent(q.TwoWay.Worst.High), fmt.Sprintf("%s (%s – %s)", v.Percent(q.Models[0].Data.About), v.Percent(q.Models[0].Data.Low), v.Percent(q.Models[0].Data.High)), "width=device-width"}
	for _, r := range q.Columns {
		wants = append(wants, v.Percent(r.High))
	}
	for _, a := range q.Queries {
		wants = append(wants, kinds[a.Kind][0], fmt.Sprintf("(%s – %s)", v.Percent(a.Error.Worst.Low), v.Percent(a.Error.Worst.High)))
	}
	for _, want := range wants {
		if !strings.Contains(s, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if len(q.Queries) != 5 || len(q.Models) < 2 || strings.Count(s, "<svg") != 3 {
		t.Errorf("%d kinds of questions, %d models, %d plots", len(q.Queries), len(q.Models), strings.Count(s, "<svg"))
	}
	if strings.Index(s, "查询的误差") > strings.Index(s, "Errors of queries") {
		t.Error("English stands first")
	}
	if m := regexp.MustCompile(`(?i)<script|javascript:|\son[a-z]+=|\b(src|href)=|@import|url\(|<iframe|<link|<\?xml|<!ENTITY|<i>`).FindString(s); m != "" {
		t.Errorf("the page holds %q", m)
	}
	// Whoever has no mouse reaches each table that scrolls.
	if n := strings.Count(s, `<div class="scroll"`); n < 5 || n != strings.Count(s, `class="scroll" tabindex="0" role="region" aria-label="`) {
		t.Errorf("%d tables scroll, not all of them by keyboard", n)
	}
	d := xml.NewDecoder(strings.NewReader(s[strings.Index(s, "<main>"):strings.Index(s, "</body>")]))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("the page is malformed: %v", err)
		}
	}
	again, err := p.HTML("zh")
	if err != nil || !bytes.Equal(again, b) {
		t.Error("the page differs the second time")
	}
	english, err := p.HTML("en")
	if err != nil || regexp.MustCompile(`\p{Han}`).Match(english) {
		t.Errorf("the English page holds Chinese: %v", err)
	}
}

// A twin of single columns says so; what is no twin is not rendered.
func TestPageOfMarginalsAlone(t *testing.T) {
	x := learn(t, "0.00002")
	b, err := Page{Twin: x}.HTML("zh")
	if err != nil {
		t.Fatal(err)
	}
	if s := string(b); !x.MarginalsOnly || !strings.Contains(s, "只有单列分布") || strings.Count(s, "<svg") != 1 || strings.Contains(s, "模型的误差") {
		t.Errorf("marginals only: %v; the page does not say so", x.MarginalsOnly)
	}
	broken := *x
	broken.Rho = "0"
	for _, p := range []Page{{}, {Twin: &broken}} {
		if _, err := p.HTML("zh"); err == nil {
			t.Error("what is no twin is rendered")
		}
	}
	if _, err := (Page{Twin: x}).HTML("fr"); err == nil {
		t.Error("an unknown language is rendered")
	}
}
