package jsontree

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

// reference is what encoding/json makes of one object and nothing after it.
func reference(b []byte) (map[string]any, bool) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var o map[string]any
	if err := d.Decode(&o); err != nil || o == nil {
		return nil, false
	}
	_, err := d.Token()
	return o, err != nil && err.Error() == "EOF"
}

// fields counts the names of a document, those that occur twice in one object twice.
func fields(b []byte) int {
	n := 0
	d := json.NewDecoder(bytes.NewReader(b))
	var inObject []bool
	name := false
	for {
		t, err := d.Token()
		if err != nil {
			return n
		}
		if name {
			if _, ok := t.(string); ok {
				n, name = n+1, false
				continue
			}
		}
		switch t {
		case json.Delim('{'), json.Delim('['):
			inObject = append(inObject, t == json.Delim('{'))
		case json.Delim('}'), json.Delim(']'):
			inObject = inObject[:len(inObject)-1]
		}
		name = len(inObject) > 0 && inObject[len(inObject)-1]
	}
}

func count(v any) int {
	n := 0
	switch v := v.(type) {
	case map[string]any:
		n = len(v)
		for _, x := range v {
			n += count(x)
		}
	case []any:
		for _, x := range v {
			n += count(x)
		}
	}
	return n
}

func compare(t *testing.T, b []byte) {
	t.Helper()
	got, ok := Parse(b)
	want, fine := reference(b)
	switch {
	case ok && !fine:
		t.Fatalf("%q: taken, though it is no object", b)
	case ok && !reflect.DeepEqual(got, want):
		t.Fatalf("%q: %v, want %v", b, got, want)
	case !ok && fine && utf8.Valid(b) && fields(b) == count(want):
		t.Fatalf("%q: refused", b)
	}
}

var cases = []string{
	`{}`, ` {"a" : [ ] , "b":{} , "":null}` + "\n", `{"a":1,"a":2}`, `{"a":{"b":1,"b":1}}`, `{"a":1}x`, `{"a":1}]`, `{"a":1} {}`, `[]`, `null`, ``, ` `, `{`, `{"a"`, `{"a":`, `{"a":1`, `{"a":1,}`, `{,}`,
	`{"a":[1,]}`, `{"a":[1`, `{"a":[1 2]}`, `{"a":true,"b":false,"c":null,"d":tru}`, `{"a":-0.5e+10,"b":0,"c":12,"d":1E5,"e":-1}`, `{"a":01}`, `{"a":-}`, `{"a":1.}`, `{"a":.5}`, `{"a":1e}`, `{"a":+1}`, `{"a":0x1}`,
	`{"a":"x\"y\\","a\u0062":"\u00e9\ud83d\ude00\ud800"}`, `{"ab":1,"a\u0062":2}`, `{"a":"\x"}`, `{"a":"\`, `{"a":"\"`, "{\"a\":\"\x01\"}", "{\"a\":\"\xff\"}", "{\"\xff\":1}", `{"a":"区县"}`, "{\"a\":\"\\n\xff\"}", `{1:2}`, `{"a":1 "b":2}`,
	"\ufeff{}", "{\"a\":\x00}", "{}\x00", `{"a":"b","c":"b","b":"a"}`,
}

func TestParseIsEncodingJSON(t *testing.T) {
	for _, c := range cases {
		compare(t, []byte(c))
	}
	for _, c := range []string{`{"a":1,"a":2}`, `{"ab":1,"a\u0062":2}`, "{\"a\":\"\xff\"}", `{"a":1}]`} {
		if _, ok := Parse([]byte(c)); ok {
			t.Errorf("%q was taken", c)
		}
	}
	deep := strings.Repeat(`{"a":[`, 4000) + strings.Repeat(`]}`, 4000)
	compare(t, []byte(deep))
	if _, ok := Parse([]byte(strings.Repeat(`{"a":[`, 1_000_000))); ok {
		t.Error("a bottomless tree was taken")
	}
}

// TestParseTrees reads the real trees that the decoder's tests keep.
func TestParseTrees(t *testing.T) {
	names, err := filepath.Glob("../../*/testdata/*.json")
	if err != nil || len(names) < 3 {
		t.Fatal(names, err)
	}
	read := 0
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if o, ok := Parse(b); ok {
			read += count(o)
		}
		compare(t, b)
	}
	if read < 10_000 {
		t.Errorf("only %d fields", read)
	}
}

func FuzzParse(f *testing.F) {
	for _, c := range cases {
		f.Add([]byte(c))
	}
	f.Fuzz(func(t *testing.T, b []byte) { compare(t, b) })
}

func largest(b *testing.B) []byte {
	names, err := filepath.Glob("../../*/testdata/*.json")
	if err != nil {
		b.Fatal(err)
	}
	var out []byte
	for _, name := range names {
		if raw, err := os.ReadFile(name); err == nil && len(raw) > len(out) && raw[0] == '{' {
			out = raw
		}
	}
	return out
}

// BenchmarkParse is one tree by this package and by encoding/json.
func BenchmarkParse(b *testing.B) {
	raw := largest(b)
	b.Run("jsontree", func(b *testing.B) {
		b.SetBytes(int64(len(raw)))
		b.ReportAllocs()
		for b.Loop() {
			Parse(raw)
		}
	})
	b.Run("encoding-json", func(b *testing.B) {
		b.SetBytes(int64(len(raw)))
		b.ReportAllocs()
		for b.Loop() {
			reference(raw)
		}
	})
}
