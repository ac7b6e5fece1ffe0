// Package carry writes a Go value to bytes by its structure, unexported fields included, and reads it back. One value
// has exactly one encoding, so the encoding can be hashed; and a field that is added to a type is carried without
// anybody's doing, or keeps the codec from being built.
//
// # Format, version 1
//
//	bool        one byte, 0 or 1
//	int…, uint… varint, zigzag where signed (encoding/binary)
//	float64     its bits, big-endian
//	string      number in the table of strings; one past its end: a new string follows, as length and bytes
//	array       elements
//	slice       0 for nil, else length + 1 and the elements; of bytes: length + 1 and the bytes
//	map         0 for nil, else length + 1 and key, value, … ascending by the plain encoding of the keys; string keys by their bytes
//	pointer     0 for nil, else 1 and the value
//	struct      fields in the order of their declaration
//	shared      pointer to what is never changed: 0 for nil, else 1 and the plain encoding of the value, as a string
//
// In the plain encoding strings stand in place, as length and bytes. A type that has neither a rule here nor one of its
// own (Custom) cannot be carried: functions, channels, interfaces. What two pointers share is carried twice.
package carry

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unsafe"
)

// Rules say what the structure of a type does not.
type Rules struct {
	skipped map[reflect.Type]map[string]bool
	shared  map[reflect.Type]bool
	custom  map[reflect.Type]*custom
}

type custom struct {
	to   func(p, standIn unsafe.Pointer)
	from func(p, standIn unsafe.Pointer) error
	in   reflect.Type
}

// Skip leaves fields of a struct out: whoever reads it back makes them again.
func Skip[T any](r *Rules, fields ...string) {
	if r.skipped == nil {
		r.skipped = map[reflect.Type]map[string]bool{}
	}
	names := map[string]bool{}
	for _, f := range fields {
		names[f] = true
	}
	r.skipped[reflect.TypeFor[T]()] = names
}

// Share says that what a *T points at never changes, so that equal ones are written, and read back, once.
func Share[T any](r *Rules) {
	if r.shared == nil {
		r.shared = map[reflect.Type]bool{}
	}
	r.shared[reflect.TypeFor[T]()] = true
}

// Custom writes a T as the S that stands in for it.
func Custom[T, S any](r *Rules, to func(T) S, from func(S) (T, error)) {
	if r.custom == nil {
		r.custom = map[reflect.Type]*custom{}
	}
	r.custom[reflect.TypeFor[T]()] = &custom{
		in: reflect.TypeFor[S](),
		to: func(p, standIn unsafe.Pointer) { *(*S)(standIn) = to(*(*T)(p)) },
		from: func(p, standIn unsafe.Pointer) error {
			v, err := from(*(*S)(standIn))
			*(*T)(p) = v
			return err
		},
	}
}

// Codec carries values of one type. It is safe for concurrent use.
type Codec[T any] struct {
	root   *plan
	layout string
}

type plan struct {
	enc func(e *encoder, p unsafe.Pointer)
	dec func(d *decoder, p unsafe.Pointer)
}

// New builds the codec of a type, or says which part of it cannot be carried.
func New[T any](r *Rules) (*Codec[T], error) {
	b := &builder{rules: r, plans: map[reflect.Type]*plan{}}
	root := b.plan(reflect.TypeFor[T](), reflect.TypeFor[T]().String())
	if len(b.errs) > 0 {
		return nil, errors.Join(b.errs...)
	}
	slices.Sort(b.lines)
	return &Codec[T]{root: root, layout: strings.Join(b.lines, "\n") + "\n"}, nil
}

// Layout lists every struct that is carried, with its fields in order and their types.
func (c *Codec[T]) Layout() string { return c.layout }

// Fingerprint of layouts: those that differ do not read each other's bytes.
func Fingerprint(layouts ...string) string {
	sum := sha256.Sum256([]byte("sandgate-carry/v1\n" + strings.Join(layouts, "\n")))
	return hex.EncodeToString(sum[:8])
}

// Append appends the encoding of a value. Nothing may change the value meanwhile.
func (c *Codec[T]) Append(to []byte, v *T) []byte {
	e := &encoder{out: to, table: map[string]uint64{}, seen: map[unsafe.Pointer]uint64{}}
	c.root.enc(e, unsafe.Pointer(v))
	return e.out
}

// Decode reads what Append wrote, all of text, into a zero value. Strings and byte slices are copied or share a copy of
// text.
func (c *Codec[T]) Decode(text []byte, v *T) (err error) {
	d := &decoder{in: string(text)}
	defer func() {
		if p := recover(); p != nil {
			bad, ok := p.(malformed)
			if !ok {
				panic(p)
			}
			err = errors.New("encoding is damaged: " + string(bad))
		}
	}()
	c.root.dec(d, unsafe.Pointer(v))
	if d.pos != len(d.in) {
		return errors.New("encoding is damaged: bytes follow it")
	}
	return nil
}

type malformed string

type builder struct {
	rules *Rules
	plans map[reflect.Type]*plan
	lines []string
	errs  []error
}

// plan returns the way of a type; a recursive type meets its own, which is filled in before anybody walks it.
func (b *builder) plan(t reflect.Type, path string) *plan {
	if p, ok := b.plans[t]; ok {
		return p
	}
	p := &plan{}
	b.plans[t] = p
	if c := b.rules.custom[t]; c != nil {
		b.line(t, "as "+c.in.String())
		*p = c.through(b.plan(c.in, path))
		return p
	}
	switch t.Kind() {
	case reflect.Bool:
		*p = boolean
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		*p = signed(t)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		*p = unsigned(t)
	case reflect.String:
		*p = text
	case reflect.Float64:
		*p = real
	case reflect.Array:
		*p = array(t, b.plan(t.Elem(), path+"[]"))
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			*p = octets
			break
		}
		*p = list(t, b.plan(t.Elem(), path+"[]"))
	case reflect.Map:
		*p = mapping(t, b.plan(t.Key(), path+"[key]"), b.plan(t.Elem(), path+"[value]"))
	case reflect.Pointer:
		elem := b.plan(t.Elem(), path)
		if b.rules.shared[t.Elem()] {
			*p = sharedPointer(t.Elem(), elem)
			break
		}
		*p = pointer(t.Elem(), elem)
	case reflect.Struct:
		*p = b.structure(t, path)
	default:
		b.errs = append(b.errs, fmt.Errorf("%s is a %s (%s), which cannot be carried", path, t.Kind(), t))
	}
	return p
}

func (b *builder) line(t reflect.Type, what string) {
	b.lines = append(b.lines, t.PkgPath()+"."+t.Name()+" "+what)
}

func (b *builder) structure(t reflect.Type, path string) plan {
	type part struct {
		at uintptr
		p  *plan
	}
	var parts []part
	var text []string
	left := map[string]bool{}
	for name := range b.rules.skipped[t] {
		left[name] = true
	}
	for f := range t.Fields() {
		if left[f.Name] {
			delete(left, f.Name)
			continue
		}
		parts = append(parts, part{f.Offset, b.plan(f.Type, path+"."+f.Name)})
		text = append(text, f.Name+" "+f.Type.String())
	}
	for name := range left {
		b.errs = append(b.errs, fmt.Errorf("%s has no field %s to leave out", path, name))
	}
	b.line(t, "{"+strings.Join(text, "; ")+"}")
	return plan{
		enc: func(e *encoder, p unsafe.Pointer) {
			for i := range parts {
				parts[i].p.enc(e, unsafe.Add(p, parts[i].at))
			}
		},
		dec: func(d *decoder, p unsafe.Pointer) {
			for i := range parts {
				parts[i].p.dec(d, unsafe.Add(p, parts[i].at))
			}
		},
	}
}

func (c *custom) through(in *plan) plan {
	return plan{
		enc: func(e *encoder, p unsafe.Pointer) {
			s := reflect.New(c.in).UnsafePointer()
			c.to(p, s)
			in.enc(e, s)
		},
		dec: func(d *decoder, p unsafe.Pointer) {
			s := reflect.New(c.in).UnsafePointer()
			in.dec(d, s)
			if err := c.from(p, s); err != nil {
				panic(malformed(err.Error()))
			}
		},
	}
}
