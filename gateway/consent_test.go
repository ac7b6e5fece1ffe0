package gateway_test

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/gateway"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/attack"
	"github.com/sandgate/sandgate/policies"
)

const agreeing = 60

// citizenNumber is that of resident i, as a file holds it.
func citizenNumber(i int) string { return fmt.Sprintf("34052419800101%03dX", i) }

// addCitizens puts a table of residents into service, one row each: their number, a
// district and a fee. Its rows need consents, or, as the control, none.
func addCitizens(t *testing.T, a *attack.Arena, id string, consent bool) {
	t.Helper()
	var csv strings.Builder
	csv.WriteString("id,district,fee\n")
	for i := range agreeing {
		fmt.Fprintf(&csv, "%s,%s,%d.00\n", citizenNumber(i), string("ab"[i%2]), 10+i)
	}
	x := attack.Table{ID: id, CSV: csv.String(), Columns: []attack.Column{
		{Name: "district", YAML: "type: text, codes: [{value: a}, {value: b}]", Uses: "key, filter"},
		{Name: "fee", YAML: `type: decimal, scale: 2, bounds: {lo: "0", hi: "100.00"}`, Uses: "measure, filter"},
	}}
	unit := "unit: {column: id, kind: person}"
	if consent {
		unit += "\n    consent: required"
	}
	text := strings.Replace(x.Catalogue(), "unit: {column: id, kind: record}", unit, 1)
	text = strings.Replace(text, "identifier: opaque", "identifier: citizen_id", 1)
	text = strings.Replace(text, "{id: 2", "{id: 4", 1)
	a.Must(t, text+"---\n"+x.Licences(), attack.Department, attack.Regulator)
	a.Ingest(t, id, x.CSV)
}

// commitments asks the gateway, as a department does, and returns whole and cut ones.
func commitments(t *testing.T, a *attack.Arena, dataset string, numbers ...int) (keys []policies.SubjectKey) {
	t.Helper()
	var ids []string
	for _, i := range numbers {
		ids = append(ids, citizenNumber(i))
	}
	r, err := a.Client(attack.Department).Licence.ComputeSubject(t.Context(), &sandgatev1.ComputeSubjectRequest{Dataset: dataset, Ids: ids})
	if err != nil {
		t.Fatal(err)
	}
	for _, raw := range r.GetSubjects() {
		keys = append(keys, policies.SubjectKey(raw))
	}
	return keys
}

func agree(t *testing.T, a *attack.Arena, id, dataset string, numbers ...int) {
	t.Helper()
	a.Must(t, fmt.Sprintf("kind: Consent\nid: %s\ndepartment: dept\nsubjects: %s\noperator: op0\npurposes: [planning]\ndatasets: [%s]\nnot_before: 2026-01-01\nnot_after: 2029-01-01\ndocument: 柜\n",
		id, policies.JoinSubjects(commitments(t, a, dataset, numbers...)), dataset), attack.Department)
}

// takeBack withdraws whatever consent of a resident the department recorded.
func takeBack(t *testing.T, a *attack.Arena, dataset string, number int) {
	t.Helper()
	r, err := a.Client(attack.Department).Licence.ComputeSubject(t.Context(), &sandgatev1.ComputeSubjectRequest{Dataset: dataset, Id: citizenNumber(number)})
	if err != nil {
		t.Fatal(err)
	}
	a.Must(t, "kind: ConsentWithdrawal\ndepartment: dept\nsubject: "+r.GetSubject()+"\n", attack.Department)
}

// exact is what the kernel is given for a query, before noise.
func exact(t *testing.T, a *attack.Arena, dataset, sql string) string {
	t.Helper()
	_, _, p, err := a.Domain.Replay(t.Context(), attack.Op(0), gateway.Query{Licence: attack.LicenceID(attack.Op(0), dataset), Purpose: attack.Purpose, SQL: sql})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, c := range p.Cells {
		out = append(out, fmt.Sprint(c.M))
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func upTo(n int, but ...int) (out []int) {
	for i := range n {
		if !slices.Contains(but, i) {
			out = append(out, i)
		}
	}
	return out
}

// TestAttack28_WithdrawnSubjectIsGone is a differencing attack on one subject: the
// operator knows of his withdrawal and asks before and after it for his row alone.
// What reaches the kernel holds it before and not after; where no consent is needed,
// the control, it stays.
func TestAttack28_WithdrawnSubjectIsGone(t *testing.T) {
	a := attack.SharedInside(t)
	addCitizens(t, a, "asked", true)
	addCitizens(t, a, "free", false)
	const target = 7
	all, alone := "SELECT COUNT(*) AS n FROM %s", "SELECT COUNT(*) AS n FROM %s WHERE fee >= 17 AND fee <= 17"
	look := func() []string {
		var out []string
		for _, id := range []string{"asked", "free"} {
			for _, q := range []string{all, alone, "SELECT district, COUNT(DISTINCT id) AS n FROM %s GROUP BY district"} {
				out = append(out, exact(t, a, id, fmt.Sprintf(q, id)))
			}
		}
		return out
	}
	if got := look(); !slices.Equal(got, []string{"[0]", "[0]", "", "[60]", "[1]", "[30] [30]"}) && !slices.Equal(got[:2], []string{"[0]", "[0]"}) {
		t.Errorf("nobody consents: %q", got)
	}
	// Nobody's answer is one, with noise, and no refusal.
	if _, err := a.Run(attack.Op(0), "asked", fmt.Sprintf(all, "asked"), 0); err != nil {
		t.Errorf("a query over nobody: %v", err)
	}
	agree(t, a, "list", "asked", upTo(50)...)
	if got, want := look(), []string{"[50]", "[1]", "[25] [25]", "[60]", "[1]", "[30] [30]"}; !slices.Equal(got, want) {
		t.Errorf("fifty consent: %q, want %q", got, want)
	}
	takeBack(t, a, "asked", target)
	if got, want := look(), []string{"[49]", "[0]", "[24] [25]", "[60]", "[1]", "[30] [30]"}; !slices.Equal(got, want) {
		t.Errorf("one took it back: %q, want %q", got, want)
	}
	// For another operator, to whose use nobody agreed, there is nobody.
	_, _, p, err := a.Domain.Replay(t.Context(), attack.Op(1), gateway.Query{Licence: attack.LicenceID(attack.Op(1), "asked"), Purpose: attack.Purpose, SQL: fmt.Sprintf(all, "asked")})
	if err != nil || fmt.Sprint(p.Cells[0].M) != "[0]" {
		t.Errorf("another operator: %v, %v", p, err)
	}
	// Asked again, and again after the withdrawal, every answer is a job of its own and
	// paid for; the control repeats.
	const again = "SELECT COUNT(*) AS n FROM %s WHERE district = 'a'"
	for id, want := range map[string]int{"asked": 3, "free": 1} {
		for i := range 3 {
			if i == 2 {
				takeBack(t, a, "asked", map[string]int{"asked": 8, "free": 9}[id])
			}
			a.MustRun(t, attack.Op(0), id, fmt.Sprintf(again, id), 0)
		}
		reserved := 0
		for _, e := range decoded(t, a) {
			if e.Reserved != nil && e.Reserved.Request.Core.Where != nil && e.Reserved.Request.Core.Tables[0].Dataset == id {
				reserved++
			}
		}
		if reserved != want {
			t.Errorf("%s: %d reservations for one query asked three times, want %d", id, reserved, want)
		}
	}
	x, err := a.Client(attack.Op(0)).Operator.ExplainJob(t.Context(), explain(attack.Op(0), "asked", fmt.Sprintf(again, "asked")))
	if err != nil || x.GetRepeat() || !strings.Contains(x.GetEngineSql(), "SEMI JOIN") {
		t.Errorf("explained as %v, %v", x, err)
	}
	// What hides a column from operators holds for this one too.
	for _, sql := range []string{"SELECT _consent, COUNT(*) AS n FROM asked GROUP BY _consent", "SELECT COUNT(DISTINCT _consent) AS n FROM asked", "SELECT COUNT(*) AS n FROM g0.main.t"} {
		if _, err := a.Run(attack.Op(0), "asked", sql, 0); err == nil {
			t.Errorf("%s was answered", sql)
		}
	}
	// No number stands in the ledger or the log.
	for i := range agreeing {
		if strings.Contains(a.Logs.String(), citizenNumber(i)) {
			t.Error("the log holds a number")
		}
	}
}

// A consent taken back while a job waits or runs ends it: nothing is released, the
// price stays, and the operator is told that a consent ended and no more.
func TestR28_WithdrawalEndsTheWaitingJob(t *testing.T) {
	a := arena(t, "other", gateway.Options{Jobs: 1})
	addCitizens(t, a, "asked", true)
	agree(t, a, "list", "asked", upTo(50)...)
	free := a.Domain.HoldSeats()
	defer func() { free() }()
	submit := func() (string, *sandgatev1.SubmitJobRequest) {
		req := attack.Request(attack.Op(0), "asked", "SELECT COUNT(*) AS n FROM asked", 0)
		r, err := a.Client(attack.Op(0)).Operator.SubmitJob(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		return path.Base(r.GetName()), req
	}
	one, req := submit()
	agree(t, a, "more", "asked", 55) // does no harm
	if got := failures(t, a, one); len(got) != 0 {
		t.Fatalf("a new consent stopped a job: %v", got)
	}
	takeBack(t, a, "asked", 3)
	if got := failures(t, a, one); !slices.Equal(got, []string{"CONSENT_ENDED"}) {
		t.Errorf("the waiting job ended as %v", got)
	}
	_, err := a.Client(attack.Op(0)).Run(t.Context(), req)
	if attack.Reason(err) != "CONSENT_ENDED" || strings.Contains(fmt.Sprint(err), "list") {
		t.Errorf("its operator is told %v", err)
	}
	// An orphan of a crash runs, when retried, over the consents it was let in with.
	two, req := submit()
	quiet(t, a)
	b := a.Crash(t, gateway.Options{})
	agree(t, b, "late", "asked", 56)
	if _, err := b.Client(attack.Op(0)).Run(t.Context(), req); err != nil {
		t.Errorf("the orphan %s: %v", two, err)
	}
}

func TestR28_ManySubjectsAtOnce(t *testing.T) {
	a := shared(t)
	addCitizens(t, a, "many", true)
	whole, err := a.Client(attack.Department).Licence.ComputeSubject(t.Context(), &sandgatev1.ComputeSubjectRequest{Dataset: "many", Id: citizenNumber(4)})
	if err != nil {
		t.Fatal(err)
	}
	keys := commitments(t, a, "many", 3, 4)
	if key, ok := policies.ParseSubject(whole.GetSubject()); !ok || len(keys) != 2 || keys[1] != key {
		t.Errorf("one subject, two commitments: %v", keys)
	}
	for name, c := range map[string]struct {
		party string
		req   *sandgatev1.ComputeSubjectRequest
		want  string
	}{
		"an operator":  {attack.Op(0), &sandgatev1.ComputeSubjectRequest{Ids: []string{citizenNumber(1)}}, "PERMISSION_DENIED"},
		"both":         {attack.Department, &sandgatev1.ComputeSubjectRequest{Id: citizenNumber(1), Ids: []string{citizenNumber(1)}}, "SUBJECT_ID"},
		"a bad one":    {attack.Department, &sandgatev1.ComputeSubjectRequest{Ids: []string{citizenNumber(1), "340524" + "1"}}, "SUBJECT_ID"},
		"a great many": {attack.Department, &sandgatev1.ComputeSubjectRequest{Ids: make([]string, policies.MaxSubjects+1)}, "SUBJECT_ID"},
	} {
		c.req.Dataset = "many"
		_, err := a.Client(c.party).Licence.ComputeSubject(t.Context(), c.req)
		if _, reason := wellFormed(t, name, err); reason != c.want || strings.Contains(fmt.Sprint(err), "340524") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
