package release

import (
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/compute/protect"
	"github.com/sandgate/sandgate/policies"
)

// ErrKernel is the one error of DP and Exact. It says nothing of the cause,
// which might depend on data; the budget stays spent.
var ErrKernel = errors.New("failed to release result: the kernel refused it")

// Kind says what a column holds.
type Kind string

const (
	KindKey      Kind = "key"      // a grouping key
	KindEstimate Kind = "estimate" // a noisy or rounded aggregate
)

// Codes of a withheld estimate.
const (
	TooNoisy = "TOO_NOISY" // dp: what an average, moment or quantile divides by is not clearly above zero
	// BelowK and Complement are one word on purpose: a cell with too few units and
	// one that is withheld for its neighbours' sake must look the same, or the
	// reader learns which cells are really small.
	BelowK     = "WITHHELD" // exact: fewer than k distinct units, or none
	Complement = BelowK     // exact: others could be computed from it by subtraction
	// Differencing is exact mode's: with an earlier release (Release.Collides) the
	// value would speak of fewer than k units.
	Differencing = "DIFFERENCING"
	// AnotherOperator stands for the job of somebody else in what a party is told:
	// DIFFERENCING:job or DIFFERENCING:other.
	AnotherOperator = "other"
	// Other marks the keys of the row that adds the withheld cells up.
	Other = "OTHER"
)

// Explain gives the bilingual meaning of a withheld estimate's code.
func Explain(code string) policies.Text {
	code, with, _ := strings.Cut(code, ":")
	if code == Differencing && with == AnotherOperator {
		return policies.Text{ZH: "与另一机构先前的一次发布相减会得到低于门槛的单元", EN: "subtracting another operator's release would leave fewer units than the threshold"}
	}
	if code == Differencing && with != "" {
		return policies.Text{ZH: "与作业 " + with + " 的发布相减会得到低于门槛的单元", EN: "subtracting the release of job " + with + " would leave fewer units than the threshold"}
	}
	switch code {
	case TooNoisy:
		return policies.Text{ZH: "该组数据相对噪声太少，结果无意义", EN: "too few values, or too little spread, against the noise for the result to mean anything"}
	case Differencing:
		return policies.Text{ZH: "与先前的一次发布相减会得到低于门槛的单元", EN: "subtracting an earlier release would leave fewer units than the threshold"}
	case Other:
		return policies.Text{ZH: "其余各组合计", EN: "all withheld cells together"}
	case BelowK:
		return policies.Text{ZH: "该组或可由其推出的组单元数低于门槛", EN: "this cell, or one that could be computed from it, is below the threshold"}
	}
	return policies.Text{}
}

// Column describes one column of a Release. Type.Scale counts the decimal digits
// of its values: those of the argument for SUM, two more for AVG. Name is empty
// until Apply.
type Column struct {
	Name string
	Kind Kind
	Func algebra.Func // estimates only
	Type algebra.Type
}

// Cell is one released value as text: numbers in plain decimal, dates as
// yyyy-mm-dd, truth values as true or false. Null is set for a NULL key and for a
// withheld estimate, which also has Suppressed. Lo and Hi bound an estimate: a
// 95 % confidence interval in dp mode, the rounding interval in exact mode.
type Cell struct {
	Kind       Kind
	Null       bool
	Value      string
	Lo, Hi     string
	Suppressed string
}

// Release is what may leave the domain. Only this package makes one; it is
// immutable and safe for concurrent use. It holds released values alone.
type Release struct {
	mode    protect.Mode
	rho     budget.Nano
	derived bool
	source  string // hex digest of the release this one was derived from
	origin  string // hex digest of the release that Rekeyed was called on; otherwise empty
	// collides is the job of an earlier release that a withheld value collided with.
	collides string
	// overlap is the number of domains that a unit may have been counted in; 0: one.
	overlap int
	cols    []Column
	rows    [][]value
}

// value is a cell: text for Text keys, num in minimal units for everything else.
// The zero value is a NULL key.
type value struct {
	text     *string
	num      *big.Int
	lo, hi   *big.Int
	withheld string
}

func (v value) null() bool { return v.text == nil && v.num == nil }

// Mode returns the release mode.
func (r *Release) Mode() protect.Mode { return r.mode }

// Rho returns the price that was paid. A derived release costs nothing more.
func (r *Release) Rho() budget.Nano { return r.rho }

// Collides names the job of an earlier release that values withheld as
// Differencing collided with, "" for none. It may be another operator's: who is
// told of it is the caller's to decide.
func (r *Release) Collides() string { return r.collides }

// Overlap is the number of domains that one privacy unit may stand in, 1 of a release of
// one domain. Units that stand in several were counted in each, so the true number of
// distinct units lies between the Overlap-th part of a COUNT(DISTINCT unit) and the count
// itself; its interval says so.
func (r *Release) Overlap() int { return max(1, r.overlap) }

// OverlapNote says so to people; it is empty where it means nothing.
func (r *Release) OverlapNote() policies.Text {
	if r.Overlap() == 1 || !slices.ContainsFunc(r.cols, func(c Column) bool { return c.Func == algebra.CountUnits }) {
		return policies.Text{}
	}
	return policies.Text{ZH: fmt.Sprintf("一个单元可出现在至多 %d 个域，在几个域出现即计几次：去重单元的真实数目在所示之数的 1/%d 与所示之数之间，区间已含此范围", r.overlap, r.overlap),
		EN: fmt.Sprintf("a unit may stand in up to %d domains and is counted in each: the true number of distinct units lies between 1/%d of what is shown and what is shown; the interval covers it", r.overlap, r.overlap)}
}

// Derived reports whether Apply made this release.
func (r *Release) Derived() bool { return r.derived }

// Len returns the number of rows.
func (r *Release) Len() int { return len(r.rows) }

// Columns returns a copy of the columns, keys first unless the release is derived.
func (r *Release) Columns() []Column { return append([]Column(nil), r.cols...) }

// Rows returns the released cells as text, each call a new copy.
func (r *Release) Rows() [][]Cell {
	out := make([][]Cell, len(r.rows))
	for i, row := range r.rows {
		out[i] = make([]Cell, len(row))
		for j, v := range row {
			c := r.cols[j]
			cell := Cell{Kind: c.Kind, Null: v.null(), Suppressed: v.withheld}
			if !cell.Null {
				cell.Value = format(v, c.Type)
			}
			if v.lo != nil {
				cell.Lo, cell.Hi = format(value{num: v.lo}, c.Type), format(value{num: v.hi}, c.Type)
			}
			out[i][j] = cell
		}
	}
	return out
}

func format(v value, t algebra.Type) string {
	switch t.Kind {
	case algebra.Text:
		return *v.text
	case algebra.Bool:
		if v.num.Sign() != 0 {
			return "true"
		}
		return "false"
	case algebra.Date:
		return time.Unix(v.num.Int64()*86400, 0).UTC().Format(time.DateOnly)
	}
	return algebra.FormatDecimal(v.num, t.Scale)
}

// header describes the columns a plan releases: keys, outputs and, with grouping
// sets, the bit mask of the keys a row does not have.
func header(p *protect.Plan) []Column {
	var cols []Column
	for _, k := range p.Keys {
		cols = append(cols, Column{Kind: KindKey, Type: k.Col.Type})
	}
	for i, o := range p.Outputs {
		c := Column{Kind: KindEstimate, Func: o.Func, Type: algebra.Type{Kind: algebra.Int}}
		scaled := func(scale uint8) { c.Type = algebra.Type{Kind: algebra.Decimal, Scale: scale} }
		switch o.Func {
		case algebra.Sum, algebra.Quantile, algebra.Min, algebra.Max:
			c.Type = p.Core.Aggs[i].Arg.Type
		case algebra.Avg, algebra.StddevPop, algebra.StddevSamp:
			scaled(o.Scale + avgDigits)
		case algebra.VarPop, algebra.VarSamp:
			scaled(2*o.Scale + avgDigits)
		case algebra.CovarPop, algebra.CovarSamp:
			scaled(o.Scale + o.Scale2 + avgDigits)
		case algebra.Corr, algebra.RegrR2, algebra.RegrSlope, algebra.RegrIntercept:
			scaled(protect.MomentDigits)
		}
		cols = append(cols, c)
	}
	if p.Core.Sets != nil {
		cols = append(cols, Column{Kind: KindKey, Type: algebra.Type{Kind: algebra.Int}})
	}
	return cols
}

// twoParts reports whether an output is made of measures A and B.
func twoParts(o protect.Output) bool {
	return o.Func == algebra.Avg || o.Func == algebra.Sum && o.Offset != 0
}

// keyValue copies a key into the release.
func keyValue(v algebra.Value) value {
	switch {
	case v.Null:
		return value{}
	case v.Type.Kind == algebra.Text:
		s := strings.Clone(v.S)
		return value{text: &s}
	}
	return value{num: big.NewInt(v.I)}
}
