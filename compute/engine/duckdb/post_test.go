package duckdb

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sandgate/sandgate/compute/algebra"
	language "github.com/sandgate/sandgate/compute/analyse"
	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/compute/release"
	"github.com/sandgate/sandgate/sandbox"
)

// releasedTable is a stored release of districts: a count, a withheld mean.
func releasedTable(t testing.TB, schema, name string) *release.Table {
	t.Helper()
	stored := []byte(`{"v":1,"mode":"dp","rho":5,"derived":false,"source":"","columns":[` +
		`{"name":"","kind":"key","func":"","type":"text","scale":0},{"name":"","kind":"key","func":"","type":"date","scale":0},` +
		`{"name":"","kind":"estimate","func":"count","type":"int","scale":0},{"name":"","kind":"estimate","func":"avg","type":"decimal","scale":2}],"rows":[` +
		`[{"s":"东城"},{"v":"19723"},{"v":"120","lo":"110","hi":"130"},{"v":"1050","lo":"1000","hi":"1100"}],` +
		`[{"s":"西城"},{"v":"19724"},{"v":"80","lo":"70","hi":"90"},{"x":"TOO_NOISY"}],` +
		`[{},{"v":"19725"},{"v":"-3","lo":"-13","hi":"7"},{"v":"-250","lo":"-300","hi":"-200"}]]}`)
	r, err := release.Load(stored, sha256.Sum256(stored))
	if err != nil {
		t.Fatal(err)
	}
	r, err = r.Apply(algebra.Post{Outputs: []algebra.Output{{Ref: 0, Name: "district"}, {Ref: 1, Name: "day"}, {Ref: 2, Name: "n"}, {Ref: 3, Name: "fee"}}})
	if err != nil {
		t.Fatal(err)
	}
	table, err := r.Table(schema, name)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// postParser is one analyser for the statements of all tests.
var postParser = sync.OnceValues(openWarm)

// treeOf parses a statement as the analyser does.
func treeOf(t testing.TB, text string) *algebra.PostQuery {
	t.Helper()
	p, err := postParser()
	if err != nil {
		t.Fatal(err)
	}
	tree, err := p.syntax(context.Background(), text)
	if err != nil {
		t.Fatal(err)
	}
	return &algebra.PostQuery{Tree: tree}
}

func postRun(t testing.TB, text string) (*engine.Derived, error) {
	t.Helper()
	tables := []*release.Table{releasedTable(t, "main", "released"), releasedTable(t, "releases", "0123456789abcdef0123")}
	return (&engine.PostRunner{Pool: pool(t)}).Run(context.Background(), "", treeOf(t, text), tables)
}

// shown writes an answer on one line.
func shown(d *engine.Derived) string {
	var out []string
	for _, c := range d.Columns {
		out = append(out, c.Name+":"+c.Type)
	}
	for _, row := range d.Rows {
		var cells []string
		for _, c := range row {
			if c == nil {
				cells = append(cells, "NULL")
			} else {
				cells = append(cells, *c)
			}
		}
		out = append(out, strings.Join(cells, ","))
	}
	return strings.Join(out, " | ")
}

func TestPostAnswers(t *testing.T) {
	for _, c := range []struct{ sql, want string }{
		{`SELECT district, n, RANK() OVER (ORDER BY n DESC) AS r FROM main.released ORDER BY r`, "district:text | n:int | r:int | 东城,120,1 | 西城,80,2 | NULL,-3,3"},
		{`SELECT district, n_lo, n_hi, fee, fee_lo, fee_hi FROM main.released WHERE district = '西城'`, "district:text | n_lo:int | n_hi:int | fee:decimal | fee_lo:decimal | fee_hi:decimal | 西城,70,90,NULL,NULL,NULL"},
		{`SELECT SUM(n), AVG(n), SUM(fee), MAX(day), COUNT(*) > 2, NULL FROM main.released`, "sum(n):decimal | avg(n):double | sum(fee):decimal | max(\"day\"):date | (count_star() > 2):bool | NULL:int | 197,65.66666666666667,8.00,2024-01-03,true,NULL"},
		{`SELECT a.n - b.n AS d FROM main.released a JOIN releases."0123456789abcdef0123" b ON a.district = b.district ORDER BY 1`, "d:int | 0 | 0"},
		{`SELECT TIMESTAMP '2024-01-01 12:00:00' AS ts, CAST('0.001' AS DOUBLE) AS e, 'a''b' AS q WHERE FALSE`, "ts:timestamp | e:double | q:text"},
		{`SELECT CAST('1e10' AS DOUBLE) AS big, 7::UTINYINT AS u, DATE '0001-01-01' AS d`, "big:double | u:int | d:date | 1e+10,7,0001-01-01"},
		{`SELECT n FROM main.released WHERE n > '100' LIMIT '1'`, "n:int | 120"},
	} {
		d, err := postRun(t, c.sql)
		if err != nil {
			var p *engine.PostError
			errors.As(err, &p)
			t.Errorf("%s: %v %+v", c.sql, err, p)
			continue
		}
		if got := shown(d); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.sql, got, c.want)
		}
	}
}

func TestPostRefusals(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		sql, code, message string
		offset             int
	}{
		{`SELECT   nobody FROM main.released`, engine.PostSQL, "nobody", 9},
		{`SELECT CAST(district AS INT) FROM main.released`, engine.PostSQL, "Could not convert", 7},
		{`SELECT [1, 2] AS 列表`, engine.PostType, "列表", -1},
		{`SELECT INTERVAL 1 DAY AS 间隔`, engine.PostType, "间隔", -1},
		{`SELECT CAST('11010519491231002X' AS INT)`, engine.PostSQL, "'…'", 7},
		{`SELECT range FROM range(100001)`, engine.PostLimit, "", -1},
		{`SELECT repeat('x', 1000000) FROM range(100)`, engine.PostLimit, "", -1},
	} {
		_, err := postRun(t, c.sql)
		var p *engine.PostError
		if !errors.As(err, &p) || p.Code != c.code || !strings.Contains(p.Message, c.message) || p.Offset != c.offset {
			t.Errorf("%s: got %v %+v", c.sql, err, p)
		}
		if err != nil && c.message != "" && strings.Contains(err.Error(), c.message) {
			t.Errorf("%s: the error's own text %q says what the engine said", c.sql, err)
		}
	}
}

// TestPostCheck: binding needs no rows, and prints both halves for explain.
func TestPostCheck(t *testing.T) {
	q := treeOf(t, `SELECT n FROM main.released`)
	head, err := (&engine.PostRunner{Pool: pool(t)}).Check(context.Background(), "", q, treeOf(t, `SELECT COUNT(*) AS n FROM social`).Tree,
		[]*release.Table{releasedTable(t, "main", "released")})
	if err != nil || head.SQL != "SELECT n FROM main.released" || head.CoreSQL != "SELECT count_star() AS n FROM social" || len(head.Columns) != 1 {
		t.Fatalf("%+v, %v", head, err)
	}
}

// TestPostHostile: a statement that would run for ever or eat the machine is
// ended by the worker's limits, and the next one runs.
func TestPostHostile(t *testing.T) {
	t.Parallel()
	limits := sandbox.Limits{Wall: 1500 * time.Millisecond, Memory: 128 << 20, Result: 1 << 20, Threads: 1}
	for _, text := range []string{
		`WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT COUNT(*) FROM r`,
		`SELECT COUNT(*) FROM range(1000000) a, range(1000000) b, range(1000000) c WHERE a.range + b.range + c.range = 7`,
		`SELECT length(repeat('x', 900000000))`,
		`SELECT len(list_sort(list_transform(range(100000000), x -> x * 2)))`,
	} {
		begin := time.Now()
		payload, err := engine.PostPayload(engine.PostJob{Tree: treeOf(t, text).Tree}, nil)
		if err != nil {
			t.Fatal(err)
		}
		var frames [][]byte
		err = pool(t).Run(context.Background(), sandbox.Job{Handler: engine.PostHandler, Payload: payload, Limits: limits}, func(f []byte) error {
			frames = append(frames, slices.Clone(f))
			return nil
		})
		var killed *sandbox.ErrKilled
		limited := len(frames) == 1 && strings.Contains(string(frames[0]), engine.PostLimit)
		if !limited && (!errors.As(err, &killed) || killed.Cause == sandbox.CauseFailed) {
			t.Errorf("%s: %v, %q", text, err, frames)
		}
		if took := time.Since(begin); took > 30*time.Second {
			t.Errorf("%s: took %v", text, took)
		}
	}
	if d, err := postRun(t, `SELECT 1 AS one`); err != nil || shown(d) != "one:int | 1" {
		t.Fatalf("the next statement: %v", err)
	}
}

// postEscapes reach for something that is not a released value. They stand here as
// if the split had let them through.
var postEscapes = []string{
	`SELECT content FROM read_text('/etc/passwd')`,
	`SELECT * FROM read_csv('/etc/passwd')`,
	`SELECT * FROM read_blob('/proc/self/environ')`,
	`SELECT * FROM '/etc/passwd'`,
	`SELECT file FROM glob('/etc/*') WHERE file LIKE '%passwd%'`,
	`SELECT * FROM read_text('/proc/self/fd/3')`,
	`SELECT * FROM read_csv('http://127.0.0.1:1/x')`,
	`SELECT getenv('PATH')`,
	`SELECT * FROM query('SELECT * FROM d0.main.t')`,
	`SELECT COUNT(*) FROM d0.main.t`,
	`SELECT COUNT(*) FROM d1.main.t`,
	`SELECT * FROM read_text('/sandgate/d0')`,
	`SELECT * FROM enable_logging('QueryLog', storage='file', storage_config={'path': '/tmp/x'})`,
	`SELECT * FROM json_execute_serialized_sql('{}')`,
}

func TestR01_PostEscapes(t *testing.T) {
	t.Parallel()
	for _, text := range postEscapes {
		if d, err := postRun(t, text); err == nil {
			t.Errorf("%s: answered %s", text, shown(d))
		}
	}
	for _, text := range []string{`ATTACH '/etc/passwd' AS x`, `COPY (SELECT 1) TO '/tmp/x'`, `PRAGMA database_list`, `SET threads=4`, `INSTALL httpfs`, `CREATE TABLE x(i INT)`, `SELECT 1; SELECT 2`} {
		if d, err := postRun(t, text); err == nil {
			t.Errorf("%s: answered %s", text, shown(d))
		}
	}
}

// TestR01_PostEscapesControl: the same reaches succeed in an engine that is neither
// locked nor jailed, so what stops them above is the lock and the jail.
func TestR01_PostEscapesControl(t *testing.T) {
	s, err := open()
	if err != nil {
		t.Fatal(err)
	}
	defer s.connector.Close()
	for _, text := range []string{postEscapes[0], postEscapes[4]} {
		a, err := s.prepare(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if err = a.run(); err == nil {
			rows := 0
			if _, e := a.columns(); e == nil {
				err = a.stream(engine.PostHead{}, func(f []byte) error { rows += len(f); return nil })
			}
			if rows == 0 {
				t.Errorf("%s: no rows in an open engine", text)
			}
		}
		a.close()
		if err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestR01_PostTakesNoFiles: a job that carries a snapshot is not run at all.
func TestR01_PostTakesNoFiles(t *testing.T) {
	s := store(t)
	m, err := take(t, s, healthSpec(), healthCSV)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := engine.PostPayload(engine.PostJob{Tree: treeOf(t, "SELECT 1").Tree}, nil)
	if err != nil {
		t.Fatal(err)
	}
	job := sandbox.Job{Handler: engine.PostHandler, Payload: payload, Limits: testLimits}
	if err := pool(t).Run(context.Background(), job, func([]byte) error { return nil }); err != nil {
		t.Fatalf("without files: %v", err)
	}
	job.Files = append(job.Files, snapshot(t, s, m.Snapshot))
	if err := pool(t).Run(context.Background(), job, func([]byte) error { return nil }); err == nil {
		t.Error("a job with a snapshot was run")
	}
}

// TestR01_PostDependsOnTheReleaseAlone: whatever the statement is, two domains with
// different data and the same release give the same answer.
func TestR01_PostDependsOnTheReleaseAlone(t *testing.T) {
	t.Parallel()
	statements := append([]string{
		`SELECT district, SUM(n) OVER (ORDER BY n) AS s FROM main.released`,
		`SELECT table_schema, table_name FROM information_schema.tables ORDER BY ALL`,
		`SELECT database_name FROM duckdb_databases() WHERE NOT internal`,
		`SELECT district, list_sort(list(n))::VARCHAR AS l FROM main.released GROUP BY ALL ORDER BY ALL`,
	}, postEscapes[0], postEscapes[8], postEscapes[9], postEscapes[11])
	var answers [2][]string
	for i, raw := range []string{healthCSV, strings.ReplaceAll(healthCSV, "A1", "Z9") + "c3,东,1.00,2024-03-02,1,1970-12-31,1\n"} {
		s := store(t)
		m, err := take(t, s, healthSpec(), raw)
		if err != nil {
			t.Fatal(err)
		}
		p, err := run(t, s, m.Snapshot, "SELECT count(*) FROM d0.main.t", 1)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range statements {
			d, err := postRun(t, text)
			answer := fmt.Sprint(err)
			if err == nil {
				answer = shown(d)
			}
			answers[i] = append(answers[i], answer)
		}
		answers[i] = append(answers[i], p.Cells[0].M[0].String())
	}
	last := len(statements)
	if answers[0][last] == answers[1][last] {
		t.Fatal("both domains hold the same data: nothing is tested")
	}
	for i, text := range statements {
		if answers[0][i] != answers[1][i] {
			t.Errorf("%s: %s, then %s", text, answers[0][i], answers[1][i])
		}
	}
}

// TestPostOfSplit: texts with a core, cut and run: what comes out is what SQL
// says, on released values.
func TestPostOfSplit(t *testing.T) {
	schemas := []algebra.Schema{{Dataset: "visits", Unit: "id", Columns: []algebra.SchemaColumn{
		{Name: "district", Type: algebra.Type{Kind: algebra.Text}}, {Name: "day", Type: algebra.Type{Kind: algebra.Date}}, {Name: "cost", Type: algebra.Type{Kind: algebra.Decimal, Scale: 2}}}}}
	core := `SELECT district, day, COUNT(*) AS n, AVG(cost) AS fee FROM visits GROUP BY district, day`
	for _, c := range []struct{ sql, want string }{
		{`SELECT district, day, COUNT(*) AS n, AVG(cost) AS fee, ROUND(100.0 * n / SUM(n) OVER (), 1) AS share FROM visits GROUP BY district, day HAVING COUNT(*) > 0 ORDER BY share`,
			"district:text | day:date | n:int | fee:decimal | share:double | 西城,2024-01-02,80,NULL,40 | 东城,2024-01-01,120,10.50,60"},
		{`WITH c AS (` + core + `) SELECT x.district, y.district AS other FROM c x JOIN c y ON x.n > y.n AND y.n > $1`, "district:text | other:text | 东城,西城"},
		{`SELECT c.district, c.n_hi - r.n_lo AS 差 FROM (` + core + `) c JOIN releases."0123456789abcdef0123" r ON c.district = r.district WHERE c.district = '东城'`, "district:text | 差:int | 东城,20"},
	} {
		parsed := treeOf(t, c.sql)
		parts, r := language.Split(parsed.Tree, c.sql, schemas, []string{"0"}[:strings.Count(c.sql, "$")])
		if r != nil || parts == nil {
			t.Fatalf("%s: %+v", c.sql, r)
		}
		if got := strings.Join(parts.Post.Columns, ","); got != "district,day,n,fee" {
			t.Fatalf("%s: columns %s", c.sql, got)
		}
		d, err := (&engine.PostRunner{Pool: pool(t)}).Run(context.Background(), "", parts.Post,
			[]*release.Table{releasedTable(t, "main", "released"), releasedTable(t, "releases", "0123456789abcdef0123")})
		if err != nil {
			t.Errorf("%s: %v", c.sql, err)
			continue
		}
		if got := shown(d); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.sql, got, c.want)
		}
	}
}
