package duckdb

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"

	duck "github.com/duckdb/duckdb-go/v2"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/compute/engine/ingest"
	"github.com/sandgate/sandgate/sandbox"
)

func init() {
	sandbox.RegisterWith(engine.IngestHandler, sandbox.Registration{Handler: ingestFile, Warm: warmUp, Writes: true})
}

// Names the engine sees during an ingest. Only outName reaches the gateway.
const (
	outName   = "out"
	stageName = "stage"
)

// ingestFile reads the raw descriptor into a staging database, then writes the
// snapshot sorted by unit and secret rank, so that neither the order of the file
// nor anything a check set aside is in it.
func ingestFile(ctx context.Context, payload []byte, files []*os.File, emit func([]byte) error) error {
	var job engine.IngestJob
	if err := json.Unmarshal(payload, &job); err != nil || len(files) < 2 {
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
	if err := s.size(sandbox.LimitsFrom(ctx)); err != nil {
		return none, mapError(err)
	}
	// The snapshot's file starts as a spare like the scratch files: the engine
	// creates databases, it does not fill empty ones. The table is searched in
	// order, so the first file the engine creates, outName, is the snapshot.
	for _, f := range files[1:] {
		if err := bindFile("", f, true); err != nil {
			return none, err
		}
	}
	stored, err := job.Spec.StoredColumns()
	if err != nil {
		return none, errEngine
	}
	if err := s.exec(
		fmt.Sprintf("ATTACH '%s%s' AS %s", vfsRoot, outName, outName),
		fmt.Sprintf("ATTACH '%s%s' AS %s", vfsRoot, stageName, stageName),
		"CREATE TABLE stage.main.s ("+stageColumns(stored)+")",
	); err != nil {
		return none, mapError(err)
	}
	load, err := newLoader(s, stored)
	if err != nil {
		return none, mapError(err)
	}
	summary, err := ingest.Ingest(ctx, files[0], job.Format, &job.Spec, job.Keys, load, progress)
	if err != nil {
		var refusal *ingest.Refusal
		if errors.As(err, &refusal) {
			return none, refusal
		}
		return none, mapError(err)
	}
	if err := load.close(); err != nil {
		return none, mapError(err)
	}
	if err := s.sorted(&job.Spec, stored, summary.Rows); err != nil {
		return none, mapError(err)
	}
	if err := s.check(&job.Spec, &summary); err != nil {
		return none, err
	}
	// Detaching checkpoints: the snapshot file is complete without a log.
	if err := s.exec("DETACH stage", "CHECKPOINT out", "DETACH out"); err != nil {
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

func stageColumns(stored []ingest.Stored) string {
	defs := []string{"_unit UBIGINT", "_h UBIGINT"}
	for i, c := range stored {
		defs = append(defs, fmt.Sprintf("c%d %s", i, stageType(c.Type.Kind)))
	}
	return strings.Join(defs, ", ")
}

// stageType is sqlType but for dates, which the appender takes as day numbers.
func stageType(k algebra.Kind) string {
	if k == algebra.Date {
		return "INTEGER"
	}
	return sqlType(k)
}

// loader appends rows to the staging table.
type loader struct {
	appender *duck.Appender
	stored   []ingest.Stored
	args     []driver.Value
}

func newLoader(s *session, stored []ingest.Stored) (*loader, error) {
	a, err := duck.NewAppender(s.conn, stageName, "main", "s")
	if err != nil {
		return nil, err
	}
	return &loader{a, stored, make([]driver.Value, 2+len(stored))}, nil
}

func (l *loader) Add(r ingest.Row) error {
	l.args[0], l.args[1] = r.Unit, r.Order
	for i, v := range r.Values {
		switch kind := l.stored[i].Type.Kind; {
		case v.Null:
			l.args[2+i] = nil
		case kind == algebra.Text:
			l.args[2+i] = v.S
		case kind == algebra.Bool:
			l.args[2+i] = v.I != 0
		case kind == algebra.Date:
			l.args[2+i] = int32(v.I)
		default:
			l.args[2+i] = v.I
		}
	}
	return l.appender.AppendRow(l.args...)
}

func (l *loader) close() error { return l.appender.Close() }

// sortRows is about how many rows one sorting pass holds in memory.
const sortRows = 1 << 20

// sorted writes the snapshot's table. Tokens and hashes are uniform over 64 bits,
// so equal ranges of them are passes of about equal size, and a pass never splits
// a unit.
func (s *session) sorted(spec *ingest.Spec, stored []ingest.Stored, rows int64) error {
	private := spec.UnitColumn != ""
	var defs, names []string
	for i, c := range stored {
		defs = append(defs, quote(c.Name)+" "+sqlType(c.Type.Kind))
		expr := fmt.Sprintf("c%d", i)
		if c.Type.Kind == algebra.Date {
			expr = fmt.Sprintf("(DATE '1970-01-01' + %s)", expr)
		}
		names = append(names, expr)
	}
	key, sorting := "_h", "_h"
	for i := range stored {
		sorting += fmt.Sprintf(", c%d", i) // equal hashes are equal rows; a collision must not leak file order
	}
	if private {
		key = "_unit"
		defs = append([]string{"_unit UBIGINT NOT NULL", "_rn INTEGER NOT NULL"}, defs...)
		rank := "CAST(row_number() OVER (PARTITION BY _unit ORDER BY " + sorting + ") AS INTEGER)"
		names = append([]string{"_unit", rank + " AS _rn"}, names...)
		sorting = "_unit, _rn"
	}
	if err := s.exec("CREATE TABLE out.main.t (" + strings.Join(defs, ", ") + ")"); err != nil {
		return err
	}
	passes := uint64(rows/sortRows + 1)
	step := math.MaxUint64/passes + 1
	for p := range passes {
		where := ""
		if passes > 1 {
			where = fmt.Sprintf(" WHERE %s >= %d::UBIGINT", key, p*step)
			if p+1 < passes {
				where += fmt.Sprintf(" AND %s < %d::UBIGINT", key, (p+1)*step)
			}
		}
		if err := s.exec("INSERT INTO out.main.t SELECT " + strings.Join(names, ", ") + " FROM stage.main.s" + where + " ORDER BY " + sorting); err != nil {
			return err
		}
	}
	return nil
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
