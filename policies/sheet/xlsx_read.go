package sheet

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
)

// readXLSX reads the tables of a workbook (ECMA-376, part 1, §18). It reads the
// parts as a stream and not through the library that writes them: that one fills
// every row up to a number the file names, and tells a cell's type and formula
// only by searching the sheet for each.
func readXLSX(p *problems, files map[string][]byte) ([]table, error) {
	for name := range files {
		if low := strings.ToLower(name); strings.HasSuffix(low, "vbaproject.bin") || strings.Contains(low, "externallinks/") {
			return nil, refuse("SHEET_MACRO", "含有宏或外部链接，请另存为普通 XLSX", "it holds macros or links to other files; save it as a plain XLSX")
		}
	}
	sheets, err := sheetParts(files)
	if err != nil {
		return nil, err
	}
	shared, err := sharedStrings(files)
	if err != nil {
		return nil, err
	}
	var out []table
	left := maxCells
	for _, s := range sheets {
		if s.name == sheetHelp || s.name == sheetLists {
			continue
		}
		if !slices.Contains(tableNames, s.name) {
			return nil, refuse("SHEET_UNKNOWN", "第 %d 个工作表不属于模板，请删除或改名", "sheet number %d is none of the template's; delete or rename it", s.index)
		}
		t, err := readSheet(p, s.name, files[s.part], shared, &left)
		if err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	return out, nil
}

var errDamaged = refuse("SHEET_FORMAT", "XLSX 文件损坏，请用电子表格软件重新保存", "the XLSX file is damaged; save it anew in a spreadsheet program")

// tokens walks an XML part. A document type could define entities; no spreadsheet
// program writes one.
func tokens(part []byte, start func(xml.StartElement) error, end func(string), text func([]byte)) error {
	d := xml.NewDecoder(bytes.NewReader(part))
	for {
		t, err := d.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return errDamaged
		}
		switch t := t.(type) {
		case xml.StartElement:
			if err := start(t); err != nil {
				return err
			}
		case xml.EndElement:
			end(t.Name.Local)
		case xml.CharData:
			text(t)
		case xml.Directive:
			return errDamaged
		}
	}
}

func attr(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

type sheetPart struct {
	name, part string
	index      int // from 1
}

// sheetParts lists the sheets with the parts that hold them.
func sheetParts(files map[string][]byte) ([]sheetPart, error) {
	targets := map[string]string{}
	ignoreEnd, ignoreText := func(string) {}, func([]byte) {}
	err := tokens(files["xl/_rels/workbook.xml.rels"], func(e xml.StartElement) error {
		if e.Name.Local == "Relationship" && attr(e, "TargetMode") != "External" {
			t := attr(e, "Target")
			if !strings.HasPrefix(t, "/") {
				t = "/xl/" + t
			}
			targets[attr(e, "Id")] = strings.TrimPrefix(path.Clean(t), "/")
		}
		return nil
	}, ignoreEnd, ignoreText)
	if err != nil {
		return nil, err
	}
	var out []sheetPart
	err = tokens(files["xl/workbook.xml"], func(e xml.StartElement) error {
		if e.Name.Local != "sheet" {
			return nil
		}
		id := ""
		for _, a := range e.Attr {
			if a.Name.Local == "id" && a.Name.Space != "" {
				id = a.Value
			}
		}
		s := sheetPart{name: attr(e, "name"), part: targets[id], index: len(out) + 1}
		if _, ok := files[s.part]; !ok || slices.ContainsFunc(out, func(o sheetPart) bool { return o.name == s.name || o.part == s.part }) {
			return errDamaged
		}
		out = append(out, s)
		return nil
	}, ignoreEnd, ignoreText)
	if err == nil && len(out) == 0 {
		return nil, errDamaged
	}
	return out, err
}

// sharedStrings reads the table of texts that cells refer to.
func sharedStrings(files map[string][]byte) ([]string, error) {
	var out []string
	var b strings.Builder
	inText, phonetic := false, false
	err := tokens(files["xl/sharedStrings.xml"], func(e xml.StartElement) error {
		switch e.Name.Local {
		case "si":
			b.Reset()
		case "t":
			inText = !phonetic
		case "rPh":
			phonetic = true
		}
		return nil
	}, func(name string) {
		switch name {
		case "t":
			inText = false
		case "rPh":
			phonetic = false
		case "si":
			out = append(out, unescape(b.String()))
		}
	}, func(t []byte) {
		if inText {
			b.Write(t)
		}
	})
	if len(out) > maxCells {
		return nil, tooLarge()
	}
	return out, err
}

func tooLarge() error {
	return refuse("SHEET_TOO_LARGE", "工作表过大：至多 %d 行、%d 列，全部至多 %d 个单元格", "a sheet is too large: at most %d rows, %d columns, and %d cells in all", maxRows, maxColumns, maxCells)
}

// unescape reads _xHHHH_, the file format's way of writing a character that XML
// has no other for (§22.9.2.19).
func unescape(s string) string {
	if !strings.Contains(s, "_x") {
		return s
	}
	var b strings.Builder
	for {
		i := strings.Index(s, "_x")
		if i < 0 || len(s) < i+7 {
			return b.String() + s
		}
		n, err := strconv.ParseUint(s[i+2:i+6], 16, 16)
		if err != nil || s[i+6] != '_' {
			b.WriteString(s[:i+2])
			s = s[i+2:]
			continue
		}
		b.WriteString(s[:i])
		b.WriteRune(rune(n))
		s = s[i+7:]
	}
}

// escape keeps a text that reads like _xHHHH_ from being taken for that character.
// The library does not, for texts of a shared table.
func escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if len(s) >= i+7 && s[i:i+2] == "_x" && s[i+6] == '_' {
			if _, err := strconv.ParseUint(s[i+2:i+6], 16, 16); err == nil {
				b.WriteString("_x005F")
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// sheetReader reads one sheet.
type sheetReader struct {
	p      *problems
	name   string
	shared []string
	left   *int // cells

	t          table
	row, col   int // current, from 1 and 0
	cells      []cell
	kind       string
	inRow, inC bool
	inValue    bool
	formula    bool
	phonetic   bool
	value      strings.Builder
	err        error
}

func readSheet(p *problems, name string, part []byte, shared []string, left *int) (table, error) {
	r := &sheetReader{p: p, name: name, shared: shared, left: left, t: table{name: name}, col: -1}
	if err := tokens(part, r.start, r.end, func(t []byte) {
		if r.inValue {
			r.value.Write(t)
		}
	}); err != nil {
		return table{}, err
	}
	return r.t, r.err
}

func (r *sheetReader) start(e xml.StartElement) error {
	switch e.Name.Local {
	case "row":
		n := r.row + 1
		if s := attr(e, "r"); s != "" {
			var err error
			if n, err = strconv.Atoi(s); err != nil || n <= r.row {
				return errDamaged
			}
		}
		if n > maxRows || r.inRow {
			return tooLarge()
		}
		r.row, r.col, r.cells, r.inRow = n, -1, nil, true
	case "c":
		if !r.inRow || r.inC {
			return errDamaged
		}
		if err := r.place(attr(e, "r")); err != nil {
			return err
		}
		r.kind, r.formula, r.inC = attr(e, "t"), false, true
		r.value.Reset()
	case "f":
		r.formula = true
	case "rPh":
		r.phonetic = true
	case "v":
		r.inValue = r.inC
	case "t":
		r.inValue = r.inC && r.kind == "inlineStr" && !r.phonetic
	case "mergeCell":
		r.p.at("CELL_MERGED", r.name, 0, attr1(attr(e, "ref")), "有合并的单元格，请取消合并", "cells are merged; take them apart")
	}
	return nil
}

// attr1 keeps a cell reference and nothing else: it stands in an error.
func attr1(ref string) string {
	for _, c := range ref {
		if !strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:$", c) || len(ref) > 24 {
			return ""
		}
	}
	return ref
}

// place moves to a cell's column; cells of a row come from left to right.
func (r *sheetReader) place(ref string) error {
	col := r.col + 1
	if ref != "" {
		letters := strings.TrimRight(ref, "0123456789")
		if ref[len(letters):] != strconv.Itoa(r.row) || len(letters) > 3 || letters == "" {
			return errDamaged
		}
		col = 0
		for _, c := range letters {
			if c < 'A' || c > 'Z' {
				return errDamaged
			}
			col = col*26 + int(c-'A') + 1
		}
		col--
		if col <= r.col {
			return errDamaged
		}
	}
	r.col = col
	return nil
}

func (r *sheetReader) end(name string) {
	switch name {
	case "v", "t":
		r.inValue = false
	case "rPh":
		r.phonetic = false
	case "c":
		if r.inC {
			r.inC = false
			r.finish()
		}
	case "row":
		if !r.inRow {
			return
		}
		r.inRow = false
		if len(r.cells) == 0 {
			return
		}
		if r.t.header == nil && r.row == 1 {
			r.t.header = r.cells
			return
		}
		r.t.rows = append(r.t.rows, line{number: r.row, cells: r.cells})
	}
}

// finish takes the cell that ended. Empty ones are not kept: a sheet formatted down
// to its last row is as small as what it holds.
func (r *sheetReader) finish() {
	heading := headingAt(r.t, r.col)
	if r.formula {
		r.p.at("CELL_FORMULA", r.name, r.row, heading, "单元格是公式，请粘贴为值", "the cell is a formula; paste it as a value")
		r.keep(cell{refused: true})
		return
	}
	c := cell{text: r.value.String()}
	switch r.kind {
	case "s":
		i, err := strconv.Atoi(c.text)
		if c.text != "" && (err != nil || i < 0 || i >= len(r.shared)) {
			r.err = errors.Join(r.err, errDamaged)
			return
		}
		if c.text != "" {
			c.text = r.shared[i]
		}
	case "inlineStr", "str":
		c.text = unescape(c.text)
	case "b":
		if i, ok := map[string]int{"1": 0, "0": 1}[c.text]; ok {
			c.text = yesNo[i].code
		}
		c.boolean = true
	case "e":
		r.p.at("CELL_ERROR", r.name, r.row, heading, "单元格是错误值", "the cell is an error value")
		c = cell{refused: true}
	case "", "n", "d":
		c.numeric = c.text != ""
	default:
		r.err = errors.Join(r.err, errDamaged)
		return
	}
	if c.text != "" || c.refused {
		r.keep(c)
	}
}

func (r *sheetReader) keep(c cell) {
	if *r.left--; *r.left < 0 || r.col >= maxColumns {
		if r.err == nil {
			r.err = tooLarge()
		}
		return
	}
	for len(r.cells) < r.col {
		r.cells = append(r.cells, cell{})
	}
	r.cells = append(r.cells, c)
}
