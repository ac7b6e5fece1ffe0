package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/release"
	"github.com/sandgate/sandgate/sandbox"
)

// PostHandler is the worker handler that runs an operator's SQL on released
// values. Its jobs carry no files: no snapshot is ever in reach of it.
const PostHandler = "post"

// Limits of post-processing. They are the same for everybody and do not depend
// on data.
const (
	MaxPostRows   = 100_000  // rows of an answer
	MaxPostResult = 64 << 20 // bytes of an answer
	maxPostCells  = 12 << 20 // bytes of released values handed to the worker
	postWall      = 20 * time.Second
	postCheckWall = 5 * time.Second // binding alone; constants may be folded in it
	postMemory    = 512 << 20
)

// PostJob is the head of the payload of PostHandler; the cells of Tables follow
// it in the post codec.
type PostJob struct {
	// Check binds the statement and does not run it.
	Check  bool            `json:"check,omitempty"`
	Tree   json.RawMessage `json:"tree"`
	Core   json.RawMessage `json:"core,omitempty"` // Check: printed for explain
	Tables []PostTable     `json:"tables"`
}

// PostTable is the shape of one released table.
type PostTable struct {
	Schema  string       `json:"schema"`
	Name    string       `json:"name"`
	Columns []PostColumn `json:"columns"`
	Rows    int          `json:"rows"`
}

// PostColumn is a column with its type: in a PostTable the engine's own spelling,
// in a PostHead one of the kinds int, decimal, double, bool, date, timestamp, text.
type PostColumn struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// PostHead is the first frame of an answer. Rows in the post codec follow it.
type PostHead struct {
	Error   *PostError   `json:"error,omitempty"`
	Columns []PostColumn `json:"columns,omitempty"`
	SQL     string       `json:"sql,omitempty"`      // the statement as it is run
	CoreSQL string       `json:"core_sql,omitempty"` // Check with a core
}

// Codes of PostError.
const (
	PostSQL   = "POST_SQL"   // the engine refuses the statement
	PostLimit = "POST_LIMIT" // time, memory or size ran out
	PostType  = "POST_TYPE"  // an output column has a type that cannot be handed out
)

// PostError is a statement that gave no answer. Message is the engine's own text
// or a column's name: it may be shown to the operator who wrote the statement,
// since the engine saw that and released values only. It must not be logged or
// ledgered, and Error leaves it out.
type PostError struct {
	Code    string `json:"code"`
	Message string `json:"message,omitempty"`
	Offset  int    `json:"offset"` // in the operator's text; -1 unknown
}

func (e *PostError) Error() string { return "post-processing gave no answer: " + e.Code }

// Derived is the answer of post-processing: a function of released values and the
// operator's own statement. Values are text, nil for NULL.
type Derived struct {
	Columns []PostColumn
	Rows    [][]*string
}

// PostRunner runs post-processing in workers of Pool. It is safe for concurrent
// use.
type PostRunner struct {
	Pool *sandbox.Pool
}

// Check binds a statement against the empty tables. core may be nil. Errors are
// *PostError or a failure of the machinery.
func (r *PostRunner) Check(ctx context.Context, owner string, q *algebra.PostQuery, core []byte, tables []*release.Table) (PostHead, error) {
	var empty []*release.Table
	for _, t := range tables {
		empty = append(empty, t.Empty())
	}
	head, _, err := r.call(ctx, owner, PostJob{Check: true, Tree: q.Tree, Core: core}, empty)
	return head, err
}

// Run runs a statement over the tables. Errors are as of Check.
func (r *PostRunner) Run(ctx context.Context, owner string, q *algebra.PostQuery, tables []*release.Table) (*Derived, error) {
	head, rows, err := r.call(ctx, owner, PostJob{Tree: q.Tree}, tables)
	if err != nil {
		return nil, err
	}
	return &Derived{Columns: head.Columns, Rows: rows}, nil
}

func (r *PostRunner) call(ctx context.Context, owner string, job PostJob, tables []*release.Table) (PostHead, [][]*string, error) {
	payload, err := PostPayload(job, tables)
	if err != nil {
		return PostHead{}, nil, err
	}
	wall := postWall
	if job.Check {
		wall = postCheckWall
	}
	return answered(ctx, r.Pool, sandbox.Job{Handler: PostHandler, Payload: payload, Owner: owner,
		Limits: sandbox.Limits{Wall: wall, Memory: postMemory, Result: MaxPostResult, Threads: 1}})
}

// answered runs a job that answers by a PostHead and rows in the post codec.
func answered(ctx context.Context, pool *sandbox.Pool, job sandbox.Job) (PostHead, [][]*string, error) {
	var head PostHead
	var rows [][]*string
	frames := 0
	err := pool.Run(ctx, job, func(frame []byte) error {
		frames++
		if frames == 1 {
			return json.Unmarshal(frame, &head)
		}
		more, err := decodePostRows(frame, len(head.Columns), MaxPostRows-len(rows))
		rows = append(rows, more...)
		return err
	})
	var killed *sandbox.ErrKilled
	switch {
	case errors.As(err, &killed) && killed.Cause != sandbox.CauseCancelled && killed.Cause != sandbox.CauseFailed && killed.Cause != sandbox.CauseProtocol:
		return PostHead{}, nil, &PostError{Code: PostLimit, Offset: -1}
	case err != nil:
		return PostHead{}, nil, fmt.Errorf("failed to run statement: %w", err)
	case frames == 0:
		return PostHead{}, nil, errors.New("failed to run statement: no answer")
	case head.Error != nil:
		return PostHead{}, nil, head.Error
	}
	return head, rows, nil
}

// PostPayload encodes a job with its tables, as ReadPostJob reads it.
func PostPayload(job PostJob, tables []*release.Table) ([]byte, error) {
	var cells []byte
	for _, t := range tables {
		shape := PostTable{Schema: t.Schema(), Name: t.Name(), Rows: t.Len()}
		for _, c := range t.Columns() {
			shape.Columns = append(shape.Columns, PostColumn{c.Name, c.SQL})
		}
		job.Tables = append(job.Tables, shape)
		for i := range t.Len() {
			cells = AppendPostRow(cells, t.Row(i))
			if len(cells) > maxPostCells {
				return nil, &PostError{Code: PostLimit, Offset: -1}
			}
		}
	}
	head, err := json.Marshal(job)
	if err != nil {
		return nil, fmt.Errorf("failed to encode post-processing: %w", err)
	}
	return joinPost(head, cells), nil
}
