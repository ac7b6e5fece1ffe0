package wal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
)

const origin = "sandgate.example/city"

// write makes a file of commands with the given numbers of entries and returns the offsets behind the records.
func write(t testing.TB, dir string, commands ...int) []int64 {
	t.Helper()
	if err := Create(dir, origin, nil); err != nil {
		t.Fatal(err)
	}
	f, chain, err := Open(dir, origin, nil, 0, func(Command) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	seq := uint64(0)
	for _, n := range commands {
		var buf []byte
		var lengths []int
		for i := range n {
			before := len(buf)
			buf, chain = AppendRecord(buf, chain, seq, i < n-1, fmt.Appendf(nil, "entry %d", seq))
			lengths = append(lengths, len(buf)-before)
			seq++
		}
		if err := f.Append(buf, lengths); err != nil {
			t.Fatal(err)
		}
	}
	return append([]int64{f.header}, f.ends...)
}

// load opens the file and returns what it replays.
func load(dir string) (entries []string, size int64, err error) {
	f, _, err := Open(dir, origin, nil, 0, func(c Command) error {
		for i, e := range c.Entries {
			if want := fmt.Sprintf("entry %d", c.First+uint64(i)); string(e) != want {
				return fmt.Errorf("entry %d is not what was written", c.First+uint64(i))
			}
			entries = append(entries, string(e))
		}
		return nil
	})
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	info, err := os.Stat(filepath.Join(dir, FileName))
	if err != nil {
		return nil, 0, err
	}
	return entries, info.Size(), nil
}

// Every possible cut of the file is a torn tail: whole commands before it stay, the rest is cut off for good.
func TestTornAtEveryByte(t *testing.T) {
	base := t.TempDir()
	ends := write(t, base, 1, 1, 3, 1)
	whole, err := os.ReadFile(filepath.Join(base, FileName))
	if err != nil {
		t.Fatal(err)
	}
	commandEnds := map[int]int64{0: ends[0], 1: ends[1], 2: ends[2], 5: ends[5], 6: ends[6]}
	dir := t.TempDir()
	path := filepath.Join(dir, FileName)
	for cut := ends[0]; cut <= int64(len(whole)); cut++ {
		want := 0
		for n, end := range commandEnds {
			if end <= cut {
				want = max(want, n)
			}
		}
		for _, zeros := range []int{0, 1, 700} {
			if zeros > 0 && cut != ends[0] && cut != ends[1] && cut != ends[3] && cut != ends[6] {
				continue // zeros stand for file space without data, which begins at a write
			}
			if err := os.WriteFile(path, append(whole[:cut:cut], make([]byte, zeros)...), 0o644); err != nil {
				t.Fatal(err)
			}
			entries, size, err := load(dir)
			if err != nil || len(entries) != want || size != commandEnds[want] {
				t.Fatalf("cut at byte %d and %d zeros: %d entries, %d bytes, %v; want %d entries", cut, zeros, len(entries), size, err, want)
			}
		}
	}
	for cut := range ends[0] {
		if err := os.WriteFile(path, whole[:cut], 0o644); err != nil {
			t.Fatal(err)
		}
		if _, _, err := load(dir); err == nil {
			t.Fatalf("header cut at byte %d: opened", cut)
		}
	}
}

// One flipped bit anywhere behind the header is refused and names the record.
func TestFlippedAtEveryByte(t *testing.T) {
	base := t.TempDir()
	ends := write(t, base, 1, 3, 1)
	whole, err := os.ReadFile(filepath.Join(base, FileName))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for at := range int64(len(whole)) {
		damaged := bytes.Clone(whole)
		damaged[at] ^= 0x80
		if err := os.WriteFile(filepath.Join(dir, FileName), damaged, 0o644); err != nil {
			t.Fatal(err)
		}
		_, _, err := load(dir)
		var corrupt *CorruptError
		switch {
		case err == nil:
			t.Fatalf("byte %d: opened", at)
		case at >= ends[0] && !errors.As(err, &corrupt):
			t.Fatalf("byte %d: %v", at, err)
		case at >= ends[0] && (at < ends[corrupt.Seq] || at >= ends[corrupt.Seq+1] || corrupt.Offset != ends[corrupt.Seq]):
			t.Fatalf("byte %d: blamed on record %d at %d", at, corrupt.Seq, corrupt.Offset)
		}
	}
}

// Records that are whole in themselves, but not where they belong, are refused too.
func TestRearrangedRecordsAreRefused(t *testing.T) {
	base := t.TempDir()
	ends := write(t, base, 1, 1, 1)
	whole, err := os.ReadFile(filepath.Join(base, FileName))
	if err != nil {
		t.Fatal(err)
	}
	rec := func(i int) []byte { return whole[ends[i]:ends[i+1]] }
	head := whole[:ends[0]]
	other, err := Header("sandgate.example/other")
	if err != nil {
		t.Fatal(err)
	}
	for name, parts := range map[string][][]byte{
		"swapped":             {head, rec(1), rec(0), rec(2)},
		"first one removed":   {head, rec(1), rec(2)},
		"middle one removed":  {head, rec(0), rec(2)},
		"one twice":           {head, rec(0), rec(0), rec(1)},
		"header of other log": {other, rec(0), rec(1)},
		"bytes in between":    {head, rec(0), {0}, rec(1), rec(2)},
		"bytes at the end":    {head, rec(0), bytes.Repeat([]byte{7}, headSize)},
	} {
		if err := os.WriteFile(filepath.Join(base, FileName), bytes.Join(parts, nil), 0o644); err != nil {
			t.Fatal(err)
		}
		if entries, _, err := load(base); err == nil {
			t.Errorf("%s: opened with %d entries", name, len(entries))
		}
	}
}

func TestReadRanges(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, 1, 3, 1, 1)
	f, _, err := Open(dir, origin, nil, 3, func(Command) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for from := range uint64(7) {
		for to := from; to <= 6; to++ {
			got, err := f.Read(from, to, 1<<20)
			if err != nil || uint64(len(got)) != to-from {
				t.Fatalf("Read(%d, %d): %d entries, %v", from, to, len(got), err)
			}
			for i, e := range got {
				if string(e) != fmt.Sprintf("entry %d", from+uint64(i)) {
					t.Fatalf("Read(%d, %d): %q at %d", from, to, e, i)
				}
			}
		}
	}
	if got, err := f.Read(0, 6, 1); err != nil || len(got) != 1 {
		t.Errorf("limited Read: %d entries, %v", len(got), err)
	}
	if _, err := f.Read(0, 7, 1); err == nil {
		t.Error("Read beyond the end: no error")
	}
	if _, _, err := Open(dir, origin, nil, 0, func(Command) error { return nil }); err == nil {
		t.Error("opened twice")
	}
}

func TestHeaderBounds(t *testing.T) {
	for _, o := range []string{"", string(make([]byte, MaxOriginSize+1))} {
		if _, err := Header(o); err == nil {
			t.Errorf("origin of %d bytes: header made", len(o))
		}
	}
	if err := Create(t.TempDir(), "", nil); err == nil {
		t.Error("file made without origin")
	}
	if _, err := NewReader(bytes.NewReader([]byte("sandgate-wal/v2\n\x00\x01x"))); err == nil {
		t.Error("unknown version read")
	}
}

// FuzzParseRecord: no panic, and what parses encodes to the very bytes it was read from.
func FuzzParseRecord(f *testing.F) {
	seed := Seed([]byte("header"))
	one, _ := AppendRecord(nil, seed, 0, false, []byte("entry"))
	group, _ := AppendRecord(nil, seed, 7, true, nil)
	f.Add(one, uint64(0))
	f.Add(group, uint64(7))
	f.Add(one[:len(one)-1], uint64(0))
	f.Add(binary.BigEndian.AppendUint32(nil, 1<<31-1), uint64(0))
	f.Fuzz(func(t *testing.T, data []byte, seq uint64) {
		rec, n, err := ParseRecord(data, seed, seq, 0)
		if err != nil {
			return
		}
		again, chain := AppendRecord(nil, seed, rec.Seq, rec.More, rec.Entry)
		if rec.Seq != seq || chain != rec.Chain || !bytes.Equal(again, data[:n]) {
			t.Errorf("record does not encode to what it was read from")
		}
	})
}

// FuzzReader reads whole files, the header fixed: no panic, and the records it returns are the beginning of the file.
func FuzzReader(f *testing.F) {
	head, err := Header(origin)
	if err != nil {
		f.Fatal(err)
	}
	one, chain := AppendRecord(nil, Seed(head), 0, true, []byte("a"))
	two, _ := AppendRecord(one, chain, 1, false, []byte("b"))
	f.Add(two)
	f.Add(one)
	f.Add(append(two, make([]byte, 90)...))
	f.Add(two[:70])
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := NewReader(bytes.NewReader(append(head, data...)))
		if err != nil {
			t.Fatal(err)
		}
		var again []byte
		chain := Seed(head)
		for {
			c, err := r.NextCommand()
			if err != nil {
				var corrupt *CorruptError
				if !errors.Is(err, io.EOF) && !errors.As(err, &corrupt) {
					t.Fatal(err)
				}
				if errors.Is(err, io.EOF) && len(again)+int(r.TornBytes()) != len(data) {
					t.Errorf("%d bytes of records and %d torn of %d", len(again), r.TornBytes(), len(data))
				}
				break
			}
			for i, e := range c.Entries {
				again, chain = AppendRecord(again, chain, c.First+uint64(i), i < len(c.Entries)-1, e)
			}
		}
		if !bytes.HasPrefix(data, again) {
			t.Error("the records returned are not the beginning of the file")
		}
	})
}
