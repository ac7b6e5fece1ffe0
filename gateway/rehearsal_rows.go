package gateway

import (
	"bufio"
	"encoding/csv"
	"fmt"
	"io"
	"math/bits"
	"slices"
	"strconv"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/engine/ingest"
	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/compute/twin"
	"github.com/sandgate/sandgate/masking"
	"github.com/sandgate/sandgate/policies"
)

// synthesis turns a twin into a raw file and the specification it is ingested by, so
// that its snapshot has the shape of the data set's own: the stored columns, under their
// stored types, hidden ones included. Masks have been applied before the twin was
// learned; those of hidden columns are applied to its values.
type synthesis struct {
	spec    ingest.Spec
	kind    policies.UnitKind
	columns []synthetic
	madeUp  []string // columns that the twin did not learn, as the catalogue names them
}

// synthetic is one column of the raw file.
type synthetic struct {
	of     policies.StoredColumn
	scale  uint8
	drawn  int      // place in the twin's rows; -1: made up
	values []string // what is made up is drawn from, if not empty
}

// syntheticUnits bounds one draw: four million persons, of which the numbers of
// identifiers are all distinct.
const syntheticUnits = 4_000_000

// synthesise lays out the raw file of a data set's twin.
func synthesise(e policies.Entry, t *twin.Twin) (*synthesis, error) {
	s := &synthesis{kind: e.Dataset.Unit.Kind}
	s.spec = ingest.Spec{Dataset: e.Dataset.ID, UnitColumn: e.Dataset.Unit.Column, UnitKind: string(s.kind), OneRow: e.Dataset.OneRow, Consent: e.Dataset.Consent == policies.ConsentRequired}
	s.spec.Columns = []ingest.Column{{Name: s.spec.UnitColumn, Type: algebra.Type{Kind: algebra.Text}}}
	stored, err := e.Stored()
	if err != nil {
		return nil, fmt.Errorf("failed to read the catalogue of a twin's data set: %w", err)
	}
	for _, c := range stored {
		if !c.Drop {
			s.add(t, c)
		}
	}
	variants, err := ingestVariants(e)
	if err != nil {
		return nil, fmt.Errorf("failed to read the hidden columns of a twin's data set: %w", err)
	}
	hidden, err := e.Variants()
	if err != nil {
		return nil, fmt.Errorf("failed to read the hidden columns of a twin's data set: %w", err)
	}
	for i, v := range variants {
		// A mask is of the raw value, which the twin has where none was applied.
		if m, ok := e.Masks[v.Of]; !ok || m.Op == masking.OpKeep {
			s.spec.Variants = append(s.spec.Variants, v)
		} else {
			s.add(t, hidden[i])
		}
	}
	return s, nil
}

func (s *synthesis) add(t *twin.Twin, c policies.StoredColumn) {
	x := synthetic{of: c, scale: c.Type.Scale, drawn: slices.IndexFunc(t.Columns, func(l twin.Column) bool { return l.Column == c.Name })}
	nullable := false
	if x.drawn >= 0 {
		nullable = t.Columns[x.drawn].Nullable
	} else if i := slices.IndexFunc(t.Generated, func(g twin.Generated) bool { return g.Column == c.Name }); i >= 0 {
		x.drawn = len(t.Columns) + i
	} else {
		s.madeUp = append(s.madeUp, c.Column.Name)
		if c.Mask.Op == masking.OpKeep || c.Mask.Op == "" {
			for _, code := range c.Column.Codes {
				x.values = append(x.values, code.Value)
			}
		}
	}
	s.columns = append(s.columns, x)
	s.spec.Columns = append(s.spec.Columns, ingest.Column{Name: c.Name, Type: c.Type, Nullable: nullable})
}

// write draws units and writes them as CSV; it returns how many rows there are.
func (s *synthesis) write(to io.Writer, t *twin.Twin, draw rowsOf, units int64) (n int64, err error) {
	buffered := bufio.NewWriterSize(to, 1<<18)
	w := csv.NewWriter(buffered)
	record := []string{s.spec.UnitColumn}
	for _, c := range s.columns {
		record = append(record, c.of.Name)
	}
	if err := w.Write(record); err != nil {
		return 0, err
	}
	// A unit has as many rows as the twin has lengths, at most.
	part := int64(max(1, min(4096, 65_536/max(1, len(t.Lengths)))))
	for from := int64(0); from < units; from += part {
		rows, err := draw(uint64(from), int(min(part, units-from)))
		if err != nil {
			return n, err
		}
		n += int64(len(rows.Numbers))
		for i, number := range rows.Numbers {
			record = append(record[:0], syntheticID(s.kind, number))
			for c := range s.columns {
				record = append(record, s.columns[c].field(rows.Rows, i, number, c))
			}
			if err := w.Write(record); err != nil {
				return n, err
			}
		}
	}
	if w.Flush(); w.Error() != nil {
		return n, w.Error()
	}
	return n, buffered.Flush()
}

func (c *synthetic) field(rows twin.Rows, i int, number uint64, column int) string {
	if c.drawn < 0 {
		return c.invent(scatter(number<<10 ^ uint64(rows.Ranks[i])<<44 ^ uint64(column)))
	}
	from := &rows.Columns[c.drawn]
	return c.spelled(from, i)
}

func (c *synthetic) spelled(from *model.Column, i int) string {
	switch {
	case from.Null != nil && from.Null[i]:
		return ""
	case c.of.Type.Kind == algebra.Text:
		return from.Texts[i]
	}
	return c.number(from.Ints[i])
}

// number spells minimal units as a file of the column's type does.
func (c *synthetic) number(v int64) string {
	switch {
	case c.of.Type.Kind == algebra.Bool:
		return strconv.FormatBool(v != 0)
	case c.of.Type.Kind == algebra.Date:
		return algebra.FormatDate(v)
	case c.of.Type.Kind != algebra.Decimal || c.scale == 0:
		return strconv.FormatInt(v, 10)
	}
	sign := ""
	if v < 0 {
		sign, v = "-", -v
	}
	digits := fmt.Sprintf("%0*d", int(c.scale)+1, v)
	at := len(digits) - int(c.scale)
	return sign + digits[:at] + "." + digits[at:]
}

// inventedWords are what stands in free text, each half as often as the one before.
const inventedWords = 12

// invent makes up a value of a column that the twin did not learn: constants of the
// catalogue, or words, and chance.
func (c *synthetic) invent(rnd uint64) string {
	switch {
	case len(c.values) > 0:
		return c.values[rnd%uint64(len(c.values))]
	case c.of.Type.Kind == algebra.Text:
		return fmt.Sprintf("synthetic-%02d", 1+min(bits.TrailingZeros64(rnd), inventedWords-1))
	case c.of.Bounds != nil:
		lo, hi := c.of.Bounds[0], c.of.Bounds[1]
		return c.number(lo + int64(rnd%(uint64(hi-lo)+1)))
	case c.of.Type.Kind == algebra.Date:
		return c.number(19_358 + int64(rnd%365)) // 2023
	}
	return c.number(int64(rnd % 2))
}

// scatter is the finaliser of SplitMix64.
func scatter(z uint64) uint64 {
	z += 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// syntheticID is the identifier of synthetic unit number n, the same in every twin, so
// that tables join: well formed, of a region that does not exist, and no two alike.
func syntheticID(kind policies.UnitKind, n uint64) string {
	switch kind {
	case policies.UnitPerson:
		first := fmt.Sprintf("%s%04d%02d%02d", twin.ReservedRegion, 1940+n%80, 1+n/80%12, 1+n/80/12%28)
		first += fmt.Sprintf("%03d", 1+n/80/12/28%999)
		return first + string(masking.CitizenIDCheck(first))
	case policies.UnitOrganisation:
		first := fmt.Sprintf("91%s%08d", twin.ReservedRegion, n)
		first += string(organisationCheck(first[8:]))
		return first + string(masking.CreditCodeCheck(first))
	}
	return fmt.Sprintf("twin-%d", n)
}

// organisationCheck is the check character of GB 11714-1997.
func organisationCheck(digits string) byte {
	sum := 0
	for i, w := range []int{3, 7, 9, 10, 5, 8, 4, 2} {
		sum += w * int(digits[i]-'0')
	}
	return "0X987654321"[sum%11]
}

// isSyntheticID says whether an identifier can be a synthetic unit's alone.
func isSyntheticID(kind policies.UnitKind, id string) bool {
	if kind != policies.UnitPerson && kind != policies.UnitOrganisation {
		return len(id) > 5 && id[:5] == "twin-"
	}
	return twin.Impossible(id)
}
