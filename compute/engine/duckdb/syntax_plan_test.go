package duckdb_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
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
	"SELECT district, paid, COUNT(*) FROM social GROUP BY district, paid", // with six codes, in two runs
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
	plan := &protect.Plan{Core: core, Mode: mode, MaxRows: 3, MaxCells: 100, Ranks: make([]int64, len(core.Datasets()))}
	if mode == protect.ModeDP {
		plan.Ranks[0] = 3
	}
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
			q, r := analyse.Decode(tree, text, all, nil)
			if r != nil {
				t.Fatalf("%s: %v", text, r)
			}
			c := rendered{Query: text, Plan: planOf(algebra.Canonicalise(q).Core, mode)}
			if i == 3 {
				c.Plan.OneRow, c.Plan.Ranks[0] = true, 0
			}
			if i == 7 {
				for _, code := range []string{"330101", "330102", "330103"} {
					c.Plan.Keys[0].Codes = append(c.Plan.Keys[0].Codes, algebra.Value{Type: c.Plan.Keys[0].Col.Type, S: code})
				}
			}
			out = append(out, finished(t, db, all, c))
		}
	}
	extended := extendedPlans()
	for _, name := range slices.Sorted(maps.Keys(extended)) {
		out = append(out, finished(t, db, all, rendered{Query: name, Plan: extended[name]}))
	}
	return out
}

// finished renders a plan and asks the engine what it makes of the statement.
func finished(t *testing.T, db *sql.DB, all []algebra.Schema, c rendered) rendered {
	t.Helper()
	var err error
	if c.Schemas, err = c.Plan.Core.SchemasOf(all); err != nil {
		t.Fatal(err)
	}
	if c.SQL, err = render.SQL(c.Plan, c.Schemas); err != nil {
		t.Fatalf("%s: %v", c.Query, err)
	}
	if c.Tree, err = duckdb.Syntax(context.Background(), db, c.SQL); err != nil {
		t.Fatal(err)
	}
	if c.Bound, err = duckdb.BoundPlan(context.Background(), db, c.Schemas, c.SQL); err != nil {
		t.Fatalf("%s\n%s\n%v", c.Query, c.SQL, err)
	}
	return c
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
		{"SUM(", "MAX("}, {"SUM(", "SUM(DISTINCT "}, {"GREATEST(", "LEAST("}, {"500000", "500001"}, {", -5)", ", -6)"}, {"THEN -5 ", "THEN -6 "}, {"< -5 ", "<= -5 "},
		{" IS NOT NULL", " IS NULL"}, {" IS NOT NULL", " = 7"}, {", 0)", ", 1)"}, {"9223372036854775807 AS HUGEINT", "9223372036854775806 AS HUGEINT"},
		{"AS HUGEINT) *", "AS HUGEINT) +"}, {" - CAST", " + CAST"}, {"'110101', ", ""}, {"'110101'", "'110103'"},
		{" IN ('110101'", " NOT IN ('110101'"}, {"d1.main.t", "d0.main.t"}, {"d0.main.t AS t0", "(SELECT * FROM d0.main.t) AS t0"},
		{"d0.main.t AS t0", "d0.main.t AS t0 TABLESAMPLE 10%"}, {"d0.main.t AS t0", "d0.main.t AS t0, range(3)"},
		{"LEFT JOIN", "INNER JOIN"}, {"INNER JOIN", "LEFT JOIN"}, {"INNER JOIN", "FULL JOIN"}, {"\"code\"", "\"region\""},
		{" GROUP BY ", " GROUP BY t0._rn, "}, {"), ())", "))"}, {", ())", ")"}, {"GROUPING SETS ((", "GROUPING SETS ((), ("},
		{" LIMIT 101", ""}, {" LIMIT 101", " LIMIT 102"}, {" LIMIT 101", " LIMIT 101 OFFSET 1"}, {" LIMIT 101", " ORDER BY 1 LIMIT 101"},
		{" LIMIT 102", " LIMIT 101"}, {"SELECT ", "SELECT DISTINCT "}, {"SELECT ", "WITH x AS (SELECT 1) SELECT "},
		{" AS k0", " AS k1"}, {"t0.\"gender\" AS k0", "t0.\"district\" AS k0"}, {"t0.\"gender\" AS k0", "t0._unit AS k0"},
		{"'2019-12-31'", "'2019-12-30'"}, {" > 'a'", " >= 'a'"}, {" >= 18", " >= 17"}, {" IS NULL", " IS NOT NULL"}, {"(NOT ", "("},
		{" LIMIT", " HAVING COUNT(*) > 1 LIMIT"}, {" LIMIT", " HAVING error('x') LIMIT"}, {" >= 18", " >= (SELECT 18)"},
		{" FROM d0.main.t AS t0", " FROM d0.main.t AS t0 UNION ALL SELECT 1"}, {"SELECT ", "EXPLAIN SELECT "},
		{"COUNT(*) < 0 OR ", ""}, {"COUNT(*) < 0", "COUNT(*) <= 0"}, {"COUNT(*) < 0", "SUM(t0.\"age\") < 0"}, {" HAVING ", " HAVING TRUE OR "},
		{`t0."district" IN ('110101', '110''102', '区', '330101') OR `, ""}, {` OR t0."district" IN ('330102', '330103')`, ""}, {"'330103')", "'330103', '330104')"}, {"'330101') OR t0", "'330101') AND t0"},
		{"'330103') OR ", `'330103') OR t0."district" IN ('330104') OR `}, {"'330103') OR ", `'330103') OR t0."district" IN ('330103') OR `}, {"IN ('330102', '330103')", "IN ('330102', '330102')"},
		{`OR t0."district" IN ('330102'`, `OR t0."gender" IN ('330102'`}, {`OR t0."district" IN ('330102'`, `OR t0."district" NOT IN ('330102'`}, {`OR t0."district" IN ('330102'`, `OR t0."district" IS NULL OR t0."district" IN ('330102'`},
		{"TRY_CAST(", "CAST("}, {" AS BIGINT)", " AS INTEGER)"}, {"CAST(t0.\"wage\" AS HUGEINT)", "t0.\"wage\""}, {" // ", " % "}, {" // CAST(5", " // CAST(0"}, {"abs(", "-("},
		{"year(", "month("}, {"'未成年'", "t0.\"industry\""}, {"'未成年'", "error('x')"}, {" THEN ", " THEN NULL AND "}, {" ELSE ", " ELSE NULL --"}, {" < 18 THEN", " <= 18 THEN"},
		{"COALESCE(t0.\"bonus\", ", "COALESCE("}, {"make_date(", "("}, {"date_diff('day'", "date_diff('hour'"}, {"date_diff('day'", "date_sub('day'"},
		{"t0._rn = 1", "t0._rn >= 1"}, {"t0._rn = 1", "TRUE"}, {"COUNT(*) FILTER (WHERE t0._rn = 1)", "COUNT(*)"}, {" - 60) * ", " - 60) + "}, {", 0), 120)", ", 0), 121)"},
		{"(CAST(LEAST(", "((LEAST("}, {" AS HUGEINT) - 0)", " AS BIGINT) - 0)"}, {">= 0 AND", "> 0 AND"}, {" <= DATE '2021-01-01'", " < DATE '2021-01-01'"},
		{"p._rn <= 5", "p._rn <= 6"}, {"p._rn <= 5 AND ", ""}, {"GROUP BY p._unit", "GROUP BY ALL"}, {"GROUP BY p._unit", "GROUP BY p._unit, p._rn"}, {"GROUP BY p._unit", "GROUP BY p._rn"},
		{"MIN(p.", "any_value(p."}, {"SUM(p.", "MAX(p."}, {"SELECT p._unit, COUNT(*)", "SELECT p._rn, COUNT(*)"}, {"COUNT(*) AS a0", "COUNT(*) + 1 AS a0"}, {"AS a0", "AS a9"},
		{"ON t0._unit = t1._unit", "ON t0._rn = t1._rn"}, {"t1._rn <= 1", "t1._rn <= 2"}, {" AND t1._rn <= 1", ""}, {"ON t0._unit = t2._unit", "ON t0._unit >= t2._unit"}, {"ON t0._unit = t2._unit", "ON TRUE"},
		{"UNION ALL", "UNION"}, {"UNION ALL", "EXCEPT ALL"}, {"p._rn <= 2 UNION", "p._rn <= 3 UNION"}, {" WHERE p._rn <= 1", ""}, {"p._rn, p.\"district\" FROM d1", "p._rn, p.\"credit_code\" FROM d1"}, {"p._unit, p._rn, ", "p._rn, p._rn, "},
		{"3072 // ", "3073 // "}, {"GREATEST(3, COUNT(*))", "GREATEST(1, COUNT(*))"}, {"GREATEST(3, COUNT(*))", "COUNT(*)"}, {"SUM(w.w)", "SUM(1)"}, {"CAST(w.w AS HUGEINT) * ", ""}, {" = w._unit", " <> w._unit"},
		{"GROUP BY t0._unit) AS w", "GROUP BY t0._unit, t0._rn) AS w"}, {"AS w FROM d0.main.t AS t0 INNER JOIN", "AS w FROM d0.main.t AS t0 LEFT JOIN"},
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
	q, r := analyse.Decode(tree, text, all, nil)
	if r != nil {
		t.Fatal(r)
	}
	plan := &protect.Plan{Core: algebra.Canonicalise(q).Core, Mode: protect.ModeExact, MaxRows: 2, MaxCells: 10, Ranks: []int64{2}}
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
