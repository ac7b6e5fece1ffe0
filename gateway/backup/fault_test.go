package backup_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/attack"
	"github.com/sandgate/sandgate/gateway/backup"
	"github.com/sandgate/sandgate/gateway/home"
	"github.com/sandgate/sandgate/internal/durable"
)

// R35: every step of a backup and of a restoration fails once. A backup that broke
// off is none, the ones before it open, and the next run completes it; a restoration
// that broke off leaves no home, or a whole one that does not serve unconfirmed.
func TestR35_FaultAtEveryStepOfABackup(t *testing.T) {
	a := arena(t)
	a.Add(t, people("kept", ""))
	a.Must(t, people("leaving", "").Catalogue(), attack.Department)
	a.MustRun(t, attack.Op(0), "kept", first, 0)
	to, ids := key(t)
	full := errors.New("no space left on device")
	hit := false
	arm := func(point string) {
		hit = false
		durable.Inject(func(p string) error {
			if p == point && !hit {
				hit = true
				return full
			}
			return nil
		})
	}
	t.Cleanup(func() { durable.Inject(nil) })
	for _, step := range []string{"backup.write", "backup.rename", "backup.syncdir", "backup.remove", "backup.remove.syncdir"} {
		for _, when := range []string{"before", "after"} {
			dir := filepath.Join(t.TempDir(), "backups")
			one := create(t, a, dir, to)
			if strings.HasPrefix(step, "backup.remove") {
				a.Ingest(t, "leaving", people("leaving", "").CSV)
				one = create(t, a, dir, to)
				if _, err := a.Client(attack.Department).Keys.DestroySnapshot(t.Context(), &sandgatev1.DestroySnapshotRequest{Dataset: "leaving"}); err != nil {
					t.Fatal(err)
				}
			} else {
				a.Ingest(t, "kept", people("kept", "").CSV+"more"+when+step+",1,true\n")
			}
			arm(step + "/" + when)
			if _, err := backup.Create(t.Context(), a.Home, dir, to, time.Now()); !errors.Is(err, full) || !hit {
				t.Fatalf("%s/%s: %v, reached %v", step, when, err, hit)
			}
			durable.Inject(nil)
			names, err := backup.List(dir)
			if err != nil || len(names) == 0 || names[0] != one.Name && names[len(names)-1] != one.Name {
				t.Errorf("%s/%s: %v, %v", step, when, names, err)
			}
			for _, name := range append(names, create(t, a, dir, to).Name) {
				if _, err := backup.Verify(t.Context(), dir, name, ids); err != nil {
					t.Errorf("%s/%s: backup %s: %v", step, when, name, err)
				}
			}
			if keys, _ := filepath.Glob(filepath.Join(dir, "keys", "*", "*")); strings.HasPrefix(step, "backup.remove") && len(keys) != 1 {
				t.Errorf("%s/%s: keys of what was destroyed stay: %v", step, when, keys)
			}
		}
	}
	dir := filepath.Join(t.TempDir(), "backups")
	create(t, a, dir, to)
	a.MustRun(t, attack.Op(0), "kept", first+" WHERE age = 3", 0)
	tail := copyLedger(t, a)
	if err := a.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, step := range []string{"restore.file", "restore.tail", "restore.rename", "restore.syncdir"} {
		for _, when := range []string{"before", "after"} {
			parent := t.TempDir()
			dest := filepath.Join(parent, "home")
			arm(step + "/" + when)
			if _, _, err := backup.Restore(t.Context(), dir, "", dest, tail, ids); !errors.Is(err, full) || !hit {
				t.Fatalf("%s/%s: %v, reached %v", step, when, err, hit)
			}
			durable.Inject(nil)
			if _, err := os.Stat(dest); err == nil {
				if _, err := open(t, dest, nil); err == nil || !strings.Contains(err.Error(), "backup confirm") {
					t.Errorf("%s/%s: an unconfirmed home serves: %v", step, when, err)
				}
				if err := os.RemoveAll(dest); err != nil {
					t.Fatal(err)
				}
			}
			if left, err := os.ReadDir(parent); err != nil || len(left) > 0 {
				t.Errorf("%s/%s: left %v, %v", step, when, left, err)
			}
		}
	}
	for _, step := range []string{"restored.remove", "restored.syncdir"} {
		for _, when := range []string{"before", "after"} {
			dest := filepath.Join(t.TempDir(), "home")
			_, mark, err := backup.Restore(t.Context(), dir, "", dest, tail, ids)
			if err != nil {
				t.Fatal(err)
			}
			arm(step + "/" + when)
			if _, err := open(t, dest, confirm(t, a, mark, true)); !errors.Is(err, full) || !hit {
				t.Fatalf("%s/%s: %v, reached %v", step, when, err, hit)
			}
			durable.Inject(nil)
			o, err := open(t, dest, nil)
			if err != nil {
				t.Fatalf("%s/%s: the next start: %v", step, when, err)
			}
			if r := o.shut(t); r.Kinds["home.restored"] != 1 || !r.OK {
				t.Errorf("%s/%s: %+v", step, when, r.Findings)
			}
			h, err := home.Open(dest)
			if err != nil {
				t.Fatal(err)
			}
			if mark, err := h.Restored(); mark != nil || err != nil {
				t.Errorf("%s/%s: the mark stays: %v", step, when, err)
			}
		}
	}
}
