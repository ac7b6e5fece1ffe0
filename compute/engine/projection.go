package engine

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/sandgate/sandgate/sandbox"
)

// Worker handlers of the ledger's projection: one fills a database with rows, one
// answers a SELECT from it. Neither sees a snapshot.
const (
	ProjectHandler = "project"
	SearchHandler  = "search"
)

// Limits of the projection. They bound a slip, not an adversary: who asks is the
// auditor, about a ledger he may read anyway.
const (
	projectWall  = 10 * time.Minute
	searchWall   = 2 * time.Minute
	searchMemory = 2 << 30
)

// ProjectTable is the shape of a table to fill. Types are those that
// ledger/projection spells: VARCHAR, BIGINT, TIMESTAMP_MS (cells in Unix
// milliseconds), BOOLEAN.
type ProjectTable struct {
	Name    string       `json:"name"`
	Columns []PostColumn `json:"columns"`
}

// ProjectJob is the payload of ProjectHandler. Its files are the rows, the database
// to write and IngestSpares empty scratch files.
type ProjectJob struct {
	Tables []ProjectTable `json:"tables"`
}

// SearchJob is the payload of SearchHandler; its one file is a database.
type SearchJob struct {
	SQL string `json:"sql"`
}

// AppendProjectRow appends one row of a table: its index and its cells.
func AppendProjectRow(b []byte, table int, row []*string) []byte {
	return AppendPostRow(binary.AppendUvarint(b, uint64(table)), row)
}

// maxProjectCell is far above the largest cell, the text of a signed bundle.
const maxProjectCell = 16 << 20

// ProjectReader is what ReadProjectRow reads: a buffered reader.
type ProjectReader interface {
	io.Reader
	io.ByteReader
}

// ReadProjectRow reads one row; columns are the numbers of columns by table. The
// error is io.EOF at the end, and errPostCodec's text for anything malformed.
func ReadProjectRow(r ProjectReader, columns []int) (int, []*string, error) {
	table, err := binary.ReadUvarint(r)
	if errors.Is(err, io.EOF) {
		return 0, nil, io.EOF
	}
	if err != nil || table >= uint64(len(columns)) {
		return 0, nil, errPostCodec
	}
	row := make([]*string, columns[table])
	for i := range row {
		n, err := binary.ReadUvarint(r)
		if err != nil || n > maxProjectCell {
			return 0, nil, errPostCodec
		}
		if n == 0 {
			continue
		}
		cell := make([]byte, n-1)
		if _, err := io.ReadFull(r, cell); err != nil {
			return 0, nil, errPostCodec
		}
		s := string(cell)
		row[i] = &s
	}
	return int(table), row, nil
}

// Project writes a database of the tables into out. write hands over the rows in
// the encoding of AppendProjectRow; its error ends the work and is returned.
func Project(ctx context.Context, pool *sandbox.Pool, tables []ProjectTable, write func(io.Writer) error, out io.Writer) error {
	payload, err := json.Marshal(ProjectJob{Tables: tables})
	if err != nil {
		return fmt.Errorf("failed to encode job: %w", err)
	}
	var files []*os.File
	defer func() { closeAll(files) }()
	for range 1 + IngestSpares {
		f, err := newMemoryFile()
		if err != nil {
			return err
		}
		files = append(files, f)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("failed to open pipe: %w", err)
	}
	written := make(chan error, 1)
	go func() {
		err := write(sinkWriter{w})
		written <- err
		_ = w.Close()
	}()
	jobErr := pool.Run(ctx, sandbox.Job{Handler: ProjectHandler, Payload: payload, Files: append([]*os.File{r}, files...),
		Limits: sandbox.Limits{Wall: projectWall, Memory: searchMemory, Threads: 1}}, func([]byte) error { return nil })
	_ = r.Close() // a writer whose reader is gone ends
	if err := <-written; err != nil && !errors.Is(err, errSink) {
		return err
	}
	if jobErr != nil {
		return fmt.Errorf("failed to write projection: %w", jobErr)
	}
	if _, err := files[0].Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("failed to read projection: %w", err)
	}
	if _, err := io.Copy(out, files[0]); err != nil {
		return fmt.Errorf("failed to write projection: %w", err)
	}
	return nil
}

// Search runs one SELECT over a projection in a worker that holds that file and
// nothing else, and cannot change it. The error is *PostError when the statement
// gave no answer.
func Search(ctx context.Context, pool *sandbox.Pool, projection *os.File, sql string) (*Derived, error) {
	payload, err := json.Marshal(SearchJob{SQL: sql})
	if err != nil {
		return nil, fmt.Errorf("failed to encode job: %w", err)
	}
	files, err := reopen([]*os.File{projection})
	if err != nil {
		return nil, err
	}
	defer closeAll(files)
	head, rows, err := answered(ctx, pool, sandbox.Job{Handler: SearchHandler, Payload: payload, Files: files,
		Limits: sandbox.Limits{Wall: searchWall, Memory: searchMemory, Result: MaxPostResult, Threads: 2}})
	if err != nil {
		return nil, err
	}
	return &Derived{Columns: head.Columns, Rows: rows}, nil
}
