package release

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"unicode/utf8"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/compute/protect"
)

const (
	wireVersion = 1
	// maxScale is the most decimal digits of a column: those of a variance, twice 9
	// of a Decimal and two.
	maxScale = 2*9 + avgDigits
	// maxDigits bounds a number on the wire; parsing is quadratic in it.
	maxDigits = 100
)

// wire is the canonical form: JSON with these fields in this order, no blanks.
type wire struct {
	Version int          `json:"v"`
	Mode    protect.Mode `json:"mode"`
	Rho     budget.Nano  `json:"rho"`
	Derived bool         `json:"derived"`
	Source  string       `json:"source"`
	// Collides is exact mode's; see Release.Collides.
	Collides string       `json:"collides,omitempty"`
	Overlap  int          `json:"overlap,omitempty"` // of a release over several domains, 2 and more
	Columns  []wireColumn `json:"columns"`
	Rows     [][]wireCell `json:"rows"`
}

type wireColumn struct {
	Name  string       `json:"name"`
	Kind  Kind         `json:"kind"`
	Func  algebra.Func `json:"func"`
	Type  algebra.Kind `json:"type"`
	Scale uint8        `json:"scale"`
}

// wireCell has S for text, V for numbers in minimal units, X for withheld values,
// none of them for a NULL key.
type wireCell struct {
	S  *string `json:"s,omitempty"`
	V  string  `json:"v,omitempty"`
	Lo string  `json:"lo,omitempty"`
	Hi string  `json:"hi,omitempty"`
	X  string  `json:"x,omitempty"`
}

// Encode returns the canonical JSON of r: equal releases give equal bytes.
func (r *Release) Encode() []byte {
	w := wire{Version: wireVersion, Mode: r.mode, Rho: r.rho, Derived: r.derived, Source: r.source, Collides: r.collides, Overlap: r.overlap,
		Columns: make([]wireColumn, len(r.cols)), Rows: make([][]wireCell, len(r.rows))}
	for i, c := range r.cols {
		w.Columns[i] = wireColumn{c.Name, c.Kind, c.Func, c.Type.Kind, c.Type.Scale}
	}
	for i, row := range r.rows {
		w.Rows[i] = make([]wireCell, len(row))
		for j, v := range row {
			c := wireCell{S: v.text, X: v.withheld}
			if v.num != nil {
				c.V = v.num.String()
			}
			if v.lo != nil {
				c.Lo, c.Hi = v.lo.String(), v.hi.String()
			}
			w.Rows[i][j] = c
		}
	}
	b, err := json.Marshal(w)
	if err != nil {
		panic("release: a struct of strings and integers did not marshal")
	}
	return b
}

// Digest is the SHA-256 of Encode: what the ledger commits to.
func (r *Release) Digest() [32]byte { return sha256.Sum256(r.Encode()) }

// Load reads a stored release, for the free answer to a repeated query. want is
// the digest the ledger holds; Load refuses anything else, and anything that is
// not the canonical form of a well-formed release, so that no bytes but those of
// an earlier release become a Release.
func Load(encoded []byte, want [32]byte) (*Release, error) {
	if sha256.Sum256(encoded) != want {
		return nil, errors.New("failed to load release: it does not match its digest")
	}
	r, err := decode(encoded)
	if err != nil {
		return nil, err
	}
	return r, nil
}

var errStored = errors.New("failed to load release: not in canonical form")

func decode(encoded []byte) (*Release, error) {
	dec := json.NewDecoder(bytes.NewReader(encoded))
	dec.DisallowUnknownFields()
	var w wire
	if dec.Decode(&w) != nil {
		return nil, errStored
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errStored
	}
	if w.Version != wireVersion || w.Mode != protect.ModeDP && w.Mode != protect.ModeExact ||
		w.Rho < 0 || (w.Rho > 0) != (w.Mode == protect.ModeDP) || !validSource(w.Derived, w.Source) || w.Collides != "" && (w.Mode != protect.ModeExact || !validJob(w.Collides)) ||
		w.Overlap != 0 && (w.Mode != protect.ModeDP || w.Overlap < 2 || w.Overlap > maxOverlap) {
		return nil, errStored
	}
	r := &Release{mode: w.Mode, rho: w.Rho, derived: w.Derived, source: w.Source, collides: w.Collides, overlap: w.Overlap}
	for i, c := range w.Columns {
		if !validColumn(c, w.Derived) {
			return nil, errStored
		}
		// Keys come first; after the estimates only the bit mask of grouping sets may
		// stand, in the last place.
		if late := !w.Derived && i > 0 && c.Kind == KindKey && w.Columns[i-1].Kind != KindKey; late && (i != len(w.Columns)-1 || c.Type != algebra.Int) {
			return nil, errStored
		}
		r.cols = append(r.cols, Column{c.Name, c.Kind, c.Func, algebra.Type{Kind: c.Type, Scale: c.Scale}})
	}
	if len(r.cols) == 0 {
		return nil, errStored
	}
	for _, row := range w.Rows {
		if len(row) != len(r.cols) {
			return nil, errStored
		}
		vals := make([]value, len(row))
		for j, c := range row {
			v, ok := decodeCell(c, r.cols[j], w.Mode)
			if !ok {
				return nil, errStored
			}
			vals[j] = v
		}
		r.rows = append(r.rows, vals)
	}
	if !bytes.Equal(r.Encode(), encoded) {
		return nil, errStored
	}
	return r, nil
}

func validSource(derived bool, source string) bool {
	b, err := hex.DecodeString(source)
	return err == nil && (derived && len(b) == 32 || !derived && len(b) == 0)
}

// validJob says that s has the form of a job id.
func validJob(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == 10
}

func validColumn(c wireColumn, derived bool) bool {
	if !derived && c.Name != "" || !utf8.ValidString(c.Name) || c.Scale > maxScale || c.Scale > 0 && c.Type != algebra.Decimal {
		return false
	}
	switch c.Type {
	case algebra.Bool, algebra.Int, algebra.Decimal, algebra.Date, algebra.Text:
	default:
		return false
	}
	if c.Kind == KindKey {
		return c.Func == ""
	}
	if c.Kind != KindEstimate {
		return false
	}
	switch c.Func {
	case algebra.CountRows, algebra.CountCol, algebra.CountUnits, algebra.RegrCount:
		return c.Type == algebra.Int
	case algebra.Quantile, algebra.Min, algebra.Max:
		return c.Type == algebra.Int || c.Type == algebra.Decimal || c.Type == algebra.Date
	case algebra.Sum:
		return c.Type == algebra.Int || c.Type == algebra.Decimal
	case algebra.Corr, algebra.RegrR2, algebra.RegrSlope, algebra.RegrIntercept:
		return c.Type == algebra.Decimal && c.Scale == protect.MomentDigits
	case algebra.Avg, algebra.VarPop, algebra.VarSamp, algebra.StddevPop, algebra.StddevSamp, algebra.CovarPop, algebra.CovarSamp:
		return c.Type == algebra.Decimal && c.Scale >= avgDigits
	}
	return false
}

func decodeCell(c wireCell, col Column, mode protect.Mode) (value, bool) {
	bare := c.Lo == "" && c.Hi == "" && c.X == ""
	if col.Kind == KindKey {
		if c.X == Other && mode == protect.ModeExact && c.S == nil && c.V == "" && c.Lo == "" && c.Hi == "" {
			return value{withheld: Other}, true
		}
		if !bare || c.S != nil && c.V != "" {
			return value{}, false
		}
		switch {
		case c.S != nil:
			return value{text: c.S}, col.Type.Kind == algebra.Text
		case c.V == "":
			return value{}, true
		}
		n, ok := number(c.V)
		return value{num: n}, ok && n.IsInt64() && col.Type.Kind != algebra.Text && (col.Type.Kind != algebra.Bool || n.BitLen() < 2 && n.Sign() >= 0)
	}
	if c.X != "" {
		known := c.X == TooNoisy && mode == protect.ModeDP && mayBeTooNoisy(col.Func) ||
			(c.X == BelowK || c.X == Complement || c.X == Differencing) && mode == protect.ModeExact
		return value{withheld: c.X}, known && c.S == nil && c.V == "" && c.Lo == "" && c.Hi == ""
	}
	v, ok1 := number(c.V)
	lo, ok2 := number(c.Lo)
	hi, ok3 := number(c.Hi)
	if !ok1 || !ok2 || !ok3 || c.S != nil || lo.Cmp(v) > 0 || v.Cmp(hi) > 0 {
		return value{}, false
	}
	if col.Type.Kind == algebra.Date && !(lo.IsInt64() && hi.IsInt64() && lo.Int64() >= algebra.MinDate && hi.Int64() <= algebra.MaxDate) {
		return value{}, false
	}
	return value{num: v, lo: lo, hi: hi}, true
}

// mayBeTooNoisy says which estimates are withheld when their denominator is not
// clear of noise: all but counts and sums.
func mayBeTooNoisy(f algebra.Func) bool {
	switch f {
	case algebra.CountRows, algebra.CountCol, algebra.CountUnits, algebra.RegrCount, algebra.Sum:
		return false
	}
	return true
}

func number(s string) (*big.Int, bool) {
	if s == "" || len(s) > maxDigits {
		return nil, false
	}
	return new(big.Int).SetString(s, 10)
}
