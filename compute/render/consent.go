package render

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/protect"
)

// stored renders a data set under an alias: its table, or, where only consenting
// units may be read, the rows of that table whose subject is listed. It is the one
// place where a table of data gets into a statement.
func (w *writer) stored(id, alias string) string {
	i := w.dataset(id)
	at := strconv.Itoa(i)
	if !w.plan.Consenting(i) {
		return "d" + at + ".main.t AS " + alias
	}
	columns := "c." + unitColumn + ", c." + rankColumn
	for _, c := range w.schemas[i].Columns {
		columns += ", c." + quoteName(c.Name)
	}
	return "(SELECT " + columns + " FROM d" + at + ".main.t AS c SEMI JOIN g" + at + ".main.t AS g ON c." + consentColumn + " = g." + consentColumn + ") AS " + alias
}

// consented checks that a plan asks for consents where the catalogue does, and that
// it is then no exact one.
func consented(plan *protect.Plan, schemas []algebra.Schema) error {
	if n := len(plan.Consents); n != 0 && n != len(schemas) {
		return errors.New("consents do not match data sets")
	}
	for i, s := range schemas {
		if plan.Consenting(i) != s.Consent || s.Consent && s.Public {
			return fmt.Errorf("data set %d needs consents that the plan does not ask for, or none that it does", i)
		}
		if s.Consent && plan.Mode != protect.ModeDP {
			return errors.New("consenting units are not answered exactly")
		}
	}
	return nil
}
