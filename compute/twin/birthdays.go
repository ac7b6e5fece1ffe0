package twin

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/masking"
	"github.com/sandgate/sandgate/policies"
)

// births are names of a column that says when somebody was born, as catalogues spell them.
var births = []string{"birth_date", "birthdate", "date_of_birth", "birthday", "dob", "born", "birth_year", "year_of_birth", "csrq", "出生日期", "出生年月", "出生年月日", "出生年份", "出生年"}

// birthColumn is the place of the column that says when a person was born, a date or a
// year; −1 where none does.
func birthColumn(columns []Column) int {
	return slices.IndexFunc(columns, func(c Column) bool {
		return (c.Type == algebra.Date || c.Type == algebra.Int) && slices.Contains(births, strings.ToLower(c.Column))
	})
}

// birth is when a synthetic person was born, as far as a row of theirs tells.
type birth struct {
	value int64
	of    algebra.Kind // Date, or Int for a year; no other tells anything
}

// bornIn is what a row tells of its person's birth.
func bornIn(columns []Column, at int, row *model.Column, r int) birth {
	if row.Null != nil && row.Null[r] {
		return birth{}
	}
	return birth{row.Ints[r], columns[at].Type}
}

// citizenBorn is citizenID of somebody whose birth is known: the same region and check,
// the day of birth, and what is not known of it by chance. False for a birth that no such
// number can hold.
func citizenBorn(b birth, rnd *stream) (string, bool) {
	month, day, order := 1+rnd.below(12), 1+rnd.below(28), 1+rnd.below(999)
	date := ""
	switch {
	case b.of == algebra.Date && b.value > -100_000 && b.value < 100_000:
		date = strings.ReplaceAll(algebra.FormatDate(b.value), "-", "")
	case b.of == algebra.Int && b.value >= 1000 && b.value <= 9999:
		date = fmt.Sprintf("%d%02d%02d", b.value, month, day)
	}
	first := fmt.Sprintf("%s%s%03d", ReservedRegion, date, order)
	if len(first) != 17 {
		return "", false
	}
	id := first + string(masking.CitizenIDCheck(first))
	return id, masking.CitizenID(id) == masking.OK
}

// makesCitizens says whether a twin makes up identity numbers.
func (t *Twin) makesCitizens() bool {
	return slices.ContainsFunc(t.Generated, func(g Generated) bool { return g.Kind == policies.IdentCitizen })
}

// firstBirth draws the first row that a unit has in a table that tells when people were
// born. Its identity number is the same in all tables, so that it follows from this one.
func (l *Linked) firstBirth(table int, number uint64) birth {
	all := make([]*work, len(l.tables))
	for i, t := range l.tables {
		all[i] = t.sampler.work()
	}
	x := &l.tables[table]
	rnd, ok := l.begin(table, number, all)
	if !ok {
		return birth{}
	}
	out := x.sampler.rows(1)
	// Its names are of no use here, and would ask for its birth again.
	bare := *x.sampler
	bare.unnamed = true
	bare.add(&out, number, &rnd, all[table], func() { x.again(&rnd, all[table]) })
	return bornIn(x.sampler.t.Columns, x.sampler.birth, &out.Columns[x.sampler.birth], 0)
}

// tellBirths has all tables that make up identity numbers take the birth from the first
// table that knows it; that one tells it of the row it draws.
func (l *Linked) tellBirths() {
	knows := slices.IndexFunc(l.tables, func(t linkedTable) bool { return t.sampler.birth >= 0 })
	if knows < 0 {
		return
	}
	for i, t := range l.tables {
		if i != knows && t.sampler.t.makesCitizens() {
			t.sampler.born = func(number uint64) birth { return l.firstBirth(knows, number) }
		}
	}
}
