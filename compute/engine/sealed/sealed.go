// Package sealed is the format in which snapshots lie on disk: a header and
// chunks of AES-256-GCM. Whoever holds the file without the key learns its
// length and nothing else; whoever changes it makes it unreadable.
//
// The construction is STREAM (Hoang, Reyhanitabar, Rogaway, Vizár: Online
// Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance, 2015): the
// nonce of a chunk is its number and whether it is the last one, so chunks can
// be neither reordered, dropped nor added. The key of a file is derived with
// HKDF-SHA-256 (RFC 5869) from the storage key, a random salt in the header and
// a context, the name of what the file is for, so a file put in another's place
// does not open. The header is authenticated with every chunk.
//
//	magic "SGSEALED" | version u32 | chunk bytes u32 | plain bytes u64 | salt [32]
//	chunk 0 | tag [16] | chunk 1 | tag [16] | … | last chunk | tag [16]
//
// Integers are big-endian. Every chunk but the last is full; an empty file has
// one empty chunk.
package sealed

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
)

const (
	// Version is the format written and the only one read.
	Version = 1
	// KeySize is the length of a storage key in bytes.
	KeySize = 32
	// Overhead is the least a sealed file is longer than its content.
	Overhead = headerSize + tagSize

	magic      = "SGSEALED"
	chunkSize  = 1 << 20
	saltSize   = 32
	tagSize    = 16
	headerSize = len(magic) + 4 + 4 + 8 + saltSize

	// maxPlain keeps every sum of sizes within 63 bits and the chunks of a file
	// far below GCM's 2³² invocations per key (NIST SP 800-38D, 8.3).
	maxPlain = 1 << 50
)

// Errors of a file that does not open. They name no key and no content.
var (
	// ErrNotSealed says that a file does not begin like a sealed one. It is
	// refused, never read as plain text.
	ErrNotSealed = errors.New("file is not encrypted")
	// ErrVersion says that a file is of a format this program does not know.
	ErrVersion = errors.New("encrypted file has an unknown version")
	// ErrDamaged says that a file was changed, cut, extended or put in another's
	// place, or that the key is another one: these cannot be told apart.
	ErrDamaged = errors.New("encrypted file does not open: it was changed or belongs to another key or place")
)

// Size is the length of the sealed form of plain bytes.
func Size(plain int64) int64 { return int64(headerSize) + plain + tagSize*chunks(plain) }

func chunks(plain int64) int64 { return max(1, (plain+chunkSize-1)/chunkSize) }

// lengthOf is the number of plain bytes in chunk i of a file of size bytes.
func lengthOf(i, size int64) int { return int(min(chunkSize, size-i*chunkSize)) }

// header is the authenticated beginning of a file.
type header struct {
	raw  [headerSize]byte
	size int64
}

func newHeader(size int64) (*header, error) {
	if size < 0 || size > maxPlain {
		return nil, errors.New("failed to seal: size out of range")
	}
	h := &header{size: size}
	at := copy(h.raw[:], magic)
	binary.BigEndian.PutUint32(h.raw[at:], Version)
	binary.BigEndian.PutUint32(h.raw[at+4:], chunkSize)
	binary.BigEndian.PutUint64(h.raw[at+8:], uint64(size))
	if _, err := rand.Read(h.raw[at+16:]); err != nil {
		return nil, fmt.Errorf("failed to draw a salt: %w", err)
	}
	return h, nil
}

// parse reads the header that raw holds. Nothing in it is believed until a chunk
// authenticates it; the checks here only keep the arithmetic in range.
func parse(raw [headerSize]byte) (*header, error) {
	at := len(magic)
	if string(raw[:at]) != magic {
		return nil, ErrNotSealed
	}
	if binary.BigEndian.Uint32(raw[at:]) != Version {
		return nil, ErrVersion
	}
	size := binary.BigEndian.Uint64(raw[at+8:])
	if binary.BigEndian.Uint32(raw[at+4:]) != chunkSize || size > maxPlain {
		return nil, ErrDamaged
	}
	return &header{raw: raw, size: int64(size)}, nil
}

// aead derives the file's own cipher.
func (h *header) aead(key []byte, context string) (cipher.AEAD, error) {
	if len(key) != KeySize {
		return nil, errors.New("storage key must be 32 bytes")
	}
	if context == "" {
		return nil, errors.New("sealed file needs a context")
	}
	derived, err := hkdf.Key(sha256.New, key, h.raw[headerSize-saltSize:], "sandgate/sealed/v1/"+context, 32)
	if err != nil {
		return nil, fmt.Errorf("failed to derive a file key: %w", err)
	}
	defer clear(derived)
	block, err := aes.NewCipher(derived)
	if err != nil {
		return nil, fmt.Errorf("failed to make a cipher: %w", err)
	}
	return cipher.NewGCM(block)
}

// nonce is the chunk's number and, in its last byte, whether it is the last.
func (h *header) nonce(i int64) [12]byte {
	var n [12]byte
	binary.BigEndian.PutUint64(n[3:], uint64(i))
	if i == chunks(h.size)-1 {
		n[11] = 1
	}
	return n
}
