package policies

import (
	"strings"
	"testing"
)

// Personal data of level 3 and above has no exact mode, whatever the unit is
// called: not by a column that identifies a person, and not as a record that may
// be one.
func TestR16_NoExactModeForPersonalData(t *testing.T) {
	entry := func(kind UnitKind, level int, mask string) Entry {
		e := Entry{Levels: map[string]int{"id": 4, "who": level, "x": level}, Masks: map[string]Mask{}}
		e.Dataset = Dataset{OneRow: true, Unit: &Unit{Column: "id", Kind: kind},
			Columns: []Column{{Name: "id"}, {Name: "who", Identifier: IdentCitizen}, {Name: "x"}}}
		if mask != "" {
			e.Masks["who"] = Mask{Op: mask}
		}
		return e
	}
	rule := DisclosureRule{Mode: "exact", Uses: map[string][]Use{"x": {UseKey}}, Exact: &ExactRule{K: 10, Round: 5}}
	for _, c := range []struct {
		name string
		e    Entry
		want string
	}{
		{"persons", entry(UnitPerson, 1, "drop"), "personal data takes dp"},
		{"organisations with a citizen number of level 3", entry(UnitOrganisation, 3, "pseudonym"), "has no exact mode"},
		{"the number is dropped", entry(UnitOrganisation, 3, "drop"), ""},
		{"the number is of level 2", entry(UnitOrganisation, 2, "pseudonym"), ""},
		{"records of level 3", entry(UnitRecord, 3, "drop"), "may be personal data"},
		{"records of level 2", entry(UnitRecord, 2, "drop"), ""},
	} {
		err := checkExact(c.e, rule)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	several := entry(UnitOrganisation, 1, "drop")
	several.Dataset.OneRow = false
	if err := checkExact(several, rule); err == nil || !strings.Contains(err.Error(), "one_row_per_unit") {
		t.Errorf("several rows: %v", err)
	}
}
