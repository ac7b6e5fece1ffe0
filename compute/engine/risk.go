package engine

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/masking/risk"
	"github.com/sandgate/sandgate/sandbox"
)

// MaxClasses caps the equivalence classes, and the pairs of class and value, that
// an assessment may have: a table that falls into more is not generalised enough
// to be worth the figures.
const MaxClasses = 200_000

// ErrClasses says that a table has more than MaxClasses classes.
var ErrClasses = errors.New("the table has too many equivalence classes")

// Classes counts the equivalence classes of a private snapshot by its distinct
// units, one statement for the sizes and one for each sensitive column, each in a
// worker of its own. Columns are named by the schema of the snapshot; values of a
// number or a date are ordered, so their order is returned beside the classes.
// The error is ErrClasses, *sandbox.ErrKilled or ErrPartials; none carries a value.
func (r *Runner) Classes(ctx context.Context, schema algebra.Schema, quasi, sensitive []string, snapshot *os.File, limits sandbox.Limits) ([]risk.Class, []risk.Sensitive, error) {
	groups, err := r.group(ctx, schema, quasi, snapshot, limits)
	if err != nil {
		return nil, nil, err
	}
	var classes []risk.Class
	at := map[string]int{}
	for _, g := range groups {
		if g.units == 0 {
			continue // an empty table without quasi-identifiers has one group of nobody
		}
		at[g.key(len(quasi))] = len(classes)
		classes = append(classes, risk.Class{Size: g.units})
	}
	var columns []risk.Sensitive
	for _, name := range sensitive {
		groups, err := r.group(ctx, schema, append(slices.Clone(quasi), name), snapshot, limits)
		if err != nil {
			return nil, nil, err
		}
		counts := make([]map[string]int64, len(classes))
		seen := map[string]algebra.Value{}
		for _, g := range groups {
			i, ok := at[g.key(len(quasi))]
			if !ok {
				return nil, nil, ErrPartials
			}
			if counts[i] == nil {
				counts[i] = map[string]int64{}
			}
			v := g.values[len(quasi)]
			counts[i][spelled(v)] = g.units
			seen[spelled(v)] = v
		}
		for i := range classes {
			classes[i].Values = append(classes[i].Values, counts[i])
		}
		columns = append(columns, risk.Sensitive{Name: name, Order: ordered(seen)})
	}
	return classes, columns, nil
}

// ordered lists the values of a number or date column ascending, NULL first; nil
// for text and truth values, which have no order.
func ordered(seen map[string]algebra.Value) []string {
	var all []algebra.Value
	for _, v := range seen {
		if v.Type.Kind == algebra.Text || v.Type.Kind == algebra.Bool {
			return nil
		}
		all = append(all, v)
	}
	slices.SortFunc(all, func(a, b algebra.Value) int {
		switch {
		case a.Null != b.Null && a.Null:
			return -1
		case a.Null != b.Null:
			return 1
		case a.I < b.I:
			return -1
		case a.I > b.I:
			return 1
		}
		return 0
	})
	var out []string
	for _, v := range all {
		out = append(out, spelled(v))
	}
	return out
}

// spelled tells any two values of one column apart.
func spelled(v algebra.Value) string {
	switch {
	case v.Null:
		return ""
	case v.Type.Kind == algebra.Text:
		return "=" + v.S
	}
	return fmt.Sprintf("=%d", v.I)
}

// group is one group of a statement: its key values and its distinct units.
type group struct {
	values []algebra.Value
	units  int64
}

// key tells the first n values from those of any other group.
func (g group) key(n int) string {
	var b []byte
	for _, v := range g.values[:n] {
		s := spelled(v)
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
	}
	return string(b)
}

func (r *Runner) group(ctx context.Context, schema algebra.Schema, columns []string, snapshot *os.File, limits sandbox.Limits) ([]group, error) {
	text, result, err := groupStatement(schema, columns)
	if err != nil {
		return nil, err
	}
	payload, err := json.Marshal(ExecuteJob{SQL: text, Schema: result})
	if err != nil {
		return nil, fmt.Errorf("failed to encode job: %w", err)
	}
	files, err := reopen([]*os.File{snapshot})
	if err != nil {
		return nil, err
	}
	defer closeAll(files)
	decoder := NewDecoder(result)
	if err := r.Pool.Run(ctx, sandbox.Job{Handler: ExecuteHandler, Payload: payload, Files: files, Limits: limits}, decoder.Add); err != nil {
		return nil, err
	}
	partials, err := decoder.Finish()
	if err != nil {
		return nil, err
	}
	if len(partials.Cells) > MaxClasses {
		return nil, ErrClasses
	}
	var out []group
	for _, c := range partials.Cells {
		if len(c.M) != 1 || !c.M[0].IsInt64() {
			return nil, ErrPartials
		}
		out = append(out, group{c.Keys, c.M[0].Int64()})
	}
	return out, nil
}

// groupStatement renders the one statement there is: distinct units by columns. It
// is made of column names of the catalogue, quoted, and of nothing a caller wrote;
// its limit is one past what is accepted, so that too many are told from many.
func groupStatement(schema algebra.Schema, columns []string) (string, Schema, error) {
	result := Schema{Measures: 1, MaxCells: MaxClasses + 1}
	var selected, grouped []string
	for i, name := range columns {
		at := slices.IndexFunc(schema.Columns, func(c algebra.SchemaColumn) bool { return c.Name == name })
		if at < 0 {
			return "", result, errors.New("failed to render grouping: a column is not stored")
		}
		selected = append(selected, fmt.Sprintf(`t0."%s" AS k%d`, strings.ReplaceAll(name, `"`, `""`), i))
		grouped = append(grouped, fmt.Sprint(i+1))
		result.Keys = append(result.Keys, schema.Columns[at].Type)
	}
	text := "SELECT " + strings.Join(append(selected, "COUNT(DISTINCT t0._unit) AS m0"), ", ") + " FROM d0.main.t AS t0"
	if len(grouped) > 0 {
		text += " GROUP BY " + strings.Join(grouped, ", ")
	}
	return fmt.Sprintf("%s LIMIT %d", text, MaxClasses+1), result, nil
}
