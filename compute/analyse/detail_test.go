package analyse_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/analyse"
)

// TestR01_RefusalsCarryNoLiteral: whatever stands in quotes or as a number in a
// refused text does not stand in the refusal, in either language.
func TestR01_RefusalsCarryNoLiteral(t *testing.T) {
	trees, schemas := readTrees(t), readSchemas(t)
	secrets := []string{"11010519491231002X", "/etc/passwd", "某路", "Feb", "2020-02-30", "x'ab'", "'m", "file.csv"}
	seen := 0
	for _, c := range readCases(t) {
		_, r := analyse.Decode(trees[c.sql], c.sql, schemas, nil)
		if r == nil {
			continue
		}
		all := r.Text("zh") + r.Text("en") + r.Error()
		for _, s := range secrets {
			if strings.Contains(c.sql, s) {
				seen++
				if strings.Contains(all, s) && s != "/etc/passwd" {
					t.Errorf("%s\n\trepeats %q: %s", c.sql, s, all)
				}
			}
		}
		if r.SetBy != "sandgate" || r.Rule == "" || r.HintZH == "" || r.HintEN == "" || r.ZH == r.EN {
			t.Errorf("%s: incomplete refusal %+v", c.sql, r)
		}
		if strings.Contains(all, "{name}") {
			t.Errorf("%s: unfilled text %s", c.sql, all)
		}
		lines := strings.Split(c.sql, "\n")
		if r.Line > len(lines) || r.Line > 0 && (r.Column < 1 || r.Column > len([]rune(lines[r.Line-1]))+1) {
			t.Errorf("%s: place %d:%d is outside the text", c.sql, r.Line, r.Column)
		}
	}
	if seen < 5 {
		t.Errorf("only %d secrets were in the refused texts", seen)
	}
}

// TestR01_UnknownFieldIsRefused adds a field to every object of every accepted
// tree, one at a time: what a later parser says that we do not know is refused.
func TestR01_UnknownFieldIsRefused(t *testing.T) {
	trees, schemas := readTrees(t), readSchemas(t)
	changed := 0
	seen := map[string]int{} // by the kind of the object: a few of each will do
	for _, c := range readCases(t) {
		if c.code != "OK" {
			continue
		}
		for i := 0; ; i++ {
			var tree any
			if err := json.Unmarshal(trees[c.sql], &tree); err != nil {
				t.Fatal(err)
			}
			n := i
			path := addField(tree, &n, "root")
			if path == "" {
				break
			}
			kind := strings.Map(func(r rune) rune {
				if r >= '0' && r <= '9' {
					return -1
				}
				return r
			}, path)
			if seen[kind]++; seen[kind] > 3 {
				continue
			}
			b, err := json.Marshal(tree)
			if err != nil {
				t.Fatal(err)
			}
			changed++
			if _, r := analyse.Decode(b, c.sql, schemas, nil); r == nil {
				t.Errorf("%s\n\taccepted with an unknown field in %s", c.sql, path)
			}
		}
	}
	if changed < 500 {
		t.Errorf("only %d trees were changed", changed)
	}
}

// addField adds a field to the n-th object of v and returns its path.
func addField(v any, n *int, path string) string {
	switch v := v.(type) {
	case map[string]any:
		if *n == 0 {
			v["zz_new"] = "on"
			return path
		}
		*n--
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		for _, k := range keys {
			if p := addField(v[k], n, path+"."+k); p != "" {
				return p
			}
		}
	case []any:
		for i := range v {
			if p := addField(v[i], n, fmt.Sprint(path, "[", i, "]")); p != "" {
				return p
			}
		}
	}
	return ""
}

func decode(t *testing.T, sql string) algebra.Query {
	t.Helper()
	tree, ok := readTrees(t)[sql]
	if !ok {
		t.Fatalf("no tree of %q: add it to cases.txt", sql)
	}
	q, r := analyse.Decode(tree, sql, readSchemas(t), nil)
	if r != nil {
		t.Fatal(r)
	}
	return q
}

func TestLiteralsAreCoercedExactly(t *testing.T) {
	q := decode(t, "SELECT COUNT(*) FROM social WHERE 18 < age AND age > 4.5 AND months = 99999999999999999999 AND wage <> 1.005")
	var got []string
	for _, p := range q.Core.Where.Args {
		text := p.Col.Name + " " + string(p.Op)
		if p.Other != nil {
			text += " " + p.Other.Name
		}
		for _, v := range p.Values {
			text += fmt.Sprint(" ", v.I)
		}
		got = append(got, text)
	}
	want := []string{"age gt 18", "age gt 4", "months ne months", "wage eq wage"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	q = decode(t, "SELECT COUNT(*) FROM social WHERE age IN (1, 2, 3) AND gender NOT IN ('1', '2') AND wage > 1000 AND bonus <= 12.5 AND insured_on IS NOT NULL")
	if w := q.Core.Where.Args; w[2].Values[0].I != 100000 || w[3].Values[0].I != 1250 || w[1].Op != algebra.OpNot {
		t.Errorf("decimals are minimal units: %s", q.Core.Bytes())
	}
	q = decode(t, "SELECT COUNT(*) FROM social WHERE insured_on = CAST('2020-02-29' AS DATE) AND paid <> FALSE")
	if v := q.Core.Where.Args[0].Values[0]; v.I != 18321 {
		t.Errorf("2020-02-29 is day 18321, got %d", v.I)
	}
}

func TestPostProcessingRefersToTheCore(t *testing.T) {
	q := decode(t, "SELECT district FROM social GROUP BY district HAVING COUNT(*) > 1 ORDER BY SUM(wage) LIMIT 3 OFFSET 1")
	if len(q.Core.Keys) != 1 || len(q.Core.Aggs) != 2 || len(q.Post.Outputs) != 1 {
		t.Fatalf("hidden aggregates: %s", q.Core.Bytes())
	}
	if q.Post.Having.Ref != 1 || q.Post.Order[0].Ref != 2 || *q.Post.Limit != 3 || q.Post.Offset != 1 {
		t.Errorf("post: %+v", q.Post)
	}
	q = decode(t, "SELECT gender, COUNT(*) FROM social GROUP BY gender HAVING gender = '1' OR AVG(wage) > 4999.995 AND NOT SUM(age) BETWEEN 1 AND 2.5")
	avg := q.Post.Having.Args[1].Args[0]
	if v := avg.Values[0]; q.Core.Aggs[avg.Ref-1].Func != algebra.Avg || v.Type.Scale != 3 || v.I != 4999995 {
		t.Errorf("a mean compares with any decimal: %+v", avg)
	}
	sum := q.Post.Having.Args[1].Args[1].Args[0]
	if hi := sum.Args[1]; hi.Op != algebra.OpLe || hi.Values[0].I != 2 {
		t.Errorf("a whole number is at most 2.5 when it is at most 2: %+v", hi)
	}
	q = decode(t, "SELECT 区县, COUNT(*) AS 人次, COUNT(DISTINCT 身份证号) AS 人数 FROM 社保缴费 WHERE 年龄 BETWEEN 20 AND 30 GROUP BY 区县 HAVING COUNT(*) > 10 ORDER BY 人次 DESC LIMIT 5")
	if want := []algebra.Output{{Ref: 0, Name: "区县"}, {Ref: 1, Name: "人次"}, {Ref: 2, Name: "人数"}}; !reflect.DeepEqual(q.Post.Outputs, want) {
		t.Errorf("outputs: %+v", q.Post.Outputs)
	}
	if len(q.Core.Aggs) != 2 || !q.Post.Order[0].Desc || q.Post.Order[0].Ref != 1 {
		t.Errorf("an aggregate named twice is one: %s %+v", q.Core.Bytes(), q.Post)
	}
}

func TestLimits(t *testing.T) {
	column := `{"class":"COLUMN_REF","type":"COLUMN_REF","alias":"","query_location":1,"column_names":["age"]}`
	count := `{"class":"FUNCTION","type":"FUNCTION","alias":"","query_location":7,"function_name":"count_star","schema":"","children":[],"filter":null,"order_bys":{"type":"ORDER_MODIFIER","orders":[]},"distinct":false,"is_operator":false,"export_state":false,"catalog":""}`
	table := `{"type":"BASE_TABLE","alias":"","sample":null,"query_location":9,"schema_name":"","table_name":"social","column_name_alias":[],"catalog_name":"","at_clause":null}`
	statement := func(from, where string) []byte {
		return []byte(`{"error":false,"statements":[{"node":{"type":"SELECT_NODE","modifiers":[],"cte_map":{"map":[]},"select_list":[` + count + `],"from_table":` + from +
			`,"where_clause":` + where + `,"group_expressions":[],"group_sets":[],"aggregate_handling":"STANDARD_HANDLING","having":null,"sample":null,"qualify":null},"named_param_map":[]}]}`)
	}
	isNull := `{"class":"OPERATOR","type":"OPERATOR_IS_NULL","alias":"","query_location":1,"children":[` + column + `]}`
	or := func(n int) string {
		return `{"class":"CONJUNCTION","type":"CONJUNCTION_OR","alias":"","query_location":1,"children":[` + strings.Repeat(isNull+",", n-1) + isNull + `]}`
	}
	not := func(n int) string {
		return strings.Repeat(`{"class":"OPERATOR","type":"OPERATOR_NOT","alias":"","query_location":1,"children":[`, n) + isNull + strings.Repeat("]}", n)
	}
	joins := table
	for range 11 {
		joins = `{"type":"JOIN","alias":"","sample":null,"query_location":1,"left":` + joins + `,"right":` + table + `,"condition":null,"join_type":"INNER","ref_type":"REGULAR","using_columns":[],"delim_flipped":false,"duplicate_eliminated_columns":[]}`
	}
	for name, c := range map[string]struct {
		tree []byte
		text string
		code string
	}{
		"few nodes":   {statement(table, or(900)), "SELECT 1", ""},
		"many nodes":  {statement(table, or(1001)), "SELECT 1", "TOO_LARGE"},
		"shallow":     {statement(table, not(90)), "SELECT 1", ""},
		"deep":        {statement(table, not(101)), "SELECT 1", "TOO_LARGE"},
		"very deep":   {statement(table, not(20000)), "SELECT 1", "TOO_LARGE"},
		"joins":       {statement(joins, "null"), "SELECT 1", "TOO_LARGE"},
		"long text":   {statement(table, "null"), strings.Repeat("x", analyse.MaxText+1), "TOO_LARGE"},
		"not utf-8":   {statement(table, "null"), "SELECT '\xff'", "NOT_UTF8"},
		"nul":         {statement(table, "null"), "SELECT '\x00'", "CHARACTER"},
		"not json":    {[]byte("{"), "SELECT 1", "ANALYSER"},
		"array":       {[]byte("[]"), "SELECT 1", "ANALYSER"},
		"wrong types": {[]byte(strings.Replace(string(statement(table, "null")), `"distinct":false`, `"distinct":"no"`, 1)), "SELECT 1", "ANALYSER"},
		"no field":    {[]byte(strings.Replace(string(statement(table, "null")), `"distinct":false,`, ``, 1)), "SELECT 1", "ANALYSER"},
		"long alias":  {[]byte(strings.Replace(string(statement(table, "null")), `"alias":""`, `"alias":"`+strings.Repeat("x", 129)+`"`, 1)), "SELECT 1", "NAME_TOO_LONG"},
		"big place":   {[]byte(strings.Replace(string(statement(table, column)), `"query_location":1`, `"query_location":99999`, 1)), "SELECT 1", "NOT_BOOLEAN"},
	} {
		_, r := analyse.Decode(c.tree, c.text, readSchemas(t), nil)
		if code := map[bool]string{true: ""}[r == nil]; r != nil && r.Code != c.code || r == nil && code != c.code {
			t.Errorf("%s: got %v, want %q", name, r, c.code)
		}
	}
}

func TestCheckText(t *testing.T) {
	for text, want := range map[string]string{
		"SELECT '\u202e' FROM t":             "", // inside a literal it is data
		"SELECT E'\\'\u202e' FROM t":         "",
		"SELECT $a$ ' \u202e $a$ FROM t":     "",
		"SELECT 1 -- 注　释":                    "",
		"SELECT 1 -- \u202e":                 "CHARACTER",
		"SELECT /* /* ' */ \u202e */ 1":      "CHARACTER",
		"SELECT '' \u202e''":                 "CHARACTER",
		"SELECT \"a\u200bb\"":                "CHARACTER",
		"SELECT name'\u202e' FROM t":         "",
		"SELECT 1\u00a0":                     "CHARACTER",
		"\ufeffSELECT 1":                     "CHARACTER",
		"SELECT 1\x1b[2J":                    "CHARACTER",
		"SELECT\t1\r\n":                      "",
		" \n":                                "EMPTY",
		strings.Repeat("a", analyse.MaxText): "",
	} {
		r := analyse.CheckText(text)
		if got := map[bool]string{true: ""}[r == nil]; r != nil && r.Code != want || r == nil && got != want {
			t.Errorf("%q: got %v, want %q", text[:min(len(text), 40)], r, want)
		}
	}
}
