// Package protect turns an algebra.Core and the departments' policy into a
// protected plan: contribution bounds, keys, sensitivities, noise scales and the
// price. It is pure; the same inputs give the same plan, so an auditor can
// recompute every price.
package protect

import (
	"math/big"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/budget"
)

// Mode is the release mode 发布方式 that the department chose for a data set.
type Mode string

const (
	ModeDP    Mode = "dp"    // discrete Gaussian noise, charged to the budget
	ModeExact Mode = "exact" // thresholds, complement and rounding
)

// MeasureKind says which exact partial the worker computes for a cell.
type MeasureKind string

const (
	MeasureRows    MeasureKind = "rows"     // number of rows kept by the bound
	MeasureNonNull MeasureKind = "non_null" // rows with a non-NULL Col
	MeasureSum     MeasureKind = "sum"      // Σ Col − Offset·non-null rows, in minimal units
	MeasureUnits   MeasureKind = "units"    // distinct privacy units
	// MeasureFirst counts rows of rank 1: at most one per unit over all cells, so it
	// bounds the distinct units of a cell from below at sensitivity 1 and at the cost
	// of a row count. Selection of private keys reads it.
	MeasureFirst MeasureKind = "first"
	// MeasureProduct is Σ (Col − Offset)(Col2 − Offset2) over rows where neither is
	// NULL; with Col2 equal to Col, the centred sum of squares.
	MeasureProduct MeasureKind = "product"
	// MeasureBin counts rows with Bin.Lo ≤ Col < Bin.Hi (Bin.Hi inclusive in the last
	// grid cell, which LastBin says).
	MeasureBin MeasureKind = "bin"
)

// Measure is one exact integer per cell and the noise it must receive.
type Measure struct {
	Kind MeasureKind  `json:"kind"`
	Col  *algebra.Col `json:"col,omitempty"`
	// Clamp is non-nil when the policy's bounds are narrower than the bounds
	// enforced at ingest, so the engine must clamp each row to [Lo,Hi].
	Clamp  *Range `json:"clamp,omitempty"`
	Offset int64  `json:"offset,omitempty"` // midpoint subtracted per row (AVG), minimal units
	// Col2, Clamp2 and Offset2 are the second factor of MeasureProduct.
	Col2    *algebra.Col `json:"col2,omitempty"`
	Clamp2  *Range       `json:"clamp2,omitempty"`
	Offset2 int64        `json:"offset2,omitempty"`
	Bin     *Range       `json:"bin,omitempty"`
	LastBin bool         `json:"last_bin,omitempty"`
	// Both counts and sums only rows where Col and Col2 are both not NULL: for the
	// two-column moments. Set with Kind non_null or sum and Col2.
	Both bool `json:"both,omitempty"`
	// Centre and CentreBy reduce a sum of squares, which is never negative: the engine
	// computes it as it is, and the kernel subtracts Centre times the exact value of
	// measure CentreBy (the count of the same rows) before it adds noise. Sens2 is
	// that of the difference. nil: nothing is subtracted.
	Centre   *big.Int `json:"centre,omitempty"`
	CentreBy int      `json:"centre_by,omitempty"`
	// Filter is the aggregate's FILTER (WHERE …), for the squares of two-column
	// moments together with NOT (other column IS NULL).
	Filter *algebra.Pred `json:"filter,omitempty"`
	// Vector, when not 0, joins measures into one vector whose cells a row can be
	// counted in only once (the bins of a grid): they have one joint Sens2 and Sigma2,
	// repeated in each, and one price, booked in the first of them.
	Vector int `json:"vector,omitempty"`
	// Sens2 is the squared L2 sensitivity Δ₂² of this measure's vector of cells
	// when one privacy unit is added or removed (all its rows, at most MaxRows).
	Sens2 *big.Int `json:"sens2"`
	// Sigma2 is the integer variance of the discrete Gaussian added per cell:
	// ⌈Δ₂²/(2ρ)⌉. Zero in exact mode, and in dp mode for a measure that only
	// Selection reads and no output may use.
	Sigma2 *big.Int    `json:"sigma2"`
	Rho    budget.Nano `json:"rho"` // price of this measure, nano-ρ
}

// Range is an inclusive interval in minimal units.
type Range struct {
	Lo int64 `json:"lo"`
	Hi int64 `json:"hi"`
}

// Key is one grouping key of the plan.
type Key struct {
	Col algebra.Col `json:"col"`
	// Codes is the public code list: every code is answered, empty cells too.
	// nil means private keys: released only past the pre-threshold and τ.
	Codes []algebra.Value `json:"codes,omitempty"`
	// Nullable adds one cell for NULL to a public code list.
	Nullable bool `json:"nullable,omitempty"`
}

// Output says how one aggregate is computed from noisy measures. For Avg, A is
// the centred sum and B the non-null count; so too for a Sum with Offset ≠ 0, which
// shares them with an AVG or moment of the same column (Σ = A + Offset·B); otherwise
// only A is used. Moments and order statistics use In instead.
type Output struct {
	Func algebra.Func `json:"func"`
	A    int          `json:"a"`
	B    int          `json:"b,omitempty"`
	// In lists measures: for var and stddev n, Σx, Σx²; for covar, corr and regr n, Σy,
	// Σx, Σy², Σx², Σxy (all centred; Σy², Σx² are −1 where the function needs none);
	// for quantile, min and max the bins in order.
	In []int `json:"in,omitempty"`
	// Grid are the edges of the bins, one more than In; Q the quantile in millionths.
	Grid    []int64 `json:"grid,omitempty"`
	Q       int64   `json:"q,omitempty"`
	Scale2  uint8   `json:"scale2,omitempty"` // of Arg2
	Offset2 int64   `json:"offset2,omitempty"`
	Range2  Range   `json:"range2,omitzero"`
	Scale   uint8   `json:"scale,omitempty"` // decimal digits of the argument
	Offset  int64   `json:"offset,omitempty"`
	Range   Range   `json:"range"` // registered bounds of the argument (Avg, Sum)
}

// Selection governs private keys: a key is considered only with at least K
// distinct units, and released only when noisy(units − (K−1)) ≥ Tau
// (pre-thresholding as in Google's partition selection).
type Selection struct {
	K       int64       `json:"k"`
	Tau     int64       `json:"tau"`
	Sigma2  *big.Int    `json:"sigma2"`
	Sens2   *big.Int    `json:"sens2"`
	Rho     budget.Nano `json:"rho"`
	Measure int         `json:"measure"` // index of the units measure it reads
}

// ExactRules are the thresholds of exact mode, per cell.
type ExactRules struct {
	K     int64 `json:"k"`     // distinct units per cell and per complement
	Round int64 `json:"round"` // rounding base of counts (5)
	// Top1 and Top2 are the most, in percent of the absolute total, that the largest
	// and the two largest units may contribute to a sum; P is the least, in percent
	// of the largest, that all but the two largest must; Dof the least residual
	// degrees of freedom of a mean.
	Top1 int64 `json:"top1"`
	Top2 int64 `json:"top2"`
	P    int64 `json:"p"`
	Dof  int64 `json:"dof"`
	// Zeros are the key combinations that the department declared empty by nature: a
	// cell that matches one and is empty is answered with zero.
	Zeros []map[string]string `json:"zeros,omitempty"`
	Merge bool                `json:"merge,omitempty"` // withheld cells are added up in one further row
	// NanoBits is the information cap: 1e-9 bit per unit of the snapshot.
	NanoBits int64 `json:"nano_bits"`
	// Lists are the list columns of the result, in order; see List.
	Lists     []List `json:"lists,omitempty"`
	SnapUnits int64  `json:"-"` // distinct units in the snapshot, from its manifest
}

// List is a list column of an exact result: with Top, at most two absolute values
// of Col, the largest of the cell; otherwise the tokens of the cell's units, with
// Col of those that have a value in it.
type List struct {
	Col *algebra.Col `json:"col,omitempty"`
	Top bool         `json:"top,omitempty"`
}

// Grid is the registered grid of a column that a bin expression reads: bin(v) is the
// greatest edge but the last that is ≤ v, and the first edge below it.
type Grid struct {
	Dataset int     `json:"dataset"` // index into Core.Datasets()
	Column  string  `json:"column"`
	Edges   []int64 `json:"edges"` // ascending, at least two
}

// Plan is a protected plan. Everything in it is fixed before data is read and
// depends on public facts only.
type Plan struct {
	Core    algebra.Core `json:"core"`
	Mode    Mode         `json:"mode"`
	MaxRows int64        `json:"max_rows"` // m: rows one unit has after bounding and joins; MaxInt64 in exact mode
	OneRow  bool         `json:"one_row"`  // at most one row per unit without bounding
	// Ranks bounds each data set of Core.Datasets() to rows with _rn ≤ Ranks[i]; 0: no
	// bound is needed (public, one row per unit, exact mode, or Weight).
	Ranks []int64 `json:"ranks"`
	// Weight, when not 0, replaces ranks of the fact table by weights on an integer
	// lattice: after WHERE, each row of a unit that has n rows left weighs
	// ⌊Weight·m/max(m,n)⌋ (n counts what joins and WHERE leave, registered codes or
	// not), counts are sums of weights and sums are sums of weight·value
	// (so sensitivities are Weight times those of rows), and the kernel divides by
	// Weight after noise.
	Weight int64 `json:"weight,omitempty"`
	// Grids are the grids of all bin expressions, by data set and column name.
	Grids     []Grid      `json:"grids,omitempty"`
	Keys      []Key       `json:"keys,omitempty"`
	Measures  []Measure   `json:"measures"`
	Outputs   []Output    `json:"outputs"` // parallel to Core.Aggs
	Selection *Selection  `json:"selection,omitempty"`
	Exact     *ExactRules `json:"exact,omitempty"`
	MaxCells  int         `json:"max_cells"` // cap of cells a worker may return
	Rho       budget.Nano `json:"rho"`       // whole price

	// Consents says of each data set of Core.Datasets() whether its rows are read only
	// of units with a consent in force; nil: of none.
	Consents []bool `json:"consents,omitempty"`
}
