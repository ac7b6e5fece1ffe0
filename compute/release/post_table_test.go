package release

import (
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
)

func tableText(t *Table) string {
	var out []string
	for _, c := range t.Columns() {
		out = append(out, c.Name+" "+c.SQL)
	}
	for i := range t.Len() {
		var cells []string
		for _, v := range t.Row(i) {
			if v == nil {
				cells = append(cells, "NULL")
			} else {
				cells = append(cells, *v)
			}
		}
		out = append(out, strings.Join(cells, ","))
	}
	return strings.Join(out, " | ")
}

func TestTable(t *testing.T) {
	r := fixed([3]any{"b", 10, 250}, [3]any{nil, 30, nil})
	if _, err := r.Table("main", "released"); err == nil {
		t.Error("a release without names became a table")
	}
	post := algebra.Post{Outputs: []algebra.Output{{Ref: 0, Name: "k"}, {Ref: 1, Name: "n"}, {Ref: 2, Name: "n_LO"}}}
	d, err := r.Apply(post)
	if err != nil {
		t.Fatal(err)
	}
	table, err := d.Table("main", "released")
	if err != nil {
		t.Fatal(err)
	}
	want := "k VARCHAR | n BIGINT | n_hi BIGINT | n_LO DECIMAL(38,2) | n_LO_lo DECIMAL(38,2) | n_LO_hi DECIMAL(38,2) | b,10,10,2.50,2.50,2.50 | NULL,30,30,NULL,NULL,NULL"
	if got := tableText(table); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if table.Empty().Len() != 0 || len(table.Empty().Columns()) != 6 {
		t.Error("the empty table has rows or lost columns")
	}
	again, err := EmptyTable("main", "released", d.Columns())
	if err != nil || tableText(again) != tableText(table.Empty()) {
		t.Errorf("the shape before the release differs: %v", err)
	}
	for _, names := range [][2]string{{"K", "k"}, {"", "n"}} {
		post.Outputs = []algebra.Output{{Ref: 0, Name: names[0]}, {Ref: 1, Name: names[1]}}
		if d, err = r.Apply(post); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Table("main", "released"); err == nil {
			t.Errorf("names %q became a table", names)
		}
	}
}
