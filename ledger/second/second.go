// Package second is a second reader of a ledger directory. It imports nothing of this
// project and nothing of the library that writes the tiles, so that a mistake in
// either cannot hide itself: C2SP tlog-tiles, checkpoints and cosignatures are read
// with filippo.io/torchwood and golang.org/x/mod/sumdb alone.
package second

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Tree is what the second reader found under a checkpoint.
type Tree struct {
	Origin string
	Size   int64
	Root   string // base64
}

// Check opens a signed checkpoint with one of the log's verifier keys (C2SP vkeys) and
// reads every entry of its tree from the tiles in dir, each authenticated from the
// signed root downwards. Which key may sign which tree is for the caller to say.
func Check(ctx context.Context, dir fs.FS, vkeys []string, checkpoint []byte) (Tree, error) {
	cp, err := open(vkeys, checkpoint)
	if err != nil {
		return Tree{}, err
	}
	out := Tree{Origin: cp.Origin, Size: cp.N, Root: cp.Hash.String()}
	if cp.N == 0 {
		empty, err := tlog.TreeHash(0, nil)
		if err != nil || empty != cp.Hash {
			return out, errors.New("the empty log has another root than the checkpoint")
		}
		return out, nil
	}
	client, err := torchwood.NewClient(tiles{dir})
	if err != nil {
		return out, fmt.Errorf("failed to read tiles: %w", err)
	}
	next := int64(0)
	for i := range client.AllEntries(ctx, cp.Tree, 0) {
		if i != next {
			return out, fmt.Errorf("entry %d follows entry %d", i, next-1)
		}
		next++
	}
	if err := errors.Join(client.Err(), ctx.Err()); err != nil {
		return out, fmt.Errorf("failed to read entry %d: %w", next, err)
	}
	if next != cp.N {
		return out, fmt.Errorf("there are %d entries, the checkpoint covers %d", next, cp.N)
	}
	return out, nil
}

// Consistent checks that the tree of the older of two signed checkpoints is the
// beginning of the newer one's, with the tiles in dir as the source of the proof.
// Their order does not matter.
func Consistent(ctx context.Context, dir fs.FS, vkeys []string, one, two []byte) error {
	from, err := open(vkeys, one)
	if err != nil {
		return err
	}
	to, err := open(vkeys, two)
	if err != nil {
		return err
	}
	if from.N > to.N {
		from, to = to, from
	}
	if from.N == to.N || from.N == 0 {
		want := to.Hash
		if from.N == 0 {
			if want, err = tlog.TreeHash(0, nil); err != nil {
				return fmt.Errorf("failed to hash the empty tree: %w", err)
			}
		}
		if from.Hash != want {
			return fmt.Errorf("two roots are signed over %d entries: the log has two histories", from.N)
		}
		return nil
	}
	proof, err := tlog.ProveTree(to.N, from.N, torchwood.TileHashReaderWithContext(ctx, to.Tree, tiles{dir}))
	if err != nil {
		return fmt.Errorf("failed to prove %d entries from %d, the tiles do not hold the larger tree: %w", to.N, from.N, err)
	}
	if err := tlog.CheckTree(proof, to.N, to.Hash, from.N, from.Hash); err != nil {
		return fmt.Errorf("%d entries are not the beginning of %d: the log has two histories: %w", from.N, to.N, err)
	}
	return nil
}

func open(vkeys []string, checkpoint []byte) (torchwood.Checkpoint, error) {
	var verifiers []note.Verifier
	for _, k := range vkeys {
		v, err := note.NewVerifier(k)
		if err != nil {
			return torchwood.Checkpoint{}, fmt.Errorf("failed to read the log's key: %w", err)
		}
		verifiers = append(verifiers, v)
	}
	if len(verifiers) == 0 {
		return torchwood.Checkpoint{}, errors.New("failed to read the log's key: there is none")
	}
	n, err := note.Open(checkpoint, note.VerifierList(verifiers...))
	if err != nil {
		return torchwood.Checkpoint{}, fmt.Errorf("failed to verify the checkpoint: %w", err)
	}
	cp, err := torchwood.ParseCheckpoint(n.Text)
	if err != nil {
		return torchwood.Checkpoint{}, fmt.Errorf("failed to parse the checkpoint: %w", err)
	}
	if cp.Origin != verifiers[0].Name() {
		return torchwood.Checkpoint{}, fmt.Errorf("the checkpoint is of log %q, not of %q", cp.Origin, verifiers[0].Name())
	}
	return cp, nil
}

// tiles reads a directory that may have grown beyond the tree that is asked for:
// narrower tiles are then gone and wider ones are cut.
type tiles struct{ dir fs.FS }

// ReadTiles implements torchwood.TileReader.
func (t tiles) ReadTiles(ctx context.Context, want []tlog.Tile) ([][]byte, error) {
	out := make([][]byte, len(want))
	for i, tile := range want {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		data, err := t.read(tile)
		if err != nil {
			return nil, err
		}
		out[i] = data
	}
	return out, nil
}

func (t tiles) read(tile tlog.Tile) ([]byte, error) {
	exact := torchwood.TilePath(tile)
	data, err := fs.ReadFile(t.dir, exact)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return data, err
	}
	full := tile
	full.W = torchwood.TileWidth
	names := []string{torchwood.TilePath(full)}
	for w := tile.W + 1; w < torchwood.TileWidth; w++ {
		names = append(names, path.Join(torchwood.TilePath(full)+".p", strconv.Itoa(w)))
	}
	for _, name := range names {
		data, rerr := fs.ReadFile(t.dir, name)
		if errors.Is(rerr, fs.ErrNotExist) {
			continue
		}
		if rerr != nil {
			return nil, rerr
		}
		return narrowed(data, tile)
	}
	return nil, err
}

func narrowed(data []byte, tile tlog.Tile) ([]byte, error) {
	if tile.L >= 0 {
		if len(data) < tile.W*tlog.HashSize {
			return nil, errors.New("a tile is cut off")
		}
		return data[:tile.W*tlog.HashSize], nil
	}
	rest := data
	for range tile.W {
		var err error
		if _, rest, err = torchwood.ReadTileEntry(rest); err != nil {
			return nil, errors.New("an entry bundle is cut off")
		}
	}
	return data[:len(data)-len(rest)], nil
}

// SaveTiles implements torchwood.TileReader; nothing is kept.
func (tiles) SaveTiles([]tlog.Tile, [][]byte) {}

// ReadEndpoint implements torchwood.TileReader.
func (t tiles) ReadEndpoint(_ context.Context, name string) ([]byte, error) {
	return fs.ReadFile(t.dir, name)
}
