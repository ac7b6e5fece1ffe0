package analyse_test

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/analyse"
	"github.com/sandgate/sandgate/policies"
)

// known are the functions of the language. Everything else that DuckDB has is
// refused, wherever it stands.
var known = strings.Fields(`count count_star sum avg mean var_samp variance var_pop stddev stddev_samp stddev_pop
	covar_samp covar_pop corr regr_slope regr_intercept regr_r2 regr_count median quantile quantile_cont quantile_disc
	approx_quantile min max histogram
	date_part datepart year quarter month day dayofmonth isodow bin abs @ mod % // + - *`)

// places are where a function of a row is tried; STATS stands for its call.
var places = []string{
	"SELECT stats(age), COUNT(*) FROM social",
	"SELECT COUNT(*) FROM social WHERE stats(age) = 1",
	"SELECT COUNT(*) FROM social WHERE stats(age)",
	"SELECT SUM(stats(age)) FROM social",
	"SELECT SUM(age) FILTER (WHERE stats(age, wage) > 1) FROM social",
	"SELECT COUNT(*) FROM social GROUP BY stats(age)",
	"SELECT district, COUNT(*) FROM social GROUP BY district ORDER BY stats(district)",
	"SELECT district, COUNT(*) FROM social GROUP BY district HAVING stats(COUNT(*)) > 1",
	"SELECT CASE WHEN stats() > 1 THEN stats(1, 2, 3) END AS k, COUNT(*) FROM social GROUP BY k",
	"SELECT AVG(n) FROM (SELECT person_id, stats(age) AS n FROM social GROUP BY person_id)",
}

func readFunctions(t testing.TB) (rows, tables []string) {
	t.Helper()
	b, err := os.ReadFile("testdata/functions.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		kind, name, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		switch kind {
		case "table", "table_macro", "pragma":
			tables = append(tables, name)
		default:
			rows = append(rows, name)
		}
	}
	return rows, tables
}

// withFunction is a tree with another function in the place of stats.
func withFunction(t testing.TB, tree json.RawMessage, from, name string, operator bool) []byte {
	t.Helper()
	quoted, err := json.Marshal(name)
	if err != nil {
		t.Fatal(err)
	}
	s := string(tree)
	at := strings.Index(s, `"function_name":"`+from+`"`)
	if at < 0 {
		t.Fatalf("no call of %s in the tree", from)
	}
	s = strings.ReplaceAll(s, `"function_name":"`+from+`"`, `"function_name":`+string(quoted))
	if operator {
		s = s[:at] + strings.Replace(s[at:], `"is_operator":false`, `"is_operator":true`, 1)
	}
	return []byte(s)
}

// TestR01_EveryOtherFunctionIsRefused tries every function of DuckDB that is not in
// the language in every place a function can stand: refused, and by name where it is
// the function that is not known.
func TestR01_EveryOtherFunctionIsRefused(t *testing.T) {
	trees, schemas := readTrees(t), readSchemas(t)
	rows, tables := readFunctions(t)
	if len(rows) < 600 || len(tables) < 80 {
		t.Fatalf("only %d and %d functions were read", len(rows), len(tables))
	}
	byName, tried := 0, 0
	check := func(r *policies.Reason, name, sql string) {
		tried++
		name = strings.ToLower(name)
		if r == nil {
			t.Errorf("%s in %s: accepted", name, sql)
			return
		}
		if r.Code == "ANALYSER" || r.HintZH == "" || r.HintEN == "" || r.Line == 0 {
			t.Errorf("%s in %s: refused as %+v", name, sql, r)
		}
		if strings.Contains(r.EN, `"`+name+`"`) && strings.Contains(r.ZH, "「"+name+"」") {
			byName++
		} else if r.Code == "UNKNOWN_FUNCTION" && len([]rune(name)) <= 32 && strings.IndexFunc(name, func(c rune) bool { return c < ' ' }) < 0 {
			t.Errorf("%s in %s: not named: %s", name, sql, r.EN)
		}
	}
	for _, name := range rows {
		for i, sql := range places {
			for _, operator := range []bool{false, true}[:map[bool]int{true: 2, false: 1}[i == 1]] {
				if slices.Contains(known, name) {
					continue
				}
				_, r := analyse.Decode(withFunction(t, trees[sql], "stats", name, operator), sql, schemas, nil)
				check(r, name, sql)
			}
		}
	}
	for _, name := range slices.Concat(tables, rows) {
		sql := "SELECT COUNT(*) FROM duckdb_tables()"
		_, r := analyse.Decode(withFunction(t, trees[sql], "duckdb_tables", name, false), sql, schemas, nil)
		if r == nil || r.Code != "TABLE_FUNCTION" {
			t.Errorf("table function %s: %v", name, r)
		}
	}
	if tried < 6000 || byName < tried/2 {
		t.Errorf("%d of %d refusals name the function", byName, tried)
	}
	// Control: the same trees with a function of the language are accepted.
	for _, name := range []string{"abs", "year"} {
		sql := "SELECT COUNT(*) FROM social WHERE stats(age) = 1"
		_, r := analyse.Decode(withFunction(t, trees[sql], "stats", name, false), sql, schemas, nil)
		if accepted := r == nil; accepted != (name == "abs") { // age is no date
			t.Errorf("control %s: %v", name, r)
		}
	}
}
