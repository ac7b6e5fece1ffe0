package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/uuid"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/client"
	"github.com/sandgate/sandgate/gateway/home"
)

// hostile is one query of testdata/hostile, expanded; the README there gives the
// format, and package city tests the corpus against it.
type hostile struct{ name, refuse, sql string }

var (
	hostileRepeat = regexp.MustCompile(`⟦([1-9][0-9]*)×([^⟦⟧]+)⟧`)
	hostileEscape = regexp.MustCompile(`\\(x[0-9a-f]{2}|u[0-9a-f]{4})`)
)

func hostileQueries(t *testing.T) []hostile {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "testdata", "hostile", "*.sql"))
	if err != nil {
		t.Fatal(err)
	}
	var out []hostile
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range strings.Split("\n"+string(text), "\n-- name: ")[1:] {
			name, rest, _ := strings.Cut(block, "\n")
			refuse, rest, ok := strings.Cut(strings.TrimPrefix(rest, "-- refuse: "), "\n")
			body, escapes := strings.CutPrefix(rest, "-- escapes: yes\n")
			if !ok || strings.HasPrefix(body, "-- ") {
				t.Fatalf("%s: query %s is not in the format", f, name)
			}
			out = append(out, hostile{name, refuse, expandHostile(strings.Trim(body, " \n"), escapes)})
		}
	}
	if len(out) < 250 {
		t.Fatalf("only %d queries", len(out))
	}
	return out
}

func expandHostile(body string, escapes bool) string {
	body = hostileRepeat.ReplaceAllStringFunc(body, func(m string) string {
		part := hostileRepeat.FindStringSubmatch(m)
		n, _ := strconv.Atoi(part[1])
		return strings.Repeat(part[2], min(n, 100_000))
	})
	if !escapes {
		return body
	}
	return hostileEscape.ReplaceAllStringFunc(body, func(m string) string {
		n, _ := strconv.ParseUint(m[2:], 16, 32)
		if m[1] == 'x' {
			return string([]byte{byte(n)})
		}
		return string(rune(n))
	})
}

var literal = regexp.MustCompile(`'([^']{5,})'|\b([0-9]{5,}(?:\.[0-9]+)?)\b`)

// quotedTable is a table name in single quotes, which the engine would take for a
// file: a name, and told as one that is not in the catalogue.
var quotedTable = regexp.MustCompile(`(?i)\bfrom\s+'[^']*'`)

// literals are the values in a text that are long enough not to stand in a
// refusal by chance.
func literals(sql string) []string {
	var out []string
	for _, m := range literal.FindAllStringSubmatch(quotedTable.ReplaceAllString(sql, ""), -1) {
		out = append(out, m[1]+m[2])
	}
	return out
}

// ground reasons say that a query stands on no licence or budget; a refusal for
// them alone would say nothing about the query.
func ground(code string) bool {
	return strings.HasPrefix(code, "PURPOSE_") || strings.HasPrefix(code, "LICENCE_") || strings.HasPrefix(code, "BUDGET_") || code == "INTERNAL"
}

func TestR01_R02_EveryHostileQueryIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := copyCity(dir); err != nil {
		t.Fatal(err)
	}
	env, _ := clean(t)
	log := filepath.Join(dir, "gateway.log")
	s, err := serve(env, dir, "home", log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.end(os.Interrupt); err != nil {
			t.Error(err)
		}
	})
	kit, err := home.OpenKit(filepath.Join(dir, "kits", "alpha"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.Dial(kit, s.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	submit := func(sql, purpose string) (*sandgatev1.Release, *client.Problem) {
		q := &sandgatev1.QuerySpec{Licence: "alpha-2026", Purpose: purpose, Sql: sql}
		r, err := c.Run(t.Context(), &sandgatev1.SubmitJobRequest{Query: q, RequestId: uuid.NewString()})
		return r, client.ProblemOf(err)
	}
	bytesOnly := 0
	for _, q := range hostileQueries(t) {
		if !utf8.ValidString(q.sql) {
			// A gRPC string cannot carry it; the program must say so itself.
			bytesOnly++
			file := filepath.Join(dir, "hostile.sql")
			if err := os.WriteFile(file, []byte(q.sql), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, text, code := outcome(t, dir, env, "job", "submit", "-f", file, "--kit", "kits/alpha"); code != exitUsage || !strings.Contains(text, "UTF-8") {
				t.Errorf("%s: exit code %d, %s", q.name, code, text)
			}
			continue
		}
		var codes []string
		refused := false
		// A refusal for the purpose alone does not count: ask for each.
		for _, purpose := range []string{"public_health", "urban_planning"} {
			rel, p := submit(q.sql, purpose)
			if p == nil {
				t.Errorf("%s: released %d rows: %.200s", q.name, len(rel.GetRows()), q.sql)
				continue
			}
			if len(p.Reasons) == 0 {
				t.Errorf("%s: no reason, %v", q.name, p)
			}
			if code := (&app{err: &strings.Builder{}}).reportProblem(p); code != exitRefused {
				t.Errorf("%s: exit code %d", q.name, code)
			}
			for _, r := range p.Reasons {
				codes = append(codes, r.GetCode())
				refused = refused || !ground(r.GetCode())
				text := fmt.Sprint(reasonText(r, "zh"), reasonText(r, "en"), r.GetRule())
				for _, v := range literals(q.sql) {
					if strings.Contains(text, v) {
						t.Errorf("%s: the refusal tells the literal %q: %s", q.name, v, text)
					}
				}
			}
		}
		if !refused {
			t.Errorf("%s: refused for its ground only: %v", q.name, codes)
		}
	}
	if bytesOnly == 0 {
		t.Error("no query with broken UTF-8 in the corpus")
	}
	// The gateway is the same process and answers, and nothing was spent.
	if r, p := submit("SELECT district, COUNT(*) AS n FROM population GROUP BY district", "urban_planning"); p != nil || len(r.GetRows()) != 9 {
		t.Errorf("a good query after all that: %v, %v", r, p)
	}
	budgets, err := c.Operator.ListBudgets(t.Context(), &sandgatev1.ListBudgetsRequest{Licence: "alpha-2026"})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range budgets.GetBudgets() {
		if b.GetDataset() != "population" && b.GetSpentNanoRho() != 0 {
			t.Errorf("refusals cost %d of %s", b.GetSpentNanoRho(), b.GetDataset())
		}
	}
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "panic") || strings.Contains(string(text), "level=ERROR") {
		t.Errorf("gateway log:\n%.4000s", text)
	}
}
