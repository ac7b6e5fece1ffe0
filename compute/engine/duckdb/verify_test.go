package duckdb

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/compute/engine/ingest"
)

// TestR03_VerifyOneUnit: every predicate over one unit's stored values, in jailed
// workers; NULL meets none, a stranger has nothing, one of several rows is enough,
// and what a caller claims is never part of a statement.
func TestR03_VerifyOneUnit(t *testing.T) {
	text, integer, date, money, flag := algebra.Type{Kind: algebra.Text}, algebra.Type{Kind: algebra.Int}, algebra.Type{Kind: algebra.Date}, algebra.Type{Kind: algebra.Decimal, Scale: 2}, algebra.Type{Kind: algebra.Bool}
	spec := ingest.Spec{Dataset: "permits", UnitColumn: "id", UnitKind: "record", Columns: []ingest.Column{
		{Name: "id", Type: text}, {Name: `na"me`, Type: text, Nullable: true}, {Name: "age", Type: integer, Nullable: true}, {Name: "from", Type: date, Nullable: true},
		{Name: "until", Type: date, Nullable: true}, {Name: "fee", Type: money, Nullable: true}, {Name: "paid", Type: flag, Nullable: true},
	}}
	schema := algebra.Schema{Dataset: "permits", Unit: "id", Columns: []algebra.SchemaColumn{{Name: `na"me`, Type: text}, {Name: "age", Type: integer}, {Name: "from", Type: date}, {Name: "until", Type: date}, {Name: "fee", Type: money}, {Name: "paid", Type: flag}}}
	raw := "id,\"na\"\"me\",age,from,until,fee,paid\n" +
		"A,阿依古丽・艾山,20,2025-01-01,2025-12-31,12.50,true\nA,Other,40,2024-01-01,2024-01-31,0.00,false\n" +
		"B,,,2025-01-01,,,\nC,x' OR '1'='1,-5,,2025-12-31,-1.00,false\n"
	s := store(t)
	m, err := take(t, s, spec, raw)
	if err != nil {
		t.Fatal(err)
	}
	runner, file := engine.Runner{Pool: pool(t)}, snapshot(t, s, m.Snapshot)
	num := func(i int64) []algebra.Value { return []algebra.Value{{Type: integer, I: i}} }
	str := func(v ...string) (out []algebra.Value) {
		for _, x := range v {
			out = append(out, algebra.Value{Type: text, S: x})
		}
		return out
	}
	day := func(v string) []algebra.Value {
		d, err := algebra.ParseDate(v)
		if err != nil {
			t.Fatal(err)
		}
		return []algebra.Value{{Type: date, I: d}}
	}
	name := []string{`na"me`}
	for _, c := range []struct {
		want  string // units that meet it
		check engine.Check
	}{
		{"A", engine.Check{Op: engine.CheckEquals, Columns: name, Values: str(" 阿依古丽·艾 山"), Spelled: true}},
		{"", engine.Check{Op: engine.CheckEquals, Columns: name, Values: str("阿依古丽·艾山")}},
		{"A", engine.Check{Op: engine.CheckEquals, Columns: name, Values: str("OTHER"), Spelled: true}},
		{"C", engine.Check{Op: engine.CheckEquals, Columns: name, Values: str("x' OR '1'='1")}},
		{"", engine.Check{Op: engine.CheckEquals, Columns: name, Values: str("' OR 1=1 --")}},
		{"AC", engine.Check{Op: engine.CheckInList, Columns: name, Values: str("Other", "x' OR '1'='1", "nobody")}},
		{"A", engine.Check{Op: engine.CheckAtLeast, Columns: []string{"age"}, Values: num(40)}},
		{"", engine.Check{Op: engine.CheckAtLeast, Columns: []string{"age"}, Values: num(41)}},
		{"C", engine.Check{Op: engine.CheckLess, Columns: []string{"age"}, Values: num(20)}},
		{"AC", engine.Check{Op: engine.CheckExists, Columns: []string{"age"}}},
		{"AB", engine.Check{Op: engine.CheckValidOn, Columns: []string{"from", "until"}, Values: day("2025-06-30")}},
		{"A", engine.Check{Op: engine.CheckValidOn, Columns: []string{"from", "until"}, Values: day("2024-01-31")}},
		{"B", engine.Check{Op: engine.CheckValidOn, Columns: []string{"from", "until"}, Values: day("2026-01-01")}},
		{"AB", engine.Check{Op: engine.CheckEquals, Columns: []string{"from"}, Values: day("2025-01-01")}},
		{"A", engine.Check{Op: engine.CheckEquals, Columns: []string{"fee"}, Values: []algebra.Value{{Type: money, I: 1250}}}},
		{"AC", engine.Check{Op: engine.CheckEquals, Columns: []string{"paid"}, Values: []algebra.Value{{Type: flag}}}},
	} {
		got := ""
		for _, unit := range []string{"A", "B", "C", "stranger"} {
			token, ok := ingest.UnitTokenOf(testKeys.Unit, "record", unit)
			if !ok {
				t.Fatal("no token")
			}
			yes, err := runner.Verify(t.Context(), schema, token, c.check, file, testLimits)
			if err != nil {
				t.Fatalf("%s: %v", c.check.Op, err)
			}
			if yes {
				got += unit
			}
		}
		if got != c.want {
			t.Errorf("%s %v %v: %q, want %q", c.check.Op, c.check.Columns, c.check.Values, got, c.want)
		}
	}
	for what, c := range map[string]engine.Check{
		"no such column":      {Op: engine.CheckExists, Columns: []string{"id"}},
		"name of a statement": {Op: engine.CheckExists, Columns: []string{`age" IS NULL OR "age`}},
		"another type":        {Op: engine.CheckEquals, Columns: []string{"age"}, Values: str("20")},
		"no value":            {Op: engine.CheckEquals, Columns: []string{"age"}},
		"value NULL":          {Op: engine.CheckEquals, Columns: []string{"age"}, Values: []algebra.Value{{Type: integer, Null: true}}},
		"two values":          {Op: engine.CheckLess, Columns: []string{"age"}, Values: append(num(1), num(2)...)},
		"unknown":             {Op: "like", Columns: name, Values: str("%")},
	} {
		if _, err := runner.Verify(t.Context(), schema, 1, c, file, testLimits); err == nil || errors.Is(err, engine.ErrPartials) {
			t.Errorf("%s reaches a worker: %v", what, err)
		}
	}
	if _, err := runner.Verify(t.Context(), schema, 0, engine.Check{Op: engine.CheckExists, Columns: []string{"age"}}, file, testLimits); err == nil {
		t.Error("no unit is asked about")
	}
}

// FuzzNormalText: the spelling is settled after one round, and blanks and dots never
// tell two texts apart.
func FuzzNormalText(f *testing.F) {
	for _, s := range []string{"", "张 三", "ＡＢ", "阿依古丽•艾山", "İ", "a\u3000b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		once := engine.NormalText(s)
		if strings.ToValidUTF8(s, "") == s && engine.NormalText(strings.ReplaceAll(once, "·", " ・ ")) != engine.NormalText(once) {
			t.Errorf("%q", fmt.Sprintf("%x", s))
		}
	})
}
