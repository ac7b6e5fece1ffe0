package wal

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
)

// Place is a place between two commands of a write-ahead file, from which it can be read without what comes before.
type Place struct {
	Ends  []int64 // byte offset behind each record before the place
	Chain Hash    // link of the chain there
}

// Size is the number of records before the place.
func (p *Place) Size() uint64 { return uint64(len(p.Ends)) }

// ErrOtherPlace is a place that is not one of this file.
var ErrOtherPlace = errors.New("write-ahead file does not have this place")

// NewReaderFrom is NewReader for the part of a file that follows a place. It reads the header and what follows the
// place; the records before are trusted to be what they were.
func NewReaderFrom(f io.ReaderAt, p *Place) (*Reader, error) {
	r, err := NewReader(io.NewSectionReader(f, 0, math.MaxInt64))
	if err != nil || p.Size() == 0 {
		return r, err
	}
	at := p.Ends[len(p.Ends)-1]
	var chain Hash
	if at < r.Offset()+Overhead {
		return nil, fmt.Errorf("%w: it lies inside the header", ErrOtherPlace)
	}
	if _, err := f.ReadAt(chain[:], at-chainSize); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("failed to read write-ahead record %d: %w", p.Size()-1, err)
	}
	if chain != p.Chain {
		return nil, fmt.Errorf("%w: the record before it is another, or the file ends before it", ErrOtherPlace)
	}
	r.r = bufio.NewReaderSize(io.NewSectionReader(f, at, math.MaxInt64-at), 1<<20)
	r.seq, r.prev, r.offset = p.Size(), chain, at
	return r, nil
}

// OpenFrom is Open for a file of which only the commands after a place are visited.
func OpenFrom(dir, origin string, fault Fault, settled uint64, p *Place, visit func(Command) error) (*File, Hash, error) {
	return open(dir, origin, fault, settled, p, visit)
}

// PlaceAt returns the place behind the first n durable records, which must end a command.
func (w *File) PlaceAt(n uint64) (*Place, error) {
	w.mu.RLock()
	if n == 0 || n > uint64(len(w.ends)) {
		defer w.mu.RUnlock()
		return nil, fmt.Errorf("failed to find the place behind record %d: the log has %d", n, len(w.ends))
	}
	// What is there is never changed, only added to.
	p := &Place{Ends: w.ends[:n:n]}
	w.mu.RUnlock()
	if _, err := w.f.ReadAt(p.Chain[:], p.Ends[n-1]-chainSize); err != nil {
		return nil, fmt.Errorf("failed to read write-ahead record %d: %w", n-1, err)
	}
	return p, nil
}

// Behind reads the records before a place again, from the beginning, and says whether they still lead to it. It reads
// beside appends. visit may be nil.
func (w *File) Behind(p *Place, visit func(seq uint64, entry []byte) error) error {
	if p.Size() == 0 {
		return nil
	}
	r, err := NewReader(io.NewSectionReader(w.f, 0, p.Ends[len(p.Ends)-1]))
	if err != nil {
		return err
	}
	for seq := range p.Size() {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) || err == nil && r.Offset() != p.Ends[seq] {
			return &CorruptError{seq, r.Offset(), "it does not end where it ended when it was written"}
		}
		if err != nil {
			return err
		}
		if visit != nil {
			if err := visit(seq, rec.Entry); err != nil {
				return err
			}
		}
	}
	if r.Chain() != p.Chain {
		return &CorruptError{p.Size() - 1, r.Offset(), "the hash chain does not lead to the records that follow"}
	}
	return nil
}
