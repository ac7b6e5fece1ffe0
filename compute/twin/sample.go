package twin

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math/bits"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/policies"
)

// maxUnits of one call; callers draw larger twins in parts.
const maxUnits = 1 << 24

// Rows are synthetic rows. Rows of a unit lie together; Ranks count them from 1.
// Columns are those of Sampler.Names.
type Rows struct {
	Units   []uint64
	Ranks   []int32
	Columns []model.Column
}

// Sampler draws rows of a twin. It is safe for concurrent use. The rows of a unit
// depend on twin, seed and the unit's number alone, so that parts may be drawn in any
// order and on any machine.
type Sampler struct {
	t        *Twin
	key      [2]uint64 // of the chance of units
	who      [2]uint64 // of their tokens and identifiers
	slots    []uint64  // tell identifiers of one unit apart
	lengths  aliases
	vertices []drawer
	cells    []aliases // by column and group
	cellOf   [][][]uint16
	texts    [][]string
	ints     [][]int64
	constant int                       // vertices drawn once per unit
	mean     float64                   // rows of a unit
	birth    int                       // column that says when a unit was born; −1 for none
	born     func(number uint64) birth // where another table says it; nil: the first row does
	unnamed  bool                      // identifiers are left out
}

type drawer struct {
	column  int
	parents []int
	size    []int // groups of the parents
	rows    aliases
}

// Sampler prepares drawing with a seed of any length.
func (t *Twin) Sampler(seed []byte) (*Sampler, error) {
	if err := t.check(); err != nil {
		return nil, err
	}
	// Not the twin's own digest: its quality is drawn before there is one.
	digest := sha256.New()
	for _, part := range []string{"sandgate/twin-sample/v1", t.SchemaDigest, hex.EncodeToString(seed)} {
		digest.Write([]byte(part + "\n"))
	}
	sum := digest.Sum(nil)
	s := &Sampler{t: t, birth: birthColumn(t.Columns), key: [2]uint64{binary.BigEndian.Uint64(sum), binary.BigEndian.Uint64(sum[8:])}}
	s.who = s.key
	for g := range t.Generated {
		s.slots = append(s.slots, uint64(g)+1)
	}
	s.lengths = newAliases([][]int64{t.Lengths})
	for i, w := range t.Lengths {
		s.mean += float64(i+1) * float64(w) / float64(s.lengths.sum[0])
	}
	sizes := make([]int, len(t.Columns))
	for c, column := range t.Columns {
		for _, g := range t.Groups[c] {
			sizes[c] = max(sizes[c], g+1)
		}
		weights, cells := make([][]int64, sizes[c]), make([][]uint16, sizes[c])
		for cell, g := range t.Groups[c] {
			if w := t.Cells[c][cell]; w > 0 {
				weights[g], cells[g] = append(weights[g], w), append(cells[g], uint16(cell))
			}
		}
		s.cells, s.cellOf = append(s.cells, newAliases(weights)), append(s.cellOf, cells)
		texts, ints, err := values(column)
		if err != nil {
			return nil, err
		}
		s.texts, s.ints = append(s.texts, texts), append(s.ints, ints)
	}
	for _, v := range t.Order {
		x := drawer{column: v.Column, parents: v.Parents, rows: newAliases(v.Weights)}
		for _, p := range v.Parents {
			x.size = append(x.size, sizes[p])
		}
		s.vertices = append(s.vertices, x)
		if t.Columns[v.Column].PerUnit {
			s.constant++
		}
	}
	return s, nil
}

// values spells a category's codes as they are stored.
func values(c Column) (texts []string, ints []int64, err error) {
	if c.Kind != model.KindCategory {
		return nil, nil, nil
	}
	if c.Type == algebra.Text {
		return c.Codes, nil, nil
	}
	for _, code := range c.Codes {
		v := algebra.Value{}
		switch {
		case c.Type != algebra.Bool:
			v, err = policies.CodeValue(algebra.Type{Kind: c.Type}, code)
		case code == "true":
			v.I = 1
		case code != "false":
			err = badFile("代码不符", "a code does not fit its type")
		}
		if err != nil {
			return nil, nil, badFile("代码不符", "a code does not fit its type")
		}
		ints = append(ints, v.I)
	}
	return nil, ints, nil
}

// Names are the columns of Rows: the learned ones, then those that are made up.
func (s *Sampler) Names() []string {
	var out []string
	for _, c := range s.t.Columns {
		out = append(out, c.Column)
	}
	for _, g := range s.t.Generated {
		out = append(out, g.Column)
	}
	return out
}

// Rows draws the units numbered from…from+units−1.
func (s *Sampler) Rows(from uint64, units int) (Rows, error) {
	if err := drawable(from, units); err != nil {
		return Rows{}, err
	}
	out, w := s.rows(units), s.work()
	for i := range units {
		number := from + uint64(i)
		rnd := s.unit(number)
		s.add(&out, number, &rnd, w, nil)
	}
	return out, nil
}

func drawable(from uint64, units int) error {
	if units < 0 || units > maxUnits || from > 1<<40 {
		return reason(CodeSample, "一次可抽取 0 到 %d 个单元，编号不超过 2^40", "0 to %d units can be drawn at once, with numbers up to 2^40", "分批抽取", "draw in parts", maxUnits)
	}
	return nil
}

// rows makes room for those of so many units.
func (s *Sampler) rows(units int) Rows {
	d := len(s.t.Columns)
	out := Rows{Columns: make([]model.Column, d+len(s.t.Generated))}
	expect := int(float64(units)*s.mean*1.02) + 64
	out.Units, out.Ranks = make([]uint64, 0, expect), make([]int32, 0, expect)
	for i := range out.Columns {
		reserve(&out.Columns[i], i >= d || s.t.Columns[i].Type == algebra.Text, i < d && s.t.Columns[i].Nullable, expect)
	}
	return out
}

// work is what drawing a unit writes to.
type work struct {
	cell         []uint16
	group, first []int
	fixed        []int64
}

func (s *Sampler) work() *work {
	d := len(s.t.Columns)
	return &work{make([]uint16, d), make([]int, d), make([]int, d), make([]int64, d)}
}

// add draws a unit's rows. Where the groups of its first row were drawn before, again
// draws those of a further one.
func (s *Sampler) add(out *Rows, number uint64, rnd *stream, w *work, again func()) {
	rows := s.lengths.draw(rnd, 0) + 1
	if again == nil {
		s.groups(rnd, w.group, true)
	}
	for _, v := range s.vertices[:s.constant] {
		w.cell[v.column] = s.cell(rnd, v.column, w.group[v.column])
		w.fixed[v.column] = s.number(rnd, v.column, w.cell[v.column])
	}
	var names []string
	for rank := range rows {
		out.Units, out.Ranks = append(out.Units, mix(number^s.who[0])), append(out.Ranks, int32(rank+1))
		switch {
		case again == nil:
			s.groups(rnd, w.group, false)
		case rank > 0:
			again()
		}
		for k, v := range s.vertices {
			c := v.column
			x := w.fixed[c]
			if k >= s.constant {
				w.cell[c] = s.cell(rnd, c, w.group[c])
				x = s.number(rnd, c, w.cell[c])
			}
			s.put(&out.Columns[c], c, w.cell[c], x)
		}
		if rank == 0 && !s.unnamed {
			names = s.made(number, s.bornAs(number, out))
		}
		for g, text := range names {
			out.Columns[len(s.t.Columns)+g].Texts = append(out.Columns[len(s.t.Columns)+g].Texts, text)
		}
	}
}

// reserve makes room for rows.
func reserve(c *model.Column, text, nullable bool, rows int) {
	if text {
		c.Texts = make([]string, 0, rows)
	} else {
		c.Ints = make([]int64, 0, rows)
	}
	if nullable {
		c.Null = make([]bool, 0, rows)
	}
}

// groups draws the groups of a row: those that are constant in a unit, or the others.
func (s *Sampler) groups(rnd *stream, group []int, constant bool) {
	part := s.vertices[s.constant:]
	if constant {
		part = s.vertices[:s.constant]
	}
	for i := range part {
		v := &part[i]
		row := 0
		for k, p := range v.parents {
			row = row*v.size[k] + group[p]
		}
		group[v.column] = v.rows.draw(rnd, row)
	}
}

func (s *Sampler) cell(rnd *stream, c, group int) uint16 {
	cells := s.cellOf[c][group]
	if len(cells) == 1 {
		return cells[0]
	}
	return cells[s.cells[c].draw(rnd, group)]
}

// number draws evenly within a number's cell.
func (s *Sampler) number(rnd *stream, c int, cell uint16) int64 {
	column := &s.t.Columns[c]
	if column.Kind != model.KindNumber || int(cell) > len(column.Edges) {
		return 0
	}
	lo, hi := column.span(int(cell))
	if lo == hi {
		return lo
	}
	return lo + int64(rnd.below(uint64(hi-lo)+1))
}

func (s *Sampler) put(to *model.Column, c int, cell uint16, x int64) {
	column := &s.t.Columns[c]
	missing := int(cell) == len(s.t.Cells[c])-1
	if column.Nullable {
		to.Null = append(to.Null, missing)
	}
	if column.Kind == model.KindCategory && !missing {
		if s.texts[c] != nil {
			to.Texts = append(to.Texts, s.texts[c][cell])
			return
		}
		x = s.ints[c][cell]
	}
	if column.Type == algebra.Text {
		to.Texts = append(to.Texts, "")
		return
	}
	to.Ints = append(to.Ints, x)
}

// stream is SplitMix64 (Steele, Lea, Flood, OOPSLA 2014). Nothing is kept secret by it:
// the twin itself is what was released.
type stream uint64

func (s *stream) next() uint64 {
	*s += 0x9e3779b97f4a7c15
	return mix(uint64(*s))
}

// mix is a bijection, so that two units never share a token.
func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// below draws from 0…n−1; with 64 bits of chance the excess of some values is below
// n/2⁶⁴.
func (s *stream) below(n uint64) uint64 {
	hi, _ := bits.Mul64(s.next(), n)
	return hi
}

// unit is the chance of one unit.
func (s *Sampler) unit(number uint64) stream {
	return stream(mix(mix(number+s.key[0]) ^ s.key[1]))
}

// aliases are distributions of few values each (Walker's alias method, in integers).
type aliases struct {
	first []int32
	slots []slot
	sum   []uint64
}

type slot struct {
	keep  uint32 // of the row's sum
	other uint16
}

func newAliases(rows [][]int64) aliases {
	var a aliases
	a.first = append(a.first, 0)
	for _, w := range rows {
		n := len(w)
		sum := int64(0)
		for _, x := range w {
			sum += x
		}
		slots := make([]slot, n)
		left := make([]int64, n)
		var small, large []int
		for i, x := range w {
			left[i] = x * int64(n)
			if left[i] < sum {
				small = append(small, i)
			} else {
				large = append(large, i)
			}
		}
		for len(small) > 0 {
			i, j := small[len(small)-1], large[len(large)-1]
			small = small[:len(small)-1]
			slots[i] = slot{uint32(left[i]), uint16(j)}
			if left[j] -= sum - left[i]; left[j] < sum {
				large, small = large[:len(large)-1], append(small, j)
			}
		}
		for _, i := range large {
			slots[i] = slot{uint32(sum), uint16(i)}
		}
		a.slots, a.sum = append(a.slots, slots...), append(a.sum, uint64(sum))
		a.first = append(a.first, int32(len(a.slots)))
	}
	return a
}

// draw takes one value of a row.
func (a *aliases) draw(rnd *stream, row int) int {
	from, to := a.first[row], a.first[row+1]
	i, rest := bits.Mul64(rnd.next(), uint64(to-from))
	x := a.slots[from+int32(i)]
	if part, _ := bits.Mul64(rest, a.sum[row]); part < uint64(x.keep) {
		return int(i)
	}
	return int(x.other)
}
