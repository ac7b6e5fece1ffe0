package attack

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"google.golang.org/grpc/status"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
)

// frameOf is a release without its numbers: names, keys in their order, and what is
// withheld; values are its numbers.
func frameOf(r *sandgatev1.Release) (frame string, values string) {
	var f, v strings.Builder
	for _, c := range r.GetColumns() {
		fmt.Fprintf(&f, "%s %v|", c.GetName(), c.GetKey())
	}
	for _, row := range r.GetRows() {
		f.WriteString("\n")
		for i, x := range row.GetCells() {
			if r.GetColumns()[i].GetKey() {
				fmt.Fprintf(&f, "%q|", x.GetValue())
				continue
			}
			fmt.Fprintf(&f, "(%s)|", x.GetWithheld())
			fmt.Fprintf(&v, "%s|", x.GetValue())
		}
	}
	return f.String(), v.String()
}

// texts of labels that are meant to carry something: T stands for whoever is
// looked for, O for the others.
var labelled = []string{
	`CASE WHEN role = 't' THEN '%[1]sT' ELSE '%[1]sO' END`,
	`CASE WHEN role = 't' THEN '%[1]sO' ELSE '%[1]sT' END`, // the other way round
	`CASE WHEN role = 't' THEN '%[1]sT' WHEN role = 'o' THEN '%[1]sO' END`,
	`CASE WHEN role = 't' AND fee >= 500 THEN '%[1]sT' WHEN fee < 500 THEN '%[1]sO' ELSE '%[1]sN' END`,
	`IF(fee >= 500, '%[1]sT', role)`, // a label beside the column's codes
	`IF(fee >= 500, 'o', role)`,      // a label that is one of them
	`COALESCE(IF(fee >= 500, role, NULL), '%[1]sO')`,
}

// Labels and names of columns come back as the operator wrote them, whatever the
// data: which of them are there, and in which order, is the same where nobody
// meets their conditions and where everybody does. Another name is free and has the
// same numbers; another label is another question, paid for, with noise of its own.
// Neither stands in the ledger or in the log. Control: what a table without noise
// and public keys would show.
func TestAttack08_LabelsCarryNothing(t *testing.T) {
	a := Shared(t)
	const groups, canary = 3, "LabelCanary7719"
	columns := []Column{column("grp", 0, groups-1, "key, filter"), codes("role", "key, filter", "t", "o", "x"), column("fee", 0, 1000, "measure, filter"), column("age", 0, 100_000, "filter")}
	var naive []map[string]bool
	for id, target := range map[string]bool{"labels0": false, "labels1": true} {
		var csv strings.Builder
		csv.WriteString("id,grp,role,fee,age\n")
		shown := map[string]bool{}
		for g := range groups {
			for i := range 80 {
				role, fee := "o", 10+i%400
				if target {
					role, fee = "t", 600+i%400
				}
				shown[fmt.Sprint(g, role)] = true
				fmt.Fprintf(&csv, "u%d-%d,%d,%s,%d,%d\n", g, i, g, role, fee, i%90)
			}
		}
		naive = append(naive, shown)
		a.Add(t, Table{ID: id, CSV: csv.String(), Columns: columns})
	}
	from := len(a.Logs.String())
	entries := len(a.Entries(t))
	asked, different, leaked, draws, wrong := 0, 0, 0, 0, 0
	say := func(format string, args ...any) {
		wrong++
		t.Errorf(format, args...)
	}
	for i, label := range labelled {
		label = strings.ReplaceAll(label, "%[1]s", canary)
		var frames []string
		for _, dataset := range []string{"labels0", "labels1"} {
			spent, _ := a.Spent(t, Op(0), dataset, "lifetime")
			sql := func(alias string) string {
				return fmt.Sprintf(`SELECT grp, %s AS "%s", COUNT(*) AS "%s" FROM %s WHERE age <> %d GROUP BY 1, 2`, label, canary+alias, "n"+canary+alias, dataset, 1000+i/2)
			}
			first, err := a.Run(Op(0), dataset, sql("yes"), 1_000_000)
			asked++
			if err != nil {
				say("%s: %v", label, err)
				frames = append(frames, "")
				continue
			}
			again := a.MustRun(t, Op(0), dataset, sql("no"), 1_000_000)
			after, _ := a.Spent(t, Op(0), dataset, "lifetime")
			frame, values := frameOf(first)
			other, same := frameOf(again)
			if after-spent != first.GetPriceNanoRho() || first.GetPriceNanoRho() == 0 || again.GetPriceNanoRho() != 0 {
				say("%s: two names cost %d, one %d", label, after-spent, first.GetPriceNanoRho())
			}
			if same != values || strings.ReplaceAll(other, canary+"no", canary+"yes") != frame {
				say("%s: another name of a column has other numbers", label)
			}
			if !strings.Contains(frame, "n"+canary+"yes") {
				say("%s: the column is not called as it was written", label)
			}
			draws++
			frames = append(frames, frame)
		}
		if frames[0] != frames[1] {
			different++
			say("%s: the labels tell the data sets apart:\n%s\n%s", label, frames[0], frames[1])
		}
	}
	// One question in many wordings of its labels: so many draws, so many prices.
	wordings := Trials(12, 60)
	before, _ := a.Spent(t, Op(1), "labels1", "lifetime")
	numbers := map[string]bool{}
	paid := int64(0)
	for i := range wordings {
		r := a.MustRun(t, Op(1), "labels1", fmt.Sprintf(`SELECT grp, CASE WHEN role = 't' THEN 'T%[1]d' ELSE 'O%[2]d' END AS l, COUNT(*) AS n FROM labels1 WHERE age <> 5000 GROUP BY 1, 2`, i%(wordings/2), i%3), 1_000_000)
		_, v := frameOf(r)
		numbers[v] = true
		paid += r.GetPriceNanoRho()
	}
	after, _ := a.Spent(t, Op(1), "labels1", "lifetime")
	if after-before != paid || int64(len(numbers))*1_000_000 > paid {
		say("%d draws of one question were paid with %d", len(numbers), paid)
	}
	// Refusals speak of neither, nor do ledger and log.
	var texts []string
	for _, sql := range []string{
		`SELECT CASE WHEN role = 't' THEN '%[1]s' ELSE age END AS l, COUNT(*) AS n FROM labels1 GROUP BY 1`,
		`SELECT CASE WHEN id = '%[1]s' THEN '%[1]s' END AS l, COUNT(*) AS n FROM labels1 GROUP BY 1`,
		`SELECT '%[1]s' || role AS l, COUNT(*) AS n FROM labels1 GROUP BY 1`, `SELECT role AS "%[1]s", fee FROM labels1`,
		`SELECT CASE WHEN role = 't' THEN '%[1]s' END AS "%[1]s", error('%[1]s') FROM labels1 GROUP BY 1`,
	} {
		_, err := a.Run(Op(1), "labels1", fmt.Sprintf(sql, canary), 0)
		if err == nil {
			t.Errorf("answered: %s", sql)
			continue
		}
		asked++
		texts = append(texts, status.Convert(err).Proto().String())
	}
	var ledgered strings.Builder
	for _, e := range a.Entries(t)[entries:] {
		ledgered.Write(e.GetJson())
	}
	for where, text := range map[string]string{"ledger": ledgered.String(), "log": a.Logs.String()[from:], "refusals": strings.Join(texts, "\n")} {
		if text == "" {
			t.Errorf("control: nothing was written to %s", where)
		}
		if i := strings.Index(text, canary); i >= 0 {
			leaked++
			say("%s: …%s…", where, text[max(0, i-100):min(len(text), i+60)])
		}
	}
	// What stands in the ledger in their place is enough to decide everything again.
	if a.Domain == nil {
		in := newInspector(t, a)
		if found := in.audited(t, in.copied(t)); len(found) > 0 {
			t.Errorf("the audit finds %v", found)
		}
	}
	// Control: without public keys the labels that are there tell all.
	control := "none"
	if !maps.Equal(naive[0], naive[1]) {
		control = "groups that are there tell data apart"
	}
	Record(t, Score{Attack: "08 labels and names of columns as a channel", Figure: fmt.Sprintf("%d of %d texts tell data apart; %d draws for %d prices; %d canaries", different, len(labelled), len(numbers), paid/1_000_000, leaked), Bound: "0; draws ≤ prices; 0",
		Control: control, Pass: wrong == 0 && control != "none" && !t.Failed(), Trials: asked + draws + wordings})
}
