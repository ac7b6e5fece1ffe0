package ledger

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"filippo.io/torchwood"
	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/sandgate/sandgate/ledger/evidence"
	"github.com/sandgate/sandgate/ledger/internal/tilefs"
)

const (
	// treeStateFile is written by Tessera when it makes a log, and never removed.
	treeStateFile = ".state/treeState"
	// batchEntries and batchBytes bound one batch of the integrator.
	batchEntries = 4096
	batchBytes   = 8 << 20
	// gather is the shortest time between two batches that are not full: each costs some forty calls that wait for
	// the disk. An entry after a pause does not wait.
	gather = 60 * time.Millisecond
	// batchAge is the time after which Tessera flushes a batch that is not full, counted from its first entry. The
	// integrator hands over a whole batch within half of it, so that it is flushed in one piece: the order across
	// two flushes is not guaranteed by Tessera.
	batchAge = 10 * time.Millisecond
	// republishAfter is the age at which an unchanged checkpoint is signed anew: a sign of life.
	republishAfter = 10 * time.Minute
	// closeTimeout bounds how long Close waits for publication.
	closeTimeout = 30 * time.Second
)

// integrator carries entries into the tiles. It is used by one goroutine at a time: Open, then integrateLoop.
type integrator struct {
	add      *tessera.Appender
	reader   tessera.LogReader
	shutdown func(context.Context) error
	cancel   context.CancelFunc
	dir      string
	from     uint64 // entries before it are in the tiles
	told     uint64 // leaves before it have been told to the guard
}

func openTiles(cfg *Config, signer *guard) (*integrator, error) {
	if err := checkPublished(cfg.Dir); err != nil {
		return nil, err
	}
	opts := tessera.NewAppendOptions().
		WithCheckpointSigner(signer).
		WithCheckpointInterval(cfg.CheckpointInterval).
		WithCheckpointRepublishInterval(max(republishAfter, cfg.CheckpointInterval)).
		WithBatching(batchEntries, batchAge)
	// Tessera's background work must outlive the context of Open.
	ctx, cancel := context.WithCancel(context.Background())
	driver, err := posix.New(ctx, posix.Config{Path: cfg.Dir})
	if err != nil {
		cancel()
		return nil, fmt.Errorf("failed to open tiles: %w", err)
	}
	add, shutdown, reader, err := newAppender(ctx, driver, opts)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("failed to open tiles, of which .state in the log directory keeps account: if it is damaged, bring back a complete copy of the log directory: %w", err)
	}
	return &integrator{add: add, reader: reader, shutdown: shutdown, cancel: cancel, dir: cfg.Dir}, nil
}

// newAppender is tessera.NewAppender, which panics when it cannot open its own lock.
func newAppender(ctx context.Context, driver tessera.Driver, opts *tessera.AppendOptions) (a *tessera.Appender, shutdown func(context.Context) error, r tessera.LogReader, err error) {
	defer func() {
		if x := recover(); x != nil {
			if err, _ = x.(error); err == nil {
				panic(x)
			}
		}
	}()
	return tessera.NewAppender(ctx, driver, opts)
}

// checkPublished refuses a published checkpoint that says no size: with it nothing would ever be published again.
func checkPublished(dir string) error {
	path := filepath.Join(dir, "checkpoint")
	raw, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("failed to read the published checkpoint: %w", err)
	}
	text, _, _ := strings.Cut(string(raw), "\n\n")
	if _, err := torchwood.ParseCheckpoint(text + "\n"); err != nil {
		return fmt.Errorf("the published checkpoint %s is damaged: remove it, and it is signed again from the write-ahead file", path)
	}
	return nil
}

func (t *integrator) size(ctx context.Context) (uint64, error) {
	size, err := t.reader.IntegratedSize(ctx)
	if err != nil {
		return 0, fmt.Errorf("failed to read size of tiles: %w", err)
	}
	return size, nil
}

// check authenticates the right edge of the tiles, from which Tessera goes on, against the root that the
// write-ahead file gives for their size. Every other tile is for the auditor to check.
func (t *integrator) check(ctx context.Context, size uint64, root tlog.Hash) error {
	if size == 0 {
		return nil
	}
	tree := tlog.Tree{N: int64(size), Hash: root}
	edge := torchwood.RightEdge(tree.N)
	_, err := torchwood.TileHashReaderWithContext(ctx, tree, tilefs.Reader{FS: os.DirFS(t.dir)}).ReadHashes(edge)
	if err != nil {
		return fmt.Errorf("%w: the tiles do not hold the first %d entries of the write-ahead file: %w", ErrRollback, size, err)
	}
	return nil
}

// integrate carries one batch of entries, the first of which is number t.from, into the tiles and returns how many
// it took. Any error is final: the tiles may or may not have the entries.
func (t *integrator) integrate(ctx context.Context, g *guard, entries [][]byte) (int, error) {
	prepared := make([]*tessera.Entry, len(entries))
	for i, entry := range entries {
		prepared[i] = tessera.NewEntry(entry)
		if t.from+uint64(i) == t.told {
			g.extend(tlog.Hash(prepared[i].LeafHash()))
			t.told++
		}
	}
	futures := make([]tessera.IndexFuture, 0, len(entries))
	for begin := time.Now(); len(futures) < len(prepared); {
		if len(futures) > 0 && time.Since(begin) > batchAge/2 {
			break
		}
		futures = append(futures, t.add.Add(ctx, prepared[len(futures)]))
	}
	for i, future := range futures {
		index, err := future()
		if err != nil {
			return 0, fmt.Errorf("failed to integrate entry %d: %w", t.from+uint64(i), err)
		}
		if index.Index != t.from+uint64(i) {
			return 0, fmt.Errorf("failed to integrate entry %d: the tiles numbered it %d", t.from+uint64(i), index.Index)
		}
	}
	return len(futures), nil
}

// integrateAll brings the tiles up to what is durable when it is called.
func (l *Log) integrateAll(ctx context.Context) error {
	t := l.tiles
	for size := l.file.Size(); t.from < size; {
		if err := errors.Join(ctx.Err(), l.Err()); err != nil {
			return err
		}
		entries, err := l.file.Read(t.from, min(size, t.from+batchEntries), batchBytes)
		if err != nil {
			return err
		}
		err = l.guard.fault.Around("integrate", func() error {
			// A batch under way is never given up: its futures resolve, or the process dies.
			n, err := t.integrate(context.WithoutCancel(ctx), l.guard, entries)
			t.from += uint64(n)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// integrateLoop ends when the committer is done and all it wrote is in the tiles, or when the log stops.
func (l *Log) integrateLoop() {
	defer close(l.integrated)
	var begun time.Time
	for last := false; !last; {
		select {
		case <-l.wakeIntegrate:
		case <-l.committed:
			last = true
		case <-l.stopped:
			return
		}
		if wait := gather - time.Since(begun); !last && wait > 0 {
			select {
			case <-time.After(wait):
			case <-l.committed:
				last = true
			case <-l.stopped:
				return
			}
		}
		begun = time.Now()
		if err := l.integrateAll(context.Background()); err != nil {
			l.stop(err)
			return
		}
	}
}

// published is the newest checkpoint that anybody can read.
type published struct {
	size uint64
	raw  []byte
}

// watchLoop follows the published checkpoint: after each signature it looks until that size is out.
func (l *Log) watchLoop() {
	defer close(l.watched)
	for {
		select {
		case <-l.wakeWatch:
		case <-l.quitWatch:
			return
		}
		for pause := time.Millisecond; !l.refreshPublished(); pause = min(2*pause, 50*time.Millisecond) {
			select {
			case <-time.After(pause):
			case <-l.quitWatch:
				return
			}
		}
	}
}

// refreshPublished reads the published checkpoint and reports whether it covers all that was signed.
func (l *Log) refreshPublished() bool {
	raw, err := l.tiles.reader.ReadCheckpoint(context.Background())
	if err != nil {
		return false
	}
	tree, err := checkpointTree(raw)
	if err != nil {
		return false
	}
	l.publishedMu.Lock()
	defer l.publishedMu.Unlock()
	if size := uint64(tree.N); l.published.raw == nil || size > l.published.size {
		l.published = published{size, raw}
		close(l.changed)
		l.changed = make(chan struct{})
		if l.cosigner != nil {
			wake(l.cosigner.wake)
		}
	}
	return l.published.size >= l.signed.Load()
}

// checkpointTree reads size and root of a signed checkpoint without checking who signed it.
func checkpointTree(raw []byte) (tlog.Tree, error) {
	text, _, found := strings.Cut(string(raw), "\n\n")
	if !found {
		return tlog.Tree{}, errors.New("published checkpoint has no signature")
	}
	cp, err := torchwood.ParseCheckpoint(text + "\n")
	if err != nil {
		return tlog.Tree{}, fmt.Errorf("failed to parse published checkpoint: %w", err)
	}
	return cp.Tree, nil
}

// announce makes all who wait look again.
func (l *Log) announce() {
	l.publishedMu.Lock()
	defer l.publishedMu.Unlock()
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *Log) snapshot() (published, <-chan struct{}) {
	l.publishedMu.Lock()
	defer l.publishedMu.Unlock()
	return l.published, l.changed
}

// Published returns the newest published checkpoint, a signed note, and the number of entries it covers.
func (l *Log) Published() (checkpoint []byte, size uint64) {
	p, _ := l.snapshot()
	return append([]byte(nil), p.raw...), p.size
}

// WaitPublished waits until a published checkpoint covers the durable entry seq and returns that checkpoint.
// ErrDisputed ends the wait, whatever was published before.
func (l *Log) WaitPublished(ctx context.Context, seq uint64) ([]byte, error) {
	return l.awaitCover(ctx, seq, func() published { p, _ := l.snapshot(); return p })
}

// awaitCover waits until what newest returns covers the durable entry seq.
func (l *Log) awaitCover(ctx context.Context, seq uint64, newest func() published) ([]byte, error) {
	if size := l.file.Size(); seq >= size {
		return nil, fmt.Errorf("%w: %d of %d", ErrNotInLog, seq, size)
	}
	for {
		_, changed := l.snapshot()
		if err := l.Disputed(); err != nil {
			return nil, err
		}
		if p := newest(); p.raw != nil && p.size > seq {
			return append([]byte(nil), p.raw...), nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", ErrNotPublished, ctx.Err())
		case <-l.stopped:
			return nil, l.Err()
		case <-l.quitWatch:
			return nil, ErrClosed
		}
	}
}

// Prove returns the inclusion proof of the entry at seq under the newest published checkpoint, or ErrNotPublished;
// under the newest witnessed one, where that covers it. The proof has been checked against that checkpoint's root.
func (l *Log) Prove(ctx context.Context, seq uint64) (Proof, error) {
	p, _ := l.snapshot()
	if raw, size := l.Witnessed(); size > seq {
		p = published{size, raw}
	}
	return l.proveIn(ctx, p, seq)
}

// ProveUnder is Prove under a checkpoint of this log that Published or Witnessed returned.
func (l *Log) ProveUnder(ctx context.Context, checkpoint []byte, seq uint64) (Proof, error) {
	tree, err := checkpointTree(checkpoint)
	if err != nil {
		return Proof{}, err
	}
	return l.proveIn(ctx, published{uint64(tree.N), checkpoint}, seq)
}

func (l *Log) proveIn(ctx context.Context, p published, seq uint64) (Proof, error) {
	if p.raw == nil || seq >= p.size {
		return Proof{}, fmt.Errorf("%w: %d of %d", ErrNotPublished, seq, p.size)
	}
	tree, err := checkpointTree(p.raw)
	if err != nil {
		return Proof{}, err
	}
	client, err := torchwood.NewClient(tilefs.Reader{FS: os.DirFS(l.cfg.Dir)})
	if err != nil {
		return Proof{}, fmt.Errorf("failed to read tiles: %w", err)
	}
	entry, path, err := client.Entry(ctx, tree, int64(seq))
	if err != nil {
		return Proof{}, fmt.Errorf("failed to prove entry %d: %w", seq, err)
	}
	return evidence.Proof{Entry: entry, Index: seq, Size: p.size, Hashes: path, Checkpoint: string(p.raw)}, nil
}

// Close answers the commands under way, carries everything into the tiles, waits until it is published and lets go
// of the directories. An error means that the newest entries are durable but not published; the next Open makes up
// for it. Close may be called more than once.
func (l *Log) Close() error {
	l.closeOnce.Do(func() { l.closeErr = l.close() })
	return l.closeErr
}

func (l *Log) close() error {
	l.View(func() { l.closing = true })
	close(l.quitCommit)
	<-l.committed
	<-l.integrated
	err := l.Err()
	if size := l.file.Size(); err == nil && size > 0 {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		if _, err = l.WaitPublished(ctx, size-1); err == nil {
			err = l.tiles.shutdown(ctx)
		}
	}
	l.finishWitnessed(l.file.Size())
	close(l.quitWatch)
	<-l.watched
	<-l.behind
	if err = errors.Join(err, l.release()); err != nil {
		return fmt.Errorf("failed to close ledger: %w", err)
	}
	return nil
}

// release lets go of everything that open took. It waits for a checkpoint that was signed to reach the disk, so
// that it cannot overwrite one of a later Open.
func (l *Log) release() error {
	var err error
	if l.guard != nil {
		l.guard.close()
	}
	if l.tiles != nil {
		for begin := time.Now(); l.signed.Load() > 0 && !l.refreshPublished() && time.Since(begin) < time.Second; {
			time.Sleep(time.Millisecond)
		}
		l.tiles.cancel()
	}
	if l.file != nil {
		err = errors.Join(err, l.file.Close())
	}
	if l.guard != nil {
		err = errors.Join(err, l.guard.lock.Close())
	}
	return err
}
