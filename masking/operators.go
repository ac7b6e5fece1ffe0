package masking

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/sandgate/sandgate/compute/algebra"
)

// Operator names, as they stand in a Masking document. What each keeps and what it
// does not protect is said by Describe.
const (
	OpKeep        = "keep"         // the value as it is
	OpDrop        = "drop"         // the column is not stored
	OpNull        = "null"         // NULL in every row
	OpConstant    = "constant"     // one value in every row; NULL stays NULL
	OpPseudonym   = "pseudonym"    // 16 bytes of HMAC-SHA-256, in hexadecimal
	OpYear        = "year"         // year of a date, as int
	OpQuarter     = "quarter"      // first day of a date's quarter
	OpMonth       = "month"        // first day of a date's month
	OpAgeBand     = "age_band"     // lower edge of the band of the age at a fixed date, as int
	OpBand        = "band"         // lower edge of a number's band
	OpRound       = "round"        // a multiple of width
	OpClip        = "clip"         // top and bottom coding
	OpArea        = "area"         // leading digits of an administrative code
	OpAddress     = "address"      // province, city or district of an address
	OpEmailDomain = "email_domain" // domain of an e-mail address
	OpPlate       = "plate"        // province and issuing letter of a licence plate
	OpName        = "name"         // display masks of single values
	OpID          = "id"
	OpPhone       = "phone"
	OpCard        = "card"
)

// MinKey is the least length of a pseudonym key in bytes. A shorter key can be
// searched, and identity numbers are few enough to be recovered from it.
const MinKey = 16

// Params of an operator. A field the operator does not take must be zero, but
// for Key, which only pseudonym reads, and Type, which every operator takes.
// Numbers and dates are texts in the canonical spelling of the column's type.
type Params struct {
	Digits int          // area: leading digits kept, 2, 4 or 6
	Value  string       // constant: a value of Type
	Level  string       // address: province, city or district
	At     string       // age_band: the date at which the age is taken
	Edges  []string     // band, age_band: lower edges of the bands, ascending; ages in years
	Width  string       // band, age_band: width of the bands instead, from 0; round: the unit
	Lo, Hi string       // clip: the lowest and the highest value kept
	Key    []byte       // pseudonym, noise, response: HMAC key, at least MinKey bytes
	Type   algebra.Type // of the column before the mask

	Column   string   // noise, response: the column's name, so that no two columns share draws
	Scale    int      // noise: of the noise, in steps of Width; Lo and Hi are the registered bounds
	Retain   string   // response: probability of keeping a value
	Codes    []string // response: the code list
	By       []string // shuffle: the columns that make a group
	Least    int      // shuffle: least units of a group; 0 is MinGroup
	K        int      // k_anonymous: least units of a class
	Suppress int      // k_anonymous: most rows suppressed, percent
	Ladder   []string // k_anonymous: see Ladder
}

// Operator masks one non-NULL value in its canonical spelling (dates
// 2006-01-02). The result is canonical for the type OutType gives. null reports
// that NULL is to be stored; out is then empty. No operator fails: what cannot be
// read is stored as NULL or as stars, never as it came.
type Operator interface {
	Apply(v string) (out string, null bool)
}

// operator is how one operator is checked and made.
type operator struct {
	takes string // the fields it takes, of digits, value, level, at, edges, width, lo, hi
	kinds []algebra.Kind
	needs string // the kinds in words
	null  bool   // some value becomes NULL
	build func(p Params) (Operator, error)
	// out is the type after the mask; nil for the type before it.
	out func(algebra.Type) algebra.Type
}

func ofText(algebra.Type) algebra.Type { return algebra.Type{Kind: algebra.Text} }
func ofInt(algebra.Type) algebra.Type  { return intType }

func pure(f func(string) (string, bool)) func(Params) (Operator, error) {
	return func(Params) (Operator, error) { return apply(f), nil }
}

func shown(mask func(string) (string, bool)) operator {
	return operator{kinds: textKind, needs: "a text column", out: ofText, build: func(Params) (Operator, error) { return display(mask), nil }}
}

func dated(make func(algebra.Type) monotone, out func(algebra.Type) algebra.Type) operator {
	return operator{kinds: []algebra.Kind{algebra.Date}, needs: "a date column", out: out,
		build: func(p Params) (Operator, error) { return make(p.Type), nil }}
}

func counted(f func(Params) (monotone, error)) func(Params) (Operator, error) {
	return func(p Params) (Operator, error) { return f(p) }
}

var (
	textKind    = []algebra.Kind{algebra.Text}
	numberKinds = []algebra.Kind{algebra.Int, algebra.Decimal}
)

// operators is the closed set. A mask that is not here is unknown.
var operators = map[string]operator{
	OpKeep:     {build: pure(func(v string) (string, bool) { return v, false })},
	OpDrop:     {null: true, build: pure(nothing)},
	OpNull:     {null: true, build: pure(nothing)},
	OpConstant: {takes: "value", build: buildConstant},
	OpPseudonym: {out: ofText, build: func(p Params) (Operator, error) {
		return newPseudonym(p.Key), nil
	}},
	OpYear:    dated(yearOf, ofInt),
	OpQuarter: dated(quarterOf, nil),
	OpMonth:   dated(monthOf, nil),
	OpAgeBand: {takes: "at edges width", kinds: []algebra.Kind{algebra.Date}, needs: "a date column", out: ofInt, build: counted(ageOf)},
	OpBand:    {takes: "edges width", kinds: numberKinds, needs: "an int or decimal column", build: counted(bandOf)},
	OpRound:   {takes: "width", kinds: numberKinds, needs: "an int or decimal column", build: counted(roundOf)},
	OpClip:    {takes: "lo hi", kinds: []algebra.Kind{algebra.Int, algebra.Decimal, algebra.Date}, needs: "an int, decimal or date column", build: counted(clipOf)},
	OpArea:    {takes: "digits", kinds: []algebra.Kind{algebra.Text, algebra.Int}, needs: "a text or int column", null: true, out: ofText, build: buildArea},
	OpAddress: {takes: "level", kinds: textKind, needs: "a text column", null: true, build: buildAddress},

	OpEmailDomain: {kinds: textKind, needs: "a text column", null: true, build: pure(emailDomain)},
	OpPlate:       {kinds: textKind, needs: "a text column", null: true, build: pure(platePrefix)},
	OpName:        shown(maskName),
	OpID:          shown(maskID),
	OpPhone:       shown(maskPhone),
	OpCard:        shown(maskCard),
}

// Operators lists the operators' names in order.
func Operators() []string { return slices.Sorted(maps.Keys(operators)) }

// MayNull reports whether an operator can turn a value into NULL. Unknown
// operators can.
func MayNull(op string) bool { o, ok := operators[op]; return !ok || o.null }

// nothing passes: a dropped column has no cells, and were Apply called by mistake
// it would give none.
func nothing(string) (string, bool) { return "", true }

func buildConstant(p Params) (Operator, error) {
	if p.Value == "" {
		return nil, texts.Errorf(`mask "constant" needs a value; for NULL use "null"`)
	}
	if !canonical(p.Type, p.Value) {
		return nil, texts.Errorf("mask \"constant\": the value is no canonical %s", p.Type.Kind)
	}
	return apply(func(string) (string, bool) { return p.Value, false }), nil
}

func buildArea(p Params) (Operator, error) {
	if p.Digits != 2 && p.Digits != 4 && p.Digits != 6 {
		return nil, texts.Errorf(`mask "area" keeps 2, 4 or 6 digits; set digits`)
	}
	return apply(func(v string) (string, bool) { return area(v, p.Digits) }), nil
}

func buildAddress(p Params) (Operator, error) {
	if levelRank(p.Level) < 0 {
		return nil, texts.Errorf(`mask "address" keeps province, city or district; set level`)
	}
	return apply(func(v string) (string, bool) { return address(v, p.Level) }), nil
}

// takesOnly refuses a field that the operator would silently ignore.
func (o operator) takesOnly(op string, p Params) error {
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"digits", p.Digits != 0}, {"value", p.Value != ""}, {"level", p.Level != ""}, {"at", p.At != ""},
		{"edges", len(p.Edges) > 0}, {"width", p.Width != ""}, {"lo", p.Lo != ""}, {"hi", p.Hi != ""},
		{"scale", p.Scale != 0}, {"retain", p.Retain != ""}, {"codes", len(p.Codes) > 0}, {"by", len(p.By) > 0}, {"least", p.Least != 0},
		{"k", p.K != 0}, {"suppress", p.Suppress != 0}, {"ladder", len(p.Ladder) > 0},
	} {
		if f.set && !slices.Contains(strings.Fields(o.takes), f.name) {
			return texts.Errorf("mask %q takes no %s; remove the field", op, f.name)
		}
	}
	return nil
}

// prepared checks everything about an operator but its key.
func prepared(op string, p Params) (operator, Operator, error) {
	o, ok := operators[op]
	if !ok {
		return o, nil, texts.Errorf("unknown mask %q; known: %s", op, strings.Join(Operators(), ", "))
	}
	if err := o.takesOnly(op, p); err != nil {
		return o, nil, err
	}
	switch p.Type.Kind {
	case algebra.Bool, algebra.Int, algebra.Decimal, algebra.Date, algebra.Text:
	default:
		return o, nil, texts.Errorf("mask %q: unknown column type %q", op, p.Type.Kind)
	}
	if o.kinds != nil && !slices.Contains(o.kinds, p.Type.Kind) {
		return o, nil, texts.Errorf("mask %q needs %s, not %s", op, o.needs, p.Type.Kind)
	}
	built, err := o.build(p)
	return o, built, err
}

// OutType returns the type a column has after the mask, or drop when the column
// is not stored. It errs on an unknown operator, on parameters the operator does
// not take, and on a column type it cannot mask. It does not look at the key, so
// that a policy can be validated by who must not hold one.
func OutType(op string, p Params) (t algebra.Type, drop bool, err error) {
	o, _, err := prepared(op, p)
	switch {
	case err != nil:
		return t, false, err
	case op == OpDrop:
		return t, true, nil
	case o.out != nil:
		return o.out(p.Type), false, nil
	}
	return p.Type, false, nil
}

// New returns the operator op. It errs where OutType does, and for a pseudonym
// without a key of at least MinKey bytes. The key is copied. Operators on numbers
// and dates are IntOperators.
func New(op string, p Params) (Operator, error) {
	_, built, err := prepared(op, p)
	if err != nil {
		return nil, err
	}
	if (op == OpPseudonym || op == OpNoise || op == OpResponse) && len(p.Key) < MinKey {
		return nil, texts.Errorf("mask %q needs a key of at least %d bytes, got %d", op, MinKey, len(p.Key))
	}
	return built, nil
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
