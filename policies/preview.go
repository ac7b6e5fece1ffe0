package policies

import (
	"fmt"
	"math/big"
	"slices"
	"strconv"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/masking"
)

// PreviewEntry puts together what the documents of one bundle say of a data set:
// its catalogue entry, its levels and its masks, checked as when they are applied
// but for signatures and for the names of purposes and recipients, which stand in
// the registry. It grants nothing: an entry of a Book comes from Apply alone.
func PreviewEntry(docs []Document, dataset string) (Entry, error) {
	var e Entry
	for _, d := range docs {
		if d.Catalogue == nil {
			continue
		}
		if i := slices.IndexFunc(d.Catalogue.Datasets, func(x Dataset) bool { return x.ID == dataset }); i >= 0 {
			e = Entry{Dataset: d.Catalogue.Datasets[i], Department: d.Catalogue.Department}
		}
	}
	if e.Dataset.ID == "" {
		return e, texts.Errorf("the bundle has no Catalogue with data set %q", safeName(dataset))
	}
	if err := checkDataset(e.Dataset); err != nil {
		return e, texts.Errorf("data set %q: %w", safeName(dataset), err)
	}
	for _, d := range docs {
		if d.Grading == nil || d.Grading.Levels[dataset] == nil {
			continue
		}
		levels, err := levelsIn(docs, *d.Grading, dataset)
		if err == nil {
			err = checkLevels(e.Dataset, levels)
		}
		if err != nil {
			return e, texts.Errorf("Grading: %w", err)
		}
		e.Levels = levels
	}
	for _, d := range docs {
		if d.Masking == nil {
			continue
		}
		rules := d.Masking.rulesOf(dataset)
		if _, named := d.Masking.Masks[dataset]; !named && len(rules) == 0 {
			continue
		}
		if err := masksOf(&e, d.Masking.Masks[dataset], rules); err != nil {
			return e, texts.Errorf("Masking: %w", err)
		}
	}
	if !e.Masked && !e.Dataset.Public {
		return e, texts.Errorf("the bundle has no Masking of the data set")
	}
	for _, d := range docs {
		if d.Disclosure == nil {
			continue
		}
		if rule, ok := d.Disclosure.Datasets[dataset]; ok {
			e.Rule = &rule
		}
	}
	// What a query would meet once the file is ingested under the bundle.
	e.Held = e.VariantNames()
	return e, nil
}

// rulesOf returns the rules about a data set, each with an id.
func (m Masking) rulesOf(dataset string) []MaskRule {
	var out []MaskRule
	for i, r := range m.Rules {
		if r.ID == "" {
			r.ID = "#" + strconv.Itoa(i+1)
		}
		if r.Dataset == dataset {
			out = append(out, r)
		}
	}
	return out
}

// Effect is what a mask makes of one synthetic value.
type Effect struct {
	Before string
	After  string
	Null   bool // NULL is stored
}

// ColumnPreview is one column of a preview.
type ColumnPreview struct {
	Column string
	// Unit marks the unit column, which is replaced by its token and has no effects.
	Unit     bool
	Stored   Mask
	Demanded Mask   // what the purpose and the operator see at most; Stored or stricter
	Rule     string // the rule behind Demanded; empty when it is the stored mask
	Drop     bool   // under Demanded
	Effects  []Effect
	// Type is what a query under the purpose and the operator resolves the column to.
	Type algebra.Type
	// Refused says why no query under them can use the column; nil when one can.
	Refused *Reason
}

// previewKey makes pseudonyms of synthetic values only.
var previewKey = []byte("preview of synthetic values, no secret")

// Preview shows what a purpose and an operator would see of a data set's columns on
// n synthetic rows. No value comes from data: numbers and dates are drawn across
// the registered bounds, codes from the code list, identifiers are valid ones in
// area 990101, which does not exist. It is what a query meets once the file is
// ingested under the rules of the entry (Sights). The same entry gives the same preview.
func (e Entry) Preview(purpose, operator string, n int) ([]ColumnPreview, error) {
	stored, err := e.Stored()
	if err != nil {
		return nil, err
	}
	sights, err := e.Sights(purpose, operator)
	if err != nil {
		return nil, err
	}
	var out []ColumnPreview
	for i, s := range stored {
		c := s.Column
		p := ColumnPreview{Column: c.Name, Stored: s.Mask, Unit: e.Dataset.Unit != nil && e.Dataset.Unit.Column == c.Name}
		if p.Demanded, p.Rule, err = e.Demanded(c.Name, purpose, operator); err != nil {
			return nil, err
		}
		p.Type, p.Refused = sights[i].Type, e.refusedSight(sights[i], purpose, operator)
		if !p.Unit {
			params := MaskParams(c, p.Demanded, previewKey)
			if _, p.Drop, err = masking.OutType(p.Demanded.Op, params); err != nil {
				return nil, texts.Errorf("column %q: %w", c.Name, err)
			}
			if masking.Perturbs(p.Demanded.Op) {
				var before []string
				for i := range n {
					before = append(before, synthetic(c, p.Stored.Op, i, n))
				}
				if p.Effects, err = perturbedEffects(c, p.Demanded, before); err != nil {
					return nil, texts.Errorf("column %q: %w", c.Name, err)
				}
				out = append(out, p)
				continue
			}
			op, err := masking.New(p.Demanded.Op, params)
			if err != nil {
				return nil, texts.Errorf("column %q: %w", c.Name, err)
			}
			for i := range n {
				before := synthetic(c, p.Stored.Op, i, n)
				after, null := op.Apply(before)
				p.Effects = append(p.Effects, Effect{before, after, null})
			}
		}
		out = append(out, p)
	}
	return out, nil
}

// refusedSight is why no query can use a column, as far as the entry tells; use by
// use, where the disclosure rule is known.
func (e Entry) refusedSight(s Sight, purpose, operator string) *Reason {
	refuse := func(code, zh, en string) *Reason {
		return &Reason{Code: code, Rule: "catalogue/" + e.Dataset.ID, SetBy: e.Department, ZH: zh, EN: en}
	}
	switch {
	case e.isUnit(s.Column):
		return nil // counted, never named otherwise
	case s.Drop:
		return refuse("NOT_STORED", "不入库", "it is not stored")
	case s.Short:
		i := slices.IndexFunc(e.Dataset.Columns, func(c Column) bool { return c.Name == s.Column })
		return e.decideForm(e.Dataset.Columns[i], ColumnForm{Dataset: e.Dataset.ID, Column: s.Column}, Request{Purpose: purpose, Operator: operator})
	case e.Rule == nil:
		return nil
	case len(e.Rule.Uses[s.Column]) == 0:
		return refuse("USE_NOT_ALLOWED", "披露规则未允许任何用法", "the disclosure rule allows no use")
	case purpose != "" && !slices.Contains(e.Rule.Purposes, purpose):
		return refuse("PURPOSE_NOT_ALLOWED", "披露规则未允许此用途", "the disclosure rule does not allow the purpose")
	}
	return nil
}

// synthetic is the i-th of n made-up values of a column.
func synthetic(c Column, op string, i, n int) string {
	if len(c.Codes) > 0 {
		return c.Codes[i*len(c.Codes)/n].Value
	}
	switch c.Type {
	case algebra.Bool:
		return strconv.FormatBool(i%2 == 0)
	case algebra.Int, algebra.Decimal, algebra.Date:
		lo, hi := int64(0), int64(20000)
		if c.Bounds != nil {
			if b, err := ParseBounds(c); err == nil {
				lo, hi = b[0], b[1]
			}
		}
		// Not the bounds themselves: most masks leave those as they are.
		at := lo + (hi-lo)/int64(2*n)*int64(2*i+1)
		if c.Type == algebra.Date {
			return algebra.FormatDate(at)
		}
		return algebra.FormatDecimal(big.NewInt(at), c.Scale)
	}
	kind := c.Identifier
	if kind == "" {
		kind = shapeOf[op]
	}
	return syntheticText(kind, i)
}

// shapeOf says which identifier an operator reads.
var shapeOf = map[string]IdentifierKind{
	masking.OpName: IdentName, masking.OpID: IdentCitizen, masking.OpPhone: IdentPhone, masking.OpCard: IdentCard,
	masking.OpAddress: IdentAddress, masking.OpEmailDomain: IdentEmail, masking.OpPlate: IdentPlate, masking.OpArea: "area",
}

func syntheticText(kind IdentifierKind, i int) string {
	switch kind {
	case IdentCitizen:
		s := fmt.Sprintf("990101%04d%02d%02d%03d", 1950+i*17%60, 1+i*5%12, 1+i*11%28, 100+i*37%800)
		return s + string(masking.CitizenIDCheck(s))
	case IdentCredit:
		s := fmt.Sprintf("91990101MA%07d", 1000+i*731)
		return s + string(masking.CreditCodeCheck(s))
	case IdentPhone:
		return fmt.Sprintf("199%08d", i*1237)
	case IdentName:
		return []string{"张样例", "欧阳虚构", "阿依样例·虚构", "李示"}[i%4]
	case IdentCard:
		for check := range 10 { // Luhn
			if s := fmt.Sprintf("990101%09d%d", 1000+i*7919, check); masking.BankCard(s) == masking.OK {
				return s
			}
		}
	case IdentAddress:
		return []string{"黑龙江省虚构市样例区一号路1号", "北京市样例区二号街2号", "内蒙古自治区虚构盟样例旗三号院"}[i%3]
	case IdentEmail:
		return fmt.Sprintf("user%d@example.cn", i+1)
	case IdentPlate:
		return fmt.Sprintf("黑Z%05d", 10001+i)
	case "area":
		return []string{"990101", "990102", "990201"}[i%3]
	}
	return fmt.Sprintf("样例%d", i+1)
}
