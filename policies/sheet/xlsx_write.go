package sheet

import (
	"fmt"
	"strings"

	"github.com/xuri/excelize/v2"
)

// Sheets of a workbook beside the tables; reading passes them over.
const (
	sheetHelp  = "说明 help"
	sheetLists = "选项 lists"
)

// filled is down to which row drop-downs are offered.
const filled = 5000

// writeXLSX writes the tables as text cells of a workbook: a spreadsheet program
// evaluates no text cell, whatever it begins with, and keeps leading zeros.
func writeXLSX(tables []table) (out []byte, err error) {
	f := excelize.NewFile()
	defer f.Close()
	w := workbook{f: f}
	if w.text, err = f.NewStyle(&excelize.Style{NumFmt: 49, Alignment: &excelize.Alignment{Vertical: "top"}}); err != nil {
		return nil, fmt.Errorf("failed to make a style: %w", err)
	}
	if w.head, err = f.NewStyle(&excelize.Style{NumFmt: 49, Font: &excelize.Font{Bold: true}, Alignment: &excelize.Alignment{WrapText: true, Vertical: "top"},
		Fill: excelize.Fill{Type: "pattern", Color: []string{"DDEBF7"}, Pattern: 1}}); err != nil {
		return nil, fmt.Errorf("failed to make a style: %w", err)
	}
	for i, t := range tables {
		if i == 0 {
			err = f.SetSheetName("Sheet1", t.name)
		} else {
			_, err = f.NewSheet(t.name)
		}
		if err != nil {
			return nil, fmt.Errorf("failed to add sheet %q: %w", t.name, err)
		}
		w.table(t)
	}
	for _, name := range []string{sheetHelp, sheetLists} {
		if _, err := f.NewSheet(name); err != nil {
			return nil, fmt.Errorf("failed to add sheet %q: %w", name, err)
		}
	}
	w.strings(sheetHelp, []string{"工作表 sheet", "列 column", "必填 required", "说明", "meaning"})
	dropDowns(&w, tableDatasets, datasetFields)
	dropDowns(&w, tableColumns, columnFields)
	dropDowns(&w, tableCodes, codeFields)
	w.do(f.SetColWidth(sheetHelp, "A", "E", 30))
	w.do(f.SetSheetVisible(sheetLists, false))
	if w.err != nil {
		return nil, fmt.Errorf("failed to write the workbook: %w", w.err)
	}
	buf, err := f.WriteToBuffer()
	if err != nil {
		return nil, fmt.Errorf("failed to write the workbook: %w", err)
	}
	return buf.Bytes(), nil
}

// workbook writes until the first error.
type workbook struct {
	f          *excelize.File
	text, head int // styles
	next       map[string]int
	lists      int
	err        error
}

func (w *workbook) do(err error) {
	if w.err == nil {
		w.err = err
	}
}

func (w *workbook) table(t table) {
	if w.err != nil {
		return
	}
	last := columnName(len(t.header) - 1)
	w.do(w.f.SetColStyle(t.name, "A:"+last, w.text))
	w.do(w.f.SetColWidth(t.name, "A", last, 18))
	for i, c := range t.header {
		at := columnName(i) + "1"
		w.do(w.f.SetCellStr(t.name, at, c.text))
		w.do(w.f.SetCellStyle(t.name, at, at, w.head))
	}
	w.do(w.f.SetPanes(t.name, &excelize.Panes{Freeze: true, YSplit: 1, TopLeftCell: "A2", ActivePane: "bottomLeft"}))
	for _, l := range t.rows {
		for i, c := range l.cells {
			if c.text == "" {
				continue
			}
			at := fmt.Sprintf("%s%d", columnName(i), l.number)
			w.do(w.f.SetCellStr(t.name, at, escape(c.text)))
			w.do(w.f.SetCellStyle(t.name, at, at, w.text))
		}
	}
}

// strings appends a row of texts to a sheet.
func (w *workbook) strings(sheet string, row []string) {
	if w.next == nil {
		w.next = map[string]int{}
	}
	w.next[sheet]++
	for i, s := range row {
		w.do(w.f.SetCellStr(sheet, fmt.Sprintf("%s%d", columnName(i), w.next[sheet]), s))
	}
}

// dropDowns explains the fields of a table in the help sheet and offers the values
// of its enumerations.
func dropDowns[T any](w *workbook, name string, fields []field[T]) {
	for i, f := range fields {
		need := ""
		if f.need {
			need = yesNo[0].label()
		}
		w.strings(sheetHelp, []string{name, f.heading(), need, f.help.ZH, f.help.EN})
		var values []string
		for _, c := range f.choices {
			values = append(values, c.label())
		}
		values = append(values, f.usual...)
		if len(values) == 0 {
			continue
		}
		col := columnName(w.lists)
		w.lists++
		for j, v := range values {
			w.do(w.f.SetCellStr(sheetLists, fmt.Sprintf("%s%d", col, j+1), v))
		}
		dv := excelize.NewDataValidation(true)
		dv.SetSqref(fmt.Sprintf("%s2:%s%d", columnName(i), columnName(i), filled))
		dv.SetSqrefDropList(fmt.Sprintf("'%s'!$%s$1:$%s$%d", sheetLists, col, col, len(values)))
		style := excelize.DataValidationErrorStyleStop
		if f.usual != nil {
			style = excelize.DataValidationErrorStyleInformation
		}
		dv.SetError(style, f.heading(), strings.Join([]string{"请从下拉列表中选择。", "Choose from the list."}, "\n"))
		w.do(w.f.AddDataValidation(name, dv))
	}
}
