package evidence

import (
	"crypto/ed25519"
	"fmt"
	"strconv"

	"golang.org/x/mod/sumdb/tlog"
)

// maxBatch bounds the entries under one signature.
const maxBatch = 1 << 32

// Batch is where an entry stands among those that one write made durable, all under one
// signature: a path in the RFC 6962 tree over their leaf hashes.
type Batch struct {
	First uint64           `json:"first"` // position of the batch's first entry in the log
	Size  uint64           `json:"size"`  // entries of the batch, at least 2
	Root  tlog.Hash        `json:"root"`  // of the tree over the batch
	Path  tlog.RecordProof `json:"path"`  // from the entry to Root
}

// inBatch says whether the path of a receipt leads from its entry to the root that is signed.
func (r Receipt) inBatch() bool {
	b := r.Batch
	if b == nil {
		return true
	}
	if b.Size < 2 || b.Size > maxBatch || r.Seq < b.First || r.Seq-b.First >= b.Size {
		return false
	}
	return tlog.CheckRecord(b.Path, int64(b.Size), b.Root, int64(r.Seq-b.First), r.LeafHash) == nil
}

func batchText(origin string, first, size uint64, root tlog.Hash) []byte {
	b := append([]byte("sandgate-receipt/v2\n"), origin...)
	b = append(b, '\n')
	b = strconv.AppendUint(b, first, 10)
	b = append(b, '\n')
	b = strconv.AppendUint(b, size, 10)
	b = append(b, '\n')
	b = append(b, root.String()...)
	return append(b, '\n')
}

// Signed is a batch of leaves under one signature. Its methods may be called concurrently.
type Signed struct {
	origin string
	first  uint64
	leaves []tlog.Hash
	// stored are the hashes of the tree's complete subtrees.
	stored tlog.HashReaderFunc
	root   tlog.Hash
	sig    []byte
}

// SignBatch signs the leaves at first and after it, at least one, in one signature. A
// batch of one is signed as SignReceipt does it. The key must be a whole Ed25519 private
// key.
func SignBatch(key ed25519.PrivateKey, origin string, first uint64, leaves []tlog.Hash) (*Signed, error) {
	s := &Signed{origin: origin, first: first, leaves: leaves}
	if len(leaves) == 1 {
		s.sig = SignReceipt(key, origin, first, leaves[0]).Signature
		return s, nil
	}
	stored := make([]tlog.Hash, 0, tlog.StoredHashCount(int64(len(leaves))))
	s.stored = func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, at := range indexes {
			if at < 0 || at >= int64(len(stored)) {
				return nil, fmt.Errorf("hash %d of a batch is not there", at)
			}
			out[i] = stored[at]
		}
		return out, nil
	}
	for i, leaf := range leaves {
		hashes, err := tlog.StoredHashesForRecordHash(int64(i), leaf, s.stored)
		if err != nil {
			return nil, fmt.Errorf("failed to sign batch: %w", err)
		}
		stored = append(stored, hashes...)
	}
	var err error
	if s.root, err = tlog.TreeHash(int64(len(leaves)), s.stored); err != nil {
		return nil, fmt.Errorf("failed to sign batch: %w", err)
	}
	s.sig = ed25519.Sign(key, batchText(origin, first, uint64(len(leaves)), s.root))
	return s, nil
}

// Receipt is the receipt of leaf i of the batch, from 0.
func (s *Signed) Receipt(i int) (Receipt, error) {
	r := Receipt{Origin: s.origin, Seq: s.first + uint64(i), LeafHash: s.leaves[i], Signature: s.sig}
	if len(s.leaves) == 1 {
		return r, nil
	}
	path, err := tlog.ProveRecord(int64(len(s.leaves)), int64(i), s.stored)
	if err != nil {
		return Receipt{}, fmt.Errorf("failed to make receipt: %w", err)
	}
	r.Batch = &Batch{First: s.first, Size: uint64(len(s.leaves)), Root: s.root, Path: path}
	return r, nil
}
