package twin

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/sandgate/sandgate/compute/model"
)

// Encoder codes the rows of a data set, in the jailed worker. It is for one goroutine.
type Encoder struct {
	schema Schema
	key    []byte
	units  []uint64
	ranks  []int32
	bins   [][]uint16
}

// NewEncoder starts an encoder. key, of at least 16 bytes, decides which rows of a unit
// are used where no stored ranks do.
func NewEncoder(s Schema, key []byte) (*Encoder, error) {
	if len(key) < 16 {
		return nil, errors.New("failed to start encoding: the key has fewer than 16 bytes")
	}
	return &Encoder{schema: s, key: slices.Clone(key), bins: make([][]uint16, len(s.Columns))}, nil
}

// Add codes a batch, whose columns are those of Schema.Reads.
func (e *Encoder) Add(b model.Batch) error {
	features := make([]model.Feature, len(e.schema.Columns))
	for i, c := range e.schema.Columns {
		features[i] = c.Feature
	}
	if len(b.Columns) != len(features) || b.Ranks != nil && len(b.Ranks) != len(b.Units) || (b.Ranks == nil) == (len(e.ranks) > 0) && len(e.units) > 0 {
		return badRows()
	}
	d, err := model.EncodeRows(features, b.Columns)
	if err != nil {
		return err
	}
	if d.Rows() != len(b.Units) {
		return badRows()
	}
	e.units, e.ranks = append(e.units, b.Units...), append(e.ranks, b.Ranks...)
	for c := range e.bins {
		e.bins[c] = append(e.bins[c], d.Bins[c]...)
	}
	return nil
}

// Finish keeps at most RowsPerUnit rows of each unit and lays them together. The
// encoder is spent.
func (e *Encoder) Finish() *model.Data {
	d, _ := e.finish()
	return d
}

// FinishJoined is Finish with the token of each unit, by which tables of a span are laid
// together. It stays where the rows are.
func (e *Encoder) FinishJoined() Joined {
	d, units := e.finish()
	return Joined{Data: d, Units: units}
}

func (e *Encoder) finish() (*model.Data, []uint64) {
	order := make([]int, len(e.units))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(e.units[a], e.units[b]) })
	d := &model.Data{Bins: make([][]uint16, len(e.bins))}
	var rows []int
	var units []uint64
	for i := 0; i < len(order); {
		j := i + 1
		for j < len(order) && e.units[order[j]] == e.units[order[i]] {
			j++
		}
		kept := e.kept(order[i:j])
		for _, r := range kept {
			rows, d.Units = append(rows, r), append(d.Units, int32(d.Count))
		}
		if len(kept) > 0 {
			d.Count++
			units = append(units, e.units[order[i]])
		}
		i = j
	}
	for c, from := range e.bins {
		d.Bins[c] = make([]uint16, len(rows))
		for i, r := range rows {
			d.Bins[c][i] = from[r]
		}
	}
	*e = Encoder{}
	return d, units
}

// kept are the rows of one unit that are used: by their stored rank, or else in the
// order of a keyed hash of their content, so that the order of the file tells nothing.
func (e *Encoder) kept(rows []int) []int {
	most := e.schema.RowsPerUnit
	if len(e.ranks) > 0 {
		rows = slices.DeleteFunc(slices.Clone(rows), func(r int) bool { return int64(e.ranks[r]) > int64(most) })
	}
	if len(rows) <= most {
		return rows
	}
	type ranked struct {
		row  int
		hash uint64
	}
	by := make([]ranked, len(rows))
	for i, r := range rows {
		mac := hmac.New(sha256.New, e.key)
		text := binary.BigEndian.AppendUint64([]byte{'t'}, e.units[r])
		for _, bins := range e.bins {
			text = binary.BigEndian.AppendUint16(text, bins[r])
		}
		_, _ = mac.Write(text)
		by[i] = ranked{r, binary.BigEndian.Uint64(mac.Sum(nil))}
	}
	slices.SortStableFunc(by, func(a, b ranked) int { return cmp.Compare(a.hash, b.hash) })
	out := make([]int, most)
	for i := range out {
		out[i] = by[i].row
	}
	return out
}
