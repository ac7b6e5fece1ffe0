package engine

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/sandgate/sandgate/compute/engine/ingest"
	"github.com/sandgate/sandgate/compute/engine/sealed"
	"github.com/sandgate/sandgate/internal/durable"
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
	// Generalised is how k-anonymous columns were generalised; nil without any.
	Generalised *ingest.Generalised `json:"generalised,omitempty"`
	Format      int                 `json:"format"`      // sealed.Version of the data file
	File        string              `json:"file_sha256"` // of the encrypted data file
	Size        int64               `json:"file_bytes"`  // of the encrypted data file
	Data        int64               `json:"data_bytes"`  // of its content
	Spec        string              `json:"spec_sha256"`
}

// ManifestColumn is one stored column with what was enforced on it.
type ManifestColumn struct {
	ingest.Stored
	Clamped int64 `json:"clamped,omitempty"` // values moved to a bound
	Others  int64 `json:"others,omitempty"`  // values that became the "other" code
}

// Store keeps snapshots in a directory:
//
//	current/<dataset>              the id of the snapshot in force
//	snapshots/<id>/key.json        the wrapped key of the next two
//	snapshots/<id>/manifest.sealed
//	snapshots/<id>/data.sealed     read-only
//	staging/                       work in progress, emptied when the store opens
//
// Data and manifests lie there encrypted (package sealed); in plain text they
// exist in memory only. A snapshot is complete before it has a name, and it comes
// into force by one rename, so a crash leaves the previous one in force. One
// process may hold a store at a time. It is safe for concurrent use.
type Store struct {
	dir    string
	lock   *os.File
	key    []byte         // opens snapshots of before; nil: there are none
	keys   sealed.Wrapper // of data keys; guarded by mu
	memory *memory
	volume *Volume // nil: what does not fit into memory is refused
	// confined is StoreOptions.Confined, never nil.
	confined func(dataset string) bool
	fault    func(string) error // test hook

	// naming keeps Prune from a snapshot between its completion and its coming
	// into force.
	naming sync.Mutex
	mu     sync.Mutex
	leased map[string]int // leases that name a snapshot
	freed  chan struct{}  // closed and replaced when the last lease of a snapshot ends
	known  map[string]knownManifest
}

// knownManifest is a manifest that was opened before, and of which bytes.
type knownManifest struct {
	sum [sha256.Size]byte
	Manifest
}

// StoreOptions are what a store needs beside its directory.
type StoreOptions struct {
	// Key is the storage key, sealed.KeySize bytes: it opens snapshots that have no
	// key of their own, and wraps the keys of the others unless Keys does. It may be
	// nil when Keys is not.
	Key []byte
	// Keys wraps the snapshots' own keys; nil has Key do so.
	Keys sealed.Wrapper
	// Memory is the most bytes that opened snapshots and running ingests may
	// occupy together.
	Memory int64
	// Volume takes the snapshots that do not fit into Memory, and then every
	// ingest; nil refuses them.
	Volume *Volume
	// Confined says of a data set that it must not be put on a Volume whose
	// encryption is only declared: it is opened and ingested in memory, or not at
	// all. It is asked at every lease and ingest; nil confines nothing.
	Confined func(dataset string) bool
}

const (
	dataFile     = "data.sealed"
	manifestFile = "manifest.sealed"
)

// DataContext is what the data file of a snapshot is sealed for.
func DataContext(id string) string { return "snapshot/" + id + "/data" }

func manifestContext(id string) string { return "snapshot/" + id + "/manifest" }

// ErrNoSnapshot says that a data set has no snapshot in force.
var ErrNoSnapshot = errors.New("data set has no snapshot")

// OpenStore opens or creates the store in dir and removes what an interrupted
// ingest left behind.
func OpenStore(dir string, opt StoreOptions) (*Store, error) {
	if len(opt.Key) != sealed.KeySize && (opt.Key != nil || opt.Keys == nil) {
		return nil, errors.New("failed to open snapshot store: the storage key must be 32 bytes")
	}
	if opt.Keys == nil {
		var err error
		if opt.Keys, err = sealed.NewLocal(opt.Key); err != nil {
			return nil, fmt.Errorf("failed to open snapshot store: %w", err)
		}
	}
	if opt.Memory <= 0 {
		return nil, errors.New("failed to open snapshot store: snapshot memory must be positive")
	}
	for _, sub := range []string{"", "current", "snapshots"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, fmt.Errorf("failed to create snapshot store: %w", err)
		}
	}
	lock, err := lockFile(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, fmt.Errorf("failed to lock snapshot store: %w", err)
	}
	s := &Store{dir: dir, lock: lock, key: bytes.Clone(opt.Key), keys: opt.Keys, memory: newMemory(opt.Memory), volume: opt.Volume, confined: opt.Confined,
		leased: map[string]int{}, freed: make(chan struct{}), known: map[string]knownManifest{}}
	if s.confined == nil {
		s.confined = func(string) bool { return false }
	}
	if err := s.sweep(); err != nil {
		_ = lock.Close()
		return nil, err
	}
	return s, nil
}

// Close drops the opened snapshots, except those that leases still hold, and
// releases the store's lock.
func (s *Store) Close() error {
	s.memory.close()
	if s.volume != nil {
		s.volume.shelf.close()
	}
	return s.lock.Close()
}

// sweep destroys staging directories and temporary pointers of an earlier process.
func (s *Store) sweep() error {
	if err := os.MkdirAll(s.path("staging"), 0o700); err != nil {
		return fmt.Errorf("failed to create staging: %w", err)
	}
	left, err := os.ReadDir(s.path("staging"))
	if err != nil {
		return fmt.Errorf("failed to list staging: %w", err)
	}
	for _, e := range left {
		if err := s.erase(s.path("staging", e.Name())); err != nil {
			return err
		}
	}
	stray, err := filepath.Glob(s.path("current", ".tmp-*"))
	if err != nil {
		return fmt.Errorf("failed to list store: %w", err)
	}
	for _, name := range stray {
		if err := durable.Remove(name, "store.sweep"); err != nil {
			return fmt.Errorf("failed to remove stray file: %w", err)
		}
	}
	return nil
}

func (s *Store) path(parts ...string) string {
	return filepath.Join(append([]string{s.dir}, parts...)...)
}

// plainName and isID are written out: compiling patterns with counted repetitions
// would cost every worker's start a millisecond and memory for its life.
func plainName(s string) bool {
	for i, c := range []byte(s) {
		letter := c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_'
		if !letter && (i == 0 || c != '.' && c != '-') {
			return false
		}
	}
	return s != "" && len(s) <= 128
}

func isID(s string) bool {
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return len(s) == 64
}

// pointer is the file that names a data set's snapshot in force.
func (s *Store) pointer(dataset string) string {
	if plainName(dataset) {
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
	m, err := s.Manifest(string(raw))
	if err != nil {
		return Manifest{}, err
	}
	if m.Dataset != dataset {
		return Manifest{}, fmt.Errorf("failed to read current snapshot: it belongs to another data set than %s", dataset)
	}
	return m, nil
}

// maxManifest bounds a manifest in bytes.
const maxManifest = 16 << 20

// Manifest returns a snapshot's manifest. It does not touch the data file.
func (s *Store) Manifest(id string) (Manifest, error) {
	var m Manifest
	if !isID(id) {
		return m, errors.New("failed to read manifest: not a snapshot id")
	}
	file, err := readBounded(s.path("snapshots", id, manifestFile), sealed.Size(maxManifest))
	if err != nil {
		return m, fmt.Errorf("failed to read manifest: %w", err)
	}
	// A manifest whose bytes were opened before needs no key: what is open goes on
	// answering while the holder of the keys is away.
	sum := sha256.Sum256(file)
	s.mu.Lock()
	known, ok := s.known[id]
	s.mu.Unlock()
	if ok && known.sum == sum {
		return known.Manifest, nil
	}
	key, err := s.dataKey(context.Background(), id, s.path("snapshots", id))
	if err != nil {
		return m, err
	}
	r, err := sealed.NewReader(bytes.NewReader(file), key, manifestContext(id))
	if err != nil {
		return m, fmt.Errorf("failed to open manifest: %w", err)
	}
	raw, err := io.ReadAll(r)
	if err != nil {
		return m, fmt.Errorf("failed to open manifest: %w", err)
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return Manifest{}, errors.New("failed to decode manifest")
	}
	if m.Snapshot != id || m.Format != sealed.Version || m.Data < 0 || m.Size != sealed.Size(m.Data) {
		return Manifest{}, errors.New("failed to read manifest: it does not describe this snapshot")
	}
	s.mu.Lock()
	s.known[id] = knownManifest{sum, m}
	s.mu.Unlock()
	return m, nil
}

// errDiffers says what to do about a data file that is not what its manifest says.
func errDiffers(id string, err error) error {
	for _, differs := range []error{sealed.ErrDamaged, sealed.ErrNotSealed, sealed.ErrVersion} {
		if errors.Is(err, differs) {
			return fmt.Errorf("failed to open snapshot %s: %w; restore it from backup or ingest again", id, err)
		}
	}
	return fmt.Errorf("failed to open snapshot %s: %w", id, err)
}

// decrypt reads a snapshot's data file into draft, an empty file on the volume,
// or a new memory file when it is nil, and returns that read-only. Every chunk is
// authenticated before it is written there, and the whole file is compared with
// the hash in the manifest.
func (s *Store) decrypt(m Manifest, key []byte, draft *os.File) (*os.File, error) {
	f, err := os.Open(s.path("snapshots", m.Snapshot, dataFile))
	if err != nil {
		return nil, fmt.Errorf("failed to open snapshot: %w", err)
	}
	defer f.Close()
	hashed := make(chan error, 1)
	go func() { hashed <- s.checkHash(f, m) }() // a second core, where there is one
	out, err := s.decryptFile(f, m, key, draft)
	if hashErr := <-hashed; err == nil && hashErr != nil {
		_ = out.Close()
		return nil, hashErr
	}
	return out, err
}

func (s *Store) decryptFile(f *os.File, m Manifest, key []byte, draft *os.File) (*os.File, error) {
	r, err := sealed.NewReader(io.NewSectionReader(f, 0, math.MaxInt64), key, DataContext(m.Snapshot))
	if err != nil {
		return nil, errDiffers(m.Snapshot, err)
	}
	if r.Size() != m.Data {
		return nil, errDiffers(m.Snapshot, sealed.ErrDamaged)
	}
	out, freeze := draft, freezeVolumeFile
	if draft == nil {
		freeze = sealMemoryFile
		if out, err = newMemoryFile(); err != nil {
			return nil, err
		}
	}
	if _, err := r.WriteTo(out); err != nil {
		_ = out.Close()
		return nil, errDiffers(m.Snapshot, err)
	}
	return freeze(out)
}

// checkHash compares a data file with its manifest.
func (s *Store) checkHash(f *os.File, m Manifest) error {
	h := sha256.New()
	n, err := io.Copy(h, io.NewSectionReader(f, 0, math.MaxInt64))
	if err != nil {
		return fmt.Errorf("failed to hash snapshot: %w", err)
	}
	if n != m.Size || hex.EncodeToString(h.Sum(nil)) != m.File {
		return errDiffers(m.Snapshot, sealed.ErrDamaged)
	}
	return nil
}

// intact says whether the snapshot on disk is what its manifest says.
func (s *Store) intact(id string) (Manifest, bool) {
	m, err := s.Manifest(id)
	if err != nil {
		return m, false
	}
	f, err := os.Open(s.path("snapshots", id, dataFile))
	if err != nil {
		return m, false
	}
	defer f.Close()
	return m, s.checkHash(f, m) == nil
}

// stage creates an empty directory for one ingest.
func (s *Store) stage() (string, error) {
	dir, err := os.MkdirTemp(s.path("staging"), "ingest-")
	if err != nil {
		return "", fmt.Errorf("failed to create staging directory: %w", err)
	}
	return dir, nil
}

// commit encrypts a memory file into a new snapshot and puts it in force. It
// fsyncs file, manifest and every directory it renames in, in that order. fresh
// is false when the same content was there already.
func (s *Store) commit(m Manifest, data *os.File) (_ Manifest, fresh bool, err error) {
	s.naming.Lock()
	defer s.naming.Unlock()
	if old, ok := s.intact(m.Snapshot); ok {
		return old, false, s.swap(m.Dataset, m.Snapshot)
	}
	dir, err := s.stage()
	if err != nil {
		return m, false, err
	}
	defer os.RemoveAll(dir) // nothing is there once it is renamed
	info, err := data.Stat()
	if err != nil {
		return m, false, fmt.Errorf("failed to inspect snapshot: %w", err)
	}
	key, err := s.newDataKey(context.Background(), m.Snapshot, dir)
	if err != nil {
		return m, false, err
	}
	defer clear(key)
	m.Format, m.Data, m.Size = sealed.Version, info.Size(), sealed.Size(info.Size())
	sum, err := sealFile(filepath.Join(dir, dataFile), key, DataContext(m.Snapshot), io.NewSectionReader(data, 0, m.Data), m.Data)
	if err != nil {
		return m, false, err
	}
	m.File = hex.EncodeToString(sum)
	raw, err := json.Marshal(m)
	if err != nil {
		return m, false, fmt.Errorf("failed to encode manifest: %w", err)
	}
	if _, err := sealFile(filepath.Join(dir, manifestFile), key, manifestContext(m.Snapshot), bytes.NewReader(raw), int64(len(raw))); err != nil {
		return m, false, err
	}
	if err := syncDir(dir); err != nil {
		return m, false, err
	}
	target := s.path("snapshots", m.Snapshot)
	if err := durable.Around("snapshot.replace", func() error { return os.RemoveAll(target) }); err != nil {
		return m, false, fmt.Errorf("failed to replace damaged snapshot: %w", err)
	}
	if err := durable.Around("snapshot.rename", func() error { return os.Rename(dir, target) }); err != nil {
		return m, false, fmt.Errorf("failed to name snapshot: %w", err)
	}
	if err := syncDir(s.path("snapshots")); err != nil {
		return m, false, err
	}
	return m, true, s.swap(m.Dataset, m.Snapshot)
}

// sealFile writes size bytes of r to a new encrypted file and returns the hash of
// that file.
func sealFile(name string, key []byte, context string, r io.Reader, size int64) ([]byte, error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o400)
	if err != nil {
		return nil, fmt.Errorf("failed to create file: %w", err)
	}
	h := sha256.New()
	err = durable.Around("snapshot.seal", func() error {
		w, err := sealed.NewWriter(io.MultiWriter(f, h), key, context, size)
		if err == nil {
			if _, err = io.CopyBuffer(w, struct{ io.Reader }{r}, make([]byte, 1<<20)); err == nil {
				err = w.Close()
			}
		}
		return errors.Join(err, f.Sync())
	})
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("failed to write encrypted file: %w", err)
	}
	return h.Sum(nil), nil
}

// swap puts a snapshot in force.
func (s *Store) swap(dataset, id string) error {
	if err := durable.Write(s.pointer(dataset), []byte(id), "pointer"); err != nil {
		return fmt.Errorf("failed to swap snapshot: %w", err)
	}
	return nil
}

func writeSync(name string, raw []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("failed to create file: %w", err)
	}
	err = durable.Around("key.write", func() error {
		_, err := f.Write(raw)
		return errors.Join(err, f.Sync())
	})
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("failed to write file: %w", err)
	}
	return nil
}

func syncDir(dir string) error { return durable.SyncDir(dir, "store") }
