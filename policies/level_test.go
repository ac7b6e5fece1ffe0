package policies

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
)

// leveled says a level and the columns behind it.
func leveled(q QueryLevel) string {
	var names []string
	for _, c := range q.Columns {
		names = append(names, c.String())
	}
	return fmt.Sprintf("%d %s", q.Level, strings.Join(names, " "))
}

// Aggregate level ≥ highest member: the level of what a query derives is that of
// the highest column behind it, wherever it stands.
func TestR16_LevelOfAQueryIsComputed(t *testing.T) {
	// id_number 4, diagnosis_name 4, phone 3, born 2, fee 3, visits 2; code 2, trade 1
	b := town(t, "")
	count := []algebra.Agg{{Func: algebra.CountRows}}
	people := []algebra.Table{{Dataset: "people"}}
	visits, fee, born := column(0, "visits"), column(0, "fee"), column(0, "born")
	isNull := func(c algebra.Col) *algebra.Pred { return &algebra.Pred{Op: algebra.OpIsNull, Col: &c} }
	e0 := algebra.Col{Table: algebra.DerivedTable, Name: "e0", Type: textType}
	for _, c := range []struct {
		name string
		core algebra.Core
		want string
	}{
		{"key", algebra.Core{Tables: people, Keys: []algebra.Col{visits}, Aggs: count}, "2 people.visits"},
		{"highest wins", algebra.Core{Tables: people, Keys: []algebra.Col{visits, column(0, "diagnosis_name")}, Aggs: count}, "4 people.diagnosis_name"},
		{"measure", algebra.Core{Tables: people, Keys: []algebra.Col{visits}, Aggs: []algebra.Agg{{Func: algebra.Sum, Arg: &fee}}}, "3 people.fee"},
		{"condition", algebra.Core{Tables: people, Keys: []algebra.Col{visits}, Where: isNull(fee), Aggs: count}, "3 people.fee"},
		{"condition of one aggregate", algebra.Core{Tables: people, Keys: []algebra.Col{visits}, Aggs: []algebra.Agg{{Func: algebra.CountRows, Filter: isNull(fee)}}}, "3 people.fee"},
		{"two of one level", algebra.Core{Tables: people, Keys: []algebra.Col{visits}, Where: isNull(born), Aggs: count}, "2 people.visits people.born"},
		{"behind an expression", algebra.Core{Tables: people, Derived: []algebra.Expr{{Op: algebra.ExprCol, Type: textType, Col: &fee}}, Keys: []algebra.Col{e0}, Aggs: count}, "3 people.fee"},
		{"a bare count says who is there", algebra.Core{Tables: people, Aggs: count}, "4 people.id_number"},
		{"units counted", algebra.Core{Tables: people, Keys: []algebra.Col{visits}, Aggs: []algebra.Agg{{Func: algebra.CountUnits}}}, "4 people.id_number"},
		{"values per unit", algebra.Core{
			Tables: []algebra.Table{{Dataset: "people", PerUnit: &algebra.PerUnit{Aggs: []algebra.Agg{{Func: algebra.Sum, Arg: &visits}}}}},
			Aggs:   []algebra.Agg{{Func: algebra.Sum, Arg: ptr(column(0, "a0"))}},
		}, "4 people.id_number"},
		{"organisations alone", algebra.Core{Tables: []algebra.Table{{Dataset: "firms"}}, Keys: []algebra.Col{column(0, "trade")}, Aggs: count}, "1 firms.trade"},
		{"joined by the unit", algebra.Core{
			Tables: []algebra.Table{{Dataset: "firms"}, {Dataset: "people"}}, Joins: []algebra.Join{{Table: 1, Unit: true}},
			Keys: []algebra.Col{column(0, "trade")}, Aggs: count,
		}, "4 people.id_number"},
		{"joined by a key", algebra.Core{
			Tables: []algebra.Table{{Dataset: "firms"}, {Dataset: "areas"}}, Joins: []algebra.Join{{Table: 1, Left: column(0, "trade"), Right: column(1, "area")}},
			Aggs: count,
		}, "1 firms.trade areas.area"},
		{"united", algebra.Core{Tables: []algebra.Table{{Dataset: "firms", Parts: []string{"people"}}}, Keys: []algebra.Col{column(0, "phone")}, Aggs: count}, "6 firms.phone"},
		{"no such data set", algebra.Core{Tables: []algebra.Table{{Dataset: "ghosts"}}, Aggs: count}, "6 ghosts."},
		{"nothing", algebra.Core{}, "6 "},
	} {
		if got := leveled(b.LevelOf(c.core)); got != c.want {
			t.Errorf("%s: level %s, want %s", c.name, got, c.want)
		}
	}
	// The gradings decide it, not what it was yesterday; literals never do.
	up := apply(t, b, edited(t, townGrading, "visits: 2", "visits: 4"), "dept")
	core := algebra.Core{Tables: people, Keys: []algebra.Col{visits}, Aggs: count}
	if got := leveled(up.LevelOf(core)); got != "4 people.visits" {
		t.Errorf("graded higher: %s", got)
	}
	if got, redacted := leveled(b.LevelOf(townCore())), leveled(b.LevelOf(townCore().Redacted())); got != redacted || got != "4 people.diagnosis_name" {
		t.Errorf("level %s, of the redacted core %s", got, redacted)
	}
}

func ptr[T any](v T) *T { return &v }

// Every partition that a query unites counts, and the highest of them wins.
func TestR16_LevelOfUnitedPartitions(t *testing.T) {
	// A second partition of the same columns, graded higher.
	second := strings.Replace(townCatalogue[:strings.Index(townCatalogue, "  - id: firms")], "id: people", "id: people_2026", 1)
	b := apply(t, town(t, ""), second+"---\nkind: Grading\ndepartment: dept\nscheme: GB/T 43697-2024\nlevels:\n  people_2026: {id_number: 5, diagnosis_name: 4, phone: 3, born: 2, fee: 3, visits: 3}\n", "dept")
	one := algebra.Core{Tables: []algebra.Table{{Dataset: "people"}}, Keys: []algebra.Col{column(0, "visits")}, Aggs: []algebra.Agg{{Func: algebra.CountRows}}}
	both := one
	both.Tables = []algebra.Table{{Dataset: "people", Parts: []string{"people_2026"}}}
	if got := leveled(b.LevelOf(one)); got != "2 people.visits" {
		t.Errorf("one partition: %s", got)
	}
	if got := leveled(b.LevelOf(both)); got != "3 people_2026.visits" {
		t.Errorf("both partitions: %s", got)
	}
	// So do the units of every partition.
	both.Aggs = []algebra.Agg{{Func: algebra.CountUnits}}
	if got := leveled(b.LevelOf(both)); got != "5 people_2026.id_number" {
		t.Errorf("units of both partitions: %s", got)
	}
}
