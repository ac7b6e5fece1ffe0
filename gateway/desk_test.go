package gateway_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sandgate/sandgate/gateway"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/attack"
	"github.com/sandgate/sandgate/ledger/entry"
)

func deskProfile() string {
	out := "kind: Profile\nid: arena\ntitle: {zh: 测试}\ncalendar:\n"
	for y := time.Now().Year() - 1; y < time.Now().Year()+3; y++ {
		out += fmt.Sprintf("  - {year: %d, source: 示意, holidays: [%d-01-01]}\n", y, y)
	}
	return out + "deadlines: {accept: 2, complete: 5, review: 7, grant: 3, rule: 5, answer: 1, correct: 5, settle: 10, follow: 10, check: 2, renew: 10}\n" +
		"reminder: 1\nescalation: 1\nunused_months: 3\nburst: {refusals: 5, hours: 24}\n"
}

func deskApplication(operator, id string) string {
	return fmt.Sprintf(`kind: Application
id: %s
operator: %s
official: clerk-1
scenario: {zh: 场景}
purposes: [%s]
scope: [{dataset: deskdata, columns: [district]}]
method: {zh: 统计}
not_before: 2026-01-01T00:00:00+08:00
not_after: 2029-01-01T00:00:00+08:00
security: {zh: 沙箱}
contact: {zh: 数据部}
`, id, operator, attack.Purpose)
}

// The desk over the wire: who sees what, in pages; what is missed is noted in the
// ledger once, and not again after a restart.
func TestR24_R25_DeskOverTheWire(t *testing.T) {
	t.Parallel()
	opt := gateway.Options{Heartbeat: 20 * time.Millisecond}
	a, err := attack.NewInside(t.TempDir(), opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if a.Domain != nil {
			if err := a.Stop(); err != nil {
				t.Error(err)
			}
		}
	})
	ctx := t.Context()
	op0, op1, dept, dept2, bureau := attack.Op(0), attack.Op(1), attack.Department, attack.Other, attack.Regulator
	a.Add(t, people("deskdata", 300, ""))
	a.Must(t, deskProfile(), bureau)
	for _, id := range []string{"app-1", "app-2", "app-3"} {
		a.Must(t, deskApplication(op0, id), op0)
	}
	for as, want := range map[string]int{op0: 3, op1: 0, dept: 3, dept2: 0, bureau: 3} {
		seen, token := 0, ""
		for {
			r, err := a.Client(as).Desk.ListApplications(ctx, &sandgatev1.ListApplicationsRequest{PageSize: 2, PageToken: token})
			if err != nil || len(r.GetApplications()) > 2 {
				t.Fatalf("%s: %v", as, err)
			}
			seen += len(r.GetApplications())
			if token = r.GetNextPageToken(); token == "" {
				break
			}
		}
		if seen != want {
			t.Errorf("%s sees %d applications, want %d", as, seen, want)
		}
		v, err := a.Client(as).Desk.GetApplication(ctx, &sandgatev1.GetApplicationRequest{Name: "applications/app-1"})
		switch {
		case want > 0 && (err != nil || v.GetState() != "filed" || len(v.GetDuties()) != 1 || v.GetDuties()[0].GetOwes() != bureau):
			t.Errorf("%s: %v %v", as, v, err)
		case want == 0:
			_, none := a.Client(as).Desk.GetApplication(ctx, &sandgatev1.GetApplicationRequest{Name: "applications/none"})
			if fmt.Sprint(status.Convert(err).Proto()) != fmt.Sprint(status.Convert(none).Proto()) || status.Code(err) != codes.NotFound {
				t.Errorf("%s tells another's application from none: %v, %v", as, err, none)
			}
		}
	}
	if _, err := a.Client(attack.Ghost).Desk.GetApplication(ctx, &sandgatev1.GetApplicationRequest{Name: "applications/app-1"}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a stranger: %v", err)
	}
	// Whoever may not bring a document is told so by name.
	for as, text := range map[string]string{dept: deskApplication(dept, "app-9"), op0: strings.Replace(deskProfile(), "arena", "mine", 1)} {
		if _, err := a.Apply(as, text, as); attack.Reason(err) != "PERMISSION_DENIED" {
			t.Errorf("%s: %v", as, err)
		}
	}

	a.MustRun(t, op0, "deskdata", "SELECT COUNT(*) AS n FROM deskdata", 0)
	a.Must(t, "kind: Objection\nid: obj-1\nby: dept2\nofficial: desk-1\ndataset: deskdata\nreceipt: r-2026-0017\nground: {zh: 异议}\n", dept2)
	if _, err := a.Run(op0, "deskdata", "SELECT COUNT(*) AS n FROM deskdata WHERE age > 3", 0); attack.Reason(err) != "DATASET_SUSPENDED" {
		t.Errorf("a job on a suspended data set: %v", err)
	}
	a.Must(t, "kind: Correction\nid: cor-1\nby: op1\nofficial: clerk-2\ndataset: deskdata\nerror: {zh: 差错}\n", op1)
	for as, want := range map[string][2]int{op0: {0, 0}, op1: {0, 1}, dept: {1, 1}, dept2: {1, 0}, bureau: {1, 1}} {
		o, err1 := a.Client(as).Desk.ListObjections(ctx, &sandgatev1.ListObjectionsRequest{})
		c, err2 := a.Client(as).Desk.ListCorrections(ctx, &sandgatev1.ListCorrectionsRequest{})
		if err1 != nil || err2 != nil || len(o.GetObjections()) != want[0] || len(c.GetCorrections()) != want[1] {
			t.Errorf("%s sees %d objections and %d corrections, want %v (%v, %v)", as, len(o.GetObjections()), len(c.GetCorrections()), want, err1, err2)
		}
	}

	notes := func() (out []string) {
		for _, le := range a.Entries(t) {
			e, err := entry.Decode(le.GetJson())
			if err != nil {
				t.Fatal(err)
			}
			if e.Kind == entry.KindDutyNoted {
				out = append(out, e.DutyNoted.Duty+" "+string(e.DutyNoted.Phase))
			}
		}
		return out
	}
	if got := notes(); len(got) > 0 {
		t.Errorf("noted on the first day: %q", got)
	}
	a.Wind(40 * 24 * time.Hour)
	want := []string{"accept/app-1/bureau escalated", "accept/app-2/bureau escalated", "accept/app-3/bureau escalated", "correct/cor-1/dept escalated", "rule/obj-1/dept escalated"}
	deadline := time.Now().Add(20 * time.Second)
	for len(notes()) < len(want) && time.Now().Before(deadline) {
		time.Sleep(20 * time.Millisecond)
	}
	got := notes()
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Fatalf("noted %q", got)
	}
	for as, want := range map[string]int{op0: 0, op1: 0, dept: 2, dept2: 0, bureau: 5} {
		r, err := a.Client(as).Desk.ListDuties(ctx, &sandgatev1.ListDutiesRequest{Missed: true})
		if err != nil || len(r.GetDuties()) != want {
			t.Errorf("%s sees %d missed duties, want %d, %v", as, len(r.GetDuties()), want, err)
		}
	}
	if err := a.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := a.Start(opt); err != nil {
		t.Fatalf("the ledger does not replay: %v", err)
	}
	time.Sleep(200 * time.Millisecond)
	if again := notes(); len(again) != len(want) {
		t.Errorf("noted again: %q", again)
	}
	a.Must(t, "kind: Ruling\nobjection: obj-1\nby: dept\nofficials: [d-1]\noutcome: resume\nreason: {zh: 核实}\nbasis: {zh: 依据}\nanswer: {zh: 已答复}\n", dept)
	a.MustRun(t, op0, "deskdata", "SELECT COUNT(*) AS n FROM deskdata WHERE age > 3", 0)
}
