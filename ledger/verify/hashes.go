package verify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/sandgate/sandgate/ledger/internal/frontier"
	"github.com/sandgate/sandgate/ledger/internal/tilefs"
	"github.com/sandgate/sandgate/ledger/wal"
)

// maxNamed bounds how many damaged files one error names.
const maxNamed = 8

// hashCheck recomputes the whole tree from the entries upwards and compares it with every stored tile.
type hashCheck struct {
	ctx    context.Context
	tiles  tilefs.Reader
	cp     torchwood.Checkpoint
	wal    *walStream // nil if there is none
	report func()
	hand   func(first uint64, entries [][]byte) error // nil, or told of every bundle

	computed frontier.Tree // from the entries
	stored   frontier.Tree // from the level-0 tiles
	levels   []level       // tile under construction on each level

	badEntries []error // entries that differ from the level-0 tile
	badTiles   []error // tiles that differ from their entries, level 0 included
	badWAL     []error // write-ahead records that differ from the entries
}

type level struct {
	index  int64 // of the tile
	hashes []byte
}

func (c *hashCheck) run() error {
	for first := int64(0); first < c.cp.N; first += torchwood.TileWidth {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		width := int(min(torchwood.TileWidth, c.cp.N-first))
		if err := c.bundle(first, width); err != nil {
			return err
		}
	}
	for l := range c.levels {
		if len(c.levels[l].hashes) > 0 {
			c.compareTile(l)
		}
	}
	return c.verdict()
}

// bundle checks one entry bundle and the level-0 tile over it.
func (c *hashCheck) bundle(first int64, width int) error {
	t := tlog.Tile{H: torchwood.TileHeight, L: -1, N: first / torchwood.TileWidth, W: width}
	data, path, err := c.tiles.Read(t)
	if err != nil {
		return &Damage{Path: path, Seq: uint64(first), What: err.Error()}
	}
	hashTile := t
	hashTile.L = 0
	stored, storedPath, err := c.tiles.Read(hashTile)
	if err != nil {
		return &Damage{Path: storedPath, Seq: uint64(first), What: err.Error()}
	}
	if len(stored) != width*tlog.HashSize {
		return &Damage{Path: storedPath, Seq: uint64(first), What: fmt.Sprintf("it has %d bytes, want %d", len(stored), width*tlog.HashSize)}
	}
	rest := data
	var entries [][]byte
	for i := range width {
		seq := uint64(first) + uint64(i)
		entry, after, err := torchwood.ReadTileEntry(rest)
		if err != nil {
			c.badEntries = append(c.badEntries, &Damage{Path: path, Seq: seq, What: "the bundle ends within this entry"})
			return c.verdict()
		}
		rest = after
		if c.hand != nil {
			entries = append(entries, entry)
		}
		leaf, was := tlog.RecordHash(entry), tlog.Hash(stored[i*tlog.HashSize:(i+1)*tlog.HashSize])
		c.computed.Append(leaf)
		c.stored.Append(was)
		if leaf != was && len(c.badEntries) < maxNamed {
			c.badEntries = append(c.badEntries, &Damage{Path: path, Seq: seq, What: "the entry does not have the leaf hash in " + storedPath})
		}
		if err := c.compareWAL(seq, entry); err != nil {
			return err
		}
		c.push(0, leaf)
		c.report()
	}
	if len(rest) != 0 {
		c.badEntries = append(c.badEntries, &Damage{Path: path, Seq: uint64(first) + uint64(width) - 1, What: fmt.Sprintf("%d bytes follow the last entry", len(rest))})
	}
	if err := c.partials(t, data); err != nil {
		c.badTile(err)
	}
	if c.hand != nil {
		return c.hand(uint64(first), entries)
	}
	return nil
}

// push adds a hash to the tile under construction on a level and finishes the tile when it is full.
func (c *hashCheck) push(l int, h tlog.Hash) {
	if l == len(c.levels) {
		c.levels = append(c.levels, level{})
	}
	c.levels[l].hashes = append(c.levels[l].hashes, h[:]...)
	if len(c.levels[l].hashes) < torchwood.TileWidth*tlog.HashSize {
		return
	}
	c.compareTile(l)
	var sub frontier.Tree
	for b := c.levels[l].hashes; len(b) > 0; b = b[tlog.HashSize:] {
		sub.Append(tlog.Hash(b[:tlog.HashSize]))
	}
	c.levels[l] = level{index: c.levels[l].index + 1, hashes: c.levels[l].hashes[:0]}
	c.push(l+1, sub.Root())
}

// compareTile compares the tile under construction with the stored one and its left-over partial versions.
func (c *hashCheck) compareTile(l int) {
	lv := c.levels[l]
	t := tlog.Tile{H: torchwood.TileHeight, L: l, N: lv.index, W: len(lv.hashes) / tlog.HashSize}
	first := uint64(lv.index) << (torchwood.TileHeight * (l + 1))
	stored, path, err := c.tiles.Read(t)
	if err != nil {
		c.badTile(&Damage{Path: path, Seq: first, What: err.Error()})
		return
	}
	for i := 0; i < len(lv.hashes); i += tlog.HashSize {
		if len(stored) < i+tlog.HashSize || !bytes.Equal(stored[i:i+tlog.HashSize], lv.hashes[i:i+tlog.HashSize]) {
			n := uint64(i / tlog.HashSize)
			c.badTile(&Damage{Path: path, Seq: first + n<<(torchwood.TileHeight*l), What: fmt.Sprintf("hash %d differs from that of the entries below it", n)})
			return
		}
	}
	if len(stored) != len(lv.hashes) {
		c.badTile(&Damage{Path: path, Seq: first, What: fmt.Sprintf("it has %d bytes, want %d", len(stored), len(lv.hashes))})
		return
	}
	if err := c.partials(t, lv.hashes); err != nil {
		c.badTile(err)
	}
}

func (c *hashCheck) badTile(err error) {
	if len(c.badTiles) < maxNamed {
		c.badTiles = append(c.badTiles, err)
	}
}

// partials checks the left-over narrower versions of a tile or bundle, which must be beginnings of it. Wider ones
// are of a tree that is not published yet.
func (c *hashCheck) partials(t tlog.Tile, data []byte) error {
	widths, err := c.tiles.Partials(t)
	if err != nil {
		return err
	}
	for _, w := range widths {
		if w >= t.W {
			continue
		}
		part := t
		part.W = w
		got, path, err := c.tiles.Read(part)
		if err != nil {
			return &Damage{Path: path, Seq: c.firstOf(t), What: err.Error()}
		}
		if !isBeginning(got, data, part) {
			return &Damage{Path: path, Seq: c.firstOf(t), What: fmt.Sprintf("it is not the beginning of the tile of width %d", t.W)}
		}
	}
	return nil
}

func (c *hashCheck) firstOf(t tlog.Tile) uint64 {
	return uint64(t.N) << (torchwood.TileHeight * (max(t.L, 0) + 1))
}

func isBeginning(part, whole []byte, t tlog.Tile) bool {
	if !bytes.HasPrefix(whole, part) {
		return false
	}
	if t.L >= 0 {
		return len(part) == t.W*tlog.HashSize
	}
	for range t.W {
		var err error
		if _, part, err = torchwood.ReadTileEntry(part); err != nil {
			return false
		}
	}
	return len(part) == 0
}

// compareWAL reads the write-ahead file in step with the entries.
func (c *hashCheck) compareWAL(seq uint64, entry []byte) error {
	if c.wal == nil {
		return nil
	}
	_, got, err := c.wal.next()
	if errors.Is(err, io.EOF) {
		return &Damage{Path: wal.FileName, Seq: seq, What: fmt.Sprintf("it ends here, but the checkpoint covers %d entries", c.cp.N)}
	}
	if err != nil {
		return err
	}
	if !bytes.Equal(got, entry) && len(c.badWAL) < maxNamed {
		c.badWAL = append(c.badWAL, &Damage{Path: wal.FileName, Seq: seq, What: "its entry differs from the one in the tiles"})
	}
	return nil
}

// verdict says which side of a difference is at fault: the side that does not lead to the signed root.
func (c *hashCheck) verdict() error {
	sound := int64(c.computed.Size()) == c.cp.N && c.computed.Root() == c.cp.Hash
	switch {
	case sound:
		return errors.Join(append(c.badTiles, append(c.badEntries, c.badWAL...)...)...)
	case len(c.badEntries) > 0 && int64(c.stored.Size()) == c.cp.N && c.stored.Root() == c.cp.Hash:
		return errors.Join(c.badEntries...)
	case len(c.badEntries)+len(c.badTiles) > 0:
		return errors.Join(append(c.badEntries, c.badTiles...)...)
	case len(c.badWAL) > 0:
		return errors.Join(c.badWAL...)
	}
	return &Damage{Path: checkpointFile, What: "entries and tiles agree with each other but not with the signed root: the history was rewritten, or the checkpoint is of another copy"}
}
