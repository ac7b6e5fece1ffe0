package render

import (
	"errors"
	"math/big"
	"strconv"
	"strings"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/protect"
)

// measure renders the exact partial of one measure. Every sum is one of 64-bit
// integers in 128 bits, or of products that are proven to leave room for 2^32 rows.
func (w *writer) measure(m protect.Measure) (string, error) {
	var conditions []string
	if m.Filter != nil {
		text, err := w.outer.predicate(*m.Filter)
		if err != nil {
			return "", err
		}
		conditions = append(conditions, text)
	}
	x, y := "", ""
	for _, c := range []struct {
		col  *algebra.Col
		text *string
	}{{m.Col, &x}, {m.Col2, &y}} {
		if c.col != nil {
			text, err := w.outer.column(*c.col)
			if err != nil {
				return "", err
			}
			*c.text = text
		}
	}
	switch m.Kind {
	case protect.MeasureRows:
		return w.count(conditions), nil
	case protect.MeasureFirst:
		// Not weighted: it counts units, of which one row each has rank 1.
		return filtered("COUNT(*)", append(conditions, "t0."+rankColumn+" = 1")), nil
	case protect.MeasureUnits:
		return filtered("COUNT(DISTINCT t0."+unitColumn+")", conditions), nil
	case protect.MeasureNonNull:
		return w.nonNull(x, y, conditions), nil
	case protect.MeasureBin:
		return w.bins(m, x, conditions)
	case protect.MeasureSum:
		return w.sum(m, x, y, conditions), nil
	case protect.MeasureProduct:
		return w.product(m, x, y, conditions)
	}
	return "", errors.New("unknown kind of measure")
}

func filtered(aggregate string, conditions []string) string {
	if len(conditions) == 0 {
		return aggregate
	}
	return aggregate + " FILTER (WHERE " + strings.Join(conditions, " AND ") + ")"
}

// count counts rows, or sums their weights.
func (w *writer) count(conditions []string) string {
	if w.plan.Weight == 0 {
		return filtered("COUNT(*)", conditions)
	}
	return "COALESCE(" + filtered("SUM(w.w)", conditions) + ", 0)"
}

func (w *writer) nonNull(x, y string, conditions []string) string {
	if y != "" {
		conditions = append(conditions, y+" IS NOT NULL")
	}
	if w.plan.Weight == 0 {
		return filtered("COUNT("+x+")", conditions)
	}
	return w.count(append(conditions, x+" IS NOT NULL"))
}

func (w *writer) bins(m protect.Measure, x string, conditions []string) (string, error) {
	lo, err := literal(m.Col.Type, algebra.Value{Type: m.Col.Type, I: m.Bin.Lo})
	if err != nil {
		return "", err
	}
	hi, err := literal(m.Col.Type, algebra.Value{Type: m.Col.Type, I: m.Bin.Hi})
	if err != nil {
		return "", err
	}
	below := " < "
	if m.LastBin {
		below = " <= "
	}
	return w.count(append(conditions, x+" >= "+lo, x+below+hi)), nil
}

// total sums a 64-bit or 128-bit value that has a row's weight still to come.
func (w *writer) total(value string, conditions []string) string {
	if w.plan.Weight != 0 {
		value = "CAST(w.w AS HUGEINT) * " + value
	}
	return "COALESCE(" + filtered("SUM("+value+")", conditions) + ", 0)"
}

// sum is Σ (x − offset) as Σ x − offset·n, of which both fit 128 bits whatever the
// rows hold. A clamp by GREATEST and LEAST would count an absent value as the
// lower bound: they skip NULLs; CASE does not, but names x three times.
func (w *writer) sum(m protect.Measure, x, y string, conditions []string) string {
	n := w.nonNull(x, y, conditions)
	if y != "" {
		conditions = append(conditions, y+" IS NOT NULL")
	}
	value := x
	if m.Clamp != nil {
		lo, hi := strconv.FormatInt(m.Clamp.Lo, 10), strconv.FormatInt(m.Clamp.Hi, 10)
		if m.Col.Table == algebra.DerivedTable {
			value = "LEAST(GREATEST(" + x + ", " + lo + "), " + hi + ")"
			conditions = append(conditions, x+" IS NOT NULL")
		} else {
			value = "CASE WHEN " + x + " < " + lo + " THEN " + lo + " WHEN " + x + " > " + hi + " THEN " + hi + " ELSE " + x + " END"
		}
	}
	out := w.total(value, conditions)
	if m.Offset != 0 {
		out += " - CAST(" + strconv.FormatInt(m.Offset, 10) + " AS HUGEINT) * " + n
	}
	return out
}

// product is Σ (x − offset)(y − offset2). A factor without a clamp is held to the
// registered bounds of its column, in which its stored ones lie: so the width of
// every product is known, and whether it fits 64 or 128 bits.
func (w *writer) product(m protect.Measure, x, y string, conditions []string) (string, error) {
	conditions = append(conditions, x+" IS NOT NULL")
	if *m.Col2 != *m.Col {
		conditions = append(conditions, y+" IS NOT NULL")
	}
	first, ok := w.bounds(*m.Col, m.Clamp)
	second, ok2 := w.bounds(*m.Col2, m.Clamp2)
	if !ok || !ok2 {
		return "", errors.New("a factor has no bounds")
	}
	wide := false
	switch most := new(big.Int).Mul(reach(first, m.Offset), reach(second, m.Offset2)); {
	case most.BitLen() <= 62:
	case most.BitLen()+big.NewInt(w.plan.Weight).BitLen() <= 94:
		wide = true
	default:
		return "", errors.New("a sum of products may leave 128 bits")
	}
	return w.total("("+factor(x, first, m.Offset, wide)+" * "+factor(y, second, m.Offset2, wide)+")", conditions), nil
}

// bounds are the clamp, or the bounds that an output declares for the column.
func (w *writer) bounds(c algebra.Col, clamp *protect.Range) (protect.Range, bool) {
	if clamp != nil {
		return *clamp, true
	}
	for i, a := range w.plan.Core.Aggs {
		if i >= len(w.plan.Outputs) {
			break
		}
		o := w.plan.Outputs[i]
		for _, of := range []struct {
			col *algebra.Col
			r   protect.Range
		}{{a.Arg, o.Range}, {a.Arg2, o.Range2}} {
			if of.col != nil && *of.col == c && of.r != (protect.Range{}) && of.r.Lo <= of.r.Hi {
				return of.r, true
			}
		}
	}
	return protect.Range{}, false
}

func factor(x string, r protect.Range, offset int64, wide bool) string {
	x = "LEAST(GREATEST(" + x + ", " + strconv.FormatInt(r.Lo, 10) + "), " + strconv.FormatInt(r.Hi, 10) + ")"
	if wide {
		x = "CAST(" + x + " AS HUGEINT)"
	}
	return "(" + x + " - " + strconv.FormatInt(offset, 10) + ")"
}

// reach is the greatest |v − offset| for v in r.
func reach(r protect.Range, offset int64) *big.Int {
	most := new(big.Int)
	for _, v := range []int64{r.Lo, r.Hi} {
		d := new(big.Int).Sub(big.NewInt(v), big.NewInt(offset))
		if d.Abs(d).Cmp(most) > 0 {
			most = d
		}
	}
	return most
}
