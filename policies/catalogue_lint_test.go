package policies

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func gapsOf(f []Finding, dataset, column string) []string {
	var out []string
	for _, x := range f {
		if x.Dataset == dataset && (column == "*" || x.Column == column) {
			out = append(out, x.Code)
		}
	}
	return out
}

func lintText(t *testing.T, text string) []Finding {
	t.Helper()
	docs, err := ParseBundle([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return LintBundle(docs)
}

// complete is a data set of which lint says nothing.
const complete = `kind: Catalogue
department: dept
datasets:
  - id: people
    title: {zh: 人口}
` + described + `    unit: {column: id_number, kind: person}
    columns:
      - {name: id_number, title: {zh: 号}, type: text, identifier: citizen_id, element: GB 11643, element_type: an18, basis: 某法}
      - {name: kind, title: {zh: 类}, type: text, codes: [{value: a}], element: GB 2, element_type: an1, basis: 某法}
      - {name: fee, title: {zh: 费}, type: decimal, scale: 2, measure: 元, bounds: {lo: "0", hi: "9"}, element: GB 3, element_type: "n10,2", basis: 某法}
      - {name: phone, title: {zh: 电话}, type: text, identifier: phone, element: GB 4, element_type: n11, basis: 某法}
---
kind: Grading
department: dept
scheme: GB/T 43697-2024
levels: {people: {id_number: 4, kind: 3, fee: 3, phone: 3}}
---
kind: Masking
department: dept
masks: {people: {phone: {op: drop}}}
---
kind: Disclosure
department: dept
datasets: {people: {mode: dp, max_rows: 4, purposes: [plan], uses: {kind: [key], fee: [measure]}}}
`

func TestR15_LintOfABundle(t *testing.T) {
	if got := lintText(t, complete); len(got) != 0 {
		t.Fatalf("control: %+v", got)
	}
	for name, c := range map[string]struct{ from, to, code, requirement, column string }{
		"abstract":     {"abstract: {zh: 摘要}", "abstract: {en: x}", "ABSTRACT_MISSING", "R15", ""},
		"format":       {"    format: database\n", "", "FORMAT_MISSING", "R15", ""},
		"provider":     {"name: {zh: 甲局}, ", "", "PROVIDER_MISSING", "R15", ""},
		"code":         {", code: 11230100002180000P", "", "PROVIDER_CODE_MISSING", "R15", ""},
		"industry":     {"    industry: S\n", "", "INDUSTRY_MISSING", "R15", ""},
		"period":       {"    period: \"2025\"\n", "", "PERIOD_MISSING", "R15", ""},
		"area":         {"    area: x\n", "", "AREA_MISSING", "R15", ""},
		"frequency":    {"    update_frequency: 每日\n", "", "UPDATE_FREQUENCY_MISSING", "R15", ""},
		"unusual":      {"update_frequency: 每日", "update_frequency: 天天", "UPDATE_FREQUENCY_UNUSUAL", "R15", ""},
		"sharing":      {"    sharing: {class: conditional, condition: {zh: 须审核}, basis: 某法第三条}\n    sharing_methods: [verify, query]\n", "", "SHARING_CLASS_MISSING", "R19", ""},
		"basis":        {", basis: 某法第三条", "", "SHARING_BASIS_MISSING", "R19", ""},
		"methods":      {"    sharing_methods: [verify, query]\n", "", "SHARING_METHODS_MISSING", "R15", ""},
		"opening":      {"    opening: {class: none, basis: 某法第四条}\n", "", "OPENING_CLASS_MISSING", "R19", ""},
		"status":       {"    operation: {status: planned, scenario: {zh: 规划}}\n", "", "OPERATION_STATUS_MISSING", "R15", ""},
		"scenario":     {", scenario: {zh: 规划}", "", "OPERATION_SCENARIO_MISSING", "R15", ""},
		"bounds":       {`, bounds: {lo: "0", hi: "9"}`, "", "BOUNDS_MISSING", "R15", "fee"},
		"measure":      {"measure: 元, ", "", "MEASURE_UNIT_MISSING", "R15", "fee"},
		"codes":        {"codes: [{value: a}], ", "", "KEY_CODES_MISSING", "R15", "kind"},
		"mask":         {"phone: {op: drop}", "", "IDENTIFIER_MASK_MISSING", "R16", "phone"},
		"kept":         {"phone: {op: drop}", "phone: {op: keep}", "IDENTIFIER_MASK_MISSING", "R16", "phone"},
		"level":        {", phone: 3}", "}", "COLUMN_LEVEL_MISSING", "R16", "phone"},
		"grading":      {"levels: {people: {id_number: 4, kind: 3, fee: 3, phone: 3}}", "levels: {}", "GRADING_MISSING", "R16", ""},
		"masking":      {"masks: {people: {phone: {op: drop}}}", "masks: {}", "MASKING_MISSING", "R16", ""},
		"column basis": {"element: GB 4, element_type: n11, basis: 某法", "element: GB 4, element_type: n11", "COLUMN_BASIS_MISSING", "R19", "phone"},
		"element":      {"element: GB 4, element_type: n11, ", "", "ELEMENT_MISSING", "R17", "phone"},
		"element type": {", element_type: n11", "", "ELEMENT_TYPE_MISSING", "R17", "phone"},
		"record":       {"kind: person", "kind: record", "UNIT_IS_A_RECORD", "R18", "id_number"},
		"person":       {"{zh: 电话}, type: text, identifier: phone", "{zh: 电话}, type: text, identifier: phone}\n      - {name: father, title: {zh: 父}, type: text, identifier: citizen_id", "", "", ""},
		"two sources": {"---\nkind: Grading", "---\nkind: Catalogue\ndepartment: other\ndatasets:\n  - {id: two, title: {zh: 二}, public: true, columns: [{name: k, title: {zh: 类}, type: text, element: GB 2}]}\n---\nkind: Grading",
			"TWO_SOURCES", "R17", "kind"},
	} {
		t.Run(name, func(t *testing.T) {
			if !strings.Contains(complete, c.from) {
				t.Fatalf("no %q", c.from)
			}
			got := lintText(t, strings.Replace(complete, c.from, c.to, 1))
			if c.code == "" {
				return
			}
			i := slices.IndexFunc(got, func(f Finding) bool { return f.Code == c.code && f.Dataset == "people" })
			if i < 0 {
				t.Fatalf("%s was not found: %+v", c.code, got)
			}
			f := got[i]
			if f.Requirement != c.requirement || f.Column != c.column || f.ZH == "" || f.EN == "" || f.DoZH == "" || f.DoEN == "" || f.Severity != SeverityError && f.Severity != SeverityWarning {
				t.Errorf("%+v", f)
			}
			if !strings.Contains(f.Text("zh"), f.DoZH) || !strings.Contains(f.Text("en"), f.EN) {
				t.Error("what to do is not said")
			}
		})
	}
	// Nothing is said of masks and levels where the file holds no such document.
	alone, _, _ := strings.Cut(complete, "---")
	if got := lintText(t, alone); len(got) != 0 {
		t.Errorf("%+v", got)
	}
	if got := lintText(t, strings.Replace(complete, "unit: {column: id_number, kind: person}", "unit: {column: id_number, kind: organisation}", 1)); !slices.Contains(gapsOf(got, "people", "id_number"), "PERSON_NOT_THE_UNIT") {
		// The unit column itself is judged by Apply.
		if len(gapsOf(got, "people", "*")) != 0 {
			t.Errorf("%+v", got)
		}
	}
}

func TestR11_LintOfTheBook(t *testing.T) {
	b := town(t, "")
	got := b.Lint("", applied)
	for _, want := range []string{"ABSTRACT_MISSING", "SHARING_CLASS_MISSING", "REGISTRATION_MISSING"} {
		if !slices.Contains(gapsOf(got, "people", ""), want) {
			t.Errorf("no %s in %v", want, gapsOf(got, "people", ""))
		}
	}
	severity := func(b *Book, at time.Time, code string) Severity {
		for _, f := range b.Lint("dept", at) {
			if f.Dataset == "people" && f.Code == code {
				return f.Severity
			}
		}
		return ""
	}
	if severity(b, applied, "REGISTRATION_MISSING") != SeverityWarning {
		t.Error("an error although registration is not required")
	}
	b = apply(t, b, withKeys(townRegistry)+"registration_required: true\n", "bureau")
	if severity(b, applied, "REGISTRATION_MISSING") != SeverityError {
		t.Error("no error although registration is required")
	}
	b = apply(t, b, registration("first", "A-1", "2027-06-01"), "bureau")
	for at, code := range map[time.Time]string{applied: "", applied.AddDate(0, 11, 0): "REGISTRATION_ENDS_SOON", applied.AddDate(1, 0, 0): "REGISTRATION_EXPIRED"} {
		found := ""
		for _, c := range gapsOf(b.Lint("", at), "people", "") {
			if strings.HasPrefix(c, "REGISTRATION") {
				found = c
			}
		}
		if found != code {
			t.Errorf("%s: %q, want %q", at, found, code)
		}
	}
	if got := b.Lint("other", applied); len(got) != 0 {
		t.Errorf("another department's gaps: %+v", got)
	}
	// A changed catalogue that was not graded again.
	b = apply(t, b, describedTown(t), "dept")
	for _, want := range []string{"GRADING_MISSING", "MASKING_MISSING", "DISCLOSURE_MISSING"} {
		if !slices.Contains(gapsOf(b.Lint("", applied), "people", ""), want) {
			t.Errorf("no %s", want)
		}
	}
}
