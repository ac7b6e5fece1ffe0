package gateway_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/compute/engine/sealed"
	"github.com/sandgate/sandgate/gateway"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/attack"
	"github.com/sandgate/sandgate/gateway/client"
	"github.com/sandgate/sandgate/gateway/home"
	"github.com/sandgate/sandgate/ledger/audit"
)

// dataOf copies the encrypted data file of the snapshot in force.
func dataOf(t *testing.T, h *home.Home, dataset string) (id string, file []byte) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(h.Snapshots(), "current", dataset))
	if err != nil {
		t.Fatal(err)
	}
	file, err = os.ReadFile(filepath.Join(h.Snapshots(), "snapshots", string(raw), "data.sealed"))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw), file
}

// opensWith tries every key that a home has on a saved data file.
func opensWith(t *testing.T, h *home.Home, id string, file []byte) error {
	t.Helper()
	keys, err := h.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	by, err := keys.Wrapper()
	if err != nil {
		t.Fatal(err)
	}
	candidates := append([][]byte{keys.Storage}, keys.Retired...)
	err = filepath.WalkDir(h.Dir, func(path string, e fs.DirEntry, err error) error {
		// A running gateway replaces files while this looks.
		if errors.Is(err, fs.ErrNotExist) && path != h.Dir {
			return nil
		}
		if err != nil || e.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		var r struct{ Wrapped string }
		if json.Unmarshal(text, &r) == nil {
			if key, err := by.Unwrap(context.Background(), "snapshot/"+id+"/key", r.Wrapped); err == nil {
				candidates = append(candidates, key)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range candidates {
		r, openErr := sealed.NewReader(bytes.NewReader(file), key, engine.DataContext(id))
		if openErr == nil {
			_, openErr = io.Copy(io.Discard, r)
		}
		if err = openErr; err == nil {
			return nil
		}
	}
	return err
}

func destroy(c *client.Client, dataset string) (*sandgatev1.DestroySnapshotResponse, error) {
	return c.Keys.DestroySnapshot(context.Background(), &sandgatev1.DestroySnapshotRequest{Dataset: dataset})
}

// audited stops an arena and has its ledger audited.
func audited(t *testing.T, a *attack.Arena) *audit.Report {
	t.Helper()
	if err := a.Stop(); err != nil {
		t.Fatal(err)
	}
	r, err := audit.Run(t.Context(), a.Home.Ledger(), audit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if !r.OK {
		t.Errorf("audit: %+v", r.Findings)
	}
	return r
}

const count = "SELECT COUNT(*) AS n FROM leaving"

// R36: destroying a snapshot ends the jobs on it, leaves a certificate, and leaves
// nothing in the home that opens a file saved before. Budgets stay spent.
func TestR36_Destroy(t *testing.T) {
	a := arena(t, "leaving", gateway.Options{Jobs: 1})
	op, dept := a.Client(attack.Op(0)), a.Client(attack.Department)
	a.MustRun(t, attack.Op(0), "leaving", count, 0)
	id, file := dataOf(t, a.Home, "leaving")
	if err := opensWith(t, a.Home, id, file); err != nil {
		t.Fatalf("control: the saved file does not open before either: %v", err)
	}
	for _, as := range []string{attack.Other, attack.Regulator, attack.Op(0), attack.Ghost} {
		if _, err := destroy(a.Client(as), "leaving"); attack.Reason(err) != "PERMISSION_DENIED" && attack.Reason(err) != "PARTY_UNKNOWN" {
			t.Errorf("%s: %v", as, err)
		}
	}
	if _, err := destroy(dept, "nothing"); attack.Reason(err) != "PERMISSION_DENIED" {
		t.Errorf("an unknown data set: %v", err)
	}
	free := a.Domain.HoldSeats()
	queued, err := op.Operator.SubmitJob(t.Context(), attack.Request(attack.Op(0), "leaving", count+" WHERE fee_yuan > 1", 0))
	if err != nil {
		t.Fatal(err)
	}
	c, err := destroy(dept, "leaving")
	free()
	if err != nil {
		t.Fatal(err)
	}
	if c.GetName() != "datasets/leaving/snapshots/"+id || c.GetMethod() != engine.MethodErase || len(c.GetManifest()) != 64 || c.GetReceipt() == nil {
		t.Errorf("certificate %v", c)
	}
	if got := failures(t, a, strings.TrimPrefix(queued.GetName(), "operations/")); len(got) != 1 || got[0] != "SNAPSHOT_DESTROYED" {
		t.Errorf("the queued job: %v", got)
	}
	if err := opensWith(t, a.Home, id, file); err == nil {
		t.Error("the saved file opens after the destruction")
	}
	spent, _ := a.Spent(t, attack.Op(0), "leaving", "operator_year")
	for _, sql := range []string{count, count + " WHERE fee_yuan > 2"} {
		if _, err := a.Run(attack.Op(0), "leaving", sql, 0); attack.Reason(err) != "NO_SNAPSHOT" {
			t.Errorf("%s: %v", sql, err)
		}
	}
	again, err := destroy(dept, "leaving")
	if err != nil || again.GetReceipt().GetSeq() != c.GetReceipt().GetSeq() || again.GetName() != c.GetName() {
		t.Errorf("the certificate asked for again: %v, %v", again, err)
	}
	// The data set may come back; what was spent on it stays spent.
	if _, err := dept.Ingest(t.Context(), "leaving", "csv", strings.NewReader(visits("leaving", "").CSV), nil); err != nil {
		t.Fatal(err)
	}
	a.MustRun(t, attack.Op(0), "leaving", count+" WHERE fee_yuan > 3", 0)
	if now, _ := a.Spent(t, attack.Op(0), "leaving", "operator_year"); now <= spent {
		t.Errorf("spent %d after %d", now, spent)
	}
	if err := opensWith(t, a.Home, id, file); err == nil {
		t.Error("the saved file opens with the key of a later equal snapshot")
	}
	if r := audited(t, a); r.Kinds["snapshot.destroyed"] != 1 {
		t.Errorf("kinds %v", r.Kinds)
	}
}

// R36: whatever moment the machine stops at, there is after a start no certificate
// with a key, and no key gone without a certificate.
func TestR36_DestroyAndCrash(t *testing.T) {
	var crash func(step string) error
	a := arena(t, "leaving", gateway.WithFault(gateway.Options{}, func(step string) error { return crash(step) }))
	a.MustRun(t, attack.Op(0), "leaving", count, 0)
	id, file := dataOf(t, a.Home, "leaving")
	for _, c := range []struct {
		step, reason string
		gone         bool
	}{{"destroy.entry", "INTERNAL", false}, {"destroy.erase", "DESTRUCTION_UNFINISHED", true}} {
		crash = func(step string) error {
			if step == c.step {
				return errors.New("crash")
			}
			return nil
		}
		if _, err := destroy(a.Client(attack.Department), "leaving"); attack.Reason(err) != c.reason {
			t.Fatalf("%s: %v", c.step, err)
		}
		if err := opensWith(t, a.Home, id, file); err != nil {
			t.Fatalf("%s: the key went before the step", c.step)
		}
		b := a.Crash(t, gateway.Options{})
		err := opensWith(t, b.Home, id, file)
		if c.gone != (err != nil) {
			t.Errorf("%s: after a start the saved file: %v", c.step, err)
		}
		_, err = b.Run(attack.Op(0), "leaving", count+" WHERE fee_yuan > 5", 0)
		if c.gone && attack.Reason(err) != "NO_SNAPSHOT" || !c.gone && err != nil {
			t.Errorf("%s: after a start: %v", c.step, err)
		}
		audited(t, b)
	}
	// Without a restart the command is repeated.
	crash = func(string) error { return nil }
	if _, err := destroy(a.Client(attack.Department), "leaving"); err != nil {
		t.Fatal(err)
	}
	if err := opensWith(t, a.Home, id, file); err == nil {
		t.Error("the saved file opens")
	}
}

// R36: a data set in exact mode loses the record of its cells, too, and answers
// nothing exactly that could not be held against it.
func TestR36_DestroyExact(t *testing.T) {
	a, err := attack.NewInside(t.TempDir(), gateway.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if a.Running() {
			if err := a.Stop(); err != nil {
				t.Error(err)
			}
		}
	})
	exact := people("exactly", 400, `mode: exact, exact: {k: 10, round: 5, bits_per_unit: "16"}`)
	a.Add(t, exact)
	a.MustRun(t, attack.Op(0), exact.ID, "SELECT district, COUNT(*) AS n FROM "+exact.ID+" GROUP BY district", 0)
	if left, _ := filepath.Glob(filepath.Join(a.Home.Exact(), "*")); len(left) != 2 {
		t.Fatalf("before: %v", left)
	}
	if _, err := destroy(a.Client(attack.Department), exact.ID); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(a.Home.Exact(), "*")); len(left) != 0 {
		t.Errorf("records of cells are left: %v", left)
	}
	if _, err := a.Client(attack.Department).Ingest(t.Context(), exact.ID, "csv", strings.NewReader(exact.CSV), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Run(attack.Op(0), exact.ID, "SELECT COUNT(*) AS n FROM "+exact.ID+" WHERE flag", 0); attack.Reason(err) != "EXACT_STORE_DESTROYED" {
		t.Errorf("after: %v", err)
	}
}

// R34: the storage key is rotated while jobs run; old answers, old snapshots and
// exact records stay, the old key is gone, and the ledger says so.
func TestR34_RotateKey(t *testing.T) {
	a := arena(t, "leaving", gateway.Options{})
	a.MustRun(t, attack.Op(0), "leaving", count, 0)
	before, err := a.Home.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	rotate := func(as, key string) (*sandgatev1.RotateKeyResponse, error) {
		return a.Client(as).Keys.RotateKey(context.Background(), &sandgatev1.RotateKeyRequest{Key: key})
	}
	for _, as := range []string{attack.Department, attack.Op(0), attack.Ghost} {
		if _, err := rotate(as, "storage"); err == nil {
			t.Errorf("%s may rotate keys", as)
		}
	}
	if _, err := rotate(attack.Regulator, "tls"); attack.Reason(err) != "KEY_UNKNOWN" {
		t.Errorf("another key: %v", err)
	}
	stop := make(chan struct{})
	ran := make(chan error, 1)
	go func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				ran <- nil
				return
			default:
			}
			if _, err := a.Run(attack.Op(1), "leaving", count, 0); err != nil {
				ran <- err
				return
			}
		}
	}()
	for range 3 {
		r, err := rotate(attack.Regulator, "storage")
		if err != nil || r.GetMoved() != 1 || r.GetLeft() != 0 || r.GetFrom() == r.GetTo() || r.GetReceipt() == nil {
			t.Fatalf("%v, %v", r, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	close(stop)
	if err := <-ran; err != nil {
		t.Errorf("a job during the rotation: %v", err)
	}
	after, err := a.Home.Unlock()
	if err != nil || bytes.Equal(after.Storage, before.Storage) || len(after.Retired) != 0 {
		t.Fatalf("keyring: %d retired, %v", len(after.Retired), err)
	}
	old, err := before.Wrapper()
	if err != nil {
		t.Fatal(err)
	}
	id, _ := dataOf(t, a.Home, "leaving")
	text, err := os.ReadFile(filepath.Join(a.Home.Snapshots(), "snapshots", id, "key.json"))
	if err != nil {
		t.Fatal(err)
	}
	var r struct{ Wrapped string }
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	if _, err := old.Unwrap(t.Context(), "snapshot/"+id+"/key", r.Wrapped); !errors.Is(err, sealed.ErrKeyLost) {
		t.Errorf("the old key opens the snapshot: %v", err)
	}
	if err := a.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := a.Start(gateway.Options{}); err != nil {
		t.Fatal(err)
	}
	a.MustRun(t, attack.Op(0), "leaving", count+" WHERE fee_yuan > 9", 0)
	if r := audited(t, a); r.Kinds["key.rotated"] != 3 {
		t.Errorf("kinds %v", r.Kinds)
	}
}
