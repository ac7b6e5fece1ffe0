package model

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strconv"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/policies"
)

// Column is one stored column of a batch. Texts are of text columns, Ints of all others:
// minimal units, days, 0 and 1 for a Bool. Null may be nil when nothing is missing.
type Column struct {
	Ints  []int64
	Texts []string
	Null  []bool
}

// Batch is rows as a worker reads them. Units are the stored tokens, Ranks the stored
// ranks of rows within their unit (from 1) or nil; Columns are parallel to
// Design.Columns.
type Batch struct {
	Units   []uint64
	Ranks   []int32
	Columns []Column
}

// Encoder codes the rows of a data set. It is for one goroutine.
type Encoder struct {
	design Design
	key    []byte
	coders []coder // features
	groups []coder
	label  labeller
	at     map[string]int // column → index in a batch

	units []uint64
	ranks []int32
	data  Data
}

// NewEncoder starts an encoder. key decides which units are held out and which rows of
// a unit are used; with one key and one design the choice is always the same. It has at
// least 16 bytes.
func NewEncoder(d Design, key []byte) (*Encoder, error) {
	if len(key) < 16 {
		return nil, errors.New("failed to start encoding: the key has fewer than 16 bytes")
	}
	e := &Encoder{design: d, key: slices.Clone(key), at: map[string]int{}}
	for i, c := range d.Columns {
		e.at[c] = i
	}
	for _, f := range d.Features {
		c, err := newCoder(f)
		if err != nil {
			return nil, err
		}
		e.coders = append(e.coders, c)
	}
	for _, f := range d.Groups {
		c, err := newCoder(f)
		if err != nil {
			return nil, err
		}
		e.groups = append(e.groups, c)
	}
	var err error
	e.label, err = newLabeller(d.Target)
	if ofModule(d) {
		e.data.Exact = make([][]int64, len(d.Features))
	}
	e.data.Bins, e.data.Values, e.data.Groups = make([][]uint16, len(d.Features)), make([][]float32, len(d.Features)), make([][]uint16, len(d.Groups))
	return e, err
}

// Add codes a batch. Rows without a label are left out. A category outside its code
// list is an error that names the column.
func (e *Encoder) Add(b Batch) error {
	rows := len(b.Units)
	if len(b.Columns) != len(e.design.Columns) || b.Ranks != nil && len(b.Ranks) != rows {
		return badRows()
	}
	use := make([]int, 0, rows)
	labels := make([]float32, rows)
	if e.design.Target.Column != "" {
		if err := e.label.encode(b.Columns[e.at[e.design.Target.Column]], labels); err != nil {
			return err
		}
	}
	for r, y := range labels {
		if !math.IsNaN(float64(y)) {
			use = append(use, r)
		}
	}
	for _, r := range use {
		e.units = append(e.units, b.Units[r])
		e.data.Label = append(e.data.Label, labels[r])
		if b.Ranks != nil {
			e.ranks = append(e.ranks, b.Ranks[r])
		}
	}
	if len(e.ranks) != 0 && len(e.ranks) != len(e.units) {
		return badRows()
	}
	bins, values := make([]uint16, rows), make([]float32, rows)
	for i, c := range e.coders {
		if err := c.encode(b.Columns[e.at[c.f.Column]], bins, values); err != nil {
			return err
		}
		for _, r := range use {
			e.data.Bins[i] = append(e.data.Bins[i], bins[r])
		}
		if c.f.Kind == KindNumber {
			for _, r := range use {
				e.data.Values[i] = append(e.data.Values[i], values[r])
			}
			if e.data.Exact != nil {
				ints := b.Columns[e.at[c.f.Column]].Ints
				for _, r := range use {
					e.data.Exact[i] = append(e.data.Exact[i], min(max(ints[r], c.f.Bounds[0]), c.f.Bounds[1]))
				}
			}
		}
	}
	for i, c := range e.groups {
		if err := c.encode(b.Columns[e.at[c.f.Column]], bins, values); err != nil {
			return err
		}
		for _, r := range use {
			e.data.Groups[i] = append(e.data.Groups[i], bins[r])
		}
	}
	return nil
}

// Split is what is trained on and what is held out, by unit.
type Split struct{ Train, Held *Data }

// Finish divides the units, keeps at most Spec.RowsPerUnit rows of each, and lays the
// rows of a unit together. Which rows are kept depends on the unit's own rows alone,
// and whether it is held out on its token. The encoder is spent.
func (e *Encoder) Finish() Split {
	order := make([]int, len(e.units))
	for i := range order {
		order[i] = i
	}
	if !slices.IsSorted(e.units) {
		slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(e.units[a], e.units[b]) })
	}
	var train, held rowSet
	mac := hmac.New(sha256.New, e.key)
	for i := 0; i < len(order); {
		j := i + 1
		for j < len(order) && e.units[order[j]] == e.units[order[i]] {
			j++
		}
		to := &train
		if e.heldOut(mac, e.units[order[i]]) {
			to = &held
		}
		to.add(e.kept(mac, order[i:j]))
		i = j
	}
	s := Split{Train: e.pick(train), Held: e.pick(held)}
	*e = Encoder{}
	return s
}

// keyed is HMAC-SHA-256 of a domain and words, its first 64 bits.
func keyed(mac hasher, domain byte, words ...uint64) uint64 {
	mac.Reset()
	buf := make([]byte, 1, 1+8*len(words))
	buf[0] = domain
	for _, w := range words {
		buf = binary.BigEndian.AppendUint64(buf, w)
	}
	_, _ = mac.Write(buf)
	return binary.BigEndian.Uint64(mac.Sum(nil))
}

// heldOut says which units a model is judged by: of a module, which learned from none,
// all.
func (e *Encoder) heldOut(mac hasher, unit uint64) bool {
	return ofModule(e.design) || keyed(mac, 'h', unit)%100 < uint64(e.design.Spec.HoldOut)
}

type hasher interface {
	Write([]byte) (int, error)
	Sum([]byte) []byte
	Reset()
}

// kept are the rows of one unit that are used: by their stored rank, or else in the
// order of a keyed hash of their content, so that the order of the file tells nothing.
func (e *Encoder) kept(mac hasher, rows []int) []int {
	most := max(1, e.design.Spec.RowsPerUnit)
	if e.ranks != nil {
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
		words := []uint64{e.units[r], uint64(math.Float32bits(e.data.Label[r]))}
		for f := range e.data.Bins {
			words = append(words, uint64(e.data.Bins[f][r]))
			if e.data.Values[f] != nil {
				words = append(words, uint64(math.Float32bits(e.data.Values[f][r])))
			}
		}
		for g := range e.data.Groups {
			words = append(words, uint64(e.data.Groups[g][r]))
		}
		by[i] = ranked{r, keyed(mac, 'r', words...)}
	}
	slices.SortStableFunc(by, func(a, b ranked) int { return cmp.Compare(a.hash, b.hash) })
	out := make([]int, most)
	for i := range out {
		out[i] = by[i].row
	}
	return out
}

type rowSet struct {
	rows  []int
	units []int32
	count int
}

func (s *rowSet) add(rows []int) {
	if len(rows) == 0 {
		return
	}
	for _, r := range rows {
		s.rows, s.units = append(s.rows, r), append(s.units, int32(s.count))
	}
	s.count++
}

func (e *Encoder) pick(s rowSet) *Data {
	d := &Data{Units: s.units, Count: s.count, Label: take(e.data.Label, s.rows)}
	for f := range e.data.Bins {
		d.Bins, d.Values = append(d.Bins, take(e.data.Bins[f], s.rows)), append(d.Values, take(e.data.Values[f], s.rows))
	}
	for g := range e.data.Groups {
		d.Groups = append(d.Groups, take(e.data.Groups[g], s.rows))
	}
	for f := range e.data.Exact {
		d.Exact = append(d.Exact, take(e.data.Exact[f], s.rows))
	}
	for f := range d.Values {
		if e.design.Features[f].Kind == KindNumber && d.Values[f] == nil {
			d.Values[f] = []float32{}
		}
	}
	return d
}

// take copies the chosen elements; nil of nil.
func take[T any](from []T, rows []int) []T {
	if from == nil {
		return nil
	}
	out := make([]T, len(rows))
	for i, r := range rows {
		out[i] = from[r]
	}
	return out
}

// EncodeRows codes rows to be scored, each a unit of its own: columns are parallel to
// features. It is what Scorer.Score reads.
func EncodeRows(features []Feature, columns []Column) (*Data, error) {
	if len(columns) != len(features) || len(features) == 0 {
		return nil, badRows()
	}
	d := &Data{}
	for i, f := range features {
		c, err := newCoder(f)
		if err != nil {
			return nil, err
		}
		rows := max(len(columns[i].Ints), len(columns[i].Texts))
		if i == 0 {
			d.Count, d.Units, d.Label = rows, make([]int32, rows), make([]float32, rows)
			for r := range d.Units {
				d.Units[r] = int32(r)
			}
		}
		bins, values := make([]uint16, d.Count), make([]float32, d.Count)
		if err := c.encode(columns[i], bins, values); err != nil {
			return nil, err
		}
		if f.Kind != KindNumber {
			values = nil
		}
		d.Bins, d.Values = append(d.Bins, bins), append(d.Values, values)
	}
	return d, nil
}

func badRows() error {
	return reason(CodeRows, "一批行的列数、行数或类型与模型设计不符", "a batch of rows does not have the columns, length or types of the design", "按 Design.Columns 的次序读取", "read the columns in the order of the design")
}

// coder codes one column.
type coder struct {
	f      Feature
	byText map[string]uint16
	byInt  map[int64]uint16
}

func newCoder(f Feature) (coder, error) {
	c := coder{f: f}
	if f.Kind == KindNumber {
		return c, nil
	}
	var err error
	c.byText, c.byInt, err = codeIndex(f.Column, f.Type, f.Codes)
	return c, err
}

// codeIndex finds a code by how it is stored.
func codeIndex(column string, t algebra.Kind, codes []string) (map[string]uint16, map[int64]uint16, error) {
	if t == algebra.Text {
		m := make(map[string]uint16, len(codes))
		for i, s := range codes {
			m[s] = uint16(i)
		}
		return m, nil, nil
	}
	m := make(map[int64]uint16, len(codes))
	for i, s := range codes {
		v := boolCode(s)
		if t != algebra.Bool {
			parsed, err := policies.CodeValue(algebra.Type{Kind: t}, s)
			if err != nil {
				return nil, nil, reason(CodeColumn, "列 %s 的第 %d 个代码与列的类型不符", "code %[2]d of column %[1]s does not fit its type", "改正代码表", "correct the code list", column, i+1)
			}
			v = parsed.I
		}
		m[v] = uint16(i)
	}
	return nil, m, nil
}

func boolCode(s string) int64 {
	if b, _ := strconv.ParseBool(s); b {
		return 1
	}
	return 0
}

func (c *Column) null(r int) bool { return c.Null != nil && c.Null[r] }

// holds says whether a column has rows values of a type.
func (c *Column) holds(rows int, t algebra.Kind) bool {
	if c.Null != nil && len(c.Null) != rows {
		return false
	}
	if t == algebra.Text {
		return len(c.Texts) == rows
	}
	return len(c.Ints) == rows
}

// encode writes bins and, of a number, values of a whole column.
func (c coder) encode(col Column, bins []uint16, values []float32) error {
	if !col.holds(len(bins), c.f.Type) {
		return badRows()
	}
	missing := uint16(c.f.Bins() - 1)
	lo, hi := c.f.Bounds[0], c.f.Bounds[1]
	scale := 2 / float64(hi-lo)
	for r := range bins {
		switch {
		case col.null(r):
			bins[r], values[r] = missing, 0
		case c.f.Kind == KindNumber:
			v := min(max(col.Ints[r], lo), hi)
			bin, found := slices.BinarySearch(c.f.Edges, v)
			if found {
				bin++
			}
			bins[r], values[r] = uint16(bin), float32(float64(v-lo)*scale-1)
		default:
			code, ok := c.code(col, r)
			if !ok {
				return notListed(c.f.Column)
			}
			bins[r] = code
		}
	}
	return nil
}

func (c coder) code(col Column, r int) (code uint16, ok bool) {
	if c.byText != nil {
		code, ok = c.byText[col.Texts[r]]
	} else {
		code, ok = c.byInt[col.Ints[r]]
	}
	return code, ok
}

func notListed(column string) error {
	return reason(CodeCode, "列 %s 中有不在代码表内的值", "column %s holds a value outside its code list", "重新入库，或请数源部门补全代码表", "ingest again, or ask the department to complete the code list", column)
}

// labeller codes the label.
type labeller struct {
	t        Target
	c        coder
	positive map[uint16]bool
}

func newLabeller(t Target) (labeller, error) {
	l := labeller{t: t, positive: map[uint16]bool{}}
	if t.Column == "" || len(t.Codes) == 0 {
		l.c.f = Feature{Column: t.Column, Kind: KindNumber, Type: t.Type, Bounds: t.Bounds}
		if t.Threshold != nil {
			l.c.f.Bounds = [2]int64{*t.Threshold - 1, *t.Threshold}
		}
		return l, nil
	}
	var err error
	if l.c, err = newCoder(Feature{Column: t.Column, Kind: KindCategory, Type: t.Type, Codes: t.Codes}); err != nil {
		return l, err
	}
	for i, s := range t.Codes {
		l.positive[uint16(i)] = slices.Contains(t.Positive, s)
	}
	return l, nil
}

// encode writes labels, NaN where there is none.
func (l labeller) encode(col Column, out []float32) error {
	bins, values := make([]uint16, len(out)), make([]float32, len(out))
	if err := l.c.encode(col, bins, values); err != nil {
		return err
	}
	for r := range out {
		switch {
		case col.null(r):
			out[r] = float32(math.NaN())
		case l.t.Threshold != nil: // clamped to threshold-1 and threshold: -1 or 1
			out[r] = (values[r] + 1) / 2
		case len(l.t.Codes) == 0:
			out[r] = values[r]
		case len(l.t.Positive) > 0:
			out[r] = 0
			if l.positive[bins[r]] {
				out[r] = 1
			}
		default:
			out[r] = float32(bins[r])
		}
	}
	return nil
}
