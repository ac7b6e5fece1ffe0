package sheet

import (
	"archive/zip"
	"bytes"
	"errors"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/xuri/excelize/v2"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/policies"
)

// secret is what an official pastes into the wrong cell: no message may repeat it.
const secret = "430102199003077514"

// small is a sound catalogue.
func small() []policies.Catalogue {
	text := func(s string) policies.Text { return policies.Text{ZH: s} }
	return []policies.Catalogue{{Department: "health", Datasets: []policies.Dataset{{
		ID: "visits", Title: text("就诊"), Abstract: text("=HYPERLINK(\"x\")"), Unit: &policies.Unit{Column: "id", Kind: policies.UnitPerson},
		Columns: []policies.Column{
			{Name: "id", Title: text("号码"), Type: algebra.Text, Identifier: policies.IdentCitizen},
			{Name: "kind", Title: text("种类"), Type: algebra.Text, Codes: []policies.Code{{Value: "007", Title: text("甲")}, {Value: "8", Title: text("乙")}}},
		}}}}}
}

var smallBook = sync.OnceValues(func() ([]byte, error) { return Write(XLSX, small()) })

// official is the workbook of small after an edit in a spreadsheet program.
func official(t testing.TB, edit func(f *excelize.File) error) []byte {
	t.Helper()
	file, err := smallBook()
	if err != nil {
		t.Fatal(err)
	}
	f, err := excelize.OpenReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := edit(f); err != nil {
		t.Fatal(err)
	}
	out, err := f.WriteToBuffer()
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// repacked is a ZIP with its parts edited.
func repacked(t testing.TB, data []byte, edit func(parts map[string][]byte)) []byte {
	t.Helper()
	parts, err := unpack(data)
	if err != nil {
		t.Fatal(err)
	}
	edit(parts)
	return packed(t, parts)
}

func packed(t testing.TB, parts map[string][]byte) []byte {
	t.Helper()
	var out bytes.Buffer
	zw := zip.NewWriter(&out)
	for name, part := range parts {
		w, err := zw.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(part); err != nil {
			t.Fatal(err)
		}
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// reasonsOf are the reasons of a refusal, which repeat nothing of the file.
func reasonsOf(t *testing.T, err error) string {
	t.Helper()
	var r *Refused
	if !errors.As(err, &r) || len(r.Reasons) == 0 {
		t.Fatalf("not a refusal with reasons: %v", err)
	}
	out := ""
	for _, x := range r.Reasons {
		out += x.Code + " " + x.EN + " " + x.ZH + "\n"
		if x.ZH == "" || x.EN == "" || len(x.Code) > 63 {
			t.Errorf("incomplete reason: %+v", x)
		}
	}
	if strings.Contains(out, secret) || len(r.Reasons) > maxReasons {
		t.Errorf("the refusal repeats the file: %s", out)
	}
	return out
}

func TestR15_WorkbooksThatAreRefused(t *testing.T) {
	set := func(sheet, cell string, v any) func(f *excelize.File) error {
		return func(f *excelize.File) error { return f.SetCellValue(sheet, cell, v) }
	}
	if got, err := Read(XLSX, official(t, func(*excelize.File) error { return nil })); err != nil || !reflect.DeepEqual(got, small()) {
		t.Fatalf("control: %v %+v", err, got)
	}
	for name, c := range map[string]struct {
		edit func(f *excelize.File) error
		want []string
	}{
		"missing sheet":   {func(f *excelize.File) error { return f.DeleteSheet(tableCodes) }, []string{"SHEET_MISSING", tableCodes}},
		"unknown sheet":   {func(f *excelize.File) error { _, err := f.NewSheet(secret); return err }, []string{"SHEET_UNKNOWN"}},
		"renamed sheet":   {func(f *excelize.File) error { return f.SetSheetName(tableCodes, "Sheet3") }, []string{"SHEET_UNKNOWN"}},
		"wrong heading":   {set(tableColumns, "B1", secret), []string{"HEADING_UNKNOWN", "column \"B\"", "HEADING_MISSING", "列名 column"}},
		"heading twice":   {set(tableColumns, "B1", "数据集编号 dataset"), []string{"HEADING_TWICE", "数据集编号 dataset"}},
		"removed heading": {func(f *excelize.File) error { return f.RemoveCol(tableDatasets, "E") }, []string{"HEADING_MISSING", "摘要 abstract_zh"}},
		"no headings":     {func(f *excelize.File) error { return f.RemoveRow(tableCodes, 1) }, []string{"HEADING_MISSING", "代码 value"}},
		"unknown value":   {set(tableColumns, "E3", secret), []string{"CELL_VALUE", tableColumns, "row 3", "类型 type", "小数 decimal"}},
		"formula":         {func(f *excelize.File) error { return f.SetCellFormula(tableDatasets, "E2", "1+2") }, []string{"CELL_FORMULA", tableDatasets, "row 2", "摘要 abstract_zh"}},
		"formula where text is required": {func(f *excelize.File) error {
			return errors.Join(f.SetCellFormula(tableDatasets, "C2", "1+2"), f.SetCellInt(tableCodes, "C2", 7))
		}, []string{"CELL_FORMULA", "名称 title_zh", "CELL_NUMBER", "代码 value"}},
		"merged cells":      {func(f *excelize.File) error { return f.MergeCell(tableColumns, "C2", "D3") }, []string{"CELL_MERGED", tableColumns, "C2:D3"}},
		"number for a code": {set(tableCodes, "C2", 7), []string{"CELL_NUMBER", tableCodes, "row 2", "代码 value"}},
		"date for a text":   {set(tableDatasets, "I2", time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)), []string{"CELL_NUMBER", "时间范围 period"}},
		"boolean for text":  {set(tableDatasets, "C2", true), []string{"CELL_BOOLEAN", "名称 title_zh"}},
		"control character": {func(f *excelize.File) error { return f.SetCellStr(tableDatasets, "E2", secret+"_x0001_") }, []string{"CELL_CONTROL", "row 2", "摘要 abstract_zh"}},
		"turned direction":  {set(tableDatasets, "E2", secret+"\u202e"), []string{"CELL_CONTROL"}},
		"beside the table":  {set(tableCodes, "J2", secret), []string{"CELL_OUTSIDE", "row 2"}},
		"data set twice":    {func(f *excelize.File) error { return f.DuplicateRow(tableDatasets, 2) }, []string{"ROW_TWICE", "row 3"}},
		"column twice":      {func(f *excelize.File) error { return f.DuplicateRow(tableColumns, 2) }, []string{"ROW_TWICE", "row 3"}},
		"unknown data set":  {set(tableColumns, "A2", secret), []string{"ROW_UNKNOWN", tableColumns, "row 2"}},
		"unknown column":    {set(tableCodes, "B3", secret), []string{"ROW_UNKNOWN", tableCodes, "row 3"}},
		"required is empty": {set(tableColumns, "C2", ""), []string{"CELL_MISSING", "row 2", "名称 title_zh"}},
		"digits too many":   {set(tableColumns, "F2", 7), []string{"CELL_VALUE", "小数位数 scale"}},
		"too many rows":     {set(tableCodes, "A20001", "x"), []string{"SHEET_TOO_LARGE"}},
		"too many columns":  {set(tableCodes, "ZZ2", "x"), []string{"SHEET_TOO_LARGE"}},
		"nothing in it":     {func(f *excelize.File) error { return f.RemoveRow(tableDatasets, 2) }, []string{"SHEET_EMPTY"}},
		"unsound catalogue": {set(tableDatasets, "B2", "Visits"), []string{"ROW_UNKNOWN"}},
		"unsound data set":  {set(tableDatasets, "AC2", "kind"), []string{"CATALOGUE_INVALID", "identifier"}},
		"unsound code":      {set(tableDatasets, "N2", "91350100M000100Y43"+"X"), []string{"CATALOGUE_INVALID", "provider.code"}},
		"heading elsewhere": {set(tableDatasets, "A1", ""), []string{"HEADING_MISSING"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Read(XLSX, official(t, c.edit))
			if err == nil || got != nil {
				t.Fatal("taken")
			}
			text := reasonsOf(t, err)
			for _, w := range c.want {
				if !strings.Contains(text, w) {
					t.Errorf("%q is not in:\n%s", w, text)
				}
			}
		})
	}
}

// A number is right where the field is one, and TRUE where it says yes.
func TestR15_NumbersAndBooleansWhereTheyBelong(t *testing.T) {
	got, err := Read(XLSX, official(t, func(f *excelize.File) error {
		return errors.Join(f.SetCellInt(tableDatasets, columnName(len(datasetFields)-1)+"2", 5), f.SetCellBool(tableColumns, "H3", true), f.SetCellStr(tableColumns, "E3", "文本"))
	}))
	if err != nil {
		t.Fatal(err)
	}
	if d := got[0].Datasets[0]; d.BadRows.MaxPercent != 5 || !d.Columns[1].Nullable || d.Columns[1].Type != algebra.Text || d.Columns[1].Codes[0].Value != "007" {
		t.Errorf("%+v", d)
	}
}

func TestR15_FilesThatAreRefused(t *testing.T) {
	book := official(t, func(*excelize.File) error { return nil })
	csvs, err := Write(CSV, small())
	if err != nil {
		t.Fatal(err)
	}
	inCSV := func(name, from, to string) []byte {
		return repacked(t, csvs, func(p map[string][]byte) {
			if !bytes.Contains(p[name], []byte(from)) {
				t.Fatalf("%s holds no %q", name, from)
			}
			p[name] = bytes.Replace(p[name], []byte(from), []byte(to), 1)
		})
	}
	inBook := func(name, from, to string) []byte {
		return repacked(t, book, func(p map[string][]byte) {
			if !bytes.Contains(p[name], []byte(from)) {
				t.Fatalf("%s holds no %q", name, from)
			}
			p[name] = bytes.Replace(p[name], []byte(from), []byte(to), 1)
		})
	}
	const sheet1 = "xl/worksheets/sheet1.xml"
	for name, c := range map[string]struct {
		format Format
		data   []byte
		want   string
	}{
		"empty":             {XLSX, nil, "SHEET_FORMAT"},
		"plain CSV":         {CSV, []byte("a,b\n"), "SHEET_FORMAT"},
		"cut off":           {XLSX, book[:len(book)/2], "SHEET_FORMAT"},
		"too large":         {XLSX, make([]byte, MaxFile+1), "SHEET_TOO_LARGE"},
		"bomb":              {XLSX, repacked(t, book, func(p map[string][]byte) { p["xl/x.xml"] = make([]byte, maxInflated+1) }), "SHEET_TOO_LARGE"},
		"many parts":        {XLSX, packed(t, manyParts()), "SHEET_TOO_LARGE"},
		"macros":            {XLSX, repacked(t, book, func(p map[string][]byte) { p["xl/vbaProject.bin"] = []byte("x") }), "SHEET_MACRO"},
		"links":             {XLSX, repacked(t, book, func(p map[string][]byte) { p["xl/externalLinks/externalLink1.xml"] = []byte("x") }), "SHEET_MACRO"},
		"entities":          {XLSX, inBook(sheet1, "<worksheet", "<!DOCTYPE a [<!ENTITY b \"c\">]><worksheet"), "SHEET_FORMAT"},
		"far row":           {XLSX, inBook(sheet1, `<row r="2"`, `<row r="1048576"`), "SHEET_TOO_LARGE"},
		"row back":          {XLSX, inBook(sheet1, `<row r="2"`, `<row r="1"`), "SHEET_FORMAT"},
		"cell elsewhere":    {XLSX, inBook(sheet1, `r="B2"`, `r="B9"`), "SHEET_FORMAT"},
		"cells back":        {XLSX, inBook(sheet1, `r="B2"`, `r="A2"`), "SHEET_FORMAT"},
		"unknown cell type": {XLSX, inBook(sheet1, `t="s"`, `t="q"`), "SHEET_FORMAT"},
		"no such text":      {XLSX, inBook(sheet1, `<v>0</v>`, `<v>99999</v>`), "SHEET_FORMAT"},
		"no workbook":       {XLSX, repacked(t, book, func(p map[string][]byte) { delete(p, "xl/workbook.xml") }), "SHEET_FORMAT"},
		"no sheet part":     {XLSX, repacked(t, book, func(p map[string][]byte) { delete(p, sheet1) }), "SHEET_FORMAT"},
		"formula in CSV":    {CSV, inCSV("datasets.csv", "'=HYPER", "=HYPER"), "CELL_FORMULA"},
		"at in CSV":         {CSV, inCSV("datasets.csv", "就诊", "@"+secret), "CELL_FORMULA"},
		"heading in CSV":    {CSV, inCSV("codes.csv", "代码 value", secret), "HEADING_UNKNOWN"},
		"quotes in CSV":     {CSV, inCSV("codes.csv", "007", `"`+secret+`"7`), "SHEET_SYNTAX"},
		"not UTF-8":         {CSV, inCSV("codes.csv", "甲", "\xbc\xd7"), "SHEET_ENCODING"},
		"missing table":     {CSV, repacked(t, csvs, func(p map[string][]byte) { delete(p, "codes.csv") }), "SHEET_MISSING"},
		"another file":      {CSV, repacked(t, csvs, func(p map[string][]byte) { p[secret] = nil }), "SHEET_UNKNOWN"},
		"a path outside":    {CSV, repacked(t, csvs, func(p map[string][]byte) { p["../codes.csv"] = nil }), "SHEET_UNKNOWN"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Read(c.format, c.data)
			if err == nil || got != nil {
				t.Fatal("taken")
			}
			if text := reasonsOf(t, err); !strings.Contains(text, c.want) {
				t.Errorf("%s is not in:\n%s", c.want, text)
			}
		})
	}
	var twice bytes.Buffer
	zw := zip.NewWriter(&twice)
	for range 2 {
		if _, err := zw.Create("codes.csv"); err != nil {
			t.Fatal(err)
		}
	}
	zw.Close()
	if _, err := Read(CSV, twice.Bytes()); err == nil {
		t.Error("two files of one name are taken")
	}
	if _, err := Detect(packed(t, map[string][]byte{"a": nil})); err == nil {
		t.Error("any ZIP is taken for a catalogue")
	}
}

func manyParts() map[string][]byte {
	out := map[string][]byte{}
	for i := range maxParts + 1 {
		out[columnName(i)] = nil
	}
	return out
}

// What begins like a formula is a text in either format.
func TestR15_ExportRunsNoFormula(t *testing.T) {
	file, err := Write(CSV, small())
	if err != nil {
		t.Fatal(err)
	}
	parts, err := unpack(file)
	if err != nil {
		t.Fatal(err)
	}
	if text := string(parts["datasets.csv"]); !strings.Contains(text, `"'=HYPERLINK(""x"")"`) || strings.Contains(text, `,"=`) {
		t.Errorf("the CSV holds a formula:\n%s", text)
	}
	f, err := excelize.OpenReader(bytes.NewReader(official(t, func(*excelize.File) error { return nil })))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	formula, err := f.GetCellFormula(tableDatasets, "E2")
	kind, kerr := f.GetCellType(tableDatasets, "E2")
	if err != nil || kerr != nil || formula != "" || kind != excelize.CellTypeSharedString {
		t.Errorf("%q %v %v %v", formula, kind, err, kerr)
	}
}

// The template says in Chinese and English what to fill in, offers the values of
// enumerations, and is not a catalogue yet.
func TestR15_Template(t *testing.T) {
	file, err := Template()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Read(XLSX, file); err == nil || !strings.Contains(err.Error(), "SHEET_EMPTY") {
		t.Errorf("empty template: %v", err)
	}
	f, err := excelize.OpenReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for name, want := range map[string]int{tableDatasets: 8, tableColumns: 3, tableCodes: 0} {
		dv, err := f.GetDataValidations(name)
		if err != nil || len(dv) != want {
			t.Errorf("%s has %d drop-downs: %v", name, len(dv), err)
		}
	}
	rows, err := f.GetRows(tableDatasets)
	if err != nil || len(rows) != 1 || len(rows[0]) != len(datasetFields) || rows[0][14] != "共享属性 sharing_class" {
		t.Errorf("%v %v", rows, err)
	}
	help, err := f.GetRows(sheetHelp)
	if err != nil || len(help) != 1+len(headings) {
		t.Errorf("%d rows of help: %v", len(help), err)
	}
	for _, r := range help {
		if len(r) != 5 || r[3] == "" || r[4] == "" {
			t.Errorf("no help in %v", r)
		}
	}
}

// The reader sees what the library that wrote the file sees.
func TestR15_ReaderAgreesWithTheLibrary(t *testing.T) {
	file := official(t, func(f *excelize.File) error {
		return f.SetCellRichText(tableDatasets, "D2", []excelize.RichTextRun{{Text: "a"}, {Text: " b"}})
	})
	f, err := excelize.OpenReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	parts, err := unpack(file)
	if err != nil {
		t.Fatal(err)
	}
	var p problems
	tables, err := readXLSX(&p, parts)
	if err != nil || p.err() != nil || len(tables) != 3 {
		t.Fatal(err)
	}
	for _, tb := range tables {
		rows, err := f.GetRows(tb.name, excelize.Options{RawCellValue: true})
		if err != nil || len(rows) != 1+len(tb.rows) {
			t.Fatalf("%s: %v", tb.name, err)
		}
		for i, cells := range append([][]cell{tb.header}, cellsOf(tb.rows)...) {
			var mine []string
			for _, c := range cells {
				mine = append(mine, c.text)
			}
			if !reflect.DeepEqual(mine, rows[i]) {
				t.Errorf("%s row %d: %q, the library reads %q", tb.name, i+1, mine, rows[i])
			}
		}
	}
}

// Whatever is read is refused with reasons or is a sound catalogue that can be
// written as a bundle.
func FuzzRead(f *testing.F) {
	for _, format := range []Format{XLSX, CSV} {
		file, err := Write(format, small())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(file)
	}
	f.Add([]byte("PK\x05\x06"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, format := range []Format{XLSX, CSV} {
			checkRead(t, format, data)
		}
	})
}

// FuzzSheet changes one part inside an intact package.
func FuzzSheet(f *testing.F) {
	book, err := Write(XLSX, small())
	if err != nil {
		f.Fatal(err)
	}
	csvs, err := Write(CSV, small())
	if err != nil {
		f.Fatal(err)
	}
	bookParts, err := unpack(book)
	if err != nil {
		f.Fatal(err)
	}
	csvParts, err := unpack(csvs)
	if err != nil {
		f.Fatal(err)
	}
	for name, part := range bookParts {
		if strings.Contains(name, "sheet") || strings.Contains(name, "workbook") || strings.Contains(name, "Strings") {
			f.Add(name, part)
		}
	}
	for name, part := range csvParts {
		f.Add(name, part)
	}
	f.Fuzz(func(t *testing.T, name string, part []byte) {
		for format, parts := range map[Format]map[string][]byte{XLSX: bookParts, CSV: csvParts} {
			if _, ok := parts[name]; !ok || len(part) > 1<<20 {
				continue
			}
			copied := map[string][]byte{}
			for n, p := range parts {
				copied[n] = p
			}
			copied[name] = part
			checkRead(t, format, packed(t, copied))
		}
	})
}

func checkRead(t *testing.T, format Format, data []byte) {
	t.Helper()
	got, err := Read(format, data)
	if err != nil {
		var r *Refused
		if !errors.As(err, &r) || len(r.Reasons) == 0 || got != nil {
			t.Fatalf("not a refusal: %v", err)
		}
		return
	}
	text, err := policies.FormatCatalogues(got)
	if err != nil {
		return // too large for a bundle
	}
	docs, err := policies.ParseBundle(text)
	if err != nil || len(docs) != len(got) {
		t.Fatalf("what was read is no bundle: %v\n%s", err, text)
	}
}
