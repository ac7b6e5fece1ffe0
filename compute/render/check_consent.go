package render

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/sandgate/sandgate/compute/algebra"
)

// consenting reads (SELECT c._unit, c._rn, c.… FROM d<i>.main.t AS c SEMI JOIN
// g<i>.main.t AS g ON c._consent = g._consent) AS name, with every column of the data
// set under its own name.
func (r *reader) consenting(v any, at int, name string) error {
	inner, err := subquery(v, name)
	if err != nil {
		return fmt.Errorf("not restricted to consenting units: %w", err)
	}
	q, err := readQuery(inner)
	if err != nil {
		return err
	}
	f, err := pick(q.from, "type", "left", "right", "condition", "join_type", "ref_type")
	if err != nil {
		return err
	}
	if f[0] != "JOIN" || f[4] != "SEMI" || f[5] != "REGULAR" {
		return errors.New("not restricted to consenting units")
	}
	i := strconv.Itoa(at)
	if err := baseTable(f[1], "d"+i, "c"); err != nil {
		return err
	}
	if err := baseTable(f[2], "g"+i, "g"); err != nil {
		return err
	}
	both := &view{names: []string{"c", "g"}, columns: [][]algebra.SchemaColumn{r.schemas[at].Columns}}
	on, err := node(f[3], "COMPARISON", "COMPARE_EQUAL", "left", "right")
	if err != nil {
		return err
	}
	if !both.isHidden(on[0], 0, consentColumn) || !both.isHidden(on[1], 1, consentColumn) {
		return errors.New("not joined on the subject")
	}
	want := []string{unitColumn, rankColumn}
	for _, c := range r.schemas[at].Columns {
		want = append(want, c.Name)
	}
	if q.where != nil || q.having != nil || len(q.groups) != 0 || len(q.sets) != 0 || len(q.modifiers) != 0 || len(q.selected) != len(want) {
		return errShape
	}
	for i, s := range q.selected {
		if !both.isHidden(s, 0, want[i]) {
			return errColumn
		}
	}
	return nil
}

// semiJoin checks, in the bound plan, that a semi-join is of one data set's whole
// table with the whole list of that data set's consenting subjects.
func (w *walker) semiJoin(t tree, children []any) error {
	if len(children) != 2 || t["predicate"] != nil || len(items(t["conditions"])) != 1 {
		return errors.New("unexpected kind of join")
	}
	left, _ := children[0].(tree)
	right, _ := children[1].(tree)
	if left["type"] != "LOGICAL_GET" || right["type"] != "LOGICAL_GET" || len(items(right["children"])) != 0 {
		return errors.New("a semi-join of something else than tables")
	}
	data, err := wholeTable(left)
	if err != nil {
		return err
	}
	list, err := wholeTable(right)
	if err != nil {
		return err
	}
	for i, s := range w.schemas {
		at := strconv.Itoa(i)
		if s.Consent && data["catalog"] == "d"+at && list["catalog"] == "g"+at && hasColumns(right, []string{consentColumn}, []string{"UUID"}) {
			w.consents[i]++
			return nil
		}
	}
	return errors.New("a semi-join with another list")
}

// allConsent wants every scan of a data set that needs consents to be such a join.
func (w *walker) allConsent() error {
	for i, s := range w.schemas {
		want := 0
		if s.Consent {
			want = w.scans[i]
		}
		if w.consents[i] != want {
			return fmt.Errorf("data set %d is scanned without its consents", i)
		}
	}
	return nil
}
