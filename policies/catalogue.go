package policies

import (
	"errors"
	"iter"
	"reflect"
	"slices"
	"unicode"
	"unicode/utf8"

	"github.com/sandgate/sandgate/masking"
)

// Format is what a data set is kept as 数据格式 (R15).
type Format string

// Formats lists the known formats in the order in which forms offer them.
var Formats = []Format{"database", "csv", "xlsx", "json", "xml", "parquet", "api", "spatial", "document", "image", "other"}

// Provider 提供单位 of a data set: its name and its 统一社会信用代码 (GB 32100), whose
// check character must hold.
type Provider struct {
	Name Text   `yaml:"name,omitempty" json:"name,omitzero"`
	Code string `yaml:"code,omitempty" json:"code,omitempty"`
}

// Class of sharing 共享属性 or opening 开放属性 (R19), from the loosest on.
type Class string

const (
	ClassUnconditional Class = "unconditional" // 无条件
	ClassConditional   Class = "conditional"   // 有条件
	ClassNone          Class = "none"          // 不予
)

// Classes from the loosest to the tightest.
var Classes = []Class{ClassUnconditional, ClassConditional, ClassNone}

// Access is the class under which others get a data set. The last two classes need
// a legal basis, the second its condition.
type Access struct {
	Class     Class  `yaml:"class,omitempty" json:"class,omitempty"`
	Condition Text   `yaml:"condition,omitempty" json:"condition,omitzero"`
	Basis     string `yaml:"basis,omitempty" json:"basis,omitempty"`
}

// SharingMethod is a way in which a data set is shared 共享方式.
type SharingMethod string

// SharingMethods lists the known ways in the order in which forms offer them.
var SharingMethods = []SharingMethod{"query", "verify", "batch", "api", "file"}

// OperationStatus is where a data set stands in authorised operation 授权运营状态.
type OperationStatus string

// OperationStatuses lists the known ones: not authorised, about to be, authorised.
var OperationStatuses = []OperationStatus{"none", "planned", "authorised"}

// Operation says whether a data set is in authorised operation, and for which
// scenarios 应用场景.
type Operation struct {
	Status   OperationStatus `yaml:"status,omitempty" json:"status,omitempty"`
	Scenario Text            `yaml:"scenario,omitempty" json:"scenario,omitzero"`
}

// UpdateFrequencies are the usual words of 更新周期. A catalogue may use others,
// which lint points out.
var UpdateFrequencies = []string{"实时", "每日", "每周", "每月", "每季度", "每半年", "每年", "不定期", "不更新"}

const (
	maxLine = 200  // characters of a one-line field
	maxNote = 4000 // characters of a text of several lines
)

// checkText holds a descriptive field to a length and to characters that show. A
// control character, or one that turns the reading direction, makes a person read
// something else than what is signed.
func checkText(what, s string, limit int) error {
	if utf8.RuneCountInString(s) > limit {
		return texts.Errorf("%s is longer than %d characters", what, limit)
	}
	for _, c := range s {
		if Unprintable(c) && !(c == '\n' && limit == maxNote) {
			return texts.Errorf("%s holds a control character", what)
		}
	}
	return nil
}

// Unprintable says whether a character steers the display instead of showing:
// control characters and those that change the reading direction.
func Unprintable(c rune) bool {
	return unicode.IsControl(c) || c >= 0x202a && c <= 0x202e || c >= 0x2066 && c <= 0x2069 || c == utf8.RuneError
}

func oneOf[T ~string](what string, v T, known []T) error {
	if v == "" || slices.Contains(known, v) {
		return nil
	}
	return texts.Errorf("unknown %s %q; known: %v", what, safeName(string(v)), known)
}

// checkDescription holds what a data set says about itself to its form (R15, R19).
func checkDescription(d Dataset) error {
	for _, f := range []struct {
		name, text string
		limit      int
	}{
		{"provider.name.zh", d.Provider.Name.ZH, maxLine}, {"provider.name.en", d.Provider.Name.EN, maxLine},
		{"sharing.condition.zh", d.Sharing.Condition.ZH, maxNote}, {"sharing.condition.en", d.Sharing.Condition.EN, maxNote},
		{"sharing.basis", d.Sharing.Basis, maxNote}, {"opening.basis", d.Opening.Basis, maxNote},
		{"opening.condition.zh", d.Opening.Condition.ZH, maxNote}, {"opening.condition.en", d.Opening.Condition.EN, maxNote},
		{"operation.scenario.zh", d.Operation.Scenario.ZH, maxNote}, {"operation.scenario.en", d.Operation.Scenario.EN, maxNote},
	} {
		if err := checkText(f.name, f.text, f.limit); err != nil {
			return err
		}
	}
	if code := d.Provider.Code; code != "" && masking.CreditCode(code) != masking.OK {
		return texts.Errorf("provider.code is not a 统一社会信用代码 (GB 32100): 18 characters, the last of which checks the others")
	}
	if err := errors.Join(oneOf("format", d.Format, Formats), oneOf("operation.status", d.Operation.Status, OperationStatuses)); err != nil {
		return err
	}
	seen := map[SharingMethod]bool{}
	for _, m := range d.SharingMethods {
		if err := oneOf("sharing method", m, SharingMethods); err != nil || m == "" || seen[m] {
			return errors.Join(err, texts.Errorf("sharing_methods must be known and not repeat"))
		}
		seen[m] = true
	}
	for name, a := range map[string]Access{"sharing": d.Sharing, "opening": d.Opening} {
		if err := checkAccess(a); err != nil {
			return texts.Errorf("%s: %w", name, err)
		}
	}
	if d.Sharing.Class == ClassNone && len(d.SharingMethods) > 0 && !slices.Equal(d.SharingMethods, []SharingMethod{"verify"}) {
		return texts.Errorf("data that is not shared may only be verified: sharing_methods must be [verify] or absent")
	}
	return nil
}

func checkAccess(a Access) error {
	if err := oneOf("class", a.Class, Classes); err != nil {
		return err
	}
	switch {
	case a.Class == "" && a != Access{}:
		return texts.Errorf("class is missing beside its condition or basis")
	case a.Class == ClassConditional && a.Condition.ZH == "":
		return texts.Errorf("class conditional needs condition.zh")
	case (a.Class == ClassConditional || a.Class == ClassNone) && a.Basis == "":
		return texts.Errorf("class %s needs its legal basis (basis)", a.Class)
	}
	return nil
}

func checkColumnDescription(c Column) error {
	if c.Source != "" {
		if err := checkID("source department", c.Source); err != nil {
			return err
		}
	}
	return errors.Join(checkText("element", c.Element, maxLine), checkText("element_type", c.ElementType, maxLine), checkText("basis", c.Basis, maxNote))
}

// CheckCatalogue checks a catalogue's form, apart from any book: what Apply would
// refuse whoever signs it.
func CheckCatalogue(c Catalogue) error {
	if err := checkID("department", c.Department); err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, d := range c.Datasets {
		if seen[d.ID] {
			return texts.Errorf("data set %q stands twice", safeName(d.ID))
		}
		seen[d.ID] = true
		if err := checkDataset(d); err != nil {
			return withoutNumbers(texts.Errorf("data set %q: %w", safeName(d.ID), err))
		}
	}
	return nil
}

// checkEntry checks a catalogue entry against the registry and the entry in force:
// classes (R19) and the sources of columns (R17).
func (b *Book) checkEntry(department string, old Entry, exists bool, d Dataset, signers map[string]bool) error {
	reclassified := false
	for _, c := range []struct {
		name     string
		was, now Class
	}{{"sharing", old.Dataset.Sharing.Class, d.Sharing.Class}, {"opening", old.Dataset.Opening.Class, d.Opening.Class}} {
		reclassified = reclassified || c.was != c.now
		if !exists || c.was == "" || c.was == c.now {
			continue // the first classification is the department's
		}
		if c.now == "" {
			return texts.Errorf("%s.class was %s and cannot be left out: state a class", c.name, c.was)
		}
		if slices.Index(Classes, c.now) > slices.Index(Classes, c.was) && !signers[b.root] {
			return texts.Errorf("%s.class is tightened from %s to %s, which the regulator %q reviews: its signature on the same bundle is missing", c.name, c.was, c.now, b.root)
		}
	}
	for _, c := range d.Columns {
		if c.Source == "" || c.Source == department {
			continue
		}
		if p, ok := b.parties[c.Source]; !ok || p.Role != RoleDepartment {
			return texts.Errorf("column %q: source department %q is not in the registry", c.Name, safeName(c.Source))
		}
		// Consent covers the column as it was shown and the classes under which it
		// goes on; a corrected abstract does not ask for it again.
		i := slices.IndexFunc(old.Dataset.Columns, func(was Column) bool { return was.Name == c.Name })
		if i >= 0 && !reclassified && sameColumn(old.Dataset.Columns[i], c) {
			continue
		}
		if !signers[c.Source] {
			return texts.Errorf("column %q comes from department %q, whose signature on the bundle, its consent, is missing", c.Name, c.Source)
		}
	}
	return nil
}

// sourcesSigned checks that every department that is the source of a named column
// signed: nobody else sets the policy of its columns (R17).
func (e Entry) sourcesSigned(signers map[string]bool, columns iter.Seq[string]) error {
	for name := range columns {
		if s := e.SourceOf(name); s != e.Department && !signers[s] {
			return texts.Errorf("column %q comes from department %q, whose signature is missing", safeName(name), s)
		}
	}
	return nil
}

// SourceOf is the department that answers for a column (R17).
func (e Entry) SourceOf(column string) string {
	for _, c := range e.Dataset.Columns {
		if c.Name == column && c.Source != "" {
			return c.Source
		}
	}
	return e.Department
}

// checkOffered holds a licence to what may be licensed: nothing on the negative
// list (R21), and no column without its source's signature (R13, R17).
func (b *Book) checkOffered(l Licence, signers map[string]bool) error {
	for _, r := range l.Resources {
		e := b.datasets[r.Dataset]
		if n, ok := b.listed(e, ""); ok {
			return texts.Errorf("data set %q is on the negative list (entry %q, set by %q, basis: %s)", r.Dataset, n.ID, n.By, n.Basis.ZH)
		}
		for _, name := range r.Columns {
			if n, ok := b.listed(e, name); ok {
				return texts.Errorf("column %q.%q is on the negative list (entry %q, set by %q, basis: %s)", r.Dataset, name, n.ID, n.By, n.Basis.ZH)
			}
		}
		if err := e.sourcesSigned(signers, slices.Values(r.Columns)); err != nil {
			return texts.Errorf("data set %q: %w", r.Dataset, err)
		}
	}
	return nil
}

func sameColumn(a, b Column) bool { return reflect.DeepEqual(a, b) }
