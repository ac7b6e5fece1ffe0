package verify

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/sandgate/sandgate/ledger/evidence"
	"github.com/sandgate/sandgate/ledger/internal/tilefs"
)

// BrokenReceipt is a receipt that the log does not keep.
type BrokenReceipt struct {
	Receipt evidence.Receipt
	// Signed says that the log's key signed it: then the log promised what it does not hold, and receipt and log
	// together prove it. Otherwise the receipt is worthless.
	Signed bool
	What   string
}

// Error implements error.
func (b *BrokenReceipt) Error() string {
	return fmt.Sprintf("receipt for entry %d is broken: %s", b.Receipt.Seq, b.What)
}

// Receipts checks receipts against the log in dir: signature, origin, and that the entry with that leaf hash stands
// at that position, in the signed tree or, beyond it, in the write-ahead file. It returns those that are broken.
// Call Dir first: Receipts authenticates only the tiles it needs.
func Receipts(ctx context.Context, dir string, verifier note.Verifier, key ed25519.PublicKey, receipts []evidence.Receipt) ([]*BrokenReceipt, error) {
	return ReceiptsBy(ctx, dir, verifier, []evidence.ReceiptTerm{{Key: key, Until: math.MaxUint64}}, receipts)
}

// ReceiptsBy is Receipts for a log whose receipt key was replaced.
func ReceiptsBy(ctx context.Context, dir string, verifier note.Verifier, keys []evidence.ReceiptTerm, receipts []evidence.Receipt) ([]*BrokenReceipt, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("failed to open log directory: %w", err)
	}
	defer root.Close()
	_, cp, err := openCheckpoint(root.FS(), verifier)
	if err != nil {
		return nil, err
	}
	var broken []*BrokenReceipt
	var inTree []evidence.Receipt
	beyond := make(map[uint64][]evidence.Receipt)
	for _, r := range receipts {
		switch err := r.VerifyBy(keys); {
		case errors.Is(err, evidence.ErrRetiredReceiptKey):
			broken = append(broken, &BrokenReceipt{r, false, "its key was retired before this entry"})
		case err != nil:
			broken = append(broken, &BrokenReceipt{r, false, "the receipt key did not sign it"})
		case r.Origin != cp.Origin:
			broken = append(broken, &BrokenReceipt{r, true, fmt.Sprintf("it is of log %q, not of %q", r.Origin, cp.Origin)})
		case r.Seq < uint64(cp.N):
			inTree = append(inTree, r)
		default:
			beyond[r.Seq] = append(beyond[r.Seq], r)
		}
	}
	kept, err := checkTree(ctx, tilefs.Reader{FS: root.FS()}, cp.Tree, inTree)
	if err != nil {
		return nil, err
	}
	broken = append(broken, kept...)
	if len(beyond) == 0 {
		return broken, nil
	}
	tail, closeTail, err := openWAL(root, cp.Origin)
	if err != nil {
		return nil, err
	}
	defer closeTail()
	if broken, err = checkTail(ctx, tail, beyond, broken); err != nil {
		return nil, err
	}
	for _, rs := range beyond {
		for _, r := range rs {
			broken = append(broken, &BrokenReceipt{r, true, fmt.Sprintf("the log does not have this entry, its checkpoint covers %d", cp.N)})
		}
	}
	return broken, nil
}

const differs = "another entry stands at this position"

// checkTree looks leaf hashes up in level-0 tiles, tile by tile, authenticated against the signed root.
func checkTree(ctx context.Context, tiles tilefs.Reader, tree tlog.Tree, receipts []evidence.Receipt) ([]*BrokenReceipt, error) {
	var broken []*BrokenReceipt
	reader := torchwood.TileHashReaderWithContext(ctx, tree, tiles)
	for len(receipts) > 0 {
		part := receipts[:min(len(receipts), 4096)]
		receipts = receipts[len(part):]
		indexes := make([]int64, len(part))
		for i, r := range part {
			indexes[i] = tlog.StoredHashIndex(0, int64(r.Seq))
		}
		hashes, err := reader.ReadHashes(indexes)
		if err != nil {
			return nil, fmt.Errorf("failed to look up receipts in the tiles: %w", err)
		}
		for i, r := range part {
			if hashes[i] != r.LeafHash {
				broken = append(broken, &BrokenReceipt{r, true, differs})
			}
		}
	}
	return broken, nil
}

// checkTail looks receipts up in the write-ahead file and removes those it has found an entry for.
func checkTail(ctx context.Context, tail *walStream, beyond map[uint64][]evidence.Receipt, broken []*BrokenReceipt) ([]*BrokenReceipt, error) {
	for tail != nil && len(beyond) > 0 {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		seq, entry, err := tail.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		for _, r := range beyond[seq] {
			if tlog.RecordHash(entry) != r.LeafHash {
				broken = append(broken, &BrokenReceipt{r, true, differs})
			}
		}
		delete(beyond, seq)
	}
	return broken, nil
}
