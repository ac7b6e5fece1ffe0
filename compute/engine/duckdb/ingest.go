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
	if err := s.exec(fmt.Sprintf("ATTACH '%s%s' AS %s", vfsRoot, outName, outName),
		fmt.Sprintf("ATTACH '%s%s' AS %s", vfsRoot, stageName, stageName),
		"CREATE TABLE stage.main.s ("+stageColumns(&job.Spec, stored)+")",
	); err != nil {
		return none, mapError(err)
	}
	st := newStage(spool, stored, job.Spec.Consent)
	if errjob.Spec.UnitColumn != "", limits.Threads)
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

func stageColumns(spec *ingest.Spec, stored []ingest.Stored) string {
	defs := []string{"_unit UBIGINT", "_h UBIGINT"}
	for i, c := range stored {
		defs = append(defs, fmt.Sprintf("c%d %s", i, stageType(c.Type.Kind)))
	}
	if spec.Consent {
		defs = append(defs, consentColumn)
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

// loader appends rows to the staging table from a goroutine of its own, so that
// parsing and storing overlap. Add is called by one goroutine.
type loader struct {
	appender *duck.Appender
	stored   []ingest.Stored
	consent  bool
	batch    *rowBatch
	full     chan *rowBatch
	empty    chan *rowBatch
	done     chan error
}

// rowBatch is a copy of some rows: units, orders and values row after row.
type rowBatch struct {
	units, orders []uint64
	subjects      []ingest.Subject
	values        []ingest.Value
}

const batchRows = 2048

func newLoader(s *session, stored []ingest.Stored, consent bool) (*loader, error) {
	a, err := duck.NewAppender(s.conn, stageName, "main", "s")
	if err != nil {
		return nil, err
	}
	const batches = 4
	l := &loader{
		appender: a, stored: stored, consent: consent, batch: &rowBatch{}, done: make(chan error, 1),
		// empty has room for every batch there is, so that handing one back never blocks.
		full: make(chan *rowBatch, batches), empty: make(chan *rowBatch, batches+1),
	}
	for range batches {
		l.empty <- &rowBatch{}
	}
	go func() {
		var failed error
		for b := range l.full {
			if failed == nil {
				failed = l.store(b)
			}
			b.units, b.orders, b.subjects, b.values = b.units[:0], b.orders[:0], b.subjects[:0], b.values[:0]
			l.empty <- b
		}
		l.done <- failed
	}()
	return l, nil
}

// Add copies the row; an engine error surfaces in close.
func (l *loader) Add(r ingest.Row) error {
	b := l.batch
	b.units, b.orders, b.values = append(b.units, r.Unit), append(b.orders, r.Order), append(b.values, r.Values...)
	if l.consent {
		b.subjects = append(b.subjects, r.Subject)
	}
	if len(b.units) == batchRows {
		l.full <- b
		l.batch = <-l.empty
	}
	return nil
}

func (l *loader) store(b *rowBatch) error {
	args := make([]driver.Value, 2+len(l.stored), 3+len(l.stored))
	if l.consent {
		args = args[:cap(args)]
	}
	for row := range b.units {
		args[0], args[1] = b.units[row], b.orders[row]
		for i, v := range b.values[row*len(l.stored) : (row+1)*len(l.stored)] {
			switch kind := l.stored[i].Type.Kind; {
			case v.Null:
				args[2+i] = nil
			case kind == algebra.Text:
				args[2+i] = v.S
			case kind == algebra.Bool:
				args[2+i] = v.I != 0
			case kind == algebra.Date:
				args[2+i] = int32(v.I)
			default:
				args[2+i] = v.I
			}
		}
		if l.consent {
			args[2+len(l.stored)] = duck.UUID(b.subjects[row])
		}
		if err := l.appender.AppendRow(args...); err != nil {
			return err
		}
	}
	return nil
}

// close stores what is left and waits.
func (l *loader) close() error {
	l.full <- l.batch
	close(l.full)
	if err := <-l.done; err != nil {
		return err
	}
	return l.appender.Close()
}

// sortRows is about how many rows one sorting pass holds in memory.
const sortRows = 1 << 20

// sorted writes the snapshot's table. Tokens and hashes are uniform over 64 bits,
// so equal ranges of them are passes of about equal size, and a pass never splits
// a unit. Within a pass rows are by rank, so that a statement's bound on the rank
// holds for all or for none of most row groups (docs/decisions/014-snapshot-order.md).
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
	if spec.Consent {
		defs, names = append(defs, consentColumn+" NOT NULL"), append(names, "_consent")
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
		sorting = "_rn, _unit"
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
