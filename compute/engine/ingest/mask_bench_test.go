package ingest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/masking"
)

// withMasks puts the operators of package masking in place.
func withMasks(t testing.TB) {
	t.Helper()
	old := BuildOperator
	BuildOperator = func(m Mask, source algebra.Type, key []byte) (Operator, algebra.Type, bool, error) {
		if key == nil {
			key = make([]byte, 32)
		}
		p := masking.Params{Digits: m.Digits, Value: m.Value, Level: m.Level, At: m.At, Edges: m.Edges, Width: m.Width, Lo: m.Lo, Hi: m.Hi, Key: key, Type: source,
			Column: m.Column, Scale: m.Scale, Retain: m.Retain, Codes: m.Codes, By: m.By, Least: m.Least, K: m.K, Suppress: m.Suppress, Ladder: m.Ladder}
		stored, drop, err := masking.OutType(m.Op, p)
		if err != nil || drop {
			return nil, stored, drop, err
		}
		o, err := masking.New(m.Op, p)
		return o, stored, false, err
	}
	t.Cleanup(func() { BuildOperator = old })
}

// maskedSpec has six columns; the masks are left out when bare. generalise coarsens
// date, number, area and address; else one column of that many distinct values gets
// pseudonyms.
func maskedSpec(masks map[string]Mask) Spec {
	text := algebra.Type{Kind: algebra.Text}
	s := Spec{Dataset: "d", UnitColumn: "id", UnitKind: "person", Columns: []Column{
		{Name: "id", Type: text}, {Name: "born", Type: algebra.Type{Kind: algebra.Date}}, {Name: "fee", Type: algebra.Type{Kind: algebra.Decimal, Scale: 2}},
		{Name: "area", Type: text}, {Name: "address", Type: text}, {Name: "phone", Type: text},
	}}
	for i, c := range s.Columns {
		if m, ok := masks[c.Name]; ok {
			s.Columns[i].Mask = &m
		}
	}
	return s
}

func maskedFile(rows, phones int) string {
	var raw strings.Builder
	raw.WriteString("id,born,fee,area,address,phone\n")
	for i := range rows {
		fmt.Fprintf(&raw, "U%07d,%04d-%02d-%02d,%d.%02d,2399%02d,黑龙江省砂门市第%d区一号路%d号,199%08d\n", i*7919%(rows/4+1), 1940+i%80, 1+i%12, 1+i%28, i%900, i%100, 1+i%6, 1+i%6, i%1000, i%phones)
	}
	return raw.String()
}

var generalising = map[string]Mask{
	"born": {Op: "age_band", At: "2026-01-01", Edges: []string{"0", "18", "35", "60"}}, "fee": {Op: "band", Width: "100.00"},
	"area": {Op: "area", Digits: 4}, "address": {Op: "address", Level: "district"},
}

// BenchmarkMasks is ingest up to the engine without masks and with, in turn, by
// the CPU of the process. What masks cost is the difference of the least times of
// each: none-ns is the file's own, the others are on top of it, a row.
func BenchmarkMasks(b *testing.B) {
	withMasks(b)
	const rows = 200_000
	cases := []struct {
		name   string
		phones int
		masks  map[string]Mask
	}{
		{"none", rows, nil},
		{"four-generalised", rows, generalising},
		{"distinct-pseudonyms", rows, map[string]Mask{"phone": {Op: "pseudonym"}}},
		{"pseudonyms-of-50k", rows / 4, map[string]Mask{"phone": {Op: "pseudonym"}}},
	}
	least := make([]time.Duration, len(cases))
	files := make([]string, len(cases))
	for i, c := range cases {
		files[i] = maskedFile(rows, c.phones)
	}
	for b.Loop() {
		for i, c := range cases {
			s := maskedSpec(c.masks)
			before := cpuTime(b)
			if sum, err := Ingest(context.Background(), strings.NewReader(files[i]), CSV, &s, keys, discard{}, nil); err != nil || sum.Rows != rows {
				b.Fatal(sum.Rows, err)
			}
			if d := cpuTime(b) - before; least[i] == 0 || d < least[i] {
				least[i] = d
			}
		}
	}
	for i, c := range cases {
		d := least[i]
		if i > 0 {
			d -= least[0]
		}
		b.ReportMetric(float64(d.Nanoseconds())/rows, c.name+"-ns")
	}
}

func cpuTime(b *testing.B) time.Duration {
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
