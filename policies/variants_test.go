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

// heldBy is the book once a file was ingested under its rules.
func heldBy(b *Book, dataset string) *Book {
	e, _ := b.Dataset(dataset)
	return b.WithSnapshot(dataset, e.VariantNames())
}

// byBorn groups by born as a purpose and an operator see it.
func byBorn(t testing.TB, b *Book, purpose, operator string) (algebra.Core, Sight) {
	t.Helper()
	e, _ := b.Dataset("people")
	v, err := e.View(purpose, operator)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(v.Sights, func(s Sight) bool { return s.Column == "born" })
	core := overBorn(nil)
	core.Keys[0].Type = v.Sights[i].Type
	core, refused := Remask(core, []View{v})
	if refused != nil {
		t.Fatal(refused)
	}
	return core, v.Sights[i]
}

const births = "  - {id: births, dataset: people, columns: [born], purposes: [plan], recipients: [op], mask: {op: year}}\n" +
	"  - {id: months, dataset: people, columns: [born], recipients: [rival], mask: {op: month}}\n"

func TestR20R23_WhatOnlySomeSeeIsAHiddenColumn(t *testing.T) {
	plain := ruled(t, "", births)
	b := heldBy(plain, "people")
	e, _ := b.Dataset("people")
	if len(e.Held) != 2 {
		t.Fatalf("hidden columns: %v", e.Held)
	}
	before, _ := ruled(t, "", "").Dataset("people")
	if before.SpecDigest() != e.SpecDigest() {
		t.Error("a rule for some makes the snapshot stale for everybody")
	}
	for _, c := range []struct {
		purpose, operator string
		op                string
		kind              algebra.Kind
	}{{"plan", "op", "year", algebra.Int}, {"trade", "op", "keep", algebra.Date}, {"plan", "rival", "month", algebra.Date}, {"trade", "rival", "month", algebra.Date}, {"plan", "nobody", "keep", algebra.Date}} {
		core, s := byBorn(t, b, c.purpose, c.operator)
		if s.Mask.Op != c.op || s.Type.Kind != c.kind || s.Short || (s.Stored == "born") != (c.op == "keep") || core.Keys[0].Name != s.Stored {
			t.Errorf("%s/%s sees %+v", c.purpose, c.operator, s)
		}
		// Of masks alone: not all of them hold a licence.
		if got := b.decideMasks(Request{Operator: c.operator, Purpose: c.purpose, Core: core}); len(got) > 0 {
			t.Errorf("%s/%s may not use what it sees: %v", c.purpose, c.operator, got)
		}
		// No name that an operator may use leads to a hidden column.
		v, _ := e.View(c.purpose, c.operator)
		for _, col := range v.Schema.Columns {
			if strings.HasPrefix(col.Name, variantPrefix) {
				t.Errorf("%s/%s may name %s", c.purpose, c.operator, col.Name)
			}
		}
	}
	if got := decided(b, "plan", "op", mustCore(byBorn(t, b, "plan", "op"))); len(got) > 0 {
		t.Errorf("a column under its mask is refused: %v", got)
	}
	// The same mask is the same column, whoever it is for.
	twice := heldBy(ruled(t, "", births+"  - {id: trades, dataset: people, columns: [born], purposes: [trade], recipients: [op], mask: {op: year}}\n"), "people")
	x, _ := byBorn(t, twice, "plan", "op")
	y, _ := byBorn(t, twice, "trade", "op")
	if string(x.Bytes()) != string(y.Bytes()) {
		t.Error("equal masks give two canonical forms")
	}
	z, _ := byBorn(t, twice, "plan", "rival")
	if string(x.Bytes()) == string(z.Bytes()) {
		t.Error("different masks give one canonical form")
	}
}

func mustCore(c algebra.Core, _ Sight) algebra.Core { return c }

func TestR20_ARuleNewerThanTheSnapshotAsksForIngest(t *testing.T) {
	b := ruled(t, "", births)
	core, s := byBorn(t, b, "plan", "op")
	if !s.Short || s.Stored != "born" {
		t.Fatalf("a hidden column that is not there is seen: %+v", s)
	}
	got := decided(b, "plan", "op", core)
	at := slices.Index(codesOf(got), "MASK_RULE")
	if at < 0 || !strings.Contains(got[at].HintEN, "ingests the file again") || !strings.Contains(got[at].HintZH, "重新入库") || !strings.Contains(got[at].HintEN, "year(born)") {
		t.Errorf("%v", got)
	}
	if got := decided(b, "plan", "op", overBorn(partOf("year"))); len(got) > 0 {
		t.Errorf("the year of the date is refused: %v", got)
	}
	// A hidden column is not there until it is ingested, whatever its name.
	hidden, _ := byBorn(t, heldBy(b, "people"), "plan", "op")
	if got := decided(b, "plan", "op", hidden); !slices.Contains(codesOf(got), "MASK_RULE") {
		t.Errorf("a hidden column that the snapshot lacks is allowed: %v", got)
	}
	// The catalogue written anew with the same columns leaves the snapshot what it is.
	again := heldBy(b, "people")
	again = apply(t, again, withKeys(strings.Replace(townCatalogue, "人口", "人口表", 1)), "dept")
	if e, _ := again.Dataset("people"); len(e.Held) != 2 {
		t.Errorf("held after a new title: %v", e.Held)
	}
}

// TestAttack_R20_HiddenAndBaseColumnsByName: a core that names the stored column, a
// laxer hidden one or one made up is refused under the stricter rule; with the rule
// off the same core passes.
func TestAttack_R20_HiddenAndBaseColumnsByName(t *testing.T) {
	b := heldBy(ruled(t, "", births), "people")
	lax, _ := byBorn(t, b, "plan", "rival") // months
	made := overBorn(nil)
	made.Keys[0].Name = "_m_born_" + strings.Repeat("f", variantDigest)
	for name, c := range map[string]struct {
		core algebra.Core
		want string
	}{
		"the column as it is stored": {overBorn(nil), "demands at least mask year"},
		"a laxer hidden column":      {lax, "the query uses month"},
		"a hidden column made up":    {made, "does not hold it"},
	} {
		got := decided(b, "plan", "op", c.core)
		at := slices.Index(codesOf(got), "MASK_RULE")
		if at < 0 || !strings.Contains(got[at].EN, c.want) || strings.Contains(got[at].EN, variantPrefix) || got[at].SetBy != "dept" {
			t.Errorf("%s: %v", name, got)
		}
	}
	off := heldBy(ruled(t, "", strings.ReplaceAll(births, "recipients: [op]", "recipients: [rival]")), "people")
	if got := decided(off, "plan", "op", overBorn(nil)); len(got) > 0 {
		t.Errorf("control: without the rule he is refused: %v", got)
	}
	// Licence, level and use are those of the column it stands for.
	core, _ := byBorn(t, b, "plan", "op")
	if uses := Uses(core); !slices.Contains(uses, ColumnUse{"people", "born", UseKey}) {
		t.Errorf("uses: %v", uses)
	}
	if level := b.LevelOf(core); len(level.Columns) != 1 || level.Columns[0].Column != "born" {
		t.Errorf("level: %+v", level)
	}
	unlicensed := apply(t, b, withKeys(strings.Replace(townLicence, "born", "fee", 1)), "bureau", "dept")
	if got := codesOf(decided(unlicensed, "plan", "op", core)); !slices.Contains(got, "COLUMN_NOT_LICENSED") {
		t.Errorf("a column outside the licence is reached by its hidden name: %v", got)
	}
}

func TestR20_UnionUnderTwoMasksIsRefused(t *testing.T) {
	b := heldBy(ruled(t, "", births), "people")
	e, _ := b.Dataset("people")
	v, err := e.View("plan", "op")
	if err != nil {
		t.Fatal(err)
	}
	other := View{Schema: algebra.Schema{Dataset: "more"}, Sights: []Sight{{Column: "born", Stored: "born"}}}
	core := overBorn(nil)
	core.Tables[0].Parts = []string{"more"}
	if _, r := Remask(core, []View{v, other}); r == nil || r.Code != "MASK_UNION" {
		t.Errorf("%v", r)
	}
	other.Sights = v.Sights
	if out, r := Remask(core, []View{v, other}); r != nil || out.Keys[0].Name == "born" {
		t.Errorf("control: %v", r)
	}
	// Inside a pre-aggregation per unit too.
	unit := overBorn(nil)
	unit.Keys = nil
	unit.Tables[0].PerUnit = &algebra.PerUnit{Where: &algebra.Pred{Op: algebra.OpIsNull, Col: &algebra.Col{Name: "born"}}, Aggs: []algebra.Agg{{Func: algebra.Max, Arg: &algebra.Col{Name: "born"}}}}
	out, _ := Remask(unit, []View{v})
	if u := out.Tables[0].PerUnit; BaseColumn(u.Aggs[0].Arg.Name) != "born" || u.Aggs[0].Arg.Name == "born" || u.Where.Col.Name == "born" {
		t.Errorf("%+v", u)
	}
	if unit.Tables[0].PerUnit.Where.Col.Name != "born" {
		t.Error("the core asked for was changed")
	}
}

func TestBaseColumnIsUnambiguous(t *testing.T) {
	for _, name := range []string{"born", "_m", "m_born_0123456789ab", "费用", "a_b-c", "born_0123456789ab"} {
		if BaseColumn(name) != name {
			t.Errorf("%q is taken for a hidden column", name)
		}
		hidden := variantName(name, Mask{Op: masking.OpYear})
		if BaseColumn(hidden) != name || hidden == variantName(name, Mask{Op: masking.OpMonth}) {
			t.Errorf("%q does not stand for %q", hidden, name)
		}
	}
	for _, name := range []string{"_m_born", "_M_born_0123456789ab"} {
		if got := refused(t, town(t, "masking"), withKeys(strings.Replace(townCatalogue, "name: born", "name: "+name, 1)), "dept"); !strings.Contains(got, "reserved") {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// TestR20_PreviewIsWhatDecideSays: for random rules, purposes and operators, preview
// refuses a column exactly where a query that names it is refused by mask, and shows
// its mask and type otherwise.
func TestR20_PreviewIsWhatDecideSays(t *testing.T) {
	r := rand.New(rand.NewPCG(26, 7))
	masks := []string{"{op: year}", "{op: quarter}", "{op: month}", `{op: "null"}`, "{op: drop}"}
	lists := []string{"", "purposes: [plan], ", "purposes: [trade], ", "recipients: [op], ", "purposes: [plan], recipients: [rival], "}
	var usable, hidden, short int
	for range 60 {
		rules := ""
		for i := range 1 + r.IntN(3) {
			who, mask := lists[r.IntN(len(lists))], masks[r.IntN(len(masks))]
			if who == "" && mask == "{op: drop}" {
				continue // the disclosure rule names the column
			}
			rules += fmt.Sprintf("  - {id: r%d, dataset: people, columns: [born], %smask: %s}\n", i, who, mask)
		}
		b := heldBy(ruled(t, "", rules), "people")
		e, _ := b.Dataset("people")
		docs := previewDocs(t, "", rules)
		p, err := PreviewEntry(docs, "people")
		if err != nil {
			t.Fatal(err)
		}
		for _, purpose := range []string{"plan", "trade"} {
			for _, operator := range []string{"op", "rival"} {
				columns, err := p.Preview(purpose, operator, 1)
				if err != nil {
					t.Fatal(err)
				}
				at := slices.IndexFunc(columns, func(c ColumnPreview) bool { return c.Column == "born" })
				shown := columns[at]
				sights, err := e.Sights(purpose, operator)
				if err != nil {
					t.Fatal(err)
				}
				s := sights[slices.IndexFunc(sights, func(s Sight) bool { return s.Column == "born" })]
				core := overBorn(nil)
				core.Keys[0].Name, core.Keys[0].Type = s.Stored, s.Type
				met := len(b.decideMasks(Request{Operator: operator, Purpose: purpose, Core: core})) > 0
				switch {
				case s.Drop:
					if shown.Refused == nil || shown.Refused.Code != "NOT_STORED" {
						t.Errorf("%s%s/%s: not stored, preview shows %+v", rules, purpose, operator, shown)
					}
				case met:
					short++
					if shown.Refused == nil || shown.Refused.Code != "MASK_RULE" {
						t.Errorf("%s%s/%s: the rule refuses, preview shows %+v", rules, purpose, operator, shown)
					}
				default:
					usable++
					if s.Stored != "born" {
						hidden++
					}
					if shown.Refused != nil && shown.Refused.Code == "MASK_RULE" || shown.Demanded.Op != s.Mask.Op || shown.Type != s.Type {
						t.Errorf("%s%s/%s: a query sees %s %s, preview shows %+v", rules, purpose, operator, s.Mask.Op, s.Type.Kind, shown)
					}
				}
			}
		}
	}
	if usable == 0 || hidden == 0 || short == 0 {
		t.Errorf("the draws reach too little: %d usable, %d hidden, %d refused", usable, hidden, short)
	}
}

func FuzzBaseColumn(f *testing.F) {
	f.Add("_m_born_0123456789ab")
	f.Add("_m__0123456789ab")
	f.Add("born")
	f.Fuzz(func(t *testing.T, name string) {
		if base := BaseColumn(name); base != name && !strings.HasPrefix(name, variantPrefix+base) {
			t.Errorf("%q stands for %q", name, base)
		}
	})
}

func TestTooManyHiddenColumnsAreRefused(t *testing.T) {
	entry := func(n int) (Entry, []MaskRule) {
		e := Entry{Dataset: Dataset{ID: "d"}}
		r := MaskRule{ID: "r", Dataset: "d", Purposes: []string{"plan"}, Mask: Mask{Op: masking.OpYear}}
		for i := range n {
			name := fmt.Sprintf("c%d", i)
			e.Dataset.Columns = append(e.Dataset.Columns, Column{Name: name, Type: algebra.Date})
			r.Columns = append(r.Columns, name)
		}
		return e, []MaskRule{r}
	}
	e, rules := entry(maxVariants)
	if err := masksOf(&e, nil, rules); err != nil || len(e.VariantNames()) != maxVariants {
		t.Errorf("%d hidden columns: %v", maxVariants, err)
	}
	e, rules = entry(maxVariants + 1)
	if err := masksOf(&e, nil, rules); err == nil || !strings.Contains(err.Error(), "hidden columns") || e.Masked {
		t.Errorf("one more: %v", err)
	}
}
