package policies

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sandgate/sandgate/compute/algebra"
)

// KindNegativeList: what may not be used 负面清单, set by a department for its own
// data or by the regulator for any (R21).
const KindNegativeList Kind = "NegativeList"

// NegativeList adds, replaces and removes entries of the party that sets it. What
// another party set stays as it is.
type NegativeList struct {
	By      string          `yaml:"by" json:"by"` // party that sets and signs
	Entries []NegativeEntry `yaml:"entries,omitempty" json:"entries,omitempty"`
	Remove  []string        `yaml:"remove,omitempty" json:"remove,omitempty"` // ids of entries
}

// NegativeEntry names what may be neither licensed nor queried. Without a data set
// it is everything of the provider; without columns it is the whole data set. The
// data set need not be in the catalogue yet.
type NegativeEntry struct {
	ID       string   `yaml:"id" json:"id"`
	Provider string   `yaml:"provider" json:"provider"` // department whose data it is
	Title    Text     `yaml:"title,omitempty" json:"title,omitzero"`
	Dataset  string   `yaml:"dataset,omitempty" json:"dataset,omitempty"`
	Columns  []string `yaml:"columns,omitempty" json:"columns,omitempty"`
	Basis    Text     `yaml:"basis" json:"basis"` // legal basis; zh is required
}

// Negative is an entry in force.
type Negative struct {
	NegativeEntry
	By    string
	Since time.Time
}

// NegativeList returns the entries in force in the order of their ids.
func (b *Book) NegativeList() []Negative {
	var out []Negative
	for _, id := range slices.Sorted(maps.Keys(b.negative)) {
		out = append(out, b.negative[id])
	}
	return out
}

func (b *Book) putNegativeList(l NegativeList, a act) error {
	p, ok := b.parties[l.By]
	if !ok || p.Role != RoleDepartment && p.Role != RoleRegulator {
		return texts.Errorf("%q is no department and not the regulator", safeName(l.By))
	}
	if !a.signers[l.By] {
		return texts.Errorf("signature of %q is missing", l.By)
	}
	if len(l.Entries)+len(l.Remove) == 0 {
		return texts.Errorf("neither entries nor remove name anything")
	}
	mine := func(id string) error {
		if old, ok := b.negative[id]; ok && old.By != l.By {
			return texts.Errorf("entry %q was set by %q, who alone may change or remove it", safeName(id), old.By)
		}
		return nil
	}
	seen := map[string]bool{}
	for _, id := range l.Remove {
		if _, ok := b.negative[id]; !ok || seen[id] {
			return texts.Errorf("entry %q to remove is not on the list, or stands twice", safeName(id))
		}
		if err := mine(id); err != nil {
			return err
		}
		seen[id] = true
		delete(b.negative, id)
	}
	for _, n := range l.Entries {
		if err := checkID("entry", n.ID); err != nil {
			return err
		}
		if seen[n.ID] {
			return texts.Errorf("entry %q stands twice", n.ID)
		}
		seen[n.ID] = true
		if err := mine(n.ID); err != nil {
			return err
		}
		if err := b.checkNegative(n, p); err != nil {
			return texts.Errorf("entry %q: %w", n.ID, err)
		}
		b.negative[n.ID] = Negative{NegativeEntry: n, By: l.By, Since: a.at}
	}
	return nil
}

func (b *Book) checkNegative(n NegativeEntry, by Party) error {
	if p, ok := b.parties[n.Provider]; !ok || p.Role != RoleDepartment {
		return texts.Errorf("provider %q is not a department of the registry", safeName(n.Provider))
	}
	if by.Role == RoleDepartment && n.Provider != by.ID {
		return texts.Errorf("department %q lists its own data only; for that of %q the regulator signs", by.ID, n.Provider)
	}
	if n.Basis.ZH == "" {
		return texts.Errorf("basis.zh, the legal basis, is missing")
	}
	if err := errors.Join(checkText("basis.zh", n.Basis.ZH, maxNote), checkText("basis.en", n.Basis.EN, maxNote),
		checkText("title.zh", n.Title.ZH, maxLine), checkText("title.en", n.Title.EN, maxLine)); err != nil {
		return err
	}
	for _, c := range n.Columns {
		if utf8.RuneCountInString(c) > 63 || !columnPattern.MatchString(c) {
			return texts.Errorf("columns holds what is no column name")
		}
	}
	if n.Dataset == "" {
		return nil
	}
	if err := checkID("data set", n.Dataset); err != nil {
		return err
	}
	e, ok := b.datasets[n.Dataset]
	if !ok {
		return nil
	}
	if len(n.Columns) == 0 && e.Department != n.Provider {
		return texts.Errorf("data set %q belongs to department %q, not to the provider named", n.Dataset, e.Department)
	}
	for _, name := range n.Columns {
		if !slices.ContainsFunc(e.Dataset.Columns, func(c Column) bool { return c.Name == name }) {
			return texts.Errorf("data set %q has no column %q", n.Dataset, safeName(name))
		}
		if e.Department != n.Provider && e.SourceOf(name) != n.Provider {
			return texts.Errorf("column %q of data set %q is not the provider's", name, n.Dataset)
		}
	}
	return nil
}

// hits says whether an entry withholds a column, or with an empty column the data
// set as a whole.
func (n Negative) hits(e Entry, column string) bool {
	if n.Dataset != "" && n.Dataset != e.Dataset.ID {
		return false
	}
	switch {
	case column == "":
		return len(n.Columns) == 0 && n.Provider == e.Department
	case len(n.Columns) == 0:
		return n.Provider != e.Department && n.Provider == e.SourceOf(column)
	}
	// Two columns of a data set never differ by case alone, so this is not looser.
	named := slices.ContainsFunc(n.Columns, func(c string) bool { return strings.EqualFold(c, column) })
	return named && (n.Provider == e.Department || n.Provider == e.SourceOf(column))
}

// listed returns the first entry, by id, that withholds a column or a data set.
func (b *Book) listed(e Entry, column string) (Negative, bool) {
	for _, n := range b.NegativeList() {
		if n.hits(e, column) {
			return n, true
		}
	}
	return Negative{}, false
}

// Negative says whether the negative list withholds a column of a data set.
func (b *Book) Negative(dataset, column string) bool {
	e, ok := b.datasets[dataset]
	if !ok {
		return false
	}
	_, whole := b.listed(e, "")
	_, one := b.listed(e, column)
	return whole || one
}

// Withheld says why the data that a core uses may not be queried whatever is
// licensed: not shared (R03, R19), on the negative list (R21), or not registered
// (R11). It is asked before a job runs and again before it releases.
func (b *Book) Withheld(core algebra.Core, at time.Time) []Reason {
	var out []Reason
	for _, id := range core.Datasets() {
		e, ok := b.datasets[id]
		if !ok {
			continue // Decide refuses an unknown data set
		}
		if e.Dataset.Sharing.Class == ClassNone {
			out = append(out, *reasonf("DATASET_NOT_SHARED", "catalogue/"+id, e.Department, "数据集“%s”属不予共享类，只能核验、比对，不能查询", "data set %q is of the class that is not shared: it may be verified against, not queried", id).
				hint("请改用核验作业，或向数源部门申请调整共享属性", "use a verification job, or ask the department to change the class"))
		}
		if n, ok := b.listed(e, ""); ok {
			out = append(out, *negativeReason(n, "数据集“%s”在负面清单中（%s，依据：%s）", "data set %q is on the negative list (%s, basis: %s)", id))
		}
		if b.registrationRequired {
			if x := b.Registered(Target{TargetDataset, id}, at); x != nil {
				out = append(out, *x)
			}
		}
	}
	if len(b.negative) == 0 {
		return out
	}
	seen := map[string]bool{}
	for _, u := range Uses(core) {
		e, ok := b.datasets[u.Dataset]
		name := u.Dataset + "." + u.Column
		if !ok || seen[name] {
			continue
		}
		seen[name] = true
		if n, ok := b.listed(e, u.Column); ok {
			out = append(out, *negativeReason(n, "列“%s”在负面清单中（%s，依据：%s）", "column %q is on the negative list (%s, basis: %s)", safeName(name)))
		}
	}
	return out
}

// negativeReason names the entry and its legal basis, which its setter signed for
// everybody to read.
func negativeReason(n Negative, zh, en, what string) *Reason {
	r := &Reason{Code: "NEGATIVE_LIST", Rule: "negative-list/" + n.ID, SetBy: n.By,
		ZH: fmt.Sprintf(zh, what, n.ID, n.Basis.ZH), EN: fmt.Sprintf(en, what, n.ID, n.Basis.In("en"))}
	return r.hint("负面清单只能由设定单位移除", "only who set an entry may remove it")
}
