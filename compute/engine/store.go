package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"github.com/sandgate/sandgate/compute/engine/ingest"
)

// Manifest describes one immutable snapshot.
type Manifest struct {
	Dataset string `json:"dataset"`
	// Snapshot is the content hash: equal for equal stored rows under equal
	// ingest rules and keys, whatever the order of the raw file.
	Snapshot string                `json:"snapshot"`
	Created  time.Time             `json:"created"`
	Rows     int64                 `json:"rows"`
	Units    int64                 `json:"units"`
	Bad      int64                 `json:"bad"`
	BadBy    map[ingest.Code]int64 `json:"bad_by,omitempty"`
	Columns  []ManifestColumn      `json:"columns"`
	Public   bool                  `json:"public,omitempty"`
	OneRow   bool                  `json:"one_row,omitempty"` // verified
	MaxRank  int64                 `json:"max_rank"`          // most rows of one unit; private, never released
	File     string                `json:"file_sha256"`
	Size     int64                 `json:"file_bytes"`
	Spec     string                `json:"spec_sha256"`
}

// ManifestColumn is one stored column with what was enforced on it.
type ManifestColumn struct {
	ingest.Stored
	Clamped int64 `json:"clamped,omitempty"` // values moved to a bound
	Others  int64 `json:"others,omitempty"`  // values that became the "other" code
}

// Store keeps snapshots in a directory:
//
//	current/<dataset>            the id of the snapshot in force
//	snapshots/<id>/manifest.json
//	snapshots/<id>/data.duckdb   read-only
//	staging/                     work in progress, emptied when the store opens
//
// A snapshot is complete before it has a name, and it comes into force by one
// rename, so a crash leaves the previous one in force. One process may hold a
// store at a time. It is safe for concurrent use.
type Store struct {
	dir  string
	lock *os.File

	mu       sync.Mutex
	verified map[string]fileStamp
}

// fileStamp is what makes a verified file count as unchanged.
type fileStamp struct {
	size  int64
	mtime time.Time
}

const (
	dataFile     = "data.duckdb"
	manifestFile = "manifest.json"
)

// ErrNoSnapshot says that a data set has no snapshot in force.
var ErrNoSnapshot = errors.New("data set has no snapshot")

// OpenStore opens or creates the store in dir and removes what an interrupted
// ingest left behind.
func OpenStore(dir string) (*Store, error) {
	for _, sub := range []string{"", "current", "snapshots"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, fmt.Errorf("failed to create snapshot store: %w", err)
		}
	}
	lock, err := lockFile(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, fmt.Errorf("failed to lock snapshot store: %w", err)
	}
	s := &Store{dir: dir, lock: lock, verified: map[string]fileStamp{}}
	if err := s.sweep(); err != nil {
		_ = lock.Close()
		return nil, err
	}
	return s, nil
}

// Close releases the store's lock.
func (s *Store) Close() error { return s.lock.Close() }

// sweep removes staging directories and temporary pointers of an earlier process.
func (s *Store) sweep() error {
	if err := os.RemoveAll(s.path("staging")); err != nil {
		return fmt.Errorf("failed to empty staging: %w", err)
	}
	if err := os.Mkdir(s.path("staging"), 0o700); err != nil {
		return fmt.Errorf("failed to create staging: %w", err)
	}
	stray, err := filepath.Glob(s.path("current", ".tmp-*"))
	if err != nil {
		return fmt.Errorf("failed to list store: %w", err)
	}
	for _, name := range stray {
		if err := os.Remove(name); err != nil {
			return fmt.Errorf("failed to remove stray file: %w", err)
		}
	}
	return nil
}

func (s *Store) path(parts ...string) string {
	return filepath.Join(append([]string{s.dir}, parts...)...)
}

var (
	plainName  = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)
	snapshotID = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// pointer is the file that names a data set's snapshot in force.
func (s *Store) pointer(dataset string) string {
	if plainName.MatchString(dataset) {
		return s.path("current", dataset)
	}
	sum := sha256.Sum256([]byte(dataset))
	return s.path("current", "~"+hex.EncodeToString(sum[:]))
}

// Current returns the manifest of the snapshot in force, or ErrNoSnapshot.
func (s *Store) Current(dataset string) (Manifest, error) {
	raw, err := os.ReadFile(s.pointer(dataset))
	if errors.Is(err, os.ErrNotExist) {
		return Manifest{}, fmt.Errorf("%w: %s", ErrNoSnapshot, dataset)
	}
	if err != nil {
		return Manifest{}, fmt.Errorf("failed to read current snapshot: %w", err)
	}
	m, err := s.manifest(string(raw))
	if err != nil {
		return Manifest{}, err
	}
	if m.Dataset != dataset {
		return Manifest{}, fmt.Errorf("failed to read current snapshot: it belongs to another data set than %s", dataset)
	}
	return m, nil
}

func (s *Store) manifest(id string) (Manifest, error) {
	var m Manifest
	if !snapshotID.MatchString(id) {
		return m, errors.New("failed to read manifest: not a snapshot id")
	}
	raw, err := os.ReadFile(s.path("snapshots", id, manifestFile))
	if err != nil {
		return m, fmt.Errorf("failed to read manifest: %w", err)
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return m, fmt.Errorf("failed to decode manifest: %w", err)
	}
	if m.Snapshot != id {
		return m, errors.New("failed to read manifest: it names another snapshot")
	}
	return m, nil
}

// Open returns a snapshot's file, read-only and with a position of its own, after
// comparing it with its manifest. The hash is computed once per process and
// again whenever the file's size or time changes.
func (s *Store) Open(id string) (*os.File, Manifest, error) {
	m, err := s.manifest(id)
	if err != nil {
		return nil, m, err
	}
	f, err := os.Open(s.path("snapshots", id, dataFile))
	if err != nil {
		return nil, m, fmt.Errorf("failed to open snapshot: %w", err)
	}
	if err := s.verify(f, m); err != nil {
		_ = f.Close()
		return nil, m, err
	}
	return f, m, nil
}

func (s *Store) verify(f *os.File, m Manifest) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("failed to inspect snapshot: %w", err)
	}
	stamp := fileStamp{info.Size(), info.ModTime()}
	s.mu.Lock()
	known, ok := s.verified[m.Snapshot]
	s.mu.Unlock()
	if ok && known == stamp {
		return nil
	}
	sum, err := hashFile(f)
	if err != nil {
		return err
	}
	if info.Size() != m.Size || sum != m.File {
		return fmt.Errorf("failed to verify snapshot %s: the file differs from its manifest; restore it from backup or ingest again", m.Snapshot)
	}
	s.mu.Lock()
	s.verified[m.Snapshot] = stamp
	s.mu.Unlock()
	return nil
}

func hashFile(f *os.File) (string, error) {
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(f, 0, 1<<62)); err != nil {
		return "", fmt.Errorf("failed to hash snapshot: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// stage creates an empty directory for one ingest.
func (s *Store) stage() (string, error) {
	dir, err := os.MkdirTemp(s.path("staging"), "ingest-")
	if err != nil {
		return "", fmt.Errorf("failed to create staging directory: %w", err)
	}
	return dir, nil
}

// commit makes the staged data file a snapshot and puts it in force. It fsyncs
// file, manifest and every directory it renames in, in that order.
func (s *Store) commit(dir string, m Manifest) (Manifest, error) {
	f, err := os.OpenFile(filepath.Join(dir, dataFile), os.O_RDWR, 0)
	if err != nil {
		return m, fmt.Errorf("failed to open staged snapshot: %w", err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return m, fmt.Errorf("failed to sync snapshot: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return m, fmt.Errorf("failed to inspect snapshot: %w", err)
	}
	m.Size = info.Size()
	if m.File, err = hashFile(f); err != nil {
		return m, err
	}
	if err := f.Chmod(0o444); err != nil {
		return m, fmt.Errorf("failed to protect snapshot: %w", err)
	}
	raw, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return m, fmt.Errorf("failed to encode manifest: %w", err)
	}
	if err := writeSync(filepath.Join(dir, manifestFile), raw); err != nil {
		return m, err
	}
	if err := syncDir(dir); err != nil {
		return m, err
	}
	target := s.path("snapshots", m.Snapshot)
	if old, err := s.manifest(m.Snapshot); err == nil {
		// The same content is there already. It stays, unless it was damaged.
		if g, _, err := s.Open(m.Snapshot); err == nil {
			_ = g.Close()
			return old, s.swap(m.Dataset, m.Snapshot)
		}
	}
	if err := os.RemoveAll(target); err != nil {
		return m, fmt.Errorf("failed to replace damaged snapshot: %w", err)
	}
	if err := os.Rename(dir, target); err != nil {
		return m, fmt.Errorf("failed to name snapshot: %w", err)
	}
	if err := syncDir(s.path("snapshots")); err != nil {
		return m, err
	}
	return m, s.swap(m.Dataset, m.Snapshot)
}

// swap puts a snapshot in force.
func (s *Store) swap(dataset, id string) error {
	tmp, err := os.CreateTemp(s.path("current"), ".tmp-")
	if err != nil {
		return fmt.Errorf("failed to create pointer: %w", err)
	}
	name := tmp.Name()
	_ = tmp.Close()
	if err := writeSync(name, []byte(id)); err != nil {
		return err
	}
	if err := os.Rename(name, s.pointer(dataset)); err != nil {
		return fmt.Errorf("failed to swap snapshot: %w", err)
	}
	return syncDir(s.path("current"))
}

func writeSync(name string, raw []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("failed to create file: %w", err)
	}
	_, err = f.Write(raw)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return fmt.Errorf("failed to write file: %w", err)
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("failed to open directory: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("failed to sync directory: %w", err)
	}
	return nil
}
