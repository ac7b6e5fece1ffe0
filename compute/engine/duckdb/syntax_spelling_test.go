package duckdb_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/analyse"
	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/compute/engine/duckdb"
	"github.com/sandgate/sandgate/compute/protect"
	"github.com/sandgate/sandgate/compute/render"
)

// atoms of one condition, each in several spellings; C stands for a column.
var atoms = [][]string{
	{"@age >= 18", "@age > 17", "18 <= @age", "NOT @age < 18", "NOT (NOT (@age >= 18))", "@age > 17.5", "17 < @age", "@age >= 17.01"},
	{"@age <= 60", "@age < 61", "NOT @age > 60", "60 >= @age", "@age <= 60.9", "@age BETWEEN -9223372036854775808 AND 60"},
	{"@gender IN ('1', '2', '9')", "@gender IN ('9', '2', '1', '2')", "(@gender = '1' OR @gender = '2' OR '9' = @gender)", "NOT @gender NOT IN ('2', '1', '9')", "NOT (@gender <> '1' AND @gender <> '2' AND @gender <> '9')"},
	{"NOT @paid", "@paid = FALSE", "@paid <> TRUE", "NOT @paid = TRUE", "FALSE = @paid", "NOT (@paid AND @paid)", "@paid IN (FALSE)"},
	{"@wage > 1000", "@wage > 1000.00", "@wage >= 1000.01", "1000.0 < @wage", "NOT @wage <= 1000", "@wage > 1000.004"},
	{"@insured_on < DATE '2020-01-01'", "@insured_on < '2020-01-01'", "@insured_on <= '2019-12-31'", "NOT @insured_on >= CAST('2020-01-01' AS DATE)"},
	{"@wage >= @bonus", "@bonus <= @wage", "NOT @wage < @bonus"},
	{"(@months IS NULL OR @months <> 3)", "(NOT @months = 3 OR @months IS NULL)", "NOT (@months = 3 AND @months IS NOT NULL)"},
}

// spelling writes the same question in another way.
func spelling(r *rand.Rand) string {
	pick := func(s ...string) string { return s[r.IntN(len(s))] }
	alias := pick("", "s", "T1", "\"别名\"")
	column := func(s string) string {
		if alias != "" && r.IntN(2) == 0 {
			return alias + "." + s
		}
		return pick(s, strings.ToUpper(s), `"`+s+`"`)
	}
	var parts []string
	for _, spellings := range atoms {
		for range 1 + r.IntN(5)/4 { // now and then twice
			text := pick(spellings...)
			for strings.Contains(text, "@") {
				i := strings.IndexByte(text, '@')
				end := i + 1
				for end < len(text) && (text[end] == '_' || text[end] >= 'a' && text[end] <= 'z') {
					end++
				}
				text = text[:i] + column(text[i+1:end]) + text[end:]
			}
			parts = append(parts, text)
		}
	}
	r.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
	var where string
	switch r.IntN(3) {
	case 0:
		where = strings.Join(parts, " AND ")
	case 1: // De Morgan
		for i := range parts {
			parts[i] = "NOT (" + parts[i] + ")"
		}
		where = "NOT (" + strings.Join(parts, " OR ") + ")"
	default:
		cut := 1 + r.IntN(len(parts)-1)
		where = "(" + strings.Join(parts[:cut], " AND ") + ") AND (TRUE AND (" + strings.Join(parts[cut:], " AND ") + "))"
	}
	outputs := []string{column("district"), pick("COUNT(*)", "count(1)", "Count()"), "SUM(" + column("wage") + ")", column("industry")}
	r.Shuffle(len(outputs), func(i, j int) { outputs[i], outputs[j] = outputs[j], outputs[i] })
	if r.IntN(2) == 0 {
		outputs = append(outputs, "SUM("+column("wage")+") AS again")
	}
	for i := range outputs {
		if r.IntN(2) == 0 && !strings.HasSuffix(outputs[i], "again") {
			outputs[i] += fmt.Sprintf(" AS 名%d", i)
		}
	}
	group := pick("ALL", column("district")+", "+column("industry"), column("industry")+", "+column("district")+", "+column("industry"))
	text := "SELECT " + strings.Join(outputs, ", ") + " FROM " + pick("social", "SOCIAL", `"social"`) + " " + pick("", "AS ") + alias + " WHERE " + where + " GROUP BY " + group
	if alias == "" {
		text = strings.Replace(text, " AS  WHERE", " WHERE", 1)
	}
	text = strings.ReplaceAll(text, " AND ", pick(" AND ", "\n  and ", " And /* 且 */ "))
	return text + pick("", ";", " -- 完", " ORDER BY COUNT(*) DESC LIMIT 3", " HAVING COUNT(*) > 5")
}

// TestR01_TwoHundredSpellingsAreOneQuestion pushes spellings of one question
// through the real parser; a control question that differs must stay apart.
func TestR01_TwoHundredSpellingsAreOneQuestion(t *testing.T) {
	ctx, db, schemas := context.Background(), openAnalyser(t), analyserSchemas(t)
	canonical := func(text string) []byte {
		tree, err := duckdb.Syntax(ctx, db, text)
		if err != nil {
			t.Fatal(err)
		}
		q, reason := analyse.Decode(tree, text, schemas, nil)
		if reason != nil {
			t.Fatalf("%s\n%s", text, reason.Text("zh"))
		}
		return algebra.Canonicalise(q).Core.Bytes()
	}
	r := rand.New(rand.NewPCG(1, 2))
	distinct := map[string]bool{}
	var want []byte
	for len(distinct) < 200 {
		text := spelling(r)
		if distinct[text] {
			continue
		}
		distinct[text] = true
		got := canonical(text)
		if want == nil {
			want = got
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("another canonical form:\n%s\n got %s\nwant %s", text, got, want)
		}
	}
	for text := range distinct {
		other := strings.ReplaceAll(text, "'2'", "'3'")
		if other == text || bytes.Equal(canonical(other), want) {
			t.Fatalf("control: another question has the same form:\n%s", other)
		}
	}
}

// TestR01_CanonicalFormCountsTheSameRows runs conditions in the engine before
// and after canonicalisation: the logic of the algebra is that of the engine.
func TestR01_CanonicalFormCountsTheSameRows(t *testing.T) {
	ctx, db, all := context.Background(), openAnalyser(t), analyserSchemas(t)
	for _, s := range []string{
		"ATTACH ':memory:' AS d0",
		"CREATE TABLE d0.main.t (person_id VARCHAR, district VARCHAR, gender VARCHAR, age BIGINT, months BIGINT, wage BIGINT, bonus BIGINT, paid BOOLEAN, insured_on DATE, industry VARCHAR, _unit UBIGINT, _rn INTEGER)",
		`INSERT INTO d0.main.t (gender, age, months, wage, bonus, paid, insured_on, _rn)
			SELECT CASE WHEN i % 7 = 0 THEN NULL ELSE chr((48 + i % 11)::INTEGER) || CASE WHEN i % 13 = 0 THEN '区' ELSE '' END END,
				CASE WHEN i % 5 = 0 THEN NULL ELSE i * 37 % 80 END, CASE WHEN i % 3 = 0 THEN NULL ELSE i % 6 END,
				CASE WHEN i % 11 = 0 THEN NULL ELSE i * 7919 % 200000 END, CASE WHEN i % 4 = 0 THEN NULL ELSE i * 104729 % 200000 END,
				CASE WHEN i % 6 = 0 THEN NULL ELSE i % 2 = 0 END, CASE WHEN i % 8 = 0 THEN NULL ELSE DATE '2019-12-01' + (i % 60)::INTEGER END, 1
			FROM range(3000) r(i)`,
	} {
		if _, err := db.ExecContext(ctx, s); err != nil {
			t.Fatal(err)
		}
	}
	count := func(core algebra.Core) (n int64) {
		plan := &protect.Plan{Core: core, Mode: protect.ModeDP, MaxRows: 1, Ranks: []int64{1}, Measures: []protect.Measure{{Kind: protect.MeasureRows}}}
		text, err := render.SQL(plan, all[:1])
		if err != nil {
			t.Fatal(err)
		}
		if err := db.QueryRowContext(ctx, text).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	r := rand.New(rand.NewPCG(3, 4))
	var tree func(depth int) string
	tree = func(depth int) string {
		if depth == 0 || r.IntN(5) == 0 {
			atom := atoms[r.IntN(len(atoms))]
			return strings.ReplaceAll(atom[r.IntN(len(atom))], "@", "")
		}
		out := "(" + tree(depth-1) + []string{" AND ", " OR "}[r.IntN(2)] + tree(depth-1) + ")"
		if r.IntN(3) == 0 {
			out = "NOT " + out
		}
		return out
	}
	some := 0
	for range 150 {
		text := "SELECT COUNT(*) FROM social WHERE " + tree(4)
		ast, err := duckdb.Syntax(ctx, db, text)
		if err != nil {
			t.Fatal(err)
		}
		q, reason := analyse.Decode(ast, text, all, nil)
		if reason != nil {
			t.Fatalf("%s\n%v", text, reason)
		}
		before, after := count(q.Core), count(q.Core.Canonical())
		var direct int64 // what the engine makes of the operator's own words
		wage := strings.NewReplacer("wage", "(wage / 100.0::DECIMAL(18,2))", "bonus", "(bonus / 100.0::DECIMAL(18,2))", "FROM social", "FROM d0.main.t").Replace(text)
		if err := db.QueryRowContext(ctx, wage).Scan(&direct); err != nil {
			t.Fatal(err)
		}
		if before != after || before != direct {
			t.Fatalf("%s\n%d rows as written, %d as decoded, %d in canonical form", text, direct, before, after)
		}
		if direct > 0 && direct < 3000 {
			some++
		}
	}
	if some < 50 {
		t.Errorf("only %d conditions kept some rows and not all", some)
	}
}

func TestR01_AnalyserIsHardened(t *testing.T) {
	ctx, db := context.Background(), openAnalyser(t)
	for _, s := range []string{
		"SET memory_limit='8GB'", "ATTACH '/tmp/sandgate-analyser.db'", "COPY (SELECT 1) TO '/tmp/sandgate-analyser.csv'",
		"SELECT * FROM read_text('/etc/hostname')", "INSTALL httpfs", "LOAD httpfs", "SET enable_external_access=true",
	} {
		if _, err := db.ExecContext(ctx, s); err == nil {
			t.Errorf("allowed: %s", s)
		}
	}
	if tree, err := duckdb.Syntax(ctx, db, "SELECT * FROM enable_logging('QueryLog', storage='stdout'); CREATE TABLE leak(i INT)"); err != nil || len(tree) == 0 {
		t.Fatal(err)
	}
	var n int
	if err := db.QueryRowContext(ctx, "SELECT count(*) FROM duckdb_tables()").Scan(&n); err != nil || n != 0 {
		t.Errorf("parsing created %d tables (%v)", n, err)
	}
}

func TestR01_AnalyseCall(t *testing.T) {
	schemas := analyserSchemas(t)
	call := func(v any) ([]byte, error) {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return duckdb.AnalyseCall(b)
	}
	tree, err := call(engine.AnalyseRequest{Op: "syntax", SQL: "SELECT COUNT(*) FROM social"})
	if err != nil {
		t.Fatal(err)
	}
	if _, r := analyse.Decode(tree, "SELECT COUNT(*) FROM social", schemas, nil); r != nil {
		t.Error(r)
	}
	// Twice: a call must find nothing of the one before.
	for range 2 {
		plan, err := call(engine.AnalyseRequest{Op: "gate", SQL: "SELECT COUNT(*) AS m0 FROM d0.main.t AS t0", Schemas: schemas[:1]})
		if err != nil || !bytes.Contains(plan, []byte(`"seq_scan"`)) {
			t.Fatalf("%s: %v", plan, err)
		}
	}
	const secret = "11010519491231002X"
	for name, payload := range map[string]string{
		"not json":       "{" + secret,
		"unknown op":     `{"op":"run","sql":"SELECT '` + secret + `'"}`,
		"unknown field":  `{"op":"syntax","sql":"SELECT 1","file":"` + secret + `"}`,
		"trailing":       `{"op":"syntax","sql":"SELECT 1"} {}`,
		"empty":          `{"op":"syntax","sql":""}`,
		"too long":       `{"op":"syntax","sql":"` + strings.Repeat("x", 600<<10) + `"}`,
		"no schemas":     `{"op":"plan","sql":"SELECT 1"}`,
		"unknown kind":   `{"op":"plan","sql":"SELECT 1","schemas":[{"dataset":"d","columns":[{"name":"` + secret + `","type":{"kind":"blob"}}]}]}`,
		"nul in text":    `{"op":"syntax","sql":"SELECT '\u0000` + secret + `'"}`,
		"doubled column": `{"op":"plan","sql":"SELECT 1","schemas":[{"dataset":"d","columns":[{"name":"` + secret + `","type":{"kind":"int"}},{"name":"` + secret + `","type":{"kind":"int"}}]}]}`,
	} {
		out, err := duckdb.AnalyseCall([]byte(payload))
		if err == nil {
			t.Errorf("%s: answered %s", name, out)
		} else if strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the error repeats the input: %v", name, err)
		}
	}
	odd := []algebra.Schema{{Dataset: "d", Columns: []algebra.SchemaColumn{{Name: `x"); DROP TABLE t; --`, Type: algebra.Type{Kind: algebra.Int}}}}}
	if plan, err := call(engine.AnalyseRequest{Op: "gate", SQL: "SELECT COUNT(*) FROM d0.main.t", Schemas: odd}); err != nil || !bytes.Contains(plan, []byte("DROP TABLE")) {
		t.Errorf("a column name must stay a name: %v", err)
	}
}
