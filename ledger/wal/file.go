package wal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"

	"github.com/sandgate/sandgate/internal/durable"
)

// FileName is the name of the write-ahead file in a log directory.
const FileName = "wal.log"

// Fault lets steps that change the disk fail, in tests; nil in production.
type Fault = durable.Fault

// File is an open write-ahead file. One goroutine may call Append while others call Read.
//
// After a failed Append the file must be closed: what reached the disk is unknown, and a second fsync after a
// failed one reports success for pages that the kernel has already dropped.
type File struct {
	f      *os.File
	fault  Fault
	header int64
	seed   Hash

	mu   sync.RWMutex // guards ends
	ends []int64      // byte offset behind each durable record
}

// Create makes a new, empty write-ahead file in dir: it appears with its whole header or not at all.
func Create(dir, origin string, fault Fault) error {
	header, err := Header(origin)
	if err != nil {
		return err
	}
	return WriteDurable(filepath.Join(dir, FileName), header, "wal.create", fault)
}

// Open opens the write-ahead file in dir, locks it against other processes, hands every whole command to visit
// in order, cuts off a torn tail and makes sure that what was visited is on the disk.
// At most the records from sequence number settled on may not have been on the disk before; those before it
// are known to be durable by other means.
func Open(dir, origin string, fault Fault, settled uint64, visit func(Command) error) (*File, Hash, error) {
	return open(dir, origin, fault, settled, &Place{}, visit)
}

func open(dir, origin string, fault Fault, settled uint64, from *Place, visit func(Command) error) (*File, Hash, error) {
	f, err := os.OpenFile(filepath.Join(dir, FileName), os.O_RDWR, 0)
	if err != nil {
		return nil, Hash{}, fmt.Errorf("failed to open write-ahead file: %w", err)
	}
	w := &File{f: f, fault: fault}
	chain, err := w.load(origin, settled, from, visit)
	if err != nil {
		return nil, Hash{}, errors.Join(err, f.Close())
	}
	return w, chain, nil
}

func (w *File) load(origin string, settled uint64, from *Place, visit func(Command) error) (Hash, error) {
	if err := syscall.Flock(int(w.f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return Hash{}, fmt.Errorf("failed to lock write-ahead file, another process has this log open: %w", err)
	}
	r, err := NewReader(w.f)
	if err != nil {
		return Hash{}, err
	}
	if r.Origin() != origin {
		return Hash{}, fmt.Errorf("write-ahead file belongs to log %q, not to %q", r.Origin(), origin)
	}
	w.header, w.seed = r.Offset(), r.Chain()
	if r, err = NewReaderFrom(w.f, from); err != nil {
		return Hash{}, err
	}
	w.ends = slices.Clip(from.Ends)
	chain := r.Chain()
	for {
		cmd, err := r.NextCommand()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return Hash{}, err
		}
		if err := visit(cmd); err != nil {
			return Hash{}, err
		}
		w.ends = append(w.ends, cmd.Ends...)
		chain = r.Chain()
	}
	return chain, w.settle(settled)
}

// settle cuts off the torn tail and writes the records from sequence number from on once more, in place: after a
// failed fsync the page cache may show bytes that are not on the disk, and only dirty pages are written.
func (w *File) settle(from uint64) error {
	end := w.end(uint64(len(w.ends)))
	if err := w.fault.Around("wal.mend", func() error { return w.f.Truncate(end) }); err != nil {
		return fmt.Errorf("failed to cut off torn tail of write-ahead file: %w", err)
	}
	buf := make([]byte, 1<<20)
	for at := w.end(min(from, uint64(len(w.ends)))); at < end; {
		n, err := w.f.ReadAt(buf[:min(int64(len(buf)), end-at)], at)
		if n == 0 {
			return fmt.Errorf("failed to read tail of write-ahead file: %w", err)
		}
		if err := w.fault.Around("wal.rewrite", func() error { _, err := w.f.WriteAt(buf[:n], at); return err }); err != nil {
			return fmt.Errorf("failed to rewrite tail of write-ahead file: %w", err)
		}
		at += int64(n)
	}
	if err := w.fault.Around("wal.resync", w.f.Sync); err != nil {
		return fmt.Errorf("failed to sync write-ahead file: %w", err)
	}
	return nil
}

// end is the byte offset behind the first n records. The caller holds mu or is alone.
func (w *File) end(n uint64) int64 {
	if n == 0 {
		return w.header
	}
	return w.ends[n-1]
}

// Append writes encoded records, the lengths of which are given, behind the last ones and returns when they are
// on the disk. Only then does Size count them.
func (w *File) Append(records []byte, lengths []int) error {
	w.mu.RLock()
	at := w.end(uint64(len(w.ends)))
	w.mu.RUnlock()
	err := w.fault.Around("wal.write", func() error {
		_, err := w.f.WriteAt(records, at)
		return err
	})
	if err != nil {
		return fmt.Errorf("failed to write write-ahead records: %w", err)
	}
	if err := w.fault.Around("wal.sync", w.f.Sync); err != nil {
		return fmt.Errorf("failed to sync write-ahead file: %w", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range lengths {
		at += int64(n)
		w.ends = append(w.ends, at)
	}
	return nil
}

// Size is the number of durable records.
func (w *File) Size() uint64 {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return uint64(len(w.ends))
}

// Read returns the durable entries [from, to), checked against the hash chain, but stops early once they take
// more than limit bytes (at least one entry is returned for a non-empty range).
func (w *File) Read(from, to uint64, limit int64) ([][]byte, error) {
	w.mu.RLock()
	size := uint64(len(w.ends))
	if from > to || to > size {
		w.mu.RUnlock()
		return nil, fmt.Errorf("failed to read entries %d to %d: the log has %d", from, to, size)
	}
	start := w.end(from)
	for to > from+1 && w.end(to)-start > limit {
		to = from + (to-from)/2
	}
	stop := w.end(to)
	w.mu.RUnlock()

	prev := w.seed
	if from > 0 {
		if _, err := w.f.ReadAt(prev[:], start-chainSize); err != nil {
			return nil, fmt.Errorf("failed to read write-ahead record %d: %w", from-1, err)
		}
	}
	buf := make([]byte, stop-start)
	if _, err := w.f.ReadAt(buf, start); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("failed to read write-ahead record %d: %w", from, err)
	}
	out := make([][]byte, 0, to-from)
	for seq := from; seq < to; seq++ {
		rec, n, err := ParseRecord(buf, prev, seq, stop-int64(len(buf)))
		if err != nil {
			return nil, err
		}
		out, prev, buf = append(out, rec.Entry), rec.Chain, buf[n:]
	}
	return out, nil
}

// Close releases the file and its lock.
func (w *File) Close() error { return w.f.Close() }

// WriteDurable replaces the file at path: after a crash it has either its old or its new content, and after
// success the new one. The fault points are name.write, name.rename and name.syncdir.
func WriteDurable(path string, data []byte, name string, fault Fault) error {
	tmp := path + ".tmp"
	err := fault.Around(name+".write", func() error { return writeSynced(tmp, data) })
	if err != nil {
		return fmt.Errorf("failed to write %s: %w", filepath.Base(path), err)
	}
	if err := fault.Around(name+".rename", func() error { return os.Rename(tmp, path) }); err != nil {
		return fmt.Errorf("failed to replace %s: %w", filepath.Base(path), err)
	}
	err = fault.Around(name+".syncdir", func() error { return syncDir(filepath.Dir(path)) })
	if err != nil {
		return fmt.Errorf("failed to sync directory of %s: %w", filepath.Base(path), err)
	}
	return nil
}

func writeSynced(path string, data []byte) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Sync()
}

func syncDir(dir string) (err error) {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	return d.Sync()
}
