package ingest

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
)

// inBlocks reads text as ingest does, in blocks that are cut as soon as there are
// size bytes.
func inBlocks(text string, size int, fail error) (rows [][]string, err error) {
	var r io.Reader = strings.NewReader(text)
	if fail != nil {
		r = io.MultiReader(r, iotest.ErrReader(fail))
	}
	s := &splitter{r: r, size: size, spares: make(chan []byte)}
	for b, ok := s.cut(); ok; b, ok = s.cut() {
		file := records{block: b}
		for {
			record, err := file.Read()
			if err == io.EOF && b.fail == nil {
				break
			}
			if err != nil {
				return rows, err
			}
			rows = append(rows, slices.Clone(record))
		}
	}
	return rows, nil
}

func atOnce(text string, fail error) (rows [][]string, err error) {
	var r io.Reader = strings.NewReader(text)
	if fail != nil {
		r = io.MultiReader(r, iotest.ErrReader(fail))
	}
	file := csv.NewReader(r)
	file.FieldsPerRecord = -1
	for {
		record, err := file.Read()
		if err == io.EOF {
			return rows, nil
		}
		if err != nil {
			return rows, err
		}
		rows = append(rows, record)
	}
}

// compareReaders holds ingest's reader against encoding/csv: the same rows, and the
// same kind of error in the same row.
func compareReaders(t *testing.T, text string, size int, fail error) {
	t.Helper()
	want, wantErr := atOnce(text, fail)
	got, err := inBlocks(text, size, fail)
	code := func(err error) Code {
		if err == nil {
			return ""
		}
		return csvCode(err)
	}
	if code(err) != code(wantErr) || fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
		t.Fatalf("%q in blocks of %d:\n%q, %v\nwant\n%q, %v", text, size, got, err, want, wantErr)
	}
}

// TestR01_BlocksReadAsOneFile: cutting a file into blocks, and reading lines without
// quotes in another way, changes neither a row nor what is refused.
func TestR01_BlocksReadAsOneFile(t *testing.T) {
	pieces := []string{"a", ",", "\n", "\r\n", `"`, `""`, `"x,y"`, "\"x\ny\"", "\r", "东,西\n", "\"\r\n\"", "b,c\n"}
	cut := errors.New("cut")
	for range 10_000 {
		var text strings.Builder
		for range rand.IntN(14) {
			text.WriteString(pieces[rand.IntN(len(pieces))])
		}
		var fail error
		if rand.IntN(4) == 0 {
			fail = cut
		}
		compareReaders(t, text.String(), 1+rand.IntN(12), fail)
	}
}

func FuzzBlocks(f *testing.F) {
	f.Add("a,b\n1,\"x\ny\"\n\n2,\"\"\"\"\r\n", 3)
	f.Add("a\n\"", 1)
	f.Fuzz(func(t *testing.T, text string, size int) {
		compareReaders(t, text, 1+(size&0xff), nil)
	})
}

// lanes is a sink of n lanes that remembers every row.
type lanes struct {
	mu   sync.Mutex
	n    int
	rows map[string]int
}

func (l *lanes) Add(r Row) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rows[string(r.Encoded)]++
	return nil
}

func (l *lanes) Lanes() []Sink { return slices.Repeat([]Sink{l}, l.n) }

// TestR01_LanesSayWhatOneSays: with one lane and with four, a file leaves the same
// rows, the same summary, and the same refusal at the same row.
func TestR01_LanesSayWhatOneSays(t *testing.T) {
	file := func(change func(i int, line string) string) string {
		var text strings.Builder
		text.WriteString("id,city,fee\n")
		for i := range 20_000 {
			text.WriteString(change(i, fmt.Sprintf("U%06d,\"c\n%d\",%d.5\n", i/3, i%7, i%2000)))
		}
		return text.String()
	}
	at := func(n int, bad string) string {
		return file(func(i int, line string) string {
			if i == n || i == n+5_000 {
				return bad
			}
			return line
		})
	}
	for name, raw := range map[string]string{
		"good":      file(func(_ int, line string) string { return line }),
		"bad rows":  at(11_000, "U,x,"+canary+"\n"),
		"too few":   at(7_000, "U,x\n"),
		"quote":     at(13_333, "U,x"+canary+"\",1\n"),
		"cut":       strings.TrimSuffix(at(1, "U,x,1\n"), "\n"),
		"open":      at(12_000, "U,\"x,1\n"),
		"too long":  at(9_000, "U,\""+strings.Repeat("x\n", MaxRecord*2/3)+"\",1\n"),
		"not a row": at(5, "\n"),
	} {
		t.Run(name, func(t *testing.T) {
			s := spec()
			s.MaxBadPercent = 0
			one, four := &lanes{n: 1, rows: map[string]int{}}, &lanes{n: 4, rows: map[string]int{}}
			sum1, err1 := Ingest(context.Background(), strings.NewReader(raw), CSV, &s, keys, one, nil)
			last := int64(0)
			sum4, err4 := Ingest(context.Background(), strings.NewReader(raw), CSV, &s, keys, four, func(n int64) {
				if n < last {
					t.Error("progress goes back")
				}
				last = n
			})
			if fmt.Sprint(err1) != fmt.Sprint(err4) || fmt.Sprint(sum1) != fmt.Sprint(sum4) {
				t.Fatalf("one lane: %+v, %v\nfour: %+v, %v", sum1, err1, sum4, err4)
			}
			if err1 == nil && (fmt.Sprint(one.rows) != fmt.Sprint(four.rows) || sum1.Rows == 0) {
				t.Fatal("other rows")
			}
			if err1 != nil && strings.Contains(err1.Error(), canary) {
				t.Fatal("the error quotes data")
			}
			if name == "quote" && !strings.Contains(fmt.Sprint(err1), "row 13334") {
				t.Fatal(err1)
			}
		})
	}
}

func TestDecode(t *testing.T) {
	s := spec()
	var sink lanes
	sink.rows = map[string]int{}
	sink.n = 1
	if _, err := Ingest(context.Background(), strings.NewReader("id,city,fee\nA,东门,1.25\nB,-,2\n"), CSV, &s, keys, &sink, nil); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for row := range sink.rows {
		text, cells := "", make([]Cell, 2)
		if !Decode([]byte(row), cells) {
			t.Fatal("a row does not decode")
		}
		for i, c := range cells {
			text += fmt.Sprint(i, c.Size < 0, c.Number, row[c.At:c.At+max(c.Size, 0)], ";")
		}
		seen[text] = true
		for cut := range len(row) {
			if Decode([]byte(row[:cut]), cells) {
				t.Fatalf("%d bytes of a row decode", cut)
			}
		}
		if Decode(append([]byte(row), 0), cells) || Decode(bytes.Replace([]byte(row), []byte{1, 0}, []byte{3, 0}, 1), cells) {
			t.Fatal("what is no row decodes")
		}
	}
	if !seen["0false0东门;1false125;"] && !seen["0 false 0东门;1 false 125;"] || len(seen) != 2 {
		t.Fatal(seen)
	}
}
