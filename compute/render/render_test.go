package render_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/protect"
	"github.com/sandgate/sandgate/compute/render"
)

// rendered is one plan with its statement, syntax tree and bound plan, as the
// engine's parser and planner made them (compute/engine/duckdb keeps them true).
type rendered struct {
	Query   string           `json:"query"`
	Plan    *protect.Plan    `json:"plan"`
	Schemas []algebra.Schema `json:"schemas"`
	SQL     string           `json:"sql"`
	Tree    json.RawMessage  `json:"tree"`
	Bound   json.RawMessage  `json:"bound"`
}

func readRendered(t testing.TB) []rendered {
	t.Helper()
	b, err := os.ReadFile("testdata/rendered.json")
	if err != nil {
		t.Fatal(err)
	}
	var out []rendered
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	if len(out) < 10 {
		t.Fatalf("only %d statements were read", len(out))
	}
	return out
}

func TestR01_StatementComesFromThePlanAlone(t *testing.T) {
	for _, c := range readRendered(t) {
		sql, err := render.SQL(c.Plan, c.Schemas)
		if err != nil || sql != c.SQL {
			t.Errorf("%s\n got %s (%v)\nwant %s", c.Query, sql, err, c.SQL)
		}
		if err := render.Check(c.Plan, c.Schemas, c.Tree, c.Bound); err != nil {
			t.Errorf("%s: %v", c.Query, err)
		}
	}
}

// TestStatementText pins what stands in a statement, written out by hand.
func TestStatementText(t *testing.T) {
	text, dec := algebra.Type{Kind: algebra.Text}, algebra.Type{Kind: algebra.Decimal, Scale: 2}
	schema := algebra.Schema{Dataset: "f", Unit: "id", Columns: []algebra.SchemaColumn{{Name: `区"县`, Type: text}, {Name: "wage", Type: dec}}}
	key, wage := algebra.Col{Name: `区"县`, Type: text}, algebra.Col{Name: "wage", Type: dec}
	where := algebra.Pred{Op: algebra.OpGe, Col: &wage, Values: []algebra.Value{{Type: dec, I: 150}}}
	plan := &protect.Plan{
		Core: algebra.Core{Tables: []algebra.Table{{Dataset: "f"}}, Where: &where, Keys: []algebra.Col{key}, Aggs: []algebra.Agg{{Func: algebra.Sum, Arg: &wage}}},
		Mode: protect.ModeExact, MaxRows: 4, MaxCells: 10, Ranks: []int64{4},
		Keys:     []protect.Key{{Col: key, Nullable: true, Codes: []algebra.Value{{Type: text, S: "x'y"}}}},
		Measures: []protect.Measure{{Kind: protect.MeasureSum, Col: &wage, Clamp: &protect.Range{Lo: -1, Hi: 9}, Offset: -3}},
	}
	want := `SELECT t0."区""县" AS k0, GROUPING(t0."区""县") AS grp, ` +
		`COALESCE(SUM(CASE WHEN t0."wage" < -1 THEN -1 WHEN t0."wage" > 9 THEN 9 ELSE t0."wage" END), 0) - CAST(-3 AS HUGEINT) * COUNT(t0."wage") AS m0 ` +
		`FROM d0.main.t AS t0 WHERE t0._rn <= 4 AND (t0."wage" >= 150) AND (t0."区""县" IN ('x''y') OR t0."区""县" IS NULL) ` +
		`GROUP BY GROUPING SETS ((t0."区""县"), ()) LIMIT 12`
	if got, err := render.SQL(plan, []algebra.Schema{schema}); err != nil || got != want {
		t.Fatalf("got %s (%v)\nwant %s", got, err, want)
	}

	for name, spoil := range map[string]func(p *protect.Plan, s *algebra.Schema){
		"no row bound":     func(p *protect.Plan, _ *algebra.Schema) { p.Mode, p.Ranks[0] = protect.ModeDP, 0 },
		"no ranks":         func(p *protect.Plan, _ *algebra.Schema) { p.Ranks = nil },
		"negative rank":    func(p *protect.Plan, _ *algebra.Schema) { p.Ranks[0] = -1 },
		"weights in exact": func(p *protect.Plan, _ *algebra.Schema) { p.Weight = 10 },
		"heavy weights":    func(p *protect.Plan, _ *algebra.Schema) { p.Mode, p.Weight = protect.ModeDP, 1<<32 },
		"no cell bound":    func(p *protect.Plan, _ *algebra.Schema) { p.MaxCells = 0 },
		"unknown mode":     func(p *protect.Plan, _ *algebra.Schema) { p.Mode = "raw" },
		"no measure":       func(p *protect.Plan, _ *algebra.Schema) { p.Measures = nil },
		"unknown measure":  func(p *protect.Plan, _ *algebra.Schema) { p.Measures[0].Kind = "max" },
		"sum of text":      func(p *protect.Plan, _ *algebra.Schema) { p.Measures[0].Col = &key },
		"empty clamp":      func(p *protect.Plan, _ *algebra.Schema) { p.Measures[0].Clamp.Lo = 10 },
		"count with clamp": func(p *protect.Plan, _ *algebra.Schema) { p.Measures[0].Kind = protect.MeasureRows },
		"missing key":      func(p *protect.Plan, _ *algebra.Schema) { p.Keys = nil },
		"other key":        func(p *protect.Plan, _ *algebra.Schema) { p.Keys[0].Col = wage },
		"empty code list": func(p *protect.Plan, _ *algebra.Schema) {
			p.Keys[0].Codes, p.Keys[0].Nullable = []algebra.Value{}, false
		},
		"code of a type": func(p *protect.Plan, _ *algebra.Schema) { p.Keys[0].Codes[0].Type = dec },
		"nul in code":    func(p *protect.Plan, _ *algebra.Schema) { p.Keys[0].Codes[0].S = "x\x00" },
		"redacted":       func(p *protect.Plan, _ *algebra.Schema) { p.Core = p.Core.Redacted() },
		"reserved name": func(_ *protect.Plan, s *algebra.Schema) {
			s.Columns = append(s.Columns, algebra.SchemaColumn{Name: "_RN", Type: dec})
		},
		"other schema": func(_ *protect.Plan, s *algebra.Schema) { s.Dataset = "g" },
	} {
		var p protect.Plan
		b, err := json.Marshal(plan)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b, &p); err != nil {
			t.Fatal(err)
		}
		s := schema
		s.Columns = append([]algebra.SchemaColumn{}, schema.Columns...)
		spoil(&p, &s)
		if got, err := render.SQL(&p, []algebra.Schema{s}); err == nil {
			t.Errorf("%s: rendered %s", name, got)
		}
	}
	if _, err := render.SQL(nil, nil); err == nil {
		t.Error("no plan: rendered")
	}
}

// TestR01_GateRefusesChangedTrees changes the stored trees in places where a
// statement still looks whole.
func TestR01_GateRefusesChangedTrees(t *testing.T) {
	inTree := []struct{ old, new string }{
		{`"error":false`, `"error":true`}, {`"distinct":false`, `"distinct":true`}, {`"filter":null`, `"filter":{"class":"x"}`},
		{`"sample":null`, `"sample":{"sample_size":1}`}, {`"having":null`, `"having":{"class":"CONSTANT"}`}, {`"qualify":null`, `"qualify":{"class":"WINDOW"}`},
		{`"at_clause":null`, `"at_clause":{"unit":"VERSION"}`}, {`"modifiers":[`, `"new_field":1,"modifiers":[`}, {`"map":[]`, `"map":[{"key":"c"}]`},
		{`"table_name":"t"`, `"table_name":"u"`}, {`"catalog_name":"d0"`, `"catalog_name":"d1"`}, {`"schema":""`, `"schema":"x"`},
		{`"try_cast":false`, `"try_cast":true`}, {`STANDARD_HANDLING`, `FORCE_AGGREGATES`}, {`"COMPARE_LESSTHANOREQUALTO"`, `"COMPARE_LESSTHAN"`},
		{`"function_name":"count_star"`, `"function_name":"count_if"`}, {`"function_name":"sum"`, `"function_name":"max"`}, {`"function_name":"list"`, `"function_name":"min"`}, {`"function_name":"greatest"`, `"function_name":"least"`}, {`"value":2`, `"value":3`}, {`"_unit"`, `"_rn"`},
		{`"named_param_map":[]`, `"named_param_map":[{"key":"1"}]`}, {`"value":3`, `"value":4`}, {`"statements":[`, `"statements":[{},`},
		// Literals that the parser cannot have written.
		{`"id":"INTEGER","type_info":null},"is_null":false`, `"id":"HUGEINT","type_info":null},"is_null":false`},
		{`"id":"BIGINT","type_info":null},"is_null":false,"value":9223372036854775807`, `"id":"INTEGER","type_info":null},"is_null":false,"value":9223372036854775807`},
		{`"type":{"id":"NULL","type_info":null},"is_null":true`, `"is_null":true`}, {`"error":false`, `"error":true,"error":false`},
	}
	inPlan := []struct{ old, new string }{
		{`"seq_scan"`, `"read_csv"`}, {`"catalog":"d0"`, `"catalog":"d7"`}, {`"schema":"main"`, `"schema":"other"`}, {`"table":"t"`, `"table":"u"`},
		{`LOGICAL_PROJECTION`, `LOGICAL_WINDOW`}, {`LOGICAL_FILTER`, `LOGICAL_ANY_JOIN`}, {`"BOUND_AGGREGATE"`, `"BOUND_WINDOW"`}, {`"name":"count_star"`, `"name":"error"`},
		{`"catalog_name":"system"`, `"catalog_name":"d0"`}, {`"BOUND_CONSTANT"`, `"BOUND_REF"`}, {`"error":false`, `"error":true`}, {`"plans":[`, `"plans":[{},`},
		{`"UBIGINT"`, `"BIGINT"`}, {`"filters":[]`, `"filters":[{}]`}, {`"sample_options":null`, `"sample_options":{}`}, {`"_rn"`, `"_rm"`}, {`"join_type":"LEFT"`, `"join_type":"RIGHT"`}, {`OPERATOR_COALESCE`, `OPERATOR_TRY`}, {`"children":[]`, `"children":[{"type":"LOGICAL_GET"}]`},
	}
	all := readRendered(t)
	apply := func(name string, changes []struct{ old, new string }, check func(c rendered, change func([]byte) []byte) (bool, error)) {
		for _, m := range changes {
			used := false
			for _, c := range all {
				changed, err := check(c, func(b []byte) []byte { return []byte(strings.Replace(string(b), m.old, m.new, 1)) })
				used = used || changed
				if changed && err == nil {
					t.Errorf("%s of %s: not caught: %s to %s", name, c.Query, m.old, m.new)
				}
			}
			if !used {
				t.Errorf("no %s contains %s", name, m.old)
			}
		}
	}
	apply("tree", inTree, func(c rendered, change func([]byte) []byte) (bool, error) {
		tree := change(c.Tree)
		return string(tree) != string(c.Tree), render.Check(c.Plan, c.Schemas, tree, c.Bound)
	})
	apply("bound plan", inPlan, func(c rendered, change func([]byte) []byte) (bool, error) {
		bound := change(c.Bound)
		return string(bound) != string(c.Bound), render.Check(c.Plan, c.Schemas, c.Tree, bound)
	})
	// The tree of one plan is no tree of another.
	for i, a := range all {
		for j, b := range all {
			if a.SQL != b.SQL && render.Check(a.Plan, a.Schemas, b.Tree, a.Bound) == nil {
				t.Errorf("statement %d passes for plan %d", j, i)
			}
		}
	}
}

func FuzzCheck(f *testing.F) {
	all := readRendered(f)
	f.Add(0, []byte(all[0].Tree), []byte(all[0].Bound))
	f.Add(2, []byte(all[2].Tree), []byte(all[2].Bound))
	f.Add(0, []byte(`{"statements":[{"node":{}}]}`), []byte(`{"error":false,"plans":[{"type":"LOGICAL_GET","children":[]}]}`))
	f.Fuzz(func(t *testing.T, i int, tree, bound []byte) {
		if i < 0 || i >= len(all) {
			return
		}
		_ = render.Check(all[i].Plan, all[i].Schemas, tree, bound) // must not panic
	})
}
