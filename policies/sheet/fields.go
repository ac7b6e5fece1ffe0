package sheet

import (
	"slices"
	"strconv"
	"strings"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/policies"
)

// The three tables.
const (
	tableDatasets = "数据集 datasets"
	tableColumns  = "数据项 columns"
	tableCodes    = "代码 codes"
)

// tableNames in the order of the workbook.
var tableNames = []string{tableDatasets, tableColumns, tableCodes}

func csvName(table string) string {
	_, en, _ := strings.Cut(table, " ")
	return en + ".csv"
}

// The rows of the tables: a catalogue's structures laid flat.
type (
	datasetRow struct {
		department string
		policies.Dataset
		unit policies.Unit
	}
	columnRow struct {
		dataset string
		policies.Column
		bounds policies.Bounds
		grid   policies.Grid
	}
	codeRow struct {
		dataset, column string
		policies.Code
	}
)

// choice is one value of an enumeration: what a bundle says and what a person reads.
type choice struct{ code, zh string }

func (c choice) label() string { return c.zh + " " + c.code }

// field is one column of a table. set reports false for a text that is none of its
// values; it is never called with an empty text, which is the zero value.
type field[T any] struct {
	zh, en  string // the heading is both
	help    policies.Text
	need    bool
	numeric bool     // a numeric cell is right here
	choices []choice // drop-down
	usual   []string // drop-down of suggestions
	get     func(*T) string
	set     func(*T, string) bool
}

func (f field[T]) heading() string { return f.zh + " " + f.en }

// text is a field of characters as they are.
func text[T any, S ~string](zh, en, helpZH, helpEN string, at func(*T) *S) field[T] {
	return field[T]{zh: zh, en: en, help: policies.Text{ZH: helpZH, EN: helpEN},
		get: func(r *T) string { return string(*at(r)) },
		set: func(r *T, s string) bool { *at(r) = S(s); return true }}
}

// enum is a field of one of some values.
func enum[T any, S ~string](zh, en, helpZH, helpEN string, choices []choice, at func(*T) *S) field[T] {
	return field[T]{zh: zh, en: en, help: policies.Text{ZH: helpZH, EN: helpEN}, choices: choices,
		get: func(r *T) string { return labelOf(choices, string(*at(r))) },
		set: func(r *T, s string) bool {
			code, ok := codeOf(choices, s)
			*at(r) = S(code)
			return ok
		}}
}

// tick is a field of yes or nothing.
func tick[T any](zh, en, helpZH, helpEN string, at func(*T) *bool) field[T] {
	return field[T]{zh: zh, en: en, help: policies.Text{ZH: helpZH, EN: helpEN}, choices: yesNo,
		get: func(r *T) string {
			if *at(r) {
				return yesNo[0].label()
			}
			return ""
		},
		set: func(r *T, s string) bool {
			code, ok := codeOf(yesNo, s)
			*at(r) = code == "yes"
			return ok
		}}
}

// list is a field of several values, separated by what join writes and split cuts at.
func list[T any, S ~string](zh, en, helpZH, helpEN string, lines bool, choices []choice, at func(*T) *[]S) field[T] {
	sep := "; "
	if lines {
		sep = "\n"
	}
	return field[T]{zh: zh, en: en, help: policies.Text{ZH: helpZH, EN: helpEN},
		get: func(r *T) string {
			var out []string
			for _, v := range *at(r) {
				if choices != nil {
					v = S(labelOf(choices, string(v)))
				}
				out = append(out, string(v))
			}
			return strings.Join(out, sep)
		},
		set: func(r *T, s string) bool {
			parts := strings.Split(s, "\n")
			if !lines {
				parts = strings.FieldsFunc(s, func(c rune) bool { return c == ';' || c == '；' || c == '\n' })
			}
			for _, p := range parts {
				if !lines {
					p = strings.TrimSpace(p)
				}
				if choices != nil {
					code, ok := codeOf(choices, p)
					if !ok {
						return false
					}
					p = code
				}
				*at(r) = append(*at(r), S(p))
			}
			return true
		}}
}

func labelOf(choices []choice, code string) string {
	for _, c := range choices {
		if c.code == code {
			return c.label()
		}
	}
	return code
}

// codeOf takes a value as the drop-down writes it, or either half of it.
func codeOf(choices []choice, s string) (string, bool) {
	s = strings.TrimSpace(s)
	for _, c := range choices {
		if s == c.label() || s == c.code || s == c.zh {
			return c.code, true
		}
	}
	return "", false
}

func (f field[T]) required() field[T] { f.need = true; return f }

var (
	yesNo     = []choice{{"yes", "是"}, {"no", "否"}}
	formats   = []choice{{"database", "数据库表"}, {"csv", "CSV 文件"}, {"xlsx", "电子表格"}, {"json", "JSON"}, {"xml", "XML"}, {"parquet", "列存文件"}, {"api", "接口"}, {"spatial", "空间数据"}, {"document", "文档"}, {"image", "图像"}, {"other", "其他"}}
	classes   = []choice{{string(policies.ClassUnconditional), "无条件"}, {string(policies.ClassConditional), "有条件"}, {string(policies.ClassNone), "不予"}}
	methods   = []choice{{"query", "查询"}, {"verify", "核验"}, {"batch", "批量交换"}, {"api", "接口调用"}, {"file", "文件下载"}}
	statuses  = []choice{{"none", "未授权"}, {"planned", "拟授权"}, {"authorised", "已授权"}}
	unitKinds = []choice{{string(policies.UnitPerson), "自然人"}, {string(policies.UnitOrganisation), "组织"}, {string(policies.UnitRecord), "记录"}}
	types     = []choice{{string(algebra.Text), "文本"}, {string(algebra.Int), "整数"}, {string(algebra.Decimal), "小数"}, {string(algebra.Date), "日期"}, {string(algebra.Bool), "是否"}}
	idents    = []choice{{string(policies.IdentCitizen), "公民身份号码"}, {string(policies.IdentCredit), "统一社会信用代码"}, {string(policies.IdentPhone), "电话"}, {string(policies.IdentName), "姓名"}, {string(policies.IdentCard), "银行卡号"}, {string(policies.IdentAddress), "地址"}, {string(policies.IdentEmail), "邮箱"}, {string(policies.IdentPlate), "车牌"}, {string(policies.IdentOpaque), "其他直接标识"}}
)

var datasetFields = func() []field[datasetRow] {
	type R = datasetRow
	frequency := text("更新周期", "update_frequency", "数据多久更新一次", "how often the data is updated", func(r *R) *string { return &r.UpdateFrequency })
	frequency.usual = policies.UpdateFrequencies
	bad := field[R]{zh: "坏行上限（%）", en: "bad_rows", numeric: true, help: policies.Text{ZH: "入库可搁置的行，占全部行的百分比，0…50", EN: "rows that ingest may set aside, percent of all, 0…50"},
		get: func(r *R) string {
			if r.BadRows.MaxPercent == 0 {
				return ""
			}
			return strconv.FormatFloat(r.BadRows.MaxPercent, 'g', -1, 64)
		},
		set: func(r *R, s string) bool {
			v, err := strconv.ParseFloat(s, 64)
			r.BadRows.MaxPercent = v
			return err == nil && v >= 0 && v <= 50
		}}
	return []field[R]{
		text("数源部门", "department", "登记簿中的部门编号", "id of the department in the registry", func(r *R) *string { return &r.department }).required(),
		text("数据集编号", "dataset", "小写字母、数字、_ 和 -", "lower-case letters, digits, _ and -", func(r *R) *string { return &r.ID }).required(),
		text("名称", "title_zh", "中文名称", "name in Chinese", func(r *R) *string { return &r.Title.ZH }).required(),
		text("英文名称", "title_en", "英文名称", "name in English", func(r *R) *string { return &r.Title.EN }),
		text("摘要", "abstract_zh", "数据是什么，一行代表什么", "what the data is, what a row stands for", func(r *R) *string { return &r.Abstract.ZH }),
		text("英文摘要", "abstract_en", "摘要的英文", "the abstract in English", func(r *R) *string { return &r.Abstract.EN }),
		enum("数据格式", "format", "数据的保存格式", "what the data is kept as", formats, func(r *R) *policies.Format { return &r.Format }),
		text("所属行业", "industry", "GB/T 4754 门类字母", "GB/T 4754 section letter", func(r *R) *string { return &r.Industry }),
		text("时间范围", "period", "数据覆盖的时间", "time that the data covers", func(r *R) *string { return &r.Period }),
		text("区域范围", "area", "数据覆盖的区域", "area that the data covers", func(r *R) *string { return &r.Area }),
		frequency,
		text("提供单位", "provider_zh", "提供单位名称", "name of the provider", func(r *R) *string { return &r.Provider.Name.ZH }),
		text("提供单位英文", "provider_en", "提供单位英文名称", "name of the provider in English", func(r *R) *string { return &r.Provider.Name.EN }),
		text("统一社会信用代码", "provider_code", "提供单位的代码，18 位", "the provider's code, 18 characters", func(r *R) *string { return &r.Provider.Code }),
		enum("共享属性", "sharing_class", "有条件、不予共享须写法律依据；由宽改严须主管部门签名", "conditional and none need a legal basis; tightening needs the regulator's signature", classes, func(r *R) *policies.Class { return &r.Sharing.Class }),
		text("共享条件", "sharing_condition_zh", "有条件共享时填写", "of conditional sharing", func(r *R) *string { return &r.Sharing.Condition.ZH }),
		text("共享条件英文", "sharing_condition_en", "共享条件的英文", "the condition in English", func(r *R) *string { return &r.Sharing.Condition.EN }),
		text("共享依据", "sharing_basis", "法律、法规条文", "article of the law", func(r *R) *string { return &r.Sharing.Basis }),
		list("共享方式", "sharing_methods", "可多选，用分号隔开：查询、核验、批量交换、接口调用、文件下载", "several, separated by semicolons: query, verify, batch, api, file", false, methods, func(r *R) *[]policies.SharingMethod { return &r.SharingMethods }),
		enum("开放属性", "opening_class", "有条件、不予开放须写法律依据", "conditional and none need a legal basis", classes, func(r *R) *policies.Class { return &r.Opening.Class }),
		text("开放条件", "opening_condition_zh", "有条件开放时填写", "of conditional opening", func(r *R) *string { return &r.Opening.Condition.ZH }),
		text("开放条件英文", "opening_condition_en", "开放条件的英文", "the condition in English", func(r *R) *string { return &r.Opening.Condition.EN }),
		text("共享来源", "shared_from", "由其他地区或部门共享而来的，填提供方；授权须附其同意", "provider of shared-in data, whose consent a licence needs", func(r *R) *string { return &r.SharedFrom }),
		text("个人授权", "consent", "填 required 的，须经数据主体授权", "required: used with the data subject's consent only", func(r *R) *string { return &r.Consent }),
		text("开放依据", "opening_basis", "法律、法规条文", "article of the law", func(r *R) *string { return &r.Opening.Basis }),
		enum("授权运营状态", "operation_status", "是否进入授权运营", "whether it is in authorised operation", statuses, func(r *R) *policies.OperationStatus { return &r.Operation.Status }),
		text("应用场景", "scenario_zh", "授权运营的应用场景", "scenario of authorised operation", func(r *R) *string { return &r.Operation.Scenario.ZH }),
		text("应用场景英文", "scenario_en", "应用场景的英文", "the scenario in English", func(r *R) *string { return &r.Operation.Scenario.EN }),
		text("隐私单元列", "unit_column", "标识自然人或组织的列；公开表不填", "column that identifies the person or organisation; empty for a public table", func(r *R) *string { return &r.unit.Column }),
		enum("隐私单元种类", "unit_kind", "隐私单元是什么", "what the privacy unit is", unitKinds, func(r *R) *policies.UnitKind { return &r.unit.Kind }),
		tick("公开表", "public", "声明不含隐私单元", "declared free of private units", func(r *R) *bool { return &r.Public }),
		tick("一单元一行", "one_row_per_unit", "每个隐私单元至多一行，入库时核对", "at most one row of a unit; verified at ingest", func(r *R) *bool { return &r.OneRow }),
		list("唯一键", "unique", "公开表的唯一键列，用分号隔开", "unique key columns of a public table, separated by semicolons", false, nil, func(r *R) *[]string { return &r.Unique }),
		bad,
	}
}()

var columnFields = func() []field[columnRow] {
	type R = columnRow
	scale := field[R]{zh: "小数位数", en: "scale", numeric: true, help: policies.Text{ZH: "小数列的位数，0…6", EN: "decimal digits of a decimal column, 0…6"},
		get: func(r *R) string {
			if r.Scale == 0 {
				return ""
			}
			return strconv.Itoa(int(r.Scale))
		},
		set: func(r *R, s string) bool {
			v, err := strconv.ParseUint(s, 10, 8)
			r.Scale = uint8(v)
			return err == nil && v <= 6
		}}
	return []field[R]{
		text("数据集编号", "dataset", "“数据集”表中的编号", "id in the sheet of data sets", func(r *R) *string { return &r.dataset }).required(),
		text("列名", "column", "文件中的列名", "name of the column in the file", func(r *R) *string { return &r.Name }).required(),
		text("名称", "title_zh", "中文名称", "name in Chinese", func(r *R) *string { return &r.Title.ZH }).required(),
		text("英文名称", "title_en", "英文名称", "name in English", func(r *R) *string { return &r.Title.EN }),
		enum("类型", "type", "文本、整数、小数、日期、是否", "text, int, decimal, date, bool", types, func(r *R) *algebra.Kind { return &r.Type }).required(),
		scale,
		text("计量单位", "measure", "元、人、平方米……", "unit of measure", func(r *R) *string { return &r.Measure }),
		tick("可为空", "nullable", "允许缺失值", "values may be missing", func(r *R) *bool { return &r.Nullable }),
		list("空值写法", "missing", "除空白外表示缺失的写法，一行一个", "spellings of a missing value beside the empty field, one per line", true, nil, func(r *R) *[]string { return &r.Missing }),
		enum("标识种类", "identifier", "能直接识别自然人或组织的列必填", "for a column that identifies a person or organisation", idents, func(r *R) *policies.IdentifierKind { return &r.Identifier }),
		text("下界", "bounds_lo", "字段可能的最小值", "least value that the field can have", func(r *R) *string { return &r.bounds.Lo }),
		text("上界", "bounds_hi", "字段可能的最大值", "greatest value that the field can have", func(r *R) *string { return &r.bounds.Hi }),
		list("分档边界", "grid_edges", "用分号隔开，由小到大", "edges in ascending order, separated by semicolons", false, nil, func(r *R) *[]string { return &r.grid.Edges }),
		text("分档起点", "grid_from", "与终点、步长一起填，或只填分档边界", "with to and step, or edges alone", func(r *R) *string { return &r.grid.From }),
		text("分档终点", "grid_to", "最后一档的上边", "upper edge of the last cell", func(r *R) *string { return &r.grid.To }),
		text("分档步长", "grid_step", "数值，或如“1 month”“7 days”", "a number, or like \"1 month\", \"7 days\"", func(r *R) *string { return &r.grid.Step }),
		text("代码表外归入", "other", "代码表外的值改为此代码；不填则为坏行", "code for values outside the list; a bad row without it", func(r *R) *string { return &r.Other }),
		text("标准数据元", "element", "数据元的标准号和编号", "standard and number of the data element", func(r *R) *string { return &r.Element }),
		text("数据元类型", "element_type", "数据元的表示格式，如 an..18、YYYYMMDD", "its representation, like an..18, YYYYMMDD", func(r *R) *string { return &r.ElementType }),
		text("来源部门", "source", "此列的数源部门，不填即本部门；他部门的列须其签名", "department that answers for the column; another department must sign", func(r *R) *string { return &r.Source }),
		text("法律依据", "basis", "归集、使用此列的法律依据", "legal basis of the column", func(r *R) *string { return &r.Basis }),
	}
}()

var codeFields = func() []field[codeRow] {
	type R = codeRow
	return []field[R]{
		text("数据集编号", "dataset", "“数据集”表中的编号", "id in the sheet of data sets", func(r *R) *string { return &r.dataset }).required(),
		text("列名", "column", "“数据项”表中的列名", "name in the sheet of columns", func(r *R) *string { return &r.column }).required(),
		text("代码", "value", "文本，前导零保留", "text; leading zeros are kept", func(r *R) *string { return &r.Value }),
		text("名称", "title_zh", "中文名称", "name in Chinese", func(r *R) *string { return &r.Title.ZH }),
		text("英文名称", "title_en", "英文名称", "name in English", func(r *R) *string { return &r.Title.EN }),
	}
}()

// headings of all tables.
var headings = slices.Concat(headingsOf(datasetFields), headingsOf(columnFields), headingsOf(codeFields))

func headingsOf[T any](fields []field[T]) []string {
	var out []string
	for _, f := range fields {
		out = append(out, f.heading())
	}
	return out
}
