package gateway

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/compute/engine/sealed"
	"github.com/sandgate/sandgate/internal/durable"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
)

// Parts of what is kept of a model. All are encrypted under the model's own data key.
const (
	partParameters = "parameters" // the parameter file
	partReport     = "report"     // what the gate found, in full
	partFigures    = "figures"    // the noised figures on held-out units
	partAnswers    = "answers"    // the noised answers to passes, each under itself
	partDocument   = "document"   // of a synthetic twin, which is kept as a model is
)

// modelFiles is what is kept of one model.
type modelFiles struct {
	d   *Domain
	id  string
	key []byte
}

func (d *Domain) modelPath(id, part string) string {
	return filepath.Join(d.home.Models(), id+"."+part)
}

func modelKeyPlace(id string) string { return "models/" + id + "/key" }

// modelContext binds a part to its place: another model's, or another part, does not
// open there.
func modelContext(id, part string) string { return "models/v1/" + id + "/" + part }

// openModel returns the files of a model; fresh makes the key of one that has none.
func (d *Domain) openModel(id string, fresh bool) (*modelFiles, error) {
	d.modelKeys.Lock()
	defer d.modelKeys.Unlock()
	return d.openModelLocked(id, fresh)
}

// openModelLocked is openModel for a caller that holds modelKeys.
func (d *Domain) openModelLocked(id string, fresh bool) (*modelFiles, error) {
	path := d.modelPath(id, "key")
	wrapped, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && fresh {
		key, err := sealed.NewDataKey()
		if err != nil {
			return nil, err
		}
		wrapped, err := d.wrapper().Wrap(d.ctx, modelKeyPlace(id), key)
		if err != nil {
			return nil, fmt.Errorf("failed to wrap the key of a model: %w", err)
		}
		if err := os.MkdirAll(d.home.Models(), 0o700); err != nil {
			return nil, fmt.Errorf("failed to create the directory of models: %w", err)
		}
		return &modelFiles{d, id, key}, durable.Write(path, []byte(wrapped), "model.key")
	}
	if err != nil {
		return nil, fmt.Errorf("failed to read the key of a model: %w", err)
	}
	key, err := d.wrapper().Unwrap(d.ctx, modelKeyPlace(id), string(wrapped))
	if err != nil {
		return nil, fmt.Errorf("failed to unwrap the key of a model: %w", err)
	}
	return &modelFiles{d, id, key}, nil
}

// close forgets the key.
func (f *modelFiles) close() { clear(f.key) }

// seed is what a model's split and draws follow from, the same in every run of it.
func (f *modelFiles) seed() []byte {
	mac := hmac.New(sha256.New, f.key)
	mac.Write([]byte("sandgate/model-seed/v1"))
	return mac.Sum(nil)
}

func (f *modelFiles) encrypt(part string, plain []byte) ([]byte, error) {
	var file bytes.Buffer
	w, err := sealed.NewWriter(&file, f.key, modelContext(f.id, part), int64(len(plain)))
	if err == nil {
		if _, err = w.Write(plain); err == nil {
			err = w.Close()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("failed to encrypt a part of a model: %w", err)
	}
	return file.Bytes(), nil
}

func (f *modelFiles) decrypt(part string, file []byte) ([]byte, error) {
	r, err := sealed.NewReader(bytes.NewReader(file), f.key, modelContext(f.id, part))
	if err != nil {
		return nil, fmt.Errorf("failed to open a part of a model: %w", err)
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("failed to open a part of a model: %w", err)
	}
	return plain, nil
}

// save keeps a part so that it is there after a power failure.
func (f *modelFiles) save(part string, plain []byte) error {
	file, err := f.encrypt(part, plain)
	if err != nil {
		return err
	}
	return durable.Write(f.d.modelPath(f.id, part), file, "model")
}

// load returns a part, nil when there is none.
func (f *modelFiles) load(part string) ([]byte, error) {
	file, err := os.ReadFile(f.d.modelPath(f.id, part))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("failed to read a part of a model: %w", err)
	}
	return f.decrypt(part, file)
}

// answers is the journal of a model's answered passes: what the noise has paid for
// once is never drawn again. Each answer is durable before anybody uses it.
type answers struct {
	of   *modelFiles
	file *os.File
	all  []answered
}

// answered is one answered pass.
type answered struct {
	digest [sha256.Size]byte // of the pass
	sums   []int64           // noised
}

func answerPart(n int) string { return fmt.Sprintf("answer/%d", n) }

// answers opens the journal. A last answer that was not written whole was used by
// nobody and is cut off.
func (f *modelFiles) answers() (*answers, error) {
	file, err := os.OpenFile(f.d.modelPath(f.id, partAnswers), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("failed to open answered passes: %w", err)
	}
	a := &answers{of: f, file: file}
	text, err := io.ReadAll(file)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("failed to read answered passes: %w", err), file.Close())
	}
	at := 0
	for at+4 <= len(text) {
		n := int(binary.LittleEndian.Uint32(text[at:]))
		if n > len(text)-at-4 {
			break
		}
		plain, err := f.decrypt(answerPart(len(a.all)), text[at+4:at+4+n])
		if err != nil || len(plain) < sha256.Size || (len(plain)-sha256.Size)%8 != 0 {
			return nil, errors.Join(errors.New("failed to read answered passes: one is damaged"), file.Close())
		}
		x := answered{digest: [sha256.Size]byte(plain)}
		for b := plain[sha256.Size:]; len(b) > 0; b = b[8:] {
			x.sums = append(x.sums, int64(binary.LittleEndian.Uint64(b)))
		}
		a.all = append(a.all, x)
		at += 4 + n
	}
	if err := durable.Around("model.mend", func() error { return file.Truncate(int64(at)) }); err != nil {
		return nil, errors.Join(fmt.Errorf("failed to cut answered passes: %w", err), file.Close())
	}
	if _, err := file.Seek(int64(at), io.SeekStart); err != nil {
		return nil, errors.Join(fmt.Errorf("failed to read answered passes: %w", err), file.Close())
	}
	return a, nil
}

func (a *answers) close() error { return a.file.Close() }

// at returns the n-th answer. It errs when that was given to another pass.
func (a *answers) at(n int, digest [sha256.Size]byte) (sums []int64, ok bool, err error) {
	if n >= len(a.all) {
		return nil, false, nil
	}
	if a.all[n].digest != digest {
		return nil, false, errors.New("an answered pass is not the one that is asked")
	}
	return slices.Clone(a.all[n].sums), true, nil
}

// add keeps an answer, durably.
func (a *answers) add(digest [sha256.Size]byte, sums []int64) error {
	plain := slices.Clone(digest[:])
	for _, v := range sums {
		plain = binary.LittleEndian.AppendUint64(plain, uint64(v))
	}
	file, err := a.of.encrypt(answerPart(len(a.all)), plain)
	if err != nil {
		return err
	}
	err = durable.Around("model.answer", func() error {
		_, err := a.file.Write(append(binary.LittleEndian.AppendUint32(nil, uint32(len(file))), file...))
		return errors.Join(err, a.file.Sync())
	})
	if err != nil {
		return fmt.Errorf("failed to keep an answered pass: %w", err)
	}
	a.all = append(a.all, answered{digest, slices.Clone(sums)})
	return nil
}

// dropModel removes what is kept of a model that ended without a certificate, the key
// first: without it the rest cannot be read.
func (d *Domain) dropModel(id string) error {
	d.modelKeys.Lock()
	err := engine.EraseKey(d.modelPath(id, "key"))
	d.modelKeys.Unlock()
	if err != nil {
		return err
	}
	files, err := filepath.Glob(d.modelPath(id, "*"))
	if err != nil {
		return fmt.Errorf("failed to list what is kept of a model: %w", err)
	}
	for _, f := range files {
		if err := durable.Discard(f, "model.drop"); err != nil {
			return fmt.Errorf("failed to remove what is kept of a model: %w", err)
		}
	}
	return nil
}

// sweepModels removes what is kept of models that the ledger knows to have ended
// without a certificate, or knows nothing of: a crash came between.
func (d *Domain) sweepModels() error {
	if err := os.MkdirAll(d.home.Models(), 0o700); err != nil {
		return fmt.Errorf("failed to create the directory of models: %w", err)
	}
	files, err := os.ReadDir(d.home.Models())
	if err != nil {
		return fmt.Errorf("failed to list models: %w", err)
	}
	var modules []string
	d.log.View(func() { modules = d.state.ModuleFiles() })
	for _, f := range files {
		id, _, _ := strings.Cut(f.Name(), ".")
		keep := slices.Contains(modules, id)
		d.log.View(func() {
			m, _ := d.state.Model(id)
			t, _ := d.state.Twin(id)
			r, _ := d.state.Relations(id)
			for _, phase := range []state.Phase{m.Phase, t.Phase, r.Phase} {
				keep = keep || phase == state.PhaseReserved || phase == state.PhaseReleased
			}
		})
		if keep {
			continue
		}
		if err := os.Remove(filepath.Join(d.home.Models(), f.Name())); err != nil {
			return fmt.Errorf("failed to remove what is kept of a model: %w", err)
		}
	}
	return nil
}

// tellOfMissingModels logs what of certified models is not there any more, so that it is
// restored before somebody asks for it. Without a key nothing is expected: it went with
// a snapshot, or whoever asks is told.
func (d *Domain) tellOfMissingModels() {
	var all []state.Model
	var published []string
	d.log.View(func() {
		for _, id := range d.state.Twins() {
			if t, _ := d.state.Twin(id); t.Phase == state.PhaseReleased {
				published = append(published, id)
			}
		}
		for _, id := range d.state.AllRelations() {
			if r, _ := d.state.Relations(id); r.Phase == state.PhaseReleased {
				published = append(published, id)
			}
		}
		for _, id := range d.state.Models() {
			if m, _ := d.state.Model(id); m.Phase == state.PhaseReleased {
				all = append(all, m)
			}
		}
	})
	there := func(id, part string) bool {
		_, err := os.Stat(d.modelPath(id, part))
		return !errors.Is(err, fs.ErrNotExist)
	}
	for _, t := range published {
		if there(t, "key") && !there(t, partDocument) {
			d.opt.Logger.Error("what is kept of a twin is missing: restore the directory models of the home from backup", "twin", t)
		}
	}
	for _, m := range all {
		id, parts := m.Request.Model, []string(nil)
		if m.Certified.Certificate.Basis == policies.BasisGate { // of a module neither is kept here
			parts = append(parts, partReport)
			if m.Certified.Certificate.Verdict == policies.VerdictPass {
				parts = append(parts, partParameters)
			}
		}
		if m.Certified.Certificate.Evaluation != "" {
			parts = append(parts, partFigures)
		}
		for _, part := range parts {
			if there(id, "key") && !there(id, part) {
				d.opt.Logger.Error("what is kept of a model is missing: restore the directory models of the home from backup", "model", id, "part", part)
			}
		}
	}
}

// eraseModels destroys what is kept of models that were trained on a snapshot before
// it was destroyed, but of private ones, which hold released values alone (R36).
func (d *Domain) eraseModels(c state.Destruction) error {
	var gone []string
	d.log.View(func() { gone = d.state.ModelsEnding(c) })
	for _, id := range gone {
		if err := d.dropModel(id); err != nil {
			return err
		}
	}
	return nil
}

// rewrapModels is rewrapCells for the keys of models. A key that were made meanwhile
// under the old wrapper would open nothing later, and one that were erased would come
// back: both wait.
func (d *Domain) rewrapModels(ctx context.Context, to sealed.Wrapper) (moved int, err error) {
	d.modelKeys.Lock()
	defer d.modelKeys.Unlock()
	files, err := filepath.Glob(filepath.Join(d.home.Models(), "*.key"))
	if err != nil {
		return 0, fmt.Errorf("failed to list models: %w", err)
	}
	for _, path := range files {
		id := strings.TrimSuffix(filepath.Base(path), ".key")
		f, err := d.openModelLocked(id, false)
		if err != nil {
			return moved, err
		}
		wrapped, err := to.Wrap(ctx, modelKeyPlace(id), f.key)
		f.close()
		if err != nil {
			return moved, fmt.Errorf("failed to wrap the key of a model: %w", err)
		}
		if err := engine.ReplaceKey(path, []byte(wrapped)); err != nil {
			return moved, err
		}
		moved++
	}
	return moved, nil
}

// digestOf is the SHA-256 of a text, hexadecimal.
func digestOf(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}
