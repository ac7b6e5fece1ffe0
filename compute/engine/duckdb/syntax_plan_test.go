package duckdb_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/analyse"
	"github.com/sandgate/sandgate/compute/engine/duckdb"
	"github.com/sandgate/sandgate/compute/protect"
	"github.com/sandgate/sandgate/compute/render"
)

const renderData = "../../render/testdata/rendered.json"

// rendered is one plan with its statement and what the engine's parser and
// planner make of it; the pure tests of compute/render read it.
type rendered struct {
	Query   string           `json:"query"`
	Plan    *protect.Plan    `json:"plan"`
	Schemas []algebra.Schema `json:"schemas"`
	SQL     string           `json:"sql"`
	Tree    json.RawMessage  `json:"tree"`
	Bound   json.RawMessage  `json:"bound"`
}

var renderedQueries = []string{
	"SELECT COUNT(*) FROM social",
	"SELECT district, COUNT(*), SUM(wage), AVG(bonus), SUM(age) FROM social WHERE age > 17 AND NOT paid AND gender IN ('1', 'o''x') AND insured_on < DATE '2020-01-01' GROUP BY district",
	"SELECT gender, paid, insured_on, COUNT(DISTINCT person_id), COUNT(wage) FROM social WHERE wage <> 10.5 OR bonus IS NULL OR wage <= bonus OR gender NOT IN ('a', 'b') GROUP BY gender, paid, insured_on",
	"SELECT 区县, SUM(缴费额) FROM 社保缴费 WHERE 年龄 BETWEEN 20 AND 30 GROUP BY 区县",
	"SELECT r.name, COUNT(*) FROM social s LEFT JOIN area a ON s.district = a.code JOIN region r ON a.region = r.code WHERE a.level >= 2 GROUP BY r.name",
	"SELECT AVG(wage) FROM social WHERE age > 3 AND age < 2",
	"SELECT COUNT(*) FROM social WHERE NOT (age = 9223372036854775807 OR age = -9223372036854775808) AND gender > 'a' AND gender <= 'z' AND insured_on IS NOT NULL",
}

func analyserSchemas(t testing.TB) []algebra.Schema {
	t.Helper()
	b, err := os.ReadFile(analyseData + "schemas.json")
	if err != nil {
		t.Fatal(err)
	}
	var out []algebra.Schema
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// planOf gives a core keys and measures of every kind a plan can have. Prices
// and noise do not reach the statement and are left out.
func planOf(core algebra.Core, mode protect.Mode) *protect.Plan {
	plan := &protect.Plan{Core: core, Mode: mode, MaxRows: 3, MaxCells: 100}
	for i, k := range core.Keys {
		key := protect.Key{Col: k, Nullable: i%2 == 0}
		if k.Type.Kind == algebra.Text && k.Name != "gender" {
			for _, code := range []string{"110101", "110'102", "区"} {
				key.Codes = append(key.Codes, algebra.Value{Type: k.Type, S: code})
			}
		}
		if k.Type.Kind == algebra.Bool {
			key.Codes = []algebra.Value{{Type: k.Type}, {Type: k.Type, I: 1}}
		}
		plan.Keys = append(plan.Keys, key)
	}
	plan.Measures = []protect.Measure{{Kind: protect.MeasureRows}}
	for i, a := range core.Aggs {
		switch a.Func {
		case algebra.CountUnits:
			plan.Measures = append(plan.Measures, protect.Measure{Kind: protect.MeasureUnits})
		case algebra.CountCol:
			plan.Measures = append(plan.Measures, protect.Measure{Kind: protect.MeasureNonNull, Col: a.Arg})
		case algebra.Sum, algebra.Avg:
			m := protect.Measure{Kind: protect.MeasureSum, Col: a.Arg}
			if i%2 == 1 || a.Func == algebra.Avg {
				m.Clamp = &protect.Range{Lo: -5, Hi: 500000}
			}
			if a.Func == algebra.Avg {
				m.Offset = 9223372036854775807
				plan.Measures = append(plan.Measures, protect.Measure{Kind: protect.MeasureNonNull, Col: a.Arg})
			}
			plan.Measures = append(plan.Measures, m)
		}
	}
	if mode == protect.ModeExact {
		plan.Exact = &protect.ExactRules{K: 10, Round: 5, Lists: []protect.List{{}}}
		for _, a := range core.Aggs {
			if a.Arg != nil {
				plan.Exact.Lists = append(plan.Exact.Lists, protect.List{Col: a.Arg})
				if a.Func != algebra.CountCol {
					plan.Exact.Lists = append(plan.Exact.Lists, protect.List{Col: a.Arg, Top: true})
				}
			}
		}
	}
	return plan
}

// renderedCases takes every query through parser, algebra, plan and statement.
func renderedCases(t *testing.T) []rendered {
	t.Helper()
	ctx, db, all := context.Background(), openAnalyser(t), analyserSchemas(t)
	var out []rendered
	for i, text := range renderedQueries {
		for _, mode := range []protect.Mode{protect.ModeDP, protect.ModeExact} {
			tree, err := duckdb.Syntax(ctx, db, text)
			if err != nil {
				t.Fatal(err)
			}
			q, r := analyse.Decode(tree, text, all)
			if r != nil {
				t.Fatalf("%s: %v", text, r)
			}
			c := rendered{Query: text, Plan: planOf(algebra.Canonicalise(q).Core, mode)}
			c.Plan.OneRow = i == 3
			if c.Schemas, err = c.Plan.Core.SchemasOf(all); err != nil {
				t.Fatal(err)
			}
			if c.SQL, err = render.SQL(c.Plan, c.Schemas); err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			if c.Tree, err = duckdb.Syntax(ctx, db, c.SQL); err != nil {
				t.Fatal(err)
			}
			if c.Bound, err = duckdb.BoundPlan(ctx, db, c.Schemas, c.SQL); err != nil {
				t.Fatal(err)
			}
			out = append(out, c)
		}
	}
	return out
}

// TestRenderedStatementsPassTheGate also keeps the stored trees of
// compute/render true to the linked DuckDB.
func TestRenderedStatementsPassTheGate(t *testing.T) {
	cases := renderedCases(t)
	for _, c := range cases {
		if err := render.Check(c.Plan, c.Schemas, c.Tree, c.Bound); err != nil {
			t.Errorf("%s\n%s\n%v", c.Query, c.SQL, err)
		}
	}
	var b bytes.Buffer
	for i, c := range cases {
		line, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString(map[bool]string{true: "[", false: ",\n"}[i == 0])
		b.Write(line)
	}
	b.WriteString("]\n")
	if *update {
		if err := os.WriteFile(renderData, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(renderData)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b.Bytes(), want) {
		t.Error("rendered.json is not what is rendered today; run with -update-trees and look at the difference")
	}
}

// TestR01_TamperedStatementIsCaught simulates bugs of the renderer by changing
// its text: every change that the engine would still accept must fail the gate.
func TestR01_TamperedStatementIsCaught(t *testing.T) {
	ctx, db := context.Background(), openAnalyser(t)
	tamper := []struct{ old, new string }{
		{"t0._rn <= 3 AND ", ""}, {"t0._rn <= 3", "t0._rn <= 4"}, {"t0._rn <= 3", "t0._rn < 3"}, {"t0._rn <= 3", "(t0._rn <= 3 OR TRUE)"},
		{"t0._rn <= 3", "t0._unit <= 3"}, {" AND ", " OR "}, {" WHERE ", " WHERE t0._unit = 7 AND "}, {" WHERE ", " WHERE TRUE OR "},
		{"COUNT(*)", "COUNT(t0._rn)"}, {"COUNT(*)", "COUNT(*) + 1"}, {"COUNT(*)", "MAX(t0._unit)"}, {"COUNT(*)", "MAX(t0.\"wage\")"},
		{"COUNT(*) AS m0", "COUNT(*) AS m0, COUNT(*) AS m9"}, {"COUNT(*) AS m0", "COUNT(*) AS x"}, {"COUNT(*)", "COUNT(*) FILTER (WHERE t0._unit = 7)"},
		{"COUNT(*)", "(SELECT COUNT(*) FROM d0.main.t)"}, {"COUNT(*)", "COUNT(*) OVER ()"},
		{"COUNT(DISTINCT t0._unit)", "COUNT(t0._unit)"}, {"COUNT(DISTINCT t0._unit)", "COUNT(DISTINCT t0._rn)"},
		{"SUM(", "MAX("}, {"SUM(", "SUM(DISTINCT "}, {"GREATEST(", "LEAST("}, {"500000", "500001"}, {", -5)", ", -6)"},
		{" FILTER (WHERE t0.\"bonus\" IS NOT NULL)", ""}, {", 0)", ", 1)"}, {"9223372036854775807 AS HUGEINT", "9223372036854775806 AS HUGEINT"},
		{"AS HUGEINT) *", "AS HUGEINT) +"}, {" - CAST", " + CAST"}, {"'110101', ", ""}, {"'110101'", "'110103'"},
		{" IN ('110101'", " NOT IN ('110101'"}, {"d1.main.t", "d0.main.t"}, {"d0.main.t AS t0", "(SELECT * FROM d0.main.t) AS t0"},
		{"d0.main.t AS t0", "d0.main.t AS t0 TABLESAMPLE 10%"}, {"d0.main.t AS t0", "d0.main.t AS t0, range(3)"},
		{"LEFT JOIN", "INNER JOIN"}, {"INNER JOIN", "LEFT JOIN"}, {"INNER JOIN", "FULL JOIN"}, {"\"code\"", "\"region\""},
		{" GROUP BY ", " GROUP BY t0._unit, "}, {"), ())", "))"}, {", ())", ")"}, {"GROUPING SETS ((", "GROUPING SETS ((), ("},
		{" LIMIT 101", ""}, {" LIMIT 101", " LIMIT 102"}, {" LIMIT 101", " LIMIT 101 OFFSET 1"}, {" LIMIT 101", " ORDER BY 1 LIMIT 101"},
		{" LIMIT 102", " LIMIT 101"}, {"SELECT ", "SELECT DISTINCT "}, {"SELECT ", "WITH x AS (SELECT 1) SELECT "},
		{" AS k0", " AS k1"}, {"t0.\"gender\" AS k0", "t0.\"district\" AS k0"}, {"t0.\"gender\" AS k0", "t0._unit AS k0"},
		{"'2019-12-31'", "'2019-12-30'"}, {" > 'a'", " >= 'a'"}, {" >= 18", " >= 17"}, {" IS NULL", " IS NOT NULL"}, {"(NOT ", "("},
		{" LIMIT", " HAVING COUNT(*) > 1 LIMIT"}, {" LIMIT", " HAVING error('x') LIMIT"}, {" >= 18", " >= (SELECT 18)"},
		{" FROM d0.main.t AS t0", " FROM d0.main.t AS t0 UNION ALL SELECT 1"}, {"SELECT ", "EXPLAIN SELECT "},
	}
	used := map[int]bool{}
	for _, c := range renderedCases(t) {
		for i, m := range tamper {
			text := strings.Replace(c.SQL, m.old, m.new, 1)
			if text == c.SQL {
				continue
			}
			used[i] = true
			tree, err := duckdb.Syntax(ctx, db, text)
			if err != nil {
				t.Fatal(err)
			}
			// The honest bound plan beside it: the syntax gate must not lean on the other.
			if err := render.Check(c.Plan, c.Schemas, tree, c.Bound); err == nil {
				t.Errorf("not caught: %q to %q\n%s", m.old, m.new, text)
			}
		}
		for _, bad := range []string{
			"SELECT COUNT(*) AS m0 FROM d0.main.t AS t0 WHERE error('x')",
			"SELECT COUNT(*) AS m0 FROM d0.main.t AS t0 WHERE t0._unit = CAST('7' || t0._rn AS UBIGINT)",
			"SELECT MAX(t0._unit) AS m0 FROM d0.main.t AS t0",
			"SELECT COUNT(*) AS m0 FROM d0.main.t AS t0, d0.main.t AS t1",
			"SELECT COUNT(*) AS m0 FROM enable_logging()",
			"SELECT COUNT(*) AS m0 FROM duckdb_tables()",
			"SELECT COUNT(*) OVER () AS m0 FROM d0.main.t AS t0",
			"SELECT COUNT(*) AS m0 FROM d0.main.t AS t0 WHERE EXISTS (SELECT 1)",
			"SELECT COUNT(*) AS m0 FROM d0.main.t AS t0 WHERE nope",
		} {
			bound, err := duckdb.BoundPlan(ctx, db, c.Schemas, bad)
			if err != nil {
				continue // the planner gave nothing at all: nothing can run
			}
			if err := render.Check(c.Plan, c.Schemas, c.Tree, bound); err == nil {
				t.Errorf("bound plan not caught: %s", bad)
			}
		}
	}
	for i, m := range tamper {
		if !used[i] {
			t.Errorf("no statement contains %q: this check checks nothing", m.old)
		}
	}
}

// TestRenderedStatementComputes runs a statement on six rows and compares with
// figures worked out by hand: the bound, the clamp, NULLs, the offset, the total.
func TestRenderedStatementComputes(t *testing.T) {
	ctx, db := context.Background(), openAnalyser(t)
	text := "SELECT gender, COUNT(*), AVG(wage), COUNT(DISTINCT person_id) FROM social WHERE age >= 18 GROUP BY gender"
	tree, err := duckdb.Syntax(ctx, db, text)
	if err != nil {
		t.Fatal(err)
	}
	all := analyserSchemas(t)
	q, r := analyse.Decode(tree, text, all)
	if r != nil {
		t.Fatal(r)
	}
	plan := &protect.Plan{Core: algebra.Canonicalise(q).Core, Mode: protect.ModeExact, MaxRows: 2, MaxCells: 10}
	wage := algebra.Col{Name: "wage", Type: algebra.Type{Kind: algebra.Decimal, Scale: 2}}
	plan.Keys = []protect.Key{{Col: plan.Core.Keys[0]}}
	plan.Measures = []protect.Measure{
		{Kind: protect.MeasureRows}, {Kind: protect.MeasureNonNull, Col: &wage}, {Kind: protect.MeasureUnits},
		{Kind: protect.MeasureSum, Col: &wage, Clamp: &protect.Range{Lo: 10, Hi: 100}, Offset: 50},
	}
	statement, err := render.SQL(plan, all[:1])
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{
		"ATTACH ':memory:' AS d0",
		"CREATE TABLE d0.main.t (person_id VARCHAR, district VARCHAR, gender VARCHAR, age BIGINT, months BIGINT, wage BIGINT, bonus BIGINT, paid BOOLEAN, insured_on DATE, industry VARCHAR, _unit UBIGINT, _rn INTEGER)",
		`INSERT INTO d0.main.t (gender, age, wage, _unit, _rn) VALUES
			('m', 30, 70, 1, 1), ('m', 30, NULL, 1, 2), ('m', 30, 90, 1, 3), ('m', 40, 5000, 2, 1), ('f', 18, -3, 3, 1), ('f', 17, 60, 4, 1)`,
	} {
		if _, err := db.ExecContext(ctx, s); err != nil {
			t.Fatal(err)
		}
	}
	rows, err := db.QueryContext(ctx, "SELECT * FROM ("+statement+") ORDER BY grp, k0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	var got []string
	for rows.Next() {
		var key, grp, n, nn, units, sum any
		if err := rows.Scan(&key, &grp, &n, &nn, &units, &sum); err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprint(key, " ", grp, " ", n, " ", nn, " ", units, " ", sum))
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	// f: −3 clamps to 10: 10−50. m: 70 and 5000→100, rank 3 cut: 170−2·50.
	want := []string{"f 0 1 1 1 -40", "m 0 3 2 2 70", "<nil> 1 4 3 3 30"}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("got %q, want %q", got, want)
	}
}
