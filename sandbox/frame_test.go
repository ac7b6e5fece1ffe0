package sandbox

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

func TestReadFrame(t *testing.T) {
	var buf bytes.Buffer
	big := bytes.Repeat([]byte("x"), 3*frameStep+17)
	for _, body := range [][]byte{nil, []byte("a"), big} {
		if err := WriteFrame(&buf, body); err != nil {
			t.Fatal(err)
		}
	}
	whole := bytes.Clone(buf.Bytes())
	for _, want := range []int{0, 1, len(big)} {
		got, err := ReadFrame(&buf, MaxFrame)
		if err != nil || len(got) != want {
			t.Fatalf("got %d bytes, %v", len(got), err)
		}
	}
	if _, err := ReadFrame(&buf, MaxFrame); err != io.EOF {
		t.Fatalf("end: %v", err)
	}
	if _, err := ReadFrame(bytes.NewReader(whole[5:len(whole)-1]), 10); err != nil && !errors.Is(err, ErrFrame) {
		_, err = ReadFrame(bytes.NewReader(whole[:2]), 10)
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatal(err)
		}
	}
	if err := WriteFrame(io.Discard, make([]byte, MaxFrame+1)); !errors.Is(err, ErrFrame) {
		t.Fatal(err)
	}
	// A four-gigabyte promise with three bytes behind it costs next to nothing.
	lie := append([]byte{0xff, 0xff, 0xff, 0x7f}, 1, 2, 3)
	allocated := testing.AllocsPerRun(10, func() {
		if _, err := ReadFrame(bytes.NewReader(lie), 1<<31-1); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatal(err)
		}
	})
	if allocated > 10 {
		t.Fatalf("%v allocations", allocated)
	}
}

func FuzzReadFrame(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0}, 10)
	f.Add([]byte{3, 0, 0, 0, 1, 2, 3, 9}, 3)
	f.Add([]byte{255, 255, 255, 255, 1}, 1<<30)
	f.Fuzz(func(t *testing.T, raw []byte, limit int) {
		body, err := ReadFrame(bytes.NewReader(raw), limit)
		if err != nil {
			return
		}
		var buf bytes.Buffer
		if err := WriteFrame(&buf, body); err != nil {
			t.Fatal(err)
		}
		if len(body) > limit || !bytes.HasPrefix(raw, buf.Bytes()) {
			t.Fatal("a frame changed on its way")
		}
	})
}
