package duckdb

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"

	duck "github.com/duckdb/duckdb-go/v2"

	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/sandbox"
)

func init() {
	sandbox.RegisterWith(engine.PostHandler, sandbox.Registration{Handler: post, Warm: warmUp})
}

// postFrame is how many bytes of rows go into one frame.
const postFrame = 1 << 20

// post makes the released tables, locks the engine and binds or runs the one
// statement. The job has no files; what this engine holds is released values, so
// its own error texts may go back to the operator.
func post(ctx context.Context, payload []byte, files []*os.File, emit func([]byte) error) error {
	job, rows, err := engine.ReadPostJob(payload)
	if err != nil || len(files) > 0 {
		return errEngine
	}
	s, err := takeWarm()
	if err != nil {
		return err
	}
	if err := s.size(sandbox.LimitsFrom(ctx)); err != nil {
		return mapError(err)
	}
	if err := s.releasedTables(job.Tables, rows); err != nil {
		return mapError(err)
	}
	if err := s.exec("SET errors_as_json=true"); err != nil {
		return mapError(err)
	}
	if err := s.lock(); err != nil {
		return mapError(err)
	}
	head, answer := s.answerPost(job)
	if head.Error != nil || answer == nil {
		return emitHead(emit, head)
	}
	defer answer.close()
	return answer.stream(head, emit)
}

func emitHead(emit func([]byte) error, head engine.PostHead) error {
	b, err := json.Marshal(head)
	if err != nil {
		return errEngine
	}
	return emit(b)
}

var postTypePattern = regexp.MustCompile(`^(BIGINT|HUGEINT|BOOLEAN|DATE|VARCHAR|DECIMAL\([0-9]{1,2},[0-9]{1,2}\))$`)

func quoted(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// releasedTables fills the in-memory database. Values arrive as text and are cast
// by the engine, so that a number means the same on both sides.
func (s *session) releasedTables(tables []engine.PostTable, rows [][][]*string) error {
	if err := s.exec("CREATE SCHEMA IF NOT EXISTS releases"); err != nil {
		return err
	}
	for i, t := range tables {
		var stage, casts []string
		for j, c := range t.Columns {
			if !postTypePattern.MatchString(c.Type) || strings.ContainsRune(c.Name, 0) {
				return errEngine
			}
			stage = append(stage, fmt.Sprintf("c%d VARCHAR", j))
			casts = append(casts, fmt.Sprintf("CAST(c%d AS %s) AS %s", j, c.Type, quoted(c.Name)))
		}
		if err := s.exec("CREATE TABLE main.stage (" + strings.Join(stage, ", ") + ")"); err != nil {
			return err
		}
		if err := s.appendText("stage", rows[i]); err != nil {
			return err
		}
		if err := s.exec("CREATE TABLE "+quoted(t.Schema)+"."+quoted(t.Name)+" AS SELECT "+strings.Join(casts, ", ")+" FROM main.stage", "DROP TABLE main.stage"); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) appendText(table string, rows [][]*string) error {
	appender, err := duck.NewAppenderFromConn(s.conn, "main", table)
	if err != nil {
		return err
	}
	for _, row := range rows {
		values := make([]driver.Value, len(row))
		for i, v := range row {
			if v != nil {
				values[i] = *v
			}
		}
		if err := appender.AppendRow(values...); err != nil {
			return errors.Join(err, appender.Close())
		}
	}
	return appender.Close()
}

// answerPost turns the tree into text, has the engine read that text back, and
// binds it. The answer is nil for a check.
func (s *session) answerPost(job engine.PostJob) (engine.PostHead, *postAnswer) {
	var head engine.PostHead
	text, places, err := s.print(job.Tree)
	if err != nil {
		head.Error = postError(err, nil)
		return head, nil
	}
	head.SQL = text
	if job.Check && len(job.Core) > 0 {
		if head.CoreSQL, err = s.scalar("SELECT json_deserialize_sql($1::JSON)", string(job.Core)); err != nil {
			head.Error = postError(err, nil)
			return head, nil
		}
	}
	answer, err := s.prepare(text)
	if err != nil {
		head.Error = postError(err, places)
		return head, nil
	}
	if head.Columns, head.Error = answer.columns(); head.Error != nil || job.Check {
		answer.close()
		return head, nil
	}
	if err := answer.run(); err != nil {
		head.Error = postError(err, places)
		answer.close()
		return head, nil
	}
	return head, answer
}

func (s *session) scalar(text, argument string) (string, error) {
	rows, err := s.conn.QueryContext(context.Background(), text, []driver.NamedValue{{Ordinal: 1, Value: argument}})
	if err != nil {
		return "", err
	}
	defer rows.Close()
	values := make([]driver.Value, 1)
	if err := rows.Next(values); err != nil {
		return "", err
	}
	out, ok := values[0].(string)
	if !ok {
		return "", errEngine
	}
	return out, nil
}

// postAnswer is one bound statement.
type postAnswer struct {
	stmt  *duck.Stmt
	rows  driver.Rows
	kinds []string
}

func (s *session) prepare(text string) (*postAnswer, error) {
	prepared, err := s.conn.Prepare(text)
	if err != nil {
		return nil, err
	}
	stmt, ok := prepared.(*duck.Stmt)
	if !ok {
		return nil, errEngine
	}
	if kind, err := stmt.StatementType(); err != nil || kind != duck.STATEMENT_TYPE_SELECT || stmt.NumInput() != 0 {
		_ = stmt.Close()
		return nil, errEngine
	}
	return &postAnswer{stmt: stmt}, nil
}

func (a *postAnswer) close() {
	if a.rows != nil {
		_ = a.rows.Close()
	}
	_ = a.stmt.Close()
}

func (a *postAnswer) run() (err error) {
	a.rows, err = a.stmt.QueryContext(context.Background(), nil)
	return err
}

// columns names the output columns and refuses types that have no one spelling.
func (a *postAnswer) columns() ([]engine.PostColumn, *engine.PostError) {
	n, err := a.stmt.ColumnCount()
	if err != nil {
		return nil, postError(err, nil)
	}
	var out []engine.PostColumn
	for i := range n {
		name, err := a.stmt.ColumnName(i)
		if err != nil {
			return nil, postError(err, nil)
		}
		typ, err := a.stmt.ColumnType(i)
		if err != nil {
			return nil, postError(err, nil)
		}
		kind, ok := postKinds[typ]
		if !ok {
			return nil, &engine.PostError{Code: engine.PostType, Message: name, Offset: -1}
		}
		a.kinds = append(a.kinds, kind)
		out = append(out, engine.PostColumn{Name: name, Type: kind})
	}
	return out, nil
}

// stream sends the rows. A statement that fails midway gives no row at all: the
// rows before it are held back until the last one is there.
func (a *postAnswer) stream(head engine.PostHead, emit func([]byte) error) error {
	var frames [][]byte
	var frame []byte
	values, row := make([]driver.Value, len(a.kinds)), make([]*string, len(a.kinds))
	size := 0
	for count := 0; ; count++ {
		err := a.rows.Next(values)
		if isEOF(err) {
			break
		}
		if err != nil {
			head = engine.PostHead{Error: postError(err, nil)}
			return emitHead(emit, head)
		}
		for i, v := range values {
			if row[i], err = postText(a.kinds[i], v); err != nil {
				return err
			}
		}
		before := len(frame)
		frame = engine.AppendPostRow(frame, row)
		if size += len(frame) - before; count >= engine.MaxPostRows || size > engine.MaxPostResult-(1<<20) || len(frame) >= sandbox.MaxFrame {
			return emitHead(emit, engine.PostHead{Error: &engine.PostError{Code: engine.PostLimit, Offset: -1}})
		}
		if len(frame) >= postFrame {
			frames, frame = append(frames, frame), nil
		}
	}
	if len(frame) > 0 {
		frames = append(frames, frame)
	}
	if err := emitHead(emit, head); err != nil {
		return err
	}
	for _, f := range frames {
		if err := emit(f); err != nil {
			return err
		}
	}
	return nil
}
