package report

import (
	"encoding/xml"
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/twin/compare"
)

// A comparison stands on the page as the word of its party, with every figure as a range,
// refusals by code, and no markup of its own; without one the page says nothing of it.
// Headings follow each other, cells of a header say what they head, plots have names.
func TestPageOfAComparison(t *testing.T) {
	x := learn(t, "0.05")
	for _, lang := range []string{"zh", "en"} {
		text, err := Page{Twin: x, Compared: compared()}.HTML(lang)
		if err != nil {
			t.Fatal(err)
		}
		s := string(text)
		for _, want := range []string{"no part of the certificate", "an operator of a long name", "2 (1 – 3)", "0.40 % (0.20 % – 0.60 %)", "12 (1)", "&lt;b&gt;refused", "TWIN_NONE", "TWIN_STALE", "97.89 % (20000)", "0.7 [0.6, 0.8]", "accuracy, scheme=employee"} {
			if !strings.Contains(s, want) {
				t.Errorf("%s: the page lacks %q", lang, want)
			}
		}
		if lang == "zh" && strings.Index(s, "不属于合格证") > strings.Index(s, "no part of the certificate") {
			t.Error("English stands first")
		}
		if m := regexp.MustCompile(`(?i)<script|\b(src|href)=|@import|url\(|<b>|NaN|Inf`).FindString(s); m != "" {
			t.Errorf("%s: the page holds %q", lang, m)
		}
		level := 1
		d := xml.NewDecoder(strings.NewReader(s[strings.Index(s, "<main>"):strings.Index(s, "</body>")]))
		for {
			token, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: the page is malformed: %v", lang, err)
			}
			e, ok := token.(xml.StartElement)
			if !ok {
				continue
			}
			has := map[string]string{}
			for _, a := range e.Attr {
				has[a.Name.Local] = a.Value
			}
			switch name := e.Name.Local; {
			case len(name) == 2 && name[0] == 'h' && name[1] >= '1' && name[1] <= '6':
				if now := int(name[1] - '0'); now > level+1 {
					t.Errorf("%s: a heading of level %d follows one of level %d", lang, now, level)
				} else {
					level = now
				}
			case name == "th" && has["scope"] == "", name == "svg" && (has["role"] != "img" || has["aria-label"] == ""), name == "div" && has["tabindex"] != "" && has["aria-label"] == "":
				t.Errorf("%s: a %s has no name or scope", lang, name)
			}
		}
	}
	without, err := Page{Twin: x, Compared: &compare.Report{}}.HTML("en")
	if err != nil || strings.Contains(string(without), "no part of the certificate") {
		t.Errorf("an empty comparison is shown: %v", err)
	}
}

// Numbers as large and as small as a document may hold are drawn.
func TestPlotsOfExtremeValues(t *testing.T) {
	for _, v := range []float64{0, 1e300, -1e300, 5e-324, 1e15} {
		c := compare.Column{Name: "n", Cells: 2, Points: []compare.Point{{Group: "", Data: compare.Cell{Value: v, Low: -1e300, High: 1e300}, Twin: compare.Cell{Value: v, Low: v, High: v}}, {Group: "b", Data: compare.Cell{Value: v, Low: v, High: v}, Twin: compare.Cell{Value: v, Low: v, High: v}}}}
		for _, points := range [][]compare.Point{c.Points, c.Points[1:]} {
			c.Points = points
			plot := string(view{Lang: "en"}.Points(compare.Query{Name: "q"}, c))
			for _, m := range regexp.MustCompile(` (?:x1|x2|cx|x)="(-?[0-9]+)"`).FindAllStringSubmatch(plot, -1) {
				if len(m[1]) > 3 || strings.HasPrefix(m[1], "-") {
					t.Errorf("%g is drawn at %s", v, m[1])
				}
			}
			if strings.Contains(plot, "NaN") || strings.Contains(plot, "Inf") || !strings.Contains(plot, "<circle") {
				t.Errorf("%g: %s", v, plot)
			}
		}
	}
	if (view{}).Points(compare.Query{}, compare.Column{}) != "" {
		t.Error("nothing is drawn as something")
	}
}
