// Package jsontree reads the JSON that the engine writes of a statement or a plan.
// It gives what encoding/json gives for an any, at less than half of the cost: such trees
// repeat few names very often, and a decision reads four of them.
//
// It is stricter than encoding/json: a name that occurs twice in one object, bytes
// that are no UTF-8 and anything after the object make the whole tree unreadable,
// because a reader of it could take them for something else than the engine did.
package jsontree

import (
	"encoding/json"
	"unicode/utf8"
)

// maxDepth is the nesting that encoding/json takes.
const maxDepth = 10_000

// Parse reads one JSON object, with numbers as json.Number, as they were written.
// It is pure and safe for concurrent use. false: b is no such object.
func Parse(b []byte) (map[string]any, bool) {
	p := parser{b: b, seen: make(map[string]text, 128)}
	p.space()
	if p.at >= len(b) || b[p.at] != '{' {
		return nil, false
	}
	v, ok := p.value(0)
	p.space()
	if !ok || p.at != len(b) {
		return nil, false
	}
	o, ok := v.(map[string]any)
	return o, ok
}

// text is a string once as itself and once as the any that holds it, so that a word
// that occurs again costs no memory.
type text struct {
	s     string
	boxed any
}

type parser struct {
	b    []byte
	at   int
	seen map[string]text
	// What the objects and lists under way hold so far.
	names  []string
	values []any
}

func (p *parser) space() {
	for p.at < len(p.b) {
		switch p.b[p.at] {
		case ' ', '\t', '\n', '\r':
			p.at++
		default:
			return
		}
	}
}

// peek is the next byte that is no space, 0 at the end.
func (p *parser) peek() byte {
	if p.at < len(p.b) && p.b[p.at] > ' ' {
		return p.b[p.at]
	}
	p.space()
	if p.at == len(p.b) {
		return 0
	}
	return p.b[p.at]
}

func (p *parser) take(c byte) bool {
	if p.peek() != c {
		return false
	}
	p.at++
	return true
}

func (p *parser) value(depth int) (any, bool) {
	if depth > maxDepth {
		return nil, false
	}
	switch c := p.peek(); c {
	case '{':
		return p.object(depth)
	case '[':
		return p.list(depth)
	case '"':
		t, ok := p.text()
		return t.boxed, ok
	case 't':
		return true, p.word("true")
	case 'f':
		return false, p.word("false")
	case 'n':
		return nil, p.word("null")
	default:
		return p.number()
	}
}

func (p *parser) word(w string) bool {
	if end := p.at + len(w); end > len(p.b) || string(p.b[p.at:end]) != w {
		return false
	}
	p.at += len(w)
	return true
}

func (p *parser) object(depth int) (any, bool) {
	p.at++
	if p.take('}') {
		return map[string]any{}, true
	}
	names, values := len(p.names), len(p.values)
	for {
		if p.peek() != '"' {
			return nil, false
		}
		name, ok := p.text()
		if !ok || !p.take(':') {
			return nil, false
		}
		v, ok := p.value(depth + 1)
		if !ok {
			return nil, false
		}
		p.names, p.values = append(p.names, name.s), append(p.values, v)
		if p.take(',') {
			continue
		}
		if !p.take('}') {
			return nil, false
		}
		n := len(p.names) - names
		o := make(map[string]any, n)
		for i, name := range p.names[names:] {
			o[name] = p.values[values+i]
		}
		p.names, p.values = p.names[:names], p.values[:values]
		return o, len(o) == n
	}
}

func (p *parser) list(depth int) (any, bool) {
	p.at++
	if p.take(']') {
		return []any{}, true
	}
	values := len(p.values)
	for {
		v, ok := p.value(depth + 1)
		if !ok {
			return nil, false
		}
		p.values = append(p.values, v)
		if p.take(',') {
			continue
		}
		if !p.take(']') {
			return nil, false
		}
		l := make([]any, len(p.values)-values)
		copy(l, p.values[values:])
		p.values = p.values[:values]
		return l, true
	}
}

// text reads a string; p is at its first quote.
func (p *parser) text() (text, bool) {
	start := p.at + 1
	escaped, ascii := false, true
	for i := start; i < len(p.b); i++ {
		switch c := p.b[i]; {
		case c == '"':
			p.at = i + 1
			raw := p.b[start:i]
			if t, ok := p.seen[string(raw)]; ok && !escaped {
				return t, true
			}
			if !ascii && !utf8.Valid(raw) {
				return text{}, false
			}
			var s string
			if escaped {
				if json.Unmarshal(p.b[start-1:p.at], &s) != nil {
					return text{}, false
				}
				return text{s, s}, true
			}
			s = string(raw)
			t := text{s, s}
			p.seen[s] = t
			return t, true
		case c == '\\':
			escaped = true
			i++
		case c < ' ':
			return text{}, false
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	return text{}, false
}

// number reads -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?
func (p *parser) number() (any, bool) {
	start := p.at
	digits := func() bool {
		from := p.at
		for p.at < len(p.b) && '0' <= p.b[p.at] && p.b[p.at] <= '9' {
			p.at++
		}
		return p.at > from
	}
	is := func(any string) bool {
		if p.at < len(p.b) {
			for i := range len(any) {
				if p.b[p.at] == any[i] {
					p.at++
					return true
				}
			}
		}
		return false
	}
	is("-")
	if !is("0") && !digits() {
		return nil, false
	}
	if is(".") && !digits() {
		return nil, false
	}
	if is("eE") {
		is("+-")
		if !digits() {
			return nil, false
		}
	}
	return json.Number(p.b[start:p.at]), true
}
