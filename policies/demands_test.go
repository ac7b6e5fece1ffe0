package policies

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
)

// The table is monotone: a higher level never demands less, and what is no level
// demands the most.
func TestR16_DemandsRiseWithTheLevel(t *testing.T) {
	loose := func(d Demand) []int64 {
		n := func(b bool) int64 {
			if b {
				return 1
			}
			return 0
		}
		return []int64{n(d.Wait == WaitDurable), n(d.PersonalExact), n(d.Queries), -d.KeyUnits, d.YearShare, n(d.DeclaredVolume), n(d.Shown)}
	}
	for level := lowestLevel + 1; level <= highestLevel; level++ {
		below, at := loose(DemandsOf(level-1)), loose(DemandsOf(level))
		for i := range at {
			if at[i] > below[i] {
				t.Errorf("level %d demands less than level %d: %+v, %+v", level, level-1, DemandsOf(level), DemandsOf(level-1))
			}
		}
	}
	for _, level := range []int{-1, 0, 7, 100} {
		if DemandsOf(level) != DemandsOf(highestLevel) {
			t.Errorf("level %d: %+v", level, DemandsOf(level))
		}
	}
}

// levelsOfPeople grades the town's people, all columns alike.
func levelsOfPeople(level string) string {
	return fmt.Sprintf("kind: Grading\ndepartment: dept\nscheme: GB/T 43697-2024\nlevels:\n  people: {id_number: %[1]s, diagnosis_name: %[1]s, phone: %[1]s, born: %[1]s, fee: %[1]s, visits: %[1]s}\n", level)
}

func TestR16_LevelDrivesWaiting(t *testing.T) {
	// id_number 4, diagnosis_name 4, fee 3, visits 2; the department asks for published.
	lax := strings.Replace(townDisclosure, "wait: published", "wait: durable", 1)
	b := apply(t, town(t, "disclosure"), lax, "dept")
	core := func(key, of string) algebra.Core {
		return algebra.Core{Tables: []algebra.Table{{Dataset: of}}, Keys: []algebra.Col{column(0, key)}, Aggs: []algebra.Agg{{Func: algebra.CountRows}}}
	}
	united := core("visits", "people")
	united.Tables[0].Parts = []string{"firms"}
	for _, c := range []struct {
		name string
		book *Book
		core algebra.Core
		want string
	}{
		{"level 2", b, core("visits", "people"), WaitDurable},
		{"level 3", b, core("fee", "people"), WaitPublished},
		{"level 4", b, core("diagnosis_name", "people"), WaitPublished},
		{"level 2 where the department is stricter", town(t, ""), core("visits", "people"), WaitPublished},
		{"level 1", b, core("trade", "firms"), WaitDurable},
		{"a column that has no level", b, united, WaitPublished},
		{"no rule in force", apply(t, b, townCatalogue+"# again\n", "dept"), core("visits", "people"), WaitPublished},
		{"no such data set", b, core("visits", "ghosts"), WaitPublished},
	} {
		if got := c.book.WaitOf(c.core); got != c.want {
			t.Errorf("%s: waits for %s, want %s", c.name, got, c.want)
		}
	}
	// The strictest of all data sets: one of them asks for more than its level does.
	joined := core("trade", "firms")
	joined.Tables = append(joined.Tables, algebra.Table{Dataset: "areas"})
	joined.Joins = []algebra.Join{{Table: 1, Left: column(0, "trade"), Right: column(1, "area")}}
	if got := b.WaitOf(joined); got != WaitDurable {
		t.Errorf("two data sets that ask for nothing: %s", got)
	}
	strict := strings.Replace(lax, "  areas:\n", "  areas:\n    wait: published\n", 1)
	if got := apply(t, b, strict, "dept").WaitOf(joined); got != WaitPublished {
		t.Errorf("one of two data sets asks for published: %s", got)
	}
}

func TestR16_LevelDrivesMasks(t *testing.T) {
	for _, c := range []struct {
		level string
		phone string // the mask of an identifier
		want  string
	}{
		{"3", "{op: phone}", ""},
		{"4", "{op: phone}", `column "phone" is graded 4 and may not be stored in part`},
		{"4", "{op: name}", "may not be stored in part"},
		{"4", "{op: area, digits: 6}", "may not be stored in part"},
		{"4", "{op: drop}", ""},
		{"4", "{op: \"null\"}", ""},
		{"4", "{op: constant, value: x}", ""},
		{"4", "{op: pseudonym}", ""},
		{"6", "{op: phone}", "may not be stored in part"},
	} {
		masks := edited(t, townMasking, "phone: {op: drop}", "phone: "+c.phone)
		b := apply(t, town(t, "masking"), levelsOfPeople(c.level), "dept")
		if c.want == "" {
			apply(t, b, masks, "dept")
		} else if got := refused(t, b, masks, "dept"); !strings.Contains(got, c.want) {
			t.Errorf("level %s, %s: %s", c.level, c.phone, got)
		}
		// The other way round: masks that a later grading finds too weak go out of force.
		b = apply(t, apply(t, town(t, "masking"), levelsOfPeople("3"), "dept"), masks, "dept")
		b = apply(t, b, levelsOfPeople(c.level)+"# again\n", "dept")
		if e, _ := b.Dataset("people"); e.Masked != (c.want == "") || e.Ready() == nil {
			t.Errorf("level %s after %s: masked is %v", c.level, c.phone, e.Masked)
		}
	}
	// What shows a part of a value is refused on what is no identifier, too.
	b := apply(t, town(t, "masking"), levelsOfPeople("4"), "dept")
	if got := refused(t, b, edited(t, townMasking, "phone:", "diagnosis_name: {op: name}, phone:"), "dept"); !strings.Contains(got, `column "diagnosis_name" is graded 4`) {
		t.Error(got)
	}
}

func TestR16_LevelDrivesFreeText(t *testing.T) {
	note := "      - {name: note, title: {zh: 备注}, type: text, nullable: true}\n"
	catalogue := edited(t, townCatalogue, "      - {name: born,", note+"      - {name: born,")
	grading := func(level string) string { return edited(t, townGrading, "phone: 3,", "phone: 3, note: "+level+",") }
	for _, c := range []struct{ level, mask, uses, private, want string }{
		{"3", "", "", "", ""},
		{"4", "", "", "", `column "note" is free text graded 4`},
		{"4", "", "note: [filter], ", "", "free text"},
		{"4", "", "note: [key], ", ", note", ""},
		{"4", "note: {op: drop}, ", "", "", ""},
		{"4", "note: {op: pseudonym}, ", "", "", ""},
	} {
		b := apply(t, apply(t, apply(t, town(t, "catalogue"), catalogue, "dept"), grading(c.level), "dept"), edited(t, townMasking, "phone:", c.mask+"phone:"), "dept")
		rule := edited(t, edited(t, townDisclosure, "uses: {diagnosis_name", "uses: {"+c.uses+"diagnosis_name"), "[diagnosis_name]", "[diagnosis_name"+c.private+"]")
		if c.want == "" {
			apply(t, b, rule, "dept")
		} else if got := refused(t, b, rule, "dept"); !strings.Contains(got, c.want) {
			t.Errorf("level %s, mask %q, uses %q: %s", c.level, c.mask, c.uses, got)
		}
	}
}

func TestR16_LevelDrivesBudgetsKeysModeAndUse(t *testing.T) {
	for _, c := range []struct {
		level      string
		from, to   string
		want       string
		keys       int64
		confinedTo bool
	}{
		{"3", `dataset_year: "0.02"`, `dataset_year: "1.06"`, "", 10, false},
		{"4", `dataset_year: "0.02"`, `dataset_year: "0.53"`, "", 20, true},
		{"4", `dataset_year: "0.02"`, `dataset_year: "0.530000001"`, "50 percent of the city's ceiling: more is not for data of level 4", 0, true},
		{"3", "wait: published", "wait: published", "", 10, false},
		{"2", "wait: published", "wait: published", "", 10, false},
		{"5", "wait: published", "wait: published", "cannot be used in queries", 0, true},
		{"6", "wait: published", "wait: published", "cannot be used in queries", 0, true},
	} {
		b := apply(t, apply(t, town(t, "masking"), levelsOfPeople(c.level), "dept"), townMasking, "dept")
		rule := edited(t, townDisclosure, c.from, c.to)
		if c.want != "" {
			if got := refused(t, b, rule, "dept"); !strings.Contains(got, c.want) {
				t.Errorf("level %s, %s: %s", c.level, c.to, got)
			}
		} else {
			e, _ := apply(t, b, rule, "dept").Dataset("people")
			if got := e.KeyUnits(); got != c.keys {
				t.Errorf("level %s: private keys from %d units, want %d", c.level, got, c.keys)
			}
		}
		if e, _ := b.Dataset("people"); e.Confined() != c.confinedTo {
			t.Errorf("level %s: confined is %v", c.level, e.Confined())
		}
	}
	if (Entry{}).Confined() != true || (Entry{}).KeyUnits() != 20 {
		t.Error("what is not graded yet is not held to the strictest demands")
	}
	// The regulator's own ceiling is the measure, not a number in the program.
	low := edited(t, townRegistry, "purposes:", "budget_ceiling: \"0.03\"\npurposes:")
	b := apply(t, town(t, "disclosure"), low, "bureau")
	people, _, _ := strings.Cut(townDisclosure, "  firms:")
	if got := refused(t, b, edited(t, people, `lifetime: "0.05"`, `lifetime: "0.03"`), "dept"); !strings.Contains(got, "above ρ 0.015") {
		t.Error(got)
	}
}

// What rules cannot name is refused where it is asked for: counting or joining the
// units of important data.
func TestR16_ImportantUnitsAreNotCounted(t *testing.T) {
	b := apply(t, town(t, ""), edited(t, townGrading, "id_number: 4", "id_number: 5"), "dept")
	ask := Request{Operator: "op", Licence: "l1", Purpose: "plan", At: may2026, Core: algebra.Core{Tables: []algebra.Table{{Dataset: "people"}}}}
	for name, c := range map[string]struct {
		keys []algebra.Col
		f    algebra.Func
		want string
	}{
		"a bare count":      {nil, algebra.CountRows, "LEVEL_FORBIDS"},
		"units":             {[]algebra.Col{column(0, "visits")}, algebra.CountUnits, "LEVEL_FORBIDS"},
		"rows by a column":  {[]algebra.Col{column(0, "visits")}, algebra.CountRows, ""},
		"what is not there": {[]algebra.Col{column(0, "ghost")}, algebra.CountRows, "COLUMN_NOT_LICENSED"},
	} {
		ask.Core.Keys, ask.Core.Aggs = c.keys, []algebra.Agg{{Func: c.f}}
		got := strings.Join(codesOf(b.Decide(ask)), " ")
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	if e, _ := b.Dataset("people"); e.Ready() != nil {
		t.Error(e.Ready())
	}
}

// R16 R22: a change of content or use re-grades at once. A new catalogue leaves
// nothing of the old grading, masks and rule in force; a new grading takes the
// rule that it forbids with it.
func TestR16R22_ChangeRegradesAtOnce(t *testing.T) {
	b := town(t, "")
	ask := Request{Operator: "op", Licence: "l1", Purpose: "plan", At: may2026, Core: townCore()}
	if got := b.Decide(ask); len(got) != 0 {
		t.Fatal(got)
	}
	for name, c := range map[string]struct{ text, lacks string }{
		"a column more":        {edited(t, townCatalogue, "      - {name: fee,", "      - {name: more, title: {zh: 新}, type: int}\n      - {name: fee,"), "Grading"},
		"another meaning":      {edited(t, townCatalogue, "病名", "手术"), "Grading"},
		"important data now":   {levelsOfPeople("5"), "Disclosure"},
		"a use that is graded": {edited(t, townGrading, "fee: 3", "fee: 5"), "Disclosure"},
	} {
		next := apply(t, b, c.text, "dept")
		e, _ := next.Dataset("people")
		if x := e.Ready(); x == nil || !strings.Contains(x.EN, c.lacks) {
			t.Errorf("%s: ready is %v, want it to lack its %s", name, x, c.lacks)
		}
		if got := codesOf(next.Decide(ask)); len(got) == 0 || got[0] != "DATASET_NOT_READY" {
			t.Errorf("%s: %v", name, got)
		}
	}
	// Grading it anew, in the order the documents ask for, brings it back.
	b = apply(t, b, edited(t, townCatalogue, "病名", "手术"), "dept")
	for _, text := range []string{townGrading, townMasking, townDisclosure} {
		b = apply(t, b, text+"# again\n", "dept")
	}
	if got := b.Decide(ask); len(got) != 0 {
		t.Error(got)
	}
}

// The table that people read is the one that the program follows.
func TestR16_DemandsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/grading.md")
	if err != nil {
		t.Fatal(err)
	}
	yes := map[bool]string{true: "yes", false: "no"}
	for level := lowestLevel; level <= highestLevel; level++ {
		d := DemandsOf(level)
		row := fmt.Sprintf("\n| %d | %s | %s | %s | %d | %d %% | %s | %s |\n", level, d.Wait, yes[d.PersonalExact], yes[d.Queries], d.KeyUnits, d.YearShare, yes[d.DeclaredVolume], yes[d.Shown])
		if !strings.Contains(string(text), row) {
			t.Errorf("docs/grading.md lacks the row%s", row)
		}
	}
}
