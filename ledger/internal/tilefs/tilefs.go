// Package tilefs reads C2SP tlog-tiles from a directory for a reader that may look at an older tree than the
// directory holds by now.
package tilefs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/tlog"
)

// Reader reads tiles. A partial tile may have been removed once a wider one exists, so a wider one is cut to
// size; the hashes are checked by the caller in either case.
type Reader struct{ FS fs.FS }

var _ torchwood.TileReader = Reader{}

// ReadTiles implements torchwood.TileReader.
func (r Reader) ReadTiles(ctx context.Context, tiles []tlog.Tile) ([][]byte, error) {
	out := make([][]byte, len(tiles))
	for i, t := range tiles {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		data, _, err := r.Read(t)
		if err != nil {
			return nil, err
		}
		out[i] = data
	}
	return out, nil
}

// Read returns the first t.W hashes (or entries, level -1) of a tile and the path they were read from.
func (r Reader) Read(t tlog.Tile) (data []byte, from string, err error) {
	exact := torchwood.TilePath(t)
	data, err = fs.ReadFile(r.FS, exact)
	if err == nil {
		return data, exact, nil
	}
	if !errors.Is(err, fs.ErrNotExist) || t.W == torchwood.TileWidth {
		return nil, exact, fmt.Errorf("failed to read tile %s: %w", exact, err)
	}
	wide := t
	wide.W = torchwood.TileWidth
	from = torchwood.TilePath(wide)
	data, wideErr := fs.ReadFile(r.FS, from)
	if errors.Is(wideErr, fs.ErrNotExist) {
		wide.W = r.wider(from+".p", t.W)
		if wide.W == 0 {
			return nil, exact, fmt.Errorf("failed to read tile %s: %w", exact, err)
		}
		from = torchwood.TilePath(wide)
		data, wideErr = fs.ReadFile(r.FS, from)
	}
	if wideErr != nil {
		return nil, from, fmt.Errorf("failed to read tile %s: %w", from, wideErr)
	}
	data, err = cut(data, t)
	if err != nil {
		return nil, from, fmt.Errorf("failed to read tile %s: %w", from, err)
	}
	return data, from, nil
}

// Partials lists the widths of the partial versions of a tile that are in the directory.
func (r Reader) Partials(t tlog.Tile) ([]int, error) {
	t.W = torchwood.TileWidth
	names, err := fs.ReadDir(r.FS, torchwood.TilePath(t)+".p")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("failed to list partial tiles: %w", err)
	}
	var widths []int
	for _, n := range names {
		// Temporary files of a writer that died carry a longer number and are not part of the log.
		if w, err := strconv.Atoi(n.Name()); err == nil && w > 0 && w < torchwood.TileWidth && strconv.Itoa(w) == n.Name() {
			widths = append(widths, w)
		}
	}
	return widths, nil
}

func (r Reader) wider(dir string, w int) int {
	best := 0
	for cand := w + 1; cand < torchwood.TileWidth; cand++ {
		if _, err := fs.Stat(r.FS, path.Join(dir, strconv.Itoa(cand))); err == nil {
			best = cand
			break
		}
	}
	return best
}

func cut(data []byte, t tlog.Tile) ([]byte, error) {
	if t.L >= 0 {
		if len(data) < t.W*tlog.HashSize {
			return nil, fmt.Errorf("%d bytes are too few for %d hashes", len(data), t.W)
		}
		return data[:t.W*tlog.HashSize], nil
	}
	rest := data
	for i := range t.W {
		var err error
		if _, rest, err = torchwood.ReadTileEntry(rest); err != nil {
			return nil, fmt.Errorf("entry %d of the bundle is cut off", i)
		}
	}
	return data[:len(data)-len(rest)], nil
}

// SaveTiles implements torchwood.TileReader; nothing is cached.
func (Reader) SaveTiles([]tlog.Tile, [][]byte) {}

// ReadEndpoint implements torchwood.TileReader.
func (r Reader) ReadEndpoint(_ context.Context, name string) ([]byte, error) {
	return fs.ReadFile(r.FS, name)
}
