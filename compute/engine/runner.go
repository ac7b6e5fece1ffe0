package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/sandgate/sandgate/compute/protect"
	"github.com/sandgate/sandgate/sandbox"
)

// Names of the worker handlers that compute/engine/duckdb registers.
const (
	ExecuteHandler = "execute"
	IngestHandler  = "ingest"
)

// ExecuteJob is the payload of an execute job. The job's files are the
// snapshots, file i attached as database d<i>, and after them the lists of subjects
// who consent to the use of the data sets that Consents names.
type ExecuteJob struct {
	SQL    string `json:"sql"`
	Schema Schema `json:"schema"`
	// Args are bound to the text's ?, in order; see Runner.Verify.
	Args     []Arg `json:"args,omitempty"`
	Consents []int `json:"consents,omitempty"`
}

// Runner executes rendered SQL in workers of Pool. It is safe for concurrent use.
type Runner struct {
	Pool *sandbox.Pool
}

// Execute runs one SQL text, rendered from plan, over the snapshots and returns
// the exact partials. snapshots[i] is database d<i>, its table main.t. Each is
// reopened, so concurrent calls may share the files. A plan that reads consenting
// units only is refused; see ExecuteConsented.
//
// The result columns are the keys in the order of plan.Keys, in exact mode one
// integer (GROUPING of all keys: 0 for a cell, otherwise the grand total; always
// 0 when the plan has no key), then the measures as BIGINT or HUGEINT. The error
// is *sandbox.ErrKilled or ErrPartials: neither carries anything of the engine.
func (r *Runner) Execute(ctx context.Context, sql string, plan *protect.Plan, snapshots []*os.File, limits sandbox.Limits) (protect.Partials, error) {
	return r.ExecuteConsented(ctx, sql, plan, snapshots, nil, limits)
}

// ExecuteConsented is Execute with the lists of who consents, parallel to snapshots:
// one for each data set that plan.Consenting names, though it be empty, and nil for
// the others.
func (r *Runner) ExecuteConsented(ctx context.Context, sql string, plan *protect.Plan, snapshots []*os.File, subjects []Subjects, limits sandbox.Limits) (protect.Partials, error) {
	schema := SchemaOf(plan)
	lists, consents, err := listSubjects(plan, subjects)
	if err != nil {
		return protect.Partials{}, err
	}
	defer closeAll(lists)
	payload, err := json.Marshal(ExecuteJob{SQL: sql, Schema: schema, Consents: consents})
	if err != nil {
		return protect.Partials{}, fmt.Errorf("failed to encode job: %w", err)
	}
	files, err := reopen(append(slices.Clone(snapshots), lists...))
	if err != nil {
		return protect.Partials{}, err
	}
	defer closeAll(files)
	decoder := NewDecoder(schema)
	job := sandbox.Job{Handler: ExecuteHandler, Payload: payload, Files: files, Limits: limits}
	if err := r.Pool.Run(ctx, job, decoder.Add); err != nil {
		return protect.Partials{}, err
	}
	return decoder.Finish()
}

// reopen gives each file a description of its own: a position shared between two
// workers would let one disturb what the other reads.
func reopen(files []*os.File) ([]*os.File, error) {
	var out []*os.File
	for _, f := range files {
		if f == nil {
			closeAll(out)
			return nil, errors.New("failed to reopen snapshot: no file")
		}
		again, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
		if err != nil {
			closeAll(out)
			return nil, errors.New("failed to reopen snapshot")
		}
		out = append(out, again)
	}
	return out, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}
