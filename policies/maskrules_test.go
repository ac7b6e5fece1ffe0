package policies

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/masking"
)

// ruled is the town with masks and rules of people, and its disclosure rule.
func ruled(t testing.TB, masks, rules string) *Book {
	t.Helper()
	b := apply(t, town(t, "masking"), maskingText(masks, rules), "dept")
	b = apply(t, b, withKeys(strings.Replace(townDisclosure, "born: [filter]", "born: [filter, key]", 1)), "dept")
	return apply(t, b, withKeys(townLicence), "bureau", "dept")
}

func maskingText(masks, rules string) string {
	return "kind: Masking\ndepartment: dept\nmasks:\n  people: {id_number: {op: drop}, phone: {op: drop}" + masks + "}\n  firms: {}\nrules:\n" + rules
}

// overBorn is a core that groups by an expression over born, NULL for born itself.
func overBorn(e *algebra.Expr) algebra.Core {
	born := column(0, "born")
	core := algebra.Core{Tables: []algebra.Table{{Dataset: "people"}}, Keys: []algebra.Col{born}, Aggs: []algebra.Agg{{Func: algebra.CountRows}}}
	if e != nil {
		core.Derived, core.Keys = []algebra.Expr{*e}, []algebra.Col{algebra.DerivedCol(0, algebra.Type{Kind: algebra.Int})}
	}
	return core
}

func exprOf(op algebra.ExprOp, name string) algebra.Expr {
	c := column(0, name)
	return algebra.Expr{Op: op, Args: []algebra.Expr{{Op: algebra.ExprCol, Col: &c}}}
}

func partOf(part string) *algebra.Expr {
	e := exprOf(algebra.ExprPart, "born")
	e.Part = part
	return &e
}

func decided(b *Book, purpose, operator string, core algebra.Core) []Reason {
	return b.Decide(Request{Operator: operator, Licence: "l1", Purpose: purpose, At: may2026, Core: core})
}

func TestR16R20_StrictestRuleIsStored(t *testing.T) {
	for name, c := range map[string]struct {
		masks, rules string
		want         map[string]string
	}{
		"by column":              {"", "  - {dataset: people, columns: [born], mask: {op: quarter}}", map[string]string{"born": "quarter"}},
		"stricter than written":  {", born: {op: month}", "  - {dataset: people, columns: [born], mask: {op: year}}", map[string]string{"born": "year"}},
		"looser than written":    {", born: {op: year}", "  - {dataset: people, columns: [born], mask: {op: month}}", map[string]string{"born": "year"}},
		"two rules":              {"", "  - {dataset: people, columns: [born], mask: {op: month}}\n  - {dataset: people, columns: [born], mask: {op: year}}", map[string]string{"born": "year"}},
		"by level":               {"", "  - {dataset: people, level_at_least: 3, mask: {op: \"null\"}}", map[string]string{"diagnosis_name": "null", "fee": "null", "phone": "drop", "id_number": "drop"}},
		"for a purpose: not now": {"", "  - {dataset: people, columns: [born], purposes: [plan], mask: {op: year}}", map[string]string{}},
	} {
		e, _ := apply(t, town(t, "masking"), maskingText(c.masks, c.rules), "dept").Dataset("people")
		for _, col := range []string{"born", "fee", "diagnosis_name", "phone", "id_number", "visits"} {
			want := c.want[col]
			if want == "" && (col == "phone" || col == "id_number") {
				want = "drop"
			}
			if got := e.Masks[col].Op; got != want {
				t.Errorf("%s: %s is stored under %q, want %q", name, col, got, want)
			}
		}
	}
}

func TestR20_RulesThatCannotHoldAreRefused(t *testing.T) {
	for name, c := range map[string]struct{ masks, rules, want string }{
		"unknown column":     {"", "  - {dataset: people, columns: [ghost], mask: {op: drop}}", `unknown column "ghost"`},
		"unknown data set":   {"", "  - {dataset: ghosts, columns: [born], mask: {op: drop}}", `"ghosts" is not in the catalogue`},
		"unknown purpose":    {"", "  - {dataset: people, columns: [born], purposes: [fun], mask: {op: year}}", `purpose "fun"`},
		"unknown recipient":  {"", "  - {dataset: people, columns: [born], recipients: [nobody], mask: {op: year}}", `recipient "nobody"`},
		"a department":       {"", "  - {dataset: people, columns: [born], recipients: [other], mask: {op: year}}", `recipient "other"`},
		"columns and level":  {"", "  - {dataset: people, columns: [born], level_at_least: 3, mask: {op: drop}}", "one of them"},
		"neither":            {"", "  - {dataset: people, mask: {op: drop}}", "one of them"},
		"level 7":            {"", "  - {dataset: people, level_at_least: 7, mask: {op: drop}}", "1…6"},
		"mask does not fit":  {"", "  - {id: ages, dataset: people, level_at_least: 2, mask: {op: year}}", `rule "ages"`},
		"unknown mask":       {"", "  - {dataset: people, columns: [born], mask: {op: rot}}", `unknown mask "rot"`},
		"no strictest":       {"", "  - {id: a, dataset: people, columns: [born], mask: {op: year}}\n  - {id: b, dataset: people, columns: [born], mask: {op: pseudonym}}", `rule "a" (year)`},
		"no strictest later": {", born: {op: pseudonym}", "  - {id: a, dataset: people, columns: [born], purposes: [plan], mask: {op: year}}", `rule "a" (year)`},
		"meet by accident": {"", "  - {id: a, dataset: people, columns: [born], purposes: [plan], mask: {op: year}}\n" +
			"  - {id: b, dataset: people, columns: [born], recipients: [op], mask: {op: age_band, at: \"2026-01-01\", width: \"5\"}}", `rule "b" (age_band)`},
		"rule twice":        {"", "  - {id: a, dataset: people, columns: [born], mask: {op: year}}\n  - {id: a, dataset: people, columns: [fee], mask: {op: drop}}", "stands twice"},
		"unit for somebody": {"", "  - {dataset: people, columns: [id_number], purposes: [plan], mask: {op: drop}}", "unit column"},
		"identifier kept":   {"", "  - {dataset: people, columns: [born], mask: {op: year}}\n  - {dataset: people, columns: [fee], mask: {op: id}}", `mask "id" needs`},
		"too many":          {"", strings.Repeat("  - {dataset: people, columns: [born], mask: {op: year}}\n", 65), "more than 64 rules"},
		"another's data":    {"", "  - {dataset: people, columns: [born], mask: {op: year}}\n---\nkind: Masking\ndepartment: other\nrules:\n  - {dataset: people, columns: [born], mask: {op: keep}}", `belongs to department "dept"`},
	} {
		signers := []string{"dept"}
		if name == "another's data" {
			signers = append(signers, "other")
		}
		if got := refused(t, town(t, "masking"), maskingText(c.masks, c.rules), signers...); !strings.Contains(got, c.want) {
			t.Errorf("%s: %s; want %q", name, got, c.want)
		}
	}
	// Rules that never hold at once need no strictest.
	apply(t, town(t, "masking"), maskingText("", "  - {id: a, dataset: people, columns: [born], purposes: [plan], mask: {op: year}}\n"+
		"  - {id: b, dataset: people, columns: [born], purposes: [trade], mask: {op: age_band, at: \"2026-01-01\", width: \"5\"}}"), "dept")
	ungraded := town(t, "grading")
	if got := refused(t, ungraded, maskingText("", "  - {dataset: people, level_at_least: 3, mask: {op: drop}}"), "dept"); !strings.Contains(got, "Grading") {
		t.Error(got)
	}
}

func TestR20R23_RuleForAPurposeOrRecipientHoldsAtDecision(t *testing.T) {
	year := partOf("year")
	sum := algebra.Expr{Op: algebra.ExprAdd, Args: []algebra.Expr{*year, *year}}
	mixed := algebra.Expr{Op: algebra.ExprSub, Args: []algebra.Expr{*year, exprOf(algebra.ExprAbs, "born")}}
	whens := algebra.Expr{Op: algebra.ExprCase, Whens: []algebra.When{{If: algebra.Pred{Op: algebra.OpIsNull, Col: &algebra.Col{Name: "born"}}, Then: *year}}}
	filtered := overBorn(year)
	filtered.Where = &algebra.Pred{Op: algebra.OpGt, Col: &algebra.Col{Name: "born"}}
	perUnit := overBorn(nil)
	perUnit.Keys = nil
	perUnit.Tables[0].PerUnit = &algebra.PerUnit{Derived: []algebra.Expr{*year}, Aggs: []algebra.Agg{{Func: algebra.Max, Arg: &[]algebra.Col{algebra.DerivedCol(0, algebra.Type{Kind: algebra.Int})}[0]}}}
	perUnitRaw := overBorn(nil)
	perUnitRaw.Keys = nil
	perUnitRaw.Tables[0].PerUnit = &algebra.PerUnit{Aggs: []algebra.Agg{{Func: algebra.Max, Arg: &algebra.Col{Name: "born"}}}}
	twice := overBorn(year)
	twice.Derived = append(twice.Derived, algebra.Expr{Op: algebra.ExprAbs, Args: []algebra.Expr{{Op: algebra.ExprCol, Col: &algebra.Col{Table: algebra.DerivedTable, Name: "e0"}}}})
	twice.Keys = []algebra.Col{algebra.DerivedCol(1, algebra.Type{Kind: algebra.Int})}
	part := overBorn(year)
	part.Tables = []algebra.Table{{Dataset: "firms", Parts: []string{"people"}}}

	const rule = "  - {id: births, dataset: people, columns: [born], purposes: [plan], recipients: [op], mask: {op: year}}"
	for name, c := range map[string]struct {
		masks, rules string
		core         algebra.Core
		refused      bool
	}{
		"the date itself":       {"", rule, overBorn(nil), true},
		"its year":              {"", rule, overBorn(year), false},
		"its month":             {"", rule, overBorn(partOf("month")), true},
		"its weekday":           {"", rule, overBorn(partOf("isodow")), true},
		"arithmetic of years":   {"", rule, overBorn(&sum), false},
		"year less date":        {"", rule, overBorn(&mixed), true},
		"year if the date is":   {"", rule, overBorn(&whens), true},
		"year where the date":   {"", rule, filtered, true},
		"year per unit":         {"", rule, perUnit, false},
		"date per unit":         {"", rule, perUnitRaw, true},
		"derived of the year":   {"", rule, twice, false},
		"stored month, year":    {", born: {op: month}", rule, overBorn(year), false},
		"stored month, direct":  {", born: {op: month}", rule, overBorn(nil), true},
		"stored year":           {", born: {op: year}", rule, overBorn(nil), false},
		"another purpose":       {"", strings.Replace(rule, "[plan]", "[trade]", 1), overBorn(nil), false},
		"another recipient":     {"", strings.Replace(rule, "[op]", "[rival]", 1), overBorn(nil), false},
		"every purpose":         {"", strings.Replace(rule, "purposes: [plan], ", "", 1), overBorn(nil), true},
		"quarter allows year":   {"", strings.Replace(rule, "op: year", "op: quarter", 1), overBorn(year), false},
		"quarter, month":        {"", strings.Replace(rule, "op: year", "op: quarter", 1), overBorn(partOf("month")), true},
		"month allows month":    {"", strings.Replace(rule, "op: year", "op: month", 1), overBorn(partOf("month")), false},
		"month, day":            {"", strings.Replace(rule, "op: year", "op: month", 1), overBorn(partOf("day")), true},
		"null allows nothing":   {"", strings.Replace(rule, "op: year", `op: "null"`, 1), overBorn(year), true},
		"by level":              {"", "  - {id: births, dataset: people, level_at_least: 4, purposes: [plan], mask: {op: \"null\"}}", overBorn(nil), false},
		"by level, high enough": {"", "  - {id: births, dataset: people, level_at_least: 2, purposes: [plan], mask: {op: \"null\"}}", overBorn(nil), true},
	} {
		got := decided(ruled(t, c.masks, c.rules), "plan", "op", c.core)
		if !c.refused {
			if slices.Contains(codesOf(got), "MASK_RULE") {
				t.Errorf("%s: %v", name, got)
			}
			continue
		}
		at := slices.Index(codesOf(got), "MASK_RULE")
		if at < 0 || name != "date per unit" && len(got) > 1 { // no dates are measures
			t.Errorf("%s: %v", name, got)
			continue
		}
		x := got[at]
		if x.SetBy != "dept" || x.Rule != "masking/people" || !strings.Contains(x.ZH, "births") || !strings.Contains(x.EN, "births") || !strings.Contains(x.ZH, "born") || x.HintZH == "" || x.HintEN == "" {
			t.Errorf("%s: the refusal does not name rule, column, who set it and what is allowed: %+v", name, x)
		}
		if strings.Contains(c.rules, "op: year") && !strings.Contains(x.HintEN, "year(born)") {
			t.Errorf("%s: the allowed form is not named: %s", name, x.HintEN)
		}
	}
	// A partition is one more place of the same column.
	if got := decided(ruled(t, "", rule), "plan", "op", part); slices.Contains(codesOf(got), "MASK_RULE") {
		t.Errorf("year of a partition: %v", got)
	}
	part.Keys, part.Derived = []algebra.Col{column(0, "born")}, nil
	if got := decided(ruled(t, "", rule), "plan", "op", part); !slices.Contains(codesOf(got), "MASK_RULE") {
		t.Errorf("control: the date of a partition: %v", got)
	}
}

// TestR20_BandsByGridAndQuotient: a band rule allows the registered grid where its
// cells are whole bands, and an integer quotient that is.
func TestR20_BandsByGridAndQuotient(t *testing.T) {
	quotient := func(by int64) algebra.Core {
		e := exprOf(algebra.ExprDiv, "visits")
		e.Args = append(e.Args, algebra.Expr{Op: algebra.ExprLit, Value: &algebra.Value{I: by}})
		return overBorn(&e)
	}
	bin := exprOf(algebra.ExprBin, "visits")
	for _, c := range []struct {
		width   string
		edges   string
		core    algebra.Core
		allowed bool
	}{
		{"2", "", quotient(2), true}, {"2", "", quotient(4), true}, {"2", "", quotient(3), false}, {"3", "", quotient(2), false},
		{"2", `["0","4","9"]`, overBorn(&bin), true}, {"3", `["0","4","9"]`, overBorn(&bin), false}, {"2", "", overBorn(nil), true},
	} {
		catalogue := withKeys(townCatalogue)
		if c.edges != "" {
			catalogue = strings.Replace(catalogue, `hi: "9"}, codes`, `hi: "9"}, grid: {edges: `+c.edges+`}, codes`, 1)
		}
		b := apply(t, town(t, "catalogue"), catalogue, "dept")
		b = apply(t, b, withKeys(townGrading), "dept")
		b = apply(t, b, maskingText("", fmt.Sprintf("  - {dataset: people, columns: [visits], purposes: [plan], mask: {op: band, width: %q}}", c.width)), "dept")
		b = apply(t, b, withKeys(strings.Replace(townDisclosure, "born: [filter]", "born: [key]", 1)), "dept")
		b = apply(t, b, withKeys(townLicence), "bureau", "dept")
		got := decided(b, "plan", "op", c.core)
		if (len(got) == 0) != c.allowed {
			t.Errorf("width %s, grid %s: %v", c.width, c.edges, got)
		}
		if !c.allowed && !strings.Contains(got[0].HintEN, "visits // "+c.width) {
			t.Errorf("width %s: the hint names no quotient: %s", c.width, got[0].HintEN)
		}
	}
}

// A new grading moves the masks by level with it; where they cannot follow, the
// data set stops (R16).
func TestR16_MasksFollowTheLevels(t *testing.T) {
	const rules = "  - {dataset: people, level_at_least: 4, mask: {op: \"null\"}}"
	b := ruled(t, "", rules)
	e, _ := b.Dataset("people")
	if e.Masks["fee"].Op != "" || e.Masks["diagnosis_name"].Op != "null" {
		t.Fatalf("%+v", e.Masks)
	}
	before := e.SpecDigest()
	b = apply(t, b, edited(t, townGrading, "fee: 3", "fee: 4"), "dept")
	e, _ = b.Dataset("people")
	if e.Masks["fee"].Op != "null" || e.SpecDigest() == before || e.Rule != nil {
		t.Errorf("fee is graded up and stored under %q; the old snapshot and rule hold: %v %v", e.Masks["fee"].Op, e.SpecDigest() == before, e.Rule != nil)
	}
	b = apply(t, ruled(t, "", "  - {dataset: people, columns: [born], mask: {op: year}}\n  - {dataset: people, level_at_least: 5, mask: {op: round, width: \"5\"}}"),
		edited(t, townGrading, "born: 2", "born: 5"), "dept")
	if e, _ = b.Dataset("people"); e.Masked || e.Ready() == nil {
		t.Error("masks that no longer hold stay in force")
	}
}

// TestR20_GeneralisedBoundsAndGridCover: whatever the mask makes of a value in the
// bounds lies in the bounds it leaves and in a cell of the grid it leaves.
func TestR20_GeneralisedBoundsAndGridCover(t *testing.T) {
	r := rand.New(rand.NewPCG(17, 18))
	masks := map[algebra.Kind][]Mask{
		algebra.Int: {{Op: "band", Width: "10"}, {Op: "band", Edges: []string{"-5", "3", "50"}}, {Op: "round", Width: "7"}, {Op: "clip", Lo: "0"}, {Op: "clip", Lo: "-10", Hi: "40"}},
		algebra.Date: {{Op: "year"}, {Op: "quarter"}, {Op: "month"}, {Op: "age_band", At: "2000-06-30", Width: "5"}, {Op: "age_band", At: "2026-01-01", Edges: []string{"0", "18", "60"}},
			{Op: "clip", Lo: "1990-05-05", Hi: "2001-01-01"}},
	}
	grids := 0
	for kind, list := range masks {
		for range 60 {
			lo := r.Int64N(9000)
			if kind == algebra.Int {
				lo = r.Int64N(100) - 50
			}
			hi := lo + 2 + r.Int64N(200)
			mid := lo + 1 + r.Int64N(hi-lo-1)
			text := func(v int64) string {
				if kind == algebra.Date {
					return algebra.FormatDate(v)
				}
				return fmt.Sprint(v)
			}
			c := Column{Name: "x", Type: kind, Bounds: &Bounds{Lo: text(lo), Hi: text(hi)}, Grid: &Grid{Edges: []string{text(lo), text(mid), text(hi)}}}
			for _, m := range list {
				op, err := masking.New(m.Op, MaskParams(c, m, nil))
				if err != nil {
					t.Fatal(err)
				}
				b, err := maskedBounds(c, m)
				if err != nil || b == nil {
					t.Fatalf("%+v: %v %v", m, b, err)
				}
				grid, err := maskedGrid(c, m)
				if err != nil {
					t.Fatal(err)
				}
				for v := lo; v <= hi; v++ {
					got := op.(masking.IntOperator).ApplyInt(v)
					if got < b[0] || got > b[1] {
						t.Fatalf("%+v of %d is %d, outside %v", m, v, got, *b)
					}
					if grid != nil && (!slices.IsSorted(grid) || got < grid[0] || got > grid[len(grid)-1]) {
						t.Fatalf("%+v of %d is %d, in no cell of %v", m, v, got, grid)
					}
				}
				if grid != nil {
					grids++
				}
			}
		}
	}
	if grids < 300 {
		t.Errorf("only %d grids were left", grids)
	}
}
