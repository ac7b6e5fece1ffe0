// Package backup copies a gateway's home, while it runs, into encrypted objects
// in another directory, checks them, and makes a new home of them. A home that was
// restored does not serve before the regulator has confirmed its ledger: an old
// backup must not give spent budget back.
package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"filippo.io/age"

	"github.com/sandgate/sandgate/gateway/home"
	"github.com/sandgate/sandgate/ledger"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/state"
)

// The directory of backups:
//
//	objects/<sha256>.age      a piece of a file, named by its content
//	keys/<of>/<sha256>.age    the same of a wrapped key, which destruction removes
//	backup-<time>-<size>.age  one backup: which files, of which pieces
//	key.age                   with a passphrase only: the key of all, encrypted to it
const (
	objectsDir = "objects"
	keysDir    = "keys"
	prefix     = "backup-"
	suffix     = ".age"
	keyFile    = "key.age"
	walPath    = "ledger/log.wal"

	// pieceSize bounds memory, and lets a growing file be stored once.
	pieceSize = 4 << 20
	// maxManifest bounds a list of files in bytes.
	maxManifest = 256 << 20
)

// File is one file of a backup.
type File struct {
	Path   string   `json:"path"` // in the home, with slashes
	Size   int64    `json:"size"`
	SHA256 string   `json:"sha256"`
	Pieces []string `json:"pieces"`
	// Of names what a wrapped key is the key of; empty for every other file.
	Of string `json:"of,omitempty"`
}

// Manifest is one backup.
type Manifest struct {
	Version int         `json:"version"`
	Created time.Time   `json:"created"`
	Origin  string      `json:"origin"`
	Tree    ledger.Tree `json:"tree"` // of the ledger in it
	Files   []File      `json:"files"`
}

// Report says what Create, Verify or Restore did.
type Report struct {
	Name    string `json:"name"`
	Files   int    `json:"files"`
	Bytes   int64  `json:"bytes"`   // of the files
	Written int64  `json:"written"` // new in the directory, encrypted
	Entries uint64 `json:"entries"` // of the ledger
	Root    string `json:"root"`
	// Destroyed lists keys that are gone because their snapshot was destroyed after
	// the backup; Lost lists data sets whose snapshot in force is in no backup.
	Destroyed []string `json:"destroyed,omitempty"`
	Lost      []string `json:"lost,omitempty"`
}

// creation is one run of Create.
type creation struct {
	home *home.Home
	at   store
	have map[string]bool // objects that are there
	to   []age.Recipient
	rep  *Report
}

// errMoved says that the home changed while it was read; reading starts again.
var errMoved = errors.New("the gateway changed its snapshots or keys meanwhile")

// Create adds a backup of a home to a location: a directory, or an S3-compatible
// store as s3+https://HOST[:PORT]/BUCKET[/PREFIX]. The gateway may run: what is copied is the
// ledger up to a point and all files that it names up to there. Keys of snapshots
// that the ledger says are destroyed are removed from it, so that no backup there
// opens them any more.
func Create(ctx context.Context, h *home.Home, location string, to []age.Recipient, now time.Time) (*Report, error) {
	if len(to) == 0 {
		return nil, errors.New("a backup is always encrypted: name a recipient or a passphrase file")
	}
	at, err := open(location)
	if err != nil {
		return nil, err
	}
	if err := at.prepare(ctx); err != nil {
		return nil, err
	}
	for range 5 {
		c := &creation{home: h, at: at, have: map[string]bool{}, to: to, rep: &Report{}}
		if err = c.run(ctx, now); err == nil {
			return c.rep, nil
		}
		if !errors.Is(err, errMoved) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("failed to back up: %w", err)
}

func (c *creation) run(ctx context.Context, now time.Time) error {
	for _, dir := range []string{objectsDir, keysDir} {
		names, err := c.at.list(ctx, dir+"/")
		if err != nil {
			return err
		}
		for _, name := range names {
			c.have[name] = true
		}
	}
	s := state.New()
	log, err := readLog(c.home.Ledger(), s.Apply)
	if err != nil {
		return err
	}
	if s.Genesis() == nil {
		return errors.New("the ledger is empty: there is nothing to back up")
	}
	ring, err := os.ReadFile(filepath.Join(c.home.Dir, home.KeyringFile))
	if err != nil {
		return fmt.Errorf("failed to read the keyring: %w", err)
	}
	m := &Manifest{Version: 1, Created: now.UTC(), Origin: log.Origin, Tree: log.Tree}
	wal, err := os.Open(ledger.WriteAheadFile(c.home.Ledger()))
	if err != nil {
		return fmt.Errorf("failed to open the ledger: %w", err)
	}
	defer wal.Close()
	if err := c.add(ctx, m, walPath, "", io.LimitReader(wal, log.Bytes)); err != nil {
		return err
	}
	for _, w := range wanted(c.home, s) {
		if err := c.addFile(ctx, m, w); err != nil {
			return err
		}
	}
	if err := c.still(log, ring); err != nil {
		return err
	}
	if err := c.forget(ctx, s); err != nil {
		return err
	}
	return c.finish(ctx, m)
}

// readLog replays a log directory's write-ahead file.
func readLog(dir string, visit func(uint64, []byte) error, at ...uint64) (ledger.WriteAhead, error) {
	f, err := os.Open(ledger.WriteAheadFile(dir))
	if err != nil {
		return ledger.WriteAhead{}, fmt.Errorf("failed to open the ledger: %w", err)
	}
	defer f.Close()
	return ledger.ReadWriteAhead(f, visit, at...)
}

// want is a file that a backup has to have.
type want struct {
	path     string
	of       string
	optional bool
}

// wanted lists what a home needs beside its ledger at the state s.
func wanted(h *home.Home, s *state.State) []want {
	var out []want
	for _, name := range home.Files {
		out = append(out, want{path: name, optional: name == home.UnlockFile})
	}
	for _, id := range s.Book().Datasets() {
		snap, ok := s.Snapshot(id)
		if !ok {
			continue
		}
		at := "snapshots/snapshots/" + snap.Snapshot
		out = append(out, want{path: at + "/manifest.sealed"}, want{path: at + "/data.sealed"},
			want{path: at + "/key.json", of: "snapshot-" + snap.Snapshot, optional: true},
			want{path: "snapshots/current/" + id, optional: true})
	}
	shared := map[string]bool{}
	for _, id := range s.Jobs() {
		j, _ := s.Job(id)
		if j.Phase == state.PhaseReleased || j.Phase == state.PhaseRepeated {
			out = append(out, want{path: "releases/" + id + ".post.json", optional: true})
		}
		if j.Released == nil {
			continue
		}
		// Two jobs that drew the same numbers share a file.
		if path := "releases/" + j.Released.Digest + ".json"; !shared[path] {
			shared[path] = true
			out = append(out, want{path: path})
		}
		if j.Released.Cells != "" && !gone(s, j) {
			out = append(out, want{path: "exact/" + id + ".cells"}, want{path: "exact/" + id + ".key", of: "exact-" + id, optional: true})
		}
	}
	for _, id := range s.ModuleFiles() {
		out = append(out, want{path: "models/" + id + ".module"}, want{path: "models/" + id + ".key", of: "model-" + id})
	}
	for _, id := range s.Models() {
		if m, _ := s.Model(id); m.Phase != state.PhaseReleased {
			continue // one under way is trained anew, on the price it has paid
		}
		// Of one that did not pass, and of one whose data was destroyed, parts are missing.
		for _, part := range []string{"parameters", "report", "figures", "answers"} {
			out = append(out, want{path: "models/" + id + "." + part, optional: true})
		}
		out = append(out, want{path: "models/" + id + ".key", of: "model-" + id, optional: true})
	}
	// A published twin, or what ties several, lies beside the models.
	published := func(id string) {
		out = append(out, want{path: "models/" + id + ".document", optional: true}, want{path: "models/" + id + ".answers", optional: true}, want{path: "models/" + id + ".key", of: "model-" + id, optional: true})
	}
	for _, id := range s.Twins() {
		if t, _ := s.Twin(id); t.Phase == state.PhaseReleased {
			published(id)
		}
	}
	for _, id := range s.AllRelations() {
		if r, _ := s.Relations(id); r.Phase == state.PhaseReleased {
			published(id)
		}
	}
	return out
}

// gone says whether the record of an exact release was destroyed with its data set.
func gone(s *state.State, j state.Job) bool {
	return slices.ContainsFunc(s.Destructions(j.Request.Core.Tables[0].Dataset), func(d state.Destruction) bool { return j.FinishSeq < d.Seq })
}

// still says whether nothing happened meanwhile that would make the copy one of two
// times: a snapshot replaced or destroyed, a key changed.
func (c *creation) still(before ledger.WriteAhead, ring []byte) error {
	now, err := os.ReadFile(filepath.Join(c.home.Dir, home.KeyringFile))
	if err != nil || !bytes.Equal(now, ring) {
		return errors.Join(errMoved, err)
	}
	_, err = readLog(c.home.Ledger(), func(seq uint64, text []byte) error {
		if seq < before.Tree.Size {
			return nil
		}
		e, err := entry.Decode(text)
		if err != nil {
			return err
		}
		if slices.Contains([]entry.Kind{entry.KindDestroyed, entry.KindRotated}, e.Kind) {
			return errMoved
		}
		return nil
	})
	return err
}

func (c *creation) addFile(ctx context.Context, m *Manifest, w want) error {
	f, err := os.Open(filepath.Join(c.home.Dir, filepath.FromSlash(w.path)))
	if errors.Is(err, fs.ErrNotExist) {
		if w.optional {
			return nil
		}
		return fmt.Errorf("%w: %s is missing", errMoved, w.path)
	}
	if err != nil {
		return fmt.Errorf("failed to open what is to be backed up: %w", err)
	}
	defer f.Close()
	return c.add(ctx, m, w.path, w.of, f)
}

// add stores a file in pieces.
func (c *creation) add(ctx context.Context, m *Manifest, path, of string, r io.Reader) error {
	out := File{Path: path, Of: of}
	whole := sha256.New()
	buf := make([]byte, pieceSize)
	for {
		n, err := io.ReadFull(r, buf)
		if n > 0 {
			sum := sha256.Sum256(buf[:n])
			name := hex.EncodeToString(sum[:])
			if err := c.object(ctx, objectName(of, name), buf[:n]); err != nil {
				return err
			}
			whole.Write(buf[:n])
			out.Size, out.Pieces = out.Size+int64(n), append(out.Pieces, name)
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err := errors.Join(err, ctx.Err()); err != nil {
			return fmt.Errorf("failed to read what is to be backed up: %w", err)
		}
	}
	out.SHA256 = hex.EncodeToString(whole.Sum(nil))
	m.Files = append(m.Files, out)
	c.rep.Files, c.rep.Bytes = c.rep.Files+1, c.rep.Bytes+out.Size
	return nil
}

func objectName(of, name string) string {
	if of != "" {
		return keysDir + "/" + of + "/" + name + suffix
	}
	return objectsDir + "/" + name + suffix
}

// object writes an encrypted object unless it is there.
func (c *creation) object(ctx context.Context, name string, text []byte) error {
	if c.have[name] {
		return nil
	}
	var out bytes.Buffer
	w, err := age.Encrypt(&out, c.to...)
	if err == nil {
		if _, err = w.Write(text); err == nil {
			err = w.Close()
		}
	}
	if err != nil {
		return fmt.Errorf("failed to encrypt a backup: %w", err)
	}
	if err := c.at.put(ctx, name, out.Bytes()); err != nil {
		return err
	}
	c.have[name] = true
	c.rep.Written += int64(out.Len())
	return nil
}

// forget removes the keys of what the ledger says is destroyed, from all backups in
// the directory.
func (c *creation) forget(ctx context.Context, s *state.State) error {
	var of []string
	for _, id := range s.Destroyed() {
		now, _ := s.Snapshot(id)
		for _, d := range s.Destructions(id) {
			if d.Snapshot != now.Snapshot {
				of = append(of, "snapshot-"+d.Snapshot)
			}
		}
	}
	for _, id := range s.Jobs() {
		if j, _ := s.Job(id); j.Released != nil && j.Released.Cells != "" && gone(s, j) {
			of = append(of, "exact-"+id)
		}
	}
	for _, id := range s.Destroyed() {
		for _, d := range s.Destructions(id) {
			for _, model := range s.ModelsEnding(d) {
				of = append(of, "model-"+model)
			}
		}
	}
	for _, name := range of {
		if err := c.at.remove(ctx, keysDir+"/"+name); err != nil {
			return fmt.Errorf("failed to remove the key of what is destroyed: %w", err)
		}
	}
	return nil
}

func (c *creation) finish(ctx context.Context, m *Manifest) error {
	text, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("failed to encode a backup: %w", err)
	}
	c.rep.Name = fmt.Sprintf("%s%s-%012d%s", prefix, m.Created.Format("20060102T150405.000Z"), m.Tree.Size, suffix)
	c.rep.Entries, c.rep.Root = m.Tree.Size, hex.EncodeToString(m.Tree.Root[:])
	return c.object(ctx, c.rep.Name, text)
}

// List names the backups at a location, oldest first.
func List(location string) ([]string, error) {
	at, err := open(location)
	if err != nil {
		return nil, err
	}
	return backups(context.Background(), at)
}

func backups(ctx context.Context, at store) ([]string, error) {
	out, err := at.list(ctx, prefix)
	if err != nil {
		return nil, err
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s holds no backup", at)
	}
	slices.Sort(out)
	return out, nil
}
