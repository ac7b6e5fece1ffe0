package policies

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/masking"
)

// variantPrefix starts the names of hidden columns. No catalogue column may bear it,
// so a name says by itself whether it is hidden.
const variantPrefix = "_m_"

// variantDigest is how many hexadecimal digits of a mask's digest end the name of its
// hidden column.
const variantDigest = 12

// maxVariants of one data set: their names stand in one ledger entry.
const maxVariants = 128

var variantPattern = regexp.MustCompile(fmt.Sprintf(`(?s)^%s(.+)_[0-9a-f]{%d}$`, variantPrefix, variantDigest))

// variantName is the stored name of a column under a mask that only some see: the
// same mask of the same column has the same name for every purpose and recipient, so
// what they ask of it is one question.
func variantName(column string, m Mask) string {
	text, err := json.Marshal(m)
	if err != nil {
		panic(fmt.Sprintf("policies: a mask does not marshal: %v", err))
	}
	sum := sha256.Sum256(append([]byte("sandgate/variant/v1\n"), text...))
	return variantPrefix + column + "_" + hex.EncodeToString(sum[:])[:variantDigest]
}

// BaseColumn returns the catalogue's name of a stored column: that of the column
// itself where the name is a hidden one's.
func BaseColumn(stored string) string {
	if !strings.HasPrefix(stored, variantPrefix) {
		return stored // most names, at every decision
	}
	if m := variantPattern.FindStringSubmatch(stored); m != nil {
		return m[1]
	}
	return stored
}

func reservedName(column string) bool {
	return strings.HasPrefix(strings.ToLower(column), variantPrefix)
}

// sights lists, each once, the strictest mask of every set of rules that can hold at
// once for a column, but for those that the stored mask already satisfies. The empty
// name stands for every purpose or operator that no rule names.
func (e Entry) sights(c Column) ([]Mask, error) {
	var purposes, recipients []string
	for _, r := range e.MaskRules {
		if r.on(e, c.Name) {
			purposes, recipients = append(purposes, r.Purposes...), append(recipients, r.Recipients...)
		}
	}
	if len(purposes) == 0 && len(recipients) == 0 {
		return nil, nil
	}
	stored := e.demands(c, "", "")[0].mask
	var out []Mask
	seen := map[string]bool{}
	for _, p := range unique(append(purposes, "")) {
		for _, o := range unique(append(recipients, "")) {
			best, err := strictest(c, e.demands(c, p, o))
			if err != nil {
				return nil, err
			}
			name := variantName(c.Name, best.mask)
			if !seen[name] && !atLeast(c, stored, best.mask) {
				seen[name] = true
				out = append(out, best.mask)
			}
		}
	}
	return out, nil
}

// Variants lists the hidden columns that the rules in force demand beside the stored
// ones, in catalogue order and then by name. A mask that drops the column has none:
// there is nothing to store.
func (e Entry) Variants() ([]StoredColumn, error) {
	if d := e.remembered(); d != nil {
		out, err := d.hidden()
		return slices.Clip(out), err
	}
	return e.variants()
}

func (e Entry) variants() ([]StoredColumn, error) {
	var out []StoredColumn
	for _, c := range e.Dataset.Columns {
		masks, err := e.sights(c)
		if err != nil {
			return nil, err
		}
		var of []StoredColumn
		for _, m := range masks {
			s, err := e.storedAs(c, m, variantName(c.Name, m))
			if err != nil {
				return nil, err
			}
			if !s.Drop {
				of = append(of, s)
			}
		}
		slices.SortFunc(of, func(a, b StoredColumn) int { return strings.Compare(a.Name, b.Name) })
		out = append(out, of...)
	}
	return out, nil
}

// VariantNames are the names of Variants in their order, nil for none. The entry
// must be checked.
func (e Entry) VariantNames() []string {
	all, err := e.Variants()
	if err != nil {
		panic(fmt.Sprintf("policies: the masks of a checked data set do not type: %v", err))
	}
	var out []string
	for _, v := range all {
		out = append(out, v.Name)
	}
	return out
}

// AllStored is Stored followed by Variants: every column that a query's canonical
// form may name.
func (e Entry) AllStored() ([]StoredColumn, error) {
	out, err := e.Stored()
	if err != nil {
		return nil, err
	}
	hidden, err := e.Variants()
	if len(hidden) == 0 {
		return out, err
	}
	return slices.Concat(out, hidden), err
}

// Sight is how a purpose and an operator see one catalogue column.
type Sight struct {
	Column string       // the catalogue's name, by which the operator names it
	Stored string       // the stored column it stands for
	Type   algebra.Type // of Stored
	Mask   Mask         // of Stored
	Rule   string       // the rule that demands more than the mask for everybody; empty: none does
	// Short says that Stored bears less than the rule demands: the column may be used
	// in forms only that are functions of the demand (MASK_RULE).
	Short bool
	Drop  bool // nothing is stored
}

// Sights returns how a purpose and an operator see every column, in catalogue order.
// The snapshot in force decides: a hidden column that it lacks is not seen.
func (e Entry) Sights(purpose, operator string) ([]Sight, error) {
	all, err := e.AllStored()
	if err != nil {
		return nil, err
	}
	return e.sightsOf(all, purpose, operator)
}

func (e Entry) sightsOf(all []StoredColumn, purpose, operator string) ([]Sight, error) {
	var out []Sight
	for _, s := range all[:len(e.Dataset.Columns)] {
		want, rule, err := e.Demanded(s.Name, purpose, operator)
		if err != nil {
			return nil, err
		}
		v := Sight{Column: s.Name, Stored: s.Name, Type: s.Type, Mask: s.Mask, Drop: s.Drop}
		if !s.Drop && !atLeast(s.Column, s.Mask, want) {
			v.Rule, v.Short = rule, true
			hidden := variantName(s.Name, want)
			if i := slices.IndexFunc(all, func(x StoredColumn) bool { return x.Name == hidden }); i >= 0 && slices.Contains(e.Held, hidden) {
				v.Stored, v.Type, v.Mask, v.Short = hidden, all[i].Type, all[i].Mask, false
			}
		}
		out = append(out, v)
	}
	return out, nil
}

// View is what a purpose and an operator may name of a data set, and what it stands
// for.
type View struct {
	Schema algebra.Schema
	Sights []Sight
	Stored algebra.Schema // Entry.Schema
}

// View returns the schema by which an operator's text is resolved under a purpose:
// the catalogue's names with the types of what he sees. Hidden columns have no name in
// it.
func (e Entry) View(purpose, operator string) (View, error) {
	all, err := e.AllStored()
	if err != nil {
		return View{}, err
	}
	sights, err := e.sightsOf(all, purpose, operator)
	if err != nil {
		return View{}, err
	}
	v := View{Schema: e.schema(), Sights: sights, Stored: e.schemaOf(all)}
	for _, s := range sights {
		if !s.Drop {
			v.Schema.Columns = append(v.Schema.Columns, algebra.SchemaColumn{Name: s.Column, Type: s.Type})
		}
	}
	return v, nil
}

// Remask names in a core that was resolved by views what its columns stand for. The
// error is a refusal: the parts of a union are seen under different masks.
func Remask(core algebra.Core, views []View) (algebra.Core, *Reason) {
	stored := map[string]map[string]string{}
	for _, v := range views {
		names := map[string]string{}
		for _, s := range v.Sights {
			names[s.Column] = s.Stored
		}
		stored[v.Schema.Dataset] = names
	}
	var refused *Reason
	name := func(t algebra.Table, column string) string {
		to := stored[t.Dataset][column]
		for _, p := range t.Parts {
			if stored[p][column] != to && refused == nil {
				refused = reasonf("MASK_UNION", "masking/"+p, "", "列“%s”在数据集“%s”和“%s”中对此用途和接收方按不同方法脱敏，不能合并", "column %q is seen under different masks in data sets %q and %q for this purpose and recipient; they cannot be united",
					column, t.Dataset, p).hint("请分别查询", "query them one by one")
			}
		}
		if to == "" {
			return column // no catalogue column: refused by name when decided
		}
		return to
	}
	out := core.Named(name)
	return out, refused
}

// decideStored says whether a stored column may be used under what a purpose and an
// operator are shown of it.
func (e Entry) decideStored(f ColumnForm, r Request) *Reason {
	base := BaseColumn(f.Column)
	i := slices.IndexFunc(e.Dataset.Columns, func(c Column) bool { return c.Name == base })
	if i < 0 {
		return nil // what does not exist is refused by decideDataset and decideColumn
	}
	c := e.Dataset.Columns[i]
	if f.Column == base {
		return e.decideForm(c, f, r)
	}
	hidden, err := e.Variants()
	at := slices.IndexFunc(hidden, func(s StoredColumn) bool { return s.Name == f.Column })
	if err != nil || at < 0 || !slices.Contains(e.Held, f.Column) {
		return reasonf("MASK_RULE", "masking/"+e.Dataset.ID, e.Department,
			"列“%s.%s”：现行快照中没有规则所要求的脱敏形式", "column %q.%q: the snapshot in force does not hold it under the mask that the rules demand", e.Dataset.ID, base).
			hint("请数源部门重新入库", "the department ingests the file again")
	}
	want, rule, err := e.Demanded(base, r.Purpose, r.Operator)
	if err == nil && atLeast(c, hidden[at].Mask, want) {
		return nil
	}
	return reasonf("MASK_RULE", "masking/"+e.Dataset.ID, e.Department,
		"列“%s.%s”：规则“%s”要求对此用途和接收方至少脱敏为 %s，查询所用为 %s", "column %q.%q: rule %q demands at least mask %s for this purpose and recipient, and the query uses %s",
		e.Dataset.ID, base, rule, want.Op, hidden[at].Mask.Op)
}

// again is the hint that a column of which a rule demands more than is stored can be
// used as it is seen once the file is ingested again; false when that would not help.
func (e Entry) again(c Column, want Mask) bool {
	name := variantName(c.Name, want)
	return want.Op != masking.OpDrop && slices.Contains(e.VariantNames(), name) && !slices.Contains(e.Held, name)
}
