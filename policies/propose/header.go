package propose

import (
	"fmt"
	"hash/maphash"
	"slices"
	"strings"

	"github.com/sandgate/sandgate/policies"
)

// CheckHeader says whether a first line reads like the names of columns: at least one
// in three is a word of the dictionary, or is joined by underscores as names are. A
// short word may be either, and a first row of data must not be shown as names. The
// error is a *HeaderError and repeats none of them.
func CheckHeader(names []string, dict *Dictionary) error {
	known := 0
	for _, n := range names {
		if strings.Contains(strings.Trim(n, "_"), "_") || dict.knows(strings.TrimSpace(n)) {
			known++
		}
	}
	if 3*known >= len(names) {
		return nil
	}
	return &HeaderError{0, policies.Text{ZH: fmt.Sprintf("首行像是数据：%d 个字段中只认得 %d 个列名", len(names), known),
		EN: fmt.Sprintf("the first line may be data: of %d fields %d are known as names of columns", len(names), known)}}
}

// knows says whether a name, or a title, has a word of the dictionary.
func (d *Dictionary) knows(name string) bool {
	t := termOf(name, name)
	has := func(w words) bool { return w.match(t, false) != "" }
	return slices.ContainsFunc(d.Identifiers, func(w identifierWords) bool { return has(w.words) }) ||
		slices.ContainsFunc(d.Classes, func(w classWords) bool { return has(w.words) }) ||
		slices.ContainsFunc(d.Quasi, func(w quasiWords) bool { return has(w.words) }) ||
		slices.ContainsFunc(d.Context, func(w contextWords) bool { return has(w.words) })
}

// Recurs says whether the name of a column stands among that column's values, as it
// does when the first line was a row. The error is a *HeaderError.
func (s *Scan) Recurs() error {
	for i, c := range s.columns {
		if _, ok := c.distinct[maphash.String(s.seed, c.name)]; ok {
			return &HeaderError{i + 1, policies.Text{ZH: "首行的内容也出现在这一列的取值中，像是数据", EN: "what the first line says stands among the column's values too: it may be data"}}
		}
	}
	return nil
}

// Positions names columns by where they stand, for a file without a header.
func Positions(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("column_%d", i+1)
	}
	return out
}
