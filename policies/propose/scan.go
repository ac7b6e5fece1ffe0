package propose

import (
	"errors"
	"fmt"
	"hash/maphash"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/masking"
	"github.com/sandgate/sandgate/policies"
)

// MaxColumns and MaxDistinct bound the memory of a scan.
const (
	MaxColumns  = 1000
	MaxDistinct = 2000
)

// columnName is the form of a column's name in a catalogue. What has another form
// is perhaps no header but the first row of the data, and is not repeated.
var columnName = regexp.MustCompile(`^[\p{L}_][\p{L}\p{N}_-]*$`)

// HeaderError says that the file's first line is no header that may be shown.
type HeaderError struct {
	Field  int // from 1; 0 is the line as a whole
	Reason policies.Text
}

func (e *HeaderError) Error() string {
	if e.Field == 0 {
		return fmt.Sprintf("%s · %s", e.Reason.ZH, e.Reason.EN)
	}
	return fmt.Sprintf("表头第 %d 个字段：%s · header, field %d: %s", e.Field, e.Reason.ZH, e.Field, e.Reason.EN)
}

// Scan counts what the columns of one file look like. It holds counts and a bounded
// number of hashes, no values. It is not safe for concurrent use.
type Scan struct {
	dict    *Dictionary
	dataset *policies.Dataset // nil: nothing is declared
	columns []*counter
	rows    int64
	ragged  int64 // rows with another number of fields than the header
	seed    maphash.Seed
	missing map[string]bool // the dictionary's spellings
}

// counter counts the values of one column.
type counter struct {
	name     string
	declared *policies.Column
	missing  map[string]int64 // by spelling of the dictionary, or declared
	null     int64            // NULL and empty fields
	values   int64            // neither
	ints     int64
	decimals int64
	scale    uint8
	dates    int64
	bools    int64
	padded   int64 // digits with a leading zero, which a number would lose
	tooLong  int64 // texts past what ingest takes
	distinct map[uint64]struct{}
	idents   [len(checked)]ValidityCounts // Malformed is left to the end
}

// checked are the identifiers whose values can be checked.
var checked = [...]policies.IdentifierKind{policies.IdentCitizen, policies.IdentCredit, policies.IdentPhone, policies.IdentCard}

// ValidityCounts are the results of an identifier's check over the values of a column.
type ValidityCounts struct {
	OK          int64 `json:"ok"`
	CheckFailed int64 `json:"check_failed"`
	Malformed   int64 `json:"malformed"`
}

// New starts a scan of a file with the given header. dataset is what the catalogue
// declares of it, or nil. The error is *HeaderError when the first line looks like
// data, or names a column that the catalogue does not have.
func New(header []string, dataset *policies.Dataset, dict *Dictionary) (*Scan, error) {
	if len(header) == 0 || len(header) > MaxColumns {
		return nil, fmt.Errorf("文件应有 1 至 %d 列 · a file has 1 to %d columns", MaxColumns, MaxColumns)
	}
	s := &Scan{dict: dict, dataset: dataset, seed: maphash.MakeSeed(), missing: map[string]bool{}}
	for _, m := range dict.Missing {
		s.missing[m] = true
	}
	seen := map[string]bool{}
	for i, name := range header {
		name = strings.TrimSpace(name)
		c := &counter{name: name, missing: map[string]int64{}, distinct: map[uint64]struct{}{}}
		switch {
		case dataset != nil:
			at := slices.IndexFunc(dataset.Columns, func(c policies.Column) bool { return c.Name == name })
			if at < 0 {
				return nil, &HeaderError{i + 1, policies.Text{ZH: "目录中没有这一列", EN: "no column of the catalogue has this name"}}
			}
			c.declared = &dataset.Columns[at]
		case utf8.RuneCountInString(name) > 63 || !columnName.MatchString(name) || digits(name) >= 9:
			return nil, &HeaderError{i + 1, policies.Text{ZH: "不是列名（字母开头，只含字母、数字、_ 和 -）；首行是表头吗？",
				EN: "not a column name: letters, digits, _ and -, a letter first; is the first line a header?"}}
		}
		if seen[strings.ToLower(name)] {
			return nil, &HeaderError{i + 1, policies.Text{ZH: "列名重复", EN: "the name stands twice"}}
		}
		seen[strings.ToLower(name)] = true
		s.columns = append(s.columns, c)
	}
	if dataset != nil && len(header) != len(dataset.Columns) {
		return nil, errors.New("文件缺少目录中的列 · the file lacks columns of the catalogue")
	}
	return s, nil
}

func digits(s string) int {
	n := 0
	for _, r := range s {
		if r >= '0' && r <= '9' {
			n++
		}
	}
	return n
}

// Row counts one row; null marks NULLs where the format knows them.
func (s *Scan) Row(fields []string, null []bool) {
	s.rows++
	if len(fields) != len(s.columns) {
		s.ragged++
		return
	}
	for i, c := range s.columns {
		if null != nil && null[i] || fields[i] == "" {
			c.null++
			continue
		}
		s.value(c, fields[i])
	}
}

// Rows is the number of rows so far.
func (s *Scan) Rows() int64 { return s.rows }

// maxText is the longest text that ingest takes, in bytes.
const maxText = 4096

func (s *Scan) value(c *counter, v string) {
	if s.missing[v] || c.declared != nil && slices.Contains(c.declared.Missing, v) {
		// A code that is registered is a value, whatever it looks like.
		if c.declared == nil || !slices.ContainsFunc(c.declared.Codes, func(code policies.Code) bool { return code.Value == v }) {
			c.missing[v]++
			return
		}
	}
	c.values++
	if len(c.distinct) <= MaxDistinct {
		c.distinct[maphash.String(s.seed, v)] = struct{}{}
	}
	if len(v) > maxText {
		c.tooLong++
		return
	}
	c.shape(v)
	if len(v) < 11 || len(v) > 19 {
		return // no checked identifier is so short or so long: they count as malformed
	}
	for i, kind := range checked {
		n := &c.idents[i]
		switch check(kind, v) {
		case masking.OK:
			n.OK++
		case masking.CheckFailed:
			n.CheckFailed++
		}
	}
}

// shape counts which types a value could have.
func (c *counter) shape(v string) {
	switch v {
	case "true", "false", "TRUE", "FALSE", "True", "False":
		c.bools++
		return
	}
	if len(v) == 10 && v[4] == '-' {
		if _, err := algebra.ParseDate(v); err == nil {
			c.dates++
			return
		}
	}
	unsigned := v
	if unsigned != "" && (unsigned[0] == '-' || unsigned[0] == '+') {
		unsigned = unsigned[1:]
	}
	whole, fraction, point := strings.Cut(unsigned, ".")
	// What does not fit 18 digits is no number of a catalogue but a number plate of
	// somebody.
	if whole == "" || len(whole)+len(fraction) > 18 || digits(whole) != len(whole) || digits(fraction) != len(fraction) || point && fraction == "" {
		return
	}
	if len(whole) > 1 && whole[0] == '0' {
		c.padded++
		return
	}
	if !point {
		c.ints++
		return
	}
	c.decimals++
	c.scale = max(c.scale, uint8(len(fraction)))
}

// check says of a value what the validators of package masking say of its one
// canonical spelling.
func check(kind policies.IdentifierKind, v string) masking.Validity {
	switch kind {
	case policies.IdentCitizen:
		id, ok := masking.NormaliseCitizenID(v)
		if !ok {
			return masking.Malformed
		}
		return masking.CitizenID(id)
	case policies.IdentCredit:
		return masking.CreditCode(v)
	case policies.IdentPhone:
		if _, ok := masking.NormalisePhone(v); ok {
			return masking.OK
		}
	case policies.IdentCard:
		return masking.BankCard(v)
	}
	return masking.Malformed
}
