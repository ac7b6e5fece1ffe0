package state

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/policies"
)

func standingText(id, by, condition, measure, more string) string {
	return fmt.Sprintf("kind: StandingOrder\nid: %s\nby: %s\ncondition: {%s}\nmeasure: {%s}\nreason: {zh: 依规处置, en: by rule}\nbasis: {zh: 运营协议第九条}\n%s", id, by, condition, measure, more)
}

func (w *world) ordered(v policies.Automatic) *entry.Entry {
	e := w.next(entry.KindOrdered, "gateway")
	e.Ordered = &v
	return e
}

// carryOut gives the one order that is called for.
func (w *world) carryOut(standing string) policies.Order {
	w.t.Helper()
	v, _, err := w.s.NextOrdered(w.now)
	if err != nil || v.Standing != standing {
		w.t.Fatalf("called for %q, %v; want %s", v.Standing, err, standing)
	}
	w.must(w.ordered(v))
	return v.Order
}

func (w *world) idle(why string) {
	w.t.Helper()
	if v, _, err := w.s.NextOrdered(w.now); !errors.Is(err, ErrNotCalledFor) {
		w.t.Fatalf("%s: %+v is called for", why, v)
	}
}

func (w *world) stray() {
	w.t.Helper()
	w.submit(w.ask("beta", fmt.Sprint("stray", w.s.Size()), counted("population")), entry.KindRefused)
}

// resume lifts an order by hand.
func (w *world) resume(by, order, licence string) error {
	e := w.next(entry.KindPolicy, by)
	e.Policy = policyOf(w.t, fmt.Sprintf("kind: Order\nid: up-%d\nby: %s\ntarget: {kind: licence, id: %s}\nstage: resume\nlifts: %s\nreason: {zh: 已整改}\nbasis: {zh: 第九条}\n", w.s.Size(), by, licence, order), by)
	return w.try(e)
}

// A grant that nobody uses: ordered to rectify at the very instant the months are
// full, suspended when the working days ran out, ended when those after them did.
// The clock alone drives it, and whoever lifts an order starts the count anew.
func TestR27_UnusedGrantIsRectifiedSuspendedEnded(t *testing.T) {
	w := city(t)
	w.profile()
	limit := time.Date(2026, 6, 1, 4, 0, 0, 0, time.UTC) // three months after the grant
	w.now = limit
	w.idle("nobody signed an instruction")
	w.now = start
	only := "scope: {licences: [beta-2026]}\n"
	w.policy(standingText("unused", "data_bureau", "kind: unused, months: 3", "stage: rectify, days: 5", only), "data_bureau")
	w.policy(standingText("late", "data_bureau", "kind: uncorrected, days: 2", "stage: suspend", only), "data_bureau")
	w.policy(standingText("gone", "data_bureau", "kind: uncorrected, days: 20", "stage: end", only), "data_bureau")
	w.now = limit.Add(-time.Millisecond)
	w.idle("a millisecond early")
	w.now = limit
	o := w.carryOut("unused") // Monday the first of June: five working days end with the eighth
	if want := time.Date(2026, 6, 8, 16, 0, 0, 0, time.UTC); !o.Due.Equal(want) || o.By != "data_bureau" || o.Target.String() != "licence/beta-2026" || !strings.Contains(o.Reason.ZH, "3 个月") {
		t.Errorf("ordered %+v, want it due %v", o, want)
	}
	w.idle("ordered once")
	w.now = time.Date(2026, 6, 10, 15, 59, 59, 0, time.UTC)
	w.idle("the second working day after the deadline is not over")
	w.now = w.now.Add(time.Second)
	suspended := w.carryOut("late")
	if x := w.s.Book().Suspended(policies.Target{Kind: policies.TargetLicence, ID: "beta-2026"}); x == nil || x.Rule != "order/"+suspended.ID || x.SetBy != "data_bureau" {
		t.Errorf("suspended by %+v", x)
	}
	w.idle("suspended")

	// Who signed the instruction lifts it, nobody else.
	lifted := w.forked(t)
	if err := lifted.resume("hrss", suspended.ID, "beta-2026"); err == nil {
		t.Error("a department lifts what the regulator's instruction ordered")
	}
	for _, id := range []string{suspended.ID, o.ID} {
		if err := lifted.resume("data_bureau", id, "beta-2026"); err != nil {
			t.Fatal(err)
		}
	}
	lifted.now = lifted.now.AddDate(0, 3, 0).Add(-time.Millisecond)
	lifted.idle("resumed: it counts anew")
	lifted.now = lifted.now.Add(time.Millisecond)
	lifted.carryOut("unused")

	w.now = time.Date(2026, 8, 1, 0, 0, 0, 0, time.UTC)
	w.carryOut("gone")
	if x := w.s.Book().InForce("beta-2026", w.now); x == nil || x.Code != "LICENCE_REVOKED" {
		t.Errorf("ended: %+v", x)
	}
	w.idle("ended for good")
}

// Whoever uses his grant is left alone; a refusal is no use.
func TestR27_UsedGrantIsLeftAlone(t *testing.T) {
	w := city(t)
	w.policy(standingText("unused", "data_bureau", "kind: unused, months: 3", "stage: suspend", ""), "data_bureau")
	w.now = time.Date(2026, 5, 30, 0, 0, 0, 0, time.UTC)
	w.submit(w.ask("alpha", "q", counted("population")), entry.KindReserved)
	w.stray()
	w.now = time.Date(2026, 6, 1, 4, 0, 0, 0, time.UTC)
	if o := w.carryOut("unused"); o.Target.ID != "beta-2026" {
		t.Errorf("ordered on %s", o.Target)
	}
	w.idle("alpha used its grant")
}

func TestR27_AttemptsOutsideALicenceAreSuspended(t *testing.T) {
	w := city(t)
	for range 5 {
		w.stray() // before anybody signed: nobody answers for them
	}
	w.policy(standingText("scope", "hrss", "kind: out_of_scope, count: 3, hours: 2", "stage: suspend", "scope: {datasets: [social_insurance]}\n"), "hrss")
	w.now = w.now.Add(time.Millisecond)
	w.idle("attempts before the instruction")
	w.stray()
	w.stray()
	// Another operator who names beta's licence gets beta into no trouble.
	for range 4 {
		f := w.ask("alpha", fmt.Sprint("f", w.s.Size()), counted("population"))
		f.Request.Licence = "beta-2026"
		w.submit(f, entry.KindRefused)
	}
	w.idle("two are not three")
	w.now = w.now.Add(2*time.Hour + time.Millisecond)
	w.stray()
	w.idle("three in more than two hours")
	w.stray()
	w.now = w.now.Add(time.Hour)
	w.stray()
	o := w.carryOut("scope")
	if o.By != "hrss" || o.Stage != policies.StageSuspend {
		t.Errorf("%+v", o)
	}
	if got := w.codes(w.ask("beta", "q", counted("social_insurance"))); len(got) == 0 || got[0] != "LICENCE_SUSPENDED" {
		t.Errorf("refused for %q", got)
	}
	if err := w.resume("hrss", o.ID, "beta-2026"); err != nil {
		t.Fatal(err)
	}
	w.idle("the same attempts are not ordered on twice")
	for range 3 {
		w.now = w.now.Add(time.Minute)
		w.stray()
	}
	w.carryOut("scope")
}

// Differencing by hand: one person more or less, the same columns. Another order of
// conditions, or another price, is no way round; honest work on many columns is not
// taken for it, nor is asking the same again.
func TestR27_EnumerationIsSuspended(t *testing.T) {
	w := city(t)
	w.policy(standingText("enum", "data_bureau", "kind: enumeration, count: 5, hours: 1", "stage: suspend", ""), "data_bureau")
	gender := algebra.Col{Name: "gender", Type: algebra.Type{Kind: algebra.Text}}
	near := func(i int) *algebra.Core {
		c := counted("population")
		c.Where = &algebra.Pred{Op: algebra.OpEq, Col: &gender, Values: []algebra.Value{{Type: gender.Type}}}
		if i%2 == 1 { // the same people the other way round
			c.Where = &algebra.Pred{Op: algebra.OpNot, Args: []algebra.Pred{*c.Where}}
		}
		redacted := c.Redacted()
		return &redacted
	}
	for range 20 {
		w.now = w.now.Add(time.Minute)
		w.submit(w.ask("alpha", "the same question", counted("population")), w.entryOf(w.ask("alpha", "the same question", counted("population"))).Kind)
	}
	w.idle("the same question twenty times")
	for i := range 4 {
		w.now = w.now.Add(time.Minute)
		a := w.ask("alpha", fmt.Sprint("near", i), near(i))
		w.submit(a, w.entryOf(a).Kind)
	}
	w.idle("four")
	a := w.ask("alpha", "near4", near(4))
	w.submit(a, w.entryOf(a).Kind)
	if o := w.carryOut("enum"); o.Target.ID != "alpha-2026" {
		t.Errorf("%+v", o)
	}
}

func TestR27_RefusalsThatOthersCauseDoNotCount(t *testing.T) {
	w := city(t)
	w.policy(standingText("burst", "data_bureau", "kind: refusals, count: 3, hours: 1", "stage: suspend", ""), "data_bureau")
	w.policy(cityObjection, "public_security") // holds visits
	for range 6 {
		a := w.ask("alpha", fmt.Sprint("v", w.s.Size()), visits())
		a.Request.Purpose = "public_health"
		w.now = w.now.Add(time.Second)
		w.submit(a, entry.KindRefused)
	}
	w.idle("refused because the data set is suspended")
	for range 3 {
		w.now = w.now.Add(time.Second)
		a := w.ask("alpha", fmt.Sprint("n", w.s.Size()), counted("population"))
		a.Request.Purpose = "inclusive_finance"
		w.submit(a, entry.KindRefused)
	}
	w.carryOut("burst")
}

func TestR27_NearlySpentBudgetIsNoticedOnce(t *testing.T) {
	w := city(t)
	w.limits("public_security", "population", "query: "+rho(1_000_000)+", operator_year: "+rho(2_000_000)+", dataset_year: "+rho(20_000_000)+", lifetime: "+rho(40_000_000))
	w.must(w.snapshotOf("population"))
	w.policy(standingText("budget", "public_security", "kind: budget, percent: 50", "stage: notice", "scope: {datasets: [population]}\n"), "public_security")
	w.idle("nothing is spent")
	a := w.ask("alpha", "dear", counted("population"))
	a.Request.Price = 1_000_000
	w.submit(a, entry.KindReserved)
	if o := w.carryOut("budget"); o.Stage != policies.StageNotice {
		t.Errorf("%+v", o)
	}
	w.idle("noticed once")
	if x := w.s.Book().Suspended(policies.Target{Kind: policies.TargetLicence, ID: "alpha-2026"}); x != nil {
		t.Errorf("a notice suspends: %v", x)
	}
}

// A replay believes no order that is not called for.
func TestR27_ForgedAutomaticOrdersAreRefused(t *testing.T) {
	w := city(t)
	w.policy(standingText("scope", "data_bureau", "kind: out_of_scope, count: 3, hours: 2", "stage: suspend", "until: 2026-12-01T00:00:00+08:00\n"), "data_bureau")
	early := w.forked(t)
	for range 3 {
		w.now = w.now.Add(time.Minute)
		w.stray()
	}
	v, _, err := w.s.NextOrdered(w.now)
	if err != nil {
		t.Fatal(err)
	}
	for name, forge := range map[string]func(*entry.Entry){
		"another licence": func(e *entry.Entry) { e.Ordered.Order.Target.ID = "alpha-2026" },
		"another measure": func(e *entry.Entry) { e.Ordered.Order.Stage = policies.StageEnd },
		"another party":   func(e *entry.Entry) { e.Ordered.Order.By = "hrss" },
		"another id":      func(e *entry.Entry) { e.Ordered.Order.ID = "auto-x" },
		"another reason":  func(e *entry.Entry) { e.Ordered.Order.Reason.ZH = "别的" },
		"other occasion":  func(e *entry.Entry) { e.Ordered.Occasion = "then" },
		"no instruction":  func(e *entry.Entry) { e.Ordered.Standing = "none" },
		"not the gateway": func(e *entry.Entry) { e.Actor = "data_bureau" },
	} {
		e := copied(t, w.ordered(v))
		forge(e)
		before := picture(t, w.s)
		if err := w.try(e); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if picture(t, w.s) != before {
			t.Errorf("%s: the state changed", name)
		}
	}
	e := copied(t, w.ordered(v))
	e.Seq = early.s.Size()
	if err := early.try(e); err == nil {
		t.Error("accepted before the condition was met")
	}
	withdrawn, past := w.forked(t), w.forked(t)
	withdrawn.policy("kind: StandingOrderWithdrawal\nstanding_order: scope\nby: data_bureau\nreason: {zh: 撤销}\n", "data_bureau")
	past.now = time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	for name, x := range map[string]*world{"withdrawn": withdrawn, "ended": past} {
		e := copied(t, w.ordered(v))
		e.Seq, e.At = x.s.Size(), x.now.UnixMilli()
		if err := x.try(e); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	// Whoever foresees the order's id and takes it first changes nothing but the id.
	taken := w.forked(t)
	taken.policy("kind: Order\nid: "+v.Order.ID+"\nby: data_bureau\ntarget: {kind: operator, id: alpha}\nstage: rectify\ndue: 2027-01-01T00:00:00+08:00\nreason: {zh: 占用}\nbasis: {zh: 第九条}\n", "data_bureau")
	if o := taken.carryOut("scope"); o.ID == v.Order.ID || o.Target.ID != "beta-2026" {
		t.Errorf("%+v", o)
	}
	w.must(w.ordered(v)) // the control: unforged it is accepted, once
	if err := w.try(w.ordered(v)); err == nil {
		t.Error("accepted twice")
	}
}
