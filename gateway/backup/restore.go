package backup

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"filippo.io/age"

	"github.com/sandgate/sandgate/gateway/home"
	"github.com/sandgate/sandgate/internal/durable"
	"github.com/sandgate/sandgate/ledger"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/ledger/verify"
)

// archive is a place of backups with the key to it.
type archive struct {
	at  store
	ids []age.Identity
}

// read decrypts an object of at most most bytes.
func (a *archive) read(ctx context.Context, name string, most int64) ([]byte, error) {
	f, err := a.at.get(ctx, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, err := age.Decrypt(f, a.ids...)
	if err != nil {
		return nil, fmt.Errorf("%s does not open: it was changed, or is encrypted to another key", path.Base(name))
	}
	text, err := io.ReadAll(io.LimitReader(r, most+1))
	if err != nil || int64(len(text)) > most {
		return nil, fmt.Errorf("%s is damaged", path.Base(name))
	}
	return text, nil
}

// manifest reads one backup; an empty name is the newest.
func (a *archive) manifest(ctx context.Context, name string) (*Manifest, string, error) {
	names, err := backups(ctx, a.at)
	if err != nil {
		return nil, "", err
	}
	if name == "" {
		name = names[len(names)-1]
	}
	if name != filepath.Base(name) || !strings.HasPrefix(name, prefix) {
		return nil, "", fmt.Errorf("%q is not the name of a backup", name)
	}
	text, err := a.read(ctx, name, maxManifest)
	if err != nil {
		return nil, "", err
	}
	var m Manifest
	if err := json.Unmarshal(text, &m); err != nil || m.Version != 1 {
		return nil, "", fmt.Errorf("%s is of a version that this program does not know", name)
	}
	return &m, name, nil
}

// file writes the content of one file to w. missing says that it is the key of what
// was destroyed after the backup.
func (a *archive) file(ctx context.Context, f File, w io.Writer) (missing bool, err error) {
	if !filepath.IsLocal(filepath.FromSlash(f.Path)) || f.Of != "" && f.Of != filepath.Base(f.Of) {
		return false, errors.New("the backup names a file outside the home")
	}
	whole := sha256.New()
	size := int64(0)
	for _, p := range f.Pieces {
		if sum, err := hex.DecodeString(p); err != nil || len(sum) != sha256.Size {
			return false, errors.New("the backup names a piece that is none")
		}
		text, err := a.read(ctx, objectName(f.Of, p), pieceSize)
		if errors.Is(err, fs.ErrNotExist) && f.Of != "" {
			return true, nil
		}
		if err != nil {
			return false, err
		}
		if sum := sha256.Sum256(text); hex.EncodeToString(sum[:]) != p {
			return false, fmt.Errorf("%s: a piece is not the one that the backup names", f.Path)
		}
		size += int64(len(text))
		whole.Write(text)
		if _, err := w.Write(text); err != nil {
			return false, fmt.Errorf("failed to write %s: %w", f.Path, err)
		}
	}
	if size != f.Size || hex.EncodeToString(whole.Sum(nil)) != f.SHA256 {
		return false, fmt.Errorf("%s is not what the backup says", f.Path)
	}
	return false, nil
}

// Verify decrypts every object of a backup (the newest when name is empty), checks
// its hashes, and replays its ledger. It writes nothing.
func Verify(ctx context.Context, location, name string, ids []age.Identity) (*Report, error) {
	at, err := open(location)
	if err != nil {
		return nil, err
	}
	a := &archive{at, ids}
	m, name, err := a.manifest(ctx, name)
	if err != nil {
		return nil, err
	}
	rep := &Report{Name: name, Entries: m.Tree.Size, Root: hex.EncodeToString(m.Tree.Root[:])}
	replayed := false
	for _, f := range m.Files {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		w, done := io.Discard, func() error { return nil }
		if f.Path == walPath {
			w, done = replaying(m)
			replayed = true
		}
		missing, err := a.file(ctx, f, w)
		if err = errors.Join(err, done()); err != nil {
			return nil, err
		}
		if missing {
			rep.Destroyed = append(rep.Destroyed, f.Of)
			continue
		}
		rep.Files, rep.Bytes = rep.Files+1, rep.Bytes+f.Size
	}
	if !replayed {
		return nil, errors.New("the backup holds no ledger")
	}
	return rep, nil
}

// replaying is a writer that replays the write-ahead file written to it, and the
// function that says whether it is that of the manifest.
func replaying(m *Manifest) (io.Writer, func() error) {
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		log, err := ledger.ReadWriteAhead(r, state.New().Apply)
		if err == nil && (log.Tree != m.Tree || log.Origin != m.Origin) {
			err = errors.New("the ledger is not the one that the backup names")
		}
		_ = r.CloseWithError(err)
		done <- err
	}()
	return w, func() error { return errors.Join(w.Close(), <-done) }
}

// Restore makes a new home of a backup (the newest when name is empty). tail is a
// later copy of the same ledger, or empty: with it nothing that was spent after the
// backup is forgotten. The home serves only once the regulator has confirmed its
// ledger; see home.Restored. to does not exist, or is empty, until the home is whole:
// it is made beside it, in a directory that goes when the restoration fails.
func Restore(ctx context.Context, location, name, to, tail string, ids []age.Identity) (rep *Report, mark *home.Restored, err error) {
	at, err := open(location)
	if err != nil {
		return nil, nil, err
	}
	a := &archive{at, ids}
	m, name, err := a.manifest(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	if err := home.CheckEmpty(to); err != nil {
		return nil, nil, err
	}
	to = filepath.Clean(to)
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return nil, nil, fmt.Errorf("failed to make the home: %w", err)
	}
	part, err := os.MkdirTemp(filepath.Dir(to), "."+filepath.Base(to)+"-unfinished-*")
	if err != nil {
		return nil, nil, fmt.Errorf("failed to make the home: %w", err)
	}
	rep, mark, err = a.restore(ctx, m, name, part, tail)
	if err == nil {
		err = moveInto(part, to)
	}
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(part))
	}
	return rep, mark, nil
}

// moveInto gives a finished home its name.
func moveInto(part, to string) error {
	// Only an empty directory goes this way.
	if err := os.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("failed to take the home's place: %w", err)
	}
	if err := durable.Around("restore.rename", func() error { return os.Rename(part, to) }); err != nil {
		return fmt.Errorf("failed to name the home: %w", err)
	}
	return durable.SyncDir(filepath.Dir(to), "restore")
}

func (a *archive) restore(ctx context.Context, m *Manifest, name, to, tail string) (*Report, *home.Restored, error) {
	mark := &home.Restored{Backup: name, Origin: m.Origin}
	number := make([]byte, 32)
	if _, err := rand.Read(number); err != nil {
		return nil, nil, fmt.Errorf("failed to draw a number: %w", err)
	}
	mark.Home = hex.EncodeToString(number)
	for _, sub := range []string{".", "ledger", "guard", "releases", "exact", "models", "snapshots", "snapshots/current", "snapshots/snapshots"} {
		if err := os.MkdirAll(filepath.Join(to, sub), 0o700); err != nil {
			return nil, nil, fmt.Errorf("failed to make the home: %w", err)
		}
	}
	// The mark comes first: a restoration that is broken off never serves.
	if err := mark.Write(to); err != nil {
		return nil, nil, err
	}
	rep := &Report{Name: name}
	for _, f := range m.Files {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		missing, err := a.extract(ctx, f, to)
		if err != nil {
			return nil, nil, err
		}
		if missing {
			rep.Destroyed = append(rep.Destroyed, f.Of)
			// What has lost its key is of no use; without one it would look like a file
			// of before that never had one.
			if id, ok := strings.CutPrefix(f.Of, "snapshot-"); ok {
				if err := os.RemoveAll(filepath.Join(to, "snapshots", "snapshots", id)); err != nil {
					return nil, nil, fmt.Errorf("failed to remove what was destroyed: %w", err)
				}
			}
			continue
		}
		rep.Files, rep.Bytes = rep.Files+1, rep.Bytes+f.Size
	}
	if tail != "" {
		if err := takeTail(ctx, m, tail, filepath.Join(to, "ledger")); err != nil {
			return nil, nil, err
		}
	}
	if err := rebuild(ctx, to, m, mark, rep); err != nil {
		return nil, nil, err
	}
	return rep, mark, mark.Write(to)
}

func (a *archive) extract(ctx context.Context, f File, to string) (missing bool, err error) {
	dest := filepath.Join(to, filepath.FromSlash(f.Path))
	if f.Path == walPath {
		dest = ledger.WriteAheadFile(filepath.Join(to, "ledger"))
	}
	if !filepath.IsLocal(filepath.FromSlash(f.Path)) {
		return false, errors.New("the backup names a file outside the home")
	}
	if err := os.MkdirAll(filepath.Dir(dest), 0o700); err != nil {
		return false, fmt.Errorf("failed to make directory: %w", err)
	}
	out, err := os.OpenFile(dest, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return false, fmt.Errorf("failed to make file: %w", err)
	}
	err = durable.Around("restore.file", func() error {
		var err error
		missing, err = a.file(ctx, f, out)
		return errors.Join(err, out.Sync())
	})
	err = errors.Join(err, out.Close())
	if missing && err == nil {
		err = os.Remove(dest)
	}
	return missing, err
}

// takeTail puts a later copy of the ledger in the place of the backup's, after
// checking that it is one and that it goes on where the backup ends.
func takeTail(ctx context.Context, m *Manifest, tail, to string) error {
	s := state.New()
	later, err := readLog(tail, s.Apply, m.Tree.Size)
	if err != nil {
		return err
	}
	if later.Origin != m.Origin {
		return fmt.Errorf("the ledger copy is of %q, the backup of %q", later.Origin, m.Origin)
	}
	if root, ok := later.Roots[m.Tree.Size]; !ok || root != m.Tree.Root {
		return errors.New("the ledger copy does not go on where the backup ends: it is older, or of another history")
	}
	if s.LogKeys() == nil {
		return errors.New("the ledger copy is empty")
	}
	if _, err := verify.Dir(ctx, tail, s.LogKeys(), func(uint64, []byte) error { return nil }, nil); err != nil {
		return fmt.Errorf("the ledger copy is damaged: %w", err)
	}
	in, err := os.Open(ledger.WriteAheadFile(tail))
	if err != nil {
		return fmt.Errorf("failed to open the ledger copy: %w", err)
	}
	defer in.Close()
	out, err := os.OpenFile(ledger.WriteAheadFile(to), os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("failed to open the restored ledger: %w", err)
	}
	err = durable.Around("restore.tail", func() error {
		_, err := io.CopyN(out, in, later.Bytes)
		return errors.Join(err, out.Sync())
	})
	if err := errors.Join(err, out.Close()); err != nil {
		return fmt.Errorf("failed to take over the ledger copy: %w", err)
	}
	return nil
}

// rebuild makes the tiles of the restored ledger and sees what it names but the
// home does not hold.
func rebuild(ctx context.Context, to string, m *Manifest, mark *home.Restored, rep *Report) error {
	h, err := home.Open(to)
	if err != nil {
		return err
	}
	keys, err := h.Unlock()
	if err != nil {
		return err
	}
	s := state.New()
	log, err := readLog(h.Ledger(), s.Apply, m.Tree.Size)
	if err != nil {
		return err
	}
	if log.Roots[m.Tree.Size] != m.Tree.Root || log.Origin != h.Config.Origin {
		return errors.New("the restored ledger is not the one that the backup names")
	}
	_, signs, err := h.Follow(keys, s)
	if err != nil {
		return err
	}
	if err := ledger.Rebuild(ctx, ledger.Config{
		Dir: h.Ledger(), GuardDir: h.Guard(), Origin: h.Config.Origin, Signer: signs.Signer, ReceiptKey: signs.ReceiptKey,
		Keys: func() (ledger.Keys, error) { return signs, nil },
	}, state.New()); err != nil {
		return err
	}
	mark.Size, mark.Root = log.Tree.Size, hex.EncodeToString(log.Tree.Root[:])
	rep.Entries, rep.Root = mark.Size, mark.Root
	for _, id := range s.Book().Datasets() {
		snap, ok := s.Snapshot(id)
		if !ok {
			continue
		}
		if _, err := os.Stat(filepath.Join(h.Snapshots(), "snapshots", snap.Snapshot, "data.sealed")); errors.Is(err, fs.ErrNotExist) {
			rep.Lost = append(rep.Lost, id)
		}
	}
	return nil
}
