package sheet

import (
	"archive/zip"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"
)

// byteOrderMark makes spreadsheet programs read the file as UTF-8.
const byteOrderMark = "\ufeff"

// starts are the characters with which a spreadsheet program takes a cell of a CSV
// file for a formula (OWASP, CSV injection).
const starts = "=+-@"

var plainNumber = regexp.MustCompile(`^[+-]?[0-9]+([.][0-9]+)?$`)

// neutral puts an apostrophe before what would be taken for a formula, and before
// an apostrophe, so that reading gives back what was written.
func neutral(s string) string {
	if s != "" && strings.ContainsRune(starts+"'", rune(s[0])) {
		return "'" + s
	}
	return s
}

// restored undoes neutral; ok is false for what a spreadsheet program would have
// taken for a formula.
func restored(s string) (out string, ok bool) {
	if len(s) > 1 && s[0] == '\'' && strings.ContainsRune(starts+"'", rune(s[1])) {
		return s[1:], true
	}
	return s, s == "" || !strings.ContainsRune(starts, rune(s[0])) || plainNumber.MatchString(s)
}

func writeCSV(tables []table) ([]byte, error) {
	var out bytes.Buffer
	zw := zip.NewWriter(&out)
	for _, t := range tables {
		f, err := zw.Create(csvName(t.name))
		if err != nil {
			return nil, fmt.Errorf("failed to add %s: %w", csvName(t.name), err)
		}
		if _, err := io.WriteString(f, byteOrderMark); err != nil {
			return nil, fmt.Errorf("failed to write %s: %w", csvName(t.name), err)
		}
		w := csv.NewWriter(f)
		for _, cells := range append([][]cell{t.header}, cellsOf(t.rows)...) {
			row := make([]string, len(cells))
			for i, c := range cells {
				row[i] = neutral(c.text)
			}
			if err := w.Write(row); err != nil {
				return nil, fmt.Errorf("failed to write %s: %w", csvName(t.name), err)
			}
		}
		w.Flush()
		if err := w.Error(); err != nil {
			return nil, fmt.Errorf("failed to write %s: %w", csvName(t.name), err)
		}
	}
	if err := zw.Close(); err != nil {
		return nil, fmt.Errorf("failed to close the ZIP: %w", err)
	}
	return out.Bytes(), nil
}

func cellsOf(rows []line) [][]cell {
	var out [][]cell
	for _, r := range rows {
		out = append(out, r.cells)
	}
	return out
}

func readCSV(p *problems, files map[string][]byte) ([]table, error) {
	var out []table
	left := map[string]bool{}
	for name := range files {
		left[name] = true
	}
	cells := 0
	for _, name := range tableNames {
		text, ok := files[csvName(name)]
		if !ok {
			continue // decode says what is missing
		}
		delete(left, csvName(name))
		t, err := readTable(p, name, text, &cells)
		if err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	if len(left) > 0 {
		return nil, refuse("SHEET_UNKNOWN", "ZIP 中只能有 datasets.csv、columns.csv 和 codes.csv", "the ZIP may hold datasets.csv, columns.csv and codes.csv only")
	}
	return out, nil
}

func readTable(p *problems, name string, text []byte, cells *int) (table, error) {
	t := table{name: name}
	text = bytes.TrimPrefix(text, []byte(byteOrderMark))
	if !utf8.Valid(text) {
		return t, refuse("SHEET_ENCODING", "%s 不是 UTF-8 编码；保存时选择“CSV UTF-8”", "%s is not UTF-8; save it as \"CSV UTF-8\"", csvName(name))
	}
	r := csv.NewReader(bytes.NewReader(text))
	r.FieldsPerRecord = -1
	for n := 0; ; n++ {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			return t, nil
		}
		if err != nil {
			var bad *csv.ParseError
			at := 0
			if errors.As(err, &bad) {
				at = bad.StartLine
			}
			return t, refuse("SHEET_SYNTAX", "%s 第 %d 行起引号或分隔符有误", "%s: quotes or separators are wrong from line %d on", csvName(name), at)
		}
		at, _ := r.FieldPos(0)
		*cells += len(record)
		if n >= maxRows || len(record) > maxColumns || *cells > maxCells*2 {
			return t, refuse("SHEET_TOO_LARGE", "%s 行、列或单元格过多", "%s has too many rows, columns or cells", csvName(name))
		}
		row, filled := make([]cell, len(record)), false
		for i, s := range record {
			v, ok := restored(s)
			if !ok {
				p.at("CELL_FORMULA", name, at, headingAt(t, i), "像公式：以 = + - @ 开头的文字前须加单引号 '", "it looks like a formula: a text that begins with = + - @ needs an apostrophe ' before it")
			}
			row[i] = cell{text: v, refused: !ok}
			filled = filled || v != ""
		}
		switch {
		case t.header == nil:
			t.header = row
		case filled:
			t.rows = append(t.rows, line{number: at, cells: row})
		}
	}
}
