package main

import (
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
)

// writeScoreInput writes rows of four numbers and a text, as Parquet and as
// compressed CSV: the first column with missing values, the second of integers,
// the third of float32 and the fourth of decimals.
func writeScoreInput(t *testing.T, dir string, rows int) {
	t.Helper()
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "who", Type: arrow.BinaryTypes.String}, {Name: "a", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
		{Name: "b", Type: arrow.PrimitiveTypes.Int32}, {Name: "c", Type: arrow.PrimitiveTypes.Float32},
		{Name: "d", Type: &arrow.Decimal128Type{Precision: 10, Scale: 2}},
	}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	var text bytes.Buffer
	z := gzip.NewWriter(&text)
	fmt.Fprintln(z, "who,a,b,c,d")
	for r := range rows {
		who, a, i, f, d := fmt.Sprintf("GEHEIM%d", r), float64(r%97)/7-6, r%11-5, float32(r%13)/4, fmt.Sprintf("%d.%02d", r%5, r%100)
		field := strconv.FormatFloat(a, 'g', -1, 64)
		b.Field(0).(*array.StringBuilder).Append(who)
		if r%10 == 3 {
			b.Field(1).AppendNull()
			field = ""
		} else {
			b.Field(1).(*array.Float64Builder).Append(a)
		}
		b.Field(2).(*array.Int32Builder).Append(int32(i))
		b.Field(3).(*array.Float32Builder).Append(f)
		if err := b.Field(4).AppendValueFromString(d); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(z, "%s,%s,%d,%v,%s\n", who, field, i, f, d)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "in.csv.gz"), text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(dir, "in.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	record := b.NewRecordBatch()
	defer record.Release()
	w, err := pqarrow.NewFileWriter(schema, f, parquet.NewWriterProperties(parquet.WithCompression(compress.Codecs.Snappy), parquet.WithMaxRowGroupLength(30_000)), pqarrow.DefaultWriterProps())
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(record); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil { // closes f as well
		t.Fatal(err)
	}
}

// TestR04_WasmScoresParquetAndCSVAlike: the same rows as Parquet and as
// compressed CSV, over several batches, have the same scores.
func TestR04_WasmScoresParquetAndCSVAlike(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const rows = 150_000
	writeScoreInput(t, dir, rows)
	env, _ := clean(t)
	module := filepath.Join(root, "testdata", "wasm", "logistic-c.wasm")
	for _, in := range []string{"in.parquet", "in.csv.gz"} {
		_, text, code := outcome(t, dir, env, "wasm", "run", module, "--input", in, "--column", "a,b,c,d", "--out", in+".out", "-o", "csv")
		if code != exitOK || !strings.Contains(text, "150000") {
			t.Fatalf("%s: exit %d, %s", in, code, text)
		}
	}
	one, err1 := os.ReadFile(filepath.Join(dir, "in.parquet.out"))
	two, err2 := os.ReadFile(filepath.Join(dir, "in.csv.gz.out"))
	if err1 != nil || err2 != nil || !bytes.Equal(one, two) {
		t.Fatalf("scores of Parquet and CSV differ: %v, %v", err1, err2)
	}
	lines, err := csv.NewReader(bytes.NewReader(one)).ReadAll()
	if err != nil || len(lines) != rows+1 {
		t.Fatalf("%d lines, %v", len(lines), err)
	}
	for r, l := range lines[1:] {
		if l[0] != strconv.Itoa(r+1) || (l[1] == "") != (r%10 == 3) {
			t.Fatalf("row %d: %v", r, l)
		}
	}
	if _, text, code := outcome(t, dir, env, "wasm", "run", module, "--input", "in.parquet", "--column", "a,b,c,who"); code != exitError || !strings.Contains(text, `"who"`) || strings.Contains(text, "GEHEIM") {
		t.Errorf("a text for a number: exit %d, %s", code, text)
	}
}

// TestR04_AttackWasmImport: a module that would print through WASI is refused,
// names the import, and prints nothing. compute/wasm shows that it prints in an
// engine that offers WASI.
func TestR04_AttackWasmImport(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	env, _ := clean(t)
	module := []byte("\x00asm\x01\x00\x00\x00" +
		"\x01\x09\x01\x60\x04\x7f\x7f\x7f\x7f\x01\x7f" + // a type of four i32
		"\x02\x23\x01\x16wasi_snapshot_preview1\x08fd_write\x00\x00")
	if err := os.WriteFile(filepath.Join(dir, "leak.wasm"), module, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "in.csv"), []byte("a\n1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"wasm", "check", "leak.wasm"}, {"wasm", "run", "leak.wasm", "--input", "in.csv", "--interpreter"}} {
		out, text, code := outcome(t, dir, env, args...)
		if code != exitRefused || out != "" || !strings.Contains(text, "WASM_IMPORT") || !strings.Contains(text, "fd_write") {
			t.Errorf("%v: exit %d, %q, %s", args, code, out, text)
		}
	}
}

// TestR04_WasmRunIsEndedInTime: an endless module ends with its reason, and
// leaves neither a file nor a process.
func TestR04_WasmRunIsEndedInTime(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	env, tmp := clean(t)
	// One f64 in, one f64 out; score is loop br 0 end unreachable.
	module := []byte("\x00asm\x01\x00\x00\x00" +
		"\x01\x0a\x02\x60\x00\x01\x7f\x60\x01\x7f\x01\x7f" +
		"\x03\x05\x04\x00\x01\x01\x01" +
		"\x05\x04\x01\x01\x03\x10" +
		"\x07\x4d\x05\x06memory\x02\x00\x0csandgate_abi\x00\x00\x0fsandgate_column\x00\x01\x0esandgate_alloc\x00\x02\x0esandgate_score\x00\x03" +
		"\x0a\x30\x04\x04\x00\x41\x01\x0b" +
		"\x19\x00\x20\x00\x45\x04\x7f\x41\x02\x05\x20\x00\x41\x01\x46\x04\x7f\x41\x82\x02\x05\x41\x00\x0b\x0b\x0b" +
		"\x06\x00\x41\x80\x80\x04\x0b" +
		"\x08\x00\x03\x40\x0c\x00\x0b\x00\x0b")
	if err := os.WriteFile(filepath.Join(dir, "endless.wasm"), module, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "in.csv"), []byte("a\n1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, text, code := outcome(t, dir, env, "wasm", "check", "endless.wasm"); code != exitOK {
		t.Fatalf("the module must pass the check: exit %d, %s%s", code, out, text)
	}
	begin := time.Now()
	_, text, code := outcome(t, dir, env, "wasm", "run", "endless.wasm", "--input", "in.csv", "--out", "scores.csv", "--batch-timeout", "500ms")
	if code != exitRefused || !strings.Contains(text, "WASM_BATCH_TIMEOUT") || time.Since(begin) > 20*time.Second {
		t.Errorf("exit %d after %v, %s", code, time.Since(begin), text)
	}
	for _, d := range []string{dir, tmp} {
		left, err := filepath.Glob(filepath.Join(d, "*scores.csv*"))
		hidden, err2 := filepath.Glob(filepath.Join(d, ".*"))
		if err != nil || err2 != nil || len(left)+len(hidden) > 0 {
			t.Errorf("left behind: %v %v", left, hidden)
		}
	}
}
