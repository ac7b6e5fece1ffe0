package duckdb

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/sandbox"
)

func init() {
	sandbox.RegisterWith(engine.ExecuteHandler, sandbox.Registration{Handler: execute, Warm: warmUp, Early: true})
}

func isEOF(err error) bool { return errors.Is(err, io.EOF) }

// execute attaches the job's snapshots, locks the engine and runs the one SQL
// text. Errors are constants: the engine's own texts quote data.
func execute(ctx context.Context, payload []byte, files []*os.File, emit func([]byte) error) error {
	var job engine.ExecuteJob
	if err := json.Unmarshal(payload, &job); err != nil {
		return errEngine
	}
	// SHOW, DESCRIBE and SUMMARIZE count as SELECT statements to the engine.
	if word, _, _ := strings.Cut(strings.Join(strings.Fields(job.SQL[:min(len(job.SQL), 64)]), " "), " "); !strings.EqualFold(word, "SELECT") && !strings.EqualFold(word, "WITH") {
		return errEngine
	}
	s, err := takeWarm()
	if err != nil {
		return err
	}
	if err := s.size(sandbox.LimitsFrom(ctx)); err != nil {
		return mapError(err)
	}
	snapshots, lists, err := job.Split(files)
	if err != nil {
		return errEngine
	}
	for i, f := range snapshots {
		name := fmt.Sprintf("d%d", i)
		if err := bindFile(name, f, false); err != nil {
			return err
		}
		if err := s.exec(fmt.Sprintf("ATTACH '%s%s' AS %s (TYPE duckdb, READ_ONLY)", vfsRoot, name, name)); err != nil {
			return mapError(err)
		}
	}
	for at, i := range job.Consents {
		if err := s.consents(i, lists[at]); err != nil {
			return mapError(err)
		}
	}
	if err := s.lock(); err != nil {
		return mapError(err)
	}
	encoder := engine.NewEncoder(job.Schema, emit)
	err = s.eachWith(job.SQL, boundOf(job.Args), job.Schema.Columns(), func(values []driver.Value) error {
		row, err := resultRow(job.Schema, values)
		if err != nil {
			return err
		}
		return encoder.Add(row)
	})
	if err != nil {
		return err
	}
	return encoder.Flush()
}

func resultRow(s engine.Schema, values []driver.Value) (engine.Row, error) {
	var row engine.Row
	for i, typ := range s.Keys {
		v, err := keyValue(typ, values[i])
		if err != nil {
			return row, err
		}
		row.Keys = append(row.Keys, v)
	}
	at := len(s.Keys)
	if s.Grouped() {
		group, ok := integer(values[at])
		if !ok || !group.IsInt64() {
			return row, errEngine
		}
		row.Group = group.Int64()
		at++
	}
	for _, v := range values[at : at+s.Measures] {
		m, ok := integer(v)
		if !ok {
			return row, errEngine
		}
		row.M = append(row.M, m)
	}
	return row, resultLists(s, values[at+s.Measures:], &row)
}

// resultLists reads the list columns, sorted; NULL is the empty list. The grand
// total's are left out: the kernel makes them up from the cells'.
func resultLists(s engine.Schema, values []driver.Value, row *engine.Row) error {
	for i, v := range values {
		list, ok := v.([]any)
		if !ok && v != nil || len(list) > s.Lists[i] {
			return errEngine
		}
		out := make([]uint64, 0, len(list))
		for _, x := range list {
			switch n := x.(type) {
			case uint64:
				out = append(out, n)
			case int64:
				if n < 0 {
					return errEngine
				}
				out = append(out, uint64(n))
			default:
				return errEngine
			}
		}
		if row.Group != 0 {
			out = nil
		}
		slices.Sort(out)
		row.Lists = append(row.Lists, out)
	}
	return nil
}

func keyValue(typ algebra.Type, v driver.Value) (algebra.Value, error) {
	out := algebra.Value{Type: typ}
	if v == nil {
		out.Null = true
		return out, nil
	}
	ok := false
	switch typ.Kind {
	case algebra.Text:
		out.S, ok = v.(string)
	case algebra.Bool:
		var b bool
		if b, ok = v.(bool); b {
			out.I = 1
		}
	case algebra.Date:
		var t time.Time
		if t, ok = v.(time.Time); ok {
			out.I = floorDays(t.Unix())
		}
	case algebra.Int, algebra.Decimal:
		var n *big.Int
		if n, ok = integer(v); ok {
			ok = n.IsInt64()
			out.I = n.Int64()
		}
	}
	if !ok {
		return out, errEngine
	}
	return out, nil
}

func floorDays(seconds int64) int64 {
	days := seconds / 86400
	if seconds%86400 < 0 {
		days--
	}
	return days
}

// integer reads any of the engine's integer types; floating point and NULL are
// no measures.
func integer(v driver.Value) (*big.Int, bool) {
	switch n := v.(type) {
	case int64:
		return big.NewInt(n), true
	case int32:
		return big.NewInt(int64(n)), true
	case int16:
		return big.NewInt(int64(n)), true
	case int8:
		return big.NewInt(int64(n)), true
	case uint64:
		return new(big.Int).SetUint64(n), true
	case uint32:
		return big.NewInt(int64(n)), true
	case *big.Int:
		if n != nil {
			return new(big.Int).Set(n), true
		}
	}
	return nil, false
}
