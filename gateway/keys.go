package gateway

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/compute/engine/sealed"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/internal/durable"
	"github.com/sandgate/sandgate/ledger"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
)

// leaving refuses new work on a data set whose snapshot is being destroyed. It is
// not ledgered: the ledger says so a moment later.
func leaving(dataset string) error {
	return refusal(policies.Reason{Code: "SNAPSHOT_LEAVING", Rule: "catalogue/" + dataset, SetBy: "sandgate",
		ZH: "数据集“" + dataset + "”的快照正在销毁；本次不扣减预算", EN: "the snapshot of data set \"" + dataset + "\" is being destroyed; nothing is charged for this"})
}

// keysAway is a key service that does not answer. The text is constant: why it
// does not is for the administrator's log.
func keysAway() error {
	return refusal(policies.Reason{Code: "KEYS_AWAY", Rule: "keys", SetBy: "sandgate",
		ZH: "密钥服务暂不可用，未打开的快照不能打开；本次不扣减预算", EN: "the key service does not answer, so no snapshot can be opened; nothing is charged for this",
		HintZH: "请用同一 request_id 重试；若仍失败请联系网关管理员", HintEN: "retry with the same request_id; if it fails again, tell the gateway's administrator"})
}

// isLeaving says whether one of the data sets is being destroyed.
func (d *Domain) isLeaving(datasets ...string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, id := range datasets {
		if d.leaving[id] {
			return leaving(id)
		}
	}
	return nil
}

// leave keeps new work from a data set until the returned function is called.
func (d *Domain) leave(dataset string) (back func(), err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.leaving[dataset] {
		return nil, leaving(dataset)
	}
	d.leaving[dataset] = true
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.leaving, dataset)
	}, nil
}

// Destroy makes a data set's snapshot unreadable for good and returns the
// certificate. The order: nothing new begins on it; the jobs that are open on it
// end, which the ledger says; their workers are gone; the ledger says that it is
// destroyed; its key is erased. So no release can follow the certificate, no key
// is gone without one, and a certificate whose key a crash left is carried out
// before the gateway serves again. Calling again returns the certificate.
func (d *Domain) Destroy(ctx context.Context, actor, dataset string) (state.Destruction, ledger.Receipt, error) {
	var none ledger.Receipt
	back, err := d.leave(dataset)
	if err != nil {
		return state.Destruction{}, none, err
	}
	defer back()
	var reason *policies.Reason
	var snap entry.Snapshot
	var gone []state.Destruction
	if err := d.settled(ctx, func() {
		reason = d.state.CheckDestroy(actor, dataset)
		snap, _ = d.state.Snapshot(dataset)
		gone = d.state.Destructions(dataset)
	}); err != nil {
		return state.Destruction{}, none, err
	}
	if reason != nil && reason.Code == "NO_SNAPSHOT" && len(gone) > 0 {
		last := gone[len(gone)-1]
		return d.certified(ctx, last)
	}
	if reason != nil {
		return state.Destruction{}, none, refusal(*reason)
	}
	if err := d.signedAct(ctx, actor, state.ActDestroy(dataset)); err != nil {
		return state.Destruction{}, none, err
	}
	if err := d.endJobsOn(ctx, actor, dataset); err != nil {
		return state.Destruction{}, none, err
	}
	// Leases outlive their jobs' entries by a tick at most.
	if err := d.store.Idle(ctx, snap.Snapshot); err != nil {
		return state.Destruction{}, none, err
	}
	if err := d.step("destroy.entry"); err != nil {
		return state.Destruction{}, none, err
	}
	var out state.Destruction
	receipt, err := d.append(ctx, func(e *entry.Entry) error {
		if x := d.state.CheckDestroy(actor, dataset); x != nil {
			return refusal(*x)
		}
		snap, _ := d.state.Snapshot(dataset)
		e.Kind, e.Actor, e.Signed = entry.KindDestroyed, actor, signedOf(ctx)
		e.Destroyed = &entry.Destroyed{Dataset: dataset, Snapshot: snap.Snapshot, Manifest: snap.Manifest, Method: d.store.Method(snap.Snapshot)}
		out = state.Destruction{Destroyed: *e.Destroyed, Seq: e.Seq}
		return nil
	})
	if err != nil {
		return out, receipt, err
	}
	defer d.eraseTokens(ctx)
	return d.certified(ctx, out)
}

// certified carries out what a certificate says and returns it.
func (d *Domain) certified(ctx context.Context, c state.Destruction) (state.Destruction, ledger.Receipt, error) {
	// The ledger has said it: a caller who goes away changes nothing.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 4*d.opt.Wall)
	defer cancel()
	err := d.step("destroy.erase")
	if err == nil {
		err = d.erase(ctx, c)
	}
	if err != nil {
		d.opt.Logger.Error("a destroyed snapshot's key is not yet erased: repeat the command or restart the gateway", "dataset", c.Dataset)
		return c, ledger.Receipt{}, refusal(policies.Reason{Code: "DESTRUCTION_UNFINISHED", Rule: "snapshot", SetBy: "sandgate",
			ZH: "账本已记载销毁，但密钥尚未清除完毕", EN: "the ledger records the destruction, but the key is not erased yet",
			HintZH: "请重复本命令；网关启动时也会完成销毁", HintEN: "repeat the command; the gateway also finishes it when it starts"})
	}
	receipt, err := d.log.Receipt(c.Seq)
	return c, receipt, err
}

// erase destroys keys and files of a data set, unless a later ingest put the very
// same content in force.
func (d *Domain) erase(ctx context.Context, c state.Destruction) error {
	var now entry.Snapshot
	var ok bool
	d.log.View(func() { now, ok = d.state.Snapshot(c.Dataset) })
	var err error
	switch {
	case !ok:
		err = d.store.Destroy(ctx, c.Dataset, c.Snapshot)
	case now.Snapshot != c.Snapshot:
		err = d.store.Destroy(ctx, "", c.Snapshot)
	}
	return errors.Join(err, d.eraseCells(c), d.eraseModels(c))
}

// finishDestructions carries out at start what the ledger says is destroyed.
func (d *Domain) finishDestructions(ctx context.Context) error {
	var all []state.Destruction
	d.log.View(func() {
		for _, id := range d.state.Destroyed() {
			all = append(all, d.state.Destructions(id)...)
		}
	})
	for _, c := range all {
		if err := d.erase(ctx, c); err != nil {
			return fmt.Errorf("failed to finish the destruction that entry %d records: %w", c.Seq, err)
		}
	}
	return nil
}

// endJobsOn ends every open job on a data set, queued or running.
func (d *Domain) endJobsOn(ctx context.Context, by, dataset string) error {
	var open []string
	if err := d.settled(ctx, func() { open = d.state.OpenOn(dataset) }); err != nil {
		return err
	}
	for _, job := range open {
		r := d.runOf(job)
		if r != nil {
			r.at.CompareAndSwap(0, time.Now().UnixNano())
			r.cancel()
		}
		if err := d.fail(job, "SNAPSHOT_DESTROYED", by); err != nil && !errors.Is(err, errEnded) {
			return err
		}
		if r != nil {
			r.end()
		}
	}
	return errors.Join(d.endModelsOn(ctx, dataset), d.endTwinsOn(ctx, dataset), d.endRelationsOn(ctx, dataset))
}

// step is where tests let a destruction end half way.
func (d *Domain) step(name string) error {
	if d.opt.fault == nil {
		return nil
	}
	return d.opt.fault(name)
}

func (d *Domain) cellsKeyPath(job string) string {
	return strings.TrimSuffix(d.cellsPath(job), ".cells") + ".key"
}

func cellsKeyPlace(job string) string { return "exact/" + job + "/key" }

// eraseCells destroys the records of exact releases that were made of a data set
// before it was destroyed. Without them nothing can be held against those releases,
// so the data set answers nothing exactly any more.
func (d *Domain) eraseCells(c state.Destruction) error {
	var jobs []string
	d.log.View(func() {
		for _, id := range d.state.Jobs() {
			j, _ := d.state.Job(id)
			if j.Released != nil && j.Released.Cells != "" && j.FinishSeq < c.Seq && j.Request.Core.Tables[0].Dataset == c.Dataset {
				jobs = append(jobs, id)
			}
		}
	})
	d.cells.mu.Lock()
	defer d.cells.mu.Unlock()
	delete(d.cells.open, c.Dataset)
	for _, job := range jobs {
		if err := engine.EraseKey(d.cellsKeyPath(job)); err != nil {
			return err
		}
		// A record of before is under the storage key itself.
		if err := engine.EraseKey(d.cellsPath(job)); err != nil {
			return err
		}
	}
	return nil
}

// exactGone says whether records of exact releases of a data set were destroyed.
func (d *Domain) exactGone(dataset string) (gone bool) {
	d.log.View(func() {
		all := d.state.Destructions(dataset)
		if len(all) == 0 {
			return
		}
		last := all[len(all)-1].Seq
		for _, id := range d.state.Jobs() {
			j, _ := d.state.Job(id)
			gone = gone || j.Released != nil && j.Released.Cells != "" && j.FinishSeq < last && j.Request.Core.Tables[0].Dataset == dataset
		}
	})
	return gone
}

// newCellsKey draws the key of a job's record of cells and stores it wrapped.
func (d *Domain) newCellsKey(job string) ([]byte, error) {
	key, err := sealed.NewDataKey()
	if err != nil {
		return nil, err
	}
	wrapped, err := d.wrapper().Wrap(d.ctx, cellsKeyPlace(job), key)
	if err != nil {
		return nil, fmt.Errorf("failed to wrap the key of a record of cells: %w", err)
	}
	return key, durable.Write(d.cellsKeyPath(job), []byte(wrapped), "cells.key")
}

// cellsKey is the key of a job's record of cells; records of before have none of
// their own.
func (d *Domain) cellsKey(job string) ([]byte, error) {
	wrapped, err := os.ReadFile(d.cellsKeyPath(job))
	if errors.Is(err, fs.ErrNotExist) && d.oldest() != nil {
		return slices.Clone(d.oldest()), nil
	}
	if err != nil {
		return nil, fmt.Errorf("failed to read the key of a record of cells: %w", err)
	}
	return d.wrapper().Unwrap(d.ctx, cellsKeyPlace(job), string(wrapped))
}

// oldest is the storage key that files of before are under: the first there was.
func (d *Domain) oldest() []byte {
	d.keyMu.Lock()
	defer d.keyMu.Unlock()
	if n := len(d.keys.Retired); n > 0 {
		return d.keys.Retired[n-1]
	}
	return d.keys.Storage
}

func (d *Domain) wrapper() sealed.Wrapper {
	d.keyMu.Lock()
	defer d.keyMu.Unlock()
	return d.wraps
}

// rotateStorage draws a new storage key, or has the key service do so, and wraps
// every data key by it while jobs go on.
func (d *Domain) rotateStorage(ctx context.Context, actor string) (entry.Rotated, ledger.Receipt, error) {
	from := d.wrapper().ID()
	to, err := d.nextWrapper(ctx)
	if err != nil {
		return entry.Rotated{}, ledger.Receipt{}, keysRefused(err)
	}
	return d.rewrap(ctx, actor, from, to)
}

// nextWrapper makes the wrapper that follows the one in force. Its key is durable
// before anything is wrapped by it.
func (d *Domain) nextWrapper(ctx context.Context) (sealed.Wrapper, error) {
	if d.service != nil {
		return d.service, d.service.Rotate(ctx)
	}
	key, err := sealed.NewDataKey()
	if err != nil {
		return nil, err
	}
	next := *d.keys
	next.Storage, next.Retired = key, append([][]byte{d.keys.Storage}, d.keys.Retired...)
	if err := d.home.Save(&next); err != nil {
		return nil, err
	}
	d.keyMu.Lock()
	defer d.keyMu.Unlock()
	d.keys.Storage, d.keys.Retired = next.Storage, next.Retired
	d.wraps, err = next.Wrapper()
	return d.wraps, err
}

// rewrap moves all data keys to a wrapper, ledgers it, and forgets the old key
// when nothing needs it any more.
func (d *Domain) rewrap(ctx context.Context, actor, from string, to sealed.Wrapper) (entry.Rotated, ledger.Receipt, error) {
	out := entry.Rotated{Key: "storage", From: from, To: to.ID()}
	var err error
	if out.Moved, out.Left, err = d.store.Rewrap(ctx, to); err != nil {
		return out, ledger.Receipt{}, keysRefused(err)
	}
	moved, left, err := d.rewrapCells(ctx, to)
	if err != nil {
		return out, ledger.Receipt{}, keysRefused(err)
	}
	models, err := d.rewrapModels(ctx, to)
	if err != nil {
		return out, ledger.Receipt{}, keysRefused(err)
	}
	out.Moved, out.Left = out.Moved+moved+models, out.Left+left
	receipt, err := d.append(ctx, func(e *entry.Entry) error {
		e.Kind, e.Actor, e.Rotated = entry.KindRotated, actor, &out
		return nil
	})
	if err != nil {
		return out, receipt, err
	}
	return out, receipt, d.retire(out.Left > 0)
}

// rewrapCells is Store.Rewrap for the records of exact releases.
func (d *Domain) rewrapCells(ctx context.Context, to sealed.Wrapper) (moved, left int, err error) {
	d.cells.mu.Lock()
	defer d.cells.mu.Unlock()
	files, err := filepath.Glob(filepath.Join(d.home.Exact(), "*.cells"))
	if err != nil {
		return 0, 0, fmt.Errorf("failed to list records of cells: %w", err)
	}
	for _, f := range files {
		job := strings.TrimSuffix(filepath.Base(f), ".cells")
		if _, err := os.Stat(d.cellsKeyPath(job)); errors.Is(err, fs.ErrNotExist) {
			left++
			continue
		}
		key, err := d.cellsKey(job)
		if err != nil {
			return moved, left, err
		}
		wrapped, err := to.Wrap(ctx, cellsKeyPlace(job), key)
		clear(key)
		if err != nil {
			return moved, left, fmt.Errorf("failed to wrap the key of a record of cells: %w", err)
		}
		if err := engine.ReplaceKey(d.cellsKeyPath(job), []byte(wrapped)); err != nil {
			return moved, left, err
		}
		moved++
	}
	return moved, left, nil
}

// finishRotation carries on at start with a rotation that ended half way.
func (d *Domain) finishRotation(ctx context.Context) error {
	if len(d.keys.Retired) == 0 {
		return nil
	}
	old, err := sealed.NewLocal(d.keys.Retired[0])
	if err != nil {
		return err
	}
	last := ""
	d.log.View(func() { last = d.state.StorageKey() })
	if last == d.wrapper().ID() {
		return d.retire(d.oldFiles() > 0)
	}
	to := d.wrapper()
	if d.service != nil {
		to = d.service // alone: what follows is wrapped and unwrapped by it
	}
	if _, _, err := d.rewrap(ctx, "gateway", old.ID(), to); err != nil {
		return fmt.Errorf("failed to move data keys to the new master key: %w", err)
	}
	d.keyMu.Lock()
	defer d.keyMu.Unlock()
	d.wraps = to
	return nil
}

// oldFiles counts the files that have no key of their own.
func (d *Domain) oldFiles() int {
	n := d.store.Old()
	files, _ := filepath.Glob(filepath.Join(d.home.Exact(), "*.cells"))
	for _, f := range files {
		if _, err := os.Stat(strings.TrimSuffix(f, ".cells") + ".key"); errors.Is(err, fs.ErrNotExist) {
			n++
		}
	}
	return n
}

// retire drops the storage keys of before, but for the oldest while files need it.
func (d *Domain) retire(needed bool) error {
	if len(d.keys.Retired) == 0 || needed && len(d.keys.Retired) == 1 {
		return nil
	}
	next := *d.keys
	if next.Retired = nil; needed {
		next.Retired = [][]byte{d.oldest()}
	}
	if err := d.home.Save(&next); err != nil {
		return err
	}
	d.keyMu.Lock()
	defer d.keyMu.Unlock()
	d.keys.Retired = next.Retired
	return nil
}

// keysRefused renders a key service that does not answer.
func keysRefused(err error) error {
	if errors.Is(err, sealed.ErrKeysAway) {
		return keysAway()
	}
	return err
}

// openKeys makes the wrapper of data keys: the keyring's, or the key service's.
func (d *Domain) openKeys(ctx context.Context) error {
	var err error
	if d.wraps, d.service, err = d.home.OpenKeys(ctx, d.keys, d.opt.Vault); err != nil {
		return fmt.Errorf("failed to open the storage keys: %w", err)
	}
	return nil
}

type keyService struct {
	sandgatev1.UnimplementedKeyServiceServer
	d *Domain
}

func (s *keyService) DestroySnapshot(ctx context.Context, req *sandgatev1.DestroySnapshotRequest) (*sandgatev1.DestroySnapshotResponse, error) {
	c, receipt, err := s.d.Destroy(ctx, caller(ctx), req.GetDataset())
	if err != nil {
		return nil, err
	}
	return &sandgatev1.DestroySnapshotResponse{Name: "datasets/" + c.Dataset + "/snapshots/" + c.Snapshot, Manifest: c.Manifest, Method: c.Method, Receipt: receiptOf(receipt)}, nil
}
