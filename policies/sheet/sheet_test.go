package sheet

import (
	"flag"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/policies"
)

// A workbook takes milliseconds to write and read: fewer cases than rapid draws by
// itself, unless the command line says how many.
func TestMain(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "rapid.checks" })
	if !given {
		if err := flag.Set("rapid.checks", "40"); err != nil {
			panic(err)
		}
	}
	m.Run()
}

// word draws a text that a catalogue may hold, with what spreadsheets stumble over.
func word(t *rapid.T, label string) string {
	hard := []string{"", "007", "1e5", "=1+2", "+a", "-5", "@x", "'q", "''", "2025-01-01", "TRUE", "砂门市", "a;b", "a；b", "_x000A_", "_x005F_x0041_", "_x0001_x0002_", " lead", "trail ", "line\nbreak", "<&>\"", ",", "𝄞", "是", "#N/A", "0.10"}
	if rapid.IntRange(0, 2).Draw(t, label+" kind") == 0 {
		return rapid.SampledFrom(hard).Draw(t, label)
	}
	return rapid.StringOfN(rapid.RuneFrom([]rune("abcXYZ019 =+-@'\"\n,;；_x中文字é")), 0, 12, -1).Draw(t, label)
}

func token(t *rapid.T, label string) string {
	return rapid.StringMatching(`[a-z][a-z0-9_]{0,8}`).Draw(t, label)
}

func texts(t *rapid.T, label string) policies.Text {
	return policies.Text{ZH: word(t, label+" zh"), EN: word(t, label+" en")}
}

// lines draws a list of texts without empty ones and line breaks, nil for none.
func lines(t *rapid.T, label string) []string {
	var out []string
	for range rapid.IntRange(0, 3).Draw(t, label) {
		out = append(out, "x"+strings.ReplaceAll(word(t, label), "\n", ""))
	}
	return out
}

func pick[S ~string](t *rapid.T, label string, of []choice) S {
	return S(rapid.SampledFrom(append([]choice{{}}, of...)).Draw(t, label).code)
}

// genCatalogues draws catalogues in every field; they need not be sound.
func genCatalogues(t *rapid.T) []policies.Catalogue {
	var out []policies.Catalogue
	for i := range rapid.IntRange(1, 2).Draw(t, "departments") {
		c := policies.Catalogue{Department: fmt.Sprintf("dept%d", i)}
		for j := range rapid.IntRange(1, 3).Draw(t, "datasets") {
			d := policies.Dataset{ID: fmt.Sprintf("d%d_%d", i, j), Title: texts(t, "title"), Abstract: texts(t, "abstract"), Format: pick[policies.Format](t, "format", formats),
				Provider: policies.Provider{Name: texts(t, "provider"), Code: word(t, "code")}, Industry: word(t, "industry"), Period: word(t, "period"), Area: word(t, "area"),
				UpdateFrequency: word(t, "frequency"), Public: rapid.Bool().Draw(t, "public"), OneRow: rapid.Bool().Draw(t, "one row"),
				Sharing:   policies.Access{Class: pick[policies.Class](t, "class", classes), Condition: texts(t, "condition"), Basis: word(t, "basis")},
				Opening:   policies.Access{Class: pick[policies.Class](t, "class", classes), Condition: texts(t, "condition"), Basis: word(t, "basis")},
				Operation: policies.Operation{Status: pick[policies.OperationStatus](t, "status", statuses), Scenario: texts(t, "scenario")},
				BadRows:   policies.BadRows{MaxPercent: rapid.Float64Range(0, 50).Draw(t, "bad")}}
			d.Title.ZH += "名"
			for range rapid.IntRange(0, 2).Draw(t, "methods") {
				d.SharingMethods = append(d.SharingMethods, policies.SharingMethod(rapid.SampledFrom(methods).Draw(t, "method").code))
			}
			for range rapid.IntRange(0, 2).Draw(t, "unique") {
				d.Unique = append(d.Unique, token(t, "unique"))
			}
			if rapid.Bool().Draw(t, "unit") {
				d.Unit = &policies.Unit{Column: token(t, "unit column"), Kind: pick[policies.UnitKind](t, "unit kind", unitKinds)}
			}
			for k := range rapid.IntRange(1, 3).Draw(t, "columns") {
				d.Columns = append(d.Columns, genColumn(t, k))
			}
			c.Datasets = append(c.Datasets, d)
		}
		out = append(out, c)
	}
	return out
}

func genColumn(t *rapid.T, k int) policies.Column {
	c := policies.Column{Name: fmt.Sprintf("c%d", k), Title: texts(t, "title"), Type: algebra.Kind(rapid.SampledFrom(types).Draw(t, "type").code), Scale: uint8(rapid.IntRange(0, 6).Draw(t, "scale")),
		Measure: word(t, "measure"), Nullable: rapid.Bool().Draw(t, "nullable"), Missing: lines(t, "missing"), Identifier: pick[policies.IdentifierKind](t, "ident", idents),
		Other: word(t, "other"), Element: word(t, "element"), ElementType: word(t, "element type"), Source: word(t, "source"), Basis: word(t, "basis")}
	c.Title.ZH += "名"
	if rapid.Bool().Draw(t, "bounds") {
		c.Bounds = &policies.Bounds{Lo: "-" + token(t, "lo"), Hi: word(t, "hi")}
	}
	switch rapid.IntRange(0, 2).Draw(t, "grid") {
	case 1:
		c.Grid = &policies.Grid{Edges: []string{"-5", "0", "00.10"}}
	case 2:
		c.Grid = &policies.Grid{From: "-1", To: word(t, "to"), Step: "1 month"}
	}
	for range rapid.IntRange(0, 3).Draw(t, "codes") {
		c.Codes = append(c.Codes, policies.Code{Value: "0" + word(t, "code"), Title: texts(t, "code title")})
	}
	return c
}

// What a bundle says comes back from a workbook, from CSV files and from YAML
// the same in every field.
func TestR15_RoundTripLosesNothing(t *testing.T) {
	for _, f := range []Format{XLSX, CSV} {
		t.Run(string(f), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				want := genCatalogues(t)
				file, err := Write(f, want)
				if err != nil {
					t.Fatal(err)
				}
				if got, err := Detect(file); err != nil || got != f {
					t.Fatalf("detected as %s: %v", got, err)
				}
				got, err := read(f, file)
				if err != nil || !reflect.DeepEqual(got, want) {
					t.Fatalf("%v\ngot  %+v\nwant %+v", err, got, want)
				}
				text, err := policies.FormatCatalogues(got)
				if err != nil {
					t.Fatal(err)
				}
				docs, err := policies.ParseBundle(text)
				if err != nil {
					t.Fatalf("%v\n%s", err, text)
				}
				for i, d := range docs {
					if !reflect.DeepEqual(*d.Catalogue, want[i]) {
						t.Fatalf("YAML:\n%s\ngot  %+v\nwant %+v", text, *d.Catalogue, want[i])
					}
				}
			})
		})
	}
}

// fill gives every leaf below v a value of its own.
func fill(v reflect.Value, n *int, at string, set func(at string, v reflect.Value)) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n, at, set)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), n, at+"."+v.Type().Field(i).Name, set)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), n, at+"[]", set)
	default:
		*n++
		set(at, v)
	}
}

// A field that is added to the catalogue and not to the tables would be lost by
// every import: this test names it.
func TestR15_EveryFieldOfTheCatalogueHasAColumn(t *testing.T) {
	known := map[string]string{".Format": "api", ".Sharing.Class": "none", ".Opening.Class": "none", ".SharingMethods[]": "verify", ".Operation.Status": "planned", ".Unit.Kind": "person",
		".Columns[].Type": "decimal", ".Columns[].Identifier": "phone"}
	n := 0
	c := policies.Catalogue{Department: "dept", Datasets: make([]policies.Dataset, 1)}
	fill(reflect.ValueOf(&c.Datasets[0]).Elem(), &n, "", func(at string, v reflect.Value) {
		switch v.Kind() {
		case reflect.String:
			s := fmt.Sprintf("v%d", n)
			if k, ok := known[at]; ok {
				s = k
			}
			v.SetString(s)
		case reflect.Bool:
			v.SetBool(true)
		case reflect.Uint8:
			v.SetUint(3)
		case reflect.Float64:
			v.SetFloat(12.5)
		default:
			t.Fatalf("%s: %s", at, v.Kind())
		}
	})
	if n < 50 {
		t.Fatalf("only %d fields were filled", n)
	}
	for _, f := range []Format{XLSX, CSV} {
		if _, err := Write(f, []policies.Catalogue{c}); err != nil {
			t.Errorf("%s: a field of the catalogue has no column in policies/sheet: %v", f, err)
		}
	}
}

// The enumerations of forms are those of policies.
func TestR15_ChoicesAreThoseOfPolicies(t *testing.T) {
	codes := func(c []choice) []string {
		var out []string
		for _, x := range c {
			out = append(out, x.code)
		}
		return out
	}
	for name, c := range map[string][2]any{
		"formats": {codes(formats), policies.Formats}, "classes": {codes(classes), policies.Classes},
		"methods": {codes(methods), policies.SharingMethods}, "statuses": {codes(statuses), policies.OperationStatuses},
	} {
		if got, want := fmt.Sprint(c[0]), fmt.Sprint(c[1]); got != want {
			t.Errorf("%s: %s, policies has %s", name, got, want)
		}
	}
}

func TestR15_WhatCannotBeWrittenWithoutLossIsRefused(t *testing.T) {
	sound := func() policies.Catalogue {
		return policies.Catalogue{Department: "dept", Datasets: []policies.Dataset{{ID: "d", Title: policies.Text{ZH: "名"},
			Columns: []policies.Column{{Name: "c", Title: policies.Text{ZH: "列"}, Type: algebra.Text}}}}}
	}
	for name, edit := range map[string]func(*policies.Dataset){
		"control character":   func(d *policies.Dataset) { d.Title.ZH = "a\x01b" },
		"carriage return":     func(d *policies.Dataset) { d.Abstract.ZH = "a\rb" },
		"turned direction":    func(d *policies.Dataset) { d.Title.EN = "a\u202eb" },
		"noncharacter":        func(d *policies.Dataset) { d.Title.EN = "a\uffffb" },
		"empty list element":  func(d *policies.Dataset) { d.Columns[0].Missing = []string{""} },
		"line break in list":  func(d *policies.Dataset) { d.Columns[0].Missing = []string{"a\nb"} },
		"longer than a cell":  func(d *policies.Dataset) { d.Abstract.ZH = strings.Repeat("长", maxCell+1) },
		"unknown enumeration": func(d *policies.Dataset) { d.Format = "papyrus" },
	} {
		for _, f := range []Format{XLSX, CSV} {
			c := sound()
			if _, err := Write(f, []policies.Catalogue{c}); err != nil {
				t.Fatalf("control: %v", err)
			}
			edit(&c.Datasets[0])
			if out, err := Write(f, []policies.Catalogue{c}); err == nil || out != nil {
				t.Errorf("%s as %s: written", name, f)
			}
		}
	}
}
