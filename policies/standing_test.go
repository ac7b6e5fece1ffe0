package policies

import (
	"path/filepath"
	"strings"
	"testing"
)

const standing = `kind: StandingOrder
id: s-1
by: bureau
condition: {kind: out_of_scope, count: 5, hours: 24}
measure: {stage: suspend}
reason: {zh: 超范围}
basis: {zh: 第九条}
`

func TestR27_BadStandingOrdersAreRefusedByName(t *testing.T) {
	b := desktown(t)
	for name, c := range map[string]struct{ from, to, by, want string }{
		"unsigned":            {"", "", "dept", "signature"},
		"an operator's":       {"by: bureau", "by: op", "op", "registry as one of"},
		"unknown condition":   {"out_of_scope", "weather", "bureau", "unknown condition"},
		"number missing":      {", hours: 24", "", "bureau", "condition.hours is 0"},
		"number too large":    {"count: 5", "count: 101", "bureau", "condition.count is 101"},
		"number of another":   {"hours: 24", "hours: 24, months: 3", "bureau", "does not belong"},
		"ends for a pattern":  {"stage: suspend", "stage: end", "bureau", "does not follow"},
		"resumes":             {"stage: suspend", "stage: resume", "bureau", "does not follow"},
		"budget that ends":    {"out_of_scope, count: 5, hours: 24}\nmeasure: {stage: suspend", "budget, percent: 80}\nmeasure: {stage: suspend", "bureau", "does not follow"},
		"rectify without end": {"stage: suspend", "stage: rectify", "bureau", "working days"},
		"suspend with end":    {"stage: suspend", "stage: suspend, days: 3", "bureau", "working days"},
		"past":                {"measure:", "until: 2020-01-01T00:00:00Z\nmeasure:", "bureau", "past"},
		"no basis":            {"basis: {zh: 第九条}", "basis: {en: article 9}", "bureau", "basis.zh"},
		"unknown data set":    {"measure:", "scope: {datasets: [none]}\nmeasure:", "bureau", "not in the catalogue"},
		"unknown licence":     {"measure:", "scope: {licences: [none]}\nmeasure:", "bureau", "not granted"},
		"misspelt field":      {"measure:", "scop: {}\nmeasure:", "bureau", "scop"},
	} {
		text := standing
		if c.from != "" {
			text = edited(t, standing, c.from, c.to)
		}
		if got := refused(t, b, text, c.by); !strings.Contains(got, c.want) {
			t.Errorf("%s: %s", name, got)
		}
	}
	bare := town(t, "")
	if got := refused(t, bare, edited(t, standing, "stage: suspend", "stage: rectify, days: 3"), "bureau"); !strings.Contains(got, "no Profile") {
		t.Errorf("a deadline without a calendar: %s", got)
	}
	b = apply(t, b, standing, "bureau") // the control
	if got := refused(t, b, standing+"# again\n", "bureau"); !strings.Contains(got, "signed before") {
		t.Errorf("twice: %s", got)
	}
	withdrawal := "kind: StandingOrderWithdrawal\nstanding_order: s-1\nby: dept\nreason: {zh: 撤销}\n"
	if got := refused(t, b, withdrawal, "dept"); !strings.Contains(got, "only that party or the regulator") {
		t.Errorf("withdrawn by another: %s", got)
	}
	b = apply(t, b, strings.Replace(withdrawal, "dept", "bureau", 1), "bureau")
	if r := b.StandingOrders(); len(r) != 1 || b.StandingHolds(r[0], applied) {
		t.Errorf("%+v", r)
	}
}

// The shipped examples take effect under the profile of their city.
func TestR27_ShippedStandingOrdersTakeEffect(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "testdata", "standing", "*.yaml"))
	if err != nil || len(files) != 5 {
		t.Fatalf("%q, %v", files, err)
	}
	for _, f := range files {
		name := filepath.Base(f)
		b := apply(t, town(t, ""), load(t, "profiles/"+name), "bureau")
		b = apply(t, b, strings.ReplaceAll(load(t, "standing/"+name), "by: data_bureau", "by: bureau"), "bureau")
		p, _ := b.Profile()
		for _, r := range b.StandingOrders() {
			c := r.Standing.Condition
			if c.Kind == ConditionUnused && (c.Months != p.UnusedMonths || r.Standing.Measure.Days != p.Deadlines.Correct) ||
				c.Kind == ConditionOutOfScope && (Burst{c.Count, c.Hours}) != p.Burst {
				t.Errorf("%s: %s differs from its profile", name, r.Standing.ID)
			}
		}
		if n := len(b.StandingOrders()); n != 6 {
			t.Errorf("%s: %d standing orders", name, n)
		}
	}
}
