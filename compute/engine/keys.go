package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sandgate/sandgate/compute/engine/sealed"
	"github.com/sandgate/sandgate/internal/durable"
)

// keyFile holds the wrapped data key of one snapshot, which alone opens its data
// and its manifest. Snapshots of before have none: the storage key itself opens
// them.
const keyFile = "key.json"

// maxKeyFile bounds a key file in bytes.
const maxKeyFile = 8 << 10

// keyRecord is the content of a key file.
type keyRecord struct {
	Version int    `json:"version"`
	Wrapped string `json:"wrapped"`
}

func keyPlace(id string) string { return "snapshot/" + id + "/key" }

// Ways in which a snapshot is destroyed 销毁.
const (
	// MethodErase removes the only key that opens the file: copies of the file that
	// lie elsewhere stay unreadable.
	MethodErase = "crypto-erase"
	// MethodOverwrite writes zeros over a file of before, which has no key of its
	// own. Copies elsewhere open as long as the storage key exists.
	MethodOverwrite = "overwrite"
	// MethodAbsent says that the store held no file.
	MethodAbsent = "absent"
)

// dataKey is the key of a snapshot's files in the directory dir.
func (s *Store) dataKey(ctx context.Context, id, dir string) ([]byte, error) {
	raw, err := readBounded(filepath.Join(dir, keyFile), maxKeyFile)
	if errors.Is(err, fs.ErrNotExist) {
		if s.key == nil {
			return nil, fmt.Errorf("failed to find the key of snapshot %s: %w", id, sealed.ErrKeyLost)
		}
		return s.key, nil
	}
	if err != nil {
		return nil, fmt.Errorf("failed to read the key of snapshot %s: %w", id, err)
	}
	var r keyRecord
	if err := json.Unmarshal(raw, &r); err != nil || r.Version != 1 {
		return nil, fmt.Errorf("failed to read the key of snapshot %s: %w", id, sealed.ErrKeyLost)
	}
	key, err := s.wrapper().Unwrap(ctx, keyPlace(id), r.Wrapped)
	if err != nil {
		return nil, fmt.Errorf("failed to open the key of snapshot %s: %w", id, err)
	}
	return key, nil
}

func (s *Store) wrapper() sealed.Wrapper {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys
}

func (s *Store) wrapBy(w sealed.Wrapper) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = w
}

// newDataKey draws a snapshot's key and writes it wrapped into dir.
func (s *Store) newDataKey(ctx context.Context, id, dir string) ([]byte, error) {
	key, err := sealed.NewDataKey()
	if err != nil {
		return nil, err
	}
	text, err := encodeKey(ctx, s.wrapper(), keyPlace(id), key)
	if err != nil {
		return nil, err
	}
	return key, writeSync(filepath.Join(dir, keyFile), text)
}

func encodeKey(ctx context.Context, by sealed.Wrapper, place string, key []byte) ([]byte, error) {
	wrapped, err := by.Wrap(ctx, place, key)
	if err != nil {
		return nil, fmt.Errorf("failed to wrap a data key: %w", err)
	}
	text, err := json.Marshal(keyRecord{Version: 1, Wrapped: wrapped})
	if err != nil {
		return nil, fmt.Errorf("failed to encode a data key: %w", err)
	}
	return append(text, '\n'), nil
}

func readBounded(name string, most int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(raw)) > most {
		return nil, sealed.ErrDamaged
	}
	return raw, err
}

// Rewrap moves the keys of all snapshots under another wrapper, which then wraps
// those to come, and returns how many it moved and how many snapshots of before
// have no key of their own and stay under the storage key. Files are not written
// anew, and leases go on. After an error some keys are under either wrapper:
// both must go on being given to OpenStore, and Rewrap can be called again.
func (s *Store) Rewrap(ctx context.Context, to sealed.Wrapper) (moved, old int, err error) {
	s.naming.Lock()
	defer s.naming.Unlock()
	s.wrapBy(sealed.Wrappers{to, s.wrapper()})
	ids, err := s.ids()
	if err != nil {
		return 0, 0, err
	}
	for _, id := range ids {
		dir := s.path("snapshots", id)
		if _, err := os.Stat(filepath.Join(dir, keyFile)); errors.Is(err, fs.ErrNotExist) {
			old++
			continue
		}
		key, err := s.dataKey(ctx, id, dir)
		if err != nil {
			return moved, old, err
		}
		text, err := encodeKey(ctx, to, keyPlace(id), key)
		clear(key)
		if err != nil {
			return moved, old, err
		}
		if err := ReplaceKey(filepath.Join(dir, keyFile), text); err != nil {
			return moved, old, err
		}
		moved++
	}
	// Who read a key file before it was replaced still unwraps it by the old one.
	return moved, old, nil
}

// ReplaceKey puts a new wrapped key in the place of an old one, durably, and
// writes zeros over the old one.
func ReplaceKey(name string, text []byte) error {
	old := name + ".old"
	if err := writeSync(name+".new", text); err != nil {
		return err
	}
	if err := durable.Discard(old, "key.stray"); err != nil {
		return fmt.Errorf("failed to replace a key: %w", err)
	}
	if err := durable.Around("key.link", func() error { return os.Link(name, old) }); err != nil {
		return fmt.Errorf("failed to replace a key: %w", err)
	}
	if err := durable.Around("key.rename", func() error { return os.Rename(name+".new", name) }); err != nil {
		return fmt.Errorf("failed to replace a key: %w", err)
	}
	if err := syncDir(filepath.Dir(name)); err != nil {
		return err
	}
	return EraseKey(old)
}

// EraseKey writes zeros over a wrapped key and removes it, durably. That it is
// missing is no error. A file system that copies on write keeps old blocks for a
// while: what makes them useless is a change of the master key.
func EraseKey(name string) error { return eraseKey(name, func(string) error { return nil }) }

func eraseKey(name string, fault func(string) error) error {
	for _, step := range []func() error{
		func() error { return fault("key") }, func() error { return overwrite(name, fault) }, func() error { return fault("unlink") },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	if err := durable.Discard(name, "key.remove"); err != nil {
		return fmt.Errorf("failed to remove a key: %w", err)
	}
	return syncDir(filepath.Dir(name))
}

// overwrite writes zeros over a file.
func overwrite(name string, fault func(string) error) error {
	// A sealed file is read-only; its owner may change that.
	if err := os.Chmod(name, 0o600); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("failed to open what is to be destroyed: %w", err)
	}
	info, err := f.Stat()
	if err == nil {
		err = durable.Around("key.overwrite", func() (err error) {
			zeros := make([]byte, min(info.Size(), 1<<20))
			for left := info.Size(); err == nil && left > 0; left -= int64(len(zeros)) {
				_, err = f.Write(zeros[:min(left, int64(len(zeros)))])
			}
			return errors.Join(err, fault("overwrite"), f.Sync())
		})
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("failed to write over what is to be destroyed: %w", err)
	}
	return nil
}

// ids lists the snapshots that have a name, sorted.
func (s *Store) ids() ([]string, error) {
	entries, err := os.ReadDir(s.path("snapshots"))
	if err != nil {
		return nil, fmt.Errorf("failed to list snapshots: %w", err)
	}
	var out []string
	for _, e := range entries {
		if isID(e.Name()) {
			out = append(out, e.Name())
		}
	}
	return out, nil
}

// Old counts the snapshots that have no key of their own.
func (s *Store) Old() int {
	n := 0
	ids, _ := s.ids()
	for _, id := range ids {
		if s.Method(id) == MethodOverwrite {
			n++
		}
	}
	return n
}

// Method says how Destroy would destroy a snapshot.
func (s *Store) Method(id string) string {
	if !isID(id) {
		return MethodAbsent
	}
	if _, err := os.Stat(s.path("snapshots", id, keyFile)); err == nil {
		return MethodErase
	}
	if _, err := os.Stat(s.path("snapshots", id)); err == nil {
		return MethodOverwrite
	}
	return MethodAbsent
}

// Destroy makes the snapshots that ids name and all others of a data set
// unreadable for good, in this order: no name leads to them, opened copies are
// dropped, their keys are overwritten and removed, the files deleted. Each step is
// durable before the next. It waits for leases to end until ctx does. What is gone
// already is no error, so it can be called again after any failure; what a crash
// leaves in staging is destroyed when the store opens.
func (s *Store) Destroy(ctx context.Context, dataset string, ids ...string) error {
	for _, id := range ids {
		if !isID(id) {
			return errors.New("failed to destroy snapshot: not a snapshot id")
		}
	}
	for {
		freed, err := s.destroy(dataset, ids)
		if freed == nil || err != nil {
			return err
		}
		select {
		case <-freed:
		case <-ctx.Done():
			return fmt.Errorf("failed to destroy snapshot: it is still in use: %w", ctx.Err())
		}
	}
}

// Idle waits until no lease names a snapshot, or ctx ends.
func (s *Store) Idle(ctx context.Context, id string) error {
	for {
		s.mu.Lock()
		n, freed := s.leased[id], s.freed
		s.mu.Unlock()
		if n == 0 {
			return nil
		}
		select {
		case <-freed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// destroy is Destroy without waiting: it returns a channel that is closed when a
// lease in its way may have ended.
func (s *Store) destroy(dataset string, ids []string) (<-chan struct{}, error) {
	s.naming.Lock()
	defer s.naming.Unlock()
	all, err := s.of(dataset)
	if err != nil {
		return nil, err
	}
	all = append(all, ids...)
	slices.Sort(all)
	all = slices.Compact(all)
	s.mu.Lock()
	freed := s.freed
	busy := slices.ContainsFunc(all, func(id string) bool { return s.leased[id] > 0 })
	s.mu.Unlock()
	if busy {
		return freed, nil
	}
	if err := s.step("pointer"); err != nil {
		return nil, err
	}
	if err := durable.Discard(s.pointer(dataset), "pointer.remove"); err != nil {
		return nil, fmt.Errorf("failed to destroy snapshot: %w", err)
	}
	if err := syncDir(s.path("current")); err != nil {
		return nil, err
	}
	grave, err := s.stage()
	if err != nil {
		return nil, err
	}
	for _, id := range all {
		if err := s.step("name"); err != nil {
			return nil, err
		}
		if _, err := os.Stat(s.path("snapshots", id)); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if moved, err := s.bury(id, filepath.Join(grave, id)); err != nil {
			return nil, err
		} else if !moved {
			return freed, nil
		}
	}
	if err := errors.Join(syncDir(s.path("snapshots")), syncDir(grave), syncDir(s.path("staging"))); err != nil {
		return nil, err
	}
	return nil, s.erase(grave)
}

// of lists the snapshots of a data set that the store holds. One whose manifest
// does not open is nobody's as far as anybody can tell.
func (s *Store) of(dataset string) ([]string, error) {
	ids, err := s.ids()
	if err != nil {
		return nil, err
	}
	ids = slices.DeleteFunc(ids, func(id string) bool {
		m, err := s.Manifest(id)
		return err != nil || m.Dataset != dataset
	})
	if raw, err := os.ReadFile(s.pointer(dataset)); err == nil && isID(string(raw)) {
		ids = append(ids, string(raw))
	}
	return ids, nil
}

// erase destroys all that lies in a directory below staging: keys first, so that
// a crash leaves at worst a file that nothing opens.
func (s *Store) erase(dir string) error {
	var keys, old []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil || d.IsDir():
		case strings.HasPrefix(d.Name(), keyFile):
			keys = append(keys, path)
		case d.Name() == dataFile:
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), keyFile)); errors.Is(err, fs.ErrNotExist) {
				old = append(old, path, filepath.Join(filepath.Dir(path), manifestFile))
			}
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("failed to look into staging: %w", err)
	}
	for _, name := range keys {
		if err := eraseKey(name, s.step); err != nil {
			return err
		}
	}
	for _, name := range old {
		if err := overwrite(name, s.step); err != nil {
			return err
		}
	}
	if err := s.step("file"); err != nil {
		return err
	}
	if err := durable.Around("store.empty", func() error { return os.RemoveAll(dir) }); err != nil {
		return fmt.Errorf("failed to empty staging: %w", err)
	}
	return syncDir(s.path("staging"))
}

// step is where tests let a destruction end half way.
func (s *Store) step(name string) error {
	if s.fault == nil {
		return nil
	}
	return s.fault(name)
}
