package policies

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sandgate/sandgate/compute/algebra"
)

var (
	textType = algebra.Type{Kind: algebra.Text}
	may2026  = time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
)

func column(table int, name string) algebra.Col {
	return algebra.Col{Table: table, Name: name, Type: textType}
}

// townCore groups people by diagnosis, filters by birth and sums fees.
func townCore() algebra.Core {
	born, fee := column(0, "born"), column(0, "fee")
	return algebra.Core{
		Tables: []algebra.Table{{Dataset: "people"}},
		Keys:   []algebra.Col{column(0, "diagnosis_name")},
		Where:  &algebra.Pred{Op: algebra.OpNot, Args: []algebra.Pred{{Op: algebra.OpEq, Col: &born, Values: []algebra.Value{{Type: textType, Redacted: true}}}}},
		Aggs:   []algebra.Agg{{Func: algebra.CountRows}, {Func: algebra.Sum, Arg: &fee}},
	}
}

func codesOf(reasons []Reason) []string {
	var out []string
	for _, r := range reasons {
		out = append(out, r.Code)
	}
	return out
}

func TestR06R23_DecideRefusesWhatIsNotGranted(t *testing.T) {
	full := town(t, "")
	ok := Request{Operator: "op", Licence: "l1", Purpose: "plan", At: may2026, Core: townCore()}
	if got := full.Decide(ok); len(got) != 0 {
		t.Fatalf("the granted request: %v", got)
	}
	firms := algebra.Core{Tables: []algebra.Table{{Dataset: "firms"}}, Aggs: []algebra.Agg{{Func: algebra.CountRows}}}
	joined := townCore()
	joined.Tables = append(joined.Tables, algebra.Table{Dataset: "areas"})
	joined.Joins = []algebra.Join{{Table: 1, Left: column(0, "born"), Right: column(1, "area")}}
	phone, visits, ghost := column(0, "phone"), column(0, "visits"), column(0, "ghost")
	with := func(change func(*Request)) Request {
		r := ok
		r.Core = townCore()
		change(&r)
		return r
	}
	abroad := apply(t, full, edited(t, townRegistry, "{id: op, role: operator,", "{id: op, role: operator, abroad: true,"), "bureau")
	fewerPurposes := apply(t, full, edited(t, townRegistry, "  - {id: plan, title: {zh: 规划}, fee: governance}\n", ""), "bureau")
	otherPurpose := apply(t, full, edited(t, townDisclosure, "purposes: [plan]", "purposes: [trade]"), "dept")
	for name, c := range map[string]struct {
		book *Book
		req  Request
		want []string
	}{
		"nobody":               {full, with(func(r *Request) { r.Operator = "nobody" }), []string{"OPERATOR_UNKNOWN", "LICENCE_UNKNOWN"}},
		"a department":         {full, with(func(r *Request) { r.Operator = "dept" }), []string{"OPERATOR_UNKNOWN", "LICENCE_UNKNOWN"}},
		"no licence":           {full, with(func(r *Request) { r.Licence = "" }), []string{"LICENCE_UNKNOWN"}},
		"another's licence":    {full, with(func(r *Request) { r.Operator = "rival" }), []string{"LICENCE_UNKNOWN"}},
		"R38 abroad":           {abroad, ok, []string{"RECIPIENT_ABROAD"}},
		"expired":              {full, with(func(r *Request) { r.At = may2026.AddDate(9, 0, 0) }), []string{"LICENCE_EXPIRED"}},
		"too early":            {full, with(func(r *Request) { r.At = may2026.AddDate(-1, 0, 0) }), []string{"LICENCE_NOT_YET_VALID"}},
		"unknown purpose":      {full, with(func(r *Request) { r.Purpose = "fun" }), []string{"PURPOSE_UNKNOWN", "PURPOSE_NOT_ALLOWED"}},
		"purpose ended":        {fewerPurposes, ok, []string{"PURPOSE_UNKNOWN"}},
		"not licensed for":     {full, with(func(r *Request) { r.Purpose = "trade" }), []string{"PURPOSE_NOT_LICENSED", "PURPOSE_NOT_ALLOWED"}},
		"department says no":   {otherPurpose, ok, []string{"PURPOSE_NOT_ALLOWED"}},
		"another data set":     {full, with(func(r *Request) { r.Core = firms }), []string{"DATASET_NOT_LICENSED"}},
		"R11 no such data":     {full, with(func(r *Request) { r.Core.Tables[0].Dataset = "ghosts" }), []string{"DATASET_NOT_LICENSED"}},
		"dimension unlicensed": {full, with(func(r *Request) { r.Core = joined }), []string{"DATASET_NOT_LICENSED", "USE_NOT_ALLOWED"}},
		"column not granted":   {full, with(func(r *Request) { r.Core.Keys[0] = phone }), []string{"COLUMN_NOT_LICENSED"}},
		"unknown column":       {full, with(func(r *Request) { r.Core.Keys[0] = ghost }), []string{"COLUMN_NOT_LICENSED"}},
		"key as a filter":      {full, with(func(r *Request) { r.Core.Where.Args[0].Col = &visits }), []string{"USE_NOT_ALLOWED"}},
		"filter as a key":      {full, with(func(r *Request) { r.Core.Keys[0] = column(0, "born") }), []string{"USE_NOT_ALLOWED"}},
		"compared in secret":   {full, with(func(r *Request) { r.Core.Where.Args[0].Values, r.Core.Where.Args[0].Other = nil, &visits }), []string{"USE_NOT_ALLOWED"}},
		"key as a measure":     {full, with(func(r *Request) { r.Core.Aggs[1].Arg = &visits }), []string{"USE_NOT_ALLOWED"}},
		"not graded":           {apply(t, full, townCatalogue+"# 2\n", "dept"), ok, []string{"DATASET_NOT_READY"}},
		"everything at once": {abroad, with(func(r *Request) {
			r.At, r.Purpose = may2026.AddDate(9, 0, 0), "trade"
			r.Core.Keys[0] = phone
			r.Core.Aggs[1].Arg = &visits
		}), []string{"RECIPIENT_ABROAD", "LICENCE_EXPIRED", "PURPOSE_NOT_LICENSED", "PURPOSE_NOT_ALLOWED", "COLUMN_NOT_LICENSED", "USE_NOT_ALLOWED"}},
		"nobody's book": {NewBook("bureau", publicOf("bureau")), ok, []string{"OPERATOR_UNKNOWN", "LICENCE_UNKNOWN"}},
	} {
		got := c.book.Decide(c.req)
		if !slices.Equal(codesOf(got), c.want) {
			t.Errorf("%s: %v; want %v", name, codesOf(got), c.want)
		}
		for _, r := range got {
			if r.ZH == "" || r.EN == "" || r.Rule == "" || r.SetBy == "" {
				t.Errorf("%s: %+v lacks a text, its rule or who set it", name, r)
			}
		}
		if again := c.book.Decide(c.req); !reflect.DeepEqual(got, again) {
			t.Errorf("%s: a second look decides otherwise", name)
		}
	}
}

// A licence of another operator cannot be told from one that does not exist.
func TestR05_AnothersLicenceLooksLikeNone(t *testing.T) {
	b := town(t, "")
	// Not in force or for another purpose, it looks the same as well.
	for _, at := range []time.Time{may2026, may2026.AddDate(9, 0, 0)} {
		there := b.Decide(Request{Operator: "rival", Licence: "l1", Purpose: "plan", At: at, Core: townCore()})
		none := b.Decide(Request{Operator: "rival", Licence: "l0", Purpose: "plan", At: at, Core: townCore()})
		x, _ := json.Marshal(there)
		y, _ := json.Marshal(none)
		if strings.ReplaceAll(string(x), "l1", "l0") != string(y) {
			t.Errorf("%s\n%s", x, y)
		}
	}
}

// What an operator typed comes back only when it is too short to be a number of
// somebody and holds nothing a terminal obeys.
func TestR01_RefusalsRepeatNoLongNumbers(t *testing.T) {
	b := town(t, "")
	for _, secret := range []string{
		"110101199003078515", "x110101199003078515", "13800138000", "123456789", "1-2-3-4-5-6-7-8-9", "１１０１０１１９９００３０７",
		"١٢٣٤٥٦٧٨٩", "a\x1b[31mb", "a\u202eb", "a\nb", strings.Repeat("名", 65),
	} {
		core := townCore()
		core.Tables = append(core.Tables, algebra.Table{Dataset: secret})
		core.Keys[0].Name = secret
		requests := []Request{
			{Operator: "op", Licence: "l1", Purpose: secret, At: may2026, Core: core},
			{Operator: "op", Licence: secret, Purpose: "plan", At: may2026, Core: core},
			{Operator: secret, Licence: "l1", Purpose: "plan", At: may2026, Core: core},
		}
		n := 0
		for _, r := range requests {
			for _, x := range b.Decide(r) {
				n++
				if text := x.Text("zh") + x.Text("en") + x.Error() + x.Rule; strings.Contains(text, secret) {
					t.Errorf("%s repeats %q", x.Code, secret)
				}
			}
		}
		if x := b.InForce(secret, may2026); x == nil || strings.Contains(x.Text("zh")+x.Text("en"), secret) {
			t.Errorf("InForce repeats %q", secret)
		}
		if x := b.Authorize(secret, ActReadJob, Resource{}); x == nil || strings.Contains(x.Text("zh")+x.Text("en"), secret) {
			t.Errorf("Authorize repeats %q", secret)
		}
		if n < 5 {
			t.Errorf("only %d refusals", n)
		}
	}
	if got := safeName("alpha-2026_户籍 01234567"); got != "alpha-2026_户籍 01234567" && got != "…" {
		t.Error(got)
	}
	for _, name := range []string{"alpha-2026", "户籍人口", "", "a-12345678"} {
		if safeName(name) != name {
			t.Errorf("%q is not repeated", name)
		}
	}
}

// A core whose columns point at no table is nobody's column and must not crash.
func TestUsesOfAMalformedCore(t *testing.T) {
	bad := townCore()
	bad.Keys[0].Table = 7
	bad.Aggs[1].Arg.Table = -1
	if got := Uses(bad); len(got) != 1 {
		t.Errorf("%v", got)
	}
	if got := Uses(algebra.Core{}); len(got) != 0 {
		t.Errorf("%v", got)
	}
	if got := Uses(townCore()); len(got) != 3 || got[1] != (ColumnUse{"people", "born", UseFilter}) {
		t.Errorf("%v", got)
	}
}

// Uses finds the columns behind derived ones, filters, values per unit and parts.
func TestR23_UsesOfEveryColumnBehind(t *testing.T) {
	expr := func(c algebra.Col) algebra.Expr { return algebra.Expr{Op: algebra.ExprCol, Type: c.Type, Col: &c} }
	age, fee, town := column(0, "age"), column(0, "fee"), column(0, "town")
	isNull := func(c algebra.Col) algebra.Pred { return algebra.Pred{Op: algebra.OpIsNull, Col: &c} }
	band := algebra.DerivedCol(0, textType)
	label := algebra.DerivedCol(1, textType)
	inner := column(0, "inner")
	most := algebra.Col{Table: 1, Name: "a1", Type: textType}
	visits := algebra.Table{Dataset: "visits", PerUnit: &algebra.PerUnit{
		Derived: []algebra.Expr{{Op: algebra.ExprCase, Type: textType, Whens: []algebra.When{{If: isNull(inner), Then: expr(fee)}}}},
		Where:   &algebra.Pred{Op: algebra.OpIsNull, Col: &town},
		Aggs:    []algebra.Agg{{Func: algebra.CountRows}, {Func: algebra.Max, Arg: &band}},
	}}
	filter := isNull(most)
	core := algebra.Core{
		Tables: []algebra.Table{{Dataset: "p2024", Parts: []string{"p2025"}}, visits},
		Joins:  []algebra.Join{{Table: 1, Unit: true}},
		Derived: []algebra.Expr{
			{Op: algebra.ExprCoalesce, Type: textType, Args: []algebra.Expr{expr(town), expr(town)}},
			{Op: algebra.ExprCase, Type: textType, Whens: []algebra.When{{If: isNull(band), Then: expr(age)}}},
		},
		Keys: []algebra.Col{label},
		Aggs: []algebra.Agg{{Func: algebra.CountCol, Arg: &fee, Filter: &filter}},
	}
	got := map[string]bool{}
	for _, u := range Uses(core) {
		got[u.Dataset+"."+u.Column+" "+string(u.Use)] = true
	}
	want := []string{
		"p2024.age key", "p2025.age key", // THEN of the key
		"p2024.town filter", "p2025.town filter", // behind e0 in its WHEN
		"p2024.fee measure", "p2025.fee measure",
		"visits.fee filter", "visits.fee measure", // MAX per unit, filtered by
		"visits.inner filter", "visits.town filter",
	}
	for _, w := range want {
		if !got[w] {
			t.Errorf("%s is missing", w)
		}
	}
	if len(got) != len(want) {
		t.Errorf("uses: %v", got)
	}
	// A chain in which each names the one before it twice ends, and a loop too.
	chain := algebra.Core{Tables: []algebra.Table{{Dataset: "p"}}, Derived: []algebra.Expr{expr(age)}}
	for i := range 60 {
		before := algebra.DerivedCol(i, textType)
		chain.Derived = append(chain.Derived, algebra.Expr{Op: algebra.ExprCase, Type: textType,
			Whens: []algebra.When{{If: isNull(before), Then: expr(age)}, {If: isNull(before), Then: expr(age)}}})
	}
	chain.Keys = []algebra.Col{algebra.DerivedCol(60, textType)}
	if got := Uses(chain); len(got) != 2 {
		t.Errorf("chain: %v", got)
	}
	self := algebra.DerivedCol(0, textType)
	chain.Derived[0] = algebra.Expr{Op: algebra.ExprCase, Type: textType, Whens: []algebra.When{{If: isNull(self), Then: expr(self)}}}
	Uses(chain)
}

// Every data set of a core must be granted, parts and tables per unit too.
func TestR06_EveryPartIsDecided(t *testing.T) {
	core := townCore()
	core.Tables[0].Parts = []string{"elsewhere"}
	got := codesOf(town(t, "").Decide(Request{Operator: "op", Licence: "l1", Purpose: "plan", At: may2026, Core: core}))
	if !slices.Contains(got, "DATASET_NOT_LICENSED") {
		t.Errorf("%v", got)
	}
}

func TestReasonText(t *testing.T) {
	r := &Reason{Code: "X", ZH: "不行", EN: "no", HintZH: "改", HintEN: "change", Line: 2, Column: 3}
	if got := r.Text("zh"); got != "不行（第 2 行第 3 列）；改" {
		t.Error(got)
	}
	if got := r.Text("en"); got != "no (line 2, column 3); change" {
		t.Error(got)
	}
	if (Text{EN: "x"}).In("zh") != "x" || (Text{ZH: "y"}).In("en") != "y" || (Text{ZH: "y", EN: "x"}).In("en") != "x" {
		t.Error("a text falls back to the other language")
	}
}

// What a snapshot holds after masks, and what is left of the registered bounds.
func TestR20_StoredSchemaAndBounds(t *testing.T) {
	e, _ := town(t, "").Dataset("people")
	stored, err := e.Stored()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]struct {
		drop   bool
		kind   algebra.Kind
		bounds *[2]int64
	}{
		"id_number": {true, algebra.Text, nil}, "diagnosis_name": {false, algebra.Text, nil}, "phone": {true, "", nil},
		"born": {false, algebra.Int, &[2]int64{1900, 2025}}, "fee": {false, algebra.Decimal, &[2]int64{0, 50000}}, "visits": {false, algebra.Int, &[2]int64{0, 9}},
	}
	for _, c := range stored {
		w := want[c.Column.Name]
		if c.Drop != w.drop || !c.Drop && c.Type.Kind != w.kind || !reflect.DeepEqual(c.Bounds, w.bounds) {
			t.Errorf("%s: %+v", c.Column.Name, c)
		}
	}
	s, err := e.Schema()
	if err != nil || s.Unit != "id_number" || len(s.Columns) != 4 || s.Public {
		t.Errorf("%+v %v", s, err)
	}
	day := func(s string) int64 {
		d, err := algebra.ParseDate(s)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	date := Column{Name: "d", Type: algebra.Date, Bounds: &Bounds{Lo: "1969-12-31", Hi: "2025-03-15"}}
	for op, want := range map[string]*[2]int64{
		"keep": {-1, day("2025-03-15")}, "month": {-31, day("2025-03-01")}, "year": {1969, 2025}, "null": nil, "drop": nil, "pseudonym": nil,
	} {
		if got, err := maskedBounds(date, Mask{Op: op}); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v %v; want %v", op, got, err, want)
		}
	}
	for _, mask := range []string{"null", "pseudonym"} {
		b := apply(t, town(t, "disclosure"), edited(t, townMasking, "born:", "fee: {op: \""+mask+"\"}, born:"), "dept")
		if got := refused(t, b, townDisclosure, "dept"); !strings.Contains(got, "a measure needs") {
			t.Errorf("a measure masked by %s: %s", mask, got)
		}
	}
	query, limits, err := e.Limits()
	if err != nil || query != 1_000_000 || limits.Query != 2_000_000 || limits.OperatorYear != 10_000_000 || limits.DatasetYear != 20_000_000 || limits.Lifetime != 50_000_000 {
		t.Errorf("%v %+v %v", query, limits, err)
	}
	f, _ := town(t, "").Dataset("firms")
	if query, limits, err = f.Limits(); err != nil || query != 880_000 || limits.Lifetime != 1_050_000_000 {
		t.Errorf("defaults: %v %+v %v", query, limits, err)
	}
}
