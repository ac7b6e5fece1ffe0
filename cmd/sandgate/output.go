package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/compute/release"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
)

func reasonText(r *sandgatev1.Reason, lang string) string {
	msg, hint, at := r.GetMessageZh(), r.GetHintZh(), "（第 %d 行第 %d 列）"
	sep := "；"
	if lang == "en" {
		msg, hint, at, sep = r.GetMessageEn(), r.GetHintEn(), " (line %d, column %d)", "; "
	}
	if r.GetLine() > 0 {
		msg += fmt.Sprintf(at, r.GetLine(), r.GetColumn())
	}
	if hint != "" {
		msg += sep + hint
	}
	return msg
}

// head is a column's heading: in the reader's language in a table, and in
// English in json and csv, whose readers are programs and know no locale.
func (a *app) head(zh, en string) string {
	if a.format != "table" {
		return en
	}
	return a.t(zh, en)
}

// rows prints a table in the chosen format. Columns from the index right on are
// right-aligned in tables.
func (a *app) rows(header []string, body [][]string, right ...int) error {
	switch a.format {
	case "json":
		out := make([]map[string]string, 0, len(body))
		for _, row := range body {
			m := map[string]string{}
			for i, h := range header {
				m[h] = row[i]
			}
			out = append(out, m)
		}
		return a.json(out)
	case "csv":
		w := csv.NewWriter(a.out)
		if err := w.Write(header); err != nil {
			return err
		}
		if err := w.WriteAll(body); err != nil {
			return err
		}
		return w.Error()
	}
	printTable(a.out, header, body, right...)
	return nil
}

// printable keeps what a query made of released values from steering the terminal
// it is shown on.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

func printTable(w io.Writer, header []string, body [][]string, right ...int) {
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.SetStyle(table.StyleLight)
	t.Style().Format.Header = text.FormatDefault
	var conf []table.ColumnConfig
	for _, i := range right {
		conf = append(conf, table.ColumnConfig{Number: i + 1, Align: text.AlignRight})
	}
	t.SetColumnConfigs(conf)
	toRow := func(cells []string) table.Row {
		r := make(table.Row, len(cells))
		for i, c := range cells {
			r[i] = printable(c)
		}
		return r
	}
	t.AppendHeader(toRow(header))
	for _, row := range body {
		t.AppendRow(toRow(row))
	}
	t.Render()
}

func (a *app) json(v any) error {
	enc := json.NewEncoder(a.out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

func (a *app) proto(m proto.Message) error {
	text, err := protojson.MarshalOptions{Multiline: true, Indent: "  "}.Marshal(m)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(a.out, string(text))
	return err
}

// rho renders a nano-ρ price.
func rho(n int64) string { return budget.Nano(n).String() }

// release prints a release: in a table every estimate stands with its 95 %
// interval; in csv each estimate has three columns, and every row of synthetic results
// one more that says so.
func (a *app) release(r *sandgatev1.Release) error {
	if a.format == "json" {
		return a.proto(r)
	}
	a.synthetic(r.GetSynthetic())
	var header []string
	var right []int
	for _, c := range r.GetColumns() {
		if derived(c) {
			if c.GetType() == "int" || c.GetType() == "decimal" || c.GetType() == "double" {
				right = append(right, len(header))
			}
		} else if !c.GetKey() {
			right = append(right, len(header))
		}
		header = append(header, c.GetName())
		if a.format == "csv" && !c.GetKey() && !derived(c) {
			header = append(header, c.GetName()+"_lower", c.GetName()+"_upper")
		}
	}
	var body [][]string
	for _, row := range r.GetRows() {
		var cells []string
		for i, c := range row.GetCells() {
			key := r.GetColumns()[i].GetKey() || derived(r.GetColumns()[i])
			switch {
			case a.format == "csv" && !key:
				cells = append(cells, c.GetValue(), c.GetLower(), c.GetUpper())
			default:
				cells = append(cells, a.cell(c, key))
			}
		}
		body = append(body, cells)
	}
	if a.format == "csv" {
		if r.GetSynthetic() != nil {
			header = append(header, syntheticColumn)
			for i := range body {
				body[i] = append(body[i], "true")
			}
		}
		return a.rows(header, body)
	}
	printTable(a.out, header, body, right...)
	return nil
}

// derived says whether a column is the caller's own: it has no interval.
func derived(c *sandgatev1.ReleaseColumn) bool {
	return c.GetKind() == sandgatev1.ReleaseColumn_KIND_DERIVED
}

func (a *app) cell(c *sandgatev1.ReleaseCell, key bool) string {
	switch {
	case c.GetWithheld() != "":
		return "— " + release.Explain(c.GetWithheld()).In(a.lang)
	case c.GetNull():
		return a.t("（缺失）", "(missing)")
	case key || c.GetLower() == "":
		return c.GetValue()
	}
	return c.GetValue() + "  [" + c.GetLower() + ", " + c.GetUpper() + "]"
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

func join(s []string) string { return strings.Join(s, ", ") }
