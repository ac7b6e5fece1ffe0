package verify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/sandgate/sandgate/ledger/evidence"
	"github.com/sandgate/sandgate/ledger/internal/tilefs"
	"github.com/sandgate/sandgate/ledger/wal"
)

// Copy copies the log in from, which may be in use, into the new directory to: the newest checkpoint, exactly the
// tiles and entry bundles it needs, and then the write-ahead file, so that the copy is whole for Dir. It returns
// the number of entries the checkpoint covers. The copy is not checked.
func Copy(ctx context.Context, from, to string, verifier note.Verifier) (uint64, error) {
	root, err := os.OpenRoot(from)
	if err != nil {
		return 0, fmt.Errorf("failed to open log directory: %w", err)
	}
	defer root.Close()
	// Read first, so that the newest checkpoint covers it.
	witnessed, err := fs.ReadFile(root.FS(), evidence.WitnessedFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("failed to read witnessed checkpoint: %w", err)
	}
	raw, cp, err := openCheckpoint(root.FS(), verifier)
	if err != nil {
		return 0, err
	}
	if err := os.Mkdir(to, 0o755); err != nil {
		return 0, fmt.Errorf("failed to make directory of the copy: %w", err)
	}
	tiles := tilefs.Reader{FS: root.FS()}
	for level := -1; ; level++ {
		// A tile of level l has one hash for every 256^l entries; bundles (level -1) count like level 0.
		hashes := cp.N >> (torchwood.TileHeight * max(level, 0))
		if hashes == 0 {
			break
		}
		for first := int64(0); first < hashes; first += torchwood.TileWidth {
			t := tlog.Tile{H: torchwood.TileHeight, L: level, N: first / torchwood.TileWidth, W: int(min(torchwood.TileWidth, hashes-first))}
			if err := errors.Join(ctx.Err(), copyTile(tiles, t, to)); err != nil {
				return 0, err
			}
		}
	}
	if err := os.WriteFile(filepath.Join(to, checkpointFile), raw, 0o644); err != nil {
		return 0, fmt.Errorf("failed to write checkpoint of the copy: %w", err)
	}
	if witnessed != nil {
		if err := os.WriteFile(filepath.Join(to, evidence.WitnessedFile), witnessed, 0o644); err != nil {
			return 0, fmt.Errorf("failed to write witnessed checkpoint of the copy: %w", err)
		}
	}
	return uint64(cp.N), copyWAL(root, to)
}

func copyTile(tiles tilefs.Reader, t tlog.Tile, to string) error {
	data, _, err := tiles.Read(t)
	if err != nil {
		return err
	}
	path := filepath.Join(to, filepath.FromSlash(torchwood.TilePath(t)))
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, data, 0o644)); err != nil {
		return fmt.Errorf("failed to write tile of the copy: %w", err)
	}
	return nil
}

func copyWAL(root *os.Root, to string) (err error) {
	src, err := root.Open(wal.FileName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("failed to open write-ahead file: %w", err)
	}
	defer src.Close()
	dst, err := os.Create(filepath.Join(to, wal.FileName))
	if err != nil {
		return fmt.Errorf("failed to make write-ahead file of the copy: %w", err)
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	if _, err := io.Copy(dst, src); err != nil {
		return fmt.Errorf("failed to copy write-ahead file: %w", err)
	}
	return nil
}
