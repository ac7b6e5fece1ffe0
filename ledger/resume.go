package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"time"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/sandgate/sandgate/ledger/internal/frontier"
	"github.com/sandgate/sandgate/ledger/internal/tilefs"
	"github.com/sandgate/sandgate/ledger/wal"
)

// Point is a place in a log from which it can be opened, by a machine that stands there already, in a time that what
// follows takes. Nobody believes a Point: Vouch and Open hold it against what was signed.
type Point struct {
	wal.Place
	Edges []tlog.Hash // of the tree there: perfect subtrees, largest first
}

// checkpointFile is the name C2SP tlog-tiles gives to the newest checkpoint.
const checkpointFile = "checkpoint"

// Errors of Vouch, each a reason to replay everything.
var (
	// ErrOtherLog is a point that is not one of this log.
	ErrOtherLog = errors.New("the log does not have this point")
	// ErrNotNamed is a point that no entry after it names.
	ErrNotNamed = errors.New("no entry of the log names this point")
	// ErrUnsigned is a point whose entry no signed checkpoint covers.
	ErrUnsigned = errors.New("no signed checkpoint covers the entry that names this point")
)

// Vouch reads the log after a point and says whether the point is the log's own: an entry after it names it, a
// checkpoint under one of the log's keys covers that entry, and this checkpoint, and the last one that the guard
// remembers, have the roots that the point and the entries after it lead to. So whoever has no key of the log can make
// up neither the point nor the entry. The log must not be open.
func Vouch(cfg Config, keys note.Verifiers, p *Point, names func(seq uint64, entry []byte) bool) error {
	if err := cfg.check(); err != nil {
		return err
	}
	tree, ok := frontier.FromEdges(p.Size(), p.Edges)
	if !ok || p.Size() == 0 {
		return fmt.Errorf("%w: its tree has not the parts that it must have", ErrOtherLog)
	}
	signed, err := signedTree(cfg, keys)
	if err != nil {
		return err
	}
	kept, err := remembered(cfg)
	if err != nil {
		return err
	}
	if uint64(signed.N) < p.Size() || kept.N < signed.N {
		return ErrUnsigned
	}
	f, err := os.Open(filepath.Join(cfg.Dir, wal.FileName))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrOtherLog, err)
	}
	defer f.Close()
	r, err := wal.NewReaderFrom(f, &p.Place)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrOtherLog, err)
	}
	if r.Origin() != cfg.Origin {
		return fmt.Errorf("%w: it is of log %q", ErrOtherLog, r.Origin())
	}
	named := uint64(math.MaxUint64)
	for {
		for _, t := range []tlog.Tree{signed, kept} {
			if uint64(t.N) == tree.Size() && t.Hash != tree.Root() {
				return fmt.Errorf("%w: the entries that were signed are others", ErrOtherLog)
			}
		}
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if named == math.MaxUint64 && names(rec.Seq, rec.Entry) {
			named = rec.Seq
		}
		tree.Append(tlog.RecordHash(rec.Entry))
	}
	switch {
	case tree.Size() < uint64(kept.N):
		return fmt.Errorf("%w: %d entries were signed, the write-ahead file holds %d", ErrOtherLog, kept.N, tree.Size())
	case named == math.MaxUint64:
		return ErrNotNamed
	case named >= uint64(signed.N):
		return ErrUnsigned
	}
	return nil
}

// signedTree is the published checkpoint, of which the signature was checked.
func signedTree(cfg Config, keys note.Verifiers) (tlog.Tree, error) {
	raw, err := os.ReadFile(filepath.Join(cfg.Dir, checkpointFile))
	if errors.Is(err, fs.ErrNotExist) {
		return tlog.Tree{}, ErrUnsigned
	}
	if err != nil {
		return tlog.Tree{}, fmt.Errorf("failed to read published checkpoint: %w", err)
	}
	n, err := note.Open(raw, keys)
	if err != nil {
		return tlog.Tree{}, fmt.Errorf("%w: %w", ErrUnsigned, err)
	}
	cp, err := torchwood.ParseCheckpoint(n.Text)
	if err != nil || cp.Origin != cfg.Origin {
		return tlog.Tree{}, fmt.Errorf("%w: the published one is of another log", ErrUnsigned)
	}
	return cp.Tree, nil
}

// remembered is the last checkpoint that the guard remembers.
func remembered(cfg Config) (tlog.Tree, error) {
	text, err := os.ReadFile(filepath.Join(cfg.GuardDir, guardFile))
	if errors.Is(err, fs.ErrNotExist) {
		return tlog.Tree{}, fmt.Errorf("%w: the guard is gone", ErrUnsigned)
	}
	if err != nil {
		return tlog.Tree{}, fmt.Errorf("failed to read last signed checkpoint: %w", err)
	}
	cp, err := torchwood.ParseCheckpoint(string(text))
	if err != nil || cp.Origin != cfg.Origin {
		return tlog.Tree{}, fmt.Errorf("%w: the guard file is damaged", ErrUnsigned)
	}
	return cp.Tree, nil
}

// resumeAt makes guard and numbering stand at the point of the configuration.
func (l *Log) resumeAt() error {
	p := l.cfg.Resume
	if p == nil {
		l.cfg.Resume = &Point{}
		return nil
	}
	tree, ok := frontier.FromEdges(p.Size(), p.Edges)
	if !ok || uint64(l.guard.last.N) < p.Size() || l.cfg.AdoptLog || l.cfg.unguarded {
		return fmt.Errorf("%w: nothing that was signed reaches as far", ErrOtherLog)
	}
	l.guard.base, l.next = tree, p.Size()
	return nil
}

// PointAt returns the point behind the first size entries, which must end a command and which a published checkpoint
// must cover; the tiles are checked against it.
func (l *Log) PointAt(ctx context.Context, size uint64) (*Point, error) {
	pub, _ := l.snapshot()
	if pub.raw == nil || pub.size < size {
		return nil, fmt.Errorf("%w: %d of %d", ErrNotPublished, size, pub.size)
	}
	tree, err := checkpointTree(pub.raw)
	if err != nil {
		return nil, err
	}
	place, err := l.file.PlaceAt(size)
	if err != nil {
		return nil, err
	}
	var at []int64
	for level, first := 63, uint64(0); level >= 0; level-- {
		if size>>level&1 == 1 {
			at = append(at, tlog.StoredHashIndex(level, int64(first>>level)))
			first += 1 << level
		}
	}
	edges, err := torchwood.TileHashReaderWithContext(ctx, tree, tilefs.Reader{FS: os.DirFS(l.cfg.Dir)}).ReadHashes(at)
	if err != nil {
		return nil, fmt.Errorf("failed to read the tree of %d entries: %w", size, err)
	}
	return &Point{Place: *place, Edges: edges}, nil
}

// Pace of behindLoop: so many entries, then a pause.
const (
	behindEntries = 2048
	behindPause   = 5 * time.Millisecond
)

// behindLoop reads what Open did not, the entries before the point that it started from, and stops the log when they
// are not those that were signed: damage there is found later than by a full replay, and found.
func (l *Log) behindLoop() {
	defer close(l.behind)
	p := l.cfg.Resume
	if p.Size() == 0 {
		return
	}
	tree := &frontier.Tree{}
	err := l.file.Behind(&p.Place, func(seq uint64, entry []byte) error {
		tree.Append(tlog.RecordHash(entry))
		if seq%behindEntries != 0 {
			return nil
		}
		select {
		case <-l.quitWatch:
			return ErrClosed
		case <-l.stopped:
			return ErrClosed
		case <-time.After(behindPause):
			return nil
		}
	})
	if errors.Is(err, ErrClosed) {
		return
	}
	if want, _ := frontier.FromEdges(p.Size(), p.Edges); err == nil && tree.Root() != want.Root() {
		err = fmt.Errorf("%w: the first %d entries are not those that were signed: bring back the newest copy", ErrRollback, p.Size())
	}
	if err != nil {
		l.stop(err)
	}
}
