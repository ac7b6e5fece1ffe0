package sheet

import (
	"slices"
	"strings"
	"unicode/utf16"

	"github.com/sandgate/sandgate/policies"
)

// encode lays catalogues flat.
func encode(catalogues []policies.Catalogue) ([]table, error) {
	var datasets []datasetRow
	var columns []columnRow
	var codes []codeRow
	for _, c := range catalogues {
		for _, d := range c.Datasets {
			r := datasetRow{department: c.Department, Dataset: d}
			if d.Unit != nil {
				r.unit = *d.Unit
			}
			datasets = append(datasets, r)
			for _, col := range d.Columns {
				r := columnRow{dataset: d.ID, Column: col}
				if col.Bounds != nil {
					r.bounds = *col.Bounds
				}
				if col.Grid != nil {
					r.grid = *col.Grid
				}
				columns = append(columns, r)
				for _, code := range col.Codes {
					codes = append(codes, codeRow{d.ID, col.Name, code})
				}
			}
		}
	}
	var p problems
	out := []table{
		encodeTable(&p, tableDatasets, datasetFields, datasets),
		encodeTable(&p, tableColumns, columnFields, columns),
		encodeTable(&p, tableCodes, codeFields, codes),
	}
	return out, p.err()
}

func encodeTable[T any](p *problems, name string, fields []field[T], rows []T) table {
	t := table{name: name}
	for _, f := range fields {
		t.header = append(t.header, cell{text: f.heading()})
	}
	if len(rows) > maxRows-1 {
		p.at("SHEET_TOO_LARGE", name, 0, "", "行数过多，请按部门分别导出", "too many rows; export department by department")
		return t
	}
	for i := range rows {
		l := line{number: i + 2}
		for _, f := range fields {
			s := f.get(&rows[i])
			if code, zh, en := unfit(s); code != "" {
				p.at(code, name, l.number, f.heading(), zh, en)
			}
			l.cells = append(l.cells, cell{text: s})
		}
		t.rows = append(t.rows, l)
	}
	return t
}

// unfit says why a text cannot stand in a cell.
func unfit(s string) (code, zh, en string) {
	if len(utf16.Encode([]rune(s))) > maxCell {
		return "CELL_TOO_LONG", "文字超过单元格上限", "the text is longer than a cell can be"
	}
	for _, c := range s {
		// Noncharacters stand in no XML.
		if c != '\n' && policies.Unprintable(c) || c&0xfffe == 0xfffe {
			return "CELL_CONTROL", "含有控制字符", "it holds a control character"
		}
	}
	return "", "", ""
}

// decode makes catalogues of the three tables.
func decode(p *problems, tables []table) ([]policies.Catalogue, error) {
	byName := map[string]table{}
	cells := 0
	for _, t := range tables {
		byName[t.name] = t
		for _, l := range t.rows {
			cells += len(l.cells)
		}
	}
	if cells > maxCells {
		return nil, refuse("SHEET_TOO_LARGE", "单元格超过 %d 个", "more than %d cells", maxCells)
	}
	for _, name := range tableNames {
		if _, ok := byName[name]; !ok {
			p.at("SHEET_MISSING", name, 0, "", "缺少此工作表", "the sheet is missing")
			return nil, p.err()
		}
	}
	datasets := decodeTable(p, byName[tableDatasets], datasetFields)
	columns := decodeTable(p, byName[tableColumns], columnFields)
	codes := decodeTable(p, byName[tableCodes], codeFields)
	if err := p.err(); err != nil {
		return nil, err
	}
	if len(datasets) == 0 {
		p.at("SHEET_EMPTY", tableDatasets, 0, "", "没有任何数据集", "there is no data set in it")
	}
	out := assemble(p, datasets, columns, codes)
	return out, p.err()
}

// numbered is a decoded row and its number in the file.
type numbered[T any] struct {
	row   T
	after int
}

func decodeTable[T any](p *problems, t table, fields []field[T]) []numbered[T] {
	at, ok := bindHeader(p, t, fields)
	if !ok {
		return nil
	}
	var out []numbered[T]
	for _, l := range t.rows {
		r := numbered[T]{after: l.number}
		refused := make([]bool, len(fields))
		for i, c := range l.cells {
			if i < len(at) && at[i] >= 0 && c.refused {
				refused[at[i]] = true
				continue
			}
			if i >= len(at) || at[i] < 0 {
				if c.text != "" {
					p.at("CELL_OUTSIDE", t.name, l.number, "", "表头以外的列中有内容", "something stands in a column that has no heading")
				}
				continue
			}
			decodeCell(p, t.name, l.number, fields[at[i]], &r.row, c)
		}
		for j, f := range fields {
			if f.need && !refused[j] && f.get(&r.row) == "" {
				p.at("CELL_MISSING", t.name, l.number, f.heading(), "必填", "it must be filled in")
			}
		}
		out = append(out, r)
	}
	return out
}

func decodeCell[T any](p *problems, name string, row int, f field[T], r *T, c cell) {
	s := strings.ReplaceAll(c.text, "\r\n", "\n")
	if s == "" {
		return
	}
	if code, zh, en := unfit(s); code != "" {
		p.at(code, name, row, f.heading(), zh, en)
		return
	}
	// The number that a spreadsheet made of what was typed has lost its leading
	// zeros, and a date is a count of days.
	if c.numeric && !f.numeric {
		p.at("CELL_NUMBER", name, row, f.heading(), "单元格是数字或日期，应为文本：把单元格格式设为“文本”后重新输入，以免丢失前导零", "the cell is a number or date where text is needed: format it as text and type it again, or leading zeros are lost")
		return
	}
	if c.boolean && !slices.Equal(f.choices, yesNo) {
		p.at("CELL_BOOLEAN", name, row, f.heading(), "单元格是 TRUE/FALSE，应为文本", "the cell is TRUE or FALSE where text is needed")
		return
	}
	if f.set(r, s) {
		return
	}
	zh, en := "不是此列允许的值", "it is none of the values of this column"
	if f.choices != nil {
		var labels []string
		for _, c := range f.choices {
			labels = append(labels, c.label())
		}
		zh, en = zh+"："+strings.Join(labels, "、"), en+": "+strings.Join(labels, ", ")
	}
	p.at("CELL_VALUE", name, row, f.heading(), zh, en)
}

// bindHeader maps the file's columns to the fields: every field once, in any order,
// and nothing else. A heading that is missing would silently empty its field.
func bindHeader[T any](p *problems, t table, fields []field[T]) ([]int, bool) {
	at := make([]int, len(t.header))
	seen := make([]bool, len(fields))
	ok := true
	for i, c := range t.header {
		at[i] = -1
		h := strings.Join(strings.Fields(c.text), " ")
		if h == "" {
			continue
		}
		j := slices.IndexFunc(fields, func(f field[T]) bool { return h == f.heading() })
		if j < 0 {
			p.at("HEADING_UNKNOWN", t.name, 1, columnName(i), "未知的表头，请从模板复制", "an unknown heading; copy it from the template")
			ok = false
			continue
		}
		if seen[j] {
			p.at("HEADING_TWICE", t.name, 1, fields[j].heading(), "表头重复", "the heading stands twice")
			ok = false
		}
		seen[j], at[i] = true, j
	}
	for j, f := range fields {
		if !seen[j] {
			p.at("HEADING_MISSING", t.name, 1, f.heading(), "缺少此列", "the column is missing")
			ok = false
		}
	}
	return at, ok
}

// headingAt names a column by its heading when that is one of ours, else by its
// letter: what else stands there is not repeated.
func headingAt(t table, col int) string {
	if col < len(t.header) {
		h := strings.Join(strings.Fields(t.header[col].text), " ")
		if slices.Contains(headings, h) {
			return h
		}
	}
	return columnName(col)
}

// columnName is a spreadsheet's letter of a column, from 0.
func columnName(i int) string {
	out := ""
	for i++; i > 0; i = (i - 1) / 26 {
		out = string(rune('A'+(i-1)%26)) + out
	}
	return out
}

// assemble puts rows together again. Rows keep their order; a row that refers to
// nothing is refused.
func assemble(p *problems, datasets []numbered[datasetRow], columns []numbered[columnRow], codes []numbered[codeRow]) []policies.Catalogue {
	var out []policies.Catalogue
	type place struct{ catalogue, dataset int }
	known := map[string]place{}
	for _, n := range datasets {
		r := n.row
		if _, dup := known[r.ID]; dup {
			p.at("ROW_TWICE", tableDatasets, n.after, "", "数据集编号重复", "the data set stands twice")
			continue
		}
		if r.unit != (policies.Unit{}) {
			r.Dataset.Unit = &r.unit
		}
		i := slices.IndexFunc(out, func(c policies.Catalogue) bool { return c.Department == r.department })
		if i < 0 {
			i = len(out)
			out = append(out, policies.Catalogue{Department: r.department})
		}
		known[r.ID] = place{i, len(out[i].Datasets)}
		out[i].Datasets = append(out[i].Datasets, r.Dataset)
	}
	index := map[[2]string]int{}
	for _, n := range columns {
		r := n.row
		at, ok := known[r.dataset]
		if !ok {
			p.at("ROW_UNKNOWN", tableColumns, n.after, columnFields[0].heading(), "“数据集”表中没有此编号", "the sheet of data sets has no such id")
			continue
		}
		if _, dup := index[[2]string{r.dataset, r.Name}]; dup {
			p.at("ROW_TWICE", tableColumns, n.after, "", "列名重复", "the column stands twice")
			continue
		}
		if r.bounds != (policies.Bounds{}) {
			r.Column.Bounds = &r.bounds
		}
		if g := r.grid; g.Edges != nil || g.From != "" || g.To != "" || g.Step != "" {
			r.Column.Grid = &g
		}
		d := &out[at.catalogue].Datasets[at.dataset]
		index[[2]string{r.dataset, r.Name}] = len(d.Columns)
		d.Columns = append(d.Columns, r.Column)
	}
	for _, n := range codes {
		r := n.row
		i, ok := index[[2]string{r.dataset, r.column}]
		if !ok {
			p.at("ROW_UNKNOWN", tableCodes, n.after, codeFields[1].heading(), "“数据项”表中没有此列", "the sheet of columns has no such column")
			continue
		}
		at := known[r.dataset]
		c := &out[at.catalogue].Datasets[at.dataset].Columns[i]
		c.Codes = append(c.Codes, r.Code)
	}
	return out
}
