package carry

import (
	"bytes"
	"encoding/binary"
	"math"
	"reflect"
	"slices"
	"strings"
	"unsafe"
)

type encoder struct {
	out   []byte
	table map[string]uint64         // nil: the plain encoding
	seen  map[unsafe.Pointer]uint64 // shared values that are in the table
}

func (e *encoder) uint(v uint64) { e.out = binary.AppendUvarint(e.out, v) }

func (e *encoder) string(s string) {
	if e.table == nil {
		e.uint(uint64(len(s)))
		e.out = append(e.out, s...)
		return
	}
	e.intern(s)
}

func (e *encoder) intern(s string) uint64 {
	n, ok := e.table[s]
	if !ok {
		n = uint64(len(e.table))
		e.table[s] = n
	}
	e.uint(n)
	if !ok {
		e.uint(uint64(len(s)))
		e.out = append(e.out, s...)
	}
	return n
}

type decoder struct {
	in     string
	pos    int
	plain  bool
	table  []string
	shared map[sharedKey]unsafe.Pointer
}

type sharedKey struct {
	of *plan
	n  uint64
}

func (d *decoder) uint() uint64 {
	var v uint64
	for shift := uint(0); shift < 64; shift += 7 {
		if d.pos >= len(d.in) {
			panic(malformed("it is cut off"))
		}
		b := d.in[d.pos]
		d.pos++
		v |= uint64(b&0x7f) << shift
		if b < 0x80 {
			if b == 0 && shift > 0 || shift == 63 && b > 1 {
				panic(malformed("a number is not in its shortest form"))
			}
			return v
		}
	}
	panic(malformed("a number is too large"))
}

// count reads a length of things that take at least one byte each.
func (d *decoder) count() int {
	n := d.uint()
	if n > uint64(len(d.in)-d.pos) {
		panic(malformed("a length runs past its end"))
	}
	return int(n)
}

func (d *decoder) raw() string {
	n := d.count()
	s := d.in[d.pos : d.pos+n]
	d.pos += n
	return s
}

func (d *decoder) string() string {
	if d.plain {
		return d.raw()
	}
	s, _ := d.interned()
	return s
}

func (d *decoder) interned() (string, uint64) {
	n := d.uint()
	switch {
	case n < uint64(len(d.table)):
		return d.table[n], n
	case n > uint64(len(d.table)):
		panic(malformed("a string is not in the table"))
	}
	s := d.raw()
	d.table = append(d.table, s)
	return s, n
}

var boolean = plan{
	enc: func(e *encoder, p unsafe.Pointer) {
		b := byte(0)
		if *(*bool)(p) {
			b = 1
		}
		e.out = append(e.out, b)
	},
	dec: func(d *decoder, p unsafe.Pointer) { *(*bool)(p) = d.flag() },
}

func (d *decoder) flag() bool {
	n := d.uint()
	if n > 1 {
		panic(malformed("a truth value is neither 0 nor 1"))
	}
	return n == 1
}

func signed(t reflect.Type) plan {
	load, store := integer(t)
	return plan{
		enc: func(e *encoder, p unsafe.Pointer) { e.out = binary.AppendVarint(e.out, load(p)) },
		dec: func(d *decoder, p unsafe.Pointer) {
			u := d.uint()
			if v := int64(u>>1) ^ -int64(u&1); !store(p, v) {
				panic(malformed("a number is too large"))
			}
		},
	}
}

func unsigned(t reflect.Type) plan {
	load, store := integer(t)
	return plan{
		enc: func(e *encoder, p unsafe.Pointer) { e.uint(uint64(load(p))) },
		dec: func(d *decoder, p unsafe.Pointer) {
			if v := d.uint(); !store(p, int64(v)) {
				panic(malformed("a number is too large"))
			}
		},
	}
}

// integer reads and writes an integer of a size as the bits of an int64.
func integer(t reflect.Type) (load func(unsafe.Pointer) int64, store func(unsafe.Pointer, int64) bool) {
	switch t.Kind() {
	case reflect.Int8:
		return words[int8]()
	case reflect.Int16:
		return words[int16]()
	case reflect.Int32:
		return words[int32]()
	case reflect.Uint8:
		return words[uint8]()
	case reflect.Uint16:
		return words[uint16]()
	case reflect.Uint32:
		return words[uint32]()
	case reflect.Int:
		return words[int]()
	case reflect.Uint:
		return words[uint]()
	}
	return words[int64]()
}

func words[N int | int8 | int16 | int32 | int64 | uint | uint8 | uint16 | uint32]() (func(unsafe.Pointer) int64, func(unsafe.Pointer, int64) bool) {
	return func(p unsafe.Pointer) int64 { return int64(*(*N)(p)) }, func(p unsafe.Pointer, v int64) bool {
		*(*N)(p) = N(v)
		return int64(N(v)) == v
	}
}

// real writes a float64 as its bits, big-endian.
var real = plan{
	enc: func(e *encoder, p unsafe.Pointer) {
		e.out = binary.BigEndian.AppendUint64(e.out, math.Float64bits(*(*float64)(p)))
	},
	dec: func(d *decoder, p unsafe.Pointer) {
		if len(d.in)-d.pos < 8 {
			panic(malformed("it is cut off"))
		}
		*(*float64)(p) = math.Float64frombits(binary.BigEndian.Uint64([]byte(d.in[d.pos : d.pos+8])))
		d.pos += 8
	},
}

var text = plan{
	enc: func(e *encoder, p unsafe.Pointer) { e.string(*(*string)(p)) },
	dec: func(d *decoder, p unsafe.Pointer) { *(*string)(p) = d.string() },
}

var octets = plan{
	enc: func(e *encoder, p unsafe.Pointer) {
		b := *(*[]byte)(p)
		if b == nil {
			e.uint(0)
			return
		}
		e.uint(uint64(len(b)) + 1)
		e.out = append(e.out, b...)
	},
	dec: func(d *decoder, p unsafe.Pointer) {
		n, ok := d.length()
		if !ok {
			return
		}
		if n > len(d.in)-d.pos {
			panic(malformed("a length runs past its end"))
		}
		*(*[]byte)(p) = append(make([]byte, 0, n), d.in[d.pos:d.pos+n]...)
		d.pos += n
	},
}

// length reads a length, of which 0 stands for nil.
func (d *decoder) length() (int, bool) {
	n := d.uint()
	if n == 0 {
		return 0, false
	}
	if n-1 > uint64(len(d.in)-d.pos) {
		panic(malformed("a length runs past its end"))
	}
	return int(n - 1), true
}

func array(t reflect.Type, elem *plan) plan {
	n, size := t.Len(), t.Elem().Size()
	return plan{
		enc: func(e *encoder, p unsafe.Pointer) {
			for i := range n {
				elem.enc(e, unsafe.Add(p, uintptr(i)*size))
			}
		},
		dec: func(d *decoder, p unsafe.Pointer) {
			for i := range n {
				elem.dec(d, unsafe.Add(p, uintptr(i)*size))
			}
		},
	}
}

// slice is what the runtime keeps of any slice.
type slice struct {
	data     unsafe.Pointer
	len, cap int
}

func list(t reflect.Type, elem *plan) plan {
	size := t.Elem().Size()
	return plan{
		enc: func(e *encoder, p unsafe.Pointer) {
			s := (*slice)(p)
			if s.data == nil {
				e.uint(0)
				return
			}
			e.uint(uint64(s.len) + 1)
			for i := range s.len {
				elem.enc(e, unsafe.Add(s.data, uintptr(i)*size))
			}
		},
		dec: func(d *decoder, p unsafe.Pointer) {
			n, ok := d.length()
			if !ok {
				return
			}
			reflect.NewAt(t, p).Elem().Set(reflect.MakeSlice(t, n, n))
			data := (*slice)(p).data
			for i := range n {
				elem.dec(d, unsafe.Add(data, uintptr(i)*size))
			}
		},
	}
}

func pointer(of reflect.Type, elem *plan) plan {
	return plan{
		enc: func(e *encoder, p unsafe.Pointer) {
			v := *(*unsafe.Pointer)(p)
			if v == nil {
				e.out = append(e.out, 0)
				return
			}
			e.out = append(e.out, 1)
			elem.enc(e, v)
		},
		dec: func(d *decoder, p unsafe.Pointer) {
			if !d.flag() {
				return
			}
			v := reflect.New(of).UnsafePointer()
			elem.dec(d, v)
			*(*unsafe.Pointer)(p) = v
		},
	}
}

func sharedPointer(of reflect.Type, elem *plan) plan {
	in := pointer(of, elem)
	return plan{
		enc: func(e *encoder, p unsafe.Pointer) {
			v := *(*unsafe.Pointer)(p)
			if v == nil || e.table == nil {
				in.enc(e, p)
				return
			}
			e.out = append(e.out, 1)
			if n, ok := e.seen[v]; ok {
				e.uint(n)
				return
			}
			plain := &encoder{out: make([]byte, 0, 256)}
			elem.enc(plain, v)
			e.seen[v] = e.intern(unsafe.String(unsafe.SliceData(plain.out), len(plain.out)))
		},
		dec: func(d *decoder, p unsafe.Pointer) {
			if d.plain {
				in.dec(d, p)
				return
			}
			if !d.flag() {
				return
			}
			s, n := d.interned()
			key := sharedKey{elem, n}
			v := d.shared[key]
			if v == nil {
				v = reflect.New(of).UnsafePointer()
				plain := &decoder{in: s, plain: true}
				elem.dec(plain, v)
				if plain.pos != len(s) {
					panic(malformed("bytes follow a shared value"))
				}
				if d.shared == nil {
					d.shared = map[sharedKey]unsafe.Pointer{}
				}
				d.shared[key] = v
			}
			*(*unsafe.Pointer)(p) = v
		},
	}
}

func mapping(t reflect.Type, key, value *plan) plan {
	names := t.Key().Kind() == reflect.String
	return plan{
		enc: func(e *encoder, p unsafe.Pointer) {
			m := reflect.NewAt(t, p).Elem()
			if m.IsNil() {
				e.uint(0)
				return
			}
			e.uint(uint64(m.Len()) + 1)
			type pair struct {
				order string
				k, v  reflect.Value
			}
			pairs := make([]pair, 0, m.Len())
			for it := m.MapRange(); it.Next(); {
				// A value of an unexported field cannot be asked for; a copy of it can.
				k, v := reflect.New(t.Key()), reflect.New(t.Elem())
				k.Elem().SetIterKey(it)
				v.Elem().SetIterValue(it)
				order := ""
				if names {
					order = k.Elem().String()
				} else {
					plain := &encoder{}
					key.enc(plain, k.UnsafePointer())
					order = string(plain.out)
				}
				pairs = append(pairs, pair{order, k, v})
			}
			slices.SortFunc(pairs, func(x, y pair) int { return strings.Compare(x.order, y.order) })
			for _, x := range pairs {
				key.enc(e, x.k.UnsafePointer())
				value.enc(e, x.v.UnsafePointer())
			}
		},
		dec: func(d *decoder, p unsafe.Pointer) {
			n, ok := d.length()
			if !ok {
				return
			}
			m := reflect.MakeMapWithSize(t, n)
			before := []byte(nil)
			for i := range n {
				k, v := reflect.New(t.Key()), reflect.New(t.Elem())
				key.dec(d, k.UnsafePointer())
				value.dec(d, v.UnsafePointer())
				order := []byte(nil)
				if names {
					order = []byte(k.Elem().String())
				} else {
					plain := &encoder{}
					key.enc(plain, k.UnsafePointer())
					order = plain.out
				}
				if i > 0 && bytes.Compare(before, order) >= 0 {
					panic(malformed("the keys of a map are not in order"))
				}
				before = order
				m.SetMapIndex(k.Elem(), v.Elem())
			}
			reflect.NewAt(t, p).Elem().Set(m)
		},
	}
}
