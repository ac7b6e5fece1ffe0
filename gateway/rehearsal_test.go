package gateway_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/compute/release"
	"github.com/sandgate/sandgate/compute/twin"
	"github.com/sandgate/sandgate/gateway"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/attack"
	"github.com/sandgate/sandgate/gateway/client"
	"github.com/sandgate/sandgate/policies"
)

// twinOfPeople learns a twin of the table that people makes, of all columns but the fee.
func twinOfPeople(t *testing.T, d *gateway.Domain, id string, n int) *twin.Twin {
	t.Helper()
	s, err := twin.NewSchema(twin.Spec{Dataset: id, Columns: []string{"age", "district", "flag"}, Rho: "2"}, d.EntryOf(id))
	if err != nil {
		t.Fatal(err)
	}
	enc, err := twin.NewEncoder(s, []byte("a key of the tests, 32 bytes long"))
	if err != nil {
		t.Fatal(err)
	}
	b := model.Batch{Columns: make([]model.Column, 3)}
	for i := range n {
		b.Units = append(b.Units, uint64(i)*2654435761+1)
		b.Columns[0].Ints = append(b.Columns[0].Ints, int64(i%90))
		b.Columns[1].Texts = append(b.Columns[1].Texts, string("abc"[i%3]))
		flag := int64(0)
		if i%7 == 0 {
			flag = 1
		}
		b.Columns[2].Ints = append(b.Columns[2].Ints, flag)
	}
	if err := enc.Add(b); err != nil {
		t.Fatal(err)
	}
	noisy := twin.Noised(twin.Local(enc.Finish(), s), func(sums []int64, norm int64, rho budget.Nano) ([]int64, error) {
		return release.Sums(sums, norm, rho, release.NewSource())
	})
	out, err := twin.Learn(t.Context(), s, noisy, nil)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// onTwins is an arena with two tables, one of them in exact mode, and their twins.
func onTwins(t *testing.T, ids ...string) *attack.Arena {
	t.Helper()
	const n = 6000
	a, err := attack.NewInside(t.TempDir(), gateway.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if a.Running() {
			if err := a.Stop(); err != nil {
				t.Error(err)
			}
		}
	})
	twins := map[string]*twin.Twin{}
	for i, id := range ids {
		rule := "budget: {query: \"0.001\", query_max: \"0.01\", operator_year: \"0.05\", dataset_year: \"1\", lifetime: \"1\"}"
		if i == 1 {
			rule = `mode: exact, exact: {k: 10, round: 5, bits_per_unit: "16"}`
		}
		a.Add(t, people(id, n, rule))
		twins[id] = twinOfPeople(t, a.Domain, id, n)
	}
	a.Domain.UseTwins(func(dataset string) (*twin.Twin, string, error) {
		x := twins[dataset]
		if x == nil {
			return nil, "", &policies.Reason{Code: "TWIN_NONE", ZH: "没有孪生", EN: "there is no twin"}
		}
		s, err := twin.NewSchema(twin.Spec{Dataset: dataset, Columns: []string{"age", "district", "flag"}, Rho: "2"}, a.Domain.EntryOf(dataset))
		if err == nil {
			err = x.Stale(s)
		}
		digest, derr := x.Digest()
		if err == nil {
			err = derr
		}
		return x, digest, err
	})
	return a
}

func onTwin(op, dataset, sql string, run *sandgatev1.TwinRun) *sandgatev1.SubmitJobRequest {
	r := attack.Request(op, dataset, sql, 0)
	if r.Twin = run; run == nil {
		r.Twin = &sandgatev1.TwinRun{}
	}
	return r
}

// problem is a refusal as its reader sees it.
func problem(err error) string {
	p := client.ProblemOf(err)
	if p == nil {
		return ""
	}
	out := p.Code.String()
	for _, r := range p.Reasons {
		out += fmt.Sprintf("\n%s %s %s %s %s %s %s %d:%d", r.GetCode(), r.GetRule(), r.GetSetBy(), r.GetMessageZh(), r.GetMessageEn(), r.GetHintZh(), r.GetHintEn(), r.GetLine(), r.GetColumn())
	}
	return out
}

func shape(r *sandgatev1.Release) string {
	out := r.GetMode()
	for _, c := range r.GetColumns() {
		out += fmt.Sprintf(" %s/%s/%v/%d/%v", c.GetName(), c.GetType(), c.GetKey(), c.GetScale(), c.GetKind())
	}
	return out
}

// A rehearsal is decided, refused, priced and shaped like the same text on the real
// data; it charges nothing, is in no ledger, and is marked.
func TestRehearsalBehavesLikeTheRealData(t *testing.T) {
	a := onTwins(t, "folk", "whole")
	op := attack.Op(0)
	c := a.Client(op)
	spent := func() int64 { s, _ := a.Spent(t, op, "folk", "operator_year"); return s }
	for _, sql := range []string{
		"SELECT district, COUNT(*) AS n, AVG(age) AS mean_age FROM folk GROUP BY district ORDER BY n DESC",
		"SELECT COUNT(*) AS n, SUM(fee) AS fees FROM folk WHERE flag AND age < 40",
		"SELECT CASE WHEN age < 18 THEN 'minor' ELSE 'adult' END AS band, COUNT(*) AS n, ROUND(100.0 * COUNT(*) / SUM(COUNT(*)) OVER (), 1) AS share FROM folk GROUP BY band",
		"SELECT * FROM folk",
		"SELECT age, fee FROM folk",
		"SELECT COUNT(*) FROM folk WHERE nowhere = 1",
		"SELECT COUNT(*) AS n FROM read_csv('/etc/passwd')",
		"SELECT flag, COUNT(*) AS n FROM folk GROUP BY flag",
		"SELCT 1",
		"SELECT COUNT(*) AS n FROM whole",
	} {
		before, size := spent(), a.Domain.LogSize()
		onIt, terr := c.Run(t.Context(), onTwin(op, "folk", sql, &sandgatev1.TwinRun{Units: 3000}))
		if after := spent(); after != before {
			t.Errorf("%s: a rehearsal charged %d", sql, after-before)
		}
		if grown := a.Domain.LogSize() - size; grown != 0 {
			t.Errorf("%s: a rehearsal wrote %d entries", sql, grown)
		}
		real, err := c.Run(t.Context(), attack.Request(op, "folk", sql, 0))
		if problem(err) != problem(terr) {
			t.Errorf("%s:\nreal %s\ntwin %s", sql, problem(err), problem(terr))
		}
		if err != nil || terr != nil {
			continue
		}
		m := onIt.GetSynthetic()
		if shape(real) != shape(onIt) || m.GetPriceNanoRho() != real.GetPriceNanoRho() || m.GetNoticeZh() == "" || m.GetNoticeEn() == "" || real.GetSynthetic() != nil {
			t.Errorf("%s: %s for %d on the twin, %s for %d on the data", sql, shape(onIt), m.GetPriceNanoRho(), shape(real), real.GetPriceNanoRho())
		}
		if onIt.GetReceipt() != nil || onIt.GetDigest() != "" || onIt.GetPriceNanoRho() != 0 || !strings.HasPrefix(onIt.GetName(), "jobs/twin-") {
			t.Errorf("%s: a rehearsal looks like a release: %v", sql, onIt)
		}
		want := []string(nil)
		if strings.Contains(sql, "fee") {
			want = []string{"fee"} // the twin did not learn it
		}
		if s := m.GetSources(); len(s) != 1 || s[0].GetUnits() != 3000 || !slices.Equal(s[0].GetMadeUp(), want) {
			t.Errorf("%s: sources %v", sql, s)
		}
	}
}

// A rehearsal does not pass for a release: no evidence, no source of another text, no
// job of anybody else's; and it comes again under its request id.
func TestRehearsalIsNoRelease(t *testing.T) {
	a := onTwins(t, "folk")
	op := attack.Op(0)
	c := a.Client(op)
	const sql = "SELECT district, COUNT(*) AS n FROM folk GROUP BY district"
	req := onTwin(op, "folk", sql, nil)
	r, err := c.Run(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	units := r.GetSynthetic().GetSources()[0].GetUnits()
	if units < 5800 || units > 6200 {
		t.Errorf("%d units are drawn of a twin of 6000", units)
	}
	sum := 0.0
	for _, row := range r.GetRows() {
		n, err := strconv.ParseFloat(row.GetCells()[1].GetValue(), 64)
		if err != nil || n < 1700 || n > 2300 {
			t.Errorf("a third of the twin has %v units, %v", n, err)
		}
		sum += n
	}
	again, err := c.Run(t.Context(), req)
	if err != nil || !proto.Equal(again, r) {
		t.Errorf("asked again: %v, %v", again, err)
	}
	other := proto.CloneOf(req)
	for what, change := range map[string]func(q *sandgatev1.QuerySpec){
		"order": func(q *sandgatev1.QuerySpec) { q.Sql += " ORDER BY n" }, "query": func(q *sandgatev1.QuerySpec) { q.Sql = "SELECT COUNT(*) AS n FROM folk" },
	} {
		other.Query = proto.CloneOf(req.GetQuery())
		change(other.Query)
		if _, err := c.Run(t.Context(), other); attack.Reason(err) != "REQUEST_ID_REUSED" {
			t.Errorf("another %s under the id: %v", what, err)
		}
	}
	id := strings.TrimSuffix(r.GetName(), "/releases/1")
	if _, err := c.Witness.GetEvidence(t.Context(), &sandgatev1.GetEvidenceRequest{Name: id}); attack.Reason(err) != "REHEARSAL_NO_RELEASE" {
		t.Errorf("evidence: %v", err)
	}
	text := fmt.Sprintf("SELECT SUM(n) AS n FROM releases.%q", strings.TrimPrefix(id, "jobs/"))
	if _, err := c.Run(t.Context(), attack.Request(op, "folk", text, 0)); attack.Reason(err) != "POST_RELEASE" {
		t.Errorf("read by another text: %v", err)
	}
	for _, party := range []string{attack.Op(1), attack.Regulator} {
		if _, err := a.Client(party).Operator.GetJob(t.Context(), &sandgatev1.GetJobRequest{Name: id}); attack.Reason(err) != "NOT_FOUND" {
			t.Errorf("%s sees it: %v", party, err)
		}
	}
	j, err := c.Operator.GetJob(t.Context(), &sandgatev1.GetJobRequest{Name: id})
	if err != nil || !j.GetSynthetic() || j.GetState() != sandgatev1.Job_STATE_SUCCEEDED || j.GetPriceNanoRho() != 0 {
		t.Errorf("%v, %v", j, err)
	}
	// The same request id is free on the real data, which it does not touch.
	on := &sandgatev1.SubmitJobRequest{RequestId: req.GetRequestId(), Query: req.GetQuery()}
	real, err := c.Run(t.Context(), on)
	if err != nil || real.GetReceipt() == nil || real.GetRepeatOf() != "" {
		t.Errorf("the same on the data: %v, %v", real, err)
	}
	// What one's own release answers is free there, and shown to be.
	req.RequestId = uuid.NewString()
	if r, err = c.Run(t.Context(), req); err != nil || !r.GetSynthetic().GetRepeatOnReal() || r.GetSynthetic().GetPriceNanoRho() != 0 || r.GetRepeatOf() == "" {
		t.Errorf("a repeat: %v, %v", r, err)
	}
	// Another operator is not told of it.
	theirs, err := a.Client(attack.Op(1)).Run(t.Context(), onTwin(attack.Op(1), "folk", sql, nil))
	if err != nil || theirs.GetSynthetic().GetRepeatOnReal() || theirs.GetSynthetic().GetPriceNanoRho() == 0 || theirs.GetRepeatOf() != "" {
		t.Errorf("another operator: %v, %v", theirs, err)
	}
	// Nor by explaining, whether its budget lasts or not.
	x, err := a.Client(attack.Op(1)).Operator.ExplainJob(t.Context(), explain(attack.Op(1), "folk", sql))
	if err != nil || !x.GetAllowed() || x.GetRepeat() || len(x.GetBudgets()) == 0 {
		t.Errorf("explained to another operator: %v, %v", x, err)
	}
	for i := range 5 {
		a.MustRun(t, attack.Op(1), "folk", fmt.Sprintf("SELECT COUNT(*) AS n FROM folk WHERE age > %d", 20+i), 10_000_000)
	}
	for _, text := range []string{sql, "SELECT COUNT(*) AS n FROM folk WHERE age > 60"} {
		x, err = a.Client(attack.Op(1)).Operator.ExplainJob(t.Context(), explain(attack.Op(1), "folk", text))
		if err != nil || x.GetAllowed() || x.GetEngineSql() != "" || len(x.GetReasons()) == 0 || x.GetReasons()[0].GetCode() != "BUDGET_EXHAUSTED" {
			t.Errorf("explained when its budget is spent: %v, %v", x, err)
		}
	}
}

// Exact mode withholds on the twin what it withholds on the data, in a book of the
// operator's own: nothing rehearsed stands in the way of a real answer.
func TestRehearsalOfDifferencing(t *testing.T) {
	a := onTwins(t, "folk", "whole")
	op := attack.Op(0)
	run := func(op string, onIt bool, sql string, seed string) *sandgatev1.Release {
		t.Helper()
		req := attack.Request(op, "whole", sql, 0)
		if onIt {
			req = onTwin(op, "whole", sql, &sandgatev1.TwinRun{Seed: seed})
		}
		r, err := a.Client(op).Run(t.Context(), req)
		if err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		return r
	}
	withheld := func(r *sandgatev1.Release) string {
		w, _, _ := strings.Cut(r.GetRows()[0].GetCells()[0].GetWithheld(), ":")
		return w
	}
	all, less := "SELECT COUNT(*) AS n FROM whole WHERE district = 'a'", "SELECT COUNT(*) AS n FROM whole WHERE district = 'a' AND NOT (age = 6 AND flag)"
	if w := withheld(run(op, true, all, "")); w != "" {
		t.Fatalf("the first is withheld: %s", w)
	}
	on := withheld(run(op, true, less, ""))
	if on == "" {
		t.Error("the difference is given on the twin")
	}
	// Another operator, and another draw, have books of their own.
	if w := withheld(run(attack.Op(1), true, less, "")); w != "" {
		t.Errorf("another operator's first is withheld: %s", w)
	}
	x, y := run(op, true, less, "x"), run(op, true, all, "y")
	if withheld(x) != "" || withheld(y) != "" {
		t.Error("other draws are held against this one")
	}
	same := run(attack.Op(2), true, less, "x")
	if same.GetRows()[0].GetCells()[0].GetValue() != x.GetRows()[0].GetCells()[0].GetValue() {
		t.Error("the same seed gives other rows")
	}
	// The data's own book is as it was: there the second comes first now.
	if w := withheld(run(op, false, less, "")); w != "" {
		t.Errorf("a rehearsal stands in the way of a real answer: %s", w)
	}
	if real := withheld(run(op, false, all, "")); real != on {
		t.Errorf("withheld as %q on the twin, as %q on the data", on, real)
	}
}

// No twin, and one that is stale, are refused by name; so are sizes that nobody draws.
func TestRehearsalWithoutTwin(t *testing.T) {
	a := onTwins(t, "folk")
	x := people("bare", 300, "")
	a.Add(t, x)
	op := attack.Op(0)
	c := a.Client(op)
	refused := func(dataset string, run *sandgatev1.TwinRun) string {
		_, err := c.Run(t.Context(), onTwin(op, dataset, "SELECT COUNT(*) AS n FROM "+dataset, run))
		return attack.Reason(err)
	}
	for _, run := range []*sandgatev1.TwinRun{{Units: -1}, {Units: 5_000_000}, {Seed: strings.Repeat("s", 65)}} {
		if got := refused("folk", run); got != "TWIN_SIZE" {
			t.Errorf("%v: %s", run, got)
		}
	}
	if got := refused("bare", nil); got != "TWIN_NONE" {
		t.Errorf("no twin: %s", got)
	}
	if got := refused("folk", &sandgatev1.TwinRun{Units: 1}); got != "" {
		t.Errorf("a twin of one: %s", got)
	}
	moved := people("folk", 300, "")
	moved.Columns[0].YAML = `type: int, bounds: {lo: "0", hi: "119"}`
	a.Must(t, moved.Catalogue(), attack.Department)
	a.Ingest(t, "folk", moved.CSV)
	if got := refused("folk", nil); got != twin.CodeStale {
		t.Errorf("stale: %s", got)
	}
}
