package ingest

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sandgate/sandgate/compute/algebra"
)

type memorySink struct{ rows []Row }

func (m *memorySink) Add(r Row) error {
	r.Values = slices.Clone(r.Values)
	m.rows = append(m.rows, r)
	return nil
}

var keys = Keys{Unit: bytes.Repeat([]byte{1}, 32), Rank: bytes.Repeat([]byte{2}, 32), Pseudonym: bytes.Repeat([]byte{3}, 32)}

// canary stands for every cell value of the refused files below: no error may
// contain it.
const canary = "canary7731"

func spec() Spec {
	return Spec{
		Dataset: "d", UnitColumn: "id", UnitKind: "person", MaxBadPercent: 50,
		Columns: []Column{
			{Name: "id", Type: algebra.Type{Kind: algebra.Text}},
			{Name: "city", Type: algebra.Type{Kind: algebra.Text}, Nullable: true, Missing: []string{"-"}},
			{Name: "fee", Type: algebra.Type{Kind: algebra.Decimal, Scale: 2}, Bounds: &Range{0, 1000}},
		},
	}
}

func run(t *testing.T, s Spec, f Format, raw string) ([]Row, Summary, error) {
	t.Helper()
	var sink memorySink
	sum, err := Ingest(context.Background(), bytes.NewReader([]byte(raw)), f, &s, keys, &sink, nil)
	if err != nil && strings.Contains(err.Error(), canary) {
		t.Fatalf("the error quotes data: %v", err)
	}
	return sink.rows, sum, err
}

func zip(s string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = io.WriteString(z, s)
	_ = z.Close()
	return b.String()
}

func TestR01_FileIsTakenOrRefused(t *testing.T) {
	const head = "id,city,fee\n"
	good := head + "A,x,1\nB,-,2\n"
	strict := func(s *Spec) { s.MaxBadPercent = 0 }
	for _, c := range []struct {
		name   string
		change func(*Spec)
		format Format
		raw    string
		want   Refusal // zero: taken
		rows   int
		bad    int64
	}{
		{"good", strict, CSV, good, Refusal{}, 2, 0},
		{"byte order mark", strict, CSV, "\xef\xbb\xbf" + good, Refusal{}, 2, 0},
		{"other column order", strict, CSV, "fee,id,city\n1,A,x\n", Refusal{}, 1, 0},
		{"CRLF and quotes", strict, CSV, "id,city,fee\r\nA,\"x, y\nz\",1\r\n", Refusal{}, 1, 0},
		{"header only", strict, CSV, head, Refusal{}, 0, 0},
		{"gzip", strict, CSVGzip, zip(good), Refusal{}, 2, 0},
		{"empty", nil, CSV, "", Refusal{Code: CodeEmpty, Column: -1}, 0, 0},
		{"unknown column", nil, CSV, "id,city,fee," + canary + "\n", Refusal{Code: CodeHeader, Field: 4, Column: -1}, 0, 0},
		{"missing column", nil, CSV, "id,city\n", Refusal{Code: CodeHeader, Column: 2}, 0, 0},
		{"column twice", nil, CSV, "id,city,city\n", Refusal{Code: CodeHeader, Field: 3, Column: 1}, 0, 0},
		{"cut row", nil, CSV, head + "A,x,12", Refusal{Code: CodeTruncated, Row: 1, Column: -1}, 0, 0},
		{"open quote", nil, CSV, head + "A,\"" + canary, Refusal{Code: CodeSyntax, Row: 1, Column: -1}, 0, 0},
		{"stray quote", nil, CSV, head + "A,x\"" + canary + ",1\n", Refusal{Code: CodeSyntax, Row: 1, Column: -1}, 0, 0},
		{"cut gzip", nil, CSVGzip, zip(good)[:len(zip(good))-6], Refusal{Code: CodeTruncated, Row: 3, Column: -1}, 0, 0},
		{"not gzip", nil, CSVGzip, good, Refusal{Code: CodeSyntax, Column: -1}, 0, 0},
		{"unknown format", nil, "xlsx", good, Refusal{Code: CodeUnsupported, Column: -1}, 0, 0},
		{"bad rows under the limit", nil, CSV, head + "A,x,1\nB,x," + canary + "\n", Refusal{}, 1, 1},
		{"bad number", strict, CSV, head + "A,x,1\nB,x," + canary + "\n", Refusal{Code: CodeTooManyBad, Detail: CodeMalform, Row: 2, Field: 3, Column: 2, Count: 1, Rows: 2}, 0, 0},
		{"NULL not allowed", strict, CSV, head + "A,x,\n", Refusal{Code: CodeTooManyBad, Detail: CodeNull, Row: 1, Field: 3, Column: 2, Count: 1, Rows: 1}, 0, 0},
		{"no unit", strict, CSV, head + " ,x,1\n", Refusal{Code: CodeTooManyBad, Detail: CodeUnit, Row: 1, Field: 1, Column: 0, Count: 1, Rows: 1}, 0, 0},
		{"fields", strict, CSV, head + "A,x\n", Refusal{Code: CodeTooManyBad, Detail: CodeFields, Row: 1, Field: 2, Column: -1, Count: 1, Rows: 1}, 0, 0},
		{"not UTF-8", strict, CSV, head + "A,\xff,1\n", Refusal{Code: CodeTooManyBad, Detail: CodeEncoding, Row: 1, Field: 2, Column: 1, Count: 1, Rows: 1}, 0, 0},
		{"too long", strict, CSV, head + "A," + strings.Repeat(canary, 500) + ",1\n", Refusal{Code: CodeTooManyBad, Detail: CodeTooLong, Row: 1, Field: 2, Column: 1, Count: 1, Rows: 1}, 0, 0},
		{"not a code", func(s *Spec) { s.MaxBadPercent = 0; s.Columns[1].Codes = []string{"x"} }, CSV, head + "A," + canary + ",1\n",
			Refusal{Code: CodeTooManyBad, Detail: CodeNotCode, Row: 1, Field: 2, Column: 1, Count: 1, Rows: 1}, 0, 0},
		{"other code", func(s *Spec) { s.Columns[1].Codes = []string{"x"}; s.Columns[1].Other = "o" }, CSV, head + "A," + canary + ",1\n", Refusal{}, 1, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := spec()
			if c.change != nil {
				c.change(&s)
			}
			rows, sum, err := run(t, s, c.format, c.raw)
			if c.want == (Refusal{}) {
				if err != nil || len(rows) != c.rows || sum.Bad != c.bad || sum.Rows != int64(c.rows) {
					t.Fatalf("%d rows, %+v, %v", len(rows), sum, err)
				}
				return
			}
			var got *Refusal
			if !errors.As(err, &got) || *got != c.want {
				t.Fatalf("got %v, want %v", err, &c.want)
			}
			if !got.Valid(len(s.Columns)) {
				t.Fatal("a refusal its own reader would not accept")
			}
		})
	}
}

func TestClampsOthersMissing(t *testing.T) {
	s := spec()
	s.Columns[1].Codes, s.Columns[1].Other = []string{"x"}, "o"
	rows, sum, err := run(t, s, CSV, "id,city,fee\nA,x,10.005\nB,-,-1\nC,zz,5\nD,zz,bad\nE,x,99999\n")
	if err != nil {
		t.Fatal(err)
	}
	want := []Value{{I: 1000}, {I: 0}, {I: 500}, {I: 1000}}
	for i, r := range rows {
		if r.Values[1] != want[i] {
			t.Errorf("row %d: %+v", i, r.Values[1])
		}
	}
	// 10.005 rounds to 10.01, over the bound of 10.00. Row D is bad, so its other does not count.
	if sum.Clamped[2] != 3 || sum.Others[1] != 1 || sum.Bad != 1 || !rows[1].Values[0].Null || rows[2].Values[0].S != "o" {
		t.Errorf("summary %+v, rows %+v", sum, rows)
	}
}

// TestOrderDependsOnOwnUnit: the secret order of a unit's rows and the content
// hash do not depend on the file's order, and the order not on other units.
func TestOrderDependsOnOwnUnit(t *testing.T) {
	lines := []string{"A,x,1\n", "A,y,2\n", "a ,z,3\n", "B,x,1\n", "B,x,1\n"}
	read := func(order []int) (map[string]uint64, Summary) {
		raw := "id,city,fee\n"
		for _, i := range order {
			raw += lines[i]
		}
		rows, sum, err := run(t, spec(), CSV, raw)
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]uint64{}
		for _, r := range rows {
			out[fmt.Sprint(r.Unit, r.Values)] = r.Order
		}
		return out, sum
	}
	first, sum := read([]int{0, 1, 2, 3, 4})
	if len(first) != 4 {
		t.Fatalf("canonical spellings of one unit must share a token: %v", first)
	}
	for range 5 {
		again, sum2 := read(rand.Perm(5))
		if !bytes.Equal(sum.Content, sum2.Content) || fmt.Sprint(first) != fmt.Sprint(again) {
			t.Fatal("the file's order is visible")
		}
	}
	alone, sum3 := read([]int{0, 1, 2})
	for k, v := range alone {
		if first[k] != v {
			t.Fatal("another unit's rows changed this unit's order")
		}
	}
	if bytes.Equal(sum.Content, sum3.Content) {
		t.Fatal("less content, same hash")
	}
	other := keys
	other.Rank = bytes.Repeat([]byte{9}, 32)
	var sink memorySink
	s := spec()
	if _, err := Ingest(context.Background(), strings.NewReader("id,city,fee\nA,x,1\n"), CSV, &s, other, &sink, nil); err != nil {
		t.Fatal(err)
	}
	if first[fmt.Sprint(sink.rows[0].Unit, sink.rows[0].Values)] == sink.rows[0].Order {
		t.Fatal("the order does not depend on the key")
	}
	if _, err := Ingest(context.Background(), strings.NewReader(""), CSV, &s, Keys{}, &sink, nil); err == nil {
		t.Fatal("ingest without keys")
	}
}

func TestParseDecimalAgainstBig(t *testing.T) {
	for range 20000 {
		scale := rand.IntN(7)
		s := fmt.Sprint(rand.Int64N(1_000_000_000))
		if n := rand.IntN(9); n > 0 {
			s += "."
			for range n {
				s += fmt.Sprint(rand.IntN(10))
			}
		}
		if rand.IntN(2) == 0 {
			s = "-" + s
		}
		exact, _ := new(big.Rat).SetString(s)
		exact.Mul(exact, new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil)))
		half := big.NewRat(int64(exact.Sign()), 2)
		exact.Add(exact, half)
		want := new(big.Int).Quo(exact.Num(), exact.Denom()).Int64() // truncates: half away from zero
		if got, ok := parseDecimal(s, scale, true); !ok || got != want {
			t.Fatalf("%s at scale %d: got %d, want %d", s, scale, got, want)
		}
	}
	for _, bad := range []string{"", "-", "+", ".", ".5", "5.", "1e3", "1,000", " 1", "1 ", "0x1", "1.2.3", "--1", "9223372036854775808", "99999999999999999999", "NaN", "١"} {
		if _, ok := parseDecimal(bad, 2, true); ok {
			t.Errorf("taken: %q", bad)
		}
	}
	if _, ok := parseDecimal("1.5", 0, false); ok {
		t.Error("an integer with a fraction")
	}
	if got, ok := parseDecimal("9223372036854775807", 0, false); !ok || got != 1<<63-1 {
		t.Error("largest int64")
	}
}

func TestParseDateAgainstTime(t *testing.T) {
	for day := time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC); day.Year() < 10000; day = day.AddDate(0, 0, 37) {
		got, ok := parseDate(day.Format(time.DateOnly))
		if want := day.Unix() / 86400; !ok || got != want {
			t.Fatalf("%v: got %d, want %d", day, got, want)
		}
		if back := format(algebra.Type{Kind: algebra.Date}, Value{I: got}); back != day.Format(time.DateOnly) {
			t.Fatalf("back: %s", back)
		}
	}
	for _, bad := range []string{"", "2023-02-29", "2023-13-01", "2023-00-01", "2023-01-00", "2023-01-32", "0000-01-01", "2023/01/01", "20230101", "2023-1-01", "2023-01-01 ", "+023-01-01"} {
		if _, ok := parseDate(bad); ok {
			t.Errorf("taken: %q", bad)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("12.345", uint8(2))
	f.Add("-0.5", uint8(0))
	f.Add("2024-02-29", uint8(0))
	f.Fuzz(func(t *testing.T, s string, scale uint8) {
		for _, kind := range []algebra.Kind{algebra.Int, algebra.Decimal, algebra.Date, algebra.Bool, algebra.Text} {
			typ := algebra.Type{Kind: kind}
			if kind == algebra.Decimal {
				typ.Scale = scale % 10
			}
			v, code := parse(typ, s)
			if code != "" {
				continue
			}
			again, code := parse(typ, format(typ, v))
			if code != "" || again != v {
				t.Fatalf("%s: a value does not survive its own spelling", kind)
			}
		}
	})
}

func FuzzIngestCSV(f *testing.F) {
	f.Add([]byte("id,city,fee\nA,x,1\n"))
	f.Add([]byte("\xef\xbb\xbfid,city,fee\nA,\"x\ny\",1.005\n,,\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var sink memorySink
		s := spec()
		sum, err := Ingest(context.Background(), bytes.NewReader(raw), CSV, &s, keys, &sink, nil)
		var refusal *Refusal
		if err != nil && !errors.As(err, &refusal) {
			t.Fatalf("an error that is no refusal: %v", err)
		}
		if err != nil && !refusal.Valid(len(s.Columns)) {
			t.Fatalf("invalid refusal %+v", refusal)
		}
		if err == nil && sum.Rows != int64(len(sink.rows)) {
			t.Fatal("row count")
		}
	})
}

// TestParquetIsNotLinked: a program without the reader refuses, it does not guess.
func TestParquetIsNotLinked(t *testing.T) {
	_, _, err := run(t, spec(), Parquet, "PAR1")
	var refusal *Refusal
	if !errors.As(err, &refusal) || refusal.Code != CodeUnsupported {
		t.Fatalf("got %v", err)
	}
}

type suffix struct{}

func (suffix) Apply(v string) (string, bool) { return v[:4], v == "1999-01-01" }

func TestMasks(t *testing.T) {
	BuildOperator = func(m Mask, source algebra.Type, key []byte) (Operator, algebra.Type, bool, error) {
		switch m.Op {
		case "year":
			return suffix{}, algebra.Type{Kind: algebra.Int}, false, nil
		case "drop":
			return nil, source, true, nil
		}
		return nil, source, false, errors.New("unknown operator")
	}
	defer func() { BuildOperator = nil }()
	s := spec()
	s.Columns[1] = Column{Name: "city", Type: algebra.Type{Kind: algebra.Date}, Mask: &Mask{Op: "year"}}
	s.Columns[2].Mask = &Mask{Op: "drop"}
	rows, _, err := run(t, s, CSV, "id,city,fee\nA,2001-05-06,1\nA,1999-01-01,1\n")
	if err != nil || len(rows[0].Values) != 1 || rows[0].Values[0].I != 2001 || !rows[1].Values[0].Null {
		t.Fatalf("%+v, %v", rows, err)
	}
	if _, sum, err := run(t, s, CSV, "id,city,fee\nA,2001-05-06,bad\nB,2001-05-06,1\n"); err != nil || sum.Bad != 1 {
		t.Fatalf("a dropped column is validated all the same: %+v, %v", sum, err)
	}
	s.Columns[2].Mask.Op = "rot13"
	if _, _, err := run(t, s, CSV, ""); err == nil {
		t.Fatal("an unknown operator passed")
	}
	BuildOperator = nil
	if _, err := s.StoredColumns(); err == nil {
		t.Fatal("a mask without operators passed")
	}
}

func TestSpecCheck(t *testing.T) {
	for name, change := range map[string]func(*Spec){
		"no dataset":       func(s *Spec) { s.Dataset = "" },
		"no columns":       func(s *Spec) { s.Columns = nil },
		"unknown type":     func(s *Spec) { s.Columns[1].Type.Kind = "float" },
		"scale":            func(s *Spec) { s.Columns[2].Type.Scale = 10 },
		"scale on text":    func(s *Spec) { s.Columns[1].Type.Scale = 1 },
		"reserved name":    func(s *Spec) { s.Columns[1].Name = "_rn" },
		"name twice":       func(s *Spec) { s.Columns[1].Name = "FEE" },
		"bounds":           func(s *Spec) { s.Columns[2].Bounds = &Range{2, 1} },
		"bounds on text":   func(s *Spec) { s.Columns[1].Bounds = &Range{1, 2} },
		"codes on decimal": func(s *Spec) { s.Columns[2].Codes = []string{"1"} },
		"unit":             func(s *Spec) { s.UnitColumn = "nobody" },
		"unique private":   func(s *Spec) { s.Unique = []string{"city"} },
		"one row public":   func(s *Spec) { s.UnitColumn, s.OneRow = "", true },
		"unique unknown":   func(s *Spec) { s.UnitColumn, s.Unique = "", []string{"nobody"} },
	} {
		s := spec()
		change(&s)
		if _, err := s.StoredColumns(); err == nil {
			t.Errorf("%s: passed", name)
		}
	}
	a, b := spec(), spec()
	b.Columns[2].Bounds.Hi++
	ha, _ := a.Hash()
	hb, _ := b.Hash()
	if ha == hb {
		t.Error("other rules, same hash")
	}
}

func BenchmarkParseCSV(b *testing.B) {
	var raw strings.Builder
	raw.WriteString("id,city,fee\n")
	for i := range 100000 {
		fmt.Fprintf(&raw, "U%d,x,%d.%02d\n", i/3, i%10, i%100)
	}
	s := spec()
	for b.Loop() {
		if _, err := Ingest(context.Background(), strings.NewReader(raw.String()), CSV, &s, keys, discard{}, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(100000*b.N)/b.Elapsed().Seconds(), "rows/s")
}

type discard struct{}

func (discard) Add(Row) error { return nil }
