// Package ledger is a tamper-evident log in front of a deterministic state machine. It knows nothing of what the
// entries mean.
//
// # Order of things
//
// One command at a time holds the turn: it decides on the machine's state, its entries are applied to the machine
// and numbered. A committer makes the entries of all waiting commands durable with one fsync (group commit), and
// only then are the callers answered. An integrator carries durable entries on into C2SP tlog-tiles (Tessera), one
// batch in flight, so that the index in the tree is the sequence number. A guarded signer signs checkpoints over
// the tiles; it refuses to sign a second history.
//
// A decision may rest on entries that are not durable yet. That is sound because the write-ahead file is ordered:
// a later entry cannot be durable without the earlier ones, and nobody is answered before all that the answer
// rests on is durable. When an append fails the state is ahead of the disk, so the log stops for good (fail-stop):
// every later command gets ErrStopped, and opening the log again replays what is on the disk.
//
// "No answer" (ErrOutcomeUnknown) means unknown: the caller retries, and the machine tells by an idempotency key
// whether the command was carried out.
package ledger

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/sandgate/sandgate/ledger/evidence"
	"github.com/sandgate/sandgate/ledger/wal"
	"github.com/sandgate/sandgate/ledger/witness"
)

// Receipt is the signed promise that an entry is durable at a position; see evidence.Receipt.
type Receipt = evidence.Receipt

// Proof is an offline-verifiable inclusion proof with its entry; see evidence.Proof.
type Proof = evidence.Proof

// MaxEntrySize is the longest entry in bytes.
const MaxEntrySize = wal.MaxEntrySize

// MaxEntriesPerCommand bounds what one command may append.
const MaxEntriesPerCommand = 1024

// Errors a caller branches on.
var (
	ErrStopped        = errors.New("ledger has stopped after a failure and must be opened again")
	ErrClosed         = errors.New("ledger is closed")
	ErrOutcomeUnknown = errors.New("outcome is unknown: retry with the same idempotency key")
	ErrEntryTooLarge  = errors.New("entry is too large")
	ErrNotInLog       = errors.New("sequence number is not in the log")
	ErrNotPublished   = errors.New("entry is not covered by a published checkpoint yet")
)

// Machine is the deterministic state machine behind the log. Apply is the very function used live, at start-up
// replay and by the auditor.
//
// Apply must be deterministic (no clock, no randomness, no map order), must leave the state unchanged when it
// returns an error, and must not keep entry, which belongs to the log. It is never called concurrently.
type Machine interface {
	Apply(seq uint64, entry []byte) error
}

// Config says where a log lives and who signs for it.
type Config struct {
	// Dir holds the write-ahead file and the tiles. A copy of it is what an auditor gets; it contains no secret
	// beyond the entries themselves.
	Dir string
	// GuardDir holds the last signed checkpoint. It must lie outside Dir and should be on other storage: whoever
	// can roll back both can hide it from everybody but witnesses and holders of checkpoints and receipts.
	GuardDir string
	// AdoptLog accepts a log whose guard is lost: its present tiles become what was last signed. Only for
	// recovery, after the history was compared with a checkpoint held by someone else.
	AdoptLog bool
	// Origin is the origin line of the checkpoints, the name of the log; it must be the name of Signer.
	Origin string
	// Signer signs checkpoints (Ed25519, C2SP signed-note).
	Signer note.Signer
	// ReceiptKey signs receipts. It should not be the key of Signer.
	ReceiptKey ed25519.PrivateKey
	// Keys, if set, is asked once, after the replay and before a replayed tree is signed, which keys the log says
	// are in force; Signer and ReceiptKey are then those of a new log. An error keeps the log from opening.
	Keys func() (Keys, error)
	// CheckpointInterval is the shortest time between two published checkpoints; 0 means 100 ms, the minimum.
	CheckpointInterval time.Duration
	// Witnesses says who must cosign a checkpoint over size entries; it reads the
	// machine and is called only while no command runs. A policy that is not satisfied
	// stops the witnessed checkpoint, and neither appending nor publishing. nil asks
	// for nobody.
	Witnesses func(size uint64) witness.Policy
	// Resume, if set, is where the machine stands already: only what follows is replayed, and what comes before is read
	// again, and held against the tree, while the log is in use. Whoever sets it has asked Vouch.
	Resume *Point
	// Fault is a test hook, nil in production; see wal.Fault. The points are wal.create.*, wal.write, wal.sync,
	// integrate, guard.write, guard.rename, guard.syncdir and sign, each /before and /after.
	Fault func(point string) error

	unguarded bool // tests only
	rebuild   bool // see Rebuild
}

const minCheckpointInterval = 100 * time.Millisecond

func (c *Config) check() error {
	switch {
	case c.Dir == "" || c.GuardDir == "":
		return errors.New("log directory or guard directory is not set: name both")
	case c.Signer == nil:
		return errors.New("checkpoint signer is missing")
	case c.Origin == "" || c.Signer.Name() != c.Origin:
		return fmt.Errorf("checkpoint signer is named %q, the log %q: they must be equal", c.Signer.Name(), c.Origin)
	case len(c.ReceiptKey) != ed25519.PrivateKeySize:
		return fmt.Errorf("receipt key has %d bytes, want %d", len(c.ReceiptKey), ed25519.PrivateKeySize)
	case c.CheckpointInterval != 0 && c.CheckpointInterval < minCheckpointInterval:
		return fmt.Errorf("checkpoint interval %v is below the minimum %v", c.CheckpointInterval, minCheckpointInterval)
	}
	if c.CheckpointInterval == 0 {
		c.CheckpointInterval = minCheckpointInterval
	}
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return fmt.Errorf("failed to resolve log directory: %w", err)
	}
	guardDir, err := filepath.Abs(c.GuardDir)
	if err != nil {
		return fmt.Errorf("failed to resolve guard directory: %w", err)
	}
	if guardDir == dir || strings.HasPrefix(guardDir, dir+string(filepath.Separator)) {
		return fmt.Errorf("guard directory lies inside the log directory %s: a restored copy would bring the old guard with it; put it elsewhere", dir)
	}
	c.Dir, c.GuardDir = dir, guardDir
	return nil
}

// Log is an open ledger. All methods are safe for concurrent use.
type Log struct {
	cfg     Config
	machine Machine
	file    *wal.File
	guard   *guard
	tiles   *integrator
	// cosigner is nil when nobody is ever asked.
	cosigner *cosigner

	receipts receipts

	// turn is held by the one command that decides and applies. Its holder owns the machine and the next four.
	turn    chan struct{}
	next    uint64   // sequence number of the next entry
	chain   wal.Hash // hash chain before that entry
	newest  *batch   // batch of the newest entry, nil if there was none since Open
	closing bool

	pendingMu sync.Mutex // guards pending, which the holder of turn fills and the committer takes, and spare
	pending   *batch
	spare     []byte // records of a batch that is written, to be filled again

	wakeCommit    chan struct{} // something is pending
	wakeIntegrate chan struct{} // something became durable
	wakeWatch     chan struct{} // something was signed
	quitCommit    chan struct{} // closed by Close
	quitWatch     chan struct{} // closed by Close
	committed     chan struct{} // closed when the committer is done
	integrated    chan struct{} // closed when the integrator is done
	watched       chan struct{} // closed when the watcher is done
	behind        chan struct{} // closed when what was not replayed has been read

	signed atomic.Uint64 // size of the newest signed checkpoint

	publishedMu sync.Mutex // guards published and its change channel
	published   published
	changed     chan struct{} // closed and replaced when published changes

	stopOnce sync.Once
	stopped  chan struct{} // closed on failure
	cause    error         // readable once stopped is closed

	closeOnce sync.Once
	closeErr  error
}

// Open opens the log in cfg.Dir or makes a new one. It replays every entry through machine, brings the tiles up to
// date and refuses, with the reason, a log that is damaged, that does not fit its tiles, or that is behind what was
// signed (ErrRollback). The machine must be in its initial state; after an error it must be thrown away.
// ctx bounds opening only.
func Open(ctx context.Context, cfg Config, machine Machine) (*Log, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("failed to open ledger: %w", err)
	}
	l := &Log{
		cfg: cfg, machine: machine,
		turn:       make(chan struct{}, 1),
		wakeCommit: make(chan struct{}, 1), wakeIntegrate: make(chan struct{}, 1), wakeWatch: make(chan struct{}, 1),
		quitCommit: make(chan struct{}), quitWatch: make(chan struct{}),
		committed: make(chan struct{}), integrated: make(chan struct{}), watched: make(chan struct{}), behind: make(chan struct{}),
		changed: make(chan struct{}), stopped: make(chan struct{}),
	}
	l.receipts.key = cfg.ReceiptKey
	if err := l.open(ctx); err != nil {
		return nil, fmt.Errorf("failed to open ledger: %w", errors.Join(err, l.release()))
	}
	go l.commitLoop()
	go l.integrateLoop()
	go l.watchLoop()
	go l.behindLoop()
	if l.cosigner != nil {
		go l.cosigner.run(func() published { p, _ := l.snapshot(); return p })
	}
	wake(l.wakeWatch)
	return l, nil
}

func (l *Log) open(ctx context.Context) error {
	err := os.MkdirAll(l.cfg.Dir, 0o755)
	if err != nil {
		return fmt.Errorf("failed to make log directory: %w", err)
	}
	if l.guard, err = openGuard(l.cfg.GuardDir, l.cfg.Fault, l.cfg.unguarded, l.cfg.Signer); err != nil {
		return err
	}
	l.guard.refuse, l.guard.held = l.stop, l.Disputed
	if l.cfg.Witnesses != nil {
		l.cosigner = l.newCosigner()
	}
	l.guard.signedSize = func(size uint64) {
		l.signed.Store(size)
		wake(l.wakeWatch)
	}
	hasWAL, err := exists(filepath.Join(l.cfg.Dir, wal.FileName))
	if err != nil {
		return err
	}
	if err := l.resumeAt(); err != nil {
		return err
	}
	hasTiles, err := exists(filepath.Join(l.cfg.Dir, treeStateFile))
	if err != nil {
		return err
	}
	switch {
	case hasWAL && !hasTiles && l.cfg.rebuild:
		return l.rebuild(ctx)
	case hasWAL && !hasTiles:
		return errors.New("the write-ahead file has lost its tiles: bring back a complete copy of the log directory")
	case !hasWAL && l.guard.last.N > 0:
		return fmt.Errorf("%w: a checkpoint over %d entries was signed, but the log directory holds no log: bring back the newest copy", ErrRollback, l.guard.last.N)
	case (hasWAL || hasTiles) && !l.guard.known && !l.cfg.AdoptLog && !l.cfg.unguarded:
		return fmt.Errorf("%w: the guard directory is empty, so it is unknown what was signed: name the right one, or adopt the log once its history has been compared with a checkpoint held by someone else", ErrRollback)
	case hasWAL:
		return l.resume(ctx)
	}
	return l.create(ctx)
}

// create makes a new log: guard first, then tiles, then write-ahead file, so that a crash between any two leaves
// what the next create accepts, and an existing write-ahead file always has the other two.
func (l *Log) create(ctx context.Context) error {
	if err := l.guard.begin(); err != nil {
		return err
	}
	var err error
	if l.tiles, err = openTiles(&l.cfg, l.guard); err != nil {
		return err
	}
	size, err := l.tiles.size(ctx)
	if err != nil {
		return err
	}
	if size > 0 {
		return fmt.Errorf("the tiles hold %d entries but their write-ahead file is gone: bring back a complete copy of the log directory", size)
	}
	if err := wal.Create(l.cfg.Dir, l.cfg.Origin, l.cfg.Fault); err != nil {
		return err
	}
	l.file, l.chain, err = wal.Open(l.cfg.Dir, l.cfg.Origin, l.cfg.Fault, 0, l.replay)
	return err
}

func (l *Log) resume(ctx context.Context) error {
	var err error
	if l.tiles, err = openTiles(&l.cfg, l.guard); err != nil {
		return err
	}
	size, err := l.tiles.size(ctx)
	if err != nil {
		return err
	}
	visit := func(c wal.Command) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return l.replay(c)
	}
	if l.file, l.chain, err = wal.OpenFrom(l.cfg.Dir, l.cfg.Origin, l.cfg.Fault, size, &l.cfg.Resume.Place, visit); err != nil {
		return err
	}
	l.resumeWitnessed(ctx)
	if err := l.takeKeys(); err != nil {
		return err
	}
	check := func(root tlog.Hash) error { return l.tiles.check(ctx, size, root) }
	if err := l.guard.admit(size, check); err != nil {
		return err
	}
	l.tiles.from, l.tiles.told = size, l.next
	return l.integrateAll(ctx)
}

func (l *Log) replay(c wal.Command) error {
	for i, entry := range c.Entries {
		if err := l.machine.Apply(c.First+uint64(i), entry); err != nil {
			return fmt.Errorf("failed to replay entry %d: %w", c.First+uint64(i), err)
		}
		l.guard.extend(tlog.RecordHash(entry))
		l.next++
	}
	return nil
}

// stop is the fail-stop: the first cause counts.
func (l *Log) stop(cause error) {
	l.stopOnce.Do(func() {
		l.cause = cause
		close(l.stopped)
	})
}

// Err is nil while the log works, and ErrStopped with its cause after a failure.
func (l *Log) Err() error {
	select {
	case <-l.stopped:
		return fmt.Errorf("%w: %w", ErrStopped, l.cause)
	default:
		return nil
	}
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func exists(path string) (bool, error) {
	_, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("failed to look into log directory: %w", err)
	}
	return true, nil
}
