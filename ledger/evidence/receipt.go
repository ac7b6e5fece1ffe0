// Package evidence holds what a ledger hands out and anybody can check offline with a public key: receipts and
// inclusion proofs. It knows nothing of how a log is written.
package evidence

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"golang.org/x/mod/sumdb/tlog"
)

// Receipt is the log's signed promise that an entry stands at a position. It is given only once the entry is
// durable; an auditor who finds another entry, or none, at that position has proof against the log.
type Receipt struct {
	Origin    string    `json:"origin"`    // origin of the log
	Seq       uint64    `json:"seq"`       // position in the log, from 0
	LeafHash  tlog.Hash `json:"leaf_hash"` // RFC 6962 leaf hash of the entry
	Signature []byte    `json:"signature"` // Ed25519 over SignedText
	// Batch, unless nil, says among which entries the signature covers this one.
	Batch *Batch `json:"batch,omitempty"`
}

// ErrReceiptSignature is returned for a receipt that the key did not sign.
var ErrReceiptSignature = texts.Errorf("receipt is not signed by this key")

// SignReceipt makes the receipt for the leaf at seq. The key must be a whole Ed25519 private key.
func SignReceipt(key ed25519.PrivateKey, origin string, seq uint64, leaf tlog.Hash) Receipt {
	r := Receipt{Origin: origin, Seq: seq, LeafHash: leaf}
	r.Signature = ed25519.Sign(key, r.SignedText())
	return r
}

// SignedText is what the signature covers. Its first line separates it from every other text the key may sign.
func (r Receipt) SignedText() []byte {
	if r.Batch != nil {
		return batchText(r.Origin, r.Batch.First, r.Batch.Size, r.Batch.Root)
	}
	b := append([]byte("sandgate-receipt/v1\n"), r.Origin...)
	b = append(b, '\n')
	b = strconv.AppendUint(b, r.Seq, 10)
	b = append(b, '\n')
	b = append(b, r.LeafHash.String()...)
	return append(b, '\n')
}

// Verify checks the signature. Whether the promise was kept is for verify.Receipts to say, against the log.
func (r Receipt) Verify(pub ed25519.PublicKey) error {
	if len(pub) != ed25519.PublicKeySize {
		return fmt.Errorf("receipt key has %d bytes, want %d", len(pub), ed25519.PublicKeySize)
	}
	if !r.inBatch() || !ed25519.Verify(pub, r.SignedText(), r.Signature) {
		return ErrReceiptSignature
	}
	return nil
}

// ParseReceipt reads the one canonical JSON encoding of a receipt, that of json.Marshal, and nothing else: no
// unknown or repeated field, no other order, no blanks.
func ParseReceipt(data []byte) (Receipt, error) {
	var r Receipt
	if err := strictJSON(data, &r); err != nil {
		return Receipt{}, fmt.Errorf("failed to parse receipt: %w", err)
	}
	if len(r.Signature) != ed25519.SignatureSize {
		return Receipt{}, fmt.Errorf("failed to parse receipt: signature has %d bytes, want %d", len(r.Signature), ed25519.SignatureSize)
	}
	if r.Origin == "" {
		return Receipt{}, errors.New("failed to parse receipt: origin is missing")
	}
	if !r.inBatch() {
		return Receipt{}, errors.New("failed to parse receipt: its path does not lead from the entry to the root of its batch")
	}
	return r, nil
}

// strictJSON decodes data into v and refuses every encoding but the one json.Marshal gives for v.
func strictJSON(data []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		// The decoder's own text quotes its input.
		return errors.New("not a JSON object of the expected fields and types")
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the JSON object")
	}
	again, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("cannot be encoded again: %w", err)
	}
	if !bytes.Equal(again, data) {
		return errors.New("not in canonical form")
	}
	return nil
}
