package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"unicode"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/sandbox"
)

// CheckOp is what a verification 核验 asks of the stored values of one unit.
type CheckOp string

// The closed set of predicates. NULL meets none; of a unit with several rows one
// that meets it is enough.
const (
	CheckEquals  CheckOp = "equals"   // Columns[0] = Values[0], spellings of a text alike
	CheckAtLeast CheckOp = "at_least" // Columns[0] >= Values[0]
	CheckLess    CheckOp = "less_than"
	CheckInList  CheckOp = "in_list"  // Columns[0] among Values
	CheckExists  CheckOp = "exists"   // Columns[0] is not NULL
	CheckValidOn CheckOp = "valid_on" // Columns[0] <= Values[0] <= Columns[1], open when Columns[1] is NULL
)

// maxChecked caps the values of a list.
const maxChecked = 1000

// Check is one predicate over one unit. Values are of the stored types; nothing of
// them stands in the statement.
type Check struct {
	Op      CheckOp
	Columns []string
	Values  []algebra.Value
	// Spelled compares texts by NormalText, for columns that are stored as written.
	Spelled bool
}

// Arg is a value bound to a statement's ?: exactly one field counts.
type Arg struct {
	Token uint64 `json:"token,omitempty"` // of a unit, when not 0
	Text  bool   `json:"text,omitempty"`  // S counts, else I
	I     int64  `json:"i,omitempty"`
	S     string `json:"s,omitempty"`
}

// dots are spellings of the dot between the parts of a name, and the signs that
// stand for nothing: the first replaced by ·, the others left out.
const (
	dots = "•・．‧∙⋅"
	void = " \t\u00a0\u3000"
)

// NormalText brings a text to the spelling under which two of them are compared:
// without blanks, one dot between the parts of a name, small letters. textOf
// renders the same for a stored column.
func NormalText(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case strings.ContainsRune(dots, r):
			return '·'
		case strings.ContainsRune(void, r):
			return -1
		}
		return unicode.ToLower(r)
	}, s)
}

func textOf(column string) string {
	n := len([]rune(dots))
	return fmt.Sprintf("lower(translate(%s, '%s', '%s'))", column, dots+void, strings.Repeat("·", n))
}

// Verify says whether a unit of a snapshot meets a check: one bit, and nothing else
// leaves the worker. A token that no unit has takes the same way and gives false.
// The statement is made of column names of the catalogue; token and values are
// bound. The error is *sandbox.ErrKilled or ErrPartials.
func (r *Runner) Verify(ctx context.Context, schema algebra.Schema, token uint64, c Check, snapshot *os.File, limits sandbox.Limits) (bool, error) {
	job, err := checkStatement(schema, token, c)
	if err != nil {
		return false, err
	}
	payload, err := json.Marshal(job)
	if err != nil {
		return false, fmt.Errorf("failed to encode job: %w", err)
	}
	files, err := reopen([]*os.File{snapshot})
	if err != nil {
		return false, err
	}
	defer closeAll(files)
	decoder := NewDecoder(job.Schema)
	if err := r.Pool.Run(ctx, sandbox.Job{Handler: ExecuteHandler, Payload: payload, Files: files, Limits: limits}, decoder.Add); err != nil {
		return false, err
	}
	partials, err := decoder.Finish()
	if err != nil {
		return false, err
	}
	if len(partials.Cells) != 1 || len(partials.Cells[0].M) != 1 {
		return false, ErrPartials
	}
	switch m := partials.Cells[0].M[0]; {
	case m.Sign() == 0:
		return false, nil
	case m.IsInt64() && m.Int64() == 1:
		return true, nil
	}
	return false, ErrPartials
}

// checkStatement renders the one statement there is.
func checkStatement(schema algebra.Schema, token uint64, c Check) (ExecuteJob, error) {
	job := ExecuteJob{Schema: Schema{Measures: 1, MaxCells: 1}, Args: []Arg{{Token: token}}}
	if token == 0 {
		return job, errors.New("failed to render check: no unit")
	}
	where, err := job.condition(schema, c)
	if err != nil {
		return job, err
	}
	job.SQL = "SELECT CASE WHEN COUNT(*) > 0 THEN 1 ELSE 0 END AS m0 FROM d0.main.t AS t0 WHERE t0._unit = CAST(? AS UBIGINT) AND " + where
	return job, nil
}

func (j *ExecuteJob) condition(schema algebra.Schema, c Check) (string, error) {
	want := map[CheckOp][2]int{CheckEquals: {1, 1}, CheckAtLeast: {1, 1}, CheckLess: {1, 1}, CheckInList: {1, maxChecked}, CheckExists: {1, 0}, CheckValidOn: {2, 1}}[c.Op]
	if len(c.Columns) != want[0] || len(c.Values) > want[1] || want[1] > 0 && len(c.Values) == 0 {
		return "", errors.New("failed to render check: predicate and values do not fit")
	}
	var columns []string
	var types []algebra.Type
	for _, name := range c.Columns {
		at := slices.IndexFunc(schema.Columns, func(x algebra.SchemaColumn) bool { return x.Name == name })
		if at < 0 {
			return "", errors.New("failed to render check: a column is not stored")
		}
		columns = append(columns, fmt.Sprintf(`t0."%s"`, strings.ReplaceAll(name, `"`, `""`)))
		types = append(types, schema.Columns[at].Type)
	}
	column, text := columns[0], types[0].Kind == algebra.Text && c.Spelled
	if text {
		column = textOf(column)
	}
	var bound []string
	for _, v := range c.Values {
		if v.Null || v.Redacted || slices.ContainsFunc(types, func(t algebra.Type) bool { return t != v.Type }) {
			return "", errors.New("failed to render check: a value has another type than its column")
		}
		bound = append(bound, j.bind(v, text))
	}
	switch c.Op {
	case CheckEquals, CheckInList:
		return column + " IN (" + strings.Join(bound, ", ") + ")", nil
	case CheckAtLeast:
		return column + " >= " + bound[0], nil
	case CheckLess:
		return column + " < " + bound[0], nil
	case CheckExists:
		return columns[0] + " IS NOT NULL", nil
	case CheckValidOn:
		return fmt.Sprintf("%s <= %s AND (%s IS NULL OR %s >= %s)", columns[0], bound[0], columns[1], columns[1], j.bind(c.Values[0], false)), nil
	}
	return "", errors.New("failed to render check: unknown predicate")
}

// bind adds a value to the arguments and renders its place.
func (j *ExecuteJob) bind(v algebra.Value, spelled bool) string {
	switch v.Type.Kind {
	case algebra.Text:
		s := v.S
		if spelled {
			s = NormalText(s)
		}
		j.Args = append(j.Args, Arg{Text: true, S: s})
		return "CAST(? AS VARCHAR)"
	case algebra.Date:
		j.Args = append(j.Args, Arg{I: v.I})
		return "(DATE '1970-01-01' + CAST(? AS INTEGER))"
	case algebra.Bool:
		j.Args = append(j.Args, Arg{I: v.I})
		return "(CAST(? AS BIGINT) = 1)"
	}
	j.Args = append(j.Args, Arg{I: v.I})
	return "CAST(? AS BIGINT)"
}
