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

// DerivedTable is the Table of a column that Core.Derived (or PerUnit.Derived)
// defines: the i-th expression is column "e<i>" of it.
const DerivedTable = -1

// Col is a resolved column: Table indexes Core.Tables, or is DerivedTable.
type Col struct {
	Table int    `json:"table"`
	Name  string `json:"name"`
	Type  Type   `json:"type"`
}

// Table is one data set in FROM. Tables[0] is the fact table. Every further one is
// a public dimension (公开维表) joined on its unique key, or a private table of one
// row per unit joined on the unit.
type Table struct {
	Dataset string `json:"dataset"`
	// Parts are further partitions of the fact table (UNION ALL): data sets with
	// the same unit that have every column the core uses, of the same type.
	Parts []string `json:"parts,omitempty"`
	// PerUnit, when set, replaces the table by its pre-aggregation to one row per
	// privacy unit.
	PerUnit *PerUnit `json:"per_unit,omitempty"`
}

// PerUnit pre-aggregates a private table to one row per unit: SELECT unit, aggs
// FROM table WHERE … GROUP BY unit. Its columns for the rest of the core are a0,
// a1, … in the order of Aggs and nothing else; inside it, columns have Table 0 (the
// data set itself) or DerivedTable (its own Derived).
type PerUnit struct {
	Derived []Expr `json:"derived,omitempty"`
	Where   *Pred  `json:"where,omitempty"`
	// Aggs may be CountRows, CountCol, Sum, Min and Max, without noise: they are
	// values of one unit. Sum, Min and Max of no value are NULL.
	Aggs []Agg `json:"aggs"`
}

// Join attaches Tables[Table] by equality of Left (a column of an earlier table)
// and Right (the declared unique key of the joined public table). With Unit it
// attaches a private table of one row per unit by the privacy unit; Left and Right
// are zero then.
type Join struct {
	Table int  `json:"table"`
	Outer bool `json:"outer,omitempty"` // LEFT JOIN; otherwise INNER
	Unit  bool `json:"unit,omitempty"`
	Left  Col  `json:"left,omitzero"`
	Right Col  `json:"right,omitzero"`
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

	// Noisy moments of Int or Decimal columns. The two-column ones take
	// (dependent y = Arg, independent x = Arg2), as SQL's REGR functions do.
	VarSamp       Func = "var_samp"
	VarPop        Func = "var_pop"
	StddevSamp    Func = "stddev_samp"
	StddevPop     Func = "stddev_pop"
	CovarSamp     Func = "covar_samp"
	CovarPop      Func = "covar_pop"
	Corr          Func = "corr"
	RegrSlope     Func = "regr_slope"
	RegrIntercept Func = "regr_intercept"
	RegrR2        Func = "regr_r2"
	RegrCount     Func = "regr_count" // rows where neither is NULL

	// Order statistics of Int, Decimal or Date columns with a registered grid, from
	// noisy counts per grid cell. Min and Max inside PerUnit are exact and need none.
	Quantile Func = "quantile" // Agg.Q
	Min      Func = "min"
	Max      Func = "max"
)

// Agg is one aggregate of the core. Arg is nil for CountRows and CountUnits.
type Agg struct {
	Func Func `json:"func"`
	Arg  *Col `json:"arg,omitempty"`
	Arg2 *Col `json:"arg2,omitempty"` // two-column functions: the independent x
	// Q is the quantile in millionths, 0…1e6; zero for every other function.
	// MEDIAN is the quantile 500000.
	Q int64 `json:"q,omitempty"`
	// Filter is FILTER (WHERE …): only rows where it is TRUE are aggregated.
	Filter *Pred `json:"filter,omitempty"`
}

// Core is the protected core of a query: everything up to the noisy aggregate.
// Keys and Aggs are in canonical order after Canonical; names an operator chose
// live in Post and never reach the engine.
type Core struct {
	Tables []Table `json:"tables"`
	Joins  []Join  `json:"joins,omitempty"`
	// Derived are the expressions behind columns e0, e1, … of DerivedTable. One may
	// read tables and derived columns before it.
	Derived []Expr `json:"derived,omitempty"`
	Where   *Pred  `json:"where,omitempty"` // nil: every row
	Keys    []Col  `json:"keys,omitempty"`
	// Sets are the grouping sets as ascending indices into Keys, in canonical order
	// (longer first, then by index); nil is the one set of all keys. The finest set,
	// all keys, need not be among them: margins are added up from its noisy cells.
	Sets [][]int `json:"sets,omitempty"`
	Aggs []Agg   `json:"aggs"`
}

// Post is post-processing 后处理: it runs on released values only, at no budget.
// References index the core's output columns: keys first, then aggregates.
type Post struct {
	Outputs []Output  `json:"outputs"`
	Having  *PostPred `json:"having,omitempty"`
	Order   []Order   `json:"order,omitempty"`
	Limit   *int64    `json:"limit,omitempty"`
	Offset  int64     `json:"offset,omitempty"`
	// Query, when set, runs on the result of all the fields above.
	Query *PostQuery `json:"query,omitempty"`
}

// Output is one column of the SELECT list: Ref is an index into keys++aggs. With
// Grouping it is GROUPING(keys…) of those key indices, leftmost the highest bit: Ref
// is then len(keys)+len(aggs), the release's bit mask over all keys, which is there
// when Core.Sets is not nil. Without Sets every GROUPING is 0.
type Output struct {
	Ref      int    `json:"ref"`
	Name     string `json:"name"`
	Grouping []int  `json:"grouping,omitempty"`
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
	// Consent: only the rows of units with a consent in force may be read.
	Consent bool `json:"consent,omitempty"`
}

// SchemaColumn is one column as stored in the snapshot, after masking.
type SchemaColumn struct {
	Name string `json:"name"`
	Type Type   `json:"type"`
}
