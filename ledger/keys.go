package ledger

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"

	"golang.org/x/mod/sumdb/note"
)

// algEd25519 is the signature type byte of Ed25519 in C2SP signed-note.
const algEd25519 = 1

// NewSignerFromSeed makes the Ed25519 checkpoint key of a log from its 32-byte seed, with its verifier. Name and
// key hash are those of C2SP signed-note, so any tlog client can check the checkpoints. The origin is used as the
// key name and must be a valid one: not empty, no blanks, no plus sign.
func NewSignerFromSeed(origin string, seed []byte) (note.Signer, note.Verifier, error) {
	if len(seed) != ed25519.SeedSize {
		return nil, nil, fmt.Errorf("failed to make checkpoint key: seed has %d bytes, want %d", len(seed), ed25519.SeedSize)
	}
	pub := ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)
	vkey, err := VerifierKey(origin, pub)
	if err != nil {
		return nil, nil, err
	}
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, nil, fmt.Errorf("failed to make checkpoint verifier: %w", err)
	}
	sum := sha256.Sum256(append([]byte(origin+"\n"), append([]byte{algEd25519}, pub...)...))
	signer, err := note.NewSigner(fmt.Sprintf("PRIVATE+KEY+%s+%08x+%s", origin, binary.BigEndian.Uint32(sum[:4]),
		base64.StdEncoding.EncodeToString(append([]byte{algEd25519}, seed...))))
	if err != nil {
		// The text of the library's error could quote the key.
		return nil, nil, fmt.Errorf("failed to make checkpoint key for %q: the origin is not a valid key name", origin)
	}
	return signer, verifier, nil
}

// VerifierKey is the public key of a log in the text form of C2SP signed-note (name+hash+key), to be handed to
// auditors and read back with note.NewVerifier.
func VerifierKey(origin string, pub ed25519.PublicKey) (string, error) {
	vkey, err := note.NewEd25519VerifierKey(origin, pub)
	if err != nil {
		return "", fmt.Errorf("failed to make verifier key: %w", err)
	}
	return vkey, nil
}
