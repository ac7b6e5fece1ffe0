package algebra

import (
	"strconv"
	"strings"
)

// ExprOp is an operator of a scalar expression. All are total: none can raise an
// engine error on a row whose columns lie in their registered bounds, and
// compute/protect refuses an expression whose bounds could leave 64 bits.
type ExprOp string

const (
	ExprCol      ExprOp = "col"      // Col
	ExprLit      ExprOp = "lit"      // Value; NULL allowed
	ExprAdd      ExprOp = "add"      // Args: two of one numeric type; or Date + Int → Date
	ExprSub      ExprOp = "sub"      // Args: two of one numeric type; Date − Date → Int days; Date − Int → Date
	ExprMul      ExprOp = "mul"      // Args: two numbers; scales add up to at most 9
	ExprDiv      ExprOp = "div"      // Args: Int and a positive Int literal; integer quotient, dividend not negative
	ExprMod      ExprOp = "mod"      // as ExprDiv; remainder
	ExprScale    ExprOp = "scale"    // Args[0] a number of a smaller scale, to Type's scale, exactly
	ExprAbs      ExprOp = "abs"      // Args[0]
	ExprCoalesce ExprOp = "coalesce" // Args: two or more of one type
	ExprCase     ExprOp = "case"     // Whens, Else
	ExprPart     ExprOp = "part"     // Args[0] Date → Int; Part
	ExprBin      ExprOp = "bin"      // Args[0] a column with a registered grid → lower edge of its grid cell
)

// Parts of a date, by ISO 8601: isodow is 1 (Monday) … 7.
var DateParts = []string{"year", "quarter", "month", "day", "isodow"}

// Expr is a scalar expression over the columns of a core. NULL in, NULL out,
// except for case and coalesce.
type Expr struct {
	Op    ExprOp `json:"op"`
	Type  Type   `json:"type"` // of the result
	Args  []Expr `json:"args,omitempty"`
	Col   *Col   `json:"col,omitempty"`
	Value *Value `json:"value,omitempty"`
	Whens []When `json:"whens,omitempty"`
	Else  *Expr  `json:"else,omitempty"` // nil: NULL
	Part  string `json:"part,omitempty"`
}

// When is one branch of CASE: the first whose If is TRUE gives Then.
type When struct {
	If   Pred `json:"if"`
	Then Expr `json:"then"`
}

// MaxExprLiteral bounds a numeric literal of an expression, in minimal units. It
// stands in the ledger in clear, because bounds and prices follow from it; nine
// digits can hold no identity or telephone number. Text literals of an expression
// are redacted to their ordinal (Value.I, from 1, equal texts alike), because the
// number of distinct labels decides how many cells are answered.
const MaxExprLiteral = 999_999_999

// Each calls value for every column that e computes with and condition for every
// column that a CASE of e looks at, in the order they stand. Both may be nil.
func (e Expr) Each(value, condition func(Col)) {
	if e.Col != nil && value != nil {
		value(*e.Col)
	}
	for _, a := range e.Args {
		a.Each(value, condition)
	}
	for _, w := range e.Whens {
		if condition != nil {
			w.If.Each(condition)
		}
		w.Then.Each(value, condition)
	}
	if e.Else != nil {
		e.Else.Each(value, condition)
	}
}

// Each calls visit for every column of p in the order they stand.
func (p Pred) Each(visit func(Col)) {
	if p.Col != nil {
		visit(*p.Col)
	}
	if p.Other != nil {
		visit(*p.Other)
	}
	for _, a := range p.Args {
		a.Each(visit)
	}
}

// DerivedCol is the column that Derived[i], of type t, defines.
func DerivedCol(i int, t Type) Col {
	return Col{Table: DerivedTable, Name: "e" + strconv.Itoa(i), Type: t}
}

// Derived returns the index of the expression behind col, when col is derived.
func (col Col) Derived() (int, bool) {
	if col.Table != DerivedTable {
		return 0, false
	}
	return numbered(col.Name, "e")
}

// PerUnitName is the name of the i-th column of a PerUnit table.
func PerUnitName(i int) string { return "a" + strconv.Itoa(i) }

// PerUnitIndex is the inverse of PerUnitName.
func PerUnitIndex(name string) (int, bool) { return numbered(name, "a") }

func numbered(name, prefix string) (int, bool) {
	digits, ok := strings.CutPrefix(name, prefix)
	if !ok {
		return 0, false
	}
	i, err := strconv.Atoi(digits)
	return i, err == nil && i >= 0 && strconv.Itoa(i) == digits
}
