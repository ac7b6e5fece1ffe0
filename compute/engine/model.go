package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/compute/twin"
	"github.com/sandgate/sandgate/sandbox"
)

// ModelHandler is the worker that holds the rows of a model 模型作业 and answers
// requests about them; compute/engine/duckdb registers it. Its files are the
// snapshot and the pipe that requests come by.
const ModelHandler = "model"

// ModelJob is the payload of a model job.
type ModelJob struct {
	// SQL is the one statement that is run, of ModelStatement; Types are those of its
	// columns behind the unit.
	SQL    string         `json:"sql"`
	Types  []algebra.Type `json:"types"`
	Design model.Design   `json:"design"`
	// Seed says which units are held out and seeds whatever else is drawn inside, so
	// that a job that is run again splits and draws alike. It is of this model alone.
	Seed []byte `json:"seed"`
	// Module is the file of an operator's module, of such a design alone. It runs in the
	// worker that holds the rows, by an interpreter.
	Module []byte `json:"module,omitempty"`
	// Twin has a synthetic twin learned in the place of a model: Design is empty then,
	// and the worker answers the passes of this schema alone.
	Twin *twin.Schema `json:"twin,omitempty"`
	// Span has relations between twins learned in the place of a model: the worker reads
	// all Tables, each of a snapshot of its own, and answers the passes of the span alone.
	// SQL, Types and Design are empty then.
	Span   *twin.Span   `json:"span,omitempty"`
	Tables []ModelTable `json:"tables,omitempty"`
}

// ModelTable is one data set of a job with a Span, in the span's order: the statement, of
// TableStatement, and the schema its twin was learned by.
type ModelTable struct {
	SQL    string         `json:"sql"`
	Types  []algebra.Type `json:"types"`
	Schema twin.Schema    `json:"schema"`
}

// columns are those that a job reads.
func (j ModelJob) columns() []string {
	if j.Twin != nil {
		return j.Twin.Reads()
	}
	return j.Design.Columns
}

// Reads says whether the statements' types are of as many columns as the job reads, and
// whether it reads that many snapshots.
func (j ModelJob) Reads(snapshots int) bool {
	if j.Span == nil {
		return snapshots == 1 && len(j.Tables) == 0 && len(j.Types) == len(j.columns())
	}
	for _, t := range j.Tables {
		if len(t.Types) != len(t.Schema.Columns) {
			return false
		}
	}
	return j.Twin == nil && j.SQL == "" && len(j.Tables) == len(j.Span.Tables) && len(j.Tables) == snapshots
}

// maxModelColumns bounds what one model reads.
const maxModelColumns = 512

// ModelStatement renders the one statement a model job runs: the unit and the
// columns of a design, of the first rows of each unit in the snapshot's keyed
// order. It is made of column names of the catalogue, quoted, and of one number.
func ModelStatement(schema algebra.Schema, columns []string, rows int) (string, []algebra.Type, error) {
	return TableStatement(0, schema, columns, rows)
}

// TableStatement is ModelStatement over the snapshot at a place among several.
func TableStatement(at int, schema algebra.Schema, columns []string, rows int) (string, []algebra.Type, error) {
	if rows < 1 || len(columns) == 0 || len(columns) > maxModelColumns {
		return "", nil, errors.New("failed to render model statement: no rows or columns, or too many")
	}
	selected := []string{`t0."_unit" AS u`}
	var types []algebra.Type
	for i, name := range columns {
		at := slices.IndexFunc(schema.Columns, func(x algebra.SchemaColumn) bool { return x.Name == name })
		if at < 0 || slices.Contains(columns[:i], name) {
			return "", nil, errors.New("failed to render model statement: a column is not stored, or named twice")
		}
		selected = append(selected, fmt.Sprintf(`t0."%s" AS c%d`, strings.ReplaceAll(name, `"`, `""`), i))
		types = append(types, schema.Columns[at].Type)
	}
	return fmt.Sprintf("SELECT %s FROM d%d.main.t AS t0 WHERE t0._rn <= %d ORDER BY t0._unit, t0._rn", strings.Join(selected, ", "), at, rows), types, nil
}

// ModelRefused is why a worker did not do what it was asked. It is one of a closed
// list and says nothing beyond it.
type ModelRefused struct{ Code ModelCode }

func (r *ModelRefused) Error() string { return "model refused: " + string(r.Code) }

// ModelRun is an open model worker. Its methods are called one at a time.
type ModelRun struct {
	ctx      context.Context
	in       *os.File
	replies  chan modelReply
	progress func(ModelProgress)
	asked    atomic.Bool // a reply is owed
}

// Model starts a worker on a snapshot, waits until it has read its columns, and
// calls use, which asks. The worker is gone when Model returns. progress, which may
// be nil, is told how far it is. limits.Result is the most that may leave the worker
// in all; see ModelAllowance. The error is use's, *ModelRefused or
// *sandbox.ErrKilled; none carries a value.
func (r *Runner) Model(ctx context.Context, job ModelJob, snapshot *os.File, limits sandbox.Limits, progress func(ModelProgress), use func(context.Context, *ModelRun) error) error {
	return r.ModelOver(ctx, job, []*os.File{snapshot}, limits, progress, use)
}

// ModelOver is Model of a job that reads several snapshots.
func (r *Runner) ModelOver(ctx context.Context, job ModelJob, snapshots []*os.File, limits sandbox.Limits, progress func(ModelProgress), use func(context.Context, *ModelRun) error) error {
	payload, err := json.Marshal(job)
	if err != nil {
		return fmt.Errorf("failed to encode job: %w", err)
	}
	files, err := reopen(snapshots)
	if err != nil {
		return err
	}
	defer closeAll(files)
	far, near, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("failed to open pipe: %w", err)
	}
	defer func() { _, _ = far.Close(), near.Close() }()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	m := &ModelRun{ctx: ctx, in: near, replies: make(chan modelReply), progress: progress}
	m.asked.Store(true) // the worker says when it has read the rows
	used := make(chan error, 1)
	go func() {
		err := m.begin(use)
		if err != nil {
			cancel(err) // the worker is of no more use
		}
		used <- err
	}()
	err = r.Pool.Run(ctx, sandbox.Job{Handler: ModelHandler, Payload: payload, Files: append(files, far), Limits: limits}, m.receive)
	if err == nil {
		err = errModelEnd // to a use that still waits for a reply
	}
	cancel(err)
	// With both ends gone here, a request that nobody reads any more ends too.
	_, _ = far.Close(), near.Close()
	// What use says comes first: a worker that was ended for its sake is no cause.
	if uerr := <-used; uerr != nil {
		return uerr
	}
	if errors.Is(err, errModelEnd) {
		return nil
	}
	return err
}

// errModelEnd is a worker that ended when it was not asked to.
var errModelEnd = errors.New("model worker ended")

func (m *ModelRun) begin(use func(context.Context, *ModelRun) error) error {
	if _, err := m.await(tagModelLoaded); err != nil {
		return err
	}
	if err := use(m.ctx, m); err != nil {
		return err
	}
	return m.send(nil)
}

// receive takes one frame on the pool's goroutine. It trusts none.
func (m *ModelRun) receive(frame []byte) error {
	reply, err := decodeModelReply(frame)
	if err != nil {
		return &sandbox.ErrKilled{Cause: sandbox.CauseProtocol}
	}
	if reply.tag == tagModelProgress {
		if m.progress != nil {
			m.progress(reply.progress)
		}
		return nil
	}
	if !m.asked.CompareAndSwap(true, false) {
		return &sandbox.ErrKilled{Cause: sandbox.CauseProtocol}
	}
	select {
	case m.replies <- reply:
		return nil
	case <-m.ctx.Done():
		return &sandbox.ErrKilled{Cause: sandbox.CauseCancelled}
	}
}

// await returns the next reply, which must be of one tag.
func (m *ModelRun) await(tag byte) (modelReply, error) {
	select {
	case reply := <-m.replies:
		switch reply.tag {
		case tag:
			return reply, nil
		case tagModelRefused:
			return reply, &ModelRefused{reply.code}
		}
		return reply, &sandbox.ErrKilled{Cause: sandbox.CauseProtocol}
	case <-m.ctx.Done():
		return modelReply{}, context.Cause(m.ctx)
	}
}

func (m *ModelRun) send(req *ModelRequest) error {
	var body []byte
	if req != nil {
		var err error
		if body, err = json.Marshal(req); err != nil {
			return fmt.Errorf("failed to encode request: %w", err)
		}
		m.asked.Store(true)
	}
	if err := sandbox.WriteFrame(m.in, body); err != nil {
		<-m.ctx.Done() // the worker is gone, and Run says why
		return context.Cause(m.ctx)
	}
	return nil
}

func (m *ModelRun) ask(req *ModelRequest, tag byte) (modelReply, error) {
	if err := m.send(req); err != nil {
		return modelReply{}, err
	}
	return m.await(tag)
}

// Sums answers a pass with the exact sums over the units it is about. They may go
// nowhere but into the release kernel.
func (m *ModelRun) Sums(p model.Pass) ([]int64, error) {
	return m.sums(&ModelRequest{Op: ModelPass, Pass: &p}, p.Width)
}

// TwinSums is Sums of a job that has a twin, or relations, learned.
func (m *ModelRun) TwinSums(p twin.Pass) ([]int64, error) {
	return m.sums(&ModelRequest{Op: TwinPass, Twin: &p}, p.Width)
}

func (m *ModelRun) sums(req *ModelRequest, width int) ([]int64, error) {
	if width < 1 || width > MaxModelWidth {
		return nil, errors.New("failed to ask for sums: width out of range")
	}
	reply, err := m.ask(req, tagModelSums)
	if err != nil {
		return nil, err
	}
	if len(reply.sums) != width {
		return nil, &sandbox.ErrKilled{Cause: sandbox.CauseProtocol}
	}
	return reply.sums, nil
}

// Fit trains a model that is not private and returns its parameters. They are of
// the rows: they go into the encrypted store and into later workers, and nowhere
// else.
func (m *ModelRun) Fit() ([]byte, error) {
	reply, err := m.ask(&ModelRequest{Op: ModelFit}, tagModelParameters)
	return reply.body, err
}

// Gate attacks the model with these parameters and returns the report.
func (m *ModelRun) Gate(parameters []byte) ([]byte, error) {
	reply, err := m.ask(&ModelRequest{Op: ModelGate, Parameters: parameters}, tagModelReport)
	return reply.body, err
}
