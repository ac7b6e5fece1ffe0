package algebra

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// structure checks what can be checked without schemas.
func (c Core) structure() error {
	if len(c.Tables) == 0 || len(c.Tables) > MaxTables || len(c.Joins) != len(c.Tables)-1 {
		return errors.New("core: number of tables or joins out of range")
	}
	nodes := 0
	for i, t := range c.Tables {
		if err := t.structure(i, &nodes); err != nil {
			return err
		}
	}
	k := checker{tables: c.Tables, nodes: &nodes}
	for i, j := range c.Joins {
		if err := k.join(i, j); err != nil {
			return err
		}
	}
	if err := k.derive(c.Derived); err != nil {
		return err
	}
	for i, key := range c.Keys {
		if k.badCol(key) {
			return fmt.Errorf("core: key %d malformed", i)
		}
	}
	if err := c.checkSets(); err != nil {
		return err
	}
	if len(c.Aggs) == 0 || len(c.Aggs) > MaxAggs {
		if len(c.Aggs) > 0 {
			return ErrLarge
		}
		return errors.New("core: no aggregate")
	}
	for i, a := range c.Aggs {
		if !k.agg(a) {
			return fmt.Errorf("core: aggregate %d malformed", i)
		}
		if a.Filter != nil {
			if err := k.pred(*a.Filter, 1); err != nil {
				return err
			}
		}
	}
	if c.Where != nil {
		return k.pred(*c.Where, 1)
	}
	return nil
}

func goodName(s string) bool { return s != "" && utf8.ValidString(s) }

func (t Table) structure(i int, nodes *int) error {
	if !goodName(t.Dataset) {
		return errors.New("core: table without a data set")
	}
	if len(t.Parts) > 0 && (i > 0 || t.PerUnit != nil) || len(t.Parts) > MaxParts {
		return fmt.Errorf("core: table %d cannot have these parts", i)
	}
	for j, p := range t.Parts {
		if !goodName(p) || p == t.Dataset || slices.Contains(t.Parts[:j], p) {
			return errors.New("core: a part is nameless or there twice")
		}
	}
	u := t.PerUnit
	if u == nil {
		return nil
	}
	// Inside, the data set stands alone as table 0, whatever its place outside.
	k := checker{tables: []Table{{Dataset: t.Dataset}}, nodes: nodes}
	if err := k.derive(u.Derived); err != nil {
		return err
	}
	if len(u.Aggs) == 0 || len(u.Aggs) > MaxPerUnit {
		return fmt.Errorf("core: table %d has no value per unit or too many", i)
	}
	for _, a := range u.Aggs {
		switch a.Func {
		case CountRows, CountCol, Sum, Min, Max:
		default:
			return fmt.Errorf("core: table %d has a value per unit of an unknown kind", i)
		}
		if a.Filter != nil || !k.agg(a) {
			return fmt.Errorf("core: table %d has a malformed value per unit", i)
		}
	}
	if u.Where != nil {
		return k.pred(*u.Where, 1)
	}
	return nil
}

// checkSets wants ascending sets that together use every key.
func (c Core) checkSets() error {
	if c.Sets == nil {
		return nil
	}
	bad := errors.New("core: malformed grouping sets")
	if len(c.Sets) == 0 || len(c.Sets) > MaxSets {
		return bad
	}
	used := make([]bool, len(c.Keys))
	for _, set := range c.Sets {
		last := -1
		for _, k := range set {
			if k <= last || k >= len(c.Keys) {
				return bad
			}
			last, used[k] = k, true
		}
	}
	if slices.Contains(used, false) {
		return bad
	}
	return nil
}

// checker checks columns, predicates and expressions over some tables.
type checker struct {
	tables  []Table
	derived []Expr // those that may be named here
	// nodes counts everything checked so far, with every derived column counted where
	// it is used as if it were written out there: no reader can be made to expand a
	// small core into a huge one.
	nodes *int
	size  []int // of derived, written out
}

var (
	errPred = errors.New("core: malformed predicate")
	errExpr = errors.New("core: malformed expression")
	// ErrLarge is returned for a core beyond the limits on what it may say.
	ErrLarge = errors.New("core: predicates or expressions are too large")
)

func (k *checker) join(i int, j Join) error {
	if j.Table != i+1 {
		return fmt.Errorf("core: join %d out of order", i)
	}
	if j.Unit {
		if j.Left != (Col{}) || j.Right != (Col{}) {
			return fmt.Errorf("core: join %d names columns beside the unit", i)
		}
		return nil
	}
	if j.Right.Table != j.Table || j.Left.Table < 0 || j.Left.Table >= j.Table {
		return fmt.Errorf("core: join %d out of order", i)
	}
	if k.badCol(j.Left) || k.badCol(j.Right) || j.Left.Type != j.Right.Type {
		return fmt.Errorf("core: join %d has malformed columns", i)
	}
	return nil
}

// derive checks the expressions in order: each may name those before it.
func (k *checker) derive(list []Expr) error {
	if len(list) > MaxDerived {
		return ErrLarge
	}
	for i, e := range list {
		k.derived = list[:i]
		before := *k.nodes
		if err := k.expr(e, 1); err != nil {
			return err
		}
		k.size = append(k.size, *k.nodes-before)
	}
	k.derived = list
	return nil
}

func (k *checker) badCol(col Col) bool {
	if !goodName(col.Name) || badType(col.Type) {
		return true
	}
	if col.Table == DerivedTable {
		i, ok := col.Derived()
		if !ok || i >= len(k.derived) {
			return true
		}
		*k.nodes += k.size[i]
		return k.derived[i].Type != col.Type
	}
	if col.Table < 0 || col.Table >= len(k.tables) {
		return true
	}
	if u := k.tables[col.Table].PerUnit; u != nil {
		i, ok := PerUnitIndex(col.Name)
		return !ok || i >= len(u.Aggs) || u.Aggs[i].perUnitType() != col.Type
	}
	return false
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

func (t Type) number() bool { return t.Kind == Int || t.Kind == Decimal }

// agg checks an aggregate but for its filter.
func (k *checker) agg(a Agg) bool {
	one := a.Arg != nil && a.Arg2 == nil && !k.badCol(*a.Arg)
	if a.Func != Quantile && a.Q != 0 {
		return false
	}
	switch a.Func {
	case CountRows, CountUnits:
		return a.Arg == nil && a.Arg2 == nil
	case CountCol:
		return one
	case Sum, Avg, VarSamp, VarPop, StddevSamp, StddevPop:
		return one && a.Arg.Type.number()
	case CovarSamp, CovarPop, Corr, RegrSlope, RegrIntercept, RegrR2, RegrCount:
		return a.Arg != nil && a.Arg2 != nil && !k.badCol(*a.Arg) && !k.badCol(*a.Arg2) &&
			a.Arg.Type.number() && a.Arg2.Type.number()
	case Quantile, Min, Max:
		return one && (a.Arg.Type.number() || a.Arg.Type.Kind == Date) && a.Q >= 0 && a.Q <= 1_000_000
	}
	return false
}

func (k *checker) pred(p Pred, depth int) error {
	*k.nodes += 1 + len(p.Values)
	if depth > MaxDepth || *k.nodes > MaxNodes {
		return ErrLarge
	}
	var ok bool
	leaf := p.Col != nil && !k.badCol(*p.Col) && len(p.Args) == 0
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
			ok = leaf && len(p.Values) == 0 && !k.badCol(*p.Other) && p.Other.Type == p.Col.Type
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
		if err := k.pred(a, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (k *checker) expr(e Expr, depth int) error {
	*k.nodes++
	if depth > MaxDepth || *k.nodes > MaxNodes {
		return ErrLarge
	}
	for _, a := range e.Args {
		if err := k.expr(a, depth+1); err != nil {
			return err
		}
	}
	for _, w := range e.Whens {
		if err := k.pred(w.If, depth+1); err != nil {
			return err
		}
		if err := k.expr(w.Then, depth+1); err != nil {
			return err
		}
	}
	if e.Else != nil {
		if err := k.expr(*e.Else, depth+1); err != nil {
			return err
		}
	}
	// Every field that the operator does not use must be absent, so that an
	// expression has one encoding.
	bare := e
	switch e.Op {
	case ExprCol:
		bare.Col = nil
	case ExprLit:
		bare.Value = nil
	case ExprCase:
		bare.Whens, bare.Else = nil, nil
	case ExprPart:
		bare.Args, bare.Part = nil, ""
	default:
		bare.Args = nil
	}
	if bare.Col != nil || bare.Value != nil || bare.Whens != nil || bare.Else != nil || bare.Args != nil || bare.Part != "" {
		return errExpr
	}
	if badType(e.Type) || !k.typed(e) {
		return errExpr
	}
	return nil
}

// typed checks the operands of e, all well formed, against its operator and type.
func (k *checker) typed(e Expr) bool {
	var a, b Type
	if len(e.Args) > 0 {
		a = e.Args[0].Type
	}
	if len(e.Args) > 1 {
		b = e.Args[1].Type
	}
	day, days := Type{Kind: Date}, Type{Kind: Int}
	two := len(e.Args) == 2
	switch e.Op {
	case ExprCol:
		return e.Col != nil && e.Col.Table >= 0 && !k.badCol(*e.Col) && e.Col.Type == e.Type
	case ExprLit:
		return e.Value != nil && e.Value.Type == e.Type && e.Value.validInExpr()
	case ExprAdd:
		return two && (a.number() && a == b && e.Type == a || a == day && b == days && e.Type == day)
	case ExprSub:
		return two && (a.number() && a == b && e.Type == a || a == day && b == days && e.Type == day || a == day && b == day && e.Type == days)
	case ExprMul:
		return two && a.number() && b.number() && e.Type == product(a, b)
	case ExprDiv, ExprMod:
		return two && a == days && b == days && e.Type == days && e.Args[1].Op == ExprLit && !e.Args[1].Value.Null && e.Args[1].Value.I > 0
	case ExprScale:
		return len(e.Args) == 1 && a.number() && e.Type.Kind == Decimal && e.Type.Scale > a.Scale
	case ExprAbs:
		return len(e.Args) == 1 && a.number() && e.Type == a
	case ExprCoalesce:
		return len(e.Args) >= 2 && !slices.ContainsFunc(e.Args, func(x Expr) bool { return x.Type != e.Type })
	case ExprCase:
		return len(e.Whens) > 0 && (e.Else == nil || e.Else.Type == e.Type) &&
			!slices.ContainsFunc(e.Whens, func(w When) bool { return w.Then.Type != e.Type })
	case ExprPart:
		return len(e.Args) == 1 && a == day && e.Type == days && slices.Contains(DateParts, e.Part)
	case ExprBin:
		return len(e.Args) == 1 && e.Args[0].Op == ExprCol && e.Type == a && (a.number() || a == day)
	}
	return false
}

// product is the type of a product of two numbers; badType tells a scale above 9.
func product(a, b Type) Type {
	if a.Kind == Int && b.Kind == Int {
		return Type{Kind: Int}
	}
	return Type{Kind: Decimal, Scale: a.Scale + b.Scale}
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

// validInExpr is valid for a literal of an expression: only text is redacted
// there, to its ordinal, and numbers are small.
func (v Value) validInExpr() bool {
	if v.Redacted {
		return v.Type == Type{Kind: Text} && !v.Null && v.I > 0 && v.I <= MaxNodes && v.S == ""
	}
	return v.valid() && (!v.Type.number() || v.I >= -MaxExprLiteral && v.I <= MaxExprLiteral)
}
