package duckdb

import (
	"bufio"
	"context"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	duck "github.com/duckdb/duckdb-go/v2"

	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/sandbox"
)

func init() {
	sandbox.RegisterWith(engine.ProjectHandler, sandbox.Registration{Handler: project, Warm: warmUp, Writes: true})
	sandbox.RegisterWith(engine.SearchHandler, sandbox.Registration{Handler: search, Warm: warmUp})
}

var projectName = regexp.MustCompile(`^[a-z][a-z_]{0,62}$`)

// project fills the database file with the rows of the stream.
func project(ctx context.Context, payload []byte, files []*os.File, _ func([]byte) error) error {
	var job engine.ProjectJob
	if err := json.Unmarshal(payload, &job); err != nil || len(files) < 2 {
		return errEngine
	}
	s, err := takeWarm()
	if err != nil {
		return err
	}
	if err := s.size(sandbox.LimitsFrom(ctx)); err != nil {
		return mapError(err)
	}
	for _, f := range files[1:] {
		if err := bindFile("", f, true); err != nil {
			return err
		}
	}
	if err := s.exec(fmt.Sprintf("ATTACH '%s%s' AS %s", vfsRoot, outName, outName)); err != nil {
		return mapError(err)
	}
	var columns []int
	var appenders []*duck.Appender
	for _, t := range job.Tables {
		var defs []string
		for _, c := range t.Columns {
			if !projectName.MatchString(c.Name) || parsers[c.Type] == nil {
				return errEngine
			}
			defs = append(defs, quote(c.Name)+" "+c.Type)
		}
		if !projectName.MatchString(t.Name) {
			return errEngine
		}
		if err := s.exec("CREATE TABLE out.main." + quote(t.Name) + " (" + strings.Join(defs, ", ") + ")"); err != nil {
			return mapError(err)
		}
		a, err := duck.NewAppender(s.conn, outName, "main", t.Name)
		if err != nil {
			return mapError(err)
		}
		columns, appenders = append(columns, len(t.Columns)), append(appenders, a)
	}
	if err := fill(files[0], job.Tables, columns, appenders); err != nil {
		return err
	}
	for _, a := range appenders {
		if err := a.Close(); err != nil {
			return mapError(err)
		}
	}
	return mapError(s.exec("CHECKPOINT out", "DETACH out"))
}

func fill(rows io.Reader, tables []engine.ProjectTable, columns []int, appenders []*duck.Appender) error {
	r := bufio.NewReaderSize(rows, 1<<20)
	for {
		table, row, err := engine.ReadProjectRow(r, columns)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return errEngine
		}
		values := make([]driver.Value, len(row))
		for i, cell := range row {
			if cell == nil {
				continue
			}
			if values[i], err = parsers[tables[table].Columns[i].Type](*cell); err != nil {
				return errEngine
			}
		}
		if err := appenders[table].AppendRow(values...); err != nil {
			return mapError(err)
		}
	}
}

// parsers read the cells of a column by its type.
var parsers = map[string]func(string) (driver.Value, error){
	"VARCHAR": func(s string) (driver.Value, error) { return s, nil },
	"BIGINT":  func(s string) (driver.Value, error) { return strconv.ParseInt(s, 10, 64) },
	"BOOLEAN": func(s string) (driver.Value, error) { return strconv.ParseBool(s) },
	"TIMESTAMP_MS": func(s string) (driver.Value, error) {
		ms, err := strconv.ParseInt(s, 10, 64)
		return time.UnixMilli(ms).UTC(), err
	},
}

// nested are the types of values that hold others.
var nested = []duck.Type{duck.TYPE_LIST, duck.TYPE_ARRAY, duck.TYPE_STRUCT, duck.TYPE_MAP, duck.TYPE_UNION}

// spelled is the statement with every column as text that has no spelling of its own:
// what holds other values as JSON, the rest as the engine writes it. It is false when
// there is no such column.
func (a *postAnswer) spelled(text string) (string, bool) {
	n, err := a.stmt.ColumnCount()
	if err != nil {
		return "", false
	}
	needed := false
	var columns, names []string
	for i := range n {
		name, err := a.stmt.ColumnName(i)
		if err != nil {
			return "", false
		}
		typ, err := a.stmt.ColumnType(i)
		if err != nil {
			return "", false
		}
		column := fmt.Sprintf("c%d", i)
		names = append(names, column)
		if _, plain := postKinds[typ]; !plain {
			needed = true
			if slices.Contains(nested, typ) {
				column = "to_json(" + column + ")"
			}
			column = "CAST(" + column + " AS VARCHAR)"
		}
		columns = append(columns, column+` AS "`+strings.ReplaceAll(name, `"`, `""`)+`"`)
	}
	return "SELECT " + strings.Join(columns, ", ") + " FROM (\n" + text + "\n) AS answer(" + strings.Join(names, ", ") + ")", needed
}

// search attaches the projection for reading, locks the engine and runs one SELECT.
// The engine's own words go back: they can quote only a ledger that the caller reads.
func search(ctx context.Context, payload []byte, files []*os.File, emit func([]byte) error) error {
	var job engine.SearchJob
	if err := json.Unmarshal(payload, &job); err != nil || len(files) != 1 {
		return errEngine
	}
	s, err := takeWarm()
	if err != nil {
		return err
	}
	if err := s.size(sandbox.LimitsFrom(ctx)); err != nil {
		return mapError(err)
	}
	if err := bindFile("ledger", files[0], false); err != nil {
		return err
	}
	if err := s.exec(fmt.Sprintf("ATTACH '%sledger' AS ledger (TYPE duckdb, READ_ONLY)", vfsRoot), "USE ledger", "SET errors_as_json=true"); err != nil {
		return emitHead(emit, engine.PostHead{Error: &engine.PostError{Code: engine.PostSQL, Message: "the file is not a projection of a ledger", Offset: -1}})
	}
	if err := s.lock(); err != nil {
		return mapError(err)
	}
	var head engine.PostHead
	answer, err := s.prepare(job.SQL)
	if err != nil {
		if errors.Is(err, errEngine) || postError(err, nil).Message == "" {
			head.Error = &engine.PostError{Code: engine.PostSQL, Message: "one SELECT statement without parameters is needed", Offset: -1}
		} else {
			head.Error = postError(err, nil)
		}
		return emitHead(emit, head)
	}
	defer func() { answer.close() }()
	if spelled, ok := answer.spelled(job.SQL); ok {
		if again, err := s.prepare(spelled); err == nil {
			answer.close()
			answer = again
		}
	}
	if head.Columns, head.Error = answer.columns(); head.Error != nil {
		return emitHead(emit, head)
	}
	if err := answer.run(); err != nil {
		return emitHead(emit, engine.PostHead{Error: postError(err, nil)})
	}
	return answer.stream(head, emit)
}
