package ledger

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/note"
)

// Keys are what a log signs with.
type Keys struct {
	// Signer signs checkpoints of SignsFrom entries and more. Smaller trees, which the key before signed, are not
	// signed again; the empty tree, which commits to nothing, any key signs.
	Signer    note.Signer
	SignsFrom uint64
	// ReceiptKey signs receipts.
	ReceiptKey ed25519.PrivateKey
}

// errOtherKey is no failure: the checkpoint is asked for again, under the key that signs a tree of its size.
var errOtherKey = errors.New("another key signs a tree of this size")

// term is the time in force of a checkpoint key: trees of from entries and more.
type term struct {
	from uint64
	note.Signer
}

// KeyHash implements note.Signer. A signed note takes the name of its key before it asks for the signature, and
// only then is the size known; so Sign refuses once when the two do not fit, and offers the right key from then on.
// Tessera publishes from one goroutine and tries again at the next interval.
func (g *guard) KeyHash() uint32 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.offered.KeyHash()
}

// use replaces the keys by what the replayed log says is in force.
func (g *guard) use(k Keys) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.terms, g.offered = []term{{k.SignsFrom, k.Signer}}, k.Signer
}

// follow puts a key in force for trees of from entries and more.
func (g *guard) follow(from uint64, s note.Signer) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.terms = append(g.terms, term{from, s})
	g.offered = s
}

// signerOf is the key that signs a tree of n entries. The caller holds mu. Sizes never go back, so the keys before
// it are forgotten.
func (g *guard) signerOf(n uint64) (note.Signer, error) {
	for i := len(g.terms) - 1; i >= 0; i-- {
		if n == 0 || n >= g.terms[i].from {
			g.terms = g.terms[i:]
			if g.offered.KeyHash() != g.terms[0].KeyHash() {
				g.offered = g.terms[0].Signer
				return nil, errOtherKey
			}
			return g.terms[0].Signer, nil
		}
	}
	return nil, errOtherKey
}

// takeKeys asks the machine's side which keys the replayed log has in force, before any of its trees is signed.
func (l *Log) takeKeys() error {
	if l.cfg.Keys == nil {
		return nil
	}
	k, err := l.cfg.Keys()
	if err != nil {
		return fmt.Errorf("failed to find the keys that the log says are in force: %w", err)
	}
	if err := l.fits(k); err != nil || k.Signer == nil || k.ReceiptKey == nil {
		return errors.Join(errors.New("failed to take the keys that the log says are in force"), err)
	}
	l.guard.use(k)
	l.receipts.key = k.ReceiptKey
	return nil
}

func (l *Log) fits(k Keys) error {
	if k.Signer != nil && k.Signer.Name() != l.cfg.Origin {
		return fmt.Errorf("checkpoint signer is named %q, the log %q: they must be equal", k.Signer.Name(), l.cfg.Origin)
	}
	if k.ReceiptKey != nil && len(k.ReceiptKey) != ed25519.PrivateKeySize {
		return fmt.Errorf("receipt key has %d bytes, want %d", len(k.ReceiptKey), ed25519.PrivateKeySize)
	}
	return nil
}

// Rekey is Do for the one entry that puts other keys in force; those of next that are nil stay, and SignsFrom is
// not read. Every checkpoint of a tree that holds the entry is signed by next.Signer, every smaller one by the key
// before; receipts are signed by next.ReceiptKey once the entry is durable, its own among them. Nobody waits.
func (l *Log) Rekey(ctx context.Context, next Keys, decide func() ([][]byte, error)) ([]Receipt, error) {
	if err := l.fits(next); err != nil {
		return nil, fmt.Errorf("failed to change keys: %w", err)
	}
	return l.do(ctx, decide, func(seq uint64) {
		if next.Signer != nil {
			l.guard.follow(seq+1, next.Signer)
		}
		if next.ReceiptKey != nil {
			l.receipts.follow(seq, next.ReceiptKey)
		}
	})
}
