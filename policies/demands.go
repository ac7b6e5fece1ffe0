package policies

import (
	"slices"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/masking"
)

// Waiting rules of releases, from the mildest.
const (
	WaitDurable   = "durable"   // the entry is on disk
	WaitPublished = "published" // a signed checkpoint that covers it is published
	WaitWitnessed = "witnessed" // enough witnesses cosigned such a checkpoint
)

// Demand is the least protection of one level. A department may ask for more and
// never for less: whoever speaks of a level without it doing anything has a label.
// Reasons and sources stand in docs/grading.md.
type Demand struct {
	// Wait is the least waiting rule of a release.
	Wait string
	// PersonalExact says whether personal data may be answered in exact mode.
	PersonalExact bool
	// Queries says whether columns may be used in queries at all.
	Queries bool
	// KeyUnits is the least number of units behind a private key that is released.
	KeyUnits int64
	// YearShare is the most of the city's ceiling that budget.dataset_year may be, in
	// percent.
	YearShare int64
	// DeclaredVolume says whether opened snapshots may lie on a volume whose
	// encryption this host cannot show.
	DeclaredVolume bool
	// Shown says whether identifiers may be stored in part, by a display mask, and
	// free text as it is, without being a private key.
	Shown bool
}

// demands are the table, by level on the scale of GB/T 43697-2024. Each row asks for
// at least what the one above it does.
var demands = [highestLevel + 1]Demand{
	1: {Wait: WaitDurable, PersonalExact: true, Queries: true, KeyUnits: 10, YearShare: 100, DeclaredVolume: true, Shown: true},
	2: {Wait: WaitDurable, PersonalExact: true, Queries: true, KeyUnits: 10, YearShare: 100, DeclaredVolume: true, Shown: true},
	3: {Wait: WaitPublished, Queries: true, KeyUnits: 10, YearShare: 100, DeclaredVolume: true, Shown: true},
	4: {Wait: WaitPublished, Queries: true, KeyUnits: 20, YearShare: 50},
	5: {Wait: WaitPublished, KeyUnits: 20, YearShare: 50},
	6: {Wait: WaitPublished, KeyUnits: 20, YearShare: 50},
}

// DemandsOf returns the demands of a level; what is no level has the strictest.
func DemandsOf(level int) Demand {
	return demands[levelOr(level)]
}

// levelOr takes what is no level for the highest one.
func levelOr(level int) int {
	if level < lowestLevel || level > highestLevel {
		return highestLevel
	}
	return level
}

func checkWait(wait string) error {
	switch wait {
	case "", WaitDurable, WaitPublished, WaitWitnessed:
		return nil
	}
	return texts.Errorf("unknown wait %q; known: %s, %s, %s", safeName(wait), WaitDurable, WaitPublished, WaitWitnessed)
}

// WaitOf is what an answer to a core waits for: the strictest of what its level
// demands, what the departments of its data sets ask for, and what the witness policy
// asks for from its level on. A data set without a rule in force demands the most
// there is.
func (b *Book) WaitOf(core algebra.Core) string {
	level := b.LevelOf(core).Level
	waits := []string{DemandsOf(level).Wait}
	if b.witnesses != nil && b.witnesses.FromLevel > 0 && level >= b.witnesses.FromLevel {
		waits = append(waits, WaitWitnessed)
	}
	for _, id := range core.Datasets() {
		switch e := b.datasets[id]; {
		case e.Rule != nil:
			waits = append(waits, e.Rule.Wait)
		case b.witnesses != nil:
			waits = append(waits, WaitWitnessed)
		default:
			waits = append(waits, WaitPublished)
		}
	}
	return longestWait(waits)
}

// longestWait of waiting rules; empty is the mildest.
func longestWait(waits []string) string {
	out := WaitDurable
	for _, w := range waits {
		if w == WaitWitnessed || w == WaitPublished && out == WaitDurable {
			out = w
		}
	}
	return out
}

// decideLevel refuses what derives important or core data. Rules keep the columns of
// such levels out of use; units are counted and joined without a rule that names
// their column.
func (b *Book) decideLevel(core algebra.Core) *Reason {
	if len(core.Tables) == 0 {
		return nil // no query: whoever has none to plan says so
	}
	level := b.LevelOf(core)
	if DemandsOf(level.Level).Queries || len(level.Columns) == 0 {
		return nil
	}
	c := level.Columns[0]
	return reasonf("LEVEL_FORBIDS", "grading/"+c.Dataset, b.datasets[c.Dataset].Department, "查询涉及列“%s.%s”，其级别为 %d（重要或核心数据），不得查询",
		"the query touches column %q.%q, which is graded %d (important or core data) and cannot be queried", c.Dataset, c.Column, level.Level)
}

// Confined says that the data set must not be opened on a volume whose encryption
// is only declared. What has no level yet is confined.
func (e Entry) Confined() bool { return !DemandsOf(e.Level()).DeclaredVolume }

// KeyUnits is the least number of units of a private key of the data set: what the
// level of its strictest private key demands.
func (e Entry) KeyUnits() int64 {
	least := demands[lowestLevel].KeyUnits
	if e.Rule == nil {
		return demands[highestLevel].KeyUnits
	}
	for _, k := range e.Rule.PrivateKeys {
		least = max(least, DemandsOf(e.Levels[k]).KeyUnits)
	}
	return least
}

// unshown are the masks after which nothing of a value can be read.
var unshown = []string{masking.OpDrop, masking.OpNull, masking.OpConstant, masking.OpPseudonym}

// displays are the masks that show a part of a value.
var displays = []string{masking.OpName, masking.OpID, masking.OpPhone, masking.OpCard}

// checkMaskDemands holds masks to the levels of their columns. Ungraded data has
// none to hold them to: its grading checks them again.
func checkMaskDemands(e Entry, masks map[string]Mask) error {
	if e.Levels == nil || e.Dataset.Public {
		return nil
	}
	for _, c := range e.Dataset.Columns {
		if DemandsOf(e.Levels[c.Name]).Shown || e.isUnit(c.Name) {
			continue
		}
		m, ok := masks[c.Name]
		if ok && slices.Contains(displays, m.Op) || c.Identifier != "" && !slices.Contains(unshown, m.Op) {
			return texts.Errorf("column %q is graded %d and may not be stored in part; its mask is one of drop, null, constant, pseudonym", c.Name, e.Levels[c.Name])
		}
	}
	return nil
}

func (e Entry) isUnit(column string) bool {
	return e.Dataset.Unit != nil && e.Dataset.Unit.Column == column
}

// checkRuleDemands holds a disclosure rule to the levels of its data set.
func (b *Book) checkRuleDemands(e Entry, r DisclosureRule) error {
	if err := checkMaskDemands(e, e.Masks); err != nil {
		return err
	}
	for _, c := range e.Dataset.Columns {
		if DemandsOf(e.Levels[c.Name]).Shown || e.isUnit(c.Name) || c.Type != algebra.Text || len(c.Codes) > 0 {
			continue
		}
		// Nobody knows what stands in free text. Behind the threshold of a private
		// key only what many have in common is ever seen.
		if m := e.Masks[c.Name]; !slices.Contains(unshown, m.Op) && !slices.Contains(r.PrivateKeys, c.Name) {
			return texts.Errorf("column %q is free text graded %d: give it a code list, make it a private key, or mask it by drop, null, constant or pseudonym", c.Name, e.Levels[c.Name])
		}
	}
	_, l, err := r.Budget.limits()
	if err != nil {
		return err
	}
	// The whole ceiling is for checkMode.
	level := e.Level()
	share := budget.Nano(DemandsOf(level).YearShare)
	if most := b.ceiling / 100 * share; share < 100 && l.DatasetYear > most {
		return texts.Errorf("budget.dataset_year is above ρ %s, %d percent of the city's ceiling: more is not for data of level %d", most, share, level)
	}
	return nil
}
