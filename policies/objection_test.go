package policies

import (
	"slices"
	"strings"
	"testing"
	"time"
)

var people = Target{TargetDataset, "people"}

func held(b *Book) bool { return b.Suspended(people) != nil }

func TestR25_ObjectionSuspendsAtOnceUntilRuledOn(t *testing.T) {
	b := desktown(t)
	if held(b) {
		t.Fatal("held before any objection")
	}
	b = play(t, b, objectIt)
	if x := b.Suspended(people); x == nil || x.Code != "DATASET_SUSPENDED" || x.Rule != "objection/obj-1" || x.SetBy != "other" {
		t.Fatalf("not suspended: %v", x)
	}
	if got := owed(b, day(0)); !slices.Equal(got, []string{"rule/obj-1/dept open"}) {
		t.Errorf("owed %q", got)
	}
	resumed := play(t, b, ruleIt)
	if c, _ := resumed.ObjectionCase("obj-1"); held(resumed) || c.State != CaseAnswered || c.Outcome != "resume" || c.Steps[1].Answer.ZH == "" || len(resumed.Duties(day(0))) > 0 {
		t.Errorf("resumed: %+v", c)
	}
	// A data set that is withdrawn stays held, whatever comes later.
	gone := play(t, b, bundleStep{edited(t, townRuling, "outcome: resume", "outcome: withdraw"), []string{"dept"}})
	if !held(gone) {
		t.Error("a withdrawn data set is free")
	}
	second := strings.Replace(townObjection, "obj-1", "obj-2", 1)
	gone = play(t, gone, bundleStep{second, []string{"other"}}, bundleStep{strings.Replace(townRuling, "obj-1", "obj-2", 1), []string{"dept"}})
	if !held(gone) {
		t.Error("ruling on a later objection freed a withdrawn data set")
	}
	// Two objections: free when both were ruled on.
	two := play(t, b, bundleStep{strings.Replace(second, "0017", "0018", 1), []string{"other"}}, ruleIt)
	if !held(two) {
		t.Error("free while a second objection is open")
	}
	if two = play(t, two, bundleStep{strings.Replace(townRuling, "obj-1", "obj-2", 1), []string{"dept"}}); held(two) {
		t.Error("held after both rulings")
	}
}

// "Process and resume" needs a snapshot or catalogue later than the objection.
func TestR25_ProcessAndResumeNeedsNewData(t *testing.T) {
	process := edited(t, townRuling, "outcome: resume", "outcome: process")
	b := desktown(t)
	b = b.Ingested("people", day(0).Add(-time.Hour))
	b = play(t, b, objectIt)
	if got := refused(t, b, process, "dept"); !strings.Contains(got, "process it first") {
		t.Error(got)
	}
	if other := b.Ingested("firms", day(1)); !strings.Contains(refused(t, other, process, "dept"), "process it first") {
		t.Error("another data set's snapshot counts")
	}
	later := b.Ingested("people", day(1))
	if next := at(t, later, day(2), process, "dept"); held(next) {
		t.Error("held after processing")
	}
	if !held(b) || !held(later) {
		t.Error("an earlier book changed")
	}
	catalogued := at(t, b, day(1), townCatalogue+"# 更正\n", "dept")
	if next := at(t, catalogued, day(2), process, "dept"); held(next) {
		t.Error("held after a new catalogue")
	}
}

func TestR25_MissingAnswerIsOwed(t *testing.T) {
	mute := edited(t, townRuling, "answer: {zh: 已核实并答复}\n", "")
	b := play(t, desktown(t), objectIt, bundleStep{mute, []string{"dept"}})
	if held(b) {
		t.Error("a ruling without an answer does not free the data set")
	}
	if got := owed(b, day(0)); !slices.Equal(got, []string{"answer/obj-1/dept remind"}) {
		t.Errorf("owed %q", got)
	}
	if got := owed(b, day(3)); !slices.Equal(got, []string{"answer/obj-1/dept escalated"}) {
		t.Errorf("owed %q", got)
	}
	reply := "kind: Reply\nobjection: obj-1\nby: dept\nofficials: [d-one]\nanswer: {zh: 已告知}\n"
	for text, want := range map[string]string{
		strings.Replace(reply, "answer: {zh: 已告知}", "answer: {}", 1): "answer.zh",
		reply + "outcome: corrected\n":                               "outcome stands in the ruling",
		strings.Replace(reply, "by: dept", "by: other", 1):           "may not act",
		strings.Replace(reply, "obj-1", "obj-7", 1):                  "was not filed",
		reply + "correction: cor-1\n":                                "exactly one",
	} {
		if got := refused(t, b, text, "dept", "other"); !strings.Contains(got, want) {
			t.Errorf("%s; want %q", got, want)
		}
	}
	b = play(t, b, bundleStep{reply, []string{"dept"}})
	if c, _ := b.ObjectionCase("obj-1"); c.State != CaseAnswered || len(b.Duties(day(3))) > 0 {
		t.Errorf("%+v", c)
	}
	if got := refused(t, b, reply+"# again\n", "dept"); !strings.Contains(got, "is answered") {
		t.Error(got)
	}
}

func TestR25_BadObjectionsAndRulings(t *testing.T) {
	b := desktown(t)
	objected := play(t, b, objectIt)
	byOwner := play(t, b, bundleStep{strings.NewReplacer("by: other", "by: dept", "o-desk", "d-one").Replace(townObjection), []string{"dept"}})
	for name, c := range map[string]struct {
		b        *Book
		text     string
		from, to string
		signers  []string
		want     string
	}{
		"a person's number":        {b, townObjection, "receipt: r-2026-0017", `receipt: "110101199003078515"`, []string{"other"}, "no person's name or number"},
		"a person's name":          {b, townObjection, "receipt: r-2026-0017", "receipt: 张三", []string{"other"}, "no person's name or number"},
		"a name in letters":        {b, townObjection, "receipt: r-2026-0017", "receipt: zhangsan", []string{"other"}, "no person's name or number"},
		"a telephone":              {b, townObjection, "receipt: r-2026-0017", "receipt: t-1380-0138000", []string{"other"}, "no person's name or number"},
		"a number in the ground":   {b, townObjection, "被不当使用", "110101199003078515", []string{"other"}, "ground holds a number"},
		"full-width digits":        {b, townObjection, "被不当使用", "１３８００１３８０００", []string{"other"}, "ground holds a number"},
		"no ground":                {b, townObjection, "ground: {zh: 当事人认为其信息被不当使用}\n", "", []string{"other"}, "ground.zh"},
		"unknown data set":         {b, townObjection, "dataset: people", "dataset: ghosts", []string{"other"}, "not in the catalogue"},
		"a person by an operator":  {b, townObjection, "by: other", "by: op", []string{"op"}, "not through operator"},
		"by nobody":                {b, townObjection, "by: other", "by: ghost", []string{"other"}, "not in the registry"},
		"without its signature":    {b, townObjection, "", "", []string{"dept"}, `signature of "other"`},
		"from abroad":              {b, strings.Replace(townObjection, "receipt: r-2026-0017\n", "", 1), "by: other", "by: foreign", []string{"foreign"}, "abroad"},
		"twice":                    {objected, townObjection, "", "# x\n", []string{"other"}, "was filed before"},
		"twice under another id":   {objected, townObjection, "obj-1", "obj-2", []string{"other"}, `"obj-1" stands open`},
		"no objection to rule on":  {b, townRuling, "", "", []string{"dept"}, "nothing to rule on"},
		"the wrong department":     {objected, townRuling, "by: dept", "by: other", []string{"other"}, "may not act"},
		"ruled without signature":  {objected, townRuling, "", "", []string{"other"}, `signature of "dept"`},
		"ruled by who filed it":    {byOwner, townRuling, "", "", []string{"dept"}, "filed this"},
		"one official":             {objected, townRuling, "[d-one, d-two]", "[d-one]", []string{"dept"}, "two officials"},
		"no basis":                 {objected, townRuling, "basis: {zh: 目录所列用途}\n", "", []string{"dept"}, "basis.zh"},
		"unknown outcome":          {objected, townRuling, "outcome: resume", "outcome: ignore", []string{"dept"}, `unknown outcome "ignore"`},
		"ruled twice":              {play(t, objected, ruleIt), townRuling, "", "# x\n", []string{"dept"}, "ruled on already"},
		"a number in the answer":   {objected, townRuling, "已核实并答复", "13800138000", []string{"dept"}, "answer holds a number"},
		"an order of the same id":  {heldAs(b, "obj-1"), townObjection, "", "", []string{"other"}, "held under this very id"},
		"receipt beside a letters": {b, townObjection, "receipt: r-2026-0017", "receipt: " + strings.Repeat("a", 63), []string{"other"}, "no person's name or number"},
	} {
		text := c.text + c.to
		if c.from != "" {
			text = edited(t, c.text, c.from, c.to)
		}
		got := refused(t, c.b, text, c.signers...)
		if !strings.Contains(got, c.want) {
			t.Errorf("%s: %s; want %q", name, got, c.want)
		}
		if strings.Contains(got, "110101199003078515") || strings.Contains(got, "张三") || strings.Contains(got, "13800138000") {
			t.Errorf("%s: the refusal repeats what it refuses: %s", name, got)
		}
	}
	commitment := edited(t, townObjection, "receipt: r-2026-0017", "receipt: "+strings.Repeat("0f", 32))
	if !held(play(t, b, bundleStep{commitment, []string{"other"}})) {
		t.Error("a commitment is not accepted")
	}
	own := strings.Replace(townObjection, "receipt: r-2026-0017\n", "", 1)
	if !held(play(t, b, bundleStep{edited(t, own, "by: other", "by: op"), []string{"op"}})) {
		t.Error("an operator's own objection does not suspend")
	}
	// Without any profile an objection suspends all the same; what is owed has no
	// date and says why.
	bare := play(t, town(t, ""), objectIt)
	if d := bare.Duties(day(0)); !held(bare) || len(d) != 1 || d[0].Phase != PhaseUndated || !strings.Contains(d[0].Problem, "Profile") {
		t.Errorf("%v", d)
	}
	bare = at(t, bare, day(1), chifeng(t), "bureau")
	if d := bare.Duties(day(1)); len(d) != 1 || d[0].Phase != PhaseOpen || !d[0].Due.Equal(cst(t, "2026-03-10 00:00:00")) {
		t.Errorf("%v", d)
	}
	if late := at(t, b, time.Date(2026, 12, 30, 4, 0, 0, 0, time.UTC), townObjection, "other"); !held(late) {
		t.Error("an objection waits for a calendar")
	} else if d := late.Duties(time.Date(2026, 12, 30, 5, 0, 0, 0, time.UTC)); len(d) != 2 || d[0].Phase != PhaseUndated || !strings.Contains(d[0].Problem, "no year 2027") || d[1].Kind != DutyCalendar {
		t.Errorf("%v", d)
	}
}

func heldAs(b *Book, cause string) *Book {
	c := b.clone()
	c.suspend(people, Hold{Cause: cause})
	return c
}

func TestR26_CorrectionAnsweredDisputedSettled(t *testing.T) {
	b := play(t, desktown(t), correctIt)
	if d := b.Duties(day(0)); len(d) != 1 || d[0].ID != "correct/cor-1/dept" || !d[0].Due.Equal(cst(t, "2026-03-10 00:00:00")) {
		t.Fatalf("%v", d)
	}
	if held(b) {
		t.Error("a report of an error suspends")
	}
	fixed := edited(t, townReply, "outcome: unfounded", "outcome: corrected")
	if got := refused(t, b, fixed, "dept"); !strings.Contains(got, "correct it first") {
		t.Error(got)
	}
	if c, _ := at(t, b.Ingested("people", day(1)), day(2), fixed, "dept").CorrectionCase("cor-1"); c.State != CaseAnswered {
		t.Errorf("%+v", c)
	}
	answered := play(t, b, replyIt)
	disputed := play(t, answered, disputeIt)
	if got := owed(disputed, day(0)); !slices.Equal(got, []string{"settle/cor-1/bureau open"}) {
		t.Errorf("owed %q", got)
	}
	settled := play(t, disputed, settleIt)
	own := play(t, desktown(t), bundleStep{strings.NewReplacer("by: op", "by: dept", "op-clerk", "d-one").Replace(townCorrection), []string{"dept"}})
	ruled := play(t, b, bundleStep{strings.NewReplacer("by: dept", "by: bureau", "d-one", "b-one").Replace(townReply), []string{"bureau"}}, disputeIt)
	if c, _ := settled.CorrectionCase("cor-1"); c.State != CaseSettled || len(c.Steps) != 4 || len(settled.Duties(day(30))) > 0 {
		t.Errorf("%+v", c)
	}
	for name, c := range map[string]struct {
		b       *Book
		text    string
		signers []string
		want    string
	}{
		"filed twice":                {b, townCorrection + "# x\n", []string{"op"}, "filed before"},
		"unknown column":             {desktown(t), edited(t, townCorrection, "[fee]", "[soul]"), []string{"op"}, `unknown column "soul"`},
		"unknown data set":           {desktown(t), edited(t, townCorrection, "dataset: people", "dataset: ghosts"), []string{"op"}, "not in the catalogue"},
		"a record's number":          {desktown(t), edited(t, townCorrection, "费用单位", "110101199003078515"), []string{"op"}, "error holds a number"},
		"answer to nothing":          {desktown(t), townReply, []string{"dept"}, "was not filed"},
		"answered by another":        {b, edited(t, townReply, "by: dept", "by: other"), []string{"other"}, "may not act"},
		"answered by the reporter":   {own, townReply, []string{"dept"}, "filed this"},
		"refused without basis":      {b, edited(t, townReply, "basis: {zh: 目录说明}\n", ""), []string{"dept"}, "basis.zh"},
		"unknown outcome":            {b, edited(t, townReply, "outcome: unfounded", "outcome: perhaps"), []string{"dept"}, "unknown outcome"},
		"disputed unanswered":        {b, townDispute, []string{"op"}, "only an answer can be disputed"},
		"disputed by another":        {answered, edited(t, townDispute, "by: op", "by: rival"), []string{"rival"}, "reported no error"},
		"disputed twice":             {settled, townDispute + "# x\n", []string{"op"}, "only an answer"},
		"settled by the department":  {disputed, townReply + "# x\n", []string{"dept"}, "the regulator settles"},
		"settled by who answered":    {ruled, townSettle, []string{"bureau"}, "filed this"},
		"answered when it is closed": {settled, townSettle + "# x\n", []string{"bureau"}, "is settled"},
	} {
		if got := refused(t, c.b, c.text, c.signers...); !strings.Contains(got, c.want) {
			t.Errorf("%s: %s; want %q", name, got, c.want)
		}
	}
}

func TestR22_CatalogueFollowsAChangeOfLaw(t *testing.T) {
	b := play(t, desktown(t), bundleStep{townChange, []string{"bureau"}})
	d := b.Duties(day(0))
	if len(d) != 1 || d[0].ID != "follow/law-1/dept" || !d[0].Due.Equal(cst(t, "2026-03-17 00:00:00")) {
		t.Fatalf("%v", d)
	}
	review := "kind: Review\nchange: law-1\nby: bureau\nofficials: [b-one, b-two]\ndecision: approve\nreason: {zh: 已按变更调整}\n"
	if got := refused(t, b, review, "bureau"); !strings.Contains(got, "is open, not followed") {
		t.Error(got)
	}
	graded := at(t, b, day(3), townGrading+"# 变更\n", "dept")
	d = graded.Duties(day(3))
	if len(d) != 1 || d[0].ID != "check/law-1/bureau/2" || !d[0].Due.Equal(cst(t, "2026-03-10 00:00:00")) {
		t.Fatalf("%v", d)
	}
	if got := refused(t, graded, edited(t, review, "by: bureau", "by: dept"), "dept"); !strings.Contains(got, "the regulator does") {
		t.Error(got)
	}
	done := at(t, graded, day(4), review, "bureau")
	if c, _ := done.ChangeCase("law-1"); c.State != ChangeReviewed || len(done.Duties(day(30))) > 0 {
		t.Errorf("%+v", c)
	}
	back := at(t, graded, day(4), edited(t, review, "decision: approve", "decision: return"), "bureau")
	if d = back.Duties(day(4)); len(d) != 1 || d[0].ID != "follow/law-1/dept/3" || !d[0].Due.Equal(cst(t, "2026-03-21 00:00:00")) {
		t.Errorf("%v", d)
	}
	if again := at(t, back, day(5), townGrading+"# 再次\n", "dept").Duties(day(5)); len(again) != 1 || again[0].Kind != DutyCheck {
		t.Errorf("%v", again)
	}
	for name, c := range map[string]struct{ from, to, want string }{
		"in the future":    {"since: 2026-03-02", "since: 2027-03-02", "future"},
		"no data set":      {"datasets: [people]", "datasets: []", "no data sets"},
		"another's":        {"department: dept", "department: other", `belongs to department`},
		"by another":       {"by: bureau", "by: other", "may not act"},
		"no basis":         {"basis: {zh: 职能调整}\n", "", "basis.zh"},
		"without calendar": {"since: 2026-03-02", "since: 2024-03-02", "no year 2024"},
	} {
		if got := refused(t, desktown(t), edited(t, townChange, c.from, c.to), "bureau", "other"); !strings.Contains(got, c.want) {
			t.Errorf("%s: %s; want %q", name, got, c.want)
		}
	}
	// Data that was graded after the change is followed already.
	early := at(t, at(t, desktown(t), day(1), townGrading+"# 先行\n", "dept"), day(2), townChange, "bureau")
	if c, _ := early.ChangeCase("law-1"); c.State != ChangeFollowed {
		t.Errorf("%+v", c)
	}
}
