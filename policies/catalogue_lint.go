package policies

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sandgate/sandgate/compute/algebra"
)

// Severity of a finding: an error is a requirement that is not met, a warning what
// somebody should look at.
type Severity string

const (
	SeverityError   Severity = "error"
	SeverityWarning Severity = "warning"
)

// Finding is one gap between a catalogue and what is asked of it, in both
// languages, with what to do. It names data sets and columns and holds no data.
type Finding struct {
	Severity    Severity `json:"severity"`
	Code        string   `json:"code"`        // stable, UPPER_SNAKE
	Requirement string   `json:"requirement"` // R15 …
	Dataset     string   `json:"dataset"`
	Column      string   `json:"column,omitempty"`
	ZH          string   `json:"zh"`
	EN          string   `json:"en"`
	DoZH        string   `json:"do_zh"`
	DoEN        string   `json:"do_en"`
}

// Text returns the finding and what to do in lang ("zh" or "en").
func (f Finding) Text(lang string) string {
	if lang == "en" {
		return f.EN + "; " + f.DoEN
	}
	return f.ZH + "；" + f.DoZH
}

// renewWithin is how long before its end a registration is due for renewal.
const renewWithin = 60 * 24 * time.Hour

// LintBundle explains every gap of the catalogues in a bundle. Grading, masks and
// uses are judged only where the bundle holds documents of the kind, registration
// never: the rest may be in force already.
func LintBundle(docs []Document) []Finding {
	l := linter{judged: map[Kind]bool{}}
	var entries []Entry
	at := func(id string) *Entry {
		i := slices.IndexFunc(entries, func(e Entry) bool { return e.Dataset.ID == id })
		if i < 0 {
			return &Entry{}
		}
		return &entries[i]
	}
	for _, d := range docs {
		l.judged[d.Kind] = true
		if d.Catalogue != nil {
			for _, ds := range d.Catalogue.Datasets {
				entries = append(entries, Entry{Dataset: ds, Department: d.Catalogue.Department})
			}
		}
	}
	for _, d := range docs {
		switch {
		case d.Grading != nil:
			for id := range d.Grading.Levels {
				// Under a scheme that the bundle does not hold nothing is known of a level:
				// the data set counts as not graded.
				if levels, err := levelsIn(docs, *d.Grading, id); err == nil {
					at(id).Levels = levels
				}
			}
		case d.Masking != nil:
			for id, masks := range d.Masking.Masks {
				e := at(id)
				e.Masks, e.Masked = masks, true
			}
		case d.Disclosure != nil:
			for id, rule := range d.Disclosure.Datasets {
				at(id).Rule = &rule
			}
		}
	}
	return l.run(entries, nil)
}

// Lint explains every gap of the catalogue in force at an instant; department
// limits it to one, empty is all of them. Two sources for one item are looked for
// across all departments either way.
func (b *Book) Lint(department string, at time.Time) []Finding {
	l := linter{judged: map[Kind]bool{KindGrading: true, KindMasking: true, KindDisclosure: true}, book: b, at: at}
	var own, all []Entry
	for _, id := range b.Datasets() {
		e := b.datasets[id]
		all = append(all, e)
		if department == "" || e.Department == department {
			own = append(own, e)
		}
	}
	return l.run(own, all)
}

type linter struct {
	judged map[Kind]bool
	book   *Book // nil for a file
	at     time.Time
	out    []Finding
	e      Entry
}

func (l *linter) run(entries, all []Entry) []Finding {
	for _, e := range entries {
		l.e = e
		l.described()
		l.classified()
		l.protected()
		l.registered()
		for _, c := range e.Dataset.Columns {
			l.column(c)
		}
	}
	if all == nil {
		all = entries
	}
	l.oneSource(entries, all)
	slices.SortStableFunc(l.out, func(x, y Finding) int { return cmp.Compare(x.Dataset, y.Dataset) })
	return l.out
}

// add reports a gap; zh and en take the same arguments.
func (l *linter) add(sev Severity, code, req, column, zh, en, doZH, doEN string) {
	l.out = append(l.out, Finding{Severity: sev, Code: code, Requirement: req, Dataset: l.e.Dataset.ID, Column: column, ZH: zh, EN: en, DoZH: doZH, DoEN: doEN})
}

// missing reports an absent field of the data set.
func (l *linter) missing(absent bool, sev Severity, code, req, zh, en, field string) {
	if absent {
		l.add(sev, code, req, "", "缺少"+zh, en+" is missing", "在目录中填写 "+field, "fill in "+field+" in the catalogue")
	}
}

func (l *linter) described() {
	d := l.e.Dataset
	l.missing(d.Abstract.ZH == "", SeverityError, "ABSTRACT_MISSING", "R15", "摘要", "the abstract", "abstract")
	l.missing(d.Format == "", SeverityError, "FORMAT_MISSING", "R15", "数据格式", "the format", "format")
	l.missing(d.Industry == "", SeverityError, "INDUSTRY_MISSING", "R15", "所属行业", "the industry", "industry")
	l.missing(d.Period == "", SeverityError, "PERIOD_MISSING", "R15", "数据时间范围", "the period covered", "period")
	l.missing(d.Area == "", SeverityError, "AREA_MISSING", "R15", "数据区域范围", "the area covered", "area")
	l.missing(d.UpdateFrequency == "", SeverityError, "UPDATE_FREQUENCY_MISSING", "R15", "更新周期", "the update frequency", "update_frequency")
	if f := d.UpdateFrequency; f != "" && !slices.Contains(UpdateFrequencies, f) {
		l.add(SeverityWarning, "UPDATE_FREQUENCY_UNUSUAL", "R15", "", "更新周期不是通用说法", "the update frequency is not one of the usual words",
			"改用："+strings.Join(UpdateFrequencies, "、"), "use one of: "+strings.Join(UpdateFrequencies, ", "))
	}
	l.missing(d.Provider.Name.ZH == "", SeverityError, "PROVIDER_MISSING", "R15", "提供单位", "the provider", "provider.name")
	l.missing(d.Provider.Code == "", SeverityError, "PROVIDER_CODE_MISSING", "R15", "提供单位的统一社会信用代码", "the provider's credit code", "provider.code")
	l.missing(d.Operation.Status == "", SeverityError, "OPERATION_STATUS_MISSING", "R15", "授权运营状态", "the authorised-operation status", "operation.status")
	l.missing(d.Operation.Status != "" && d.Operation.Status != "none" && d.Operation.Scenario.ZH == "", SeverityError,
		"OPERATION_SCENARIO_MISSING", "R15", "授权运营应用场景", "the scenario of authorised operation", "operation.scenario")
}

func (l *linter) classified() {
	d := l.e.Dataset
	l.missing(d.Sharing.Class == "", SeverityError, "SHARING_CLASS_MISSING", "R19", "共享属性（目前视为未分类，不因此拒绝查询）", "the sharing class (unclassified: no query is refused for it)", "sharing.class")
	l.missing(d.Opening.Class == "", SeverityError, "OPENING_CLASS_MISSING", "R19", "开放属性", "the opening class", "opening.class")
	l.missing(d.Sharing.Class != "" && len(d.SharingMethods) == 0, SeverityError, "SHARING_METHODS_MISSING", "R15", "共享方式", "the way of sharing", "sharing_methods")
	for _, c := range []struct {
		code, zh, en, field string
		a                   Access
	}{{"SHARING_BASIS_MISSING", "共享属性的法律依据", "the legal basis of the sharing class", "sharing.basis", d.Sharing},
		{"OPENING_BASIS_MISSING", "开放属性的法律依据", "the legal basis of the opening class", "opening.basis", d.Opening}} {
		l.missing((c.a.Class == ClassConditional || c.a.Class == ClassNone) && c.a.Basis == "", SeverityError, c.code, "R19", c.zh, c.en, c.field)
	}
	if d.Sharing.Class == ClassNone && l.e.Rule != nil && slices.ContainsFunc(slices.Collect(maps.Values(l.e.Rule.Uses)), queried) {
		l.add(SeverityWarning, "NOT_SHARED_WITH_RULE", "R19", "", "不予共享的数据集设有披露规则，查询仍会被拒绝", "a data set that is not shared has a disclosure rule; queries are refused all the same",
			"只做核验，或调整共享属性", "offer verification only, or change the class")
	}
}

// protected looks at the documents that a data set needs beside the catalogue.
func (l *linter) protected() {
	d := l.e.Dataset
	if l.judged[KindGrading] && l.e.Levels == nil {
		l.add(SeverityError, "GRADING_MISSING", "R16", "", "尚未分级", "it is not graded", "提交 Grading 文档", "apply a Grading document")
	}
	if l.judged[KindMasking] && !l.e.Masked && !d.Public {
		l.add(SeverityError, "MASKING_MISSING", "R16", "", "尚无脱敏规则", "it has no masks", "提交 Masking 文档", "apply a Masking document")
	}
	if l.judged[KindDisclosure] && l.e.Rule == nil && d.Sharing.Class != ClassNone {
		l.add(SeverityWarning, "DISCLOSURE_MISSING", "R16", "", "尚无披露规则，不能查询", "it has no disclosure rule and cannot be queried", "提交 Disclosure 文档", "apply a Disclosure document")
	}
	if d.Unit != nil && d.Unit.Kind == UnitRecord {
		l.add(SeverityWarning, "UNIT_IS_A_RECORD", "R18", d.Unit.Column, "隐私单元既不是公民身份号码，也不是统一社会信用代码", "the privacy unit is neither a citizen number nor a credit code",
			"有号码时以号码为隐私单元", "take the number as the unit where there is one")
	}
}

func (l *linter) registered() {
	if l.book == nil {
		return
	}
	t := Target{TargetDataset, l.e.Dataset.ID}
	sev := SeverityWarning
	if l.book.registrationRequired {
		sev = SeverityError
	}
	if x := l.book.Registered(t, l.at); x != nil {
		l.add(sev, x.Code, "R11", "", x.ZH, x.EN, x.HintZH, x.HintEN)
	} else if r, _ := l.book.RegistrationOf(t); r.ValidUntil.Sub(l.at) < renewWithin {
		until := Day(r.ValidUntil)
		l.add(SeverityWarning, "REGISTRATION_ENDS_SOON", "R11", "", "登记将于 "+until+" 到期", "the registration ends on "+until, "办理变更登记以延续", "renew it by a registration of type change")
	}
}

func (l *linter) column(c Column) {
	gap := func(absent bool, sev Severity, code, req, zh, en, doZH, doEN string) {
		if absent {
			l.add(sev, code, req, c.Name, zh, en, doZH, doEN)
		}
	}
	d, rule := l.e.Dataset, l.e.Rule
	isUnit := d.Unit != nil && d.Unit.Column == c.Name
	numeric := c.Type == algebra.Int || c.Type == algebra.Decimal
	used := func(u Use) bool { return rule != nil && slices.Contains(rule.Uses[c.Name], u) }
	coded := len(c.Codes) > 0
	gap(numeric && !coded && c.Bounds == nil && (c.Measure != "" || c.Type == algebra.Decimal || used(UseMeasure)), SeverityError, "BOUNDS_MISSING", "R15",
		"度量没有界限", "a measure without bounds", "按字段可能的取值登记 bounds", "register bounds from what the field can be")
	gap(numeric && !coded && c.Measure == "" && c.Identifier == "", SeverityWarning, "MEASURE_UNIT_MISSING", "R15", "没有计量单位", "no unit of measure", "填写 measure", "fill in measure")
	key := used(UseKey) && !slices.Contains(rule.PrivateKeys, c.Name)
	gap(key && !d.Public && !coded && c.Grid == nil && c.Bounds == nil && c.Type != algebra.Bool, SeverityError, "KEY_CODES_MISSING", "R15",
		"分组列没有代码表", "a key column without a code list", "登记代码表，或列入 private_keys", "register a code list, or name it in private_keys")
	m, masked := l.e.Masks[c.Name]
	gap(l.judged[KindMasking] && c.Identifier != "" && !isUnit && !d.Public && (!masked || m.Op == "keep"), SeverityError, "IDENTIFIER_MASK_MISSING", "R16",
		"标识列没有脱敏", "an identifier without a mask", "在 Masking 中指定脱敏方式或 drop", "name a mask, or drop, in Masking")
	_, graded := l.e.Levels[c.Name]
	gap(l.e.Levels != nil && !graded, SeverityError, "COLUMN_LEVEL_MISSING", "R16", "该列没有分级", "the column is not graded", "在 Grading 中定级", "grade it in Grading")
	gap(c.Identifier == IdentCitizen && !isUnit && (d.Unit == nil || d.Unit.Kind != UnitPerson), SeverityWarning, "PERSON_NOT_THE_UNIT", "R18",
		"含公民身份号码，但隐私单元不是自然人", "it holds citizen numbers, and persons are not the privacy unit", "核对隐私单元", "look at the privacy unit again")
	gap(c.Basis == "" && (c.Identifier != "" || l.e.Levels[c.Name] >= 3), SeverityWarning, "COLUMN_BASIS_MISSING", "R19",
		"标识列或三级以上的列没有法律依据", "an identifier, or a column of level 3 and above, without its legal basis", "填写 basis", "fill in basis")
	gap(c.Element == "", SeverityWarning, "ELEMENT_MISSING", "R17", "没有对应的标准数据元", "no standard data element", "填写 element 和 element_type", "fill in element and element_type")
	gap(c.Element != "" && c.ElementType == "", SeverityWarning, "ELEMENT_TYPE_MISSING", "R17", "没有数据元的表示格式", "no representation of the data element", "填写 element_type", "fill in element_type")
}

// oneSource looks for one data element with two source departments (R17). Columns
// that identify are in many tables by nature.
func (l *linter) oneSource(entries, all []Entry) {
	type place struct{ department, dataset, column string }
	sources := map[string][]place{}
	for _, e := range all {
		for _, c := range e.Dataset.Columns {
			if c.Element != "" && c.Identifier == "" {
				sources[c.Element] = append(sources[c.Element], place{e.SourceOf(c.Name), e.Dataset.ID, c.Name})
			}
		}
	}
	for _, e := range entries {
		l.e = e
		for _, c := range e.Dataset.Columns {
			own := e.SourceOf(c.Name)
			i := slices.IndexFunc(sources[c.Element], func(p place) bool { return p.department != own })
			if c.Identifier != "" || i < 0 {
				continue
			}
			p := sources[c.Element][i]
			l.add(SeverityWarning, "TWO_SOURCES", "R17", c.Name, fmt.Sprintf("同一数据元另有来源：%s 的 %s.%s", p.department, p.dataset, p.column),
				fmt.Sprintf("the same data element has another source: %s.%s of %s", p.dataset, p.column, p.department),
				"一数一源：以其中一个部门为 source", "one item, one source: name one of the departments as source")
		}
	}
}
