package analyse_test

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/analyse"
	"github.com/sandgate/sandgate/policies"
)

func canonical(t *testing.T, sql string, params ...string) algebra.Query {
	t.Helper()
	tree, ok := readTrees(t)[sql]
	if !ok {
		t.Fatalf("no tree of %q: add it to cases.txt", sql)
	}
	q, r := analyse.Decode(tree, sql, readSchemas(t), params)
	if r != nil {
		t.Fatalf("%s\n\t%v", sql, r)
	}
	return algebra.Canonicalise(q)
}

// TestR01_SpellingsOfOneQuestion: each line of a group asks the same.
func TestR01_SpellingsOfOneQuestion(t *testing.T) {
	for i, group := range sameQuestions {
		want := ""
		for _, sql := range group {
			got := string(canonical(t, sql).Core.Bytes())
			if want == "" {
				want = got
			}
			if got != want {
				t.Errorf("group %d: another question\n%s\n%s\n%s", i, sql, got, want)
			}
		}
	}
}

var sameQuestions = [][]string{
	{
		"SELECT CASE WHEN age < 18 THEN 'a' ELSE 'b' END AS grp, COUNT(*) FROM visits GROUP BY grp",
		"SELECT COUNT(*) n, IF(NOT 17 >= age OR age IS NULL, 'b', 'a') FROM visits v GROUP BY 2",
		"SELECT CASE WHEN 18 <= age THEN 'b' WHEN age IS NULL THEN 'b' WHEN age < 18 THEN 'a' END k, COUNT(1) FROM visits GROUP BY ALL",
	},
	{
		"SELECT SUM(cost - insured), COUNT(*) FILTER (WHERE age >= 60) FROM visits",
		"SELECT COUNT(CASE WHEN age > 59 THEN 1 END) a, SUM(-insured + cost) FROM visits",
		"WITH v AS (SELECT insured AS i, cost AS c, age FROM visits) SELECT SUM(c - i) s, COUNT(*) FILTER (WHERE NOT age < 60) n FROM v",
	},
	{
		"SELECT district, sex, COUNT(*) FROM population GROUP BY ROLLUP(district, sex)",
		"SELECT sex, district, COUNT(*) FROM population GROUP BY GROUPING SETS ((), (sex, district), (district))",
	},
	{
		"WITH u AS (SELECT person_id, COUNT(*) AS n, MAX(age) AS unused FROM visits GROUP BY person_id) SELECT AVG(n) FROM u",
		"SELECT AVG(z.m) FROM (SELECT COUNT(1) AS m FROM visits GROUP BY person_id) z",
	},
	{
		"SELECT COUNT(*) FROM (SELECT cost FROM visits_2024 UNION ALL SELECT cost FROM visits_2025) v WHERE cost > 3",
		"SELECT COUNT(*) FROM (SELECT cost FROM visits_2025 UNION ALL SELECT cost FROM visits_2024) WHERE NOT cost <= 3.00",
	},
}

// TestR01_CoreOfALanguage looks at what some questions mean.
func TestR01_CoreOfALanguage(t *testing.T) {
	q := canonical(t, "SELECT district, sex, COUNT(*), GROUPING(district) g, GROUPING(sex, district) h FROM population GROUP BY ROLLUP(district, sex)")
	if got := fmt.Sprint(q.Core.Sets); got != "[[0 1] [0] []]" {
		t.Errorf("sets %s", got)
	}
	if g, h := q.Post.Outputs[3], q.Post.Outputs[4]; g.Ref != 3 || fmt.Sprint(g.Grouping) != "[0]" || fmt.Sprint(h.Grouping) != "[1 0]" {
		t.Errorf("grouping %+v %+v", g, h)
	}
	q = canonical(t, "SELECT p.district, AVG(u.s), COUNT(DISTINCT p.person_id) FROM population p LEFT JOIN (SELECT person_id AS id, MAX(cost) AS s FROM visits GROUP BY id) u ON u.id = p.person_id WHERE u.s > 3 OR u.s IS NULL GROUP BY p.district")
	if u := q.Core.Tables[1]; u.PerUnit == nil || u.Dataset != "visits" || u.PerUnit.Aggs[0].Func != algebra.Max || !q.Core.Joins[0].Unit || !q.Core.Joins[0].Outer {
		t.Errorf("values per unit: %s", q.Core.Bytes())
	}
	if col := q.Core.Aggs[0].Arg; col.Table != 1 || col.Name != "a0" {
		t.Errorf("its column: %+v", col)
	}
	q = canonical(t, "SELECT MEDIAN(cost), QUANTILE_CONT(cost, 0.25), QUANTILE_DISC(cost, 0.75) b, QUANTILE(age, 0.9), APPROX_QUANTILE(age, 1) c, PERCENTILE_CONT(0.1) WITHIN GROUP (ORDER BY visit_date), MIN(cost), MAX(visit_date) FROM visits")
	quantiles := map[int64]string{}
	for _, a := range q.Core.Aggs {
		if a.Func == algebra.Quantile {
			quantiles[a.Q] = a.Arg.Name
		}
	}
	if got := fmt.Sprint(quantiles); got != "map[100000:visit_date 250000:cost 500000:cost 750000:cost 900000:age 1000000:age]" {
		t.Errorf("quantiles %s", got)
	}
	q = canonical(t, "SELECT district, histogram(income) FROM population GROUP BY district ORDER BY count DESC")
	if len(q.Core.Keys) != 2 || q.Core.Derived[0].Op != algebra.ExprBin || len(q.Post.Outputs) != 3 || q.Post.Order[0].Ref != 2 {
		t.Errorf("histogram: %s %+v", q.Core.Bytes(), q.Post)
	}
	q = canonical(t, "SELECT district, SUM(cost) FROM visits JOIN population USING (person_id) LEFT JOIN area ON district = code GROUP BY district")
	if got := fmt.Sprint(q.Core.Datasets()); got != "[visits area population]" && got != "[visits population area]" {
		t.Errorf("data sets %s", got)
	}
	red := string(canonical(t, "SELECT IF(age >= 60, 'old', 'young') k, COALESCE(diagnosis, '未知') d, COUNT(*) n FROM visits GROUP BY k, d ORDER BY n").Core.Redacted().Bytes())
	if strings.Contains(red, "old") || strings.Contains(red, "未知") || strings.Contains(red, ":60") || !strings.Contains(red, `"i":2`) {
		t.Errorf("redacted: %s", red)
	}
}

// TestR01_Parameters: a parameter counts as the literal it stands for, and its
// value is in no refusal.
func TestR01_Parameters(t *testing.T) {
	const sql = "SELECT diagnosis, COUNT(*) FROM visits WHERE $1 < age GROUP BY diagnosis LIMIT $2"
	literal := canonical(t, "SELECT diagnosis, COUNT(*) FROM visits WHERE age > 59 GROUP BY diagnosis LIMIT 7")
	q := canonical(t, sql, "59", "7")
	if string(q.Core.Bytes()) != string(literal.Core.Bytes()) || *q.Post.Limit != 7 {
		t.Errorf("parameters: %s %v", q.Core.Bytes(), *q.Post.Limit)
	}
	const secret = "11010519491231002X"
	for _, c := range []struct{ sql, code, first, second string }{
		{sql, "LITERAL_TYPE", secret, "7"},
		{sql, "LIMIT", "59", "7.5"},
		{sql, "LITERAL_TYPE", "1e5", "7"},
		{sql, "LITERAL_TYPE", "1/3", "7"},
		{sql, "LITERAL_TYPE", strings.Repeat("9", 41), "7"},
		{sql, "PARAMETER", "\xff", "7"},
	} {
		_, r := analyse.Decode(readTrees(t)[c.sql], c.sql, readSchemas(t), []string{c.first, c.second})
		if r == nil || r.Code != c.code || strings.Contains(r.Text("zh")+r.Text("en"), secret) {
			t.Errorf("%.40q %q: %v", c.first, c.second, r)
		}
	}
	for _, n := range []int{0, 1, 3} {
		_, r := analyse.Decode(readTrees(t)[sql], sql, readSchemas(t), make([]string, n))
		if r == nil || r.Code != "PARAMETER_COUNT" {
			t.Errorf("%d values: %v", n, r)
		}
	}
	const typed = "SELECT COUNT(*) FROM social WHERE gender = ? AND insured_on >= ? AND paid = ? AND wage > ? AND CASE WHEN age > ? THEN gender ELSE ? END = ?"
	q = canonical(t, typed, secret, "2024-02-29", "true", "-12.5", "60", "x", "y")
	if b := string(q.Core.Bytes()); !strings.Contains(b, secret) || !strings.Contains(b, "-1249") || !strings.Contains(b, "19782") {
		t.Errorf("typed: %s", b)
	}
}

// TestR01_WorstTextsAreCheap: no tree within the limits costs a second or 64 MB.
func TestR01_WorstTextsAreCheap(t *testing.T) {
	schemas := readSchemas(t)
	column := func(name string) string {
		return `{"class":"COLUMN_REF","type":"COLUMN_REF","alias":"","query_location":1,"column_names":["` + name + `"]}`
	}
	number := func(n int) string {
		return fmt.Sprintf(`{"class":"CONSTANT","type":"VALUE_CONSTANT","alias":"","query_location":1,"value":{"type":{"id":"INTEGER","type_info":null},"is_null":false,"value":%d}}`, n)
	}
	call := func(name string, operator bool, args ...string) string {
		return fmt.Sprintf(`{"class":"FUNCTION","type":"FUNCTION","alias":"","query_location":1,"function_name":%q,"schema":"","children":[%s],"filter":null,"order_bys":{"type":"ORDER_MODIFIER","orders":[]},"distinct":false,"is_operator":%v,"export_state":false,"catalog":""}`, name, strings.Join(args, ","), operator)
	}
	statement := func(item, group, where string) string {
		return `{"error":false,"statements":[{"node":{"type":"SELECT_NODE","modifiers":[],"cte_map":{"map":[]},"select_list":[` + item +
			`],"from_table":{"type":"BASE_TABLE","alias":"","sample":null,"query_location":9,"schema_name":"","table_name":"social","column_name_alias":[],"catalog_name":"","at_clause":null},"where_clause":` + where +
			`,"group_expressions":[` + group + `],"group_sets":[` + map[bool]string{true: "[0]", false: ""}[group != ""] + `],"aggregate_handling":"STANDARD_HANDLING","having":null,"sample":null,"qualify":null},"named_param_map":[]}]}`
	}
	compare := func(l, r string) string {
		return `{"class":"COMPARISON","type":"COMPARE_GREATERTHAN","alias":"","query_location":1,"left":` + l + `,"right":` + r + `}`
	}
	// A balanced sum of n different products.
	var balanced func(from, n int) string
	balanced = func(from, n int) string {
		if n == 1 {
			return call("//", true, column("age"), number(from+2))
		}
		return call("+", true, balanced(from, n/2), balanced(from+n/2, n-n/2))
	}
	deep := column("age")
	for i := range 98 {
		deep = call("+", true, deep, number(i))
	}
	cases := func(depth int, when func(i int) string) string {
		e := column("age")
		for i := range depth {
			e = `{"class":"CASE","type":"CASE_EXPR","alias":"","query_location":1,"case_checks":[{"when_expr":` + when(i) + `,"then_expr":` + e + `}],"else_expr":` + number(i) + `}`
		}
		return e
	}
	nested := column("age")
	for i := range 40 { // a condition on an expression with a condition on an expression …
		nested = `{"class":"CASE","type":"CASE_EXPR","alias":"","query_location":1,"case_checks":[{"when_expr":` + compare(nested, number(i)) + `,"then_expr":` + number(i) + `}],"else_expr":` + column("months") + `}`
	}
	var branches, in []string
	for i := range 480 {
		branches = append(branches, `{"when_expr":`+compare(column([]string{"age", "months"}[i%2]), number(1000-i))+`,"then_expr":`+number(i)+`}`)
		in = append(in, compare(call("%", true, column("age"), number(i+2)), number(i)))
	}
	many := `{"class":"CASE","type":"CASE_EXPR","alias":"","query_location":1,"case_checks":[` + strings.Join(branches, ",") + `],"else_expr":` + number(1) + `}`
	or := `{"class":"CONJUNCTION","type":"CONJUNCTION_OR","alias":"","query_location":1,"children":[` + strings.Join(in[:300], ",") + `]}`
	count := call("count_star", false)
	// The largest tree that is read at all: small objects weigh most.
	huge := statement(count, "", "["+strings.Repeat(`{"a":{}},`, (1<<20)/9-200)+"{}]")
	for name, tree := range map[string]string{
		"balanced sum":  statement(call("sum", false, balanced(0, 450)), "", "null"),
		"deep sum":      statement(call("sum", false, deep), "", "null"),
		"deep case":     statement(call("sum", false, cases(45, func(i int) string { return compare(column("months"), number(i)) })), "", "null"),
		"nested case":   statement(call("sum", false, nested), "", "null"),
		"many branches": statement(many+","+count, many, "null"),
		"many derived":  statement(count, "", or),
		"huge tree":     huge,
		"many keys":     statement(count, strings.TrimSuffix(strings.Repeat(column("age")+",", 900), ","), "null"),
	} {
		var before, after runtime.MemStats
		var r *policies.Reason
		var took time.Duration
		for range 3 { // a busy machine may take the time of one
			runtime.ReadMemStats(&before)
			start := time.Now()
			var q algebra.Query
			if q, r = analyse.Decode([]byte(tree), "SELECT 1", schemas, nil); r == nil {
				algebra.Canonicalise(q)
			}
			took = time.Since(start)
			runtime.ReadMemStats(&after)
			if took <= slower*time.Second {
				break
			}
		}
		t.Logf("%s: %v, %d KiB allocated, %v", name, took, (after.TotalAlloc-before.TotalAlloc)>>10, r)
		if took > slower*time.Second {
			t.Errorf("%s: %v", name, took)
		}
		// What is allocated in all bounds what is held at once.
		if mb := (after.TotalAlloc - before.TotalAlloc) >> 20; mb > 64*slower {
			t.Errorf("%s: %d MB allocated", name, mb)
		}
	}
}

// TestR24_LanguageGuideIsTrue decodes every example of the guide, and has every
// refusal it lists refused for the reason it gives.
func TestR24_LanguageGuideIsTrue(t *testing.T) {
	b, err := os.ReadFile("../../docs/language.md")
	if err != nil {
		t.Fatal(err)
	}
	trees, schemas := readTrees(t), readSchemas(t)
	fence, seen := "", map[string]int{}
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSuffix(line, "\n")
		if tag, ok := strings.CutPrefix(line, "```"); ok {
			fence = tag
			continue
		}
		if fence == "" {
			continue
		}
		want, sql := "", line
		if fence == "refused" {
			want, sql, _ = strings.Cut(line, " ")
			sql = strings.TrimLeft(sql, " ")
		}
		tree, ok := trees[sql]
		if !ok {
			t.Errorf("no tree of %q: add it to cases.txt", sql)
			continue
		}
		seen[fence]++
		var params []string
		if strings.Contains(sql, "$3") {
			params = []string{"60", "2025-01-01", "10"}
		}
		_, r := analyse.Decode(tree, sql, schemas, params)
		if got := map[bool]string{true: ""}[r == nil]; r != nil && r.Code != want || r == nil && got != want {
			t.Errorf("%s\n\tgot %v, want %q", sql, r, want)
		}
	}
	if seen["sql"] < 20 || seen["refused"] < 15 || len(seen) != 2 {
		t.Errorf("examples read: %v", seen)
	}
}
