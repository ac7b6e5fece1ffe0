package duckdb

import (
	"database/sql/driver"

	"github.com/sandgate/sandgate/compute/engine"
)

// boundOf are a job's arguments as the engine takes them, in order.
func boundOf(args []engine.Arg) []driver.NamedValue {
	var out []driver.NamedValue
	for i, a := range args {
		v := driver.Value(a.I)
		switch {
		case a.Token != 0:
			v = a.Token
		case a.Text:
			v = a.S
		}
		out = append(out, driver.NamedValue{Ordinal: i + 1, Value: v})
	}
	return out
}
