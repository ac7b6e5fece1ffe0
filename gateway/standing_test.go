package gateway_test

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sandgate/sandgate/gateway"
	"github.com/sandgate/sandgate/gateway/alert"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/attack"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/state"
)

// supervisor is a webhook that keeps the alerts posted to it.
type supervisor struct {
	mu   sync.Mutex
	got  []alert.Message
	text strings.Builder
}

func (s *supervisor) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var m alert.Message
	_ = json.Unmarshal(body, &m)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = append(s.got, m)
	s.text.Write(body)
}

// of are the ids of the alerts of a kind.
func (s *supervisor) of(kind state.AlertKind) (out []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.got {
		if m.Data.Kind == kind {
			out = append(out, m.Data.ID)
		}
	}
	return out
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 20 s", what)
		}
	}
}

// Nothing is ordered until somebody signs; then the gateway suspends by itself, in the
// append that ends the jobs it stops, once, tells the regulator once, and the ledger
// replays.
func TestR27_R33_GatewayCarriesOutStandingOrders(t *testing.T) {
	const dataset, other = "watched", "forbidden"
	boss := &supervisor{}
	hook := httptest.NewServer(boss)
	defer hook.Close()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(base64.StdEncoding.EncodeToString(make([]byte, 32))), 0o600); err != nil {
		t.Fatal(err)
	}
	opt := gateway.Options{Tick: 50 * time.Millisecond, Wall: 30 * time.Second, Heartbeat: 500 * time.Millisecond,
		Alerts: &alert.Config{Rules: state.DefaultAlertRules, Webhook: &alert.Webhook{URL: hook.URL, SecretFile: secret}}}
	a := arena(t, dataset, opt)
	a.Add(t, visits(other, ""))
	a.Domain.RunOn(hostilePool(t))
	op, licence := attack.Op(0), attack.LicenceID(attack.Op(0), dataset)
	stray := func() {
		t.Helper()
		if _, err := a.Run(op, dataset, "SELECT COUNT(*) AS n FROM "+other, 0); attack.Reason(err) != "DATASET_NOT_LICENSED" && attack.Reason(err) != "LICENCE_SUSPENDED" {
			t.Fatalf("a stray: %v", err)
		}
	}
	submit := func() string {
		t.Helper()
		r, err := a.Client(op).Operator.SubmitJob(t.Context(), attack.Request(op, dataset, misdeed(dataset, "spin' OR diagnosis_detail = 'secret-literal"), 0))
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimPrefix(r.GetName(), "operations/")
	}
	orders := func() (out []*entry.Entry) {
		for _, e := range decoded(t, a) {
			if e.Kind == entry.KindOrdered {
				out = append(out, e)
			}
		}
		return out
	}
	job := submit()
	for range 4 {
		stray()
	}
	time.Sleep(time.Second)
	if n := orders(); len(n) > 0 || len(failures(t, a, job)) > 0 {
		t.Fatalf("the gateway orders without an instruction: %+v", n)
	}

	a.Must(t, "kind: StandingOrder\nid: watch\nby: dept\nscope: {datasets: ["+dataset+"]}\ncondition: {kind: out_of_scope, count: 3, hours: 1}\nmeasure: {stage: suspend}\nreason: {zh: 超范围}\nbasis: {zh: 第九条}\n", attack.Department)
	stray()
	stray()
	time.Sleep(time.Second)
	if n := orders(); len(n) > 0 {
		t.Fatalf("ordered on attempts before the instruction: %+v", n)
	}
	begin := time.Now()
	stray()
	eventually(t, "an order", func() bool { return len(orders()) > 0 })
	took := time.Since(begin)
	all := decoded(t, a)
	i := slices.IndexFunc(all, func(e *entry.Entry) bool { return e.Kind == entry.KindOrdered })
	o := all[i].Ordered.Order
	if o.Target.ID != licence || o.By != attack.Department || o.Stage != "suspend" {
		t.Fatalf("ordered %+v", o)
	}
	if f := all[i+1].Failed; f == nil || f.Job != job || f.Code != "LICENCE_SUSPENDED" || f.Rule != "order/"+o.ID {
		t.Errorf("the job is not ended in the same append: %+v", all[i+1])
	}
	if _, err := a.Run(op, dataset, "SELECT COUNT(*) AS n FROM "+dataset, 0); attack.Reason(err) != "LICENCE_SUSPENDED" {
		t.Errorf("after the order: %v", err)
	}
	t.Logf("ordered %v after the attempt", took)

	// The regulator is told, by name and without data.
	eventually(t, "an alert", func() bool { return slices.Contains(boss.of(state.AlertOrder), "order/"+o.ID) })
	list, err := a.Client(attack.Regulator).Supervision.ListAlerts(t.Context(), &sandgatev1.ListAlertsRequest{})
	if err != nil || !slices.ContainsFunc(list.GetAlerts(), func(x *sandgatev1.Alert) bool { return x.GetId() == "order/"+o.ID }) {
		t.Errorf("%v %v", list, err)
	}
	if _, err := a.Client(attack.Department).Supervision.ListAlerts(t.Context(), &sandgatev1.ListAlertsRequest{}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a department reads the alerts: %v", err)
	}
	for as, want := range map[string]int{op: 1, attack.Op(1): 1, attack.Department: 1, attack.Other: 0, attack.Regulator: 1} {
		r, err := a.Client(as).Supervision.ListStandingOrders(t.Context(), &sandgatev1.ListStandingOrdersRequest{})
		if err != nil || len(r.GetStandingOrders()) != want {
			t.Fatalf("%s sees %v, want %d, %v", as, r, want, err)
		}
		for _, x := range r.GetStandingOrders() {
			if sees := slices.Contains(x.GetOrders(), "orders/"+o.ID); sees == (as == attack.Op(1)) {
				t.Errorf("%s sees the orders %q", as, x.GetOrders())
			}
		}
	}

	// Once, also after a restart.
	if err := a.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := a.Start(opt); err != nil {
		t.Fatalf("the ledger does not replay: %v", err)
	}
	a.Must(t, orderText("up", attack.Department, "licence/"+licence, "resume"), attack.Department)
	eventually(t, "an alert of the resumption", func() bool { return slices.Contains(boss.of(state.AlertOrder), "order/up") })
	if n := len(orders()); n != 1 {
		t.Errorf("%d orders", n)
	}
	if got := boss.of(state.AlertOrder); len(got) != 2 {
		t.Errorf("alerts %q", got)
	}
	boss.mu.Lock()
	if strings.Contains(boss.text.String(), "secret-literal") {
		t.Error("an alert holds a literal")
	}
	boss.mu.Unlock()

	// The clock alone meets a condition, at the heartbeat's pace.
	a.Must(t, "kind: StandingOrder\nid: idle\nby: bureau\ncondition: {kind: unused, months: 3}\nmeasure: {stage: suspend}\nreason: {zh: 未使用}\nbasis: {zh: 第九条}\n", attack.Regulator)
	a.Wind(100 * 24 * time.Hour)
	eventually(t, "orders on unused grants", func() bool { return len(orders()) > 2 })
}
