package twin

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/compute/protect"
	"github.com/sandgate/sandgate/masking"
	"github.com/sandgate/sandgate/policies"
)

// Limits of a schema.
const (
	maxColumns    = 64
	maxBins       = 64 // of a number
	maxCodes      = 1000
	maxRowsOfUnit = 1000
	defaultBins   = 16   // of a number without a registered grid
	maxCoarse     = 8    // groups of a column in the pass over all pairs
	maxFine       = 32   // groups of a column in the pass over the tree's edges
	maxName       = 256  // bytes of a column's name or code
	maxCatalogue  = 4096 // columns of a catalogue entry that are looked at
)

// Spec says what a twin is to be learned of.
type Spec struct {
	Dataset string `yaml:"dataset" json:"dataset"`
	// Columns to take, by stored name; empty for all that are stored.
	Columns []string `yaml:"columns,omitempty" json:"columns,omitempty"`
	// PerUnit names columns of which all rows of a unit hold the same value (a birth
	// date): a synthetic unit keeps it too. The department says so, not the data.
	PerUnit []string `yaml:"per_unit,omitempty" json:"per_unit,omitempty"`
	// RowsPerUnit is how many rows of one privacy unit are used at most, 1…1000; 0 is 1.
	RowsPerUnit int `yaml:"rows_per_unit,omitempty" json:"rows_per_unit,omitempty"`
	// Rho is the price, a decimal string.
	Rho string `yaml:"rho" json:"rho"`
}

// Column is one learned column. Bins are its cells in full resolution; the last is
// what is missing.
type Column struct {
	model.Feature
	PerUnit bool `json:"per_unit,omitempty"`
}

// Generated is an identifying column. It is not read: its values are made up.
type Generated struct {
	Column string                  `json:"column"`
	Kind   policies.IdentifierKind `json:"kind"`
}

// Schema is a specification held to the catalogue: every constant of it comes from
// there. It is made by NewSchema alone and not changed afterwards.
type Schema struct {
	Dataset     string      `json:"dataset"`
	Columns     []Column    `json:"columns"`
	Generated   []Generated `json:"generated,omitempty"`
	RowsPerUnit int         `json:"rows_per_unit"`
	Rho         budget.Nano `json:"rho"` // the most that learning costs
}

// Reads are the stored columns to read, in the order of a batch.
func (s Schema) Reads() []string {
	out := make([]string, len(s.Columns))
	for i, c := range s.Columns {
		out[i] = c.Column
	}
	return out
}

// Digest names the schema: SHA-256 of its canonical JSON, in hexadecimal. A twin whose
// catalogue entry now gives another one is stale.
func (s Schema) Digest() string {
	s.Rho = 0 // another price is no other schema
	text, err := json.Marshal(s)
	if err != nil {
		panic(fmt.Sprintf("twin: a checked schema does not marshal: %v", err))
	}
	sum := sha256.Sum256(append([]byte("sandgate/twin-schema/v1\n"), text...))
	return hex.EncodeToString(sum[:])
}

// NewSchema holds a specification to the catalogue entry of its data set. Every
// refusal is a *policies.Reason that names the column and says what to do; nothing of
// it depends on data.
func NewSchema(spec Spec, e policies.Entry) (Schema, error) {
	b := builder{entry: e, spec: spec}
	if err := b.build(); err != nil {
		return Schema{}, err
	}
	return b.out, nil
}

type builder struct {
	entry policies.Entry
	spec  Spec
	facts protect.Facts
	out   Schema
}

func (b *builder) build() error {
	s := b.spec
	if s.Dataset != b.entry.Dataset.ID {
		return reason(CodeSpec, "孪生规格的数据集与目录条目不同", "the specification names another data set than the catalogue entry", "改正 dataset", "correct dataset")
	}
	if r := b.entry.Ready(); r != nil {
		return r
	}
	if b.entry.Dataset.Unit == nil {
		return reason(CodeSpec, "数据集 %s 没有隐私单元，公开数据无需孪生", "data set %s has no privacy unit: public data needs no twin", "可直接取用", "use it as it is", s.Dataset)
	}
	if s.RowsPerUnit == 0 || b.entry.Dataset.OneRow {
		s.RowsPerUnit = 1
	}
	if s.RowsPerUnit < 1 || s.RowsPerUnit > maxRowsOfUnit {
		return reason(CodeSpec, "rows_per_unit 须在 1 到 %d 之间", "rows_per_unit is 1 to %d", "删去以取 1", "leave it out for 1", maxRowsOfUnit)
	}
	if m := b.entry.Rule.MaxRows; m > 0 && int64(s.RowsPerUnit) > m {
		return reason(CodeSpec, "rows_per_unit 超过部门规定的每单元最多 %d 行", "rows_per_unit is above the department's %d rows of a unit", "改小 rows_per_unit", "lower rows_per_unit", m)
	}
	rho, err := budget.ParseLimit(s.Rho)
	if err != nil || rho < 3 {
		return reason(CodePrice, "rho 不是大于 0 的十进制数", "rho is no decimal number above 0", `写成如 "0.02" 的十进制字符串`, `write a decimal string such as "0.02"`)
	}
	b.out = Schema{Dataset: s.Dataset, RowsPerUnit: s.RowsPerUnit, Rho: rho}
	all, err := b.entry.Stored()
	if err != nil {
		return fmt.Errorf("failed to read the catalogue of the twin's data set: %w", err)
	}
	if b.facts, err = protect.FactsOf(b.entry); err != nil {
		return fmt.Errorf("failed to read the catalogue of the twin's data set: %w", err)
	}
	if len(all) > maxCatalogue {
		return reason(CodeSpec, "目录条目的列过多", "the catalogue entry has too many columns", "在 columns 中列出列名", "list columns")
	}
	if err := b.columns(all); err != nil {
		return err
	}
	return b.perUnit()
}

// columns takes what was asked for, or all that is stored.
func (b *builder) columns(all []policies.StoredColumn) error {
	stored := map[string]policies.StoredColumn{}
	names := b.spec.Columns
	for _, c := range all {
		stored[c.Name] = c
		if len(b.spec.Columns) == 0 && !c.Drop && c.Column.Name != b.entry.Dataset.Unit.Column {
			names = append(names, c.Name)
		}
	}
	for i, name := range names {
		c, ok := stored[name]
		switch {
		case !ok:
			return reason(CodeColumn, "数据集没有列 %s", "the data set has no column %s", "用 sandgate catalogue 查看列名", "sandgate catalogue lists the columns", name)
		case slices.Contains(names[:i], name):
			return reason(CodeSpec, "列 %s 写了两次", "column %s is named twice", "删去一处", "leave one out", name)
		case c.Drop || c.Column.Name == b.entry.Dataset.Unit.Column:
			return reason(CodeColumn, "列 %s 不入库，孪生中也没有", "column %s is not stored, nor in the twin", "从 columns 中删去", "take it out of columns", name)
		}
		if err := b.column(c); err != nil {
			return err
		}
	}
	if n := len(b.out.Columns); n == 0 || n > maxColumns {
		return reason(CodeSpec, "可学习的列须为 1 到 %d 个", "a twin learns 1 to %d columns", "在 columns 中列出列名", "list columns", maxColumns)
	}
	return nil
}

// column makes a column of the schema, by the catalogue alone.
func (b *builder) column(c policies.StoredColumn) error {
	kind := c.Column.Identifier
	if c.Mask.Op == masking.OpPseudonym && kind == "" {
		kind = policies.IdentOpaque
	}
	if kind != "" && len(c.Column.Codes) == 0 && c.Type.Kind == algebra.Text {
		b.out.Generated = append(b.out.Generated, Generated{Column: c.Name, Kind: b.spelledAs(c, kind)})
		return nil
	}
	f := model.Feature{Column: c.Name, Type: c.Type.Kind, Nullable: c.Column.Nullable || masking.MayNull(c.Mask.Op)}
	switch {
	case len(c.Name) > maxName:
		return reason(CodeColumn, "列名过长", "a column's name is too long", "缩短列名", "shorten it")
	case len(c.Column.Codes) > 0 && c.Mask.Op != masking.OpPseudonym || c.Type.Kind == algebra.Bool:
		f.Kind = model.KindCategory
		for _, v := range b.facts.Columns[c.Name].Codes {
			f.Codes = append(f.Codes, spelled(v))
		}
		if len(f.Codes) == 0 || len(f.Codes) > maxCodes {
			return reason(CodeColumn, "列 %s 的代码须为 1 到 %d 个", "column %s needs 1 to %d codes", "请数源部门以概化脱敏合并代码", "ask the department for a mask that merges codes", c.Name, maxCodes)
		}
	case c.Bounds != nil && slices.Contains([]algebra.Kind{algebra.Int, algebra.Decimal, algebra.Date}, c.Type.Kind):
		f.Kind, f.Bounds, f.Scale = model.KindNumber, *c.Bounds, int(c.Type.Scale)
		f.Edges = edges(c)
	default:
		return reason(CodeColumn, "列 %s 既没有登记的取值范围，也没有代码表", "column %s has neither registered bounds nor a code list", "请数源部门登记 bounds 或 codes，或不把它列入 columns", "ask the department to register bounds or codes, or list columns without it", c.Name)
	}
	col := Column{Feature: f}
	// A document with such a column would be refused once it is learned and paid for.
	if !col.valid() {
		return reason(CodeColumn, "列 %s 的代码超过 256 字节，或取值范围过大", "a code of column %s is longer than 256 bytes, or its bounds are too wide", "请数源部门改用较短的代码或较窄的范围，或不把它列入 columns", "ask the department for shorter codes or narrower bounds, or list columns without it", c.Name)
	}
	b.out.Columns = append(b.out.Columns, col)
	return nil
}

// spelledAs is what stands in for an identifier: one that was masked no longer looks
// like one, so that an opaque word takes its place.
func (b *builder) spelledAs(c policies.StoredColumn, kind policies.IdentifierKind) policies.IdentifierKind {
	if c.Mask.Op != "" && c.Mask.Op != masking.OpKeep {
		return policies.IdentOpaque
	}
	return kind
}

func (b *builder) perUnit() error {
	for _, name := range b.spec.PerUnit {
		i := slices.IndexFunc(b.out.Columns, func(c Column) bool { return c.Column == name })
		if i < 0 || b.out.Columns[i].PerUnit {
			return reason(CodeSpec, "per_unit 中的列 %s 不在孪生中，或写了两次", "column %s of per_unit is not in the twin, or named twice", "改正 per_unit", "correct per_unit", name)
		}
		b.out.Columns[i].PerUnit = true
	}
	return nil
}

func spelled(v algebra.Value) string {
	switch v.Type.Kind {
	case algebra.Text:
		return v.S
	case algebra.Bool:
		return strconv.FormatBool(v.I != 0)
	case algebra.Date:
		return algebra.FormatDate(v.I)
	}
	return strconv.FormatInt(v.I, 10)
}

// edges are the inner edges of a number's cells: its registered grid, thinned evenly to
// 64 cells; every value of a small range of integers; otherwise 16 equal parts.
func edges(c policies.StoredColumn) []int64 {
	lo, hi := c.Bounds[0], c.Bounds[1]
	var out []int64
	keep := func(e int64) {
		if e > lo && e <= hi && (len(out) == 0 || e > out[len(out)-1]) {
			out = append(out, e)
		}
	}
	switch {
	case len(c.Grid) >= 2:
		inner := c.Grid[1 : len(c.Grid)-1]
		n := min(len(inner), maxBins-1)
		for i := range n {
			keep(inner[(i+1)*(len(inner)+1)/(n+1)-1])
		}
	case hi-lo < maxBins && c.Type.Kind == algebra.Int:
		for e := lo + 1; e <= hi; e++ {
			keep(e)
		}
	default:
		for i := int64(1); i < defaultBins; i++ {
			keep(lo + (hi-lo+1)*i/defaultBins)
		}
	}
	return out
}

// drawable says which cells a column can have values in: none is missing where the
// catalogue does not let it be, and a cell of a number may lie outside its bounds.
func (c Column) drawable() []bool {
	out := make([]bool, c.Bins())
	for i := range out {
		out[i] = true
		if c.Kind == model.KindNumber && i < len(out)-1 {
			lo, hi := c.span(i)
			out[i] = lo <= hi
		}
	}
	out[len(out)-1] = c.Nullable
	return out
}

// span is the range of values of a number's cell.
func (c Column) span(cell int) (lo, hi int64) {
	lo, hi = c.Bounds[0], c.Bounds[1]
	if cell > 0 {
		lo = c.Edges[cell-1]
	}
	if cell < len(c.Edges) {
		hi = c.Edges[cell] - 1
	}
	return lo, hi
}
