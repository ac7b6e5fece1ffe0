// Package durable makes changes of the disk that are there after a power failure,
// and gives each of them a name under which a test can let it fail. All names stand
// in package points.
package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
)

// Fault is called before ("…/before") and after ("…/after") every step that changes
// the disk. An error stands for a failure of that step: lost when before, persisted
// but reported as failed when after.
type Fault func(point string) error

// injected is what tests put in the way of every step, nil in production.
var injected atomic.Pointer[Fault]

// Inject puts f in the way of every step of this process that has no Fault of its
// own; nil takes it away. For tests alone: that nothing else calls it is checked by
// a test over the source.
func Inject(f Fault) {
	if f == nil {
		injected.Store(nil)
		return
	}
	injected.Store(&f)
}

// Around runs step between the two failure points of name. Of a nil Fault the
// injected one counts, if there is one.
func (f Fault) Around(name string, step func() error) error {
	if f == nil {
		if p := injected.Load(); p != nil {
			f = *p
		}
	}
	if f == nil {
		return step()
	}
	if err := f(name + "/before"); err != nil {
		return err
	}
	if err := step(); err != nil {
		return err
	}
	return f(name + "/after")
}

// Around runs step between the two failure points of name.
func Around(name string, step func() error) error { return Fault(nil).Around(name, step) }

// Write replaces the file at path, with mode 0600: after a crash it has either its
// old or its new content, and after success the new one. The failure points are
// point.write, point.rename and point.syncdir. What a crash leaves beside it is
// called .tmp-*.
func Write(path string, data []byte, point string) error {
	name := filepath.Base(path)
	tmp, err := os.CreateTemp(filepath.Dir(path), ".tmp-*")
	if err != nil {
		return fmt.Errorf("failed to create %s: %w", name, err)
	}
	defer os.Remove(tmp.Name()) // nothing is there once it is renamed
	err = Around(point+".write", func() error {
		_, err := tmp.Write(data)
		return errors.Join(err, tmp.Sync())
	})
	if err := errors.Join(err, tmp.Close()); err != nil {
		return fmt.Errorf("failed to write %s: %w", name, err)
	}
	if err := Around(point+".rename", func() error { return os.Rename(tmp.Name(), path) }); err != nil {
		return fmt.Errorf("failed to replace %s: %w", name, err)
	}
	return SyncDir(filepath.Dir(path), point)
}

// Remove removes a file under the failure point; that it is missing is an error.
func Remove(path, point string) error { return Around(point, func() error { return os.Remove(path) }) }

// Discard removes a file, if it is there, under the failure point.
func Discard(path, point string) error {
	return Around(point, func() error {
		if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	})
}

// SyncDir makes what was created, renamed and removed in a directory durable. The
// failure point is point.syncdir.
func SyncDir(dir, point string) error {
	err := Around(point+".syncdir", func() error {
		d, err := os.Open(dir)
		if err != nil {
			return err
		}
		return errors.Join(d.Sync(), d.Close())
	})
	if err != nil {
		return fmt.Errorf("failed to sync directory %s: %w", filepath.Base(dir), err)
	}
	return nil
}
