package protect

import (
	"math/big"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/policies"
)

// Facts are the public facts of one data set that a plan may depend on: the
// departments' policy in force and the schema of the snapshot, never its content.
type Facts struct {
	Dataset    string
	Department string // owner: named in refusals
	Public     bool   // no privacy unit; joinable as a dimension only
	// Unit is the kind of the privacy unit; two private data sets meet on it only
	// when it is one and the same.
	Unit    policies.UnitKind
	Mode    Mode
	MaxRows int64 // m ≥ 1
	OneRow  bool  // verified at ingest: one row per unit
	Columns map[string]ColumnFacts
	// K is the least number of distinct units of a private key (dp) or of a
	// cell and its complement (exact).
	K     int64
	Round int64 // exact mode: rounding base
	// Exact holds the further thresholds of exact mode; K and Round above count.
	Exact ExactRules
	// Consent: only units with a consent in force are read (R28).
	Consent bool
	// Unique lists the columns of a public table that ingest verified to be
	// unique one by one: a join on any other column could multiply rows.
	Unique []string
	// QueryRho is the default price of a query, QueryMaxRho the most one may cost.
	QueryRho    budget.Nano
	QueryMaxRho budget.Nano
}

// ColumnFacts are the public facts of one column as stored in the snapshot.
type ColumnFacts struct {
	Type     algebra.Type
	Nullable bool
	// Bounds is the policy's registered range in minimal units or days; nil: none, so
	// the column can be neither a measure nor an operand of arithmetic. Stored is the range enforced at ingest.
	Bounds *Range
	Stored *Range
	// Codes is the registered code list after masking, in canonical order
	// (sorted, distinct); nil when the column has none.
	Codes   []algebra.Value
	Private bool // its values are not public as a grouping key
	// Grid are the edges of the registered grid in minimal units or days, ascending,
	// at least two; nil: none, so no quantile, minimum, maximum or bin.
	Grid []int64
}

// Cell is one group of exact partials. Keys are parallel to Plan.Keys, M to
// Plan.Measures. Exact partials never leave the process that draws the noise.
type Cell struct {
	Keys []algebra.Value
	M    []*big.Int
	// Lists are parallel to Plan.Exact.Lists.
	Lists [][]uint64
}

// Partials is what a worker returns: non-empty cells, each key combination at
// most once, and in exact mode Total, the cell of all rows selected by WHERE.
type Partials struct {
	Cells []Cell
	Total *Cell
}
