package duckdb

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/compute/model/gate"
	"github.com/sandgate/sandgate/compute/release"
	"github.com/sandgate/sandgate/compute/twin"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/sandbox"
)

func init() {
	sandbox.RegisterWith(engine.ModelHandler, sandbox.Registration{Handler: modelJob, Warm: warmUp})
}

// modelBatch is how many rows are coded at once.
const modelBatch = 8192

// modelWorker holds the coded rows of one snapshot and answers requests about them.
type modelWorker struct {
	job   engine.ModelJob
	split model.Split
	out   engine.ModelReplies
	// module scores the rows of a module's design; scores are its answers, once.
	module *engine.Module
	scores []float64
	// rows are those that a twin is learned of, tables those of relations.
	rows   *model.Data
	tables []twin.Joined
}

// modelJob reads the columns of a design once, closes the engine and answers
// requests from the pipe until its end.
func modelJob(ctx context.Context, payload []byte, files []*os.File, emit func([]byte) error) error {
	w := &modelWorker{out: engine.ModelReplies{Emit: emit}}
	if err := json.Unmarshal(payload, &w.job); err != nil || len(files) < 2 || !w.job.Reads(len(files)-1) {
		return errEngine
	}
	snapshots, requests := files[:len(files)-1], files[len(files)-1]
	err := w.prepare(ctx)
	if err == nil {
		err = w.load(ctx, snapshots)
	}
	if err == nil {
		err = w.check()
	}
	var refused *engine.ModelRefused
	if errors.As(err, &refused) {
		return w.out.Refuse(refused.Code)
	}
	if err != nil {
		return err
	}
	if err := w.out.Loaded(); err != nil {
		return err
	}
	for {
		req, err := engine.ReadModelRequest(requests)
		if err != nil || req == nil {
			return err
		}
		if err := w.serve(ctx, req); err != nil {
			return err
		}
	}
}

// prepare readies an operator's module before any row is read, so that what is wrong
// with it is told of it alone.
func (w *modelWorker) prepare(ctx context.Context) error {
	if (w.job.Design.Spec.Family == policies.FamilyModule) != (len(w.job.Module) > 0) {
		return errEngine
	}
	if len(w.job.Module) == 0 {
		return nil
	}
	var err error
	if w.module, err = engine.OpenModule(ctx, w.job.Module, w.job.Design); err != nil {
		return &engine.ModelRefused{Code: engine.ModelModule}
	}
	return nil
}

// load codes the rows of all snapshots.
func (w *modelWorker) load(ctx context.Context, snapshots []*os.File) error {
	s, err := takeWarm()
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.size(sandbox.LimitsFrom(ctx)); err != nil {
		return mapError(err)
	}
	for i, snapshot := range snapshots {
		name := fmt.Sprint("d", i)
		if err := bindFile(name, snapshot, false); err != nil {
			return err
		}
		if err := s.exec(fmt.Sprintf("ATTACH '%s%s' AS %[2]s (TYPE duckdb, READ_ONLY)", vfsRoot, name)); err != nil {
			return mapError(err)
		}
	}
	if err := s.lock(); err != nil {
		return mapError(err)
	}
	if w.job.Span == nil {
		encoder, err := w.encoder()
		if err != nil {
			return errEngine
		}
		return read(s, w.job.SQL, w.job.Types, encoder)
	}
	for _, t := range w.job.Tables {
		e, err := twin.NewEncoder(t.Schema, w.job.Seed)
		if err != nil {
			return errEngine
		}
		if err := read(s, t.SQL, t.Types, encoder{e.Add, func() { w.tables = append(w.tables, e.FinishJoined()) }}); err != nil {
			return err
		}
	}
	return nil
}

// read codes the rows of one statement.
func read(s *session, sql string, types []algebra.Type, encoder encoder) error {
	if !strings.HasPrefix(sql, "SELECT ") {
		return errEngine
	}
	batch := newModelBatch(types)
	flush := func() error {
		err := encoder.Add(batch.Batch)
		var reason *policies.Reason
		if errors.As(err, &reason) && reason.Code == model.CodeCode {
			return &engine.ModelRefused{Code: engine.ModelNotListed}
		}
		if err != nil {
			return errEngine
		}
		batch = newModelBatch(types)
		return nil
	}
	err := s.each(sql, 1+len(types), func(values []driver.Value) error {
		if err := batch.add(types, values); err != nil {
			return err
		}
		if len(batch.Units) == modelBatch {
			return flush()
		}
		return nil
	})
	if err == nil {
		err = flush()
	}
	if err != nil {
		return err
	}
	encoder.finish()
	return nil
}

// encoder codes the rows of a job as they are read.
type encoder struct {
	Add    func(model.Batch) error
	finish func()
}

func (w *modelWorker) encoder() (encoder, error) {
	if w.job.Twin != nil {
		e, err := twin.NewEncoder(*w.job.Twin, w.job.Seed)
		if err != nil {
			return encoder{}, err
		}
		return encoder{e.Add, func() { w.rows = e.Finish() }}, nil
	}
	e, err := model.NewEncoder(w.job.Design, w.job.Seed)
	if err != nil {
		return encoder{}, err
	}
	return encoder{e.Add, func() { w.split = e.Finish() }}, nil
}

// modelRows is a batch that is filled row by row.
type modelRows struct{ model.Batch }

func newModelBatch(types []algebra.Type) *modelRows {
	b := &modelRows{model.Batch{Columns: make([]model.Column, len(types))}}
	for i, t := range types {
		b.Columns[i].Null = []bool{}
		if t.Kind == algebra.Text {
			b.Columns[i].Texts = []string{}
		} else {
			b.Columns[i].Ints = []int64{}
		}
	}
	return b
}

// add takes one row of the statement: the unit, then the columns.
func (b *modelRows) add(types []algebra.Type, values []driver.Value) error {
	unit, ok := values[0].(uint64)
	if !ok {
		return errEngine
	}
	b.Units = append(b.Units, unit)
	for i, t := range types {
		v, err := keyValue(t, values[1+i])
		if err != nil {
			return err
		}
		c := &b.Columns[i]
		c.Null = append(c.Null, v.Null)
		if t.Kind == algebra.Text {
			c.Texts = append(c.Texts, strings.Clone(v.S))
		} else {
			c.Ints = append(c.Ints, v.I)
		}
	}
	return nil
}

// Fewest units that a model is trained on and judged by: with fewer, no attack could
// tell a model that gives its rows back from one that does not.
const (
	fewestTrained = 100
	fewestHeld    = 100
)

// check refuses tables of which no model can be made. Of a private model's rows it
// looks at their number alone: whether a label occurs at all is for its noised sums to
// tell.
func (w *modelWorker) check() error {
	if w.module != nil || w.likens() {
		return nil // its counts are noised, and say themselves whether they are too few
	}
	unfit := &engine.ModelRefused{Code: engine.ModelUnfit}
	t, h := w.split.Train, w.split.Held
	if t.Count < fewestTrained || h.Count < fewestHeld {
		return unfit
	}
	if w.job.Design.Spec.Private {
		return nil
	}
	if w.job.Design.Target.Column != "" && single(t.Label) {
		return unfit
	}
	for _, bins := range t.Bins {
		if !single(bins) {
			return nil
		}
	}
	return unfit
}

// single says whether all values are one.
func single[T comparable](values []T) bool {
	return !slices.ContainsFunc(values, func(v T) bool { return v != values[0] })
}

// serve answers one request.
func (w *modelWorker) serve(ctx context.Context, req *engine.ModelRequest) error {
	switch {
	case w.likens() && req.Op == engine.TwinPass:
		return w.twinPass(req.Twin)
	case w.likens() || req.Op == engine.TwinPass:
		return errEngine // a twin is learned outside, of sums that were noised
	case w.module != nil && req.Op == engine.ModelPass:
		return w.count(req.Pass)
	case w.module != nil:
		return errEngine // nothing is trained or attacked
	}
	switch req.Op {
	case engine.ModelPass:
		return w.pass(req.Pass)
	case engine.ModelFit:
		return w.fit(ctx)
	case engine.ModelGate:
		return w.gate(ctx, req.Parameters)
	}
	return errEngine
}

// pass answers with exact sums: over the held-out units for a pass of scores, over
// those that are trained on for any other.
func (w *modelWorker) pass(p *model.Pass) error {
	data := w.split.Train
	if p.Kind == model.PassScores {
		data = w.split.Held
	}
	sums, err := model.Sums(data, w.job.Design, *p, nil)
	if err != nil || len(sums) != p.Width {
		return errEngine
	}
	return w.out.Sums(sums)
}

// likens says whether a twin, or relations between twins, are learned and no model.
func (w *modelWorker) likens() bool { return w.rows != nil || w.tables != nil }

// twinPass answers with the exact sums of a pass of a twin or of relations.
func (w *modelWorker) twinPass(p *twin.Pass) (err error) {
	var sums []int64
	if w.tables != nil {
		sums, err = twin.SpanSums(w.tables, *w.job.Span, *p)
	} else {
		sums, err = twin.Sums(w.rows, *w.job.Twin, *p)
	}
	if err != nil || len(sums) != p.Width {
		return errEngine
	}
	return w.out.Sums(sums)
}

// count answers with exact counts of a module's scores.
func (w *modelWorker) count(p *model.Pass) error {
	if w.scores == nil {
		scores, err := w.module.Scores(w.split.Held)
		if err != nil {
			return errEngine
		}
		w.scores = scores
	}
	sums, err := model.ScoreSums(w.split.Held, w.job.Design, *p, w.scores, nil)
	if err != nil || len(sums) != p.Width {
		return errEngine
	}
	return w.out.Sums(sums)
}

// close lets go of the engine: its memory is the trainer's from here on.
func (s *session) close() {
	_ = s.conn.Close()
	_ = s.connector.Close()
}

// fit trains a model that is not private.
func (w *modelWorker) fit(ctx context.Context) error {
	if w.job.Design.Spec.Private {
		return errEngine // its noise is none of the worker's
	}
	p, err := model.Train(ctx, w.job.Design, model.Local(w.split.Train, w.job.Design, nil), func(done, total int) {
		_ = w.out.Progress(engine.StageTrain, done, total)
	})
	var reason *policies.Reason
	switch {
	case errors.As(err, &reason):
		return w.out.Refuse(engine.ModelUnfit)
	case err != nil:
		return errEngine
	}
	file, err := p.Encode()
	if err != nil {
		return errEngine
	}
	return w.out.Parameters(file)
}

// gateStages are the stages of the gate, of which the last but one digit of progress
// is made: it goes through them twice, for the model and for its control.
const gateStages = 2 * 10

// mostShadowed is how many units a shadow is trained on at most: with fewer it leaks
// more than the target does, so a large table is judged the stricter for it, and in
// minutes. No attack is left out.
const mostShadowed = 5_000

// shadowUnits is 0, as many as the target's, for a table that is no larger.
func shadowUnits(units int) int {
	if units <= mostShadowed {
		return 0
	}
	return mostShadowed
}

// gate attacks a model with all the units at hand.
func (w *modelWorker) gate(ctx context.Context, file []byte) error {
	p, err := model.Parse(file)
	if err != nil {
		return w.out.Refuse(engine.ModelParameters)
	}
	t, err := gate.NewTrial(w.job.Design, w.split, p, release.Sums)
	if err != nil {
		return w.out.Refuse(engine.ModelParameters)
	}
	seed := sha256.Sum256(append([]byte("sandgate/model-gate/v1\n"), w.job.Seed...))
	stage, at := "", 0
	report, err := gate.Run(ctx, t, gate.Options{Workers: max(1, sandbox.LimitsFrom(ctx).Threads), ShadowUnits: shadowUnits(t.Data.Count)}, bytes.NewReader(seed[:]), func(now string, _, _ int) {
		if now != stage {
			stage, at = now, at+1
			_ = w.out.Progress(engine.StageGate, min(at, gateStages), gateStages)
		}
	})
	var reason *policies.Reason
	switch {
	case errors.As(err, &reason):
		return w.out.Refuse(engine.ModelUnfit)
	case err != nil:
		return errEngine
	}
	text, err := report.Encode()
	if err != nil {
		return errEngine
	}
	return w.out.Report(text)
}
