package carry

import (
	"bytes"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
)

type leaf struct{ a, b string }

type key struct {
	x string
	n int
}

type tree struct {
	Flag    bool
	i8      int8
	i64     int64
	u16     uint16
	u64     uint64
	f       float64
	text    string
	raw     []byte
	arr     [3]byte
	list    []leaf
	byName  map[string]*leaf
	byKey   map[key][]int64
	nested  map[string]map[string]bool
	self    *tree
	shared  *leaf
	again   *leaf
	at      time.Time
	left    int // skipped
	private struct{ deep []string }
}

type seconds struct{ N int64 }

func rules() *Rules {
	r := &Rules{}
	Skip[tree](r, "left")
	Share[leaf](r)
	Custom(r, func(t time.Time) seconds { return seconds{t.Unix()} }, func(s seconds) (time.Time, error) { return time.Unix(s.N, 0).UTC(), nil })
	return r
}

func codecOf(t testing.TB) *Codec[tree] {
	t.Helper()
	c, err := New[tree](rules())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func sample() *tree {
	one := &leaf{"one", "two"}
	return &tree{Flag: true, i8: -128, i64: math.MinInt64, u16: 65535, u64: math.MaxUint64, f: -0.5, text: "文字", raw: []byte{}, arr: [3]byte{1, 2, 3},
		list: []leaf{{"a", "文字"}, {}}, byName: map[string]*leaf{"z": one, "a": {"one", "two"}, "": nil}, byKey: map[key][]int64{{"k", 2}: {1, -1}, {"k", 1}: nil, {"", 0}: {}},
		nested: map[string]map[string]bool{"m": {"x": true}, "n": nil, "o": {}}, self: &tree{text: "inner", at: time.Unix(0, 0).UTC()}, shared: one, again: one, at: time.Unix(1e9, 0).UTC(),
		private: struct{ deep []string }{[]string{"one", "one"}}}
}

// Everything comes back as it was, nil apart from empty, and is written again alike.
func TestRoundTrip(t *testing.T) {
	c := codecOf(t)
	for _, v := range []*tree{sample(), {at: time.Unix(5, 0).UTC()}} {
		text := c.Append(nil, v)
		var back tree
		if err := c.Decode(text, &back); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(v, &back) {
			t.Fatalf("%+v came back as %+v", v, back)
		}
		if again := c.Append(nil, &back); !bytes.Equal(text, again) {
			t.Fatal("written again, it is other bytes")
		}
	}
	v := sample()
	v.left = 7
	if !bytes.Equal(c.Append(nil, v), c.Append(nil, sample())) {
		t.Error("a field that is left out is written")
	}
}

// The order of a map and of what is shared by whom does not show.
func TestOneValueOneEncoding(t *testing.T) {
	c := codecOf(t)
	want := c.Append(nil, sample())
	for range 20 {
		v := sample()
		v.again = &leaf{"one", "two"} // equal, and not the same
		if !bytes.Equal(c.Append(nil, v), want) {
			t.Fatal("equal values have two encodings")
		}
	}
}

// Each field that differs makes another encoding.
func TestEveryFieldCounts(t *testing.T) {
	c := codecOf(t)
	want := c.Append(nil, sample())
	for name, change := range map[string]func(*tree){
		"bool": func(v *tree) { v.Flag = false }, "int": func(v *tree) { v.i8++ }, "uint": func(v *tree) { v.u64-- }, "float": func(v *tree) { v.f = 0.5 },
		"nil slice": func(v *tree) { v.raw = nil }, "array": func(v *tree) { v.arr[2]++ }, "element": func(v *tree) { v.list[1].b = "x" }, "nil map": func(v *tree) { v.nested["o"] = nil },
		"key": func(v *tree) { v.byKey[key{"k", 3}] = nil }, "pointer": func(v *tree) { v.shared = nil }, "deep": func(v *tree) { v.private.deep[1] = "x" }, "time": func(v *tree) { v.at = v.at.Add(time.Second) },
	} {
		v := sample()
		change(v)
		if bytes.Equal(c.Append(nil, v), want) {
			t.Errorf("%s: two values have one encoding", name)
		}
	}
}

// What cannot be carried is named, and so is a field to leave out that is not there.
func TestWhatCannotBeCarried(t *testing.T) {
	type bad struct {
		OK   int
		Call func()
		Any  any
		In   []chan int
	}
	_, err := New[bad](&Rules{})
	for _, field := range []string{".Call", ".Any", ".In[]"} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s is not named: %v", field, err)
		}
	}
	r := &Rules{}
	Skip[bad](r, "Call", "Any", "In", "gone")
	if _, err := New[bad](r); err == nil || !strings.Contains(err.Error(), "gone") {
		t.Errorf("a field that is not there is left out: %v", err)
	}
}

// Another field, type or order is another layout.
func TestLayout(t *testing.T) {
	type one struct{ A, B int }
	layouts := map[string]bool{}
	a, _ := New[one](&Rules{})
	layouts[Fingerprint(a.Layout())] = true
	func() {
		type one struct{ B, A int }
		x, _ := New[one](&Rules{})
		layouts[Fingerprint(x.Layout())] = true
	}()
	func() {
		type one struct {
			A int
			B int8
		}
		x, _ := New[one](&Rules{})
		layouts[Fingerprint(x.Layout())] = true
	}()
	if len(layouts) != 3 {
		t.Errorf("three layouts have %d fingerprints", len(layouts))
	}
}

// Whatever the bytes are, reading ends with a value or an error; a value that is written
// again reads back as itself.
func FuzzDecode(f *testing.F) {
	c := codecOf(f)
	text := c.Append(nil, sample())
	f.Add(text)
	f.Add(text[:len(text)/2])
	f.Add(append(bytes.Clone(text), 0))
	f.Add([]byte{2})
	f.Fuzz(func(t *testing.T, in []byte) {
		var v, back tree
		if c.Decode(in, &v) != nil {
			return
		}
		if math.IsNaN(v.f) {
			return
		}
		if err := c.Decode(c.Append(nil, &v), &back); err != nil || !reflect.DeepEqual(v, back) {
			t.Fatalf("read, written and read again, a value is another: %v", err)
		}
	})
}
