package entry

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"slices"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/policies/request"
)

// Decoder is Decode for whoever reads a whole ledger. It reads the canonical text of
// the commonest kinds in one pass, and leaves whatever does not look like that to
// Decode, which alone refuses. Cores, charges, reasons and words that occur again are
// one value in all entries: they must not be changed. It is not safe for concurrent
// use.
type Decoder struct {
	cores   map[string]*algebra.Core
	charges map[string][]budget.Charge
	reasons map[string][]policies.Reason
	words   map[string]string
}

// most bounds what a Decoder remembers of each sort; then it begins anew.
const most = 1 << 14

// NewDecoder returns a Decoder that remembers nothing yet.
func NewDecoder() *Decoder {
	return &Decoder{cores: map[string]*algebra.Core{}, charges: map[string][]budget.Charge{}, reasons: map[string][]policies.Reason{}, words: map[string]string{}}
}

// Decode reads canonical bytes, as the function Decode does.
func (d *Decoder) Decode(text []byte) (*Entry, error) {
	if e := d.direct(text); e != nil {
		return e, nil
	}
	return Decode(text)
}

// direct returns nil for what it does not read.
func (d *Decoder) direct(text []byte) *Entry {
	if len(text) > MaxBytes {
		return nil
	}
	c := cursor{text: text, d: d}
	e := c.entry()
	if c.bad || c.at != len(text) || e.V != Version {
		return nil
	}
	if e.Signed != nil && e.Signed.Statement.Check() != nil {
		return nil
	}
	if e.Heartbeat != nil && e.Heartbeat.Access != "" && !isHash(e.Heartbeat.Access) {
		return nil
	}
	if r := e.request(); r != nil && !isHash(r.Query) { // its core was checked when it was first met
		return nil
	}
	if e.checkVerification() != nil {
		return nil
	}
	return e
}

// core returns the core of a text, nil when it is none that Decode would take.
func (d *Decoder) core(text []byte) *algebra.Core {
	if c, ok := d.cores[string(text)]; ok {
		return c
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	c := &algebra.Core{}
	if dec.Decode(c) != nil {
		return nil
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil
	}
	again, err := written(c)
	if err != nil || !bytes.Equal(again, text) || checkCore(c) != nil {
		return nil
	}
	if len(d.cores) >= most {
		clear(d.cores)
	}
	d.cores[string(text)] = c
	return c
}

// cursor goes through one canonical text. Once something is not as expected it is
// bad for good.
type cursor struct {
	text []byte
	at   int
	bad  bool
	d    *Decoder
}

// has takes what comes next if it is s.
func (c *cursor) has(s string) bool {
	if c.bad || len(c.text)-c.at < len(s) || string(c.text[c.at:c.at+len(s)]) != s {
		return false
	}
	c.at += len(s)
	return true
}

func (c *cursor) must(s string) {
	if !c.has(s) {
		c.bad = true
	}
}

// raw is the inside of a text.
func (c *cursor) raw() []byte {
	c.must(`"`)
	if c.bad {
		return nil
	}
	var whole []byte // nil until something was escaped
	for {
		rest := c.text[c.at:]
		n := bytes.IndexByte(rest, '"')
		if n < 0 {
			c.bad = true
			return nil
		}
		i := bytes.IndexByte(rest[:n], '\\')
		if i < 0 {
			i = n
		}
		if !plain(rest[:i]) {
			c.bad = true
			return nil
		}
		if i == n {
			c.at += n + 1
			if whole == nil {
				return rest[:n]
			}
			return append(whole, rest[:n]...)
		}
		// Reasons quote names: quotation mark and backslash have one spelling each.
		if i+1 >= len(rest) || rest[i+1] != '"' && rest[i+1] != '\\' {
			c.bad = true
			return nil
		}
		whole = append(append(whole, rest[:i]...), rest[i+1])
		c.at += i + 2
	}
}

// plain says whether a text stands in JSON as it is. What is not ASCII is taken in
// the two- and three-byte forms that Chinese is written in; the line separators,
// which are escaped, and all else is left to the other reader.
func plain(b []byte) bool {
	for i := 0; i < len(b); i++ {
		switch x := b[i]; {
		case x < ' ':
			return false
		case x < 0x80:
		case x >= 0xe3 && x <= 0xec || x == 0xee || x == 0xef:
			if i+2 >= len(b) || b[i+1]&0xc0 != 0x80 || b[i+2]&0xc0 != 0x80 || x == 0xef && b[i+1] == 0xbf && b[i+2] == 0xbd {
				return false
			}
			i += 2
		case x == 0xe2:
			// U+2010…U+2027: dashes and quotation marks, before the separators.
			if i+2 >= len(b) || b[i+1] != 0x80 || b[i+2] < 0x90 || b[i+2] > 0xa7 {
				return false
			}
			i += 2
		case x == 0xcf || x == 0xce || x == 0xc2 || x == 0xc3:
			if i+1 >= len(b) || b[i+1]&0xc0 != 0x80 {
				return false
			}
			i++
		default:
			return false
		}
	}
	return true
}

// own is a text that no other entry is likely to hold.
func (c *cursor) own() string { return string(c.raw()) }

// word is one that others hold too.
func (c *cursor) word() string {
	b := c.raw()
	if w, ok := c.d.words[string(b)]; ok {
		return w
	}
	if len(c.d.words) >= most {
		clear(c.d.words)
	}
	w := string(b)
	c.d.words[w] = w
	return w
}

// field is an optional member: its name with the comma before it, and no empty value.
func (c *cursor) field(name string, value func() string) string {
	if !c.has(name) {
		return ""
	}
	v := value()
	c.bad = c.bad || v == ""
	return v
}

func (c *cursor) uint() (n uint64) {
	from := c.at
	for ; c.at < len(c.text) && c.text[c.at] >= '0' && c.text[c.at] <= '9'; c.at++ {
		n = n*10 + uint64(c.text[c.at]-'0')
	}
	// 18 digits do not overflow; longer ones are left to the other reader.
	if digits := c.at - from; digits == 0 || digits > 18 || digits > 1 && c.text[from] == '0' {
		c.bad = true
	}
	return n
}

func (c *cursor) int() int64 { return int64(c.uint()) }

// number is an optional member that is not zero.
func (c *cursor) number(name string) int64 {
	if !c.has(name) {
		return 0
	}
	n := c.int()
	c.bad = c.bad || n == 0
	return n
}

// flag is an optional member that is true.
func (c *cursor) flag(name string) bool { return c.has(name + "true") }

// list reads one or more values in brackets.
func (c *cursor) list(one func()) {
	c.must("[")
	for more := true; more && !c.bad; more = c.has(",") {
		one()
	}
	c.must("]")
}

func (c *cursor) entry() *Entry {
	e := &Entry{}
	c.must(`{"v":`)
	e.V = int(c.uint())
	c.must(`,"seq":`)
	e.Seq = c.uint()
	c.must(`,"at":`)
	e.At = c.int()
	c.must(`,"kind":`)
	e.Kind = Kind(c.word())
	c.must(`,"actor":`)
	e.Actor = c.word()
	switch e.Kind {
	case KindRefused:
		c.must(`,"refused":`)
		e.Refused = c.refused()
	case KindReserved:
		c.must(`,"reserved":`)
		e.Reserved = c.reserved()
	case KindRepeated:
		c.must(`,"repeated":{"request":`)
		e.Repeated = &Repeated{Request: c.request()}
		c.must(`,"of":`)
		e.Repeated.Of = c.own()
		c.must(`}`)
	case KindReleased:
		c.must(`,"released":{"job":`)
		e.Released = &Released{Job: c.own()}
		c.must(`,"digest":`)
		e.Released.Digest, e.Released.Cells = c.own(), c.field(`,"cells":`, c.own)
		e.Released.Rows, e.Released.Bytes = c.number(`,"rows":`), c.number(`,"bytes":`)
		c.must(`}`)
	case KindFailed:
		c.must(`,"failed":{"job":`)
		e.Failed = &Failed{Job: c.own()}
		c.must(`,"code":`)
		e.Failed.Code, e.Failed.By, e.Failed.Rule = c.word(), c.field(`,"by":`, c.word), c.field(`,"rule":`, c.word)
		c.must(`}`)
	case KindHeartbeat:
		c.must(`,"heartbeat":{"released":`)
		e.Heartbeat = &Beat{Released: c.uint()}
		e.Heartbeat.Access = c.field(`,"access":`, c.own)
		c.must(`}`)
	case KindVerificationRefused, KindVerificationReserved, KindVerificationAnswered, KindVerificationFailed:
	default:
		c.bad = true
	}
	if c.has(`,"signed":`) {
		e.Signed = c.signed()
	}
	c.verification(e)
	c.must(`}`)
	return e
}

func (c *cursor) verification(e *Entry) {
	switch e.Kind {
	case KindVerificationRefused:
		c.must(`,"verification_refused":{"request":`)
		e.VerificationRefused = &VerificationRefused{Request: c.verificationRequest()}
		c.must(`,"reasons":`)
		e.VerificationRefused.Reasons = c.reasons()
	case KindVerificationReserved:
		c.must(`,"verification_reserved":{"request":`)
		v := &VerificationReserved{Request: c.verificationRequest()}
		c.must(`,"snapshot":`)
		v.Snapshot = c.word()
		c.must(`,"ground":`)
		v.Ground, v.Repeat = Ground(c.word()), c.flag(`,"repeat":`)
		e.VerificationReserved = v
	case KindVerificationAnswered:
		c.must(`,"verification_answered":{"verification":`)
		v := &VerificationAnswered{Verification: c.own()}
		c.must(`,"ground":`)
		v.Ground = Ground(c.word())
		c.must(`,"answer":`)
		v.Answer = c.own()
		e.VerificationAnswered = v
	case KindVerificationFailed:
		c.must(`,"verification_failed":{"verification":`)
		v := &VerificationFailed{Verification: c.own()}
		c.must(`,"code":`)
		v.Code, v.By, v.Rule = c.word(), c.field(`,"by":`, c.word), c.field(`,"rule":`, c.word)
		e.VerificationFailed = v
	default:
		return
	}
	c.must(`}`)
}

func (c *cursor) verificationRequest() (r VerificationRequest) {
	c.must(`{"verification":`)
	r.Verification = c.own()
	c.must(`,"request_id":`)
	r.Request = c.own()
	c.must(`,"licence":`)
	r.Licence = c.word()
	c.must(`,"purpose":`)
	r.Purpose = c.word()
	c.must(`,"product":`)
	r.Product = c.word()
	c.must(`,"product_version":`)
	r.Version = c.word()
	r.Subject, r.Former, r.Question = c.field(`,"subject":`, c.own), c.field(`,"former":`, c.own), c.field(`,"question":`, c.own)
	c.must(`}`)
	return r
}

func (c *cursor) request() (r Request) {
	c.must(`{"job":`)
	r.Job = c.own()
	c.must(`,"request_id":`)
	r.Request = c.own()
	c.must(`,"licence":`)
	r.Licence = c.word()
	c.must(`,"purpose":`)
	r.Purpose = c.word()
	if c.has(`,"core":`) {
		r.Core, r.shared = c.core(), true
	}
	c.must(`,"query":`)
	r.Query = c.own()
	r.Price = budget.Nano(c.number(`,"price":`))
	r.Product, r.Version = c.field(`,"product":`, c.word), c.field(`,"product_version":`, c.word)
	r.Epoch = int(c.number(`,"commit_epoch":`))
	c.must(`}`)
	return r
}

// value takes one JSON object or list, whatever is in it.
func (c *cursor) value() []byte {
	from, depth, quoted := c.at, 0, false
	for ; !c.bad && c.at < len(c.text); c.at++ {
		switch x := c.text[c.at]; {
		case quoted && x == '\\':
			c.at++
		case x == '"':
			quoted = !quoted
		case quoted:
		case x == '{' || x == '[':
			depth++
		case x == '}' || x == ']':
			depth--
		}
		if depth == 0 {
			break
		}
	}
	if c.bad || c.at >= len(c.text) {
		c.bad = true
		return nil
	}
	c.at++
	return c.text[from:c.at]
}

func (c *cursor) core() *algebra.Core {
	text := c.value()
	if c.bad {
		return nil
	}
	core := c.d.core(text)
	c.bad = core == nil
	return core
}

// again reads a list by one, unless the same text was read before. Nobody can append
// to what is shared.
func again[T any](c *cursor, known map[string][]T, one func() T) []T {
	from := c.at
	text := c.value()
	if c.bad {
		return nil
	}
	if out, ok := known[string(text)]; ok {
		return out
	}
	end := c.at
	c.at = from
	var out []T
	c.list(func() { out = append(out, one()) })
	if c.bad = c.bad || c.at != end; c.bad {
		return nil
	}
	if len(known) >= most {
		clear(known)
	}
	out = slices.Clip(out)
	known[string(text)] = out
	return out
}

func (c *cursor) reasons() []policies.Reason {
	return again(c, c.d.reasons, func() (r policies.Reason) {
		c.must(`{"code":`)
		r.Code, r.Rule, r.SetBy = c.word(), c.field(`,"rule":`, c.word), c.field(`,"set_by":`, c.word)
		c.must(`,"zh":`)
		r.ZH = c.word()
		c.must(`,"en":`)
		r.EN = c.word()
		r.HintZH, r.HintEN = c.field(`,"hint_zh":`, c.word), c.field(`,"hint_en":`, c.word)
		r.Line, r.Column = int(c.number(`,"line":`)), int(c.number(`,"column":`))
		c.must(`}`)
		return r
	})
}

func (c *cursor) refused() *Refused {
	c.must(`{"request":`)
	r := &Refused{Request: c.request()}
	if c.has(`,"analysis":`) {
		r.Analysis = c.reasons()
	}
	c.must(`,"reasons":`)
	r.Reasons = c.reasons()
	c.must(`}`)
	return r
}

func (c *cursor) reserved() *Reserved {
	c.must(`{"request":`)
	r := &Reserved{Request: c.request()}
	c.must(`,"mode":`)
	r.Mode = c.word()
	c.must(`,"snapshots":`)
	c.list(func() { r.Snapshots = append(r.Snapshots, c.word()) })
	c.must(`,"price":`)
	r.Price = budget.Nano(c.int())
	c.must(`,"charges":`)
	r.Charges = again(c, c.d.charges, c.charge)
	r.Rules = c.field(`,"rules":`, c.word)
	if c.has(`,"pseudonyms":`) {
		c.list(func() { r.Pseudonyms = append(r.Pseudonyms, int(c.int())) })
	}
	c.must(`}`)
	return r
}

func (c *cursor) charge() (out budget.Charge) {
	c.must(`{"scope":{"kind":`)
	s := &out.Scope
	s.Kind, s.Operator = budget.ScopeKind(c.word()), c.field(`,"operator":`, c.word)
	c.must(`,"dataset":`)
	s.Dataset, s.Year, s.Snapshot = c.word(), int(c.number(`,"year":`)), c.field(`,"snapshot":`, c.word)
	c.must(`},"amount":`)
	out.Amount = budget.Nano(c.int())
	c.must(`,"limit":`)
	out.Limit = budget.Nano(c.int())
	c.must(`}`)
	return out
}

func (c *cursor) signed() *request.Signed {
	out := &request.Signed{}
	s := &out.Statement
	c.must(`{"statement":{"v":`)
	s.V = int(c.uint())
	c.must(`,"origin":`)
	s.Origin = c.word()
	c.must(`,"party":`)
	s.Party, s.Official = c.word(), c.field(`,"official":`, c.word)
	c.must(`,"method":`)
	s.Method = c.word()
	c.must(`,"request_id":`)
	s.Request = c.own()
	s.Licence, s.Purpose = c.field(`,"licence":`, c.word), c.field(`,"purpose":`, c.word)
	if c.has(`,"terms":{`) {
		s.Terms = map[string]string{}
		for last, more := "", true; more && !c.bad; more = c.has(",") {
			name := c.word()
			c.must(":")
			c.bad = c.bad || name <= last // in order, each once
			last, s.Terms[name] = name, c.word()
		}
		c.must(`}`)
	}
	c.must(`,"issued_at":`)
	s.IssuedAt = c.int()
	c.must(`,"not_after":`)
	s.NotAfter = c.int()
	s.Body = c.field(`,"body":`, c.own)
	c.must(`},"sig":`)
	sig := c.raw()
	var err error
	if out.Sig, err = base64.StdEncoding.Strict().DecodeString(string(sig)); err != nil || len(out.Sig) == 0 {
		c.bad = true
	}
	c.must(`}`)
	return out
}
