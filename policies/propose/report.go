package propose

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/policies"
)

// Report is what a scan proposes. It names columns and spellings of missing values
// that the dictionary or the catalogue know, and counts.
type Report struct {
	Dataset string   `json:"dataset,omitempty"`
	Rows    int64    `json:"rows"`
	Ragged  int64    `json:"ragged_rows,omitempty"` // rows with another number of fields than the header
	Columns []Column `json:"columns"`
}

// Column is the proposal for one column.
type Column struct {
	Name string `json:"name"`
	// Type and Scale are what every value that is not missing fits; declared ones
	// stand in Declared.
	Type     algebra.Kind     `json:"type"`
	Scale    uint8            `json:"scale,omitempty"`
	Declared algebra.Kind     `json:"declared_type,omitempty"`
	Values   int64            `json:"values"`
	Null     int64            `json:"null,omitempty"`
	Missing  map[string]int64 `json:"missing,omitempty"` // by spelling
	// Distinct is the number of different values, at most MaxDistinct; More says that
	// there are more.
	Distinct int  `json:"distinct"`
	More     bool `json:"more,omitempty"`
	// Identifier is the kind proposed, empty for none.
	Identifier policies.IdentifierKind                    `json:"identifier,omitempty"`
	Evidence   map[policies.IdentifierKind]ValidityCounts `json:"evidence,omitempty"`
	// Class is the sensitive class proposed, empty for none.
	Class string `json:"class,omitempty"`
	// Quasi marks what singles out a person together with other columns.
	Quasi bool `json:"quasi,omitempty"`
	// Level is proposed on the scale of GB/T 43697-2024; Why says for what reason.
	Level int           `json:"level"`
	Why   policies.Text `json:"why"`
	// Notes say what a person should look at.
	Notes []policies.Text `json:"notes,omitempty"`
}

// Report proposes from what was counted so far.
func (s *Scan) Report() Report {
	r := Report{Rows: s.rows, Ragged: s.ragged}
	if s.dataset != nil {
		r.Dataset = s.dataset.ID
	}
	for _, c := range s.columns {
		r.Columns = append(r.Columns, s.propose(c))
	}
	return r
}

func (s *Scan) propose(c *counter) Column {
	out := Column{Name: c.name, Values: c.values, Null: c.null, Distinct: min(len(c.distinct), MaxDistinct), More: len(c.distinct) > MaxDistinct}
	if len(c.missing) > 0 {
		out.Missing = maps.Clone(c.missing)
	}
	t := termOf(c.name, "")
	if c.declared != nil {
		t = termOf(c.name, c.declared.Title.ZH)
		out.Declared = c.declared.Type
	}
	out.Type, out.Scale = c.kind()
	s.identify(&out, c, t)
	if out.Identifier != "" {
		out.Type, out.Scale = algebra.Text, 0 // an identifier is no number, though it may be all digits
	}
	s.grade(&out, c, t)
	s.note(&out, c)
	return out
}

// kind is the narrowest type that every value fits.
func (c *counter) kind() (algebra.Kind, uint8) {
	switch {
	case c.values == 0:
		return algebra.Text, 0
	case c.ints == c.values:
		return algebra.Int, 0
	case c.ints+c.decimals == c.values:
		if c.scale > 6 {
			return algebra.Decimal, 6
		}
		return algebra.Decimal, c.scale
	case c.dates == c.values:
		return algebra.Date, 0
	case c.bools == c.values:
		return algebra.Bool, 0
	}
	return algebra.Text, 0
}

// Shares, in percent of the values, from which values count as evidence. Of
// identity numbers and credit codes whose check fails live registers hold some. A
// random number of the right shape passes their checks once in 11 and 31 times.
const (
	shapeShare = 90
	checkShare = 50
	leastSeen  = 20 // fewer values prove nothing
)

func share(n, of int64) int64 {
	if of == 0 {
		return 0
	}
	return n * 100 / of
}

// looks says whether values look like an identifier, and whether the check behind it
// is strong enough to say so without a name.
func (c *counter) looks(i int) (alike, strong bool) {
	n := c.idents[i]
	if c.values < leastSeen || share(n.OK+n.CheckFailed, c.values) < shapeShare {
		return false, false
	}
	switch checked[i] {
	case policies.IdentCitizen, policies.IdentCredit:
		return share(n.OK, c.values) >= checkShare, share(n.OK, c.values) >= checkShare
	case policies.IdentCard:
		return share(n.OK, c.values) >= shapeShare, false
	}
	return true, false // a mobile number has no check digit
}

// identify proposes the identifier of a column: what is declared first, then what it
// is called, then what the checks of its values leave no doubt of.
func (s *Scan) identify(out *Column, c *counter, t term) {
	declared := policies.IdentifierKind("")
	if c.declared != nil {
		declared = c.declared.Identifier
	}
	named := policies.IdentifierKind("")
	for _, w := range s.dict.Identifiers {
		if w.match(t, true) != "" {
			named = w.Kind
			break
		}
	}
	for i, kind := range checked {
		n := c.idents[i]
		if n.OK+n.CheckFailed == 0 && kind != declared && kind != named {
			continue
		}
		if out.Evidence == nil {
			out.Evidence = map[policies.IdentifierKind]ValidityCounts{}
		}
		n.Malformed = c.values - n.OK - n.CheckFailed
		out.Evidence[kind] = n
		alike, strong := c.looks(i)
		switch {
		case alike && strong && declared == "" && (named == "" || named == policies.IdentOpaque):
			named = kind
		case alike && declared == "" && named == "" && (kind == policies.IdentPhone || kind == policies.IdentCard):
			out.Notes = append(out.Notes, policies.Text{
				ZH: fmt.Sprintf("取值形似 %s，但校验不足以证明，名称也未说明：由人判断", kind),
				EN: fmt.Sprintf("values look like %s; the check proves little and the name does not say so: a person decides", kind)})
		case !alike && kind == declared && c.values >= leastSeen:
			out.Notes = append(out.Notes, policies.Text{
				ZH: fmt.Sprintf("目录声明为 %s，但多数取值不符", kind), EN: fmt.Sprintf("declared as %s, but most values are none", kind)})
		}
	}
	out.Identifier = declared
	if declared != "" {
		return
	}
	// A registered code list or a measure is no identifier, whatever it is called.
	if c.declared != nil && (len(c.declared.Codes) > 0 || c.declared.Measure != "") {
		return
	}
	// The word alone is not enough for what can be checked and fails.
	if i := slices.Index(checked[:], named); i >= 0 && c.values >= leastSeen {
		if alike, _ := c.looks(i); !alike {
			out.Notes = append(out.Notes, policies.Text{
				ZH: fmt.Sprintf("名称像 %s，但取值不符：由人判断", named), EN: fmt.Sprintf("called like %s, but the values are none: a person decides", named)})
			return
		}
	}
	out.Identifier = named
	if named != "" && c.declared != nil {
		out.Notes = append(out.Notes, policies.Text{
			ZH: fmt.Sprintf("目录未声明标识，建议登记 identifier: %s", named), EN: fmt.Sprintf("the catalogue declares no identifier; identifier: %s is proposed", named)})
	}
}

// grade proposes the level: the highest for which there is a reason.
func (s *Scan) grade(out *Column, c *counter, t term) {
	because := func(level int, zh, en string, args ...any) {
		if level > out.Level {
			out.Level, out.Why = level, policies.Text{ZH: fmt.Sprintf(zh, args...), EN: fmt.Sprintf(en, args...)}
		}
	}
	public := s.dataset != nil && s.dataset.Public
	if i := slices.IndexFunc(s.dict.Identifiers, func(w identifierWords) bool { return w.Kind == out.Identifier }); i >= 0 {
		w := s.dict.Identifiers[i]
		level := w.Level
		organisation := s.dataset != nil && s.dataset.Unit != nil && s.dataset.Unit.Kind == policies.UnitOrganisation
		switch {
		case w.Kind == policies.IdentCredit && !organisation && !public:
			level = max(level, 3) // whom a person works for
		case public:
			level = 1
		}
		because(level, "直接标识 %s", "direct identifier %s", w.Kind)
	}
	if !public {
		s.gradeByWords(out, t, because)
	}
	switch {
	case public:
		because(1, "目录声明为公开、不含隐私单元", "the catalogue declares it public and free of privacy units")
	case out.Type == algebra.Text && out.More && (c.declared == nil || len(c.declared.Codes) == 0):
		because(3, "取值繁多的自由文本，内容不可预知", "free text of many values, nobody knows what stands in it")
	default:
		because(2, "未见标识或敏感类别", "no identifier and no sensitive class was found")
	}
}

func (s *Scan) gradeByWords(out *Column, t term, because func(int, string, string, ...any)) {
	for _, w := range s.dict.Classes {
		word := w.match(t, false)
		if word == "" {
			continue
		}
		if out.Class == "" || w.Level > out.Level {
			out.Class = w.Class
		}
		because(w.Level, "%[1]s（%[2]s，词“%[3]s”）", "%[4]s (%[2]s, word %[3]q)", w.Title.ZH, w.Basis, word, w.Title.EN)
	}
	for _, w := range s.dict.Quasi {
		if word := w.match(t, false); word != "" && out.Identifier == "" {
			out.Quasi = true
			because(w.Level, "准标识（GB/T 42460-2023 附录 B，词“%s”）", "quasi-identifier (GB/T 42460-2023 annex B, word %q)", word)
		}
	}
	if s.dataset == nil {
		return
	}
	about := termOf(s.dataset.ID, s.dataset.Title.ZH+s.dataset.Abstract.ZH)
	for _, w := range s.dict.Context {
		if word := w.match(about, false); word != "" && out.Identifier == "" && !out.Quasi {
			if out.Class == "" {
				out.Class = w.Class
			}
			because(w.Level, "数据集整体属 %s（词“%s”）", "the data set as a whole is %s (word %q)", w.Class, word)
		}
	}
}

// note says what else a person should look at.
func (s *Scan) note(out *Column, c *counter) {
	add := func(zh, en string, args ...any) {
		out.Notes = append(out.Notes, policies.Text{ZH: fmt.Sprintf(zh, args...), EN: fmt.Sprintf(en, args...)})
	}
	if c.padded > 0 {
		add("%d 个取值以 0 开头：按文本登记，否则前导 0 会丢失", "%d values begin with 0: register it as text, or the zeros are lost", c.padded)
	}
	if c.tooLong > 0 {
		add("%d 个取值超过 4096 字节，入库时为坏行", "%d values are longer than 4096 bytes and make bad rows at ingest", c.tooLong)
	}
	if (out.Type == algebra.Int || out.Type == algebra.Decimal || out.Type == algebra.Date) && out.Identifier == "" && (c.declared == nil || c.declared.Bounds == nil && len(c.declared.Codes) == 0) {
		add("上下界按字段含义设定，不要从数据取", "set bounds from what the field can be, never from the data")
	}
	if c.declared == nil {
		return
	}
	if c.values > 0 && !c.fits(c.declared.Type) {
		add("目录声明为 %s，但部分取值不符", "declared as %s, but some values are none", c.declared.Type)
	}
	if !c.declared.Nullable && c.null > 0 {
		add("目录声明不可空，但有 %d 个空值", "declared not nullable, but %d values are NULL", c.null)
	}
	var unlisted []string
	for _, spelling := range slices.Sorted(maps.Keys(c.missing)) {
		if !slices.Contains(c.declared.Missing, spelling) {
			unlisted = append(unlisted, spelling)
		}
	}
	if len(unlisted) > 0 {
		add("缺失写法未登记：%s", "spellings of a missing value are not registered: %s", strings.Join(unlisted, " "))
	}
}

// fits says whether every value is one of a declared type.
func (c *counter) fits(kind algebra.Kind) bool {
	switch kind {
	case algebra.Int:
		return c.ints+c.padded == c.values
	case algebra.Decimal:
		return c.ints+c.decimals+c.padded == c.values
	case algebra.Date:
		return c.dates == c.values
	case algebra.Bool:
		return c.bools == c.values || c.ints == c.values && len(c.distinct) <= 2
	}
	return c.tooLong == 0
}
