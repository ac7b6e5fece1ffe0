package gateway_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sandgate/sandgate/gateway"
	"github.com/sandgate/sandgate/gateway/attack"
)

// visits has the columns that the corpus of hostile queries speaks of.
func visits(id, rule string) attack.Table {
	var csv strings.Builder
	csv.WriteString("id,diagnosis,diagnosis_detail,department,visit_date,fee_yuan,insured_yuan\n")
	for i := range 600 {
		fmt.Fprintf(&csv, "u%d,F00-F99,F%02d.9,surgery,2024-03-%02d,%d.50,%d.00\n", i, i%40, 1+i%28, i, i/2)
	}
	return attack.Table{ID: id, Rule: rule, CSV: csv.String(), Columns: []attack.Column{
		{Name: "diagnosis", YAML: `type: text, codes: [{value: "F00-F99"}, {value: "A00-B99"}]`, Uses: "key, filter"},
		{Name: "diagnosis_detail", YAML: "type: text", Uses: "private key, filter"},
		{Name: "department", YAML: "type: text, codes: [{value: surgery}]", Uses: "key, filter"},
		{Name: "visit_date", YAML: `type: date, bounds: {lo: "2024-01-01", hi: "2024-12-31"}`, Uses: "filter"},
		{Name: "fee_yuan", YAML: `type: decimal, scale: 2, bounds: {lo: "0", hi: "100000"}`, Uses: "filter, measure"},
		{Name: "insured_yuan", YAML: `type: decimal, scale: 2, bounds: {lo: "0", hi: "100000"}`, Uses: "filter, measure"},
	}}
}

type hostile struct{ name, want, sql string }

var repetition = regexp.MustCompile(`⟦(\d+)×([^⟧]*)⟧`)

// corpus reads the hostile queries of testdata, but those that only the city's
// licences refuse.
func corpus(t testing.TB) []hostile {
	t.Helper()
	files, err := filepath.Glob("../testdata/hostile/*.sql")
	if err != nil || len(files) == 0 {
		t.Fatalf("no corpus: %v", err)
	}
	var out []hostile
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range strings.Split(string(text), "-- name: ")[1:] {
			head, rest, _ := strings.Cut(part, "\n")
			h := hostile{name: filepath.Base(f) + "/" + head}
			escapes := false
			for strings.HasPrefix(rest, "-- refuse: ") || strings.HasPrefix(rest, "-- escapes: ") {
				var line string
				line, rest, _ = strings.Cut(rest, "\n")
				if v, ok := strings.CutPrefix(line, "-- refuse: "); ok {
					h.want = v
				} else {
					escapes = true
				}
			}
			h.sql = strings.TrimSpace(rest)
			if escapes {
				h.sql = regexp.MustCompile(`\\x[0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}`).ReplaceAllStringFunc(h.sql, func(s string) string {
					n, _ := strconv.ParseUint(s[2:], 16, 32)
					if s[1] == 'x' {
						return string([]byte{byte(n)})
					}
					return string(rune(n))
				})
			}
			h.sql = repetition.ReplaceAllStringFunc(h.sql, func(s string) string {
				m := repetition.FindStringSubmatch(s)
				n, _ := strconv.Atoi(m[1])
				return strings.Repeat(m[2], n)
			})
			if !strings.HasPrefix(h.want, "POLICY_") {
				out = append(out, h)
			}
		}
	}
	return out
}

// What could make an error, a delay or an absence depend on a row is refused
// before data is read and costs nothing.
func TestAttack08_ErrorOracles(t *testing.T) {
	a := shared(t)
	a.Add(t, visits("visits", ""))
	own := []string{
		"SELECT COUNT(*) AS n FROM visits WHERE CAST(diagnosis_detail AS INTEGER) = 1",
		"SELECT COUNT(*) AS n FROM visits WHERE TRY_CAST(diagnosis_detail AS INTEGER) = 1",
		"SELECT COUNT(*) AS n FROM visits WHERE diagnosis_detail::DATE > '2024-01-01'",
		"SELECT COUNT(*) AS n FROM visits WHERE error(diagnosis_detail) IS NULL",
		"SELECT COUNT(*) AS n FROM visits WHERE CASE WHEN diagnosis_detail = 'F01.9' THEN error('x') ELSE TRUE END",
		"SELECT SUM(fee_yuan * 99999999999999999999) AS n FROM visits",
		"SELECT SUM(fee_yuan / (insured_yuan - 7)) AS n FROM visits",
		"SELECT COUNT(*) AS n FROM visits WHERE 1 / (insured_yuan - 7) > 0",
		"SELECT COUNT(*) AS n FROM visits WHERE fee_yuan % 0 = 1",
		"SELECT COUNT(*) AS n FROM visits WHERE diagnosis_detail LIKE '%9'",
		"SELECT COUNT(*) AS n FROM visits WHERE regexp_matches(diagnosis_detail, '(a+)+$')",
		"SELECT COUNT(*) AS n FROM visits WHERE repeat(diagnosis_detail, 1000000) = 'x'",
		"SELECT COUNT(*) AS n FROM visits WHERE list_sum(range(CASE WHEN diagnosis_detail = 'F01.9' THEN 100000000 ELSE 1 END)) > 0",
		"SELECT COUNT(*) AS n FROM visits, visits AS v, visits AS w",
		"SELECT COUNT(*) AS n FROM visits a JOIN visits b ON a.diagnosis = b.diagnosis",
		"SELECT COUNT(*) AS n FROM generate_series(1, 1000000000)",
		"SELECT fee_yuan, COUNT(*) AS n FROM visits GROUP BY fee_yuan",
		"SELECT MIN(fee_yuan) AS n FROM visits", "SELECT MAX(fee_yuan) AS n FROM visits", "SELECT MEDIAN(fee_yuan) AS n FROM visits",
		"SELECT string_agg(diagnosis_detail) AS n FROM visits", "SELECT ANY_VALUE(diagnosis_detail) AS n FROM visits",
		"SELECT COUNT(*) AS n FROM visits LIMIT 99999999999999999999", "SELECT COUNT(*) AS n FROM visits OFFSET -1",
		"SELECT COUNT(*) AS n FROM visits LIMIT (SELECT COUNT(*) FROM visits)",
		"SELECT COUNT(*) AS n FROM visits WHERE " + strings.Repeat("NOT (", 3000) + "TRUE" + strings.Repeat(")", 3000),
		"SELECT COUNT(*) AS n FROM visits WHERE " + strings.Repeat("NOT ", 5000) + "TRUE",
		"SELECT COUNT(*) AS n FROM visits WHERE fee_yuan IN (" + strings.Repeat("1,", 20_000) + "1)",
		"SELECT COUNT(*) AS n FROM visits; SELECT 1", "SELECT COUNT(*) AS n FROM visits WHERE id = 'u1'",
		"SELECT COUNT(*) AS n FROM visits WHERE random() < 0.5", "SELECT COUNT(*) AS n FROM visits WHERE _rn = 1", "SELECT COUNT(*) AS n FROM visits WHERE _unit > 3",
		"SELECT _unit, COUNT(*) AS n FROM visits GROUP BY _unit", "SELECT COUNT(*) AS n FROM visits WHERE rowid = 1",
	}
	all := corpus(t)
	if !attack.Full() {
		all = slices.DeleteFunc(all, func(h hostile) bool { return len(h.name)%6 != 0 })
	}
	for i, sql := range own {
		all = append(all, hostile{fmt.Sprintf("own/%d", i), "", sql})
	}
	before, _ := a.Spent(t, attack.Op(0), "visits", "lifetime")
	var mu sync.Mutex
	var wg sync.WaitGroup
	through := 0
	for w := range 4 {
		wg.Go(func() {
			for i := w; i < len(all); i += 4 {
				h := all[i]
				// A text that is not UTF-8 never gets into a request.
				if len(h.sql) == 0 || !isUTF8(h.sql) {
					continue
				}
				_, err := a.Run(attack.Op(0), "visits", h.sql, 0)
				if err == nil {
					mu.Lock()
					through++
					mu.Unlock()
					t.Errorf("%s is answered: %.200s", h.name, h.sql)
					continue
				}
				if code, reason := wellFormed(t, h.name, err); code != codes.InvalidArgument && code != codes.PermissionDenied {
					t.Errorf("%s: %s %v", h.name, reason, err)
				}
			}
		})
	}
	wg.Wait()
	after, _ := a.Spent(t, attack.Op(0), "visits", "lifetime")
	if after != before {
		t.Errorf("refused queries were charged %d", after-before)
	}
	control := a.MustRun(t, attack.Op(0), "visits", "SELECT COUNT(*) AS n FROM visits WHERE diagnosis_detail = 'F01.9' LIMIT 9000000000000000000 OFFSET 0", 0)
	attack.Record(t, attack.Score{Attack: "08 error, cost and cardinality oracles", Figure: through, Bound: 0, Control: fmt.Sprintf("a plain query is answered at %d nano-ρ", control.GetPriceNanoRho()),
		Pass: through == 0 && after == before && control.GetPriceNanoRho() > 0, Trials: len(all)})
}

func isUTF8(s string) bool { return strings.ToValidUTF8(s, "") == s }

// A failure after data was read is one constant answer at full price, whatever
// the data and whatever failed.
func TestAttack08_FailureIsConstantAndPaid(t *testing.T) {
	a := attack.SharedInside(t)
	x := visits("fails", "")
	x.Many = 5
	// Every row a key of its own: more groups than a small worker can hold.
	var csv strings.Builder
	csv.WriteString("id,diagnosis,diagnosis_detail,department,visit_date,fee_yuan,insured_yuan\n")
	for i := range 80_000 {
		fmt.Fprintf(&csv, "u%d,F00-F99,%064d,surgery,2024-03-01,%d,1\n", i, i, i)
	}
	x.CSV = csv.String()
	a.Add(t, x)
	quiet(t, a)
	b := a.Crash(t, gateway.Options{})
	seen := map[string]int{}
	failed, charged := 0, true
	for _, opt := range []gateway.Options{{Wall: 500 * time.Microsecond}, {Wall: 1200 * time.Millisecond, Memory: 1}} {
		if err := b.Stop(); err != nil {
			t.Fatal(err)
		}
		if err := b.Start(opt); err != nil {
			t.Fatalf("failed to start with %+v: %v", opt, err)
		}
		wheres := []string{"diagnosis_detail = '0000000000000000000000000000000000000000000000000000000000000001'", "diagnosis_detail = 'nobody'", "fee_yuan > 10", "fee_yuan > 99999"}
		if opt.Memory > 0 {
			wheres = []string{"fee_yuan > 10", "fee_yuan <> 7"}
		}
		for i, where := range wheres {
			before, _ := b.Spent(t, attack.Op(0), "fails", "operator_year")
			sql := fmt.Sprintf("SELECT diagnosis_detail, COUNT(DISTINCT id) AS n, SUM(fee_yuan) AS s, AVG(insured_yuan) AS m FROM fails WHERE %s AND insured_yuan <> %d GROUP BY diagnosis_detail", where, 1000+i+int(opt.Memory))
			_, err := b.Run(attack.Op(0), "fails", sql, 0)
			after, _ := b.Spent(t, attack.Op(0), "fails", "operator_year")
			if err == nil {
				t.Errorf("a run under %+v was released", opt)
				continue
			}
			failed++
			charged = charged && after > before
			if _, reason := wellFormed(t, where, err); reason != "EXECUTION_FAILED" {
				t.Errorf("%s: %v", where, err)
			}
			st := status.Convert(err).Proto().String()
			st = regexp.MustCompile(`jobs/[0-9a-f]{20}`).ReplaceAllString(st, "jobs/*")
			seen[regexp.MustCompile(`\s+`).ReplaceAllString(st, " ")]++
		}
		for _, w := range []string{"wall", "memory", "killed", "00000001", "duckdb"} {
			if strings.Contains(strings.ToLower(b.Logs.String()), strings.ToLower(w)) {
				t.Errorf("the log says %q of a failed run", w)
			}
		}
	}
	attack.Record(t, attack.Score{Attack: "08 worker killed by time or memory", Figure: fmt.Sprintf("%d answer(s) in %d failures", len(seen), failed), Bound: "1, at full price", Control: "the same queries run with room",
		Pass: len(seen) == 1 && charged && failed == 6, Trials: 6})
	if err := b.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := b.Start(gateway.Options{}); err != nil {
		t.Fatal(err)
	}
	b.MustRun(t, attack.Op(0), "fails", "SELECT COUNT(DISTINCT id) AS n, SUM(fee_yuan) AS s FROM fails WHERE fee_yuan > 10 AND insured_yuan <> 7", 0)
}

// No cell value and no literal of a query reaches a log line, an error text or the
// ledger (R01).
func TestAttack08_R01CanariesStayInside(t *testing.T) {
	a := attack.SharedInside(t)
	const word, number, literal = "CANARYCELL", "987651", "CANARYLITERAL"
	x := attack.Table{ID: "canary", Columns: []attack.Column{
		{Name: "note", YAML: "type: text", Uses: "private key, filter"},
		{Name: "wage", YAML: `type: int, bounds: {lo: "0", hi: "900000"}`, Uses: "filter, measure"},
		{Name: "town", YAML: "type: text, codes: [{value: a}, {value: b}]", Uses: "key, filter"},
	}}
	var csv strings.Builder
	csv.WriteString("id,note,wage,town\n")
	for i := range 400 {
		fmt.Fprintf(&csv, "CANARYID%d,%s%d,%s,a\n", i, word, i%2, number)
	}
	x.CSV = csv.String()
	a.Add(t, x)
	var texts []string
	say := func(err error) {
		t.Helper()
		if err == nil {
			return
		}
		wellFormed(t, "canary", err)
		texts = append(texts, status.Convert(err).Proto().String())
	}
	// Files that are refused for what stands in them.
	for _, bad := range []string{
		"id,note,wage,town\n" + strings.Repeat("CANARYID1,"+word+","+number+","+word+"\n", 3),
		"id,note,wage,town\nCANARYID1," + word + "," + word + ",a\n",
		"id,note,wage,town\nCANARYID1,\"" + word + ",1,a\n",
		"id,note,wage,town\nCANARYID1," + word + ",1,a\nCANARYID1," + word + ",1,a\n", // two rows of one unit
		"id,note,wage,town," + word + "\nCANARYID1,x,1,a,1\n",
		word + "," + word + "\n",
	} {
		_, err := a.Client(attack.Department).Ingest(t.Context(), "canary", "csv", strings.NewReader(bad), nil)
		if err == nil {
			t.Errorf("a bad file was accepted")
		}
		say(err)
	}
	for _, sql := range []string{
		"SELECT note, COUNT(*) AS n FROM canary WHERE note = '" + literal + "' GROUP BY note",
		"SELECT COUNT(*) AS n FROM canary WHERE wage = 777444",
		"SELECT COUNT(*) AS n FROM canary WHERE note = '" + literal, // unterminated
		"SELECT COUNT(*) AS n FROM canary WHERE note ! '" + literal + "'",
		"SELECT '" + literal + "' FROM canary",
		"SELECT COUNT(*) AS n FROM canary WHERE wage = '" + literal + "'",
		"SELECT COUNT(*) AS n FROM canary WHERE CAST('" + literal + "' AS INT) = wage",
		"SELECT COUNT(*) AS n FROM canary WHERE note LIKE '" + literal + "%'",
		"SELECT COUNT(*) AS n FROM canary WHERE error('" + literal + "')",
		"SELECT COUNT(*) AS n FROM read_csv('" + literal + "')",
		"SELECT COUNT(*) AS n FROM canary WHERE wage = DATE '" + literal + "'",
		"SELECT COUNT(*) AS n FROM canary LIMIT '" + literal + "'",
		"SELECT COUNT(*) AS n FROM canary HAVING COUNT(*) > 777444",
		"/* " + literal + " */ SELECT * FROM canary", "SELECT COUNT(*) AS n FROM canary WHERE $$" + literal + "$$",
		`SELECT COUNT(*) AS n FROM canary WHERE "110105194912310021" = 1`, // an identity number where a name should be
	} {
		_, err := a.Run(attack.Op(0), "canary", sql, 0)
		say(err)
		if x, err := a.Client(attack.Op(0)).Operator.ExplainJob(t.Context(), explain(attack.Op(0), "canary", sql)); err == nil {
			for _, r := range x.GetReasons() {
				texts = append(texts, r.String())
			}
		} else {
			say(err)
		}
	}
	quiet(t, a)
	b := a.Crash(t, gateway.Options{Wall: time.Millisecond})
	_, err := b.Run(attack.Op(0), "canary", "SELECT note, COUNT(*) AS n FROM canary WHERE note = '"+word+"1' GROUP BY note", 0)
	say(err)
	var entries strings.Builder
	for _, e := range b.Entries(t) {
		if !json.Valid(e.GetJson()) {
			t.Fatalf("entry %d is no JSON", e.GetSeq())
		}
		entries.Write(e.GetJson())
	}
	texts = append(texts, a.Domain.Layers()...)
	found := 0
	// The nanoseconds of an instant hold any six digits now and then.
	logged := func(text string) string { return regexp.MustCompile(`"time":"[^"]*"`).ReplaceAllString(text, "") }
	for where, text := range map[string]string{"errors": strings.Join(texts, "\n"), "log": logged(a.Logs.String()), "log of the failing gateway": logged(b.Logs.String()), "ledger": entries.String()} {
		for _, c := range []string{word, number, literal, "CANARYID", "777444", "110105194912310021"} {
			if i := strings.Index(text, c); i >= 0 {
				found++
				t.Errorf("%s hold %q: …%s…", where, c, text[max(0, i-120):min(len(text), i+60)])
			}
		}
	}
	if len(texts) < 25 || entries.Len() == 0 || a.Logs.String() == "" {
		t.Errorf("the attack saw too little: %d texts, %d bytes of ledger", len(texts), entries.Len())
	}
	// Control: the raw file holds the canaries, and releases of common keys may.
	r := a.MustRun(t, attack.Op(0), "canary", "SELECT note, COUNT(*) AS n FROM canary GROUP BY note", 4_400_000)
	attack.Record(t, attack.Score{Attack: "08 canaries in logs, errors and ledger", Figure: found, Bound: 0, Control: fmt.Sprintf("%d in the file", strings.Count(x.CSV, word)), Pass: found == 0, Trials: len(texts),
		Note: fmt.Sprintf("%d private keys released", len(r.GetRows()))})
}
