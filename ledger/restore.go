package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/sandgate/sandgate/ledger/internal/frontier"
	"github.com/sandgate/sandgate/ledger/wal"
)

// Tree is the size and root of a log.
type Tree struct {
	Size uint64    `json:"size"`
	Root tlog.Hash `json:"root"`
}

// WriteAhead is what ReadWriteAhead found.
type WriteAhead struct {
	Origin string
	Tree   Tree
	Bytes  int64 // length of the whole commands; what follows is a torn tail
	Roots  map[uint64]tlog.Hash
}

// WriteAheadFile is the path of the write-ahead file in a log directory.
func WriteAheadFile(dir string) string { return filepath.Join(dir, wal.FileName) }

// ReadWriteAhead reads the commands of a write-ahead file, which may be in use, in
// order, checks their chain, and computes the root of the tree of all of them and
// at the sizes asked for. visit may be nil.
func ReadWriteAhead(r io.Reader, visit func(seq uint64, entry []byte) error, at ...uint64) (WriteAhead, error) {
	in, err := wal.NewReader(r)
	if err != nil {
		return WriteAhead{}, fmt.Errorf("failed to read write-ahead file: %w", err)
	}
	out := WriteAhead{Origin: in.Origin(), Bytes: in.Offset(), Roots: map[uint64]tlog.Hash{}}
	tree := &frontier.Tree{}
	note := func() {
		if slices.Contains(at, tree.Size()) {
			out.Roots[tree.Size()] = tree.Root()
		}
	}
	for note(); ; {
		c, err := in.NextCommand()
		if errors.Is(err, io.EOF) {
			out.Tree = Tree{tree.Size(), tree.Root()}
			return out, nil
		}
		if err != nil {
			return out, fmt.Errorf("failed to read write-ahead file: %w", err)
		}
		for i, text := range c.Entries {
			if visit != nil {
				if err := visit(c.First+uint64(i), text); err != nil {
					return out, err
				}
			}
			tree.Append(tlog.RecordHash(text))
			note()
		}
		out.Bytes = in.Offset()
	}
}

// Rebuild makes the tiles and the guard of a log of which the write-ahead file
// alone was restored, and closes it. The directory must hold nothing else, the
// guard directory nothing at all: a log that has a guard is not restored, it goes
// on. Whether the file is the newest there is nobody can tell from it.
func Rebuild(ctx context.Context, cfg Config, machine Machine) error {
	entries, err := os.ReadDir(cfg.Dir)
	if err != nil {
		return fmt.Errorf("failed to rebuild ledger: %w", err)
	}
	if len(entries) != 1 || entries[0].Name() != wal.FileName {
		return errors.New("failed to rebuild ledger: its directory must hold the write-ahead file and nothing else")
	}
	if guard, err := os.ReadDir(cfg.GuardDir); err != nil || len(guard) > 0 {
		return errors.Join(errors.New("failed to rebuild ledger: its guard directory must be empty"), err)
	}
	cfg.rebuild = true
	l, err := Open(ctx, cfg, machine)
	if err != nil {
		return err
	}
	if n := l.Size(); n > 0 {
		_, err = l.WaitPublished(ctx, n-1)
	}
	return errors.Join(err, l.Close())
}

// rebuild is create for a write-ahead file that is there already.
func (l *Log) rebuild(ctx context.Context) error {
	if err := l.guard.begin(); err != nil {
		return err
	}
	var err error
	if l.tiles, err = openTiles(&l.cfg, l.guard); err != nil {
		return err
	}
	if l.file, l.chain, err = wal.Open(l.cfg.Dir, l.cfg.Origin, l.cfg.Fault, 0, l.replay); err != nil {
		return err
	}
	if err := l.takeKeys(); err != nil {
		return err
	}
	l.tiles.told = l.next
	return l.integrateAll(ctx)
}
