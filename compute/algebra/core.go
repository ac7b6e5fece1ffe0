package algebra

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Limits of a core. They bound the work of every reader of the ledger.
const (
	MaxTables = 11      // the fact table and ten public dimensions
	MaxNodes  = 4000    // predicate nodes and literals of WHERE
	MaxDepth  = 128     // nesting of WHERE
	maxCore   = 4 << 20 // bytes of an encoded core
)

// Bytes returns the canonical JSON of c: equal cores give equal bytes. Hash
// c.Canonical().Bytes() to recognise a question asked before.
func (c Core) Bytes() []byte { return mustMarshal(c) }

// ParseCore reads what Bytes wrote and nothing else: an unknown field, another
// spelling of the same JSON or a malformed core is an error. It does not need
// the schemas; Validate does.
func ParseCore(b []byte) (Core, error) {
	if len(b) > maxCore {
		return Core{}, errors.New("failed to parse core: too large")
	}
	var c Core
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		// The decoder's text may quote a field of the input.
		return Core{}, errors.New("failed to parse core: not a core")
	}
	if err := c.structure(); err != nil {
		return Core{}, fmt.Errorf("failed to parse core: %w", err)
	}
	if !bytes.Equal(c.Bytes(), b) {
		return Core{}, errors.New("failed to parse core: not in canonical encoding")
	}
	return c, nil
}

// Redacted returns c with every literal of WHERE replaced by its type alone, as
// the ledger stores it: an operand may be somebody's identity number. IN lists
// keep their length. TRUE and FALSE as whole conditions stay: they name nobody.
func (c Core) Redacted() Core {
	if c.Where != nil {
		where := c.Where.redact()
		c.Where = &where
	}
	return c
}

func (p Pred) redact() Pred {
	if p.Op == OpConst {
		return p
	}
	args := p.Args
	p.Args = nil
	for _, a := range args {
		p.Args = append(p.Args, a.redact())
	}
	p.Values = slices.Clone(p.Values)
	for i, v := range p.Values {
		p.Values[i] = Value{Type: v.Type, Redacted: true}
	}
	return p
}

func (c Core) redacted() bool { return c.Where != nil && c.Where.redacted() }

func (p Pred) redacted() bool {
	return slices.ContainsFunc(p.Values, func(v Value) bool { return v.Redacted }) ||
		slices.ContainsFunc(p.Args, Pred.redacted)
}

// Datasets lists the data sets a core reads, each once, in the order of its
// tables and their parts. Facts, snapshots and the engine's databases d0, d1, … are
// parallel to it.
func (c Core) Datasets() []string {
	var out []string
	add := func(id string) {
		if !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	for _, t := range c.Tables {
		add(t.Dataset)
		for _, p := range t.Parts {
			add(p)
		}
	}
	return out
}

// SchemasOf returns the schemas of c.Datasets() in their order, as compute/render
// and the engine's plan check want them.
func (c Core) SchemasOf(schemas []Schema) ([]Schema, error) {
	var out []Schema
	for i, id := range c.Datasets() {
		at := slices.IndexFunc(schemas, func(s Schema) bool { return s.Dataset == id })
		if at < 0 {
			return nil, fmt.Errorf("failed to find schema of data set %d", i)
		}
		out = append(out, schemas[at])
	}
	return out, nil
}

// Validate reports whether c is well formed and means something on the given
// schemas: every table, column and type exists, only public tables are joined
// and only on a declared unique key, and the unit column is counted, never read.
// Redacted literals are accepted, so an auditor can validate a ledger entry.
func (c Core) Validate(schemas []Schema) error {
	if err := c.structure(); err != nil {
		return err
	}
	tables, err := c.SchemasOf(schemas)
	if err != nil {
		return err
	}
	if tables[0].Public {
		return errors.New("core: fact table is public")
	}
	check := func(col Col) error {
		s := tables[col.Table]
		if s.Unit != "" && col.Name == s.Unit {
			return errors.New("core: unit column used as a value")
		}
		if !slices.Contains(s.Columns, SchemaColumn{Name: col.Name, Type: col.Type}) {
			return fmt.Errorf("core: table %d has no such column of that type", col.Table)
		}
		return nil
	}
	var cols []Col
	for _, j := range c.Joins {
		if s := tables[j.Table]; !s.Public || !slices.Contains(s.Unique, j.Right.Name) {
			return fmt.Errorf("core: table %d is not joined on a unique key of a public table", j.Table)
		}
		cols = append(cols, j.Left, j.Right)
	}
	cols = append(cols, c.Keys...)
	for _, a := range c.Aggs {
		if a.Func == CountUnits && tables[0].Unit == "" {
			return errors.New("core: fact table has no unit column")
		}
		if a.Arg != nil {
			cols = append(cols, *a.Arg)
		}
	}
	if c.Where != nil {
		cols = c.Where.cols(cols)
	}
	for _, col := range cols {
		if err := check(col); err != nil {
			return err
		}
	}
	return nil
}

func (p Pred) cols(to []Col) []Col {
	if p.Col != nil {
		to = append(to, *p.Col)
	}
	if p.Other != nil {
		to = append(to, *p.Other)
	}
	for _, a := range p.Args {
		to = a.cols(to)
	}
	return to
}

// structure checks what can be checked without schemas.
func (c Core) structure() error {
	if len(c.Tables) == 0 || len(c.Tables) > MaxTables || len(c.Joins) != len(c.Tables)-1 {
		return errors.New("core: number of tables or joins out of range")
	}
	for _, t := range c.Tables {
		if t.Dataset == "" || !utf8.ValidString(t.Dataset) {
			return errors.New("core: table without a data set")
		}
	}
	for i, j := range c.Joins {
		if j.Table != i+1 || j.Right.Table != j.Table || j.Left.Table >= j.Table {
			return fmt.Errorf("core: join %d out of order", i)
		}
		if c.badCol(j.Left) || c.badCol(j.Right) || j.Left.Type != j.Right.Type {
			return fmt.Errorf("core: join %d has malformed columns", i)
		}
	}
	for i, k := range c.Keys {
		if c.badCol(k) {
			return fmt.Errorf("core: key %d malformed", i)
		}
	}
	if len(c.Aggs) == 0 {
		return errors.New("core: no aggregate")
	}
	for i, a := range c.Aggs {
		ok := false
		switch a.Func {
		case CountRows, CountUnits:
			ok = a.Arg == nil
		case CountCol:
			ok = a.Arg != nil && !c.badCol(*a.Arg)
		case Sum, Avg:
			ok = a.Arg != nil && !c.badCol(*a.Arg) && (a.Arg.Type.Kind == Int || a.Arg.Type.Kind == Decimal)
		}
		if !ok {
			return fmt.Errorf("core: aggregate %d malformed", i)
		}
	}
	if c.Where != nil {
		nodes := 0
		return c.checkPred(*c.Where, 1, &nodes)
	}
	return nil
}

func (c Core) badCol(col Col) bool {
	return col.Table < 0 || col.Table >= len(c.Tables) || col.Name == "" ||
		!utf8.ValidString(col.Name) || badType(col.Type)
}

func badType(t Type) bool {
	switch t.Kind {
	case Bool, Int, Date, Text:
		return t.Scale != 0
	case Decimal:
		return t.Scale > 9
	}
	return true
}

var errPred = errors.New("core: malformed predicate")

func (c Core) checkPred(p Pred, depth int, nodes *int) error {
	*nodes += 1 + len(p.Values)
	if depth > MaxDepth || *nodes > MaxNodes {
		return errors.New("core: predicate is too large")
	}
	var ok bool
	leaf := p.Col != nil && !c.badCol(*p.Col) && len(p.Args) == 0
	switch p.Op {
	case OpAnd, OpOr:
		ok = len(p.Args) > 0 && p.Col == nil && p.Other == nil && len(p.Values) == 0
	case OpNot:
		ok = len(p.Args) == 1 && p.Col == nil && p.Other == nil && len(p.Values) == 0
	case OpConst:
		ok = len(p.Args) == 0 && p.Col == nil && p.Other == nil && len(p.Values) == 1 &&
			p.Values[0].Type.Kind == Bool && !p.Values[0].Null && !p.Values[0].Redacted
	case OpIsNull:
		ok = leaf && p.Other == nil && len(p.Values) == 0
	case OpIn:
		ok = leaf && p.Other == nil && len(p.Values) > 0 &&
			!slices.ContainsFunc(p.Values, func(v Value) bool { return v.Null })
	case OpEq, OpNe, OpLt, OpLe, OpGt, OpGe:
		if p.Other != nil {
			ok = leaf && len(p.Values) == 0 && !c.badCol(*p.Other) && p.Other.Type == p.Col.Type
		} else {
			ok = leaf && len(p.Values) == 1
		}
	}
	if !ok {
		return errPred
	}
	for _, v := range p.Values {
		if p.Col != nil && v.Type != p.Col.Type || !v.valid() {
			return errPred
		}
	}
	for _, a := range p.Args {
		if err := c.checkPred(a, depth+1, nodes); err != nil {
			return err
		}
	}
	return nil
}

// valid reports whether v carries exactly what its type allows.
func (v Value) valid() bool {
	if badType(v.Type) || v.Null && v.Redacted {
		return false
	}
	if v.Null || v.Redacted {
		return v.I == 0 && v.S == ""
	}
	switch v.Type.Kind {
	case Text:
		return v.I == 0 && utf8.ValidString(v.S) && !strings.ContainsRune(v.S, 0)
	case Bool:
		return v.S == "" && (v.I == 0 || v.I == 1)
	case Date:
		return v.S == "" && v.I >= MinDate && v.I <= MaxDate
	}
	return v.S == ""
}
