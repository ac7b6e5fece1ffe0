package gateway_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/attack"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
)

// ordersOf reads the orders of a policy entry: target → stage.
func ordersOf(t testing.TB, e *entry.Entry) map[string]string {
	t.Helper()
	raw, err := state.Inflate(e.Policy.Envelope)
	if err != nil {
		t.Fatal(err)
	}
	_, payload, err := policies.ParseEnvelope(raw)
	if err != nil {
		t.Fatal(err)
	}
	docs, err := policies.ParseBundle(payload)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, d := range docs {
		if o, ok := d.Body.(*policies.Order); ok {
			out[o.Target.String()] = string(o.Stage)
		}
	}
	return out
}

// Who sees which licence and which order.
func TestR34_LicencesAndOrdersAreShownToWhomTheyConcern(t *testing.T) {
	a := shared(t)
	a.Add(t, people("seen", 50, ""))
	mine := attack.LicenceID(attack.Op(0), "seen")
	a.Must(t, orderText("seen-l", attack.Department, "licence/"+mine, "suspend"), attack.Department)
	a.Must(t, orderText("seen-d", attack.Department, "dataset/seen", "suspend"), attack.Department)
	a.Must(t, orderText("seen-o", attack.Regulator, "operator/"+attack.Op(1), "suspend"), attack.Regulator)
	defer func() {
		for id, target := range map[string]string{"seen-a": "licence/" + mine, "seen-b": "dataset/seen", "seen-c": "operator/" + attack.Op(1)} {
			a.Must(t, orderText(id, attack.Regulator, target, "resume"), attack.Regulator)
		}
	}()
	for party, want := range map[string]struct {
		licences []string
		orders   []string
	}{
		attack.Op(0):      {[]string{mine}, []string{"seen-d", "seen-l"}},
		attack.Op(1):      {[]string{attack.LicenceID(attack.Op(1), "seen")}, []string{"seen-o", "seen-d"}},
		attack.Other:      {nil, nil},
		attack.Department: {nil, []string{"seen-d", "seen-l"}},
		attack.Regulator:  {nil, []string{"seen-o", "seen-d", "seen-l"}},
	} {
		c := a.Client(party).Licence
		ls, err := c.ListLicences(t.Context(), &sandgatev1.ListLicencesRequest{PageSize: 200})
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		all := 0
		for _, l := range ls.GetLicences() {
			if strings.HasSuffix(l.GetName(), "-seen") {
				names = append(names, strings.TrimPrefix(l.GetName(), "licences/"))
				all++
			}
			if l.GetName() == "licences/"+mine && (l.GetState() != sandgatev1.Licence_STATE_SUSPENDED || !slices.Equal(l.GetHeldBy(), []string{"seen-l"})) {
				t.Errorf("%s: %v", party, l)
			}
		}
		switch party {
		case attack.Department, attack.Regulator:
			if all != attack.Operators {
				t.Errorf("%s sees %d licences", party, all)
			}
		default:
			if !slices.Equal(names, want.licences) {
				t.Errorf("%s sees %v", party, names)
			}
		}
		os, err := c.ListOrders(t.Context(), &sandgatev1.ListOrdersRequest{PageSize: 200})
		if err != nil {
			t.Fatal(err)
		}
		var orders []string
		for _, o := range os.GetOrders() {
			if id := strings.TrimPrefix(o.GetName(), "orders/"); strings.HasPrefix(id, "seen-") {
				orders = append(orders, id)
			}
		}
		if !slices.Equal(orders, want.orders) {
			t.Errorf("%s sees orders %v, want %v", party, orders, want.orders)
		}
		_, err = c.GetLicence(t.Context(), &sandgatev1.GetLicenceRequest{Name: "licences/" + mine})
		if sees := party != attack.Op(1) && party != attack.Other; sees != (err == nil) {
			t.Errorf("%s gets the licence: %v", party, err)
		} else if err != nil {
			if code, reason := wellFormed(t, party, err); code != codes.NotFound || reason != "NOT_FOUND" {
				t.Errorf("%s: %v", party, err)
			}
		}
	}
}

// A number's commitment: the owning department's alone, the same for every spelling,
// and nowhere kept.
func TestR28_SubjectOfANumber(t *testing.T) {
	a := shared(t)
	const number, short, other = "34052419800101001X", "340524800101001", "11010519491231002X"
	a.Must(t, "kind: Catalogue\ndepartment: dept\ndatasets:\n  - id: citizens\n    title: {zh: 人}\n    unit: {column: id, kind: person}\n    columns: [{name: id, title: {zh: 号}, type: text, identifier: citizen_id}]\n", attack.Department)
	a.Add(t, people("records", 20, ""))
	compute := func(party, dataset, id string) (string, error) {
		r, err := a.Client(party).Licence.ComputeSubject(t.Context(), &sandgatev1.ComputeSubjectRequest{Dataset: dataset, Id: id})
		return r.GetSubject(), err
	}
	got, err := compute(attack.Department, "citizens", number)
	if err != nil || len(got) != 64 {
		t.Fatalf("%q, %v", got, err)
	}
	for _, same := range []string{number, strings.ToLower(number), short} {
		if again, err := compute(attack.Department, "citizens", same); err != nil || again != got {
			t.Errorf("another spelling of one number is another subject: %v", err)
		}
	}
	if x, err := compute(attack.Department, "citizens", other); err != nil || x == got {
		t.Errorf("two numbers are one subject: %v", err)
	}
	for _, c := range []struct{ party, dataset, id, want string }{
		{attack.Other, "citizens", number, "PERMISSION_DENIED"}, {attack.Regulator, "citizens", number, "PERMISSION_DENIED"}, {attack.Op(0), "citizens", number, "PERMISSION_DENIED"},
		{attack.Department, "nothing", number, "PERMISSION_DENIED"}, {attack.Department, "records", number, "SUBJECT_DATASET"},
		{attack.Department, "citizens", "", "SUBJECT_ID"}, {attack.Department, "citizens", number + "0", "SUBJECT_ID"},
	} {
		_, err := compute(c.party, c.dataset, c.id)
		if _, reason := wellFormed(t, c.party+" "+c.dataset, err); reason != c.want {
			t.Errorf("%s on %s: %v", c.party, c.dataset, err)
		}
		if strings.Contains(fmt.Sprint(err), "3405241980") {
			t.Errorf("an error repeats the number: %v", err)
		}
	}
	a.Must(t, "kind: Consent\nid: c1\ndepartment: dept\nsubject: "+got+"\noperator: op0\npurposes: [planning]\ndatasets: [citizens]\nnot_before: 2026-01-01\nnot_after: 2027-01-01\ndocument: 十七\n", attack.Department)
	for party, want := range map[string]int{attack.Department: 1, attack.Regulator: 1, attack.Other: 0} {
		r, err := a.Client(party).Licence.ListConsents(t.Context(), &sandgatev1.ListConsentsRequest{})
		got := 0
		for _, c := range r.GetConsents() {
			if c.GetName() == "consents/c1" && c.GetSubjectCount() == 1 {
				got++
			}
		}
		if err != nil || got != want {
			t.Errorf("%s: %v, %v", party, r, err)
		}
	}
	if _, err := a.Client(attack.Op(0)).Licence.ListConsents(t.Context(), &sandgatev1.ListConsentsRequest{}); attack.Reason(err) != "PERMISSION_DENIED" {
		t.Errorf("an operator lists consents: %v", err)
	}
	for _, e := range decoded(t, a) {
		if e.Policy == nil {
			continue
		}
		if raw, err := state.Inflate(e.Policy.Envelope); err != nil || strings.Contains(string(raw), number) {
			t.Errorf("entry %d holds the number, or %v", e.Seq, err)
		}
	}
	if l := a.Logs.String(); strings.Contains(l, number) || strings.Contains(l, strings.ToLower(number)) || strings.Contains(l, short) {
		t.Error("the log holds the number")
	}
}

// The quota is refused by name, shown, and does not shut out what is free.
func TestR06_QuotaThroughTheGateway(t *testing.T) {
	a := shared(t)
	x := people("capped", 60, "")
	a.Add(t, x)
	id := attack.LicenceID(attack.Op(0), "capped")
	doc, _, _ := strings.Cut(x.Licences(), "\n---\n")
	a.Must(t, doc+"\nquota: {jobs_per_day: 1, rho_per_term: \"0.5\"}\n", attack.Regulator, attack.Department)
	const first = "SELECT COUNT(*) AS n FROM capped"
	rel := a.MustRun(t, attack.Op(0), "capped", first, 0)
	_, err := a.Run(attack.Op(0), "capped", first+" WHERE age > 3", 0)
	if code, reason := wellFormed(t, "over", err); code != codes.ResourceExhausted || reason != "QUOTA_EXHAUSTED" || !strings.Contains(err.Error(), "0 left") {
		t.Errorf("%v", err)
	}
	if again, err := a.Run(attack.Op(0), "capped", first, 0); err != nil || again.GetDigest() != rel.GetDigest() {
		t.Errorf("a repeat with the quota used up: %v", err)
	}
	l, err := a.Client(attack.Op(0)).Licence.GetLicence(t.Context(), &sandgatev1.GetLicenceRequest{Name: "licences/" + id})
	if err != nil || len(l.GetQuotas()) != 2 {
		t.Fatalf("%v, %v", l, err)
	}
	if q := l.GetQuotas()[0]; q.GetKind() != "jobs_per_day" || q.GetUsed() != 1 || q.GetLimit() != 1 || !q.GetRenewTime().AsTime().After(time.Now()) {
		t.Errorf("%v", q)
	}
	if q := l.GetQuotas()[1]; q.GetKind() != "rho_per_term" || q.GetUsed() != rel.GetPriceNanoRho() || q.GetRenewTime() != nil {
		t.Errorf("%v, want %d used", q, rel.GetPriceNanoRho())
	}
}
