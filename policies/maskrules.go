package policies

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/masking"
)

// MaskRule demands a mask of columns: of those named, or of every column graded
// LevelAtLeast or higher. A rule without purposes and recipients holds for
// everybody and is what is stored; what one with either demands is stored beside it as
// a hidden column (Entry.Variants), which stands for the column when those it is for
// ask. Where several hold for a column, the strictest counts.
type MaskRule struct {
	ID           string   `yaml:"id,omitempty" json:"id,omitempty"` // for messages; the rule's number when empty
	Dataset      string   `yaml:"dataset" json:"dataset"`
	Columns      []string `yaml:"columns,omitempty" json:"columns,omitempty"`
	LevelAtLeast int      `yaml:"level_at_least,omitempty" json:"level_at_least,omitempty"` // 1…6
	Purposes     []string `yaml:"purposes,omitempty" json:"purposes,omitempty"`             // empty: every purpose
	Recipients   []string `yaml:"recipients,omitempty" json:"recipients,omitempty"`         // operators; empty: every one
	Mask         Mask     `yaml:"mask" json:"mask"`
}

// maxMaskRules of one data set: every combination of those that meet in a column is
// looked at.
const maxMaskRules = 64

func (r MaskRule) everybody() bool { return len(r.Purposes) == 0 && len(r.Recipients) == 0 }

func (r MaskRule) holds(purpose, operator string) bool {
	return (len(r.Purposes) == 0 || slices.Contains(r.Purposes, purpose)) &&
		(len(r.Recipients) == 0 || slices.Contains(r.Recipients, operator))
}

// on reports whether the rule is about a column. The unit column is replaced by its
// token, so a rule by level leaves it alone.
func (r MaskRule) on(e Entry, column string) bool {
	if r.LevelAtLeast > 0 {
		unit := e.Dataset.Unit != nil && e.Dataset.Unit.Column == column
		return !unit && e.Levels[column] >= r.LevelAtLeast
	}
	return slices.Contains(r.Columns, column)
}

// masksOf brings a data set's masks into force: those its department wrote and its
// rules, under the levels of the entry. e is changed only when all of it holds.
func masksOf(e *Entry, written map[string]Mask, rules []MaskRule) error {
	if len(rules) > maxMaskRules {
		return texts.Errorf("more than %d rules", maxMaskRules)
	}
	next := *e
	next.MasksWritten, next.MaskRules = written, rules
	for i, r := range rules {
		if slices.ContainsFunc(rules[:i], func(o MaskRule) bool { return o.ID == r.ID }) {
			return texts.Errorf("rule %q stands twice", safeName(r.ID))
		}
		if err := checkMaskRule(next, r); err != nil {
			return texts.Errorf("rule %q: %w", safeName(r.ID), err)
		}
	}
	for name := range written {
		if !slices.ContainsFunc(e.Dataset.Columns, func(c Column) bool { return c.Name == name }) {
			return texts.Errorf("unknown column %q", safeName(name))
		}
	}
	stored := map[string]Mask{}
	for _, c := range e.Dataset.Columns {
		m, named, err := storedMask(next, c)
		if err != nil {
			return err
		}
		if named {
			stored[c.Name] = m
		}
	}
	next.Masks, next.Masked = stored, true
	if err := checkMasks(next, stored); err != nil {
		return err
	}
	if err := checkPerturbing(next); err != nil {
		return err
	}
	// Every set of rules that can hold at once has a strictest mask.
	hidden, err := next.Variants()
	if err != nil {
		return err
	}
	if len(hidden) > maxVariants {
		return texts.Errorf("rules for purposes or recipients demand %d hidden columns, more than %d: name fewer columns, or give them fewer masks", len(hidden), maxVariants)
	}
	*e = next
	return nil
}

func checkMaskRule(e Entry, r MaskRule) error {
	if (len(r.Columns) > 0) == (r.LevelAtLeast != 0) {
		return texts.Errorf("name columns or level_at_least, one of them")
	}
	if r.LevelAtLeast < 0 || r.LevelAtLeast > 6 {
		return texts.Errorf("level_at_least %d is not in 1…6", r.LevelAtLeast)
	}
	if r.LevelAtLeast > 0 && e.Levels == nil {
		return texts.Errorf("no Grading is in force for the data set; levels are set before a rule by level")
	}
	for _, name := range r.Columns {
		if !slices.ContainsFunc(e.Dataset.Columns, func(c Column) bool { return c.Name == name }) {
			return texts.Errorf("unknown column %q", safeName(name))
		}
	}
	for _, c := range e.Dataset.Columns {
		if !r.on(e, c.Name) {
			continue
		}
		if _, _, err := masking.OutType(r.Mask.Op, MaskParams(c, r.Mask, typingKey)); err != nil {
			return texts.Errorf("column %q: %w", c.Name, err)
		}
		if masking.Perturbs(r.Mask.Op) && !r.everybody() {
			return texts.Errorf("column %q: mask %q is applied to the table at ingest, for everybody; a rule with purposes or recipients cannot demand it", c.Name, r.Mask.Op)
		}
		if e.Dataset.Unit != nil && e.Dataset.Unit.Column == c.Name && !r.everybody() {
			return texts.Errorf("unit column %q is replaced by its token for everybody; a rule with purposes or recipients cannot name it", c.Name)
		}
	}
	return nil
}

// namedMask is a mask and the rule that demands it, empty for what is stored or
// written under masks.
type namedMask struct {
	rule string
	mask Mask
}

func (n namedMask) String() string {
	if n.rule == "" {
		return "masks"
	}
	return fmt.Sprintf("rule %q", safeName(n.rule))
}

// storedMask is the strictest of the written mask and the rules for everybody.
func storedMask(e Entry, c Column) (Mask, bool, error) {
	var all []namedMask
	if m, ok := e.MasksWritten[c.Name]; ok {
		// Checked before it is compared: what has no type is comparable to nothing.
		if _, _, err := masking.OutType(m.Op, MaskParams(c, m, typingKey)); err != nil {
			return m, false, texts.Errorf("column %q: %w", c.Name, err)
		}
		all = append(all, namedMask{"", m})
	}
	for _, r := range e.MaskRules {
		if r.everybody() && r.on(e, c.Name) {
			all = append(all, namedMask{r.ID, r.Mask})
		}
	}
	if len(all) == 0 {
		return Mask{}, false, nil
	}
	m, err := strictest(c, all)
	return m.mask, true, err
}

// strictest returns the mask that is at least as general as every other one, and
// an error that names two when there is none: either would let through what the
// other one hides.
func strictest(c Column, all []namedMask) (namedMask, error) {
	best := all[0]
	for _, m := range all[1:] {
		if !atLeast(c, best.mask, m.mask) {
			best = m
		}
	}
	for _, m := range all {
		if !atLeast(c, best.mask, m.mask) {
			return best, texts.Errorf("column %q: %s (%s) and %s (%s) have no strictest: neither mask is at least as general as the other; give them one mask, or drop the column",
				c.Name, m, m.mask.Op, best, best.mask.Op)
		}
	}
	return best, nil
}

func atLeast(c Column, a, b Mask) bool {
	return masking.AtLeast(a.Op, MaskParams(c, a, typingKey), b.Op, MaskParams(c, b, typingKey))
}

func unique(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}

// demands lists what is demanded of a column for a purpose and an operator; the
// stored mask is the first.
func (e Entry) demands(c Column, purpose, operator string) []namedMask {
	stored, ok := e.Masks[c.Name]
	if !ok {
		stored = Mask{Op: masking.OpKeep}
	}
	all := []namedMask{{"", stored}}
	for _, r := range e.MaskRules {
		if !r.everybody() && r.on(e, c.Name) && r.holds(purpose, operator) {
			all = append(all, namedMask{r.ID, r.Mask})
		}
	}
	return all
}

// Demanded returns the mask that a column must at least bear in what a purpose and
// an operator see of it, and the id of the rule that says so, empty for the stored
// mask itself. It errs on an unknown column.
func (e Entry) Demanded(column, purpose, operator string) (m Mask, rule string, err error) {
	i := slices.IndexFunc(e.Dataset.Columns, func(c Column) bool { return c.Name == column })
	if i < 0 {
		return m, "", texts.Errorf("unknown column %q", safeName(column))
	}
	best, err := strictest(e.Dataset.Columns[i], e.demands(e.Dataset.Columns[i], purpose, operator))
	return best.mask, best.rule, err
}

// decideMasks refuses each column of which a rule demands more than the stored mask
// gives, unless the query uses it in no form that tells more than the rule allows.
func (b *Book) decideMasks(r Request) []*Reason {
	var out []*Reason
	refused := map[[2]string]bool{}
	for _, f := range Forms(r.Core) {
		column := [2]string{f.Dataset, BaseColumn(f.Column)}
		if refused[column] {
			continue
		}
		if x := b.datasets[f.Dataset].decideStored(f, r); x != nil {
			refused[column] = true
			out = append(out, x)
		}
	}
	return out
}

type formKey struct {
	form              ColumnForm
	purpose, operator string
}

func (e Entry) decideForm(c Column, f ColumnForm, r Request) *Reason {
	if e.remembered() == nil {
		return e.formDecided(c, f, r)
	}
	x, _ := e.Derive(formKey{f, r.Purpose, r.Operator}, func() (any, error) { return e.formDecided(c, f, r), nil })
	return x.(*Reason)
}

func (e Entry) formDecided(c Column, f ColumnForm, r Request) *Reason {
	stored := e.demands(c, "", "")[0].mask
	want, rule, err := e.Demanded(c.Name, r.Purpose, r.Operator)
	if err == nil && atLeast(c, stored, want) {
		return nil
	}
	grid, gridErr := maskedGrid(c, stored)
	if err == nil && gridErr == nil && formAllowed(c, want, f, grid) {
		return nil
	}
	zh, en := allowedForms(c, want, grid)
	if slices.Contains(e.Held, variantName(c.Name, want)) {
		zh, en = zh+"；或直接使用该列，按 "+want.Op+" 可见", en+"; or the column itself, as it is seen under "+want.Op
	}
	if e.again(c, want) {
		zh, en = zh+"；数源部门重新入库后可按 "+want.Op+" 使用该列", en+"; once the department ingests the file again the column can be used under "+want.Op
	}
	return reasonf("MASK_RULE", "masking/"+e.Dataset.ID, e.Department,
		"列“%s.%s”：规则“%s”要求对此用途和接收方至少脱敏为 %s，库中为 %s", "column %q.%q: rule %q demands at least mask %s for this purpose and recipient, and %s is stored",
		e.Dataset.ID, c.Name, rule, want.Op, stored.Op).hint(zh, en)
}

// formAllowed says whether a form of the stored value can be computed from the
// value under the mask demanded.
func formAllowed(c Column, want Mask, f ColumnForm, grid []int64) bool {
	switch {
	case f.Part != "":
		return slices.Contains(allowedParts(want.Op), f.Part)
	case f.Bin:
		return want.Op == masking.OpBand && masking.CoarserGrid(MaskParams(c, want, nil), grid)
	case f.Quotient > 0:
		return want.Op == masking.OpBand && c.Type == algebra.Int && masking.CoarserQuotient(MaskParams(c, want, nil), f.Quotient)
	}
	return false
}

// allowedParts are the date parts that a date mask still tells.
func allowedParts(op string) []string {
	switch op {
	case masking.OpYear:
		return []string{"year"}
	case masking.OpQuarter:
		return []string{"year", "quarter"}
	case masking.OpMonth:
		return []string{"year", "quarter", "month"}
	}
	return nil
}

func allowedForms(c Column, want Mask, grid []int64) (zh, en string) {
	var forms []string
	for _, p := range allowedParts(want.Op) {
		forms = append(forms, p+"("+c.Name+")")
	}
	if want.Op == masking.OpBand {
		if masking.CoarserGrid(MaskParams(c, want, nil), grid) {
			forms = append(forms, "bin("+c.Name+")")
		}
		if c.Type == algebra.Int && want.Width != "" {
			forms = append(forms, c.Name+" // "+want.Width)
		}
	}
	if len(forms) == 0 {
		return "此用途和接收方不能使用该列；可请数源部门放宽规则", "this purpose and recipient cannot use the column; the department can change the rule"
	}
	return "可改用 " + strings.Join(forms, "、"), "use " + strings.Join(forms, ", ") + " instead"
}

// putMasking sets the masks and rules of every data set the document names.
func (b *Book) putMasking(m Masking, signers map[string]bool) error {
	if err := b.department(m.Department, signers); err != nil {
		return err
	}
	datasets := slices.Collect(maps.Keys(m.Masks))
	for _, r := range m.Rules {
		for _, p := range r.Purposes {
			if _, ok := b.purposes[p]; !ok {
				return texts.Errorf("rule %q: purpose %q is not in the registry", safeName(r.ID), safeName(p))
			}
		}
		for _, o := range r.Recipients {
			if p, ok := b.parties[o]; !ok || p.Role != RoleOperator {
				return texts.Errorf("rule %q: recipient %q is no operator in the registry", safeName(r.ID), safeName(o))
			}
		}
		datasets = append(datasets, r.Dataset)
	}
	for _, id := range unique(datasets) {
		e, err := b.owned(id, m.Department)
		if err != nil {
			return err
		}
		if err := masksOf(&e, m.Masks[id], m.rulesOf(id)); err != nil {
			return texts.Errorf("data set %q: %w", id, err)
		}
		if err := checkMaskDemands(e, e.Masks); err != nil {
			return texts.Errorf("data set %q: %w", id, err)
		}
		if err := e.sourcesSigned(signers, maps.Keys(e.Masks)); err != nil {
			return texts.Errorf("data set %q: %w", id, err)
		}
		b.datasets[id] = b.kept(e)
	}
	return nil
}

// regraded brings the rules by level up to a new grading. Masks that no longer hold
// go out of force, and nothing runs until the department sets them anew (R16).
func (e Entry) regraded() Entry {
	if len(e.MaskRules) == 0 || !e.Masked {
		return e
	}
	if masksOf(&e, e.MasksWritten, e.MaskRules) != nil {
		e.Masks, e.MasksWritten, e.MaskRules, e.Masked = nil, nil, nil, false
	}
	return e
}
