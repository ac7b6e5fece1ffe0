package evidence

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"math"
	"strconv"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
)

// ErrRetiredKey is a checkpoint of a key that was not in force for a tree of that size: one that was retired
// before, or one that came later.
var ErrRetiredKey = texts.Errorf("the key that signed this checkpoint was not in force for a tree of its size")

// RotationText is what a key that is replaced, and the one that replaces it, both sign: so that whoever trusts the
// first can trust the second, and nobody is made to answer for a key he does not hold. key is log or receipt; from
// and to are public keys in the form of the ledger's first entry; seq is the entry that holds the signatures.
func RotationText(origin, key, from, to string, seq uint64) []byte {
	return []byte("sandgate-key-rotation/v1\n" + origin + "\n" + key + "\n" + from + "\n" + to + "\n" + strconv.FormatUint(seq, 10) + "\n")
}

// Term is the time in force of a checkpoint key: trees of From entries and more, and fewer than Until.
type Term struct {
	Verifier    note.Verifier
	Key         string // verifier key, C2SP signed-note
	From, Until uint64
}

// Chain are the checkpoint keys of one log, each announced by the one before. Every function here that takes a
// verifier takes a chain, and then accepts of each key only trees of its term. It must not be changed while in use.
type Chain struct{ terms []Term }

var (
	_ note.Verifier  = (*Chain)(nil)
	_ note.Verifiers = (*Chain)(nil)
)

// NewChain starts a chain with a log's first verifier key.
func NewChain(key string) (*Chain, error) {
	c := &Chain{}
	return c, c.Follow(key, 0)
}

// Follow puts a key in force for trees of from entries and more. Who calls it has seen that the key before agrees.
func (c *Chain) Follow(key string, from uint64) error {
	v, err := note.NewVerifier(key)
	if err != nil {
		return fmt.Errorf("failed to read the log's verifier key: %w", err)
	}
	if n := len(c.terms); n > 0 {
		if v.Name() != c.Name() {
			return fmt.Errorf("verifier key is of log %q, not of %q", v.Name(), c.Name())
		}
		if _, err := c.Verifier(v.Name(), v.KeyHash()); err == nil {
			return errors.New("verifier key was in force before")
		}
		if from <= c.terms[n-1].From {
			return errors.New("verifier key is in force before the one it follows")
		}
		c.terms[n-1].Until = from
	}
	c.terms = append(c.terms, Term{v, key, from, math.MaxUint64})
	return nil
}

// Clone is a copy that can be changed.
func (c *Chain) Clone() *Chain { return &Chain{append([]Term(nil), c.terms...)} }

// Terms are the keys in order.
func (c *Chain) Terms() []Term { return append([]Term(nil), c.terms...) }

// Newest is the key in force.
func (c *Chain) Newest() Term { return c.terms[len(c.terms)-1] }

// Of is the term of the key that signs a tree of n entries.
func (c *Chain) Of(n uint64) Term {
	for _, t := range c.terms {
		if n < t.Until {
			return t
		}
	}
	return c.Newest()
}

// Name implements note.Verifier.
func (c *Chain) Name() string { return c.terms[0].Verifier.Name() }

// KeyHash implements note.Verifier: of the key in force.
func (c *Chain) KeyHash() uint32 { return c.Newest().Verifier.KeyHash() }

// Verify implements note.Verifier, by the key in force.
func (c *Chain) Verify(msg, sig []byte) bool { return c.Newest().Verifier.Verify(msg, sig) }

// Verifier implements note.Verifiers.
func (c *Chain) Verifier(name string, hash uint32) (note.Verifier, error) {
	for _, t := range c.terms {
		if t.Verifier.Name() == name && t.Verifier.KeyHash() == hash {
			return t.Verifier, nil
		}
	}
	return nil, &note.UnknownVerifierError{Name: name, KeyHash: hash}
}

// verifiersOf are the keys that may have signed a checkpoint.
func verifiersOf(v note.Verifier) note.Verifiers {
	if c, ok := v.(*Chain); ok {
		return c
	}
	return note.VerifierList(v)
}

// inTerm holds a checkpoint to the term of its key.
func inTerm(v note.Verifier, n *note.Note, cp torchwood.Checkpoint) error {
	c, ok := v.(*Chain)
	if !ok || cp.N == 0 {
		return nil
	}
	for _, sig := range n.Sigs {
		if sig.Hash == c.Of(uint64(cp.N)).Verifier.KeyHash() {
			return nil
		}
	}
	return texts.Errorf("%w (%d entries)", ErrRetiredKey, cp.N)
}

// ReceiptTerm is the time in force of a receipt key: it signed receipts of entries before Until. A later key signs
// receipts of earlier entries, too, when they are asked for again.
type ReceiptTerm struct {
	Key   ed25519.PublicKey
	Until uint64
}

// ErrRetiredReceiptKey is a receipt of a key that was retired before its entry.
var ErrRetiredReceiptKey = texts.Errorf("receipt is signed by a key that was retired before its entry")

// VerifyBy checks the signature by the keys of a log, in any order.
func (r Receipt) VerifyBy(keys []ReceiptTerm) error {
	err := ErrReceiptSignature
	for _, k := range keys {
		switch {
		case r.Verify(k.Key) != nil:
		case r.Seq >= k.Until:
			err = ErrRetiredReceiptKey
		default:
			return nil
		}
	}
	return err
}
