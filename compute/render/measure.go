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

// product is Σ (x − offset)(y − offset2). Clamped factors have a known width, which
// says whether the product fits 64 or 128 bits. Others lie in the bounds that
// ingest enforced: their product is held to 64 bits, and the declared sensitivity
// must say that this cuts nothing.
func (w *writer) product(m protect.Measure, x, y string, conditions []string) (string, error) {
	conditions = append(conditions, x+" IS NOT NULL")
	if *m.Col2 != *m.Col {
		conditions = append(conditions, y+" IS NOT NULL")
	}
	if m.Clamp == nil || m.Clamp2 == nil {
		if most := perRow(w.plan, m); most == nil || most.BitLen() > 63 {
			return "", errors.New("a product without bounds may leave 64 bits")
		}
		value := wide(w.factor(x, m.Clamp, m.Offset), "*", w.factor(y, m.Clamp2, m.Offset2))
		return w.total(value, conditions), nil
	}
	most := new(big.Int).Mul(reach(*m.Clamp, m.Offset), reach(*m.Clamp2, m.Offset2))
	switch {
	case most.BitLen() <= 62:
		return w.total("("+clamped(x, *m.Clamp, m.Offset)+" * "+clamped(y, *m.Clamp2, m.Offset2)+")", conditions), nil
	case most.BitLen()+big.NewInt(w.plan.Weight).BitLen() <= 94:
		return w.total("("+wideClamped(x, *m.Clamp, m.Offset)+" * "+wideClamped(y, *m.Clamp2, m.Offset2)+")", conditions), nil
	}
	return "", errors.New("a sum of products may leave 128 bits")
}

// factor is x − offset in 64 bits.
func (w *writer) factor(x string, clamp *protect.Range, offset int64) string {
	if clamp != nil {
		x = "LEAST(GREATEST(" + x + ", " + strconv.FormatInt(clamp.Lo, 10) + "), " + strconv.FormatInt(clamp.Hi, 10) + ")"
	}
	return wide(x, "-", strconv.FormatInt(offset, 10))
}

func clamped(x string, r protect.Range, offset int64) string {
	return "(LEAST(GREATEST(" + x + ", " + strconv.FormatInt(r.Lo, 10) + "), " + strconv.FormatInt(r.Hi, 10) + ") - " + strconv.FormatInt(offset, 10) + ")"
}

func wideClamped(x string, r protect.Range, offset int64) string {
	return "(CAST(LEAST(GREATEST(" + x + ", " + strconv.FormatInt(r.Lo, 10) + "), " + strconv.FormatInt(r.Hi, 10) + ") AS HUGEINT) - " + strconv.FormatInt(offset, 10) + ")"
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

// perRow is what the declared sensitivity lets one row add to a measure, weight
// left aside: its square is at most Δ₂². nil when none is declared.
func perRow(plan *protect.Plan, m protect.Measure) *big.Int {
	if m.Sens2 == nil || m.Sens2.Sign() <= 0 {
		return nil
	}
	return new(big.Int).Sqrt(m.Sens2)
}
