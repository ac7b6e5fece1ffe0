package sandbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// MaxFrame is the longest body of a frame in either direction, in bytes.
const MaxFrame = 16 << 20

// ErrFrame says that a frame announced more bytes than its reader allows.
var ErrFrame = errors.New("frame exceeds its length cap")

// frameStep bounds what ReadFrame allocates ahead of bytes that really arrived:
// a length prefix alone must never cost its reader memory.
const frameStep = 64 << 10

// WriteFrame writes one frame: the body's length as a little-endian uint32, then
// the body. It returns ErrFrame for a body over MaxFrame.
func WriteFrame(w io.Writer, body []byte) error {
	if len(body) > MaxFrame {
		return ErrFrame
	}
	buf := make([]byte, 4+len(body))
	binary.LittleEndian.PutUint32(buf, uint32(len(body)))
	copy(buf[4:], body)
	if _, err := w.Write(buf); err != nil {
		return fmt.Errorf("failed to write frame: %w", err)
	}
	return nil
}

// ReadFrame reads one frame of at most limit bytes. It returns io.EOF at a clean
// end, io.ErrUnexpectedEOF inside a frame, and ErrFrame when the announced length
// is over limit; it allocates in proportion to the bytes that arrive.
func ReadFrame(r io.Reader, limit int) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint32(head[:])
	if limit < 0 || uint64(n) > uint64(limit) {
		return nil, ErrFrame
	}
	body := make([]byte, 0, min(int(n), frameStep))
	for len(body) < int(n) {
		step := min(int(n)-len(body), max(frameStep, len(body)))
		start := len(body)
		body = append(body, make([]byte, step)...)
		if _, err := io.ReadFull(r, body[start:]); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	return body, nil
}
