package algebra

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
