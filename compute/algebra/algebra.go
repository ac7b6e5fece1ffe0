// Package algebra is the closed, typed relational algebra: everything an
// operator can say to Sandgate, and nothing else. Operator text is decoded into
// it (compute/analyse) and engine SQL is rendered from it alone (Render), so a
// construct that has no value here cannot reach an engine.
//
// The package is pure: values in, values out. All types marshal to canonical
// JSON; the ledger stores a Core with its literals redacted (Core.Redacted) so
// that an auditor can replay the decision without seeing an operand that may be
// somebody's identity number.
package algebra

// Kind is the scalar type of a column or literal. Floating point does not exist
// here on purpose: float sums depend on row order and their sensitivity cannot
// be bounded (Casacuberta et al., CCS 2022).
type Kind string

const (
	Bool    Kind = "bool"
	Int     Kind = "int"     // 64-bit signed
	Decimal Kind = "decimal" // 64-bit signed count of minimal units, 10^-Scale each
	Date    Kind = "date"    // days since 1970-01-01
	Text    Kind = "text"
)

// Type is a Kind with, for Decimal only, the number of decimal digits (0…9).
type Type struct {
	Kind  Kind  `json:"kind"`
	Scale uint8 `json:"scale,omitempty"`
}

// Value is a literal. I carries Bool (0/1), Int, Decimal (minimal units) and
// Date (days); S carries Text. Redacted values keep the Type only.
type Value struct {
	Type     Type   `json:"type"`
	Null     bool   `json:"null,omitempty"`
	I        int64  `json:"i,omitempty"`
	S        string `json:"s,omitempty"`
	Redacted bool   `json:"redacted,omitempty"`
}

// Col is a resolved column: Table indexes Core.Tables.
type Col struct {
	Table int    `json:"table"`
	Name  string `json:"name"`
	Type  Type   `json:"type"`
}

// Table is one data set in FROM. Tables[0] is the fact table; every further one
// is a public dimension (公开维表) joined on its unique key.
type Table struct {
	Dataset string `json:"dataset"`
}

// Join attaches Tables[Table] by equality of Left (a column of an earlier table)
// and Right (the declared unique key of the joined public table).
type Join struct {
	Table int  `json:"table"`
	Outer bool `json:"outer,omitempty"` // LEFT JOIN; otherwise INNER
	Left  Col  `json:"left"`
	Right Col  `json:"right"`
}

// PredOp is a row-wise, total predicate operator: none of them can raise an
// engine error whatever the row holds.
type PredOp string

const (
	OpAnd    PredOp = "and"    // Args
	OpOr     PredOp = "or"     // Args
	OpNot    PredOp = "not"    // Args[0]
	OpEq     PredOp = "eq"     // Col, Values[0] or Other
	OpNe     PredOp = "ne"     //
	OpLt     PredOp = "lt"     //
	OpLe     PredOp = "le"     //
	OpGt     PredOp = "gt"     //
	OpGe     PredOp = "ge"     //
	OpIn     PredOp = "in"     // Col, Values (non-null)
	OpIsNull PredOp = "isnull" // Col
	OpConst  PredOp = "const"  // Values[0], Bool: TRUE or FALSE
)

// Pred is a node of a WHERE tree. SQL three-valued logic applies.
type Pred struct {
	Op     PredOp  `json:"op"`
	Args   []Pred  `json:"args,omitempty"`
	Col    *Col    `json:"col,omitempty"`
	Other  *Col    `json:"other,omitempty"` // column-to-column comparison
	Values []Value `json:"values,omitempty"`
}

// Func is an aggregate of the protected core.
type Func string

const (
	CountRows  Func = "count"       // COUNT(*)
	CountCol   Func = "count_col"   // COUNT(col): rows where col is not NULL
	CountUnits Func = "count_units" // COUNT(DISTINCT <unit column>)
	Sum        Func = "sum"         // SUM(col), Int or Decimal
	Avg        Func = "avg"         // AVG(col), Int or Decimal
)

// Agg is one aggregate of the core. Arg is nil for CountRows and CountUnits.
type Agg struct {
	Func Func `json:"func"`
	Arg  *Col `json:"arg,omitempty"`
}

// Core is the protected core of a query: everything up to the noisy aggregate.
// Keys and Aggs are in canonical order after Canonical; names an operator chose
// live in Post and never reach the engine.
type Core struct {
	Tables []Table `json:"tables"`
	Joins  []Join  `json:"joins,omitempty"`
	Where  *Pred   `json:"where,omitempty"` // nil: every row
	Keys   []Col   `json:"keys,omitempty"`
	Aggs   []Agg   `json:"aggs"`
}

// Post is post-processing 后处理: it runs on released values only, at no budget.
// References index the core's output columns: keys first, then aggregates.
type Post struct {
	Outputs []Output  `json:"outputs"`
	Having  *PostPred `json:"having,omitempty"`
	Order   []Order   `json:"order,omitempty"`
	Limit   *int64    `json:"limit,omitempty"`
	Offset  int64     `json:"offset,omitempty"`
}

// Output is one column of the SELECT list: Ref is an index into keys++aggs.
type Output struct {
	Ref  int    `json:"ref"`
	Name string `json:"name"`
}

// Order sorts by core output Ref. NULLs sort last unless NullsFirst.
type Order struct {
	Ref        int  `json:"ref"`
	Desc       bool `json:"desc,omitempty"`
	NullsFirst bool `json:"nulls_first,omitempty"`
}

// PostPred is a HAVING tree over released values. Op is one of and, or, not,
// eq, ne, lt, le, gt, ge, in, isnull, const. Ref is the compared core output.
type PostPred struct {
	Op     PredOp     `json:"op"`
	Args   []PostPred `json:"args,omitempty"`
	Ref    int        `json:"ref"`
	Other  *int       `json:"other,omitempty"`
	Values []Value    `json:"values,omitempty"`
}

// Query is a whole operator query: the protected core and what is done with its
// released result.
type Query struct {
	Core Core `json:"core"`
	Post Post `json:"post"`
}

// Schema is what name resolution may know of a data set: the columns of its
// snapshot, nothing of their content. It is passed in, so analysis stays pure.
type Schema struct {
	Dataset string         `json:"dataset"`
	Public  bool           `json:"public,omitempty"` // no privacy unit: joinable as a dimension
	Unit    string         `json:"unit,omitempty"`   // unit column name, usable only in COUNT(DISTINCT …)
	Unique  []string       `json:"unique,omitempty"` // declared unique key columns (public tables)
	Columns []SchemaColumn `json:"columns"`
}

// SchemaColumn is one column as stored in the snapshot, after masking.
type SchemaColumn struct {
	Name string `json:"name"`
	Type Type   `json:"type"`
}
