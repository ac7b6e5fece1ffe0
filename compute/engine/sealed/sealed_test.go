package sealed

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/iotest"
)

var (
	testKey  = bytes.Repeat([]byte{7}, KeySize)
	otherKey = bytes.Repeat([]byte{8}, KeySize)
)

// content is n bytes without a period that divides a chunk.
func content(n int) []byte {
	out := make([]byte, n)
	for i := range out {
		out[i] = byte(i % 251)
	}
	return out
}

func seal(t testing.TB, key []byte, context string, plain []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := NewWriter(&out, key, context, int64(len(plain)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// open reads a sealed file in every way there is; all must agree.
func open(key []byte, context string, raw []byte) ([]byte, error) {
	plain, err := read(key, context, bytes.NewReader(raw))
	var streamed bytes.Buffer
	r, streamErr := NewReader(bytes.NewReader(raw), key, context)
	if streamErr == nil {
		_, streamErr = r.WriteTo(&streamed)
	}
	if fmt.Sprint(err) != fmt.Sprint(streamErr) || err == nil && !bytes.Equal(streamed.Bytes(), plain) {
		return nil, fmt.Errorf("Read says %v, WriteTo %v", err, streamErr)
	}
	a, atErr := NewReaderAt(bytes.NewReader(raw), int64(len(raw)), key, context)
	if atErr == nil {
		got := make([]byte, a.Size())
		if _, atErr = a.ReadAt(got, 0); atErr == nil && err == nil && !bytes.Equal(got, plain) {
			return nil, errors.New("ReadAt reads something else")
		}
		if a.Size() == 0 {
			return plain, err // nothing to read at; Read decided
		}
	}
	if fmt.Sprint(err) != fmt.Sprint(atErr) {
		return nil, fmt.Errorf("Read says %v, ReadAt %v", err, atErr)
	}
	return plain, err
}

func read(key []byte, context string, r io.Reader) ([]byte, error) {
	s, err := NewReader(r, key, context)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(s)
}

var boundaries = []int{0, 1, chunkSize - 1, chunkSize, chunkSize + 1, 2*chunkSize - 1, 2 * chunkSize, 2*chunkSize + 1}

func TestR34_SealedRoundTrip(t *testing.T) {
	for _, n := range boundaries {
		plain := content(n)
		raw := seal(t, testKey, "a", plain)
		if int64(len(raw)) != Size(int64(n)) {
			t.Errorf("%d: sealed to %d bytes, Size says %d", n, len(raw), Size(int64(n)))
		}
		if n > 64 && bytes.Contains(raw, plain[:64]) {
			t.Errorf("%d: the sealed file holds its content", n)
		}
		got, err := open(testKey, "a", raw)
		if err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%d: %d bytes, %v", n, len(got), err)
		}
		if got, err = read(testKey, "a", iotest.OneByteReader(bytes.NewReader(raw[:min(len(raw), 2000)]))); n < 1000 && (err != nil || !bytes.Equal(got, plain)) {
			t.Errorf("%d: byte by byte: %v", n, err)
		}
	}
	if bytes.Equal(seal(t, testKey, "a", content(99)), seal(t, testKey, "a", content(99))) {
		t.Error("two files share their salt")
	}
}

func TestWriteInPieces(t *testing.T) {
	plain := content(2*chunkSize + 5)
	var out bytes.Buffer
	w, err := NewWriter(&out, testKey, "a", int64(len(plain)))
	if err != nil {
		t.Fatal(err)
	}
	for rest := plain; len(rest) > 0; {
		n := min(len(rest), 70001)
		if _, err := w.Write(rest[:n]); err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := open(testKey, "a", out.Bytes()); err != nil || !bytes.Equal(got, plain) {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte{1}); err == nil {
		t.Error("wrote after the end")
	}
	r, err := NewReaderAt(bytes.NewReader(out.Bytes()), int64(out.Len()), testKey, "a")
	if err != nil {
		t.Fatal(err)
	}
	for _, off := range []int{0, 1, chunkSize - 3, chunkSize, 2*chunkSize - 1, 2*chunkSize + 4} {
		for _, n := range []int{1, 5, chunkSize + 2} {
			got := make([]byte, n)
			k, err := r.ReadAt(got, int64(off))
			want := plain[off:min(len(plain), off+n)]
			if !bytes.Equal(got[:k], want) || (err != nil) != (len(want) < n) || err != nil && err != io.EOF {
				t.Errorf("ReadAt(%d, %d) = %d, %v", n, off, k, err)
			}
		}
	}
	if _, err := r.ReadAt(make([]byte, 1), -1); err == nil {
		t.Error("negative offset")
	}
}

// TestR34_SealedRefusals: every way to put other bytes in a file's place.
func TestR34_SealedRefusals(t *testing.T) {
	const cell = chunkSize + tagSize
	plain := content(3 * chunkSize)
	raw := seal(t, testKey, "a", plain)
	again := seal(t, testKey, "a", plain)
	body := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	head, one, two, three := raw[:headerSize], raw[headerSize:headerSize+cell], raw[headerSize+cell:headerSize+2*cell], raw[headerSize+2*cell:]
	patched := func(at int, b ...byte) []byte {
		out := bytes.Clone(raw)
		copy(out[at:], b)
		return out
	}
	for _, c := range []struct {
		name    string
		raw     []byte
		key     []byte
		context string
		want    error
	}{
		{"control", raw, testKey, "a", nil},
		{"other key", raw, otherKey, "a", ErrDamaged},
		{"other place", raw, testKey, "b", ErrDamaged},
		{"last chunk cut off", raw[:headerSize+2*cell], testKey, "a", ErrDamaged},
		{"cut in a chunk", raw[:len(raw)-1], testKey, "a", ErrDamaged},
		{"header only", head, testKey, "a", ErrDamaged},
		{"half a header", raw[:20], testKey, "a", ErrDamaged},
		{"one byte more", body(raw, []byte{0}), testKey, "a", ErrDamaged},
		{"a chunk more", body(raw, three), testKey, "a", ErrDamaged},
		{"reordered", body(head, two, one, three), testKey, "a", ErrDamaged},
		{"repeated", body(head, one, one, three), testKey, "a", ErrDamaged},
		{"chunk of the same content sealed anew", body(head, one, again[headerSize+cell:headerSize+2*cell], three), testKey, "a", ErrDamaged},
		{"header of another file", body(again[:headerSize], one, two, three), testKey, "a", ErrDamaged},
		{"size smaller, chunks cut", body(patched(16+5, 0x20)[:headerSize], one, two), testKey, "a", ErrDamaged},
		{"size enormous", patched(16, 0xff), testKey, "a", ErrDamaged},
		{"size beyond the file", patched(16+4, 0x01), testKey, "a", ErrDamaged},
		{"chunk size", patched(12, 0, 0, 0, 0), testKey, "a", ErrDamaged},
		{"salt", patched(headerSize-1, raw[headerSize-1]^1), testKey, "a", ErrDamaged},
		{"version", patched(8, 0, 0, 0, 2), testKey, "a", ErrVersion},
		{"header stripped", body(one, two, three), testKey, "a", ErrNotSealed},
		{"plain", plain, testKey, "a", ErrNotSealed},
		{"empty", nil, testKey, "a", ErrNotSealed},
	} {
		got, err := open(c.key, c.context, c.raw)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
		if len(got) > 0 && !bytes.HasPrefix(plain, got) {
			t.Errorf("%s: bytes came out that were never sealed", c.name)
		}
	}
	// An empty file is a chunk of its own: its header alone proves nothing.
	empty := seal(t, testKey, "a", nil)
	if _, err := read(testKey, "a", bytes.NewReader(empty[:headerSize])); !errors.Is(err, ErrDamaged) {
		t.Errorf("header of an empty file alone: %v", err)
	}
}

func TestWriterRefusals(t *testing.T) {
	if _, err := NewWriter(io.Discard, testKey[:31], "a", 1); err == nil {
		t.Error("short key")
	}
	if _, err := NewWriter(io.Discard, testKey, "", 1); err == nil {
		t.Error("no context")
	}
	for _, size := range []int64{-1, maxPlain + 1} {
		if _, err := NewWriter(io.Discard, testKey, "a", size); err == nil {
			t.Errorf("size %d", size)
		}
	}
	var out bytes.Buffer
	w, err := NewWriter(&out, testKey, "a", 5)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content(4)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err == nil {
		t.Error("closed one byte short")
	}
	if _, err := read(testKey, "a", bytes.NewReader(out.Bytes())); err == nil {
		t.Error("a file that was not finished opens")
	}
	if w, err = NewWriter(&out, testKey, "a", 5); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content(6)); err == nil {
		t.Error("wrote more than announced")
	}
	if w, err = NewWriter(&limited{n: headerSize + chunkSize}, testKey, "a", 3*chunkSize); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content(3 * chunkSize)); err == nil {
		t.Error("a full disk went unnoticed")
	}
	if err := w.Close(); err == nil {
		t.Error("a full disk was forgotten")
	}
}

// limited fails after n bytes.
type limited struct{ n int }

func (l *limited) Write(p []byte) (int, error) {
	if l.n -= len(p); l.n < 0 {
		return 0, errors.New("no space")
	}
	return len(p), nil
}

// FuzzMalleability: a file with any byte changed, anywhere, does not open, and
// what it opens to before that is a beginning of the content.
func FuzzMalleability(f *testing.F) {
	for _, n := range boundaries {
		f.Add(uint32(n), uint32(0), byte(1))
		f.Add(uint32(n), uint32(headerSize), byte(0x80))
		f.Add(uint32(n), uint32(Size(int64(n))-1), byte(0xff))
	}
	f.Add(uint32(chunkSize), uint32(19), byte(0x10))
	f.Fuzz(func(t *testing.T, n, at uint32, flip byte) {
		plain := content(int(n % (2*chunkSize + 2)))
		raw := seal(t, testKey, "a", plain)
		if flip == 0 {
			flip = 1
		}
		raw[int(at)%len(raw)] ^= flip
		got, err := open(testKey, "a", raw)
		if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNotSealed) && !errors.Is(err, ErrVersion) {
			t.Fatalf("a changed file gave %v", err)
		}
		if !bytes.HasPrefix(plain, got) {
			t.Fatal("bytes came out that were never sealed")
		}
	})
}

// FuzzOpen: arbitrary bytes never open, crash or make a reader allocate by what
// they claim.
func FuzzOpen(f *testing.F) {
	f.Add([]byte(nil))
	f.Add([]byte(magic))
	f.Add(seal(f, otherKey, "a", content(40)))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if got, err := open(testKey, "a", raw); err == nil || len(got) > 0 {
			t.Fatalf("%d bytes opened: %v", len(got), err)
		}
	})
}

const benchSize = 64 << 20

func BenchmarkSeal(b *testing.B) {
	plain := content(benchSize)
	b.SetBytes(benchSize)
	for b.Loop() {
		w, err := NewWriter(io.Discard, testKey, "a", benchSize)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := w.Write(plain); err != nil {
			b.Fatal(err)
		}
		if err := w.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	raw := seal(b, testKey, "a", content(benchSize))
	b.SetBytes(benchSize)
	for b.Loop() {
		r, err := NewReader(bytes.NewReader(raw), testKey, "a")
		if err != nil {
			b.Fatal(err)
		}
		if _, err := r.WriteTo(io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}
