package gateway

import (
	"fmt"
	"slices"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/analyse"
	"github.com/sandgate/sandgate/compute/engine/ingest"
	"github.com/sandgate/sandgate/policies"
)

// ingestVariants are the hidden columns of a data set as ingest wants them.
func ingestVariants(e policies.Entry) ([]ingest.Variant, error) {
	all, err := e.Variants()
	if err != nil {
		return nil, err
	}
	var out []ingest.Variant
	for _, v := range all {
		out = append(out, ingest.Variant{Name: v.Name, Of: v.Column.Name, Mask: *ingestMask(v.Column, v.Mask)})
	}
	return out, nil
}

// seen is the whole catalogue, which is public, as a purpose and an operator may name
// it; what of it may be used is decided after.
type seen struct {
	views  []policies.View
	plain  []policies.View  // without rules for some; nil when that makes no difference
	stored []algebra.Schema // parallel to views, by what is stored
}

// seenBy looks at a book; call it in a view of the state.
func seenBy(b *policies.Book, purpose, operator string) (seen, error) {
	var s seen
	other := false
	for _, id := range b.Datasets() {
		e, _ := b.Dataset(id)
		v, err := e.View(purpose, operator)
		if err != nil {
			return s, err
		}
		plain := v
		if slices.ContainsFunc(v.Sights, func(x policies.Sight) bool { return x.Stored != x.Column }) {
			other, e.MaskRules = true, nil
			if plain, err = e.View(purpose, operator); err != nil {
				return s, err
			}
		}
		s.views, s.plain, s.stored = append(s.views, v), append(s.plain, plain), append(s.stored, v.Stored)
	}
	if !other {
		s.plain = nil
	}
	return s, nil
}

// read resolves a text by what its operator sees and names in the core what that
// stands for. A canonical form therefore differs where two purposes see a column
// under different masks, and is one where they see the same. A text that does not fit
// what he sees is read by what is stored for everybody, so that year(c) stays what it
// was and anything finer is refused by the rule's name: what it uses is decided all
// the same.
func (s seen) read(ast []byte, sql string, parameters []string) (algebra.Query, analyse.Parts, *policies.Reason) {
	q, parts, r := readBy(s.views, ast, sql, parameters)
	if r == nil || s.plain == nil {
		return q, parts, r
	}
	if p, of, x := readBy(s.plain, ast, sql, parameters); x == nil {
		return p, of, nil
	}
	return q, parts, r
}

func readBy(views []policies.View, ast []byte, sql string, parameters []string) (algebra.Query, analyse.Parts, *policies.Reason) {
	var schemas []algebra.Schema
	for _, v := range views {
		schemas = append(schemas, v.Schema)
	}
	q, parts, r := analyse.Read(ast, sql, schemas, parameters)
	if r != nil || parts.Core == nil {
		return q, parts, r
	}
	q.Core, r = policies.Remask(q.Core, views)
	return q, parts, r
}

// sightLines say under which mask an operator sees the columns of a core that a rule
// for some masks further; they stand among the steps of an explanation.
func sightLines(b *policies.Book, core *algebra.Core, purpose, operator string) (zh, en []string) {
	if core == nil {
		return nil, nil
	}
	done := map[policies.ColumnName]bool{}
	for _, f := range policies.Forms(*core) {
		name := policies.ColumnName{Dataset: f.Dataset, Column: policies.BaseColumn(f.Column)}
		e, _ := b.Dataset(f.Dataset)
		if done[name] || len(e.MaskRules) == 0 {
			continue
		}
		done[name] = true
		sights, err := e.Sights(purpose, operator)
		i := slices.IndexFunc(sights, func(s policies.Sight) bool { return s.Column == name.Column })
		if err != nil || i < 0 || sights[i].Rule == "" {
			continue
		}
		s := sights[i]
		if f.Column == s.Stored && !s.Short {
			zh = append(zh, fmt.Sprintf("列 %s 按规则“%s”以脱敏方法 %s 可见，类型 %s", name, s.Rule, s.Mask.Op, s.Type.Kind))
			en = append(en, fmt.Sprintf("column %s is seen under mask %s by rule %q, type %s", name, s.Mask.Op, s.Rule, s.Type.Kind))
			continue
		}
		want, _, _ := e.Demanded(s.Column, purpose, operator)
		zh = append(zh, fmt.Sprintf("列 %s 按规则“%s”只以不比 %s 更细的形式使用", name, s.Rule, want.Op))
		en = append(en, fmt.Sprintf("column %s is used only in forms no finer than mask %s, by rule %q", name, want.Op, s.Rule))
	}
	return zh, en
}
