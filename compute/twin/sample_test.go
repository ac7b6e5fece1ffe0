package twin

import (
	"bytes"
	"context"
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/masking"
	"github.com/sandgate/sandgate/policies"
)

// The same answers give the same twin and the same seed the same rows, however they
// are cut into parts.
func TestSameSeedSameBytes(t *testing.T) {
	if testing.Short() {
		t.Skip("arithmetic: left out of the short run under the race detector")
	}
	s := schemaOf(t, Spec{Columns: append(slices.Clone(learned), "citizen_id"), PerUnit: []string{"sex", "born"}, RowsPerUnit: 3}, registry())
	d := encoded(t, s, residents(3000, 3, 1))
	rec := &recorder{Oracle: noisy(d, s, 4)}
	x, err := Learn(t.Context(), s, rec, nil)
	if err != nil {
		t.Fatal(err)
	}
	want, err := x.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for kept := range 4 {
		// A learning that broke off after some passes goes on; the others are answered
		// as they were.
		y, err := Learn(t.Context(), s, Replay(rec.answers[:kept], Replay(rec.answers[kept:], nil)), nil)
		if err != nil {
			t.Fatal(err)
		}
		if text, err := y.Encode(); err != nil || !bytes.Equal(text, want) {
			t.Fatalf("with %d answers from the log: another twin (%v)", kept, err)
		}
	}
	if _, err := Learn(t.Context(), s, Replay([][]int64{{1}}, nil), nil); err == nil {
		t.Error("an answer of another width was taken")
	}
	parsed, err := Parse(want)
	if err != nil {
		t.Fatal(err)
	}
	a, b := draw(t, x, "seed", 0, 500), draw(t, parsed, "seed", 0, 500)
	if !reflect.DeepEqual(a, b) {
		t.Error("the document gives other rows than the twin it was written from")
	}
	late, other := draw(t, x, "seed", 300, 200), draw(t, x, "Seed", 0, 500)
	at := slices.Index(a.Units, late.Units[0])
	if at < 0 || !slices.Equal(a.Units[at:], late.Units) || !slices.Equal(a.Columns[5].Ints[at:], late.Columns[5].Ints) || !slices.Equal(a.Columns[12].Texts[at:], late.Columns[12].Texts) {
		t.Error("a part drawn by itself holds other rows")
	}
	if slices.Equal(a.Units[:100], other.Units[:100]) || slices.Equal(a.Columns[9].Ints[:100], other.Columns[9].Ints[:100]) {
		t.Error("another seed, the same rows")
	}
}

func draw(t testing.TB, x *Twin, seed string, from uint64, units int) Rows {
	t.Helper()
	s, err := x.Sampler([]byte(seed))
	if err != nil {
		t.Fatal(err)
	}
	rows, err := s.Rows(from, units)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// Rows have the form of the stored data: values within bounds and lists, nothing
// missing where it may not be, unit tokens of their own, ranks from 1, constant columns.
func TestRowsHoldToTheSchema(t *testing.T) {
	s := schemaOf(t, Spec{Columns: append(slices.Clone(learned), "citizen_id", "employer", "name"), PerUnit: []string{"sex", "born"}, RowsPerUnit: 4}, registry())
	d := encoded(t, s, residents(8000, 4, 1))
	x := learnt(t, s, d, 1)
	rows := draw(t, x, "s", 0, 5000)
	n := len(rows.Units)
	units := map[uint64]int32{}
	fixed := map[uint64][2]any{}
	for r, u := range rows.Units {
		units[u]++
		if rows.Ranks[r] != units[u] || units[u] > 4 {
			t.Fatalf("row %d is the %d-th of its unit, marked %d", r, units[u], rows.Ranks[r])
		}
		now := [2]any{rows.Columns[0].Texts[r], rows.Columns[1].Ints[r]}
		if was, seen := fixed[u]; seen && was != now {
			t.Fatal("a column that is constant in a unit changes")
		}
		fixed[u] = now
		if id := rows.Columns[12].Texts[r]; masking.CitizenID(id) != masking.OK || !Impossible(id) {
			t.Fatalf("%q is no impossible identity number", id)
		}
		if id := rows.Columns[13].Texts[r]; masking.CreditCode(id) != masking.OK || !Impossible(id) {
			t.Fatalf("%q is no impossible credit code", id)
		}
		if masking.PersonalName(rows.Columns[14].Texts[r]) != masking.OK {
			t.Fatalf("%q is no name", rows.Columns[14].Texts[r])
		}
	}
	if len(units) != 5000 {
		t.Errorf("%d units have different tokens, of 5000", len(units))
	}
	if mean, want := float64(n)/5000, float64(d.Rows())/float64(d.Count); math.Abs(mean-want) > 0.1 {
		t.Errorf("%.2f rows of a unit, of the data %.2f", mean, want)
	}
	for i, c := range s.Columns {
		col := rows.Columns[i]
		if !c.Nullable && col.Null != nil || c.Nullable && len(col.Null) != n || max(len(col.Ints), len(col.Texts)) != n {
			t.Fatalf("%s does not have the form of its column", c.Column)
		}
		distinct := map[int64]bool{}
		for r, v := range col.Ints {
			if len(c.Codes) == 0 && (col.Null == nil || !col.Null[r]) && (v < c.Bounds[0] || v > c.Bounds[1]) {
				t.Fatalf("%s holds %d, outside its bounds", c.Column, v)
			}
			distinct[v] = true
		}
		if c.Column == "fee" && len(distinct) < 3000 {
			t.Errorf("fees have %d different values: they are not spread within their cells", len(distinct))
		}
	}
	p, err := x.Sampler(nil)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(p.Names(), append(slices.Clone(learned), "citizen_id", "employer", "name")) {
		t.Errorf("names %v", p.Names())
	}
	for _, units := range []int{-1, maxUnits + 1} {
		if _, err := p.Rows(0, units); code(err) != CodeSample {
			t.Errorf("%d units: %v", units, err)
		}
	}
}

// Alias tables give each value exactly its share.
func TestAliasesAreExact(t *testing.T) {
	for _, w := range [][]int64{{1}, {1, 0, 2}, {5, 5, 5, 5}, {1, 1 << 20, 3, 0, 77}, {0, 0, 9}} {
		a := newAliases([][]int64{{3, 4}, w})
		got, sum := make([]int64, len(w)), int64(a.sum[1])
		for i, x := range a.slots[a.first[1]:a.first[2]] {
			got[i] += int64(x.keep)
			got[x.other] += sum - int64(x.keep)
		}
		for i := range w {
			if got[i] != w[i]*int64(len(w)) {
				t.Errorf("%v: value %d has %d parts, want %d", w, i, got[i], w[i]*int64(len(w)))
			}
		}
	}
}

// Identifiers are well formed, marked, fixed by seed and number, and spread.
func TestIdentifiersAreImpossible(t *testing.T) {
	citizens, credits := map[string]bool{}, map[string]bool{}
	for i := range uint64(2000) {
		a, b := CitizenID([]byte("s"), i), CreditCode([]byte("s"), i)
		if masking.CitizenID(a) != masking.OK || masking.CreditCode(b) != masking.OK || !Impossible(a) || !Impossible(b) {
			t.Fatalf("%q, %q", a, b)
		}
		if a != CitizenID([]byte("s"), i) || b != CreditCode([]byte("s"), i) {
			t.Fatal("one seed and number, two identifiers")
		}
		citizens[a], credits[b] = true, true
	}
	for i := uint64(2000); i < 50_000; i++ {
		citizens[CitizenID([]byte("s"), i)], credits[CreditCode([]byte("s"), i)] = true, true
	}
	if len(citizens) != 50_000 || len(credits) != 50_000 {
		t.Errorf("%d and %d different ones of 50 000", len(citizens), len(credits))
	}
	if CitizenID([]byte("s"), 1) == CitizenID([]byte("t"), 1) {
		t.Error("another seed, the same identifier")
	}
	for _, p := range masking.Provinces {
		if strings.HasPrefix(ReservedRegion, p.Code) || ReservedRegion[1:3] == p.Code {
			t.Errorf("%s is a division: %s", ReservedRegion, p.Name)
		}
	}
	// Valid numbers of real divisions are not marked.
	if first := "11010119900307123"; Impossible(first + string(masking.CitizenIDCheck(first))) {
		t.Error("a number of Beijing counts as synthetic")
	}
	for _, id := range []string{"", "990000", ReservedRegion + "199003071230"} {
		if Impossible(id) {
			t.Errorf("%q counts as synthetic", id)
		}
	}
	for _, kind := range identifiers {
		if v := identifier(kind, 1); v == "" || v != identifier(kind, 1) {
			t.Errorf("%s: %q", kind, v)
		}
	}
	if masking.Phone(identifier(policies.IdentPhone, 1)) != masking.Malformed {
		t.Error("a made-up number could be somebody's telephone")
	}
}

var errGone = errors.New("the worker is gone")

// odd answers with what no data give.
type odd struct{ value int64 }

func (o odd) Sums(_ context.Context, p Pass) ([]int64, error) {
	if o.value == 0 {
		return nil, errGone
	}
	out := make([]int64, p.Width)
	for i := range out {
		out[i] = o.value
		if i%2 == 1 {
			out[i] = -o.value / 3
		}
	}
	return out, nil
}

// Whatever is answered, learning ends in a twin that can be drawn from or in an error.
func TestOddAnswers(t *testing.T) {
	if testing.Short() {
		t.Skip("arithmetic: left out of the short run under the race detector")
	}
	s := schemaOf(t, Spec{Columns: learned, RowsPerUnit: 2}, registry())
	if _, err := Learn(t.Context(), s, odd{}, nil); !errors.Is(err, errGone) {
		t.Errorf("a worker that is gone: %v", err)
	}
	for _, v := range []int64{1, -1, 1000, 1 << 20, 1 << 40, math.MaxInt64, math.MinInt64} {
		x, err := Learn(t.Context(), s, odd{v}, nil)
		if err != nil {
			if code(err) == "" {
				t.Errorf("%d: %v", v, err)
			}
			continue
		}
		draw(t, x, "s", 0, 10)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d := encoded(t, s, residents(300, 2, 1))
	if _, err := Learn(ctx, s, noisy(d, s, 1), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("after cancelling: %v", err)
	}
}
