package duckdb

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/internal/reference"
	"github.com/sandgate/sandgate/compute/protect"
)

var (
	typeInt  = algebra.Type{Kind: algebra.Int}
	typeDec  = algebra.Type{Kind: algebra.Decimal, Scale: 2}
	typeDate = algebra.Type{Kind: algebra.Date}
	typeText = algebra.Type{Kind: algebra.Text}
	typeBool = algebra.Type{Kind: algebra.Bool}
)

// world is some small data sets: two of visits with several rows per unit and the
// same columns, one of people with one row per unit, and two public ones.
type world struct {
	schemas []algebra.Schema
	data    reference.Data
	agreed  map[string][]string // by data set: the units that consent
}

var visitColumns = []algebra.SchemaColumn{
	{Name: "n", Type: typeInt}, {Name: "cost", Type: typeDec}, {Name: "paid", Type: typeDec}, {Name: "day", Type: typeDate},
	{Name: `区"县`, Type: typeText}, {Name: "code", Type: typeText}, {Name: "ok", Type: typeBool}, {Name: "a0", Type: typeInt}, {Name: "wild", Type: typeInt},
}

func newWorld(r *rand.Rand) *world {
	w := &world{data: reference.Data{}, schemas: []algebra.Schema{
		{Dataset: "visits", Unit: "id", Columns: visitColumns},
		{Dataset: "visits2", Unit: "id", Columns: visitColumns},
		{Dataset: "people", Unit: "id", Columns: []algebra.SchemaColumn{{Name: "age", Type: typeInt}, {Name: "born", Type: typeDate}, {Name: "code", Type: typeText}}},
		{Dataset: "area", Public: true, Unique: []string{"code"}, Columns: []algebra.SchemaColumn{{Name: "code", Type: typeText}, {Name: "level", Type: typeInt}, {Name: "name", Type: typeText}}},
		{Dataset: "grade", Public: true, Unique: []string{"level"}, Columns: []algebra.SchemaColumn{{Name: "level", Type: typeInt}, {Name: "k0", Type: typeText}}},
	}}
	for _, s := range w.schemas {
		n := r.IntN(25)
		if r.IntN(8) == 0 {
			n = 0
		}
		rank := map[uint64]int64{}
		for i := range n {
			row := reference.Row{Values: map[string]algebra.Value{}}
			if !s.Public {
				unit := uint64(r.IntN(6))*0x2f0f_1234_5678_9abd + 7
				if s.Dataset == "people" {
					unit = uint64(i%7)*0x2f0f_1234_5678_9abd + 7
					if i >= 7 {
						break
					}
				}
				rank[unit]++
				row.Unit, row.Rank = strconv.FormatUint(unit, 10), rank[unit]
			}
			for _, c := range s.Columns {
				v := someValue(r, c.Type)
				if c.Name == "wild" {
					v = algebra.Value{Type: typeInt, I: []int64{math.MaxInt64, math.MinInt64, 0, -1, math.MaxInt64 - 1}[r.IntN(5)]}
				}
				if s.Public && c.Name == s.Unique[0] {
					if v = (algebra.Value{Type: c.Type, I: int64(i)}); c.Type == typeText {
						v = algebra.Value{Type: c.Type, S: fmt.Sprint("码", i)}
					}
				} else if r.IntN(6) == 0 {
					v = algebra.Value{Type: c.Type, Null: true}
				}
				row.Values[c.Name] = v
			}
			w.data[s.Dataset] = append(w.data[s.Dataset], row)
		}
	}
	return w
}

func someValue(r *rand.Rand, t algebra.Type) algebra.Value {
	v := algebra.Value{Type: t}
	switch t.Kind {
	case algebra.Bool:
		v.I = int64(r.IntN(2))
	case algebra.Date:
		v.I = int64(r.IntN(1500)) - 300
	case algebra.Text:
		v.S = []string{"码0", "码1", "码2", "x'y", "", "ab"}[r.IntN(6)]
	default:
		v.I = int64(r.IntN(16)) - 4
	}
	return v
}

// statements that put the world in the databases d0, d1, … of a plan.
func (w *world) tables(p *protect.Plan) []string {
	var out []string
	for i, id := range p.Core.Datasets() {
		at := slices.IndexFunc(w.schemas, func(s algebra.Schema) bool { return s.Dataset == id })
		s := w.schemas[at]
		name := fmt.Sprintf("d%d.main.t", i)
		create, err := schemaTables([]algebra.Schema{s})
		if err != nil {
			panic(err)
		}
		out = append(out, "CREATE OR REPLACE TABLE "+name+" "+create[0])
		var rows []string
		for _, r := range w.data[id] {
			var values []string
			for _, c := range s.Columns {
				values = append(values, storedText(r.Values[c.Name]))
			}
			if !s.Public {
				values = append(values, r.Unit, strconv.FormatInt(r.Rank, 10))
			}
			if s.Consent {
				values = append(values, subjectText(r.Unit))
			}
			rows = append(rows, "("+strings.Join(values, ", ")+")")
		}
		if len(rows) > 0 {
			out = append(out, "INSERT INTO "+name+" VALUES "+strings.Join(rows, ", "))
		}
		out = append(out, w.consentRows(i, id)...)
	}
	return out
}

func storedText(v algebra.Value) string {
	switch {
	case v.Null:
		return "NULL"
	case v.Type.Kind == algebra.Text:
		return "'" + strings.ReplaceAll(v.S, "'", "''") + "'"
	case v.Type.Kind == algebra.Bool:
		return strconv.FormatBool(v.I == 1)
	case v.Type.Kind == algebra.Date:
		return fmt.Sprintf("make_date(%d)", v.I)
	}
	return strconv.FormatInt(v.I, 10)
}
