package gateway

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/sandgate/sandgate/compute/disclosure"
	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/compute/engine/sealed"
	"github.com/sandgate/sandgate/compute/protect"
	"github.com/sandgate/sandgate/compute/release"
	"github.com/sandgate/sandgate/internal/durable"
	"github.com/sandgate/sandgate/policies"
)

// cellStores holds, for each data set in exact mode, who stands in the cells of
// its earlier releases. On disk each release has one encrypted file, written
// before the ledger commits to the release and named in that entry by its hash;
// in memory they are searched. A data set one of whose files is missing or
// damaged answers nothing exactly any more.
type cellStores struct {
	mu   sync.Mutex // one exact release at a time: two that did not see each other could be subtracted
	open map[string]*disclosure.Store
	kept map[string]string // job → hash of its file, until its entry is written
}

func (d *Domain) cellsPath(job string) string { return filepath.Join(d.home.Exact(), job+".cells") }

// cellsContext binds a record to its place: another release's does not open.
func cellsContext(dataset, snapshot, job string) string {
	return "exact/v1/" + dataset + "/" + snapshot + "/" + job
}

// differenced runs the exact kernel against all earlier releases and keeps what it
// let out before anybody can see it.
func (d *Domain) differenced(p *prepared, kernel func(*disclosure.Check) (*release.Release, error)) (*release.Release, error) {
	dataset, job := p.plan.Core.Tables[0].Dataset, p.request.Job
	d.cells.mu.Lock()
	defer d.cells.mu.Unlock()
	store, err := d.cellStore(dataset, int(p.plan.Exact.K))
	if err != nil {
		return nil, err
	}
	store.Forget(job) // what an earlier try of this job let out, nobody saw
	check := store.Begin(job, p.snaps[0], int(p.plan.Exact.SnapUnits), int(p.plan.Exact.K))
	if check == nil {
		return nil, errors.New("failed to open the check of earlier releases")
	}
	defer check.Rollback()
	rel, err := kernel(check)
	if err != nil {
		return nil, err
	}
	plain := disclosure.Encode(check.Sets())
	var file bytes.Buffer
	key, err := d.newCellsKey(job)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	w, err := sealed.NewWriter(&file, key, cellsContext(dataset, p.snaps[0], job), int64(len(plain)))
	if err == nil {
		if _, err = w.Write(plain); err == nil {
			err = w.Close()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("failed to encrypt the record of cells: %w", err)
	}
	if err := durable.Write(d.cellsPath(job), file.Bytes(), "cells"); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(file.Bytes())
	d.cells.kept[job] = hex.EncodeToString(sum[:])
	check.Commit()
	return rel, nil
}

// keptCells is the hash that a job's release entry names, "" in dp mode.
func (d *Domain) keptCells(job string) string {
	d.cells.mu.Lock()
	defer d.cells.mu.Unlock()
	return d.cells.kept[job]
}

// dropCells takes the cells of a release that was never committed out again.
func (d *Domain) dropCells(job string) error {
	d.cells.mu.Lock()
	defer d.cells.mu.Unlock()
	if _, ok := d.cells.kept[job]; !ok {
		return nil
	}
	delete(d.cells.kept, job)
	for _, s := range d.cells.open {
		s.Forget(job)
	}
	return errors.Join(engine.EraseKey(d.cellsKeyPath(job)), durable.Remove(d.cellsPath(job), "cells.drop"))
}

// exactRelease is what the ledger says of one.
type exactRelease struct{ job, snapshot, cells string }

func (d *Domain) exactReleases(dataset string) []exactRelease {
	var out []exactRelease
	d.log.View(func() {
		for _, id := range d.state.Jobs() {
			j, _ := d.state.Job(id)
			if j.Released != nil && j.Reserved.Mode == string(protect.ModeExact) && j.Request.Core.Tables[0].Dataset == dataset {
				out = append(out, exactRelease{id, j.Reserved.Snapshots[0], j.Released.Cells})
			}
		}
	})
	return out
}

// cellStore returns a data set's store, read from disk at first use or when k has
// grown. Call it with the lock held.
func (d *Domain) cellStore(dataset string, k int) (*disclosure.Store, error) {
	if s := d.cells.open[dataset]; s != nil && s.K() >= k {
		return s, nil
	}
	store := disclosure.NewStore(k)
	named := map[string]bool{}
	for _, r := range d.exactReleases(dataset) {
		named[r.job] = true
		sets, err := d.readCells(dataset, r)
		if err != nil {
			return nil, &errDamagedCells{dataset, err}
		}
		store.Add(r.job, r.snapshot, sets)
	}
	// Releases on their way to the ledger are held against too: they are kept on
	// disk, but no entry names them yet.
	for job, digest := range d.cells.kept {
		of, snapshot := d.pendingExact(job)
		if of != dataset || named[job] {
			continue
		}
		sets, err := d.readCells(dataset, exactRelease{job, snapshot, digest})
		if err != nil {
			return nil, &errDamagedCells{dataset, err}
		}
		store.Add(job, snapshot, sets)
	}
	d.cells.open[dataset] = store
	return store, nil
}

func (d *Domain) pendingExact(job string) (dataset, snapshot string) {
	d.log.View(func() {
		if j, ok := d.state.Job(job); ok && j.Reserved != nil {
			dataset, snapshot = j.Request.Core.Tables[0].Dataset, j.Reserved.Snapshots[0]
		}
	})
	return dataset, snapshot
}

func (d *Domain) committed(job string) (ok bool) {
	d.log.View(func() { j, _ := d.state.Job(job); ok = j.Released != nil })
	return ok
}

func (d *Domain) readCells(dataset string, r exactRelease) ([]disclosure.Set, error) {
	raw, err := os.ReadFile(d.cellsPath(r.job))
	if err != nil {
		return nil, fmt.Errorf("failed to read the record of cells: %w", err)
	}
	if sum := sha256.Sum256(raw); hex.EncodeToString(sum[:]) != r.cells {
		return nil, errors.New("the record of cells is not the one that the ledger names")
	}
	key, err := d.cellsKey(r.job)
	if err != nil {
		return nil, fmt.Errorf("failed to open the record of cells: %w", err)
	}
	defer clear(key)
	in, err := sealed.NewReader(bytes.NewReader(raw), key, cellsContext(dataset, r.snapshot, r.job))
	if err != nil {
		return nil, fmt.Errorf("failed to open the record of cells: %w", err)
	}
	plain, err := io.ReadAll(in)
	if err != nil {
		return nil, fmt.Errorf("failed to open the record of cells: %w", err)
	}
	return disclosure.Decode(plain)
}

// errDamagedCells names a data set whose earlier releases cannot be held against.
type errDamagedCells struct {
	dataset string
	cause   error
}

func (e *errDamagedCells) Error() string {
	return "failed to read earlier exact releases: " + e.cause.Error()
}
func (e *errDamagedCells) Unwrap() error { return e.cause }

// exactReady refuses, before anything is charged, what could not be held against
// all earlier releases.
func (d *Domain) exactReady(p *prepared) error {
	if p.plan == nil || p.plan.Mode != protect.ModeExact {
		return nil
	}
	d.cells.mu.Lock()
	defer d.cells.mu.Unlock()
	_, err := d.cellStore(p.plan.Core.Tables[0].Dataset, int(p.plan.Exact.K))
	if err == nil {
		// The record of this release will need a key, too.
		_, err = d.wrapper().Wrap(d.ctx, "probe", make([]byte, sealed.KeySize))
	}
	if errors.Is(err, sealed.ErrKeysAway) {
		return keysAway()
	}
	var x *errDamagedCells
	if errors.As(err, &x) && d.exactGone(x.dataset) {
		return refusal(policies.Reason{Code: "EXACT_STORE_DESTROYED", Rule: "disclosure/" + x.dataset, SetBy: "sandgate",
			ZH:     "数据集“" + x.dataset + "”的历次精确发布记录已随快照销毁，无法核对差分，精确方式不再提供；本次不扣减",
			EN:     "the record of earlier exact releases of data set \"" + x.dataset + "\" was destroyed with its snapshot, so answers could not be held against them: exact mode is closed; nothing is charged for this",
			HintZH: "由数源部门改用 dp 方式或以新编号登记数据集", HintEN: "the department may choose dp mode, or register the data under a new id"})
	}
	if errors.As(err, &x) {
		d.opt.Logger.Error("exact mode is closed for a data set: the record of an earlier release is missing or damaged", "dataset", x.dataset)
		return refusal(policies.Reason{Code: "EXACT_STORE_DAMAGED", Rule: "disclosure/" + x.dataset, SetBy: "sandgate",
			ZH:     "数据集“" + x.dataset + "”的历次精确发布记录缺失或损坏，无法核对差分，精确方式已停用；本次不扣减",
			EN:     "the record of earlier exact releases of data set \"" + x.dataset + "\" is missing or damaged, so answers could not be held against them: exact mode is closed; nothing is charged for this",
			HintZH: "请网关管理员从备份恢复主目录下的 exact 目录", HintEN: "have the gateway's administrator restore the directory exact of its home from backup"})
	}
	return err
}

// sweepCells removes records of releases that the ledger never committed to: a
// crash came between. The others stay, whatever state they are in.
func (d *Domain) sweepCells() error {
	d.cells.open, d.cells.kept = map[string]*disclosure.Store{}, map[string]string{}
	if err := os.MkdirAll(d.home.Exact(), 0o700); err != nil {
		return fmt.Errorf("failed to create the directory of cells: %w", err)
	}
	files, err := os.ReadDir(d.home.Exact())
	if err != nil {
		return fmt.Errorf("failed to list records of cells: %w", err)
	}
	for _, f := range files {
		name := f.Name()
		if job, _, _ := strings.Cut(name, "."); (name == job+".cells" || name == job+".key") && d.committed(job) {
			continue
		}
		if err := durable.Discard(filepath.Join(d.home.Exact(), name), "cells.sweep"); err != nil {
			return fmt.Errorf("failed to remove an uncommitted record of cells: %w", err)
		}
	}
	return nil
}

// collision names the earlier release that an answer's values collided with, as a
// party may know it: his own by its job, another's not.
func (d *Domain) collision(party string, r *release.Release) string {
	job := r.Collides()
	if job == "" {
		return ""
	}
	d.log.View(func() {
		j, _ := d.state.Job(job)
		p, _ := d.state.Book().Party(party)
		if j.Operator != party && p.Role != policies.RoleRegulator {
			job = release.AnotherOperator
		}
	})
	return job
}
