package policies

import (
	"strings"
	"testing"
)

func TestModelSpecificationsAreReadStrictly(t *testing.T) {
	const good = "dataset: town\nfamily: linear\nrho_evaluation: \"0.001\"\nrows_per_unit: 1\n"
	if s, err := ParseModelSpec([]byte(good)); err != nil || s.Dataset != "town" {
		t.Fatal(s, err)
	}
	for text, want := range map[string]string{
		strings.Replace(good, "rows_per_unit: 1", "rows_per_unit: 1.5", 1): "whole number",
		good + "bins_of: 3\n":            "bins_of",
		good + "kind: Product\n":         "no kind",
		good + "---\n" + good:            "one specification",
		"dataset: &a town\nfamily: *a\n": "aliases",
		"dataset: [":                     "document 1",
		"rows_per_unit: many\n":          "document 1",
		"":                               "document 1",
	} {
		if _, err := ParseModelSpec([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestR05_EveryPartyHasAKeyOfItsOwn(t *testing.T) {
	b := NewBook("bureau", publicOf("bureau"))
	party := func(id, role, key string) string {
		return "  - {id: " + id + ", role: " + role + ", title: {zh: 某}, key: \"@KEY:" + key + "\"}\n"
	}
	registry := func(key string) string {
		return withKeys("kind: Registry\nparties:\n" + party("bureau", "regulator", "bureau") + party("health", "department", "health") + party("alpha", "operator", key) +
			"purposes:\n  - {id: planning, title: {zh: 规划}, fee: governance}\n")
	}
	for _, other := range []string{"health", "bureau"} {
		if got := refused(t, b, registry(other), "bureau"); !strings.Contains(got, "alpha") || !strings.Contains(got, other) {
			t.Errorf("alpha with the key of %s: %s", other, got)
		}
	}
	apply(t, b, registry("alpha"), "bureau")
}
