package policies

import (
	"maps"
	"strings"
	"testing"
)

// tradeScheme has fewer levels than GB/T 43697-2024, and two of them mean one.
const tradeScheme = `kind: GradingScheme
id: T/TRADE 1-2026
title: {zh: 行业分级}
levels:
  - {id: C1, title: {zh: 低}, order: 1}
  - {id: C2, title: {zh: 中}, order: 2}
  - {id: C3, title: {zh: 高}, order: 3}
mapping: {C1: 2, C2: 4, C3: 4}
`

const tradeGrading = `kind: Grading
department: dept
scheme: T/TRADE 1-2026
levels:
  people: {id_number: C3, diagnosis_name: C3, phone: C2, born: C1, fee: C2, visits: C1}
`

func TestR16_SchemesShippedAreTaken(t *testing.T) {
	b := town(t, "")
	for file, id := range map[string]string{"schemes/jrt-0197.yaml": "JR/T 0197-2020", "schemes/health-l5.yaml": "health-L5"} {
		b = apply(t, b, load(t, file), "bureau")
		s, ok := b.Scheme(id)
		if !ok || len(s.Levels) != 5 || len(s.Mapping) != 5 {
			t.Errorf("%s: scheme %q is %+v", file, id, s)
		}
	}
	if got := strings.Join(b.Schemes(), "|"); got != "GB/T 43697-2024|JR/T 0197-2020|health-L5" {
		t.Errorf("schemes in force: %s", got)
	}
	b = apply(t, b, edited(t, townGrading, "scheme: GB/T 43697-2024\nlevels:\n  people: {id_number: 4, diagnosis_name: 4, phone: 3, born: 2, fee: 3, visits: 2}",
		"scheme: JR/T 0197-2020\nlevels:\n  people: {id_number: 5, diagnosis_name: 4, phone: 3, born: 2, fee: 3, visits: 2}"), "dept")
	if e, _ := b.Dataset("people"); e.Levels["id_number"] != 5 || e.Scheme != "JR/T 0197-2020" {
		t.Errorf("graded by JR/T 0197-2020: %v", e.Levels)
	}
}

// Everything behind a grading works on the mapped level, whatever it was said in.
func TestR16_LevelsAreMapped(t *testing.T) {
	b := apply(t, apply(t, town(t, ""), tradeScheme, "bureau"), tradeGrading, "dept")
	e, _ := b.Dataset("people")
	want := map[string]int{"id_number": 4, "diagnosis_name": 4, "phone": 4, "born": 2, "fee": 4, "visits": 2}
	if !maps.Equal(e.Levels, want) {
		t.Errorf("levels %v, want %v", e.Levels, want)
	}
	if e.Level() != 4 {
		t.Errorf("the data set's level is %d", e.Level())
	}
	// Whole numbers and the same in quotes are one vocabulary.
	quoted := edited(t, townGrading, "phone: 3", `phone: "3"`)
	if e, _ := apply(t, b, quoted, "dept").Dataset("people"); e.Levels["phone"] != 3 || e.Scheme != SchemeGBT43697 {
		t.Errorf("quoted level: %v", e.Levels)
	}
}

func TestR16_SchemeRules(t *testing.T) {
	b := town(t, "")
	for _, c := range []struct{ name, from, to, want string }{
		{"level without counterpart", "C2: 4, ", "", `mapping lacks level "C2"`},
		{"no mapping", "mapping: {C1: 2, C2: 4, C3: 4}\n", "", `mapping lacks level "C1"`},
		{"turned round", "C1: 2, C2: 4", "C1: 4, C2: 2", "never turns the order round"},
		{"counterpart 0", "C1: 2", "C1: 0", "not in 1…6"},
		{"counterpart 7", "C3: 4", "C3: 7", "not in 1…6"},
		{"counterpart with a fraction", "C1: 2", "C1: 2.5", "whole number"},
		{"stranger in the mapping", "C3: 4", "C3: 4, C4: 5", `level "C4", which the scheme does not have`},
		{"level twice", "{id: C2,", "{id: C1,", "stands twice"},
		{"order twice", "order: 2", "order: 1", "strictly ordered"},
		{"level without title", "title: {zh: 中}", "title: {en: mid}", "title.zh"},
		{"level with a bad name", "{id: C2,", "{id: C 2,", "at most 16"},
		{"level without name", "{id: C2, title", "{title", "no id"},
		{"fraction as level name", "{id: C2,", "{id: 2.5,", "at most 16"},
		{"no title", "title: {zh: 行业分级}", "title: {en: trade}", "title.zh"},
		{"bad id", "id: T/TRADE 1-2026", `id: "T\nTRADE"`, "must be a name"},
		{"the built-in one", "id: T/TRADE 1-2026", "id: GB/T 43697-2024", "built in"},
		{"unknown field", "id: T/TRADE", "level: 3\nid: T/TRADE", "level"},
		{"no levels", tradeScheme[strings.Index(tradeScheme, "levels:"):strings.Index(tradeScheme, "mapping:")], "levels: []\n", "1 to 32 levels"},
	} {
		if got := refused(t, b, edited(t, tradeScheme, c.from, c.to), "bureau"); !strings.Contains(got, c.want) {
			t.Errorf("%s: %s; want %q", c.name, got, c.want)
		}
	}
	for _, who := range []string{"dept", "op"} {
		if got := refused(t, b, tradeScheme, who); !strings.Contains(got, "signature of the regulator") {
			t.Errorf("signed by %s: %s", who, got)
		}
	}
	// An order that is not that of the text is the one that counts.
	apply(t, b, edited(t, tradeScheme, "mapping: {C1: 2, C2: 4, C3: 4}", "mapping: {C3: 4, C1: 2, C2: 2}"), "bureau")
}

// Two vocabularies in one system: a level is never read in another one than the
// document names.
func TestR16_VocabulariesDoNotMix(t *testing.T) {
	b := apply(t, town(t, ""), tradeScheme, "bureau")
	for _, c := range []struct{ name, text, want string }{
		{"of another scheme", edited(t, townGrading, "phone: 3", "phone: C2"), `"C2" is not a level of scheme "GB/T 43697-2024", which has 1, 2, 3, 4, 5, 6; it is one of T/TRADE 1-2026: a grading speaks one vocabulary`},
		{"of the built-in one", edited(t, tradeGrading, "phone: C2", "phone: 3"), `column "phone": level "3" is not a level of scheme "T/TRADE 1-2026", which has C1, C2, C3; it is one of GB/T 43697-2024`},
		{"null", edited(t, tradeGrading, "phone: C2", "phone: ~"), `level "" is not a level of scheme`},
		{"of none", edited(t, tradeGrading, "phone: C2", "phone: C9"), `level "C9" is not a level of scheme`},
		{"other case", edited(t, tradeGrading, "phone: C2", "phone: c2"), `level "c2" is not a level of scheme`},
		{"unknown scheme", edited(t, tradeGrading, "T/TRADE 1-2026", "T/TRADE 2-2026"), `unknown grading scheme "T/TRADE 2-2026"; known: GB/T 43697-2024, T/TRADE 1-2026`},
		{"no scheme", edited(t, tradeGrading, "scheme: T/TRADE 1-2026\n", ""), "unknown grading scheme"},
	} {
		if got := refused(t, b, c.text, "dept"); !strings.Contains(got, c.want) {
			t.Errorf("%s:\n%s\nwant %s", c.name, got, c.want)
		}
	}
}

// A scheme that changes in force takes the gradings said in it with it, and no
// others, until their departments say them again.
func TestR16_ChangedSchemeVoidsItsGradings(t *testing.T) {
	b := apply(t, apply(t, town(t, ""), tradeScheme, "bureau"), tradeGrading, "dept")
	if e, _ := b.Dataset("people"); e.Ready() != nil {
		t.Fatalf("before: %v", e.Ready())
	}
	for _, c := range []struct {
		name, from, to string
		voids          bool
	}{
		{"the same again", "id: T/TRADE", "# again\nid: T/TRADE", false},
		{"another title", "行业分级", "行业数据分级", false},
		{"another mapping", "C1: 2", "C1: 1", true},
		{"a stricter mapping", "C3: 4", "C3: 5", true},
		{"levels renumbered alike", "order: 3", "order: 9", false},
		{"one level more", "mapping: {C1: 2, C2: 4, C3: 4}", "  - {id: C4, title: {zh: 顶}, order: 4}\nmapping: {C1: 2, C2: 4, C3: 4, C4: 5}", true},
	} {
		next := apply(t, b, edited(t, tradeScheme, c.from, c.to), "bureau")
		e, _ := next.Dataset("people")
		if voided := e.Ready() != nil; voided != c.voids || voided && (e.Levels != nil || e.Ready().Code != "DATASET_NOT_READY") {
			t.Errorf("%s: ready is %v", c.name, e.Ready())
		}
		if e, _ := next.Dataset("firms"); e.Ready() != nil {
			t.Errorf("%s: a grading of another scheme went too: %v", c.name, e.Ready())
		}
		if !c.voids {
			continue
		}
		if reasons := next.Decide(Request{Operator: "op", Licence: "l1", Purpose: "plan", At: may2026, Core: townCore()}); len(reasons) == 0 {
			t.Errorf("%s: a query on void gradings is allowed", c.name)
		}
		again := apply(t, next, tradeGrading+"# "+c.name+"\n", "dept")
		// Under a stricter mapping the old rule uses important data: it stays out.
		e, _ = again.Dataset("people")
		if want := c.to == "C3: 5"; e.Levels == nil || (e.Ready() != nil) != want {
			t.Errorf("%s, graded again: ready is %v", c.name, e.Ready())
		}
	}
}

func FuzzLevelName(f *testing.F) {
	for _, s := range []string{"3", "L3", `"3"`, "2.5", "~", "true", "[1]", "C 2", "110105194912310021"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		docs, err := ParseBundle([]byte("kind: Grading\nlevels: {d: {c: " + s + "}}\n"))
		if err != nil {
			if longNumber.MatchString(err.Error()) {
				t.Errorf("the error repeats a number: %v", err)
			}
			return
		}
		for _, d := range docs {
			if d.Grading == nil {
				continue
			}
			for _, columns := range d.Grading.Levels {
				for _, l := range columns {
					// A null stays empty, which is a level of no scheme.
					if _, known := builtinScheme().Mapping[l]; l != "" && !goodLevelName(string(l)) || l == "" && known {
						t.Errorf("took level %q", l)
					}
				}
			}
		}
	})
}
