package ingest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// fieldsOf reads a file without a catalogue and returns header and rows as text.
func fieldsOf(t *testing.T, f Format, raw string) (string, error) {
	t.Helper()
	var out []string
	err := Fields(context.Background(), strings.NewReader(raw), f,
		func(names []string) error { out = append(out, strings.Join(names, "|")); return nil },
		func(fields []string, _ []bool) error { out = append(out, strings.Join(fields, "|")); return nil })
	if err != nil && strings.Contains(err.Error(), canary) {
		t.Fatalf("the error quotes data: %v", err)
	}
	return strings.Join(out, "\n"), err
}

func TestFieldsReadsWhatIngestReads(t *testing.T) {
	const text = "a,b\n1,\"x\ny\"\n2,\n3,z,extra\n"
	want := "a|b\n1|x\ny\n2|\n3|z|extra"
	for name, c := range map[string]struct {
		format Format
		raw    string
	}{
		"csv":          {CSV, text},
		"byte order":   {CSV, "\xef\xbb\xbf" + text},
		"compressed":   {CSVGzip, zip(text)},
		"header alone": {CSV, "a,b\n"},
		"carriage":     {CSV, strings.ReplaceAll(text, "z,extra\n", "z,extra\r\n")},
	} {
		got, err := fieldsOf(t, c.format, c.raw)
		w := want
		if name == "header alone" {
			w = "a|b"
		}
		if err != nil || got != w {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestFieldsRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		format Format
		raw    string
		code   Code
		row    int64 // -1: wherever the cut falls
	}{
		"empty":             {CSV, "", CodeEmpty, 0},
		"cut":               {CSV, "a,b\n1," + canary, CodeTruncated, 1},
		"quote":             {CSV, "a,b\n1," + canary + "\"x\"\n", CodeSyntax, 1},
		"not compressed":    {CSVGzip, "a,b\n" + canary + ",1\n", CodeSyntax, 0},
		"compressed, cut":   {CSVGzip, zip("a,b\n" + strings.Repeat(canary+",1\n", 100))[:40], CodeTruncated, -1},
		"an endless quote":  {CSV, "a,b\n1,2\n3,\"" + strings.Repeat(canary+"\n", MaxRecord/8), CodeTooLong, 2},
		"unknown format":    {"xls", "a\n", CodeUnsupported, 0},
		"no Parquet reader": {Parquet, "PAR1", CodeUnsupported, 0},
	} {
		_, err := fieldsOf(t, c.format, c.raw)
		var no *Refusal
		if !errors.As(err, &no) || no.Code != c.code || c.row >= 0 && no.Row != c.row {
			t.Errorf("%s: %v", name, err)
		}
	}
	mine := errors.New("mine")
	if err := Fields(context.Background(), strings.NewReader("a\n1\n"), CSV, func([]string) error { return mine }, nil); err != mine {
		t.Errorf("the header's own error became %v", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	stop()
	var long strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&long, "%d\n", i)
	}
	if err := Fields(ctx, strings.NewReader("a\n"+long.String()), CSV, func([]string) error { return nil }, func([]string, []bool) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}
