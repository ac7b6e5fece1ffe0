// Package statefile keeps state snapshots 状态快照 on disk: what a gateway starts from without replaying its whole
// ledger. Nothing in these files is believed for their own sake. The hash of a state stands in the ledger, and its place
// is held against what was signed (ledger.Vouch); a file that does not fit is refused, and everything is replayed.
//
// # Files
//
//	SIZE.state        head of the state snapshot at SIZE entries, 20 digits
//	segments/HASH     jobs or verifications that it names by their SHA-256; several heads share them
//
// A head is the line "sandgate-state-file/v1", the encoding of head by ledger/internal/carry, and the SHA-256 of both.
package statefile

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/sandgate/sandgate/ledger"
	"github.com/sandgate/sandgate/ledger/internal/carry"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/ledger/wal"
)

const (
	magic       = "sandgate-state-file/v1\n"
	suffix      = ".state"
	segmentsDir = "segments"
	kept        = 2
)

// Code says why a state snapshot is not taken.
type Code string

// Reasons to replay everything.
const (
	Damaged     Code = "DAMAGED"      // the file is not what was written
	Foreign     Code = "FOREIGN"      // it is of another ledger, or of another history of this one
	Version     Code = "VERSION"      // another program wrote it
	NotRecorded Code = "NOT_RECORDED" // the ledger does not give its hash
	Unsigned    Code = "UNSIGNED"     // no signed checkpoint covers the entry that does
	Unfit       Code = "UNFIT"        // the ledger does not open from it
)

// Refused is a state snapshot that is not taken.
type Refused struct {
	Code Code
	Size uint64 // that its name says
	Err  error
}

// Error implements error.
func (r *Refused) Error() string {
	return fmt.Sprintf("state snapshot at %d entries is refused (%s): %v", r.Size, r.Code, r.Err)
}

// Unwrap returns the cause.
func (r *Refused) Unwrap() error { return r.Err }

// Snapshot is one state snapshot.
type Snapshot struct {
	Origin  string // of the ledger
	Program string // that wrote it
	Hash    state.Hash
	Point   ledger.Point
	State   state.Carried
}

// head is what the file of a snapshot holds.
type head struct {
	Origin, Program, Layout string
	Hash, Chain             state.Hash
	Edges                   []tlog.Hash
	Lengths                 []uint32 // of the records of the write-ahead file; the header's before the first
	Live, Book              []byte
	Jobs, Verifications     []state.Hash
}

var codec = sync.OnceValues(func() (*carry.Codec[head], error) { return carry.New[head](&carry.Rules{}) })

func name(size uint64) string { return fmt.Sprintf("%020d%s", size, suffix) }

// Write stores a snapshot, of which the segments that have no text are there from one before, and drops all but the
// newest two. After a crash at any point it is there whole or not at all. The fault points are state.segment, state.head
// (.write, .rename, .syncdir) and state.prune. It returns the bytes it wrote.
func Write(dir string, s *Snapshot, fault wal.Fault) (written int64, err error) {
	c, err := codec()
	if err != nil {
		return 0, err
	}
	if err := os.MkdirAll(filepath.Join(dir, segmentsDir), 0o700); err != nil {
		return 0, fmt.Errorf("failed to make the directory of state snapshots: %w", err)
	}
	h := head{Origin: s.Origin, Program: s.Program, Layout: state.Layout(), Hash: s.Hash, Chain: state.Hash(s.Point.Chain), Edges: s.Point.Edges,
		Live: s.State.Live, Book: s.State.Book}
	before := int64(0)
	h.Lengths = make([]uint32, 0, len(s.Point.Ends))
	for _, end := range s.Point.Ends {
		h.Lengths = append(h.Lengths, uint32(end-before))
		before = end
	}
	for _, list := range []struct {
		from []state.Segment
		to   *[]state.Hash
	}{{s.State.Jobs, &h.Jobs}, {s.State.Verifications, &h.Verifications}} {
		for _, seg := range list.from {
			*list.to = append(*list.to, seg.Hash)
			path := segment(dir, seg.Hash)
			if seg.Text == nil {
				if _, err := os.Stat(path); err != nil {
					return written, fmt.Errorf("failed to write state snapshot: a part of the one before is gone: %w", err)
				}
				continue
			}
			if err := wal.WriteDurable(path, seg.Text, "state.segment", fault); err != nil {
				return written, err
			}
			written += int64(len(seg.Text))
		}
	}
	text := c.Append([]byte(magic), &h)
	sum := sha256.Sum256(text)
	text = append(text, sum[:]...)
	if err := wal.WriteDurable(filepath.Join(dir, name(s.State.Size)), text, "state.head", fault); err != nil {
		return written, err
	}
	return written + int64(len(text)), fault.Around("state.prune", func() error { return prune(dir) })
}

func segment(dir string, h state.Hash) string {
	return filepath.Join(dir, segmentsDir, hex.EncodeToString(h[:]))
}

// List returns the sizes at which there are snapshots, the newest first.
func List(dir string) ([]uint64, error) {
	files, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("failed to list state snapshots: %w", err)
	}
	var out []uint64
	for _, f := range files {
		digits, ok := strings.CutSuffix(f.Name(), suffix)
		if n, err := strconv.ParseUint(digits, 10, 64); ok && err == nil && f.Name() == name(n) {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	slices.Reverse(out)
	return out, nil
}

// Read reads the head of the snapshot at a size and says, by *Refused, why it cannot be this program's and this
// ledger's.
func Read(dir string, size uint64, origin, program string) (*Snapshot, error) {
	text, err := os.ReadFile(filepath.Join(dir, name(size)))
	if err != nil {
		return nil, &Refused{Damaged, size, err}
	}
	h, err := parse(text)
	if err != nil {
		return nil, &Refused{Damaged, size, err}
	}
	switch {
	case h.Origin != origin:
		return nil, &Refused{Foreign, size, fmt.Errorf("it is of ledger %q", h.Origin)}
	case h.Program != program || h.Layout != state.Layout():
		return nil, &Refused{Version, size, errors.New("another version of the program wrote it")}
	case uint64(len(h.Lengths)) != size:
		return nil, &Refused{Damaged, size, fmt.Errorf("it is of %d entries", len(h.Lengths))}
	}
	s := &Snapshot{Origin: h.Origin, Program: h.Program, Hash: h.Hash, State: state.Carried{Size: size, Live: h.Live, Book: h.Book, Jobs: named(h.Jobs), Verifications: named(h.Verifications)}}
	s.Point.Chain, s.Point.Edges = wal.Hash(h.Chain), h.Edges
	s.Point.Ends = make([]int64, size)
	at := int64(0)
	for i, n := range h.Lengths {
		at += int64(n)
		s.Point.Ends[i] = at
	}
	return s, nil
}

func parse(text []byte) (*head, error) {
	c, err := codec()
	if err != nil {
		return nil, err
	}
	body := len(text) - sha256.Size
	if body < len(magic) || !bytes.HasPrefix(text, []byte(magic)) {
		return nil, errors.New("it is no state snapshot of version 1, or is cut off")
	}
	if sum := sha256.Sum256(text[:body]); !bytes.Equal(sum[:], text[body:]) {
		return nil, errors.New("its bytes are not those that were written")
	}
	h := &head{}
	if err := c.Decode(text[len(magic):body], h); err != nil {
		return nil, err
	}
	return h, nil
}

func named(hashes []state.Hash) []state.Segment {
	var out []state.Segment
	for _, h := range hashes {
		out = append(out, state.Segment{Hash: h})
	}
	return out
}

// Restore reads the segments and makes the state of them.
func (s *Snapshot) Restore(dir string) (*state.State, *state.Recorder, error) {
	for _, list := range [][]state.Segment{s.State.Jobs, s.State.Verifications} {
		for i := range list {
			var err error
			if list[i].Text, err = os.ReadFile(segment(dir, list[i].Hash)); err != nil {
				return nil, nil, &Refused{Damaged, s.State.Size, err}
			}
		}
	}
	st, r, err := state.Restore(&s.State, s.Hash)
	if err != nil {
		return nil, nil, &Refused{Damaged, s.State.Size, err}
	}
	return st, r, nil
}

// prune removes all snapshots but the newest, segments that none of these names, and what a crash left.
func prune(dir string) error {
	sizes, err := List(dir)
	if err != nil {
		return err
	}
	use := map[string]bool{}
	var errs []error
	for i, size := range sizes {
		path := filepath.Join(dir, name(size))
		if i >= kept {
			errs = append(errs, os.Remove(path))
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("failed to read state snapshot: %w", err)
		}
		h, err := parse(text)
		if err != nil {
			errs = append(errs, os.Remove(path)) // it can never be taken
			continue
		}
		for _, x := range slices.Concat(h.Jobs, h.Verifications) {
			use[hex.EncodeToString(x[:])] = true
		}
	}
	cut, err := filepath.Glob(filepath.Join(dir, "*"+suffix+".tmp"))
	if err != nil {
		return fmt.Errorf("failed to list state snapshots: %w", err)
	}
	for _, path := range cut {
		errs = append(errs, os.Remove(path))
	}
	files, err := os.ReadDir(filepath.Join(dir, segmentsDir))
	if err != nil {
		return fmt.Errorf("failed to list state snapshots: %w", err)
	}
	for _, f := range files {
		if !use[f.Name()] {
			errs = append(errs, os.Remove(filepath.Join(dir, segmentsDir, f.Name())))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("failed to remove old state snapshots: %w", err)
	}
	return nil
}
