package gateway_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/gateway/attack"
)

// The level of what a query derives holds its answer until the entry is published,
// though its department asks for less; explaining says so beforehand.
func TestR16_LevelHoldsAnswersAndIsExplained(t *testing.T) {
	a := attack.SharedInside(t)
	graded := people("graded", 300, "wait: durable")
	graded.Level = 3
	a.Add(t, graded)
	low := attack.Table{ID: "low", Level: 2, Rule: `mode: exact, wait: durable, exact: {k: 10, round: 5, bits_per_unit: "16"}`, Columns: []attack.Column{
		{Name: "district", YAML: "type: text, codes: [{value: a}, {value: b}]", Uses: "key, filter"},
	}}
	var csv strings.Builder
	csv.WriteString("id,district\n")
	for i := range 200 {
		fmt.Fprintf(&csv, "u%d,%s\n", i, string("ab"[i%2]))
	}
	low.CSV = csv.String()
	a.Add(t, low)
	op := a.Client(attack.Op(0))
	for _, c := range []struct {
		dataset, sql, columns, wait string
		level                       int32
	}{
		{"graded", "SELECT COUNT(*) AS n FROM graded WHERE age < 30", "graded.age", "published", 3},
		{"graded", "SELECT district, SUM(fee) AS fee FROM graded GROUP BY district", "graded.district graded.fee", "published", 3},
		{"graded", "SELECT COUNT(*) AS n FROM graded", "graded.id", "published", 3},
		{"low", "SELECT district, COUNT(*) AS n FROM low GROUP BY district", "low.district", "durable", 2},
		// What is refused has a level, too.
		{"graded", "SELECT flag, COUNT(*) AS n FROM graded GROUP BY flag", "graded.flag", "published", 3},
	} {
		x, err := op.Operator.ExplainJob(t.Context(), explain(attack.Op(0), c.dataset, c.sql))
		if err != nil {
			t.Fatalf("%s: %v", c.sql, err)
		}
		if got := strings.Join(x.GetLevelColumns(), " "); x.GetLevel() != c.level || got != c.columns || x.GetWait() != c.wait {
			t.Errorf("%s: level %d of %s, waits for %q", c.sql, x.GetLevel(), got, x.GetWait())
		}
	}
	if x, err := op.Operator.ExplainJob(t.Context(), explain(attack.Op(0), "graded", "SELECT * FROM graded")); err != nil || x.GetLevel() != 0 || x.GetWait() != "" {
		t.Errorf("a text that could not be read: level %d, %v", x.GetLevel(), err)
	}
	for i := range 6 {
		r := a.MustRun(t, attack.Op(0), "graded", fmt.Sprintf("SELECT COUNT(*) AS n FROM graded WHERE age < %d", 40+i), 0)
		if a.Domain.PublishedSize() <= r.GetReceipt().GetSeq() {
			t.Errorf("answer at entry %d, published are %d", r.GetReceipt().GetSeq(), a.Domain.PublishedSize())
		}
	}
}
