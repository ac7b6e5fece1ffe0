// Package sheet carries catalogues between policy bundles and the spreadsheets in
// which officials keep them: a workbook (XLSX) of three sheets, or the same three
// tables as CSV files in a ZIP. Bytes go in and values come out; what cannot be
// carried without loss, or is not what it seems (formulas, merged cells, numbers
// where a code is text), is refused by name of sheet, row and column heading.
package sheet

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"

	"github.com/sandgate/sandgate/policies"
)

// Format of a spreadsheet file.
type Format string

const (
	XLSX Format = "xlsx"
	CSV  Format = "csv" // datasets.csv, columns.csv and codes.csv in a ZIP
)

// Limits of a file. A city's catalogue of a thousand tables stays far below.
const (
	MaxFile     = 8 << 20  // bytes of the file
	maxInflated = 64 << 20 // bytes of what it unpacks to
	maxParts    = 300      // files in it
	maxRows     = 20_000   // of one sheet
	maxColumns  = 200      // of one sheet
	maxCells    = 400_000  // of the file, empty ones not counted
	maxCell     = 32_767   // characters of a cell, as spreadsheets have it
	maxReasons  = 20       // reported at once
)

// Refused says why a file was not taken, or catalogues cannot be written: every
// reason at once, up to a limit. It holds positions and headings, never a cell.
type Refused struct{ Reasons []policies.Reason }

// Error implements error with the English text of the first reason.
func (r *Refused) Error() string {
	if len(r.Reasons) == 0 {
		return "spreadsheet refused"
	}
	return r.Reasons[0].Error()
}

// refuse makes an error of one reason; zh and en take the same arguments.
func refuse(code, zh, en string, args ...any) error {
	return &Refused{[]policies.Reason{{Code: code, Rule: "sheet", SetBy: "sandgate", ZH: fmt.Sprintf(zh, args...), EN: fmt.Sprintf(en, args...)}}}
}

// problems gathers reasons while a file is read.
type problems struct{ reasons []policies.Reason }

// at reports a cell, row or sheet. Row 0 is the whole sheet, heading "" the whole
// row; zh and en are constants of this package.
func (p *problems) at(code, table string, row int, heading, zh, en string) {
	if len(p.reasons) >= maxReasons {
		return
	}
	placeZH, placeEN := "工作表“"+table+"”", "sheet \""+table+"\""
	if row > 0 {
		placeZH, placeEN = fmt.Sprintf("%s第 %d 行", placeZH, row), fmt.Sprintf("%s, row %d", placeEN, row)
	}
	if heading != "" {
		placeZH, placeEN = placeZH+"“"+heading+"”", placeEN+", column \""+heading+"\""
	}
	p.reasons = append(p.reasons, policies.Reason{Code: code, Rule: "sheet", SetBy: "sandgate", ZH: placeZH + "：" + zh, EN: placeEN + ": " + en})
}

func (p *problems) err() error {
	if len(p.reasons) == 0 {
		return nil
	}
	return &Refused{p.reasons}
}

// cell is one cell as the file has it. Text of a numeric cell is what the file
// stores, which is not what a person sees.
type cell struct {
	text    string
	numeric bool // a number or a date
	boolean bool // TRUE or FALSE; its text is a code of yesNo
	refused bool // reported already
}

// table is one sheet: its heading and the rows below that hold anything.
type table struct {
	name   string
	header []cell
	rows   []line
}

// line is a row and its number in the file, from 1.
type line struct {
	number int
	cells  []cell
}

// Detect says which format a file is in, by what it holds and not by its name.
func Detect(data []byte) (Format, error) {
	files, err := unpack(data)
	if err != nil {
		return "", err
	}
	if _, ok := files["[Content_Types].xml"]; ok {
		return XLSX, nil
	}
	if _, ok := files[csvName(tableDatasets)]; ok {
		return CSV, nil
	}
	return "", refuse("SHEET_FORMAT", "既不是 XLSX 文件，也不是含 datasets.csv、columns.csv、codes.csv 的 ZIP 文件", "neither an XLSX file nor a ZIP of datasets.csv, columns.csv and codes.csv")
}

// Read reads catalogues from a spreadsheet, one per department in the order of
// their first data set. What it returns passed policies.CheckCatalogue.
func Read(f Format, data []byte) ([]policies.Catalogue, error) {
	out, err := read(f, data)
	if err != nil {
		return nil, err
	}
	for _, c := range out {
		if err := policies.CheckCatalogue(c); err != nil {
			return nil, refuse("CATALOGUE_INVALID", "目录不合规：%v", "the catalogue does not hold: %v", err)
		}
	}
	return out, nil
}

func read(f Format, data []byte) ([]policies.Catalogue, error) {
	files, err := unpack(data)
	if err != nil {
		return nil, err
	}
	var tables []table
	var p problems
	switch f {
	case XLSX:
		tables, err = readXLSX(&p, files)
	case CSV:
		tables, err = readCSV(&p, files)
	default:
		return nil, refuse("SHEET_FORMAT", "未知格式；可用 xlsx、csv", "unknown format; known: xlsx, csv")
	}
	if err != nil {
		return nil, err
	}
	return decode(&p, tables)
}

// Write writes catalogues as a spreadsheet and reads it back: what does not come
// back the same is refused and not written.
func Write(f Format, catalogues []policies.Catalogue) ([]byte, error) {
	tables, err := encode(catalogues)
	if err != nil {
		return nil, err
	}
	var out []byte
	switch f {
	case XLSX:
		out, err = writeXLSX(tables)
	case CSV:
		out, err = writeCSV(tables)
	default:
		return nil, refuse("SHEET_FORMAT", "未知格式；可用 xlsx、csv", "unknown format; known: xlsx, csv")
	}
	if err != nil {
		return nil, err
	}
	back, err := read(f, out)
	if err != nil {
		return nil, err
	}
	if !reflect.DeepEqual(back, catalogues) {
		return nil, refuse("SHEET_LOSSY", "目录无法无损地写成表格，例如列表中含有空值或换行；请改用 YAML", "the catalogue cannot be written as a spreadsheet without loss, e.g. a list that holds an empty value or a line break; use YAML")
	}
	return out, nil
}

// Template is an empty workbook to fill in: headings, drop-downs, and a sheet that
// explains every column.
func Template() ([]byte, error) {
	tables, err := encode(nil)
	if err != nil {
		return nil, err
	}
	return writeXLSX(tables)
}

// unpack reads a ZIP wholly, within the limits, whatever sizes it claims.
func unpack(data []byte) (map[string][]byte, error) {
	if len(data) > MaxFile {
		return nil, refuse("SHEET_TOO_LARGE", "文件超过 %d 字节", "the file is larger than %d bytes", MaxFile)
	}
	zr, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, refuse("SHEET_FORMAT", "不是 XLSX 文件，也不是 ZIP 文件；CSV 须三个文件打成一个 ZIP", "neither an XLSX file nor a ZIP; CSV comes as three files in one ZIP")
	}
	if len(zr.File) > maxParts {
		return nil, refuse("SHEET_TOO_LARGE", "文件包含的部分超过 %d 个", "the file has more than %d parts", maxParts)
	}
	out, left := map[string][]byte{}, int64(maxInflated)
	for _, f := range zr.File {
		if _, dup := out[f.Name]; dup {
			return nil, refuse("SHEET_FORMAT", "压缩包中有重名文件", "two files in the package have one name")
		}
		part, err := inflate(f, left)
		if err != nil {
			return nil, err
		}
		left -= int64(len(part))
		out[f.Name] = part
	}
	return out, nil
}

func inflate(f *zip.File, limit int64) ([]byte, error) {
	broken := refuse("SHEET_FORMAT", "压缩包损坏或加密", "the package is damaged or encrypted")
	r, err := f.Open()
	if err != nil {
		return nil, broken
	}
	defer r.Close()
	part, err := io.ReadAll(io.LimitReader(r, limit+1))
	if int64(len(part)) > limit {
		return nil, refuse("SHEET_TOO_LARGE", "解压后超过 %d 字节", "it unpacks to more than %d bytes", maxInflated)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, broken
	}
	return part, nil
}
