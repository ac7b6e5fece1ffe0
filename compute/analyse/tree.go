package analyse

import (
	"encoding/json"
	"math"
	"strconv"

	"github.com/sandgate/sandgate/policies"
)

// object is one node of the parser's JSON.
type object = map[string]any

// decoder reads one syntax tree. Its getters are strict about JSON types: a
// field that is absent or of another type marks the whole tree malformed, and
// Decode then refuses it whatever else was read.
type decoder struct {
	text      string
	params    []string
	malformed bool
	scope     scope
	out       query
}

// none is a place that is not known.
const none = -1

func (d *decoder) refuse(code string, off int, name ...string) *policies.Reason {
	return at(reason(code, name...), d.text, off)
}

// offset is the byte offset of a node, or of the first of its descendants that
// has one: the parser gives none for what it made up itself.
func offset(v any) int {
	best := none
	switch v := v.(type) {
	case object:
		if n, ok := v["query_location"].(json.Number); ok {
			if i, err := strconv.ParseUint(n.String(), 10, 64); err == nil && i < math.MaxInt32 {
				return int(i)
			}
		}
		for _, child := range v {
			if o := offset(child); o >= 0 && (best < 0 || o < best) {
				best = o
			}
		}
	case []any:
		for _, child := range v {
			if o := offset(child); o >= 0 && (best < 0 || o < best) {
				best = o
			}
		}
	}
	return best
}

func (d *decoder) str(n object, field string) string {
	s, ok := n[field].(string)
	d.malformed = d.malformed || !ok
	return s
}

func (d *decoder) flag(n object, field string) bool {
	b, ok := n[field].(bool)
	d.malformed = d.malformed || !ok
	return b
}

func (d *decoder) list(n object, field string) []any {
	l, ok := n[field].([]any)
	d.malformed = d.malformed || !ok
	return l
}

func (d *decoder) obj(n object, field string) object { return d.asObject(n[field]) }

// inner is obj for a small object whose fields are all known here.
func (d *decoder) inner(n object, field string, known ...string) object {
	o := d.obj(n, field)
	d.malformed = d.malformed || d.only(o, known...) != nil
	return o
}

func (d *decoder) asObject(v any) object {
	o, ok := v.(object)
	d.malformed = d.malformed || !ok
	return o
}

func (d *decoder) names(n object, field string) []string {
	var out []string
	for _, v := range d.list(n, field) {
		s, ok := v.(string)
		d.malformed = d.malformed || !ok
		out = append(out, s)
	}
	return out
}

// only refuses a node with a field that is neither known nor at its default:
// what a later parser adds has no meaning here until somebody gives it one.
func (d *decoder) only(n object, known ...string) *policies.Reason {
	for field, v := range n {
		if !isKnown(field, known) && !isDefault(v) {
			return d.refuse("UNSUPPORTED", offset(n))
		}
	}
	return nil
}

func isKnown(field string, known []string) bool {
	switch field {
	case "class", "type", "query_location", "alias":
		return true
	}
	for _, k := range known {
		if k == field {
			return true
		}
	}
	return false
}

func isDefault(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case bool:
		return !v
	case string:
		return v == ""
	case []any:
		return len(v) == 0
	case object:
		return len(v) == 0
	}
	return false
}

// measure counts expressions and joins and the nesting of objects.
func measure(v any, depth int) (nodes, joins, deepest int) {
	deepest = depth
	visit := func(child any, depth int) {
		n, j, deep := measure(child, depth)
		nodes, joins, deepest = nodes+n, joins+j, max(deepest, deep)
	}
	switch v := v.(type) {
	case object:
		if _, expression := v["class"]; expression {
			nodes++
			depth++
		}
		if v["type"] == "JOIN" {
			joins++
			depth++
		}
		deepest = depth
		for _, child := range v {
			visit(child, depth)
		}
	case []any:
		for _, child := range v {
			visit(child, depth)
		}
	}
	return nodes, joins, deepest
}
