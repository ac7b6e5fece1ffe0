package policies

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func order(id, by, target, stage, more string) string {
	kind, name, _ := strings.Cut(target, "/")
	if name != "" {
		name = ", id: " + name
	}
	return fmt.Sprintf("kind: Order\nid: %s\nby: %s\ntarget: {kind: %s%s}\nstage: %s\n%sreason: {zh: 理由}\nbasis: {zh: 第九条}\n", id, by, kind, name, stage, more)
}

func TestR27_SuspendAndResume(t *testing.T) {
	for target, code := range map[string]string{"gateway": "GATEWAY_SUSPENDED", "operator/op": "OPERATOR_SUSPENDED", "licence/l1": "LICENCE_SUSPENDED", "dataset/people": "DATASET_SUSPENDED"} {
		b := town(t, "")
		if got := codesOf(b.Decide(townRequest())); len(got) != 0 {
			t.Fatalf("%v", got)
		}
		held := apply(t, b, order("s1", "bureau", target, "suspend", ""), "bureau")
		reasons := held.Decide(townRequest())
		if !slices.Equal(codesOf(reasons), []string{code}) || reasons[0].Rule != "order/s1" || reasons[0].SetBy != "bureau" || held.Stopped(townRequest()) == nil {
			t.Errorf("%s: %+v", target, reasons)
		}
		if x := b.Stopped(townRequest()); x != nil {
			t.Errorf("the book before changed: %v", x)
		}
		// Two orders hold one target; it is free when the last is lifted.
		twice := apply(t, held, order("s2", "bureau", target, "suspend", ""), "bureau")
		one := apply(t, twice, order("r1", "bureau", target, "resume", "lifts: s1\n"), "bureau")
		if got := codesOf(one.Decide(townRequest())); !slices.Equal(got, []string{code}) {
			t.Errorf("%s: %v after one of two was lifted", target, got)
		}
		free := apply(t, one, order("r2", "bureau", target, "resume", ""), "bureau")
		if got := codesOf(free.Decide(townRequest())); len(got) != 0 {
			t.Errorf("%s: %v after resumption", target, got)
		}
		if r, ok := free.Order("s1"); !ok || r.Closed != "r1" || !r.At.Equal(applied) {
			t.Errorf("%s: %+v", target, r)
		}
		if got := refused(t, free, order("r3", "bureau", target, "resume", ""), "bureau"); !strings.Contains(got, "is not suspended") {
			t.Error(got)
		}
	}
}

func TestR27_OnlyWhoSuspendedOrTheRegulatorLifts(t *testing.T) {
	b := town(t, "")
	b = apply(t, b, order("s1", "dept", "licence/l1", "suspend", ""), "dept")
	for by, want := range map[string]string{"other": `party "other" may give no order`, "op": `party "op" may give no order`} {
		if got := refused(t, b, order("r1", by, "licence/l1", "resume", ""), by, "bureau"); !strings.Contains(got, want) {
			t.Errorf("%s: %s", by, got)
		}
	}
	apply(t, b, order("r1", "dept", "licence/l1", "resume", ""), "dept")
	apply(t, b, order("r1", "bureau", "licence/l1", "resume", ""), "bureau")

	// A department whose data the licence grants as well is a stranger to another's order.
	wide := edited(t, townLicence, "resources:\n", "resources:\n  - {dataset: theirs, columns: [id]}\n")
	c := apply(t, town(t, ""), withKeys("kind: Catalogue\ndepartment: other\ndatasets:\n  - id: theirs\n    title: {zh: 他}\n    unit: {column: id, kind: record}\n    columns: [{name: id, title: {zh: 号}, type: text, identifier: opaque}]\n"), "other")
	c = apply(t, c, wide, "bureau", "dept", "other")
	c = apply(t, c, order("s1", "bureau", "licence/l1", "suspend", ""), "bureau")
	c = apply(t, c, order("s2", "dept", "licence/l1", "suspend", ""), "dept")
	if got := refused(t, c, order("r1", "other", "licence/l1", "resume", ""), "other"); !strings.Contains(got, "only who suspended it") {
		t.Error(got)
	}
	if got := refused(t, c, order("r1", "other", "licence/l1", "resume", "lifts: s2\n"), "other"); !strings.Contains(got, `given by "dept"`) {
		t.Error(got)
	}
	// dept lifts its own and not the regulator's.
	c = apply(t, c, order("r1", "dept", "licence/l1", "resume", ""), "dept")
	if held := c.Holds(Target{TargetLicence, "l1"}); len(held) != 1 || held[0].Cause != "s1" {
		t.Errorf("%+v", held)
	}
	if got := refused(t, c, order("r2", "dept", "licence/l1", "resume", "lifts: s1\n"), "dept"); !strings.Contains(got, `given by "bureau"`) {
		t.Error(got)
	}
}

func TestR27_End(t *testing.T) {
	b := town(t, "")
	l := apply(t, b, order("e1", "dept", "licence/l1", "end", ""), "dept")
	if x := l.Decide(townRequest()); len(x) != 1 || x[0].Code != "LICENCE_REVOKED" || x[0].Rule != "order/e1" {
		t.Errorf("%+v", x)
	}
	if got := refused(t, l, order("r1", "bureau", "licence/l1", "resume", ""), "bureau"); !strings.Contains(got, "ended by order \"e1\" for good") {
		t.Error(got)
	}
	o := apply(t, b, order("e1", "bureau", "operator/op", "end", ""), "bureau")
	if x := o.Decide(townRequest()); len(x) != 1 || x[0].Code != "PARTY_WITHDRAWN" || x[0].Rule != "order/e1" {
		t.Errorf("%+v", x)
	}
	if x := o.Authorize("op", ActSubmitJob, Resource{}); x == nil {
		t.Error("an operator that was ended may act")
	}
	// An old registry does not bring it back.
	if got := refused(t, o, withKeys("# again\n"+townRegistry), "bureau"); !strings.Contains(got, `party "op" was ended by order "e1"`) {
		t.Error(got)
	}
	apply(t, o, edited(t, townRegistry, "id: op, role: operator,", "id: op, role: operator, withdrawn: true,"), "bureau")
	d := apply(t, b, order("e1", "dept", "dataset/people", "end", ""), "dept")
	if got := codesOf(d.Decide(townRequest())); !slices.Equal(got, []string{"DATASET_SUSPENDED"}) {
		t.Errorf("%v", got)
	}
	if got := refused(t, d, order("r1", "bureau", "dataset/people", "resume", ""), "bureau"); !strings.Contains(got, "for good") {
		t.Error(got)
	}
}

func TestR27_Rectify(t *testing.T) {
	b := apply(t, town(t, ""), order("f1", "dept", "licence/l1", "rectify", "due: 2026-07-01\n"), "dept")
	if got := codesOf(b.Decide(townRequest())); len(got) != 0 {
		t.Errorf("an order to rectify stops work: %v", got)
	}
	r, _ := b.Order("f1")
	if r.Overdue(applied) || !r.Overdue(time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("%+v", r)
	}
	b = apply(t, b, order("f2", "dept", "licence/l1", "resume", "lifts: f1\n"), "dept")
	if r, _ = b.Order("f1"); r.Closed != "f2" || r.Overdue(time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("%+v", r)
	}
	if len(b.Orders()) != 2 {
		t.Errorf("%+v", b.Orders())
	}
}

func TestR27_BadOrdersAreRefusedByName(t *testing.T) {
	b := apply(t, town(t, ""), order("s1", "dept", "licence/l1", "suspend", ""), "dept")
	for name, c := range map[string]struct{ text, want string }{
		"unknown licence":        {order("x", "bureau", "licence/l9", "suspend", ""), `licence "l9" is not granted`},
		"unknown operator":       {order("x", "bureau", "operator/nobody", "suspend", ""), `operator "nobody" is not in the registry`},
		"no operator":            {order("x", "bureau", "operator/dept", "suspend", ""), `operator "dept" is not in the registry`},
		"unknown data set":       {order("x", "bureau", "dataset/nothing", "suspend", ""), `data set "nothing" is not in the catalogue`},
		"unknown product":        {order("x", "bureau", "product/p", "suspend", ""), `product "p" was not filed`},
		"unknown kind":           {order("x", "bureau", "world/w", "suspend", ""), `unknown kind of target "world"`},
		"a gateway with an id":   {order("x", "bureau", "gateway/g", "suspend", ""), "the gateway has no id"},
		"unknown stage":          {order("x", "bureau", "licence/l1", "warn", ""), `unknown stage "warn"`},
		"id used":                {order("s1", "dept", "licence/l1", "suspend", ""), "given before"},
		"no id":                  {order("X Y", "dept", "licence/l1", "suspend", ""), "is not an id"},
		"a department's gateway": {order("x", "dept", "gateway", "suspend", ""), `party "dept" may give no order on gateway`},
		"another's data":         {order("x", "other", "dataset/people", "suspend", ""), `party "other" may give no order`},
		"an operator":            {order("x", "op", "licence/l1", "suspend", ""), `party "op" may give no order`},
		"not due":                {order("x", "dept", "licence/l1", "rectify", ""), "due"},
		"due before":             {order("x", "dept", "licence/l1", "rectify", "due: 2026-05-01\n"), "due"},
		"due for a suspension":   {order("x", "dept", "licence/l1", "suspend", "due: 2026-07-01\n"), "due"},
		"lifting nothing":        {order("x", "dept", "licence/l1", "resume", "lifts: s9\n"), `order "s9" is not open`},
		"lifting elsewhere":      {order("x", "dept", "dataset/people", "resume", "lifts: s1\n"), `order "s1" is not open on dataset/people`},
		"lifting by suspension":  {order("x", "dept", "licence/l1", "suspend", "lifts: s1\n"), "lifts"},
		"the end of a gateway":   {order("x", "bureau", "gateway", "end", ""), "suspended, not ended"},
		"no basis":               {strings.Replace(order("x", "dept", "licence/l1", "suspend", ""), "basis: {zh: 第九条}", "basis: {en: art}", 1), "legal basis"},
	} {
		by := "dept"
		if strings.Contains(c.text, "by: bureau") {
			by = "bureau"
		}
		if got := refused(t, b, c.text+"# once more\n", by, "op", "other"); !strings.Contains(got, c.want) {
			t.Errorf("%s: %s", name, got)
		}
	}
	if got := refused(t, b, order("x", "bureau", "gateway", "suspend", ""), "dept"); !strings.Contains(got, `signature of "bureau" is missing`) {
		t.Error(got)
	}
	for _, text := range []string{"", "gateway/", "gateway/x", "licence", "licence/", "licence/a/b", "world/x"} {
		if _, err := ParseTarget(text); err == nil {
			t.Errorf("%q is a target", text)
		}
	}
	for _, text := range []string{"gateway", "operator/op", "licence/l1", "dataset/people", "product/p"} {
		if got, err := ParseTarget(text); err != nil || got.String() != text {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}

// A hold that no order made, an objection's, is not lifted by an order.
func TestR25_AnObjectionsHoldIsNotLiftedByAnOrder(t *testing.T) {
	b := town(t, "").clone()
	b.suspend(Target{TargetLicence, "l1"}, Hold{Since: applied, By: "dept", Cause: "objection-1"})
	for _, lifts := range []string{"", "lifts: objection-1\n"} {
		if got := refused(t, b, order("x", "bureau", "licence/l1", "resume", lifts), "bureau"); !strings.Contains(got, "not suspended by an order") && !strings.Contains(got, "not open") {
			t.Error(got)
		}
	}
}

func FuzzParseTarget(f *testing.F) {
	for _, s := range []string{"gateway", "gateway/", "operator/op", "licence/l1", "dataset/a/b", "product/", "world/w", ""} {
		f.Add(s)
	}
	b := town(f, "")
	f.Fuzz(func(t *testing.T, text string) {
		target, err := ParseTarget(text)
		if err != nil {
			return
		}
		if got := target.String(); got != text {
			t.Errorf("%q reads as %q", text, got)
		}
		// Whatever reads as a target and is not there is refused, never a crash.
		if owners, err := b.Concerned(target); err != nil && owners != nil {
			t.Errorf("%q: %v, %v", text, owners, err)
		}
	})
}
