package sealed

import (
	"crypto/cipher"
	"errors"
	"fmt"
	"io"
	"sync"
)

// Reader opens a sealed file from its beginning. No byte leaves it before its
// chunk is authenticated, and io.EOF comes only after the last chunk, when
// nothing follows it. It is not safe for concurrent use.
type Reader struct {
	r     io.Reader
	head  *header
	aead  cipher.AEAD
	buf   []byte
	rest  []byte // plain bytes not yet read
	index int64
	err   error
}

// NewReader reads and checks the header.
func NewReader(r io.Reader, key []byte, context string) (*Reader, error) {
	var raw [headerSize]byte
	n, err := io.ReadFull(r, raw[:])
	if err != nil && !short(err) {
		return nil, fmt.Errorf("failed to read header: %w", err)
	}
	head, err := parseShort(raw, n)
	if err != nil {
		return nil, err
	}
	aead, err := head.aead(key, context)
	if err != nil {
		return nil, err
	}
	return &Reader{r: r, head: head, aead: aead}, nil
}

func short(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

// parseShort parses a header of which only n bytes were there.
func parseShort(raw [headerSize]byte, n int) (*header, error) {
	head, err := parse(raw)
	if err == nil && n < headerSize {
		return nil, ErrDamaged
	}
	return head, err
}

// Size is the number of plain bytes the header announces. Until the first byte
// was read it is not authenticated: use it for limits, not for allocations.
func (r *Reader) Size() int64 { return r.head.size }

// next opens the next chunk into r.rest.
func (r *Reader) next() error {
	if r.index == chunks(r.head.size) {
		var more [1]byte
		switch n, err := io.ReadFull(r.r, more[:]); {
		case n > 0:
			return ErrDamaged
		case !short(err):
			return fmt.Errorf("failed to read chunk: %w", err)
		}
		return io.EOF
	}
	if r.buf == nil {
		r.buf = make([]byte, lengthOf(0, r.head.size)+tagSize)
	}
	chunk := r.buf[:lengthOf(r.index, r.head.size)+tagSize]
	if _, err := io.ReadFull(r.r, chunk); err != nil {
		if short(err) {
			return ErrDamaged
		}
		return fmt.Errorf("failed to read chunk: %w", err)
	}
	nonce := r.head.nonce(r.index)
	plain, err := r.aead.Open(chunk[:0], nonce[:], chunk, r.head.raw[:])
	if err != nil {
		return ErrDamaged
	}
	r.index++
	r.rest = plain
	return nil
}

// Read reads plain bytes.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(r.rest) == 0 {
		if r.err == nil {
			r.err = r.next()
		}
		if r.err != nil {
			return 0, r.err
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// WriteTo writes the whole file to w, chunk by chunk without a copy.
func (r *Reader) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for {
		if len(r.rest) > 0 {
			n, err := w.Write(r.rest)
			total += int64(n)
			r.rest = r.rest[n:]
			if err != nil {
				return total, fmt.Errorf("failed to write opened chunk: %w", err)
			}
			continue
		}
		if r.err == nil {
			r.err = r.next()
		}
		if errors.Is(r.err, io.EOF) {
			return total, nil
		}
		if r.err != nil {
			return total, r.err
		}
	}
}

// ReaderAt opens any part of a sealed file. Each read authenticates the chunks it
// touches; together with the file's length, checked once, no part can be missing
// or moved. It is safe for concurrent use, if r is.
type ReaderAt struct {
	r    io.ReaderAt
	head *header
	aead cipher.AEAD
	bufs sync.Pool
}

// NewReaderAt reads and checks the header of a sealed file of length bytes.
func NewReaderAt(r io.ReaderAt, length int64, key []byte, context string) (*ReaderAt, error) {
	sequential, err := NewReader(io.NewSectionReader(r, 0, length), key, context)
	if err != nil {
		return nil, err
	}
	if length != Size(sequential.head.size) {
		return nil, ErrDamaged
	}
	a := &ReaderAt{r: r, head: sequential.head, aead: sequential.aead}
	a.bufs.New = func() any {
		buf := make([]byte, lengthOf(0, a.head.size)+tagSize)
		return &buf
	}
	return a, nil
}

// Size is the number of plain bytes.
func (a *ReaderAt) Size() int64 { return a.head.size }

// ReadAt implements io.ReaderAt. On an error the bytes of p count as unwritten
// beyond the returned number.
func (a *ReaderAt) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("failed to read sealed file: negative offset")
	}
	total := 0
	for len(p) > 0 {
		if off >= a.head.size {
			return total, io.EOF
		}
		n, err := a.part(p, off)
		total += n
		if err != nil {
			return total, err
		}
		p, off = p[n:], off+int64(n)
	}
	return total, nil
}

// part reads from the one chunk that off lies in.
func (a *ReaderAt) part(p []byte, off int64) (int, error) {
	i := off / chunkSize
	held := a.bufs.Get().(*[]byte)
	defer a.bufs.Put(held)
	chunk := (*held)[:lengthOf(i, a.head.size)+tagSize]
	if n, err := a.r.ReadAt(chunk, int64(headerSize)+i*(chunkSize+tagSize)); n < len(chunk) {
		if short(err) {
			return 0, ErrDamaged
		}
		return 0, fmt.Errorf("failed to read chunk: %w", err)
	}
	nonce := a.head.nonce(i)
	plain, err := a.aead.Open(chunk[:0], nonce[:], chunk, a.head.raw[:])
	if err != nil {
		return 0, ErrDamaged
	}
	return copy(p, plain[off-i*chunkSize:]), nil
}
