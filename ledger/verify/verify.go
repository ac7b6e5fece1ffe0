// Package verify checks a copied log directory offline. It shares no code with the part of the ledger that writes
// tiles: it reads the public formats (C2SP tlog-tiles, tlog-checkpoint, signed-note) with other libraries, and the
// write-ahead file with the reader of its documented format.
//
// To copy a log that is in use, use Copy, or copy the checkpoint first, then the tiles, then the write-ahead file:
// later parts then hold at least what the earlier ones speak of.
package verify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/sandgate/sandgate/ledger/evidence"
	"github.com/sandgate/sandgate/ledger/internal/tilefs"
	"github.com/sandgate/sandgate/ledger/wal"
)

// checkpointFile is the name C2SP tlog-tiles gives to the newest checkpoint.
const checkpointFile = "checkpoint"

// progressStep is the number of entries between two progress reports.
const progressStep = 1024

// Result describes a log directory that was found whole.
type Result struct {
	Origin      string
	Size        uint64    // entries covered by the checkpoint
	Root        tlog.Hash // tree head over them
	Checkpoint  []byte    // signed note
	HasWAL      bool      // a write-ahead file was there and agrees with the tiles
	Unpublished uint64    // entries in the write-ahead file beyond the checkpoint
	TornBytes   int64     // cut-off tail of the write-ahead file: never acknowledged to anybody
}

// Damage names a file of the log that is not what was written.
type Damage struct {
	Path string // relative to the log directory
	Seq  uint64 // first entry concerned
	What string // what does not fit
}

// Error implements error. It never contains entry bytes.
func (d *Damage) Error() string {
	return fmt.Sprintf("%s is damaged or was tampered with (entry %d): %s", d.Path, d.Seq, d.What)
}

// Dir checks the log in dir, which nobody writes to meanwhile: the checkpoint's signature and origin, every entry's
// leaf hash, every tile on every level including left-over partial ones, the root, that there is no gap, and that
// the write-ahead file, if there is one, has an unbroken hash chain and the same entries.
//
// Then visit, if not nil, is called for every entry in order, each authenticated against the signed root before;
// last for the entries of the write-ahead file that no checkpoint covers yet, which only the hash chain vouches for
// (seq ≥ the checkpoint's size). entry is valid during the call only. An error of visit is returned as it is.
//
// progress, if not nil, is told from time to time how much of the work is done; total counts an entry once, or
// twice if there is a visit.
//
// The error names the first things found to be wrong, as *Damage or *wal.CorruptError.
func Dir(ctx context.Context, dir string, verifier note.Verifier, visit func(seq uint64, entry []byte) error, progress func(done, total uint64)) (Result, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return Result{}, fmt.Errorf("failed to open log directory: %w", err)
	}
	defer root.Close()
	raw, cp, err := openCheckpoint(root.FS(), verifier)
	if err != nil {
		return Result{}, err
	}
	res := Result{Origin: cp.Origin, Size: uint64(cp.N), Root: cp.Hash, Checkpoint: raw}
	tail, closeTail, err := openWAL(root, cp.Origin)
	if err != nil {
		return Result{}, err
	}
	defer closeTail()
	res.HasWAL = tail != nil

	report := reporter(progress, res.Size, visit != nil)
	check := hashCheck{ctx: ctx, tiles: tilefs.Reader{FS: root.FS()}, cp: cp, wal: tail, report: report}
	if err := check.run(); err != nil {
		return Result{}, err
	}
	if visit != nil {
		if err := visitTiles(ctx, root.FS(), cp.Tree, visit, report); err != nil {
			return Result{}, err
		}
	}
	if tail != nil {
		if err := res.visitTail(ctx, tail, visit); err != nil {
			return Result{}, err
		}
	}
	return res, nil
}

func openCheckpoint(dir fs.FS, verifier note.Verifier) ([]byte, torchwood.Checkpoint, error) {
	raw, err := fs.ReadFile(dir, checkpointFile)
	if err != nil {
		return nil, torchwood.Checkpoint{}, fmt.Errorf("failed to read checkpoint: %w", err)
	}
	cp, err := evidence.OpenCheckpoint(raw, verifier)
	if err != nil {
		return nil, torchwood.Checkpoint{}, fmt.Errorf("%w: %w", &Damage{Path: checkpointFile, What: "it is not what this log's key signed"}, err)
	}
	return raw, cp, nil
}

// walStream hands out the records of whole commands one by one. Its hash chain is
// checked ahead, on another core than the tree.
type walStream struct {
	r    *wal.Reader
	runs <-chan walRun
	run  walRun
	cmd  wal.Command
	used int
}

// walRun is some commands in order, and the error that follows them.
type walRun struct {
	commands []wal.Command
	err      error
}

// walAhead is how many runs of so many commands are read ahead.
const walAhead, walRunLength = 4, 256

// readAhead ends with the file, its first error, or done.
func readAhead(r *wal.Reader, done <-chan struct{}) <-chan walRun {
	out := make(chan walRun, walAhead)
	go func() {
		defer close(out)
		for {
			var run walRun
			entries := 0
			for entries < walRunLength && run.err == nil {
				var c wal.Command
				if c, run.err = r.NextCommand(); run.err == nil {
					run.commands = append(run.commands, c)
					entries += len(c.Entries)
				}
			}
			select {
			case out <- run:
			case <-done:
				return
			}
			if run.err != nil {
				return
			}
		}
	}()
	return out
}

func openWAL(root *os.Root, origin string) (*walStream, func(), error) {
	f, err := root.Open(wal.FileName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, func() {}, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("failed to open write-ahead file: %w", err)
	}
	quit := func() { f.Close() } // opened for reading: nothing can be lost
	r, err := wal.NewReader(f)
	if err == nil && r.Origin() != origin {
		err = fmt.Errorf("it belongs to log %q, the checkpoint to %q", r.Origin(), origin)
	}
	if err != nil {
		quit()
		return nil, nil, &Damage{Path: wal.FileName, What: err.Error()}
	}
	done := make(chan struct{})
	runs := readAhead(r, done)
	return &walStream{r: r, runs: runs}, func() {
		close(done)
		for range runs { // until the reader has ended
		}
		quit()
	}, nil
}

func (s *walStream) next() (seq uint64, entry []byte, err error) {
	for s.used == len(s.cmd.Entries) {
		for len(s.run.commands) == 0 {
			if s.run.err != nil {
				return 0, nil, s.run.err
			}
			s.run = <-s.runs
		}
		s.cmd, s.run.commands, s.used = s.run.commands[0], s.run.commands[1:], 0
	}
	s.used++
	return s.cmd.First + uint64(s.used) - 1, s.cmd.Entries[s.used-1], nil
}

// visitTiles is a second way through the log, by another library, that authenticates every entry from the signed
// root downwards before it is shown.
func visitTiles(ctx context.Context, dir fs.FS, tree tlog.Tree, visit func(uint64, []byte) error, report func()) error {
	client, err := torchwood.NewClient(tilefs.Reader{FS: dir})
	if err != nil {
		return fmt.Errorf("failed to read tiles: %w", err)
	}
	next := int64(0)
	for i, entry := range client.AllEntries(ctx, tree, 0) {
		if i != next {
			return &Damage{Path: "tile/entries", Seq: uint64(next), What: fmt.Sprintf("entry %d follows", i)}
		}
		next++
		if err := visit(uint64(i), entry); err != nil {
			return err
		}
		report()
	}
	if err := errors.Join(client.Err(), ctx.Err()); err != nil {
		return fmt.Errorf("failed to read entry %d: %w", next, err)
	}
	if next != tree.N {
		return &Damage{Path: "tile/entries", Seq: uint64(next), What: fmt.Sprintf("the entries end, the checkpoint covers %d", tree.N)}
	}
	return nil
}

func (res *Result) visitTail(ctx context.Context, tail *walStream, visit func(uint64, []byte) error) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		seq, entry, err := tail.next()
		if errors.Is(err, io.EOF) {
			res.TornBytes = tail.r.TornBytes()
			return nil
		}
		if err != nil {
			return err
		}
		res.Unpublished++
		if visit == nil {
			continue
		}
		if err := visit(seq, entry); err != nil {
			return err
		}
	}
}

func reporter(progress func(done, total uint64), size uint64, twice bool) func() {
	if progress == nil {
		return func() {}
	}
	total, done := size, uint64(0)
	if twice {
		total = 2 * size
	}
	return func() {
		if done++; done%progressStep == 0 || done == total {
			progress(done, total)
		}
	}
}

// Consistency checks that the tree of the older checkpoint is a prefix of that of the newer one, with the tiles in
// dir as the source of the proof: no entry was changed, removed or put in between. Both checkpoints must be signed
// by the log, and dir must hold at least the newer tree.
func Consistency(ctx context.Context, dir string, verifier note.Verifier, older, newer []byte) error {
	from, err := evidence.OpenCheckpoint(older, verifier)
	if err != nil {
		return fmt.Errorf("older checkpoint: %w", err)
	}
	to, err := evidence.OpenCheckpoint(newer, verifier)
	if err != nil {
		return fmt.Errorf("newer checkpoint: %w", err)
	}
	if from.N > to.N {
		return fmt.Errorf("the older checkpoint covers %d entries, the newer one only %d: swapped, or the log was rolled back", from.N, to.N)
	}
	if from.N == to.N || from.N == 0 {
		want := to.Hash
		if from.N == 0 {
			want, _ = tlog.TreeHash(0, nil)
		}
		if from.Hash != want {
			return fmt.Errorf("two signed checkpoints over %d entries have different roots: the log has two histories", from.N)
		}
		return nil
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("failed to open log directory: %w", err)
	}
	defer root.Close()
	hashes := torchwood.TileHashReaderWithContext(ctx, to.Tree, tilefs.Reader{FS: root.FS()})
	proof, err := tlog.ProveTree(to.N, from.N, hashes)
	if err != nil {
		return fmt.Errorf("failed to prove checkpoint %d from checkpoint %d, the tiles do not hold the newer tree: %w", to.N, from.N, err)
	}
	if err := tlog.CheckTree(proof, to.N, to.Hash, from.N, from.Hash); err != nil {
		return fmt.Errorf("the checkpoint over %d entries is not a prefix of the one over %d: the log has two histories: %w", from.N, to.N, err)
	}
	return nil
}
