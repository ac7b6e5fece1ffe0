package policies

import (
	"reflect"
	"sync"
	"unsafe"
)

// derived remembers what follows from one entry of a book alone, since a replay asks
// for it at every entry of the ledger. It belongs to one entry as it stood when its
// book was settled: whoever changes a copy of the entry gets it computed anew.
type derived struct {
	of      inputs
	stored  func() ([]StoredColumn, error)
	hidden  func() ([]StoredColumn, error)
	digest  func() string
	further sync.Map // name → *once
}

type once struct {
	do    sync.Once
	value any
	err   error
}

// inputs tells an entry from one of which a field was replaced.
type inputs struct {
	id, department, consent       string
	public, oneRow, masked        bool
	badRows                       BadRows
	unit                          *Unit
	rule                          *DisclosureRule
	levels, masks                 uintptr
	columns                       *Column
	unique, held                  *string
	rules                         *MaskRule
	nColumns, nUnique, nHeld, nMR int
}

func (e Entry) inputs() inputs {
	return inputs{
		id: e.Dataset.ID, department: e.Department, consent: e.Dataset.Consent, public: e.Dataset.Public, oneRow: e.Dataset.OneRow, masked: e.Masked,
		badRows: e.Dataset.BadRows, unit: e.Dataset.Unit, rule: e.Rule,
		levels: reflect.ValueOf(e.Levels).Pointer(), masks: reflect.ValueOf(e.Masks).Pointer(),
		columns: unsafe.SliceData(e.Dataset.Columns), unique: unsafe.SliceData(e.Dataset.Unique), held: unsafe.SliceData(e.Held), rules: unsafe.SliceData(e.MaskRules),
		nColumns: len(e.Dataset.Columns), nUnique: len(e.Dataset.Unique), nHeld: len(e.Held), nMR: len(e.MaskRules),
	}
}

// remembered is the entry's memory, nil when there is none or it is of another entry.
func (e Entry) remembered() *derived {
	if e.derived == nil || e.derived.of != e.inputs() {
		return nil
	}
	return e.derived
}

// settle gives every entry of a finished book its memory. A book is not changed
// afterwards.
func (b *Book) settle() *Book {
	for id, e := range b.datasets {
		if e.remembered() != nil {
			continue
		}
		e.derived = nil
		bare := e
		d := &derived{of: e.inputs(), stored: sync.OnceValues(bare.stored), hidden: sync.OnceValues(bare.variants), digest: sync.OnceValue(bare.specDigest)}
		e.derived = d
		b.datasets[id] = e
	}
	return b
}

// Derive returns what make computes from the entry alone, and of an entry of a book
// computes it once. name tells one computation from another; whoever is given the
// value must not change it.
func (e Entry) Derive(name string, make func() (any, error)) (any, error) {
	d := e.remembered()
	if d == nil {
		return make()
	}
	x, _ := d.further.LoadOrStore(name, &once{})
	o := x.(*once)
	o.do.Do(func() { o.value, o.err = make() })
	return o.value, o.err
}
