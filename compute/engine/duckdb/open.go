package duckdb

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"sync"

	duck "github.com/duckdb/duckdb-go/v2"

	"github.com/sandgate/sandgate/sandbox"
)

// errEngine stands for every error of the engine: its texts quote data.
var errEngine = errors.New("engine refused")

// mapError turns an engine error into one of two constants.
func mapError(err error) error {
	if err == nil {
		return nil
	}
	var known *duck.Error
	if errors.As(err, &known) && known.Type == duck.ErrorTypeOutOfMemory || strings.Contains(err.Error(), "Out of Memory") {
		return sandbox.ErrMemory
	}
	return errEngine
}

// session is one connection to one in-memory database.
type session struct {
	connector *duck.Connector
	conn      *duck.Conn
}

// warmDSN names threads and memory so that the engine reads neither /proc nor
// /sys; the job sets its own before the configuration is locked.
const warmDSN = "?threads=1&memory_limit=256MB"

// open starts the engine in memory with everything off that needs no job.
func open() (*session, error) {
	connector, err := duck.NewConnector(warmDSN, nil)
	if err != nil {
		return nil, err
	}
	c, err := connector.Connect(context.Background())
	if err != nil {
		return nil, err
	}
	conn, ok := c.(*duck.Conn)
	if !ok {
		return nil, errEngine
	}
	s := &session{connector, conn}
	// The order matters: temp_directory cannot be set once external access is off.
	return s, s.exec(
		"SET temp_directory=''",
		"SET allow_community_extensions=false",
		"SET autoinstall_known_extensions=false",
		"SET autoload_known_extensions=false",
		"SET allow_persistent_secrets=false",
		"SET TimeZone='UTC'",
		// First use of the planner, the aggregate and the sort code costs
		// milliseconds that no job should pay.
		"SELECT k, count(*), sum(v) FROM (SELECT range % 7 AS k, range AS v FROM range(50)) GROUP BY ALL",
	)
}

func (s *session) exec(statements ...string) error {
	for _, text := range statements {
		if _, err := s.conn.ExecContext(context.Background(), text, nil); err != nil {
			return err
		}
	}
	return nil
}

// size applies a job's limits.
func (s *session) size(l sandbox.Limits) error {
	return s.exec(
		fmt.Sprintf("SET threads=%d", max(1, l.Threads)),
		fmt.Sprintf("SET memory_limit='%dB'", max(l.Memory, 16<<20)),
	)
}

// lock closes what a statement could still reach, and the configuration itself.
// LocalFileSystem may go once the databases are attached; scans go on.
func (s *session) lock() error {
	return s.exec(
		"SET enable_external_access=false",
		"SET disabled_filesystems='LocalFileSystem'",
		"SET lock_configuration=true",
	)
}

// each runs the one SELECT that text must be and calls row for each result row,
// whose values are valid during the call.
func (s *session) each(text string, columns int, row func([]driver.Value) error) error {
	return s.eachWith(text, nil, columns, row)
}

// eachWith is each with values bound to the text's ?, neither more nor fewer.
func (s *session) eachWith(text string, args []driver.NamedValue, columns int, row func([]driver.Value) error) error {
	// Prepare refuses any number of statements but one.
	prepared, err := s.conn.Prepare(text)
	if err != nil {
		return mapError(err)
	}
	defer prepared.Close()
	stmt, ok := prepared.(*duck.Stmt)
	if !ok {
		return errEngine
	}
	if kind, err := stmt.StatementType(); err != nil || kind != duck.STATEMENT_TYPE_SELECT || stmt.NumInput() != len(args) {
		return errEngine
	}
	rows, err := stmt.QueryContext(context.Background(), args)
	if err != nil {
		return mapError(err)
	}
	defer rows.Close()
	if len(rows.Columns()) != columns {
		return errEngine
	}
	values := make([]driver.Value, columns)
	for {
		if err := rows.Next(values); err != nil {
			if isEOF(err) {
				return nil
			}
			return mapError(err)
		}
		if err := row(values); err != nil {
			return err
		}
	}
}

// warm is the engine a worker opened before its job arrived.
var warm struct {
	sync.Mutex
	s *session
}

func warmUp() error {
	s, err := open()
	if err != nil {
		return mapError(err)
	}
	warm.Lock()
	warm.s = s
	warm.Unlock()
	trim()
	return nil
}

// takeWarm hands the opened engine to the one job of this process.
func takeWarm() (*session, error) {
	warm.Lock()
	defer warm.Unlock()
	if warm.s == nil {
		return nil, errEngine
	}
	s := warm.s
	warm.s = nil
	return s, nil
}
