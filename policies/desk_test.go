package policies

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// The desk of the small town: the profile of Chifeng, in force from a Monday.
var monday = time.Date(2026, 3, 2, 1, 0, 0, 0, time.UTC)

const (
	townApplication = `kind: Application
id: app-1
operator: op
official: op-clerk
scenario: {zh: 就医负担分析}
purposes: [plan]
scope:
  - {dataset: people, columns: [diagnosis_name, fee]}
method: {zh: 分组统计}
not_before: 2026-04-01T00:00:00+08:00
not_after: 2027-04-01T00:00:00+08:00
security: {zh: 只在沙箱内}
contact: {zh: 数据部}
`
	townAccept = `kind: Review
application: app-1
by: bureau
officials: [b-intake]
decision: accept
reason: {zh: 材料齐全}
`
	townDeptApproves = `kind: Review
application: app-1
by: dept
officials: [d-one, d-two]
decision: approve
reason: {zh: 最小必要}
`
	townBureauApproves = `kind: Review
application: app-1
by: bureau
officials: [b-one, b-two]
decision: approve
reason: {zh: 同意}
`
	townGrant = `kind: Licence
id: l2
operator: op
title: {zh: 授权}
scenario: {zh: 就医负担分析}
purposes: [plan]
not_before: 2026-04-01T00:00:00+08:00
not_after: 2027-04-01T00:00:00+08:00
resources:
  - {dataset: people, columns: [diagnosis_name, fee]}
security_terms: {zh: 安全}
exit_terms: {zh: 退出}
application: app-1
`
	townObjection = `kind: Objection
id: obj-1
by: other
official: o-desk
dataset: people
receipt: r-2026-0017
ground: {zh: 当事人认为其信息被不当使用}
`
	townRuling = `kind: Ruling
objection: obj-1
by: dept
officials: [d-one, d-two]
outcome: resume
reason: {zh: 核实无误}
basis: {zh: 目录所列用途}
answer: {zh: 已核实并答复}
`
	townCorrection = `kind: Correction
id: cor-1
by: op
official: op-clerk
dataset: people
columns: [fee]
error: {zh: 费用单位疑似有误}
`
	townReply = `kind: Reply
correction: cor-1
by: dept
officials: [d-one, d-two]
outcome: unfounded
answer: {zh: 单位为元}
basis: {zh: 目录说明}
`
	townDispute = `kind: Dispute
correction: cor-1
by: op
official: op-clerk
reason: {zh: 与公报不符}
`
	townSettle = `kind: Reply
correction: cor-1
by: bureau
officials: [b-one, b-two]
outcome: unfounded
answer: {zh: 维持}
basis: {zh: 目录说明}
`
	townChange = `kind: LegalChange
id: law-1
by: bureau
department: dept
datasets: [people]
since: 2026-03-02T09:00:00+08:00
basis: {zh: 职能调整}
`
)

// at puts a bundle in force at an instant.
func at(t testing.TB, b *Book, when time.Time, text string, parties ...string) *Book {
	t.Helper()
	next, _, err := b.Apply(signed(t, text, parties...), when)
	if err != nil {
		t.Fatalf("bundle of %v: %v", parties, err)
	}
	return next
}

// desktown is the town with licences and a profile.
func desktown(t testing.TB) *Book {
	t.Helper()
	b := at(t, town(t, ""), monday, chifeng(t), "bureau")
	// The town was built on another day; here that was long before.
	b.desk.renewed, b.desk.updated = map[string]time.Time{}, map[string]time.Time{}
	return b
}

// days after Monday the second of March, at nine in the morning.
func day(n int) time.Time { return monday.AddDate(0, 0, n) }

// step is one bundle of a case.
type bundleStep struct {
	text    string
	signers []string
}

func play(t testing.TB, b *Book, steps ...bundleStep) *Book {
	t.Helper()
	for _, s := range steps {
		b = at(t, b, monday, s.text, s.signers...)
	}
	return b
}

var (
	fileIt     = bundleStep{townApplication, []string{"op"}}
	acceptIt   = bundleStep{townAccept, []string{"bureau"}}
	deptOK     = bundleStep{townDeptApproves, []string{"dept"}}
	bureauOK   = bundleStep{townBureauApproves, []string{"bureau"}}
	grantIt    = bundleStep{townGrant, []string{"bureau", "dept"}}
	objectIt   = bundleStep{townObjection, []string{"other"}}
	ruleIt     = bundleStep{townRuling, []string{"dept"}}
	correctIt  = bundleStep{townCorrection, []string{"op"}}
	replyIt    = bundleStep{townReply, []string{"dept"}}
	disputeIt  = bundleStep{townDispute, []string{"op"}}
	settleIt   = bundleStep{townSettle, []string{"bureau"}}
	withdrawIt = bundleStep{"kind: ApplicationWithdrawal\napplication: app-1\noperator: op\nofficial: op-clerk\nreason: {zh: 不再需要}\n", []string{"op"}}
)

func owed(b *Book, when time.Time) []string {
	var out []string
	for _, d := range b.Duties(when) {
		out = append(out, d.ID+" "+string(d.Phase))
	}
	return out
}

func stateOf(t testing.TB, b *Book, want ApplicationState, duties ...string) {
	t.Helper()
	c, ok := b.ApplicationCase("app-1")
	if !ok || c.State != want {
		t.Errorf("application is %q, want %q", c.State, want)
	}
	if got := owed(b, day(0)); !slices.Equal(got, duties) {
		t.Errorf("%s: owed %q, want %q", want, got, duties)
	}
}

func TestR23_R24_ApplicationFromFilingToLicence(t *testing.T) {
	b := play(t, desktown(t), fileIt)
	stateOf(t, b, AppFiled, "accept/app-1/bureau open")
	if d := b.Duties(day(0))[0]; !d.Due.Equal(cst(t, "2026-03-05 00:00:00")) || d.Owes != "bureau" {
		t.Errorf("due %v", d)
	}
	b = play(t, b, acceptIt)
	stateOf(t, b, AppAccepted, "review/app-1/bureau open", "review/app-1/dept open")
	b = play(t, b, deptOK)
	stateOf(t, b, AppReviewing, "review/app-1/bureau open")
	b = play(t, b, bureauOK)
	stateOf(t, b, AppApproved, "grant/app-1/bureau open")
	b = play(t, b, grantIt)
	stateOf(t, b, AppGranted)
	c, _ := b.ApplicationCase("app-1")
	var acts []string
	for _, s := range c.Steps {
		acts = append(acts, s.By+" "+s.Decision)
	}
	if want := []string{"op filed", "bureau accept", "dept approve", "bureau approve", "bureau granted"}; !slices.Equal(acts, want) || c.Licence != "l2" {
		t.Errorf("%q, licence %q", acts, c.Licence)
	}
	if b.Granted("l2") != monday || !b.Concerns(c, "dept") || b.Concerns(c, "other") {
		t.Error("grant or concern is wrong")
	}
}

func TestR24_ReturnedRefusedWithdrawn(t *testing.T) {
	returned := strings.Replace(strings.Replace(townAccept, "accept", "return", 1), "材料齐全", "缺少方法", 1)
	b := play(t, desktown(t), fileIt, bundleStep{returned, []string{"bureau"}})
	stateOf(t, b, AppReturned, "complete/app-1/op open")
	if got := refused(t, b, townAccept, "bureau"); !strings.Contains(got, "returned, not filed") {
		t.Error(got)
	}
	again := strings.Replace(townApplication, "分组统计", "分组统计，不含明细", 1)
	if got := refused(t, b, strings.Replace(again, "operator: op", "operator: rival", 1), "rival"); !strings.Contains(got, "filed before") {
		t.Error(got)
	}
	b = play(t, b, bundleStep{again, []string{"op"}})
	stateOf(t, b, AppFiled, "accept/app-1/bureau/2 open")
	b = play(t, b, acceptIt)
	no := strings.Replace(townDeptApproves, "approve", "refuse", 1)
	if got := refused(t, b, no, "dept"); !strings.Contains(got, "basis.zh is missing") {
		t.Error(got)
	}
	b = play(t, b, bundleStep{no + "basis: {zh: 负面清单}\n", []string{"dept"}})
	stateOf(t, b, AppRefused)
	for _, s := range []bundleStep{bureauOK, withdrawIt, grantIt} {
		if got := refused(t, b, s.text, s.signers...); !strings.Contains(got, "is refused") {
			t.Error(got)
		}
	}
	for _, before := range [][]bundleStep{{fileIt}, {fileIt, acceptIt}, {fileIt, acceptIt, deptOK}, {fileIt, acceptIt, deptOK, bureauOK}} {
		b := play(t, desktown(t), append(before, withdrawIt)...)
		stateOf(t, b, AppWithdrawn)
		if got := refused(t, b, townGrant, "bureau", "dept"); !strings.Contains(got, "is withdrawn") {
			t.Error(got)
		}
	}
	granted := play(t, desktown(t), fileIt, acceptIt, deptOK, bureauOK, grantIt)
	if got := refused(t, granted, withdrawIt.text, "op"); !strings.Contains(got, "is granted") {
		t.Error(got)
	}
}

// A licence on an application grants nothing beyond it, or beyond what the
// reviews narrowed it to.
func TestR23_LicenceNeverExceedsItsApplication(t *testing.T) {
	narrow := townDeptApproves + "scope: [{dataset: people, columns: [diagnosis_name]}]\nnot_after: 2026-10-01T00:00:00+08:00\n"
	wide := play(t, desktown(t), fileIt, acceptIt, deptOK, bureauOK)
	less := play(t, desktown(t), fileIt, acceptIt, bundleStep{narrow, []string{"dept"}}, bureauOK)
	for name, c := range map[string]struct {
		b              *Book
		from, to, want string
	}{
		"a column more":          {wide, "[diagnosis_name, fee]", "[diagnosis_name, fee, visits]", `column "visits"`},
		"a data set more":        {wide, "resources:", "resources:\n  - {dataset: firms, columns: [trade]}", `data set "firms"`},
		"another purpose":        {wide, "purposes: [plan]", "purposes: [plan, trade]", `purpose "trade"`},
		"a day longer":           {wide, "not_after: 2027-04-01", "not_after: 2027-04-02", "term"},
		"a day earlier":          {wide, "not_before: 2026-04-01", "not_before: 2026-03-31", "term"},
		"another operator":       {wide, "operator: op", "operator: rival", `"rival" filed no application`},
		"no such application":    {wide, "application: app-1", "application: app-9", "filed no application"},
		"a narrowed column":      {less, "not_after: 2027-04-01", "not_after: 2026-10-01", `column "fee"`},
		"a narrowed term":        {less, "[diagnosis_name, fee]", "[diagnosis_name]", "term"},
		"not yet approved":       {play(t, desktown(t), fileIt, acceptIt, deptOK), "id: l2", "id: l2", "is reviewing, not approved"},
		"granted to another one": {play(t, wide, grantIt), "id: l2", "id: l3", `was granted as licence "l2"`},
		"its application hidden": {play(t, wide, grantIt), "application: app-1\n", "", "must name it"},
	} {
		if got := refused(t, c.b, edited(t, townGrant, c.from, c.to), "bureau", "dept"); !strings.Contains(got, c.want) {
			t.Errorf("%s: %s; want %q", name, got, c.want)
		}
	}
	fits := edited(t, edited(t, townGrant, "[diagnosis_name, fee]", "[diagnosis_name]"), "not_after: 2027-04-01", "not_after: 2026-10-01")
	b := play(t, less, bundleStep{fits, []string{"bureau", "dept"}})
	stateOf(t, b, AppGranted)
	// The same licence in a corrected text still fits; licences without an
	// application stay possible.
	b = play(t, b, bundleStep{fits + "# 更正文字\n", []string{"bureau", "dept"}})
	stateOf(t, b, AppGranted)
	for name, n := range map[string]struct{ add, want string }{
		"nothing left":     {"scope: [{dataset: people, columns: [fee]}]\n", "leave nothing"},
		"no time left":     {"not_after: 2026-04-01T00:00:00+08:00\n", "leave nothing"},
		"not applied for":  {"scope: [{dataset: people, columns: [visits]}]\n", `column "visits"`},
		"no such column":   {"scope: [{dataset: people, columns: [ghost]}]\n", `unknown column "ghost"`},
		"another data set": {"scope: [{dataset: firms, columns: [trade]}]\n", "was not applied for"},
		"a longer term":    {"not_after: 2028-04-01T00:00:00+08:00\n", "beyond"},
	} {
		before := play(t, desktown(t), fileIt, acceptIt, bundleStep{townDeptApproves + "scope: [{dataset: people, columns: [diagnosis_name]}]\n", []string{"dept"}})
		if got := refused(t, before, townBureauApproves+n.add, "bureau"); !strings.Contains(got, n.want) {
			t.Errorf("%s: %s; want %q", name, got, n.want)
		}
	}
}

func TestR23_BadApplicationsAndReviews(t *testing.T) {
	b := desktown(t)
	for name, c := range map[string]struct{ from, to, want string }{
		"no scenario":       {"scenario: {zh: 就医负担分析}", "scenario: {en: x}", "scenario.zh"},
		"no method":         {"method: {zh: 分组统计}\n", "", "method.zh"},
		"no security":       {"security: {zh: 只在沙箱内}\n", "", "security.zh"},
		"no contact":        {"contact: {zh: 数据部}\n", "", "contact.zh"},
		"a telephone":       {"contact: {zh: 数据部}", "contact: {zh: 数据部 13800138000}", "contact holds a number"},
		"no official":       {"official: op-clerk\n", "", "official"},
		"no purpose":        {"purposes: [plan]", "purposes: []", "purposes and scope"},
		"unknown purpose":   {"purposes: [plan]", "purposes: [party]", `purpose "party"`},
		"unknown data set":  {"dataset: people", "dataset: ghosts", `data set "ghosts"`},
		"unknown column":    {"diagnosis_name, fee", "diagnosis_name, soul", `unknown column "soul"`},
		"column twice":      {"diagnosis_name, fee", "fee, fee", `column "fee" stands twice`},
		"data set twice":    {"scope:\n", "scope:\n  - {dataset: people, columns: [fee]}\n", `"people" stands twice`},
		"six years":         {"not_after: 2027", "not_after: 2032", "term of at most"},
		"term backwards":    {"not_after: 2027", "not_after: 2025", "term of at most"},
		"a department asks": {"operator: op", "operator: dept", "not in the registry"},
		"rival's licence":   {"contact:", "renews: l9\ncontact:", "no licence of this operator"},
		"unknown field":     {"contact:", "phone: x\ncontact:", "phone"},
		"bad id":            {"id: app-1", "id: 一", "not an id"},
	} {
		if got := refused(t, b, edited(t, townApplication, c.from, c.to), "op", "dept"); !strings.Contains(got, c.want) {
			t.Errorf("%s: %s; want %q", name, got, c.want)
		}
	}
	if got := refused(t, b, townApplication, "rival"); !strings.Contains(got, `signature of "op" is missing`) {
		t.Error(got)
	}
	if got := refused(t, town(t, ""), townApplication, "op"); !strings.Contains(got, "no Profile is in force") {
		t.Error(got)
	}
	if _, _, err := b.Apply(signed(t, townApplication, "op"), time.Date(2026, 12, 31, 4, 0, 0, 0, time.UTC)); err == nil || !strings.Contains(err.Error(), "no year 2027") {
		t.Errorf("filed where the calendar ends: %v", err)
	}
	if got := refused(t, play(t, b, fileIt), townApplication+"# again\n", "op"); !strings.Contains(got, "filed before") {
		t.Error(got)
	}
	filed, accepted := play(t, b, fileIt), play(t, b, fileIt, acceptIt)
	for name, c := range map[string]struct {
		b       *Book
		text    string
		signers []string
		want    string
	}{
		"never filed":             {b, townAccept, []string{"bureau"}, `"app-1" was not filed`},
		"before it was taken in":  {filed, townDeptApproves, []string{"dept"}, "is filed, not under review"},
		"taken in twice":          {accepted, townAccept + "# x\n", []string{"bureau"}, "is accepted, not filed"},
		"taken in by department":  {filed, edited(t, townAccept, "by: bureau", "by: dept"), []string{"dept"}, "the regulator does"},
		"the wrong department":    {accepted, edited(t, townDeptApproves, "by: dept", "by: other"), []string{"other"}, "asks for no data of it"},
		"without its signature":   {accepted, townDeptApproves, []string{"other"}, `signature of "dept" is missing`},
		"by the applicant":        {accepted, edited(t, townDeptApproves, "by: dept", "by: op"), []string{"op"}, "cannot sign its review"},
		"the applicant beside it": {accepted, townDeptApproves, []string{"dept", "op"}, "cannot sign its review"},
		"by a rival":              {accepted, edited(t, townDeptApproves, "by: dept", "by: rival"), []string{"rival"}, "not in the registry as one of"},
		"one official":            {accepted, edited(t, townDeptApproves, "[d-one, d-two]", "[d-one]"), []string{"dept"}, "two officials"},
		"one official twice":      {accepted, edited(t, townDeptApproves, "[d-one, d-two]", "[d-one, d-one]"), []string{"dept"}, "same one twice"},
		"three officials":         {accepted, edited(t, townDeptApproves, "[d-one, d-two]", "[d-one, d-two, d-three]"), []string{"dept"}, "one or two"},
		"nobody":                  {accepted, edited(t, townDeptApproves, "[d-one, d-two]", "[]"), []string{"dept"}, "one or two"},
		"a name for an official":  {accepted, edited(t, townDeptApproves, "d-one", "张三"), []string{"dept"}, "not an id"},
		"no reason":               {accepted, edited(t, townDeptApproves, "reason: {zh: 最小必要}", "reason: {en: x}"), []string{"dept"}, "reason.zh"},
		"unknown decision":        {accepted, edited(t, townDeptApproves, "decision: approve", "decision: maybe"), []string{"dept"}, `unknown decision "maybe"`},
		"neither nor":             {accepted, edited(t, townDeptApproves, "application: app-1\n", ""), []string{"dept"}, "exactly one"},
		"approved twice":          {play(t, accepted, deptOK), townDeptApproves + "# x\n", []string{"dept"}, "approved it already"},
		"after the end":           {play(t, accepted, deptOK, bureauOK), townDeptApproves + "# x\n", []string{"dept"}, "is approved, not under review"},
		"narrowed refusal": {accepted, edited(t, townDeptApproves, "decision: approve", "decision: refuse") + "basis: {zh: 依据}\nscope: [{dataset: people, columns: [fee]}]\n",
			[]string{"dept"}, "stand beside no other decision"},
	} {
		if got := refused(t, c.b, c.text, c.signers...); !strings.Contains(got, c.want) {
			t.Errorf("%s: %s; want %q", name, got, c.want)
		}
	}
}

// An official is one party's: an applicant who names the reviewers' officials as its
// own disqualifies none of them, and nobody decides on what his own party filed
// through him.
func TestR24_OfficialsBelongToTheirParty(t *testing.T) {
	for _, official := range []string{"d-one", "d-two", "b-intake", "b-one"} {
		b := play(t, desktown(t), bundleStep{edited(t, townApplication, "op-clerk", official), []string{"op"}}, acceptIt, deptOK, bureauOK)
		if c, _ := b.ApplicationCase("app-1"); c.State != AppApproved {
			t.Errorf("filed by %q of the applicant: %s", official, c.State)
		}
	}
	filed := []Step{{By: "dept", Officials: []string{"d-one"}}}
	if err := checkOfficials("dept", []string{"d-one"}, filed, false); err == nil {
		t.Error("an official decides on what he filed")
	}
	for by, official := range map[string]string{"dept": "d-two", "bureau": "d-one"} {
		if err := checkOfficials(by, []string{official}, filed, false); err != nil {
			t.Errorf("%s of %s: %v", official, by, err)
		}
	}
}
