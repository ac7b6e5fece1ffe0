package entry_test

import (
	"reflect"
	"testing"

	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/ledgertest"
)

// made are entries of a whole ledger.
func made(t testing.TB, n int) [][]byte {
	t.Helper()
	var out [][]byte
	if err := ledgertest.Generate(ledgertest.Options{Entries: n}, func(text []byte) error { out = append(out, text); return nil }); err != nil {
		t.Fatal(err)
	}
	return out
}

// agree says whether a Decoder and Decode take a text alike.
func agree(t *testing.T, d *entry.Decoder, text []byte) bool {
	t.Helper()
	got, err := d.Decode(text)
	want, werr := entry.Decode(text)
	if (err == nil) != (werr == nil) || err != nil && err.Error() != werr.Error() || !reflect.DeepEqual(got.Unshared(), want) {
		t.Errorf("%q\n%+v %v\nwant %+v %v", text, got, err, want, werr)
	}
	return werr == nil
}

func TestDecoderReadsAsDecode(t *testing.T) {
	d := entry.NewDecoder()
	direct := 0
	all := made(t, 1500)
	for _, text := range all {
		agree(t, d, text)
		if d.Direct(text) {
			direct++
		}
	}
	if direct < len(all)*9/10 {
		t.Errorf("only %d of %d entries were read directly", direct, len(all))
	}
	// Every byte of one entry of each kind is damaged in several ways.
	seen := map[entry.Kind]bool{}
	taken := 0
	for _, text := range all {
		e, err := entry.Decode(text)
		if err != nil {
			t.Fatal(err)
		}
		if seen[e.Kind] || len(text) > 2500 {
			continue
		}
		seen[e.Kind] = true
		for i := range text {
			for _, with := range []string{"", " ", "0", `"`, "\\", "z", "\x00", "\xff", "\u2028", "界"} {
				bad := append(append(append([]byte(nil), text[:i]...), with...), text[i+1:]...)
				if agree(t, d, bad) {
					taken++
				}
			}
			if t.Failed() {
				return
			}
		}
	}
	if len(seen) < 10 || taken == 0 {
		t.Errorf("%d kinds, %d damaged texts are still entries", len(seen), taken)
	}
}

func FuzzDecoder(f *testing.F) {
	seen := map[entry.Kind]int{}
	for _, text := range made(f, 400) {
		if e, err := entry.Decode(text); err == nil && seen[e.Kind] < 3 {
			seen[e.Kind]++
			f.Add(text)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) { agree(t, entry.NewDecoder(), text) })
}

func BenchmarkDecode(b *testing.B) {
	all := made(b, 2000)
	for name, decode := range map[string]func([]byte) (*entry.Entry, error){"Decode": entry.Decode, "Decoder": entry.NewDecoder().Decode} {
		b.Run(name, func(b *testing.B) {
			for i := range b.N {
				if _, err := decode(all[i%len(all)]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
