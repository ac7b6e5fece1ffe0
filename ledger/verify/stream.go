package verify

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/mod/sumdb/note"

	"github.com/sandgate/sandgate/ledger/internal/tilefs"
)

// Stream is Dir in one pass, for whoever can throw away what he made of the entries:
// hand is told of them, in order and in runs of up to 256, before anything above them
// was checked. authentic says that all of the tree stands under the signed root; when
// it is false the error says why, and whatever was handed out is worth nothing.
//
// hand may keep the entries, which nobody changes. Its error ends the check and is
// returned as it is. progress is as for Dir; total counts every entry once.
func Stream(ctx context.Context, dir string, verifier note.Verifier, hand func(first uint64, entries [][]byte) error, progress func(done, total uint64)) (res Result, authentic bool, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return Result{}, false, fmt.Errorf("failed to open log directory: %w", err)
	}
	defer root.Close()
	raw, cp, err := openCheckpoint(root.FS(), verifier)
	if err != nil {
		return Result{}, false, err
	}
	res = Result{Origin: cp.Origin, Size: uint64(cp.N), Root: cp.Hash, Checkpoint: raw}
	tail, closeTail, err := openWAL(root, cp.Origin)
	if err != nil {
		return Result{}, false, err
	}
	defer closeTail()
	res.HasWAL = tail != nil
	check := hashCheck{ctx: ctx, tiles: tilefs.Reader{FS: root.FS()}, cp: cp, wal: tail, report: reporter(progress, res.Size, false), hand: hand}
	if err := check.run(); err != nil {
		return Result{}, false, err
	}
	if tail == nil {
		return res, true, nil
	}
	visit := func(seq uint64, entry []byte) error { return hand(seq, [][]byte{entry}) }
	if err := res.visitTail(ctx, tail, visit); err != nil {
		return Result{}, true, err
	}
	return res, true, nil
}
