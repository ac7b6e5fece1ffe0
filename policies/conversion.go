package policies

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sandgate/sandgate/masking/risk"
)

// KindConversion is the record of a masked data set moving to a wider sharing
// class, by department and regulator (R20).
const KindConversion Kind = "Conversion"

// SharingModel 共享模型 is to whom a masked data set goes: enclave, controlled or
// public.
type SharingModel = risk.Model

// Conversion 转换记录 moves a masked data set to a wider sharing model. It rests on
// the latest assessment of the snapshot in force, which must be for that model and
// within its thresholds.
type Conversion struct {
	Dataset    string       `yaml:"dataset" json:"dataset"`
	From       SharingModel `yaml:"from" json:"from"` // the model so far: enclave or controlled
	To         SharingModel `yaml:"to" json:"to"`     // wider: controlled or public
	Assessment string       `yaml:"assessment" json:"assessment"`
	Basis      Text         `yaml:"basis" json:"basis"` // legal basis; zh is required
}

// Assessment is what the ledger holds of a risk assessment of a snapshot.
type Assessment struct {
	ID      string // risk-{ledger entry}
	Dataset string
	Spec    string // Entry.SpecDigest under which the snapshot was taken
	Model   SharingModel
	Within  bool
}

// Assessed returns the latest assessment of a data set's snapshot in force.
func (b *Book) Assessed(dataset string) (Assessment, bool) {
	a, ok := b.assessed[dataset]
	return a, ok
}

// WithAssessment returns the book with the latest assessment of a data set's
// snapshot in force, leaving b unchanged. The ledger's state calls it.
func (b *Book) WithAssessment(a Assessment) *Book {
	next := b.clone()
	next.assessed[a.Dataset] = a
	return next
}

// WithSnapshot returns the book after a data set got a new snapshot: what was
// assessed is no longer what is in force, and variants are the hidden columns there
// are now.
func (b *Book) WithSnapshot(dataset string, variants []string) *Book {
	e := b.datasets[dataset]
	if _, ok := b.assessed[dataset]; !ok && len(variants) == 0 && len(e.Held) == 0 {
		return b
	}
	next := b.clone()
	delete(next.assessed, dataset)
	e.Held = slices.Clone(variants)
	next.datasets[dataset] = e
	return next.settle()
}

// Conversions returns the conversions of a data set in the order they took effect.
func (b *Book) Conversions(dataset string) []Conversion {
	return slices.Clone(b.conversions[dataset])
}

func cloneConversions(m map[string][]Conversion) map[string][]Conversion {
	out := maps.Clone(m)
	for k, v := range out {
		out[k] = slices.Clone(v)
	}
	return out
}

func (b *Book) putConversion(c Conversion, a act) error {
	e, ok := b.datasets[c.Dataset]
	if !ok {
		return fmt.Errorf("data set %q is not in the catalogue", safeName(c.Dataset))
	}
	if !a.signers[e.Department] || !a.signers[b.root] {
		return fmt.Errorf("data set %q: a conversion needs the signatures of department %q and of the regulator", c.Dataset, e.Department)
	}
	wider := []SharingModel{risk.Enclave, risk.Controlled, risk.Public}
	from, to := slices.Index(wider, c.From), slices.Index(wider, c.To)
	if from < 0 || to < 0 || to <= from {
		return errors.New("from and to must be sharing models, to the wider one: enclave, controlled, public")
	}
	if done := b.conversions[c.Dataset]; len(done) > 0 && done[len(done)-1].To != c.From {
		return fmt.Errorf("data set %q was converted to %s last, not to %s", c.Dataset, done[len(done)-1].To, c.From)
	}
	if strings.TrimSpace(c.Basis.ZH) == "" {
		return errors.New("basis.zh, the legal basis, is missing")
	}
	latest, ok := b.assessed[c.Dataset]
	switch {
	case !ok:
		return fmt.Errorf("data set %q: its snapshot in force has no risk assessment; run sandgate risk assess %s first", c.Dataset, c.Dataset)
	case latest.ID != c.Assessment:
		return fmt.Errorf("assessment %q is not the latest of data set %q, which is %q", safeName(c.Assessment), c.Dataset, latest.ID)
	case latest.Spec != e.SpecDigest():
		return fmt.Errorf("data set %q: catalogue or masks changed since assessment %q; ingest and assess again", c.Dataset, latest.ID)
	case latest.Model != c.To:
		return fmt.Errorf("assessment %q is for model %s; to move to %s assess for that", latest.ID, latest.Model, c.To)
	case !latest.Within:
		return fmt.Errorf("assessment %q is above the thresholds of model %s; coarsen the masks, ingest and assess again", latest.ID, c.To)
	}
	b.conversions[c.Dataset] = append(slices.Clone(b.conversions[c.Dataset]), c)
	return nil
}
