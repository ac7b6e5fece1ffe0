package policies

import (
	"strings"
	"testing"
)

// A department may be stricter than the city, never looser: the ceiling is the
// regulator's.
func TestBudgetCeiling(t *testing.T) {
	b := NewBook("bureau", nil)
	var err error
	if b.ceiling, err = ceilingOf(Registry{}); err != nil {
		t.Fatal(err)
	}
	e := Entry{Dataset: Dataset{Unit: &Unit{Kind: UnitPerson}}}
	for _, c := range []struct {
		rule BudgetRule
		ok   bool
	}{
		{BudgetRule{}, true},
		{BudgetRule{Lifetime: "1.06"}, true},
		{BudgetRule{Lifetime: "1.060000001"}, false},
		{BudgetRule{QueryMax: "100"}, false},
		{BudgetRule{OperatorYear: "100"}, false},
		{BudgetRule{DatasetYear: "9000000000"}, false},
	} {
		err := b.checkMode(e, DisclosureRule{Mode: "dp", MaxRows: 1, Budget: c.rule})
		if (err == nil) != c.ok || err != nil && !strings.Contains(err.Error(), "ceiling") {
			t.Errorf("%+v: %v", c.rule, err)
		}
	}
	for text, ok := range map[string]bool{"": true, "2": true, "0": false, "-1": false, "many": false} {
		if _, err := ceilingOf(Registry{BudgetCeiling: text}); (err == nil) != ok {
			t.Errorf("ceiling %q: %v", text, err)
		}
	}
}
