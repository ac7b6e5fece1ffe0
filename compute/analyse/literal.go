package analyse

import (
	"encoding/json"
	"math/big"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/policies"
)

type literalKind int

const (
	litNull literalKind = iota
	litBool
	litNumber
	litText
	litDate
	litParameter // s is its text, still without a type
)

// literal is a constant of the text before it meets a column.
type literal struct {
	kind   literalKind
	number *big.Rat // litNumber
	i      int64    // litBool, litDate
	s      string   // litText
}

func (l literal) value(t algebra.Type) algebra.Value { return algebra.Value{Type: t, I: l.i, S: l.s} }

// isLiteral tells a constant, or the cast by which the parser writes TRUE and
// DATE '…', from everything else.
func isLiteral(e object) bool {
	if e["class"] == "CONSTANT" || e["class"] == "PARAMETER" {
		return true
	}
	child, _ := e["child"].(object)
	typ, _ := e["cast_type"].(object)
	return e["class"] == "CAST" && child["class"] == "CONSTANT" && (typ["id"] == "DATE" || typ["id"] == "BOOLEAN")
}

// literal reads a constant. Its refusals never repeat it.
func (d *decoder) literal(e object) (literal, *policies.Reason) {
	off := offset(e)
	bad := func() (literal, *policies.Reason) { return literal{}, d.refuse("LITERAL_TYPE", off) }
	if e["class"] == "PARAMETER" {
		if r := d.only(e, "identifier"); r != nil {
			return literal{}, r
		}
		n, err := strconv.Atoi(d.str(e, "identifier"))
		if err != nil || n < 1 {
			return literal{}, d.refuse("PARAMETER", off)
		}
		if n > len(d.params) {
			return literal{}, d.refuse("PARAMETER_COUNT", off)
		}
		return literal{kind: litParameter, s: d.params[n-1]}, nil
	}
	if e["class"] == "CAST" {
		if r := d.only(e, "child", "cast_type"); r != nil {
			return literal{}, d.refuse("CAST", off)
		}
		inner, r := d.literal(d.obj(e, "child"))
		if r != nil || inner.kind != litText {
			return bad()
		}
		if to := d.str(d.inner(e, "cast_type", "id"), "id"); to == "DATE" {
			days, ok := parseDate(inner.s)
			if !ok {
				return bad()
			}
			return literal{kind: litDate, i: days}, nil
		}
		switch inner.s { // the parser's own spelling of TRUE and FALSE
		case "t", "true":
			return literal{kind: litBool, i: 1}, nil
		case "f", "false":
			return literal{kind: litBool}, nil
		}
		return bad()
	}
	if r := d.only(e, "value"); r != nil {
		return literal{}, r
	}
	v := d.inner(e, "value", "is_null", "value")
	typ := d.inner(v, "type", "id", "type_info")
	id := d.str(typ, "id")
	if d.flag(v, "is_null") {
		return literal{kind: litNull}, nil
	}
	switch id {
	case "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT":
		n, ok := integer(v["value"])
		if !ok {
			return bad()
		}
		return literal{kind: litNumber, number: new(big.Rat).SetInt(n)}, nil
	case "DECIMAL":
		n, ok := integer(v["value"])
		scale, err := jsonInt(d.inner(typ, "type_info", "width", "scale")["scale"])
		if !ok || err || scale > 38 {
			return bad()
		}
		unit := new(big.Int).Exp(big.NewInt(10), big.NewInt(scale), nil)
		return literal{kind: litNumber, number: new(big.Rat).SetFrac(n, unit)}, nil
	case "BOOLEAN":
		b, ok := v["value"].(bool)
		if !ok {
			return bad()
		}
		out := literal{kind: litBool}
		if b {
			out.i = 1
		}
		return out, nil
	case "VARCHAR":
		s, ok := v["value"].(string)
		if !ok || strings.ContainsRune(s, 0) || d.isBits(off) {
			return bad()
		}
		return literal{kind: litText, s: s}, nil
	}
	return bad() // floating point, intervals, time stamps, lists…
}

// fit is l as a literal for type t: a parameter becomes one, a text beside a date
// is a date, and what does not fit is refused.
func (l literal) fit(t algebra.Type) (literal, bool) {
	if v, ok := l.sampled(t); ok {
		return v, true
	}
	parameter := l.kind == litParameter
	if parameter {
		l.kind = litText
	}
	text := l.kind == litText
	switch t.Kind {
	case algebra.Text:
		return l, text && !strings.ContainsRune(l.s, 0) && utf8.ValidString(l.s)
	case algebra.Date:
		if text {
			days, ok := parseDate(l.s)
			return literal{kind: litDate, i: days}, ok
		}
		return l, l.kind == litDate
	case algebra.Bool:
		if parameter {
			switch lowered(l.s) {
			case "true":
				return literal{kind: litBool, i: 1}, true
			case "false":
				return literal{kind: litBool}, true
			}
			return l, false
		}
		return l, l.kind == litBool
	}
	if parameter {
		return parseNumber(l.s)
	}
	return l, l.kind == litNumber
}

// parseNumber reads digits, with a sign and a point perhaps, and nothing else: what
// big.Rat takes beside them (exponents, fractions) could be very large.
func parseNumber(s string) (literal, bool) {
	body := strings.TrimPrefix(s, "-")
	whole, frac, point := strings.Cut(body, ".")
	digits := func(s string) bool {
		return s != "" && len(s) <= 40 && strings.Trim(s, "0123456789") == ""
	}
	if !digits(whole) || point && !digits(frac) {
		return literal{}, false
	}
	n, ok := new(big.Rat).SetString(s)
	return literal{kind: litNumber, number: n}, ok
}

// isBits tells x'…' and b'…', which the tree shows as text.
func (d *decoder) isBits(off int) bool {
	return off >= 0 && off+1 < len(d.text) && strings.IndexByte("xXbB", d.text[off]) >= 0 && d.text[off+1] == '\''
}

func jsonInt(v any) (n int64, bad bool) {
	num, ok := v.(json.Number)
	if !ok {
		return 0, true
	}
	n, err := num.Int64()
	return n, err != nil || n < 0
}

// integer reads a number of the tree: plain, or 128 bits as upper and lower.
func integer(v any) (*big.Int, bool) {
	switch v := v.(type) {
	case json.Number:
		return new(big.Int).SetString(v.String(), 10)
	case object:
		upper, ok := integer(v["upper"])
		lower, ok2 := integer(v["lower"])
		if !ok || !ok2 || len(v) != 2 || upper.BitLen() > 64 || lower.BitLen() > 64 || lower.Sign() < 0 {
			return nil, false
		}
		return upper.Add(upper.Lsh(upper, 64), lower), true
	}
	return nil, false
}

// parseDate reads yyyy-mm-dd strictly, as days since 1970-01-01.
func parseDate(s string) (int64, bool) {
	t, err := time.Parse("2006-01-02", s)
	if err != nil {
		return 0, false
	}
	days := t.Unix() / 86400
	return days, days >= algebra.MinDate && days <= algebra.MaxDate
}

// literalComparison compares t with a literal, coerced exactly to t's type. A
// number that the type cannot hold moves to the nearest bound with the same
// meaning: x > 4.5 on integers is x >= 5, x = 4.5 is never true.
func (d *decoder) literalComparison(op algebra.PredOp, t term, e object) (cond, *policies.Reason) {
	lit, r := d.literal(e)
	if r != nil {
		if r.Code == "LITERAL_TYPE" {
			r = d.refuse(r.Code, offset(e), t.name)
		}
		return cond{}, r
	}
	leaf := func(op algebra.PredOp, v algebra.Value) (cond, *policies.Reason) {
		return cond{op: op, a: &t, values: []algebra.Value{v}}, nil
	}
	wrong := func() (cond, *policies.Reason) { return cond{}, d.refuse("LITERAL_TYPE", offset(e), t.name) }
	if lit.kind == litNull {
		return cond{}, d.refuse("NULL_COMPARISON", offset(e))
	}
	lit, ok := lit.fit(t.typ)
	if !ok {
		return wrong()
	}
	if !isNumber(t.typ) {
		return leaf(op, lit.value(t.typ))
	}
	if t.mean {
		v, ok := lit.decimal()
		if !ok {
			return wrong()
		}
		return leaf(op, v)
	}
	return numberComparison(op, t, lit.number), nil
}

// decimal is the number as an Int, or as a Decimal with the digits it needs.
func (l literal) decimal() (algebra.Value, bool) {
	for scale := uint8(0); scale <= 9; scale++ {
		n := scaled(l.number, scale)
		if n.IsInt() {
			v := algebra.Value{Type: algebra.Type{Kind: algebra.Decimal, Scale: scale}, I: n.Num().Int64()}
			if scale == 0 {
				v.Type.Kind = algebra.Int
			}
			return v, n.Num().IsInt64()
		}
	}
	return algebra.Value{}, false
}

func scaled(r *big.Rat, scale uint8) *big.Rat {
	unit := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil)
	return new(big.Rat).Mul(r, new(big.Rat).SetInt(unit))
}

func numberComparison(op algebra.PredOp, t term, number *big.Rat) cond {
	n := scaled(number, t.typ.Scale)
	floor := new(big.Int).Div(n.Num(), n.Denom()) // Euclidean: rounds down, as Denom > 0
	if !n.IsInt() {
		switch op {
		case algebra.OpEq:
			return never(t)
		case algebra.OpNe:
			return always(t)
		case algebra.OpLt:
			op = algebra.OpLe
		case algebra.OpGe:
			op = algebra.OpGt
		}
	}
	if floor.IsInt64() {
		return cond{op: op, a: &t, values: []algebra.Value{{Type: t.typ, I: floor.Int64()}}}
	}
	above := floor.Sign() > 0
	switch op {
	case algebra.OpEq:
		return never(t)
	case algebra.OpNe:
		return always(t)
	case algebra.OpLt, algebra.OpLe:
		if above {
			return always(t)
		}
	case algebra.OpGt, algebra.OpGe:
		if !above {
			return always(t)
		}
	}
	return never(t)
}
