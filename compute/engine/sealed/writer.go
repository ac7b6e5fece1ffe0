package sealed

import (
	"crypto/cipher"
	"errors"
	"fmt"
	"io"
)

// Writer seals what is written to it. It is not safe for concurrent use.
type Writer struct {
	w       io.Writer
	head    *header
	aead    cipher.AEAD
	buf     []byte // plain bytes of the chunk being filled, with room for its tag
	index   int64
	written int64
	err     error
}

// NewWriter writes the header of a file of exactly size plain bytes to w and
// returns the Writer of its content. The reader must name the same context.
// Close must be called; without it the file does not open.
func NewWriter(w io.Writer, key []byte, context string, size int64) (*Writer, error) {
	head, err := newHeader(size)
	if err != nil {
		return nil, err
	}
	aead, err := head.aead(key, context)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(head.raw[:]); err != nil {
		return nil, fmt.Errorf("failed to write header: %w", err)
	}
	return &Writer{w: w, head: head, aead: aead, buf: make([]byte, 0, lengthOf(0, size)+tagSize)}, nil
}

// Write takes plain bytes. More than the announced size is an error.
func (w *Writer) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	if int64(len(p)) > w.head.size-w.written {
		return 0, w.fail(errors.New("failed to seal: more bytes than announced"))
	}
	total := len(p)
	for len(p) > 0 {
		n := min(len(p), lengthOf(w.index, w.head.size)-len(w.buf))
		w.buf = append(w.buf, p[:n]...)
		w.written += int64(n)
		p = p[n:]
		// The last chunk waits for Close.
		if len(w.buf) == chunkSize && w.index+1 < chunks(w.head.size) {
			if err := w.flush(); err != nil {
				return total - len(p), err
			}
		}
	}
	return total, nil
}

func (w *Writer) fail(err error) error {
	w.err = err
	return err
}

func (w *Writer) flush() error {
	nonce := w.head.nonce(w.index)
	out := w.aead.Seal(w.buf[:0], nonce[:], w.buf, w.head.raw[:])
	if _, err := w.w.Write(out); err != nil {
		return w.fail(fmt.Errorf("failed to write chunk: %w", err))
	}
	w.index++
	w.buf = w.buf[:0]
	return nil
}

// Close seals the last chunk. It is an error when fewer bytes were written than
// announced. It does not close the underlying writer.
func (w *Writer) Close() error {
	if w.err != nil {
		return w.err
	}
	if w.written != w.head.size {
		return w.fail(errors.New("failed to seal: fewer bytes than announced"))
	}
	if err := w.flush(); err != nil {
		return err
	}
	w.err = errors.New("sealed file is complete")
	return nil
}
