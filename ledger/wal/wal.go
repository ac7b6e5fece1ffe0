// Package wal reads and writes the write-ahead file of the ledger: an append-only file of length-prefixed,
// hash-chained records.
//
// # Format, version 1 (all integers big-endian)
//
//	header:  "sandgate-wal/v1\n" | uint16 length of origin | origin
//	record:  uint32 length and flags | uint64 sequence | tag (8) | entry | chain (32)
//
//	chain₋₁ = SHA-256(header)
//	chainₙ  = SHA-256(chainₙ₋₁ | length and flags | sequence | entry)
//	tagₙ    = first 8 bytes of SHA-256("tag" | chainₙ₋₁ | length and flags | sequence)
//
// The top bit of the length says that more records of the same command follow: a command of several entries is
// in the file whole or not at all. The tag makes the length trustworthy on its own, which is what tells a torn
// tail (a record that runs past the end of the file: the process died while writing, nobody was answered) from
// a damaged length in the middle (which would otherwise look the same and silently drop every later record).
package wal

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// MaxEntrySize is the longest entry in bytes. C2SP tlog-tiles stores entries with a 16-bit length.
const MaxEntrySize = math.MaxUint16

// MaxOriginSize is the longest origin in bytes.
const MaxOriginSize = 255

const (
	magic      = "sandgate-wal/v1\n"
	tagSize    = 8
	headSize   = 4 + 8 + tagSize
	chainSize  = sha256.Size
	moreFlag   = 1 << 31
	lengthMask = moreFlag - 1
)

// Overhead is the number of bytes a record takes beside its entry.
const Overhead = headSize + chainSize

// Hash is a link of the hash chain.
type Hash [sha256.Size]byte

// Record is one parsed record.
type Record struct {
	Seq   uint64 // position in the log, from 0
	More  bool   // further records of the same command follow
	Entry []byte // aliases the parsed bytes
	Chain Hash   // link of the chain after this record
}

// ErrTorn is returned for a record that runs past the end of the data: the writer died before it was done.
var ErrTorn = errors.New("record is cut off by the end of the file")

// CorruptError names a record that is not what was written.
type CorruptError struct {
	Seq    uint64 // sequence number the record at this place must have
	Offset int64  // byte offset of the record in the file
	What   string // what does not fit
}

// Error implements error. It never contains entry bytes.
func (e *CorruptError) Error() string {
	return fmt.Sprintf("write-ahead file is damaged at sequence %d (byte %d): %s; bring back the newest sound copy of the log directory", e.Seq, e.Offset, e.What)
}

// Header returns the file header for a log of this origin.
func Header(origin string) ([]byte, error) {
	if origin == "" || len(origin) > MaxOriginSize {
		return nil, fmt.Errorf("origin has %d bytes, allowed are 1 to %d", len(origin), MaxOriginSize)
	}
	h := append([]byte(magic), 0, byte(len(origin)))
	return append(h, origin...), nil
}

// ParseHeader reads the header at the start of b and returns the origin and the header's length in bytes.
func ParseHeader(b []byte) (origin string, n int, err error) {
	if len(b) < len(magic)+2 || !bytes.HasPrefix(b, []byte(magic)) {
		return "", 0, errors.New("not a write-ahead file of version 1: the header is missing or of another version")
	}
	size := int(binary.BigEndian.Uint16(b[len(magic):]))
	n = len(magic) + 2 + size
	if size == 0 || size > MaxOriginSize || len(b) < n {
		return "", 0, errors.New("write-ahead file has a damaged header: the length of the origin does not fit")
	}
	return string(b[len(magic)+2 : n]), n, nil
}

// Seed is the link of the chain before the first record.
func Seed(header []byte) Hash { return sha256.Sum256(header) }

// AppendRecord appends the encoded record to dst and returns it with the next link of the chain.
// The entry must not be longer than MaxEntrySize; a longer one is a programming error and panics.
func AppendRecord(dst []byte, prev Hash, seq uint64, more bool, entry []byte) ([]byte, Hash) {
	if len(entry) > MaxEntrySize {
		panic("wal: internal error: entry longer than MaxEntrySize")
	}
	var head [12]byte
	length := uint32(len(entry))
	if more {
		length |= moreFlag
	}
	binary.BigEndian.PutUint32(head[:4], length)
	binary.BigEndian.PutUint64(head[4:], seq)
	tag := headTag(prev, head)
	chain := link(prev, head, entry)
	dst = append(dst, head[:]...)
	dst = append(dst, tag[:]...)
	dst = append(dst, entry...)
	return append(dst, chain[:]...), chain
}

// ParseRecord reads the record at the start of b, which must be record seq after the link prev, and returns its
// length in bytes. Offset is only used to name the place in an error. Errors are ErrTorn and *CorruptError.
func ParseRecord(b []byte, prev Hash, seq uint64, offset int64) (Record, int, error) {
	more, size, err := parseHead(b, prev, seq, offset)
	if err != nil {
		return Record{}, 0, err
	}
	n := headSize + size + chainSize
	if len(b) < n {
		return Record{}, 0, ErrTorn
	}
	entry := b[headSize : headSize+size : headSize+size]
	chain := link(prev, [12]byte(b[:12]), entry)
	if !bytes.Equal(chain[:], b[headSize+size:n]) {
		return Record{}, 0, &CorruptError{seq, offset, "its bytes do not match the hash chain"}
	}
	return Record{Seq: seq, More: more, Entry: entry, Chain: chain}, n, nil
}

func parseHead(b []byte, prev Hash, seq uint64, offset int64) (more bool, size int, err error) {
	if len(b) < headSize {
		return false, 0, ErrTorn
	}
	head := [12]byte(b[:12])
	tag := headTag(prev, head)
	if !bytes.Equal(tag[:], b[12:headSize]) {
		return false, 0, &CorruptError{seq, offset, "its length, number or predecessor does not match its tag"}
	}
	if got := binary.BigEndian.Uint64(head[4:]); got != seq {
		return false, 0, &CorruptError{seq, offset, fmt.Sprintf("it is numbered %d", got)}
	}
	length := binary.BigEndian.Uint32(head[:4])
	if length&lengthMask > MaxEntrySize {
		return false, 0, &CorruptError{seq, offset, fmt.Sprintf("its entry would have %d bytes", length&lengthMask)}
	}
	return length&moreFlag != 0, int(length & lengthMask), nil
}

func headTag(prev Hash, head [12]byte) [tagSize]byte {
	var b [3 + chainSize + 12]byte
	copy(b[:], "tag")
	copy(b[3:], prev[:])
	copy(b[3+chainSize:], head[:])
	sum := sha256.Sum256(b[:])
	return [tagSize]byte(sum[:tagSize])
}

func link(prev Hash, head [12]byte, entry []byte) Hash {
	h := sha256.New()
	h.Write(prev[:])
	h.Write(head[:])
	h.Write(entry)
	var out Hash
	h.Sum(out[:0])
	return out
}
