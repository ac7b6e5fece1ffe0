package propose

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/masking"
	"github.com/sandgate/sandgate/policies"
)

func dictionary(t testing.TB) *Dictionary {
	t.Helper()
	d, err := DefaultDictionary()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// scanOf scans one column of many rows.
func scanOf(t testing.TB, name string, declared *policies.Column, value func(i int) string) Column {
	t.Helper()
	var d *policies.Dataset
	if declared != nil {
		declared.Name = name
		d = &policies.Dataset{ID: "d", Unit: &policies.Unit{Column: "id", Kind: policies.UnitPerson}, Columns: []policies.Column{*declared}}
	}
	s, err := New([]string{name}, d, dictionary(t))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		s.Row([]string{value(i)}, nil)
	}
	return s.Report().Columns[0]
}

func citizen(i int) string {
	first := fmt.Sprintf("2399021990%02d%02d%03d", i%12+1, i%28+1, i%1000)
	return first + string(masking.CitizenIDCheck(first))
}

// card numbers pass Luhn's check.
func card(i int) string {
	for last := range 10 {
		if s := fmt.Sprintf("62170000%07d%d", i, last); masking.BankCard(s) == masking.OK {
			return s
		}
	}
	return ""
}

func word(i int) string { return []string{"alpha", "beta", "gamma"}[i%3] }

// Declared meaning and words decide; values support or contradict them, and decide
// alone only where their check leaves no doubt.
func TestR16_IdentifiersAreProposedByMeaning(t *testing.T) {
	titled := func(zh string) *policies.Column {
		return &policies.Column{Title: policies.Text{ZH: zh}, Type: algebra.Text}
	}
	for _, c := range []struct {
		what     string
		name     string
		declared *policies.Column
		value    func(int) string
		want     policies.IdentifierKind
		note     string
	}{
		{"declared", "k", &policies.Column{Type: algebra.Text, Identifier: policies.IdentCitizen}, citizen, policies.IdentCitizen, ""},
		{"declared, but the values are others", "k", &policies.Column{Type: algebra.Text, Identifier: policies.IdentCitizen}, word, policies.IdentCitizen, "most values are none"},
		{"by its title", "k", titled("配偶公民身份号码（入库后不存）"), citizen, policies.IdentCitizen, "identifier: citizen_id is proposed"},
		{"by its values alone", "k", nil, citizen, policies.IdentCitizen, ""},
		{"called so, but the values are others", "id_number", nil, word, "", "called like citizen_id"},
		{"a name", "k", titled("姓名"), word, policies.IdentName, ""},
		{"a name by its column", "name", nil, word, policies.IdentName, ""},
		{"diagnosis_name is no person's", "diagnosis_name", nil, word, "", ""},
		{"nor is the name of a disease", "k", titled("疾病名称"), word, "", ""},
		{"part of a word is no word", "filename", nil, word, "", ""},
		{"nor is telescope a telephone", "telescope", nil, word, "", ""},
		{"a phone by name and form", "contactPhone", nil, func(i int) string { return fmt.Sprintf("154%08d", i) }, policies.IdentPhone, ""},
		{"the form of a phone alone", "k", nil, func(i int) string { return fmt.Sprintf("154%08d", i) }, "", "values look like phone"},
		{"Luhn alone is weak evidence", "k", nil, card, "", "values look like bank_card"},
		{"Luhn and the name", "card_no", nil, card, policies.IdentCard, ""},
		{"a card number that Luhn refuses", "card_no", nil, func(i int) string { return fmt.Sprintf("6217000000000%03d", i) }, "", "called like bank_card"},
		{"a code list is no identifier", "k", &policies.Column{Title: policies.Text{ZH: "姓名"}, Type: algebra.Text, Codes: []policies.Code{{Value: "alpha"}}}, word, "", ""},
		{"half of the checks may fail", "k", nil, func(i int) string {
			s := citizen(i)
			if i%3 == 0 { // live registers hold such numbers
				s = s[:17] + map[bool]string{true: "1", false: "0"}[s[17] == '0']
			}
			return s
		}, policies.IdentCitizen, ""},
	} {
		got := scanOf(t, c.name, c.declared, c.value)
		notes := ""
		for _, n := range got.Notes {
			notes += n.EN + "\n"
		}
		if got.Identifier != "" && got.Type != algebra.Text {
			t.Errorf("%s: an identifier of type %s", c.what, got.Type)
		}
		if got.Identifier != c.want || !strings.Contains(notes, c.note) {
			t.Errorf("%s: identifier %q, want %q; notes: %s", c.what, got.Identifier, c.want, notes)
		}
	}
	got := scanOf(t, "k", nil, func(i int) string {
		if i < 40 {
			return word(i)
		}
		return citizen(i)[:17] + "x"
	})
	if n := got.Evidence[policies.IdentCitizen]; n.Malformed != 40 || n.OK+n.CheckFailed != 160 || n.OK == 0 || n.CheckFailed == 0 {
		t.Errorf("evidence: %+v", n)
	}
}

func TestR16_LevelsAreProposedWithReasons(t *testing.T) {
	number := func(i int) string { return fmt.Sprint(i % 50) }
	for _, c := range []struct {
		name  string
		value func(int) string
		level int
		class string
		quasi bool
		why   string
	}{
		{"citizen_id", citizen, 4, "", false, "direct identifier citizen_id"},
		{"diagnosis_name", word, 4, "health", false, `health (GB/T 45574-2025, word "diagnosis")`},
		{"account_balance", number, 4, "financial_account", false, "financial account"},
		{"longitude", number, 4, "location", false, "whereabouts"},
		{"guardianId", number, 4, "minors", false, "minors"},
		{"salary", number, 3, "income", false, "income"},
		{"birth_date", func(i int) string { return fmt.Sprintf("19%02d-03-04", i%100) }, 3, "", true, "quasi-identifier"},
		{"gender", word, 2, "", true, "quasi-identifier"},
		{"colour", word, 2, "", false, "no identifier and no sensitive class"},
	} {
		got := scanOf(t, c.name, nil, c.value)
		if got.Level != c.level || got.Class != c.class || got.Quasi != c.quasi || !strings.Contains(got.Why.EN, c.why) || got.Why.ZH == "" || strings.Contains(got.Why.ZH+got.Why.EN, "%!") {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
	many, err := New([]string{"remark"}, nil, dictionary(t))
	if err != nil {
		t.Fatal(err)
	}
	for i := range MaxDistinct + 1 {
		many.Row([]string{fmt.Sprintf("note number %d", i)}, nil)
	}
	if got := many.Report().Columns[0]; got.Level != 3 || !got.More || got.Distinct != MaxDistinct || !strings.Contains(got.Why.EN, "free text") {
		t.Errorf("free text: %+v", got)
	}
	// A data set as a whole: what stands in a clinic's table is medical.
	d := &policies.Dataset{ID: "records", Title: policies.Text{ZH: "住院记录"}, Unit: &policies.Unit{Column: "colour", Kind: policies.UnitRecord}, Columns: []policies.Column{{Name: "colour", Type: algebra.Text}}}
	s, err := New([]string{"colour"}, d, dictionary(t))
	if err != nil {
		t.Fatal(err)
	}
	s.Row([]string{"red"}, nil)
	if got := s.Report().Columns[0]; got.Level != 3 || got.Class != "health_related" {
		t.Errorf("in a clinic's table: %+v", got)
	}
}

func TestTypesAndMissingValues(t *testing.T) {
	for _, c := range []struct {
		name   string
		values string
		typ    algebra.Kind
		scale  uint8
		note   string
	}{
		{"whole numbers", "1,-2,30", algebra.Int, 0, "never from the data"},
		{"decimals", "1,-2.50,3.1", algebra.Decimal, 2, "never from the data"},
		{"dates", "2024-02-29,1999-12-31", algebra.Date, 0, "never from the data"},
		{"no such date", "2024-02-30", algebra.Text, 0, ""},
		{"truth values", "true,FALSE", algebra.Bool, 0, ""},
		{"leading zeros", "007,012", algebra.Text, 0, "begin with 0"},
		{"long digits", "1234567890123456789", algebra.Text, 0, ""},
		{"a sign twice", "--1,+-2", algebra.Text, 0, ""},
		{"nothing", ",,", algebra.Text, 0, ""},
		{"mixed", "1,x", algebra.Text, 0, ""},
	} {
		s, err := New([]string{"c"}, nil, dictionary(t))
		if err != nil {
			t.Fatal(err)
		}
		for v := range strings.SplitSeq(c.values, ",") {
			s.Row([]string{v}, nil)
		}
		for _, missing := range []string{"?", "NULL", "不详"} {
			s.Row([]string{missing}, nil)
		}
		s.Row([]string{"ignored"}, []bool{true})
		s.Row([]string{"a", "row", "too long"}, nil)
		r := s.Report()
		got := r.Columns[0]
		notes := fmt.Sprint(got.Notes)
		if got.Type != c.typ || got.Scale != c.scale || !strings.Contains(notes, c.note) || len(got.Missing) != 3 || got.Missing["?"] != 1 || r.Ragged != 1 || got.Null < 1 {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}

// Against a catalogue the scan says what will go wrong at ingest.
func TestR15_ScanAgainstTheCatalogue(t *testing.T) {
	got := scanOf(t, "fee", &policies.Column{Type: algebra.Int, Missing: []string{"NA"}}, func(i int) string { return []string{"1.5", "", "NULL", "NA"}[i%4] })
	notes := fmt.Sprint(got.Notes)
	for _, want := range []string{"declared as int, but some values are none", "declared not nullable, but 50 values are NULL", "not registered: NULL}"} {
		if !strings.Contains(notes, want) {
			t.Errorf("no %q in %s", want, notes)
		}
	}
	// A registered code that looks like a missing value is a value.
	coded := scanOf(t, "state", &policies.Column{Type: algebra.Text, Codes: []policies.Code{{Value: "NA"}}}, func(int) string { return "NA" })
	if coded.Values != 200 || len(coded.Missing) != 0 {
		t.Errorf("registered code: %+v", coded)
	}
}

// What looks like data is no header, and is not repeated.
func TestR01_HeadersThatAreDataAreNotRepeated(t *testing.T) {
	declared := &policies.Dataset{ID: "d", Columns: []policies.Column{{Name: "a"}, {Name: "b"}}}
	for _, c := range []struct {
		header  []string
		dataset *policies.Dataset
	}{
		{[]string{"a", "110105194912310021"}, nil},
		{[]string{"a", "x110105194912310021"}, nil},
		{[]string{"a", "1990-01-01"}, nil},
		{[]string{"a", "张三 李四"}, nil},
		{[]string{"a", ""}, nil},
		{[]string{"a", "A"}, nil},
		{[]string{"a", "张三"}, declared},
		{[]string{"a"}, declared},
		{nil, nil},
	} {
		_, err := New(c.header, c.dataset, dictionary(t))
		if err == nil {
			t.Errorf("taken: %q", c.header)
			continue
		}
		for _, name := range c.header {
			if len(name) > 1 && strings.Contains(err.Error(), name) {
				t.Errorf("the error repeats %q: %v", name, err)
			}
		}
	}
}

// Nothing that a report, its proposal or its notes say is a value of the file.
func FuzzR01_ReportHoldsNoValue(f *testing.F) {
	f.Add("QC4N4RY", "7731.5")
	f.Add("2024-01-01 canary", "?x")
	f.Add("\x00\xff", "+-1")
	f.Fuzz(func(t *testing.T, x, y string) {
		s, err := New([]string{"diagnosis_name", "fee"}, nil, dictionary(t))
		if err != nil {
			t.Fatal(err)
		}
		s.Row([]string{"canary7731 " + x, "canary7731 " + y}, nil)
		s.Row([]string{x, y}, nil)
		s.Row([]string{x}, nil)
		r := s.Report()
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		doc, err := r.Grading("health", "visits")
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text)+string(doc), "canary7731") {
			t.Error("a value is in the report")
		}
		if r.Rows != 3 || r.Ragged != 1 {
			t.Errorf("%d rows, %d ragged", r.Rows, r.Ragged)
		}
	})
}

// What a scan holds does not grow with the file.
func TestScanIsBounded(t *testing.T) {
	s, err := New([]string{"a", "b"}, nil, dictionary(t))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 * MaxDistinct {
		s.Row([]string{fmt.Sprint("value ", i), s.dict.Missing[i%len(s.dict.Missing)]}, nil)
	}
	for _, c := range s.columns {
		if len(c.distinct) > MaxDistinct+1 || len(c.missing) > len(s.dict.Missing) {
			t.Errorf("column %s holds %d hashes and %d spellings", c.name, len(c.distinct), len(c.missing))
		}
	}
	if c := s.Report().Columns[1]; c.Values != 0 || len(c.Missing) != len(s.dict.Missing) {
		t.Errorf("%d values, %d spellings", c.Values, len(c.Missing))
	}
}

// The proposal is a Grading that parses as it stands, with a reason beside each
// level, whatever the columns are called.
func TestR16_ProposalIsAnUnsignedGrading(t *testing.T) {
	s, err := New([]string{"diagnosis", "yes", "null", "费用", "a-b", "true_"}, nil, dictionary(t))
	if err != nil {
		t.Fatal(err)
	}
	s.Row([]string{"a", "b", "c", "1", "2", "3"}, nil)
	text, err := s.Report().Grading("health", "visits")
	if err != nil {
		t.Fatal(err)
	}
	docs, err := policies.ParseBundle(text)
	if err != nil || len(docs) != 1 || docs[0].Grading == nil {
		t.Fatalf("%v\n%s", err, text)
	}
	g := docs[0].Grading
	if g.Department != "health" || g.Scheme != policies.SchemeGBT43697 || len(g.Levels["visits"]) != 6 || g.Levels["visits"]["diagnosis"] != "4" || g.Levels["visits"]["null"] != "2" {
		t.Errorf("%+v\n%s", g, text)
	}
	if n := len(regexp.MustCompile(`(?m)^ +.*: [1-6] # proposed: .+ · .+$`).FindAllString(string(text), -1)); n != 6 {
		t.Errorf("%d levels with a reason in\n%s", n, text)
	}
	if !strings.Contains(string(text), "未签名") {
		t.Error("the proposal does not say that it is not signed")
	}
	if _, err := s.Report().Grading("", "visits"); err == nil {
		t.Error("a proposal without department was written")
	}
}

func TestDictionaryIsChecked(t *testing.T) {
	d := dictionary(t)
	if len(d.Identifiers) < 9 || len(d.Classes) < 6 || len(d.Quasi) == 0 || len(d.Missing) == 0 {
		t.Errorf("the dictionary is thin: %d, %d, %d, %d", len(d.Identifiers), len(d.Classes), len(d.Quasi), len(d.Missing))
	}
	for name, text := range map[string]string{
		"level":         "identifiers: [{kind: name, level: 7}]",
		"class level":   "classes: [{class: a, level: 0}]",
		"quasi level":   "quasi: [{names: [a]}]",
		"context level": "context: [{class: a, level: 9}]",
		"unknown class": "context: [{class: a, level: 3}]",
		"unknown field": "identifier: []",
		"not YAML":      "a: [",
	} {
		if _, err := ParseDictionary([]byte(text)); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func FuzzDictionary(f *testing.F) {
	f.Add(dictionaryText)
	f.Add([]byte("classes: [{class: a, level: 3, names: [\"\"], titles: [\"\"]}]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := ParseDictionary(text)
		if err != nil {
			return
		}
		s, err := New([]string{"a_b", "c"}, nil, d)
		if err != nil {
			t.Fatal(err)
		}
		s.Row([]string{"x", "1"}, nil)
		for _, c := range s.Report().Columns {
			if c.Level < 1 || c.Level > 6 {
				t.Errorf("level %d", c.Level)
			}
		}
	})
}

// A first row of words passes for names by its form alone; by its meaning it does not.
func TestR01_FirstRowsOfWordsAreNoHeader(t *testing.T) {
	for _, c := range []struct {
		names []string
		ok    bool
	}{
		{[]string{"张伟", "男", "东城区"}, false},
		{[]string{"Smith", "male", "Springfield"}, false},
		{[]string{"id_number", "visit_date", "hospital", "diagnosis"}, true},
		{[]string{"姓名", "性别", "诊断"}, true},
		{[]string{"district", "fee", "diagnosis_name"}, true},
	} {
		err := CheckHeader(c.names, dictionary(t))
		if (err == nil) != c.ok {
			t.Errorf("%q: %v", c.names, err)
		}
		for _, n := range c.names {
			if err != nil && strings.Contains(err.Error(), n) {
				t.Errorf("the error repeats %q", n)
			}
		}
	}
	for value, want := range map[string]bool{"male": false, "female": true} {
		s, err := New([]string{"id_number", "male"}, nil, dictionary(t))
		if err != nil {
			t.Fatal(err)
		}
		s.Row([]string{"1", value}, nil)
		if err := s.Recurs(); (err == nil) != want || err != nil && strings.Contains(err.Error(), "male") {
			t.Errorf("%s: %v", value, err)
		}
	}
	s, err := New(Positions(2), nil, dictionary(t))
	if err != nil {
		t.Fatal(err)
	}
	s.Row([]string{"张伟", "男"}, nil)
	if r := s.Report(); r.Rows != 1 || r.Columns[0].Name != "column_1" || r.Columns[1].Name != "column_2" {
		t.Errorf("%+v", r)
	}
}
