package masking

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"strconv"
	"sync"

	"github.com/sandgate/sandgate/compute/algebra"
)

// Operator names, as they stand in a Masking document.
//
//   - keep stores the value as it is. Protects nothing.
//   - drop does not store the column. Protects all but the column's existence.
//   - null stores NULL in every row. Keeps the column's name and type.
//   - constant stores one value in every row. Keeps the column's name and type;
//     a NULL stays NULL, so missingness is kept too.
//   - pseudonym stores the first 16 bytes of HMAC-SHA-256 as 32 hexadecimal
//     digits. Keeps equality and frequency, hence linkage by anyone who sees two
//     columns under one key; identifiers can be enumerated by whoever holds the
//     key, so the key is the whole protection.
//   - year stores the year of a date as Int; month its month's first day. Keep
//     age and season; do not protect a person with a rare year or month.
//   - area stores the leading 2, 4 or 6 digits of an administrative code. Keeps
//     province, prefecture or county; does not protect people in small ones.
//   - name, id, phone, card are display masks, see there. Their results are
//     quasi-identifiers.
const (
	OpKeep      = "keep"
	OpDrop      = "drop"
	OpNull      = "null"
	OpConstant  = "constant"
	OpPseudonym = "pseudonym"
	OpYear      = "year"
	OpMonth     = "month"
	OpArea      = "area"
	OpName      = "name"
	OpID        = "id"
	OpPhone     = "phone"
	OpCard      = "card"
)

// MinKey is the least length of a pseudonym key in bytes. A shorter key can be
// searched, and identity numbers are few enough to be recovered from it.
const MinKey = 16

// Params of an operator. A field the operator does not take must be zero, but
// for Key, which only pseudonym reads, and Type, which every operator takes.
type Params struct {
	Digits int          // area: leading digits kept, 2, 4 or 6
	Value  string       // constant: a value of Type in its canonical spelling
	Key    []byte       // pseudonym: HMAC key, at least MinKey bytes
	Type   algebra.Type // of the column before the mask
}

// Operator masks one non-NULL value in its canonical spelling (dates
// 2006-01-02). The result is canonical for the type OutType gives. null reports
// that NULL is to be stored; out is then empty. No operator fails: what cannot be
// read is stored as NULL or as stars, never as it came.
type Operator interface {
	Apply(v string) (out string, null bool)
}

// OutType returns the type a column has after the mask, or drop when the column
// is not stored. It errs on an unknown operator, on parameters the operator does
// not take, and on a column type it cannot mask. It does not look at the key, so
// that a policy can be validated by who must not hold one.
func OutType(op string, p Params) (t algebra.Type, drop bool, err error) {
	if p.Digits != 0 && op != OpArea {
		return t, false, fmt.Errorf("mask %q takes no digits; remove the field", op)
	}
	if p.Value != "" && op != OpConstant {
		return t, false, fmt.Errorf("mask %q takes no value; remove the field", op)
	}
	switch p.Type.Kind {
	case algebra.Bool, algebra.Int, algebra.Decimal, algebra.Date, algebra.Text:
	default:
		return t, false, fmt.Errorf("mask %q: unknown column type %q", op, p.Type.Kind)
	}
	text := algebra.Type{Kind: algebra.Text}
	switch op {
	case OpKeep, OpNull:
		return p.Type, false, nil
	case OpDrop:
		return algebra.Type{}, true, nil
	case OpConstant:
		if p.Value == "" {
			return t, false, errors.New(`mask "constant" needs a value; for NULL use "null"`)
		}
		if !canonical(p.Type, p.Value) {
			return t, false, fmt.Errorf("mask \"constant\": the value is no canonical %s", p.Type.Kind)
		}
		return p.Type, false, nil
	case OpPseudonym:
		return text, false, nil
	case OpYear, OpMonth:
		if p.Type.Kind != algebra.Date {
			return t, false, fmt.Errorf("mask %q needs a date column, not %s", op, p.Type.Kind)
		}
		if op == OpYear {
			return algebra.Type{Kind: algebra.Int}, false, nil
		}
		return p.Type, false, nil
	case OpArea:
		if p.Digits != 2 && p.Digits != 4 && p.Digits != 6 {
			return t, false, errors.New(`mask "area" keeps 2, 4 or 6 digits; set digits`)
		}
		if p.Type.Kind != algebra.Text && p.Type.Kind != algebra.Int {
			return t, false, fmt.Errorf("mask \"area\" needs a text or int column, not %s", p.Type.Kind)
		}
		return text, false, nil
	case OpName, OpID, OpPhone, OpCard:
		if p.Type.Kind != algebra.Text {
			return t, false, fmt.Errorf("mask %q needs a text column, not %s", op, p.Type.Kind)
		}
		return text, false, nil
	default:
		return t, false, fmt.Errorf("unknown mask %q; known: keep, drop, null, constant, pseudonym, year, month, area, name, id, phone, card", op)
	}
}

// New returns the operator op. It errs where OutType does, and for a pseudonym
// without a key of at least MinKey bytes. The key is copied.
func New(op string, p Params) (Operator, error) {
	if _, _, err := OutType(op, p); err != nil {
		return nil, err
	}
	switch op {
	case OpKeep:
		return apply(func(v string) (string, bool) { return v, false }), nil
	case OpDrop, OpNull:
		// A dropped column has no cells; were Apply called by mistake, nothing
		// passes.
		return apply(func(string) (string, bool) { return "", true }), nil
	case OpConstant:
		value := p.Value
		return apply(func(string) (string, bool) { return value, false }), nil
	case OpPseudonym:
		if len(p.Key) < MinKey {
			return nil, fmt.Errorf("mask \"pseudonym\" needs a key of at least %d bytes, got %d", MinKey, len(p.Key))
		}
		return newPseudonym(p.Key), nil
	case OpYear:
		return apply(year), nil
	case OpMonth:
		return apply(month), nil
	case OpArea:
		n := p.Digits
		return apply(func(v string) (string, bool) { return area(v, n) }), nil
	case OpName:
		return display(maskName), nil
	case OpID:
		return display(maskID), nil
	case OpPhone:
		return display(maskPhone), nil
	default:
		return display(maskCard), nil
	}
}

type apply func(string) (string, bool)

func (f apply) Apply(v string) (string, bool) { return f(v) }

// pseudonym keeps keyed hash states in a pool: keying one costs as much as
// hashing an identifier.
type pseudonym struct{ pool sync.Pool }

func newPseudonym(key []byte) *pseudonym {
	k := append([]byte(nil), key...)
	p := &pseudonym{}
	p.pool.New = func() any { return hmac.New(sha256.New, k) }
	return p
}

func (p *pseudonym) Apply(v string) (string, bool) {
	h := p.pool.Get().(hash.Hash)
	defer p.pool.Put(h)
	h.Reset()
	h.Write([]byte(v))
	var sum [sha256.Size]byte
	return hex.EncodeToString(h.Sum(sum[:0])[:16]), false
}

func year(v string) (string, bool) {
	if !isoDate(v) {
		return "", true
	}
	return strconv.Itoa(number(v[:4])), false
}

func month(v string) (string, bool) {
	if !isoDate(v) {
		return "", true
	}
	return v[:8] + "01", false
}

// area accepts the six digits of GB/T 2260 and the 9- and 12-digit codes of
// townships and villages that extend them. Any other value becomes NULL.
func area(v string, n int) (string, bool) {
	if !digits(v) || v[0] == '0' || len(v) != 6 && len(v) != 9 && len(v) != 12 {
		return "", true
	}
	return v[:n], false
}

// canonical reports whether v is a value of t in its canonical spelling.
func canonical(t algebra.Type, v string) bool {
	switch t.Kind {
	case algebra.Bool:
		return v == "true" || v == "false"
	case algebra.Int:
		n, err := strconv.ParseInt(v, 10, 64)
		return err == nil && strconv.FormatInt(n, 10) == v
	case algebra.Decimal:
		return canonicalDecimal(v, int(t.Scale))
	case algebra.Date:
		return isoDate(v)
	default:
		return true
	}
}

// canonicalDecimal accepts -?digits[.digits] with at most 18 digits in all and
// at most scale of them behind the point.
func canonicalDecimal(v string, scale int) bool {
	if v != "" && v[0] == '-' {
		v = v[1:]
	}
	whole, frac := v, ""
	for i := range len(v) {
		if v[i] == '.' {
			whole, frac = v[:i], v[i+1:]
			if frac == "" {
				return false
			}
			break
		}
	}
	return digits(whole) && (frac == "" || digits(frac)) &&
		len(frac) <= scale && len(whole)+scale <= 18
}
