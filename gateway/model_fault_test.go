package gateway

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sandgate/sandgate/compute/engine/sealed"
	"github.com/sandgate/sandgate/gateway/home"
	"github.com/sandgate/sandgate/internal/durable"
)

var errDisk = errors.New("the disk fails")

// failing lets one point fail and says whether it was met.
func failing(t *testing.T, point string) (met *bool) {
	t.Helper()
	met = new(bool)
	durable.Inject(func(p string) error {
		if p == point {
			*met = true
			return errDisk
		}
		return nil
	})
	t.Cleanup(func() { durable.Inject(nil) })
	return met
}

// R29: whatever fails while a model's parts are kept, what was acknowledged is there
// afterwards, byte for byte, nothing is half there, and the model can go on.
func TestR29_FaultOfWhatIsKeptOfAModel(t *testing.T) {
	steps := []string{"model.key.write", "model.key.rename", "model.key.syncdir", "model.write", "model.rename", "model.syncdir", "model.answer", "model.mend", "model.drop"}
	for _, step := range steps {
		for _, when := range []string{"/before", "/after"} {
			t.Run(step+when, func(t *testing.T) {
				d := keeping(t)
				if f, err := d.openModel("m0", true); err != nil {
					t.Fatal(err)
				} else if err := f.save(partReport, []byte("another model's")); err != nil {
					t.Fatal(err)
				}
				first, second := sha256.Sum256([]byte("first pass")), sha256.Sum256([]byte("second pass"))
				if !strings.HasPrefix(step, "model.key") {
					f, err := d.openModel("m1", true)
					if err != nil {
						t.Fatal(err)
					}
					if err := errors.Join(f.save(partParameters, []byte("old")), answer(f, first, 1, -2)); err != nil {
						t.Fatal(err)
					}
				}
				met := failing(t, step+when)
				failed := func() error {
					f, err := d.openModel("m1", true)
					if err != nil {
						return err
					}
					if step == "model.drop" {
						return d.dropModel("m1")
					}
					return errors.Join(f.save(partParameters, []byte("new")), answer(f, second, 3))
				}()
				if durable.Inject(nil); !*met || !errors.Is(failed, errDisk) {
					t.Fatalf("the point was met: %v; %v", *met, failed)
				}
				f, err := d.openModel("m1", step != "model.drop")
				if step == "model.drop" {
					if err == nil {
						t.Error("what was dropped can be read still")
					}
				} else {
					whole(t, f, err, first, second, strings.HasPrefix(step, "model.key"))
				}
				other, err := d.openModel("m0", false)
				if err != nil {
					t.Fatal(err)
				}
				if got, err := other.load(partReport); err != nil || string(got) != "another model's" {
					t.Errorf("another model's part: %v", err)
				}
			})
		}
	}
}

// whole checks what a model that failed once has, and that it goes on.
func whole(t *testing.T, f *modelFiles, err error, first, second [sha256.Size]byte, fresh bool) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	got, err := f.load(partParameters)
	if err != nil || !(fresh && got == nil) && !bytes.Equal(got, []byte("old")) && !bytes.Equal(got, []byte("new")) {
		t.Errorf("parameters: %q, %v", got, err)
	}
	a, err := f.answers()
	if err != nil {
		t.Fatal(err)
	}
	n := len(a.all)
	if !fresh {
		if sums, ok, err := a.at(0, first); err != nil || !ok || !slices.Equal(sums, []int64{1, -2}) {
			t.Errorf("the first answer: %v %v %v", sums, ok, err)
		}
		if sums, ok, err := a.at(1, second); err != nil || ok && !slices.Equal(sums, []int64{3}) {
			t.Errorf("the second answer: %v %v", sums, err)
		}
	}
	if err := errors.Join(a.add(sha256.Sum256([]byte("third")), []int64{9}), a.close()); err != nil {
		t.Fatal(err)
	}
	if a, err = f.answers(); err != nil || len(a.all) != n+1 {
		t.Errorf("it does not go on: %v", err)
	} else if err := a.close(); err != nil {
		t.Fatal(err)
	}
}

// R34: a model's key that is made while the storage key changes is not left under the
// old one, which is erased thereafter; and one that is destroyed meanwhile stays so.
func TestR34_ModelKeysWhileTheStorageKeyChanges(t *testing.T) {
	for point, of := range map[string]string{"model.key.write/before": "fresh", "key.remove/before": "gone"} {
		t.Run(of, func(t *testing.T) {
			d := keeping(t)
			f, err := d.openModel("gone", true)
			if err != nil {
				t.Fatal(err)
			}
			if err := f.save(partParameters, []byte("kept")); err != nil {
				t.Fatal(err)
			}
			next, err := sealed.NewDataKey()
			if err != nil {
				t.Fatal(err)
			}
			to, err := sealed.NewLocal(next)
			if err != nil {
				t.Fatal(err)
			}
			rotated, begun := make(chan error, 1), false
			durable.Inject(func(p string) error {
				if p == point && !begun {
					begun = true
					go func() {
						_, err := d.rewrapModels(t.Context(), to)
						rotated <- err
					}()
					// Time for a rotation that does not wait; one that does is none the worse.
					time.Sleep(100 * time.Millisecond)
				}
				return nil
			})
			defer durable.Inject(nil)
			if of == "fresh" {
				_, err = d.openModel("fresh", true)
			} else {
				err = d.dropModel("gone")
			}
			if err = errors.Join(err, <-rotated); !begun || err != nil {
				t.Fatalf("begun: %v; %v", begun, err)
			}
			d.wraps = to
			if of == "fresh" {
				if _, err := d.openModel("fresh", false); err != nil {
					t.Errorf("a key made meanwhile is lost with the old storage key: %v", err)
				}
			} else if left, err := os.ReadDir(d.home.Models()); err != nil || len(left) > 0 {
				t.Errorf("a destroyed key is back: %v, %v", left, err)
			}
		})
	}
}

func answer(f *modelFiles, pass [sha256.Size]byte, sums ...int64) error {
	a, err := f.answers()
	if err != nil {
		return err
	}
	return errors.Join(a.add(pass, sums), a.close())
}

// keeping is a domain that can keep models and nothing else.
func keeping(t *testing.T) *Domain {
	t.Helper()
	h, err := home.Create(filepath.Join(t.TempDir(), "home"), home.Config{Version: 1, Origin: "sandgate.test/models", Regulator: "data_bureau", Hosts: []string{"localhost"}}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	keys, err := h.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	w, err := keys.Wrapper()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(h.Models(), 0o700); err != nil {
		t.Fatal(err)
	}
	return &Domain{home: h, wraps: w, ctx: t.Context()}
}
