package duckdb

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/compute/engine/ingest"
	"github.com/sandgate/sandgate/sandbox"
)

// ingestAndDie is the gateway of TestKilledMidIngest: it ingests rows without an
// end until it is killed.
func ingestAndDie(dir string) {
	s, err := engine.OpenStore(dir, storeOptions)
	if err != nil {
		os.Exit(9)
	}
	p, err := sandbox.NewPool(context.Background(), sandbox.Config{Limits: testLimits})
	if err != nil {
		os.Exit(9)
	}
	_, _ = engine.IngestVia(context.Background(), p, s, &endless{head: "id,district,fee,day,insured,born,phone\n"}, engine.IngestOptions{
		Format: ingest.CSV, Spec: healthSpec(), Keys: testKeys, Limits: testLimits,
		Progress: func(int64) { _, _ = os.Stdout.WriteString("going\n") },
	})
	os.Exit(9)
}

type endless struct {
	head string
	row  string // empty: a row of the health table
	rest []byte
}

func (e *endless) Read(p []byte) (int, error) {
	if len(e.rest) == 0 {
		row := e.row
		if row == "" {
			row = "A1,东,12.345,2024-02-29,true,1980-01-01,13800000000\n"
		}
		e.rest = []byte(e.head + strings.Repeat(row, 1000))
		e.head = ""
	}
	n := copy(p, e.rest)
	e.rest = e.rest[n:]
	return n, nil
}

// TestKilledMidIngest: SIGKILL of the gateway in the middle of an ingest leaves
// the old snapshot in force, and the next start removes what was left behind.
func TestKilledMidIngest(t *testing.T) {
	dir := t.TempDir()
	s, err := engine.OpenStore(dir, storeOptions)
	if err != nil {
		t.Fatal(err)
	}
	old, err := take(t, s, healthSpec(), healthCSV)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := engine.OpenStore(dir, storeOptions); err == nil {
		t.Fatal("two processes hold one store")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "ingest-and-die", dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 6)); err != nil {
		t.Fatal("the ingest made no progress")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	// Nothing of an unfinished ingest is on the disk; what a kill between the
	// first encrypted file and its name leaves is planted here.
	left, err := os.ReadDir(filepath.Join(dir, "staging"))
	if err != nil || len(left) != 0 {
		t.Fatalf("the unfinished ingest left %v, %v", left, err)
	}
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "staging", "ingest-1"), 0o700),
		os.WriteFile(filepath.Join(dir, "staging", "ingest-1", "data.sealed"), []byte("x"), 0o400)); err != nil {
		t.Fatal(err)
	}
	again, err := engine.OpenStore(dir, storeOptions)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if left, _ := os.ReadDir(filepath.Join(dir, "staging")); len(left) != 0 {
		t.Fatalf("left behind: %v", left)
	}
	m, err := again.Current(old.Dataset)
	if err != nil || m.Snapshot != old.Snapshot {
		t.Fatalf("current is %+v, %v", m, err)
	}
	snapshot(t, again, m.Snapshot)
}

// openError is the error with which a snapshot does not open, nil when it does.
func openError(s *engine.Store, id string) error {
	lease, err := s.Lease(context.Background(), []string{id})
	if err != nil {
		return err
	}
	defer lease.Release()
	_, _, err = lease.Open()
	return err
}

// TestDamagedSnapshotIsRefused: a changed byte is found, and ingesting the same
// content again repairs the snapshot.
func TestDamagedSnapshotIsRefused(t *testing.T) {
	dir := t.TempDir()
	s, err := engine.OpenStore(dir, storeOptions)
	if err != nil {
		t.Fatal(err)
	}
	m, err := take(t, s, healthSpec(), healthCSV)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "snapshots", m.Snapshot, "data.sealed")
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	info, _ := os.Stat(name)
	if info.Mode().Perm() != 0o400 {
		t.Errorf("mode %v", info.Mode())
	}
	raw[len(raw)/2] ^= 1
	if err := errors.Join(os.Chmod(name, 0o600), os.WriteFile(name, raw, 0o600)); err != nil {
		t.Fatal(err)
	}
	// What is in memory was authenticated when it came there and stays good.
	if err := openError(s, m.Snapshot); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = engine.OpenStore(dir, storeOptions); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if openError(s, m.Snapshot) == nil {
		t.Fatal("a damaged snapshot was opened")
	}
	if _, err := take(t, s, healthSpec(), healthCSV); err != nil {
		t.Fatal(err)
	}
	if err := openError(s, m.Snapshot); err != nil {
		t.Fatalf("not repaired: %v", err)
	}
	for _, id := range []string{"", "..", "../../etc/passwd", strings.Repeat("0", 64)} {
		if openError(s, id) == nil {
			t.Errorf("opened %q", id)
		}
	}
	if _, err := s.Current("nobody"); !errors.Is(err, engine.ErrNoSnapshot) {
		t.Errorf("got %v", err)
	}
}

// failing is a reader that breaks after its text.
type failing struct{ r io.Reader }

func (f failing) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err == io.EOF {
		err = errors.New("connection lost")
	}
	return n, err
}

// TestBrokenReaderIsNoEnd: a reader that fails on a row boundary must not pass
// for a shorter file.
func TestBrokenReaderIsNoEnd(t *testing.T) {
	s := store(t)
	_, err := engine.IngestVia(context.Background(), pool(t), s, failing{strings.NewReader(healthCSV)}, engine.IngestOptions{
		Format: ingest.CSV, Spec: healthSpec(), Keys: testKeys, Limits: testLimits,
	})
	if err == nil || !strings.Contains(err.Error(), "failed to read raw file") {
		t.Fatalf("got %v", err)
	}
	if _, err := s.Current("health.visits"); !errors.Is(err, engine.ErrNoSnapshot) {
		t.Fatal("half a file is in force")
	}
}
