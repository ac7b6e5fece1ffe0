package ledger

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/sandgate/sandgate/ledger/internal/frontier"
	"github.com/sandgate/sandgate/ledger/wal"
)

// guardFile holds the text of the last checkpoint that may have been signed.
const guardFile = "last-checkpoint"

// ErrRollback is returned when the log is not an extension of what was signed before: an old copy of its
// directory was restored, or its history was rewritten.
var ErrRollback = errors.New("log is not an extension of the last signed checkpoint")

// guard is the checkpoint signer that cannot sign two histories. Tessera signs whatever its directory says; after
// a restore of an old copy that is a second history. The guard keeps its own memory in another directory and its
// own tree, computed from the write-ahead file, and signs only a head of that tree that is not behind the last.
//
// One append-only sequence of leaves has both roots, the last signed and the next: that is the consistency of the
// two, checked more strictly than a consistency proof would.
//
// It cannot see a roll-back to a state between the last signed checkpoint and the end of the log (at most one
// checkpoint interval of entries); receipts handed out for those entries prove it, see verify.Receipts.
type guard struct {
	path       string       // of guardFile
	lock       *os.File     // held while open: two processes cannot sign for one guard
	fault      wal.Fault    // test hook
	off        bool         // tests only: shows that the attack succeeds without the guard
	refuse     func(error)  // told of every refusal that means a second history; must not call the guard
	signedSize func(uint64) // told of every signature; must not call the guard
	held       func() error // says why nothing may be signed for now; must not call the guard
	origin     string       // the name of every key

	ready chan struct{} // closed when the log has been checked and signing may begin
	down  chan struct{} // closed when the log is closed

	mu     sync.Mutex     // guards the fields below and serialises signatures
	closed bool           //
	known  bool           // guardFile exists
	last   tlog.Tree      // what guardFile holds; the empty tree if it does not exist
	base   *frontier.Tree // the tree at last.N, once that many leaves have been told
	leaves []tlog.Hash    // leaf hashes that follow base

	terms   []term      // keys and the trees they sign, in order; never empty
	offered note.Signer // whose hash KeyHash gave last
}

// Name implements note.Signer.
func (g *guard) Name() string { return g.origin }

func openGuard(dir string, fault wal.Fault, off bool, signer note.Signer) (g *guard, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("failed to make guard directory: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("failed to open guard lock: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, lock.Close())
		}
	}()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, fmt.Errorf("failed to lock guard directory, another process signs for this log: %w", err)
	}
	g = &guard{
		origin: signer.Name(), terms: []term{{0, signer}}, offered: signer, path: filepath.Join(dir, guardFile), lock: lock, fault: fault, off: off,
		ready: make(chan struct{}), down: make(chan struct{}), base: &frontier.Tree{},
		last: tlog.Tree{Hash: sha256.Sum256(nil)},
		held: func() error { return nil },
	}
	text, err := os.ReadFile(g.path)
	if off || errors.Is(err, fs.ErrNotExist) {
		return g, nil
	}
	if err != nil {
		return nil, fmt.Errorf("failed to read last signed checkpoint: %w", err)
	}
	cp, err := torchwood.ParseCheckpoint(string(text))
	if err != nil || cp.Origin != signer.Name() {
		return nil, fmt.Errorf("guard file %s is damaged or of another log than %q: restore it, or remove it and adopt the log once its history has been checked against a copy held by someone else", g.path, signer.Name())
	}
	g.last, g.known = cp.Tree, true
	return g, nil
}

// extend tells the guard the next leaf of the log. Leaves must be told before Tessera gets them.
func (g *guard) extend(leaf tlog.Hash) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.base.Size() < uint64(g.last.N) {
		g.base.Append(leaf)
		return
	}
	g.leaves = append(g.leaves, leaf)
}

// rebase moves the start of the remembered leaves to the last signed size. The caller holds mu.
func (g *guard) rebase() {
	n := uint64(g.last.N) - g.base.Size()
	for _, leaf := range g.leaves[:n] {
		g.base.Append(leaf)
	}
	g.leaves = append([]tlog.Hash(nil), g.leaves[n:]...)
}

// rootAt computes the head of the tree at size from the write-ahead file's leaves. The caller holds mu.
func (g *guard) rootAt(size uint64) (tlog.Hash, bool) {
	if size < g.base.Size() || size-g.base.Size() > uint64(len(g.leaves)) {
		return tlog.Hash{}, false
	}
	t := g.base.Clone()
	for _, leaf := range g.leaves[:size-g.base.Size()] {
		t.Append(leaf)
	}
	return t.Root(), true
}

// admit checks the replayed log against the last signed checkpoint and the tiles, of which there are integrated
// checked by checkTiles against the root they must have, and lets signing begin.
func (g *guard) admit(integrated uint64, checkTiles func(root tlog.Hash) error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch n := uint64(g.last.N); {
	case integrated < n:
		return fmt.Errorf("%w: a checkpoint over %d entries was signed, the tiles hold %d; an old copy of the log was restored: bring back the newest copy", ErrRollback, n, integrated)
	case g.base.Size() < n:
		return fmt.Errorf("%w: a checkpoint over %d entries was signed, the write-ahead file holds %d; an old copy of the log was restored: bring back the newest copy", ErrRollback, n, g.base.Size())
	case g.base.Root() != g.last.Hash:
		return fmt.Errorf("%w: the first %d entries are not those that were signed: bring back the newest copy", ErrRollback, n)
	}
	root, ok := g.rootAt(integrated)
	if !ok {
		return fmt.Errorf("%w: the tiles hold %d entries, the write-ahead file %d; an old write-ahead file was restored: bring back the newest copy", ErrRollback, integrated, g.base.Size()+uint64(len(g.leaves)))
	}
	if err := checkTiles(root); err != nil {
		return err
	}
	if !g.known && !g.off {
		if err := g.remember(tlog.Tree{N: int64(integrated), Hash: root}); err != nil {
			return err
		}
		g.rebase()
	}
	close(g.ready)
	return nil
}

// begin makes the guard of a new, empty log durable, before the log itself comes to be: a log that has anything in
// it therefore always has a guard.
func (g *guard) begin() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.ready)
	if g.off {
		return nil
	}
	return g.remember(g.last)
}

// remember makes t durable as the last checkpoint. The caller holds mu.
func (g *guard) remember(t tlog.Tree) error {
	if g.known && g.last == t {
		return nil
	}
	text := torchwood.Checkpoint{Origin: g.origin, Tree: t}.String()
	if err := wal.WriteDurable(g.path, []byte(text), "guard", g.fault); err != nil {
		return err
	}
	g.last, g.known = t, true
	return nil
}

// Sign implements note.Signer. The order is: check, remember, sign. A crash after remembering costs nothing: the
// same head, or a later one, is signed next time.
func (g *guard) Sign(msg []byte) ([]byte, error) {
	select {
	case <-g.ready:
	case <-g.down:
		return nil, ErrClosed
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil, ErrClosed
	}
	if err := g.held(); err != nil {
		return nil, err
	}
	cp, err := torchwood.ParseCheckpoint(string(msg))
	if err != nil || cp.Origin != g.origin || cp.Extension != "" {
		return nil, errors.New("guarded signer refuses a text that is not a plain checkpoint of its log")
	}
	signer, err := g.signerOf(uint64(cp.N))
	if err != nil {
		return nil, err
	}
	if !g.off {
		if err := g.check(cp.Tree); err != nil {
			g.refuse(err)
			return nil, err
		}
		if err := g.remember(cp.Tree); err != nil {
			return nil, err
		}
		g.rebase()
	}
	var sig []byte
	err = g.fault.Around("sign", func() error {
		sig, err = signer.Sign(msg)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("failed to sign checkpoint: %w", err)
	}
	g.signedSize(uint64(cp.N))
	return sig, nil
}

func (g *guard) check(next tlog.Tree) error {
	if next.N < g.last.N {
		return fmt.Errorf("%w: asked to sign %d entries after %d", ErrRollback, next.N, g.last.N)
	}
	root, ok := g.rootAt(uint64(next.N))
	if !ok {
		return fmt.Errorf("%w: asked to sign %d entries, more than the write-ahead file holds", ErrRollback, next.N)
	}
	if root != next.Hash {
		return fmt.Errorf("%w: the root of the tiles at %d entries differs from that of the write-ahead file", ErrRollback, next.N)
	}
	return nil
}

// most is the size of the largest tree that can have been signed: the last, or, of a
// log whose guard is lost or off, all that the write-ahead file holds.
func (g *guard) most() int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.known {
		return int64(g.base.Size()) + int64(len(g.leaves))
	}
	return g.last.N
}

// close waits for a running signature and refuses all later ones.
func (g *guard) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	close(g.down)
}
