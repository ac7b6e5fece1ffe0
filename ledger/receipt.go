package ledger

import (
	"crypto/ed25519"
	"sync"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/sandgate/sandgate/ledger/evidence"
)

// receipts signs with the key in force. A new key comes into force when the entry that says so is durable: of a
// change that never reached the disk nobody holds a signature.
type receipts struct {
	mu   sync.Mutex
	key  ed25519.PrivateKey
	next ed25519.PrivateKey
	from uint64 // entry that puts next in force
}

func (r *receipts) follow(from uint64, key ed25519.PrivateKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.next, r.from = key, from
}

// at is the key when size entries are durable.
func (r *receipts) at(size uint64) ed25519.PrivateKey {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next != nil && size > r.from {
		r.key, r.next = r.next, nil
	}
	return r.key
}

func (l *Log) receipt(seq uint64, leaf tlog.Hash) Receipt {
	return evidence.SignReceipt(l.receipts.at(l.file.Size()), l.cfg.Origin, seq, leaf)
}

// batch is what one fsync makes durable, and one signature promises. It is filled under pendingMu until the
// committer takes it.
type batch struct {
	first   uint64 // number of its first entry
	records []byte
	lengths []int
	done    chan struct{} // closed when durable or failed
	err     error         // readable once done is closed

	leaves sync.WaitGroup // entries of which the leaf hash is not known yet
	mu     sync.Mutex     // guards hashes
	hashes map[uint64][]tlog.Hash
	once   sync.Once
	signed *evidence.Signed // nil until somebody asked
	failed error
}

// hash computes the leaf hashes of a command's entries, which stand at first and after it. Every command of a batch
// does so before it waits.
func (b *batch) hash(first uint64, entries [][]byte) {
	hashes := make([]tlog.Hash, len(entries))
	for i, entry := range entries {
		hashes[i] = tlog.RecordHash(entry)
	}
	b.mu.Lock()
	if b.hashes == nil {
		b.hashes = make(map[uint64][]tlog.Hash)
	}
	b.hashes[first] = hashes
	b.mu.Unlock()
	b.leaves.Add(-len(entries))
}

// sign signs the durable batch. Whoever asks first does it, so that the committer is free for the next one.
func (b *batch) sign(key ed25519.PrivateKey, origin string) (*evidence.Signed, error) {
	b.once.Do(func() {
		b.leaves.Wait()
		var leaves []tlog.Hash
		for next := b.first; ; next = b.first + uint64(len(leaves)) {
			hashes, ok := b.hashes[next]
			if !ok {
				break
			}
			leaves = append(leaves, hashes...)
		}
		b.hashes = nil
		b.signed, b.failed = evidence.SignBatch(key, origin, b.first, leaves)
	})
	return b.signed, b.failed
}

// receiptsOf are the receipts of n entries of a durable batch.
func (l *Log) receiptsOf(b *batch, first uint64, n int) ([]Receipt, error) {
	signed, err := b.sign(l.receipts.at(l.file.Size()), l.cfg.Origin)
	if err != nil {
		return nil, err
	}
	receipts := make([]Receipt, n)
	for i := range receipts {
		if receipts[i], err = signed.Receipt(int(first-b.first) + i); err != nil {
			return nil, err
		}
	}
	return receipts, nil
}
