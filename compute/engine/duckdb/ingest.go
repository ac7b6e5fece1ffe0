package duckdb

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/compute/engine/ingest"
	"github.com/sandgate/sandgate/sandbox"
)

func init() {
	sandbox.RegisterWith(engine.IngestHandler, sandbox.Registration{Handler: ingestFile, Warm: warmUp, Writes: true})
}

// outName is the database that reaches the gateway.
const outName = "out"

// ingestFile reads the raw descriptor into a stage, then writes the snapshot sorted by secret rank and unit token, so that neither the order of the
// file nor anything a check set aside is in it.
func ingestFile(ctx context.Context, payload []byte, files []*os.File, emit func([]byte) error) error {
	var job engine.IngestJob
	if err := json.Unmarshal(payload, &job); err != nil || len(files) < 3 {
		return errEngine
	}
	say := func(m engine.IngestMessage) error {
		raw, err := json.Marshal(m)
		if err != nil {
			return errEngine
		}
		return emit(raw)
	}
	summary, err := takeFile(ctx, &job, files, func(rows int64) { _ = say(engine.IngestMessage{Progress: rows}) })
	var refusal *ingest.Refusal
	if errors.As(err, &refusal) {
		return say(engine.IngestMessage{Refusal: refusal})
	}
	if err != nil {
		return err
	}
	return say(engine.IngestMessage{Summary: &summary})
}

func takeFile(ctx context.Context, job *engine.IngestJob, files []*os.File, progress func(int64)) (ingest.Summary, error) {
	var none ingest.Summary
	s, err := takeWarm()
	if err != nil {
		return none, err
	}
	limits := sandbox.LimitsFrom(ctx)
	if err := s.size(limits); err != nil {
		return none, mapError(err)
	}
	// The snapshot's file starts as a spare like the scratch files: the engine
	// creates databases, it does not fill empty ones. The table is searched in
	// order, so the first file the engine creates, outName, is the snapshot.
	spool := files[len(files)-1]
	for _, f := range files[1 : len(files)-1] {
		if err := bindFile("", f, true); err != nil {
			return none, err
		}
	}
	stored, err := job.Spec.StoredColumns()
	if err != nil {
		return none, errEngine
	}
	if err := s.exec(fmt.Sprintf("ATTACH '%s%s' AS %s", vfsRoot, outName, outName)); err != nil {
		return none, mapError(err)
	}
	st := newStage(spool, job.Spec.UnitColumn != "", job.Spec.Consent, limits.Threads)
	st.oneRow = job.Spec.OneRow
	summary, err := ingest.Ingest(ctx, files[0], job.Format, &job.Spec, job.Keys, st, progress)
	if err != nil {
		var refusal *ingest.Refusal
		if errors.As(err, &refusal) {
			return none, refusal
		}
		return none, mapError(err)
	}
	if err := st.close(); err != nil {
		return none, mapError(err)
	}
	table, err := ingest.NewWhole(&job.Spec, job.Keys)
	if err != nil {
		return none, errEngine
	}
	if summary.Generalised, err = st.solve(ctx, table, limits.Memory/4); err != nil {
		var refusal *ingest.Refusal
		if errors.As(err, &refusal) {
			return none, refusal
		}
		return none, mapError(err)
	}
	if err := s.write(ctx, st, stored, limits.Memory/4, table); err != nil {
		return none, mapError(err)
	}
	// The lanes were all the threads there were to be.
	if err := s.exec(fmt.Sprintf("SET threads=%d", max(1, limits.Threads))); err != nil {
		return none, mapError(err)
	}
	if err := s.check(&job.Spec, &summary); err != nil {
		return none, err
	}
	// Detaching checkpoints: the snapshot file is complete without a log.
	if err := s.exec("CHECKPOINT out", "DETACH out"); err != nil {
		return none, mapError(err)
	}
	return summary, nil
}

func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// sqlType is how a kind is stored: minimal units for decimals.
func sqlType(k algebra.Kind) string {
	switch k {
	case algebra.Bool:
		return "BOOLEAN"
	case algebra.Date:
		return "DATE"
	case algebra.Text:
		return "VARCHAR"
	}
	return "BIGINT"
}

// check verifies what the catalogue declares and counts units.
func (s *session) check(spec *ingest.Spec, sum *ingest.Summary) error {
	column := func(name string) int {
		for i, c := range spec.Columns {
			if strings.EqualFold(c.Name, name) {
				return i
			}
		}
		return -1
	}
	one := func(text string) (int64, error) {
		out := int64(-1)
		err := s.each(text, 1, func(v []driver.Value) error {
			n, ok := integer(v[0])
			if !ok || !n.IsInt64() {
				return errEngine
			}
			out = n.Int64()
			return nil
		})
		return out, err
	}
	if total, err := one("SELECT count(*) FROM out.main.t"); err != nil || total != sum.Rows {
		return errEngine
	}
	if spec.UnitColumn != "" {
		var err error
		if sum.Units, err = one("SELECT count(*) FROM out.main.t WHERE _rn = 1"); err != nil {
			return err
		}
		if sum.MaxRank, err = one("SELECT COALESCE(max(_rn), 0)::BIGINT FROM out.main.t"); err != nil {
			return err
		}
		if spec.OneRow && sum.MaxRank > 1 {
			return &ingest.Refusal{Code: ingest.CodeNotOneRow, Column: column(spec.UnitColumn), Count: sum.Rows - sum.Units, Rows: sum.Rows}
		}
	}
	for _, name := range spec.Unique {
		distinct, err := one("SELECT count(DISTINCT " + quote(name) + ") FROM out.main.t")
		if err != nil {
			return err
		}
		if distinct != sum.Rows { // NULLs are not counted, so they fail too
			return &ingest.Refusal{Code: ingest.CodeNotUnique, Column: column(name), Count: sum.Rows - distinct, Rows: sum.Rows}
		}
	}
	return nil
}
