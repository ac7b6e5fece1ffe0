package gateway_test

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/sandgate/sandgate/gateway"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/attack"
)

// rounded is a table in exact mode: shift moves every unit's age and adds a unit
// to a group, which rounding hides.
func rounded(id string, shift int) attack.Table {
	var csv strings.Builder
	csv.WriteString("id,age,district\n")
	for i := range 300 + shift {
		fmt.Fprintf(&csv, "u%d,%d,%s\n", i, 20+(i+shift*7)%50, string("abc"[i%3]))
	}
	return attack.Table{ID: id, Rule: "mode: exact, exact: {k: 10, round: 5}", CSV: csv.String(), Columns: []attack.Column{
		{Name: "age", YAML: `type: int, bounds: {lo: "0", hi: "120"}`, Uses: "filter, measure"},
		{Name: "district", YAML: "type: text, codes: [{value: a}, {value: b}, {value: c}]", Uses: "key, filter"},
	}}
}

// rowsOf is everything of an answer but its place in the ledger.
func rowsOf(t *testing.T, r *sandgatev1.Release) string {
	t.Helper()
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(&sandgatev1.Release{Columns: r.GetColumns(), Rows: r.GetRows()})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestR01_PostIsAFunctionOfTheRelease: two domains hold different rows and release
// the same values. Whatever is written around the core, both give one answer.
func TestR01_PostIsAFunctionOfTheRelease(t *testing.T) {
	core := "SELECT district, COUNT(*) AS n FROM city GROUP BY district"
	texts := []string{
		core,
		"SELECT district, 100.0 * COUNT(*) / SUM(COUNT(*)) OVER () AS share FROM city GROUP BY district",
		"WITH c AS (" + core + ") SELECT a.district, b.district AS other, a.n - b.n AS d FROM c a, c b ORDER BY ALL",
		"WITH c AS (" + core + ") SELECT string_agg(district || n_lo || n_hi, ',' ORDER BY district) AS s, hash(list(n)::VARCHAR) % 1000 AS h FROM c",
	}
	var answers [2][]string
	var ages [2]string
	for i := range answers {
		a, err := attack.New(t.TempDir(), gateway.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := a.Stop(); err != nil {
				t.Error(err)
			}
		})
		a.Add(t, rounded("city", i))
		for _, text := range texts {
			r := a.MustRun(t, attack.Op(0), "city", text, 0)
			if (text != core) != r.GetDerived() {
				t.Errorf("%s: derived is %v", text, r.GetDerived())
			}
			answers[i] = append(answers[i], rowsOf(t, r))
		}
		ages[i] = rowsOf(t, a.MustRun(t, attack.Op(0), "city", "SELECT district, SUM(age) AS s FROM city GROUP BY district", 0))
	}
	if ages[0] == ages[1] {
		t.Fatal("both domains hold the same rows: nothing is tested")
	}
	if answers[0][0] != answers[1][0] {
		t.Fatal("the releases differ: nothing is tested")
	}
	for i, text := range texts {
		if answers[0][i] != answers[1][i] {
			t.Errorf("%s: the answers differ", text)
		}
	}
}

// TestPostIsFreeAndOwn: texts around one core share its release and its price;
// earlier releases are there for their operator and nobody else; refused
// post-processing costs nothing and is not in the ledger.
func TestPostIsFreeAndOwn(t *testing.T) {
	a := arena(t, "visits", gateway.Options{})
	core := "SELECT COUNT(*) AS n FROM visits"
	first := a.MustRun(t, attack.Op(0), "visits", "WITH c AS ("+core+") SELECT n, n_hi - n_lo AS width FROM c", 0)
	spent, _ := a.Spent(t, attack.Op(0), "visits", "lifetime")
	if spent == 0 || first.GetDigest() == "" || !first.GetDerived() || len(first.GetColumns()) != 2 || first.GetColumns()[1].GetKind() != sandgatev1.ReleaseColumn_KIND_DERIVED {
		t.Fatalf("%v, %d", first, spent)
	}
	again := a.MustRun(t, attack.Op(0), "visits", "SELECT n * 2 AS twice FROM ("+core+")", 0)
	if again.GetDigest() != first.GetDigest() || again.GetRepeatOf() == "" {
		t.Errorf("another text around the core is no repeat: %v", again)
	}
	job := strings.TrimSuffix(strings.TrimPrefix(first.GetName(), "jobs/"), "/releases/1")
	released, err := a.Client(attack.Op(0)).Operator.GetRelease(t.Context(), &sandgatev1.GetReleaseRequest{Name: first.GetName(), ReleasedOnly: true})
	if err != nil || released.GetDerived() || released.GetRows()[0].GetCells()[0].GetLower() == "" || released.GetRows()[0].GetCells()[0].GetValue() != first.GetRows()[0].GetCells()[0].GetValue() {
		t.Errorf("the release itself: %v, %v", released, err)
	}
	entries := len(a.Entries(t))
	joined := `SELECT a.n - b.n AS nothing FROM releases."` + job + `" a, releases."jobs/` + job + `" b`
	free := a.MustRun(t, attack.Op(0), "visits", joined, 0)
	if free.GetRows()[0].GetCells()[0].GetValue() != "0" || len(free.GetSources()) != 1 || free.GetSources()[0].GetDigest() != first.GetDigest() || free.GetName() != "" {
		t.Errorf("releases alone: %v", free)
	}
	x, err := a.Client(attack.Op(0)).Operator.ExplainJob(t.Context(), explain(attack.Op(0), "visits", joined))
	if err != nil || !x.GetAllowed() || x.GetBoundary().GetCoreSql() != "" || len(x.GetBoundary().GetSources()) != 1 {
		t.Errorf("explain of releases alone: %v, %v", x, err)
	}
	for _, c := range []struct{ op, sql, want string }{
		{attack.Op(1), joined, "NOT_FOUND"},
		{attack.Op(1), "SELECT c.n - r.n AS d FROM (" + core + `) c, releases."` + job + `" r`, "NOT_FOUND"},
		{attack.Op(0), `SELECT * FROM releases."00000000000000000000"`, "NOT_FOUND"},
		{attack.Op(0), "SELECT nobody + n AS x FROM (" + core + ")", "POST_SQL"},
		{attack.Op(0), "SELECT [n] AS x FROM (" + core + ")", "POST_TYPE"},
		{attack.Op(0), "SELECT length(repeat('x', 900000000)) AS l, n FROM (" + core + " WHERE diagnosis = 'J06')", "POST_"},
	} {
		_, err := a.Run(c.op, "visits", c.sql, 0)
		if _, code := wellFormed(t, c.sql, err); !strings.HasPrefix(code, c.want) {
			t.Errorf("%s: %s, want %s", c.sql, code, c.want)
		}
	}
	if now := len(a.Entries(t)); now != entries {
		t.Errorf("%d entries, then %d", entries, now)
	}
	if now, _ := a.Spent(t, attack.Op(0), "visits", "lifetime"); now != spent {
		t.Errorf("spent %d, then %d", spent, now)
	}
}
