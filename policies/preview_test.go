package policies

import (
	"reflect"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/masking"
)

func previewDocs(t testing.TB, masks, rules string) []Document {
	t.Helper()
	docs, err := ParseBundle([]byte(townCatalogue + "---\n" + townGrading + "---\n" + maskingText(masks, rules)))
	if err != nil {
		t.Fatal(err)
	}
	return docs
}

func TestR20_PreviewShowsWhatWouldBeInForce(t *testing.T) {
	const rules = "  - {id: ages, dataset: people, columns: [born], purposes: [plan], mask: {op: age_band, at: \"2026-01-01\", edges: [\"0\", \"18\", \"60\"]}}\n" +
		"  - {dataset: people, level_at_least: 3, recipients: [op], mask: {op: \"null\"}}"
	docs := previewDocs(t, "", rules)
	e, err := PreviewEntry(docs, "people")
	if err != nil {
		t.Fatal(err)
	}
	inForce, _ := apply(t, town(t, "masking"), maskingText("", rules), "dept").Dataset("people")
	if inForce.SpecDigest() != e.SpecDigest() || !reflect.DeepEqual(inForce.Masks, e.Masks) || !reflect.DeepEqual(inForce.MaskRules, e.MaskRules) {
		t.Error("the preview shows other masks than apply puts in force")
	}
	find := func(purpose, operator, column string) ColumnPreview {
		all, err := e.Preview(purpose, operator, 4)
		if err != nil {
			t.Fatal(err)
		}
		again, _ := e.Preview(purpose, operator, 4)
		if !reflect.DeepEqual(all, again) {
			t.Error("a second look shows something else")
		}
		for _, c := range all {
			if c.Column == column {
				return c
			}
		}
		t.Fatalf("no column %s", column)
		return ColumnPreview{}
	}
	if c := find("", "", "born"); c.Demanded.Op != "keep" || c.Rule != "" || c.Effects[0].Before != c.Effects[0].After {
		t.Errorf("%+v", c)
	}
	c := find("plan", "", "born")
	if c.Demanded.Op != "age_band" || c.Rule != "ages" {
		t.Errorf("%+v", c)
	}
	for _, x := range c.Effects {
		if x.Null || x.After != "0" && x.After != "18" && x.After != "60" || x.Before == x.After {
			t.Errorf("%+v", x)
		}
	}
	if c := find("plan", "op", "fee"); c.Demanded.Op != "null" || c.Rule != "#2" || !c.Effects[0].Null {
		t.Errorf("%+v", c)
	}
	if c := find("", "", "phone"); !c.Drop {
		t.Errorf("%+v", c)
	}
	if c := find("", "", "id_number"); !c.Unit || c.Effects != nil {
		t.Errorf("%+v", c)
	}
}

func TestPreviewRefuses(t *testing.T) {
	docs := previewDocs(t, "", "  - {dataset: people, columns: [born], mask: {op: year}}")
	for name, c := range map[string]struct {
		docs    []Document
		dataset string
		want    string
	}{
		"unknown data set": {docs, "ghosts", `"ghosts"`},
		"no masking":       {docs[:2], "people", "no Masking"},
		"unknown column":   {previewDocs(t, "", "  - {dataset: people, columns: [ghost], mask: {op: year}}"), "people", `"ghost"`},
		"no strictest":     {previewDocs(t, ", born: {op: pseudonym}", "  - {dataset: people, columns: [born], mask: {op: year}}"), "people", "no strictest"},
	} {
		if _, err := PreviewEntry(c.docs, c.dataset); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSyntheticValuesAreValid: every mask reads the value made up for it, and no
// identifier stands in an area that exists.
func TestSyntheticValuesAreValid(t *testing.T) {
	for i := range 100 {
		if s := syntheticText(IdentCitizen, i); masking.CitizenID(s) != masking.OK || s[:2] != "99" {
			t.Errorf("citizen number %d is %v", i, masking.CitizenID(s))
		}
		if s := syntheticText(IdentCredit, i); masking.CreditCode(s) != masking.OK || s[2:4] != "99" {
			t.Errorf("credit code %d is %v", i, masking.CreditCode(s))
		}
		if _, ok := masking.Plate(syntheticText(IdentPlate, i)); ok != masking.OK || masking.Phone(syntheticText(IdentPhone, i)) != masking.OK ||
			masking.BankCard(syntheticText(IdentCard, i)) != masking.OK || masking.Email(syntheticText(IdentEmail, i)) != masking.OK ||
			masking.PersonalName(syntheticText(IdentName, i)) != masking.OK || masking.Address(syntheticText(IdentAddress, i)) != masking.OK {
			t.Errorf("a value of number %d is malformed", i)
		}
	}
	for op := range shapeOf {
		m := Mask{Op: op}
		switch op {
		case masking.OpArea:
			m.Digits = 4
		case masking.OpAddress:
			m.Level = masking.LevelCity
		}
		c := Column{Name: "x", Type: algebra.Text}
		o, err := masking.New(op, MaskParams(c, m, nil))
		if err != nil {
			t.Fatal(err)
		}
		if after, null := o.Apply(synthetic(c, op, 0, 1)); null || strings.Trim(after, "*") == "" {
			t.Errorf("%s does not read its synthetic value", op)
		}
	}
}
