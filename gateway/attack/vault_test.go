package attack

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf16"

	"filippo.io/age"

	"github.com/sandgate/sandgate/gateway"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/client"
)

// noted is a table of n units whose text column note is stored as it is.
func noted(id string, n int, note string) Table {
	var csv strings.Builder
	csv.WriteString("id,age,note\n")
	for i := range n {
		fmt.Fprintf(&csv, "%s-unit-%d,%d,%s\n", note, i, i%90, note)
	}
	return Table{ID: id, CSV: csv.String(), Columns: []Column{column("age", 0, 120, "key, filter, measure"), {Name: "note", YAML: "type: text"}}}
}

const countNoted = "SELECT COUNT(*) AS n FROM %s WHERE age < 60"

// fileHolding walks a directory and returns the first file that holds a text as
// it is, in UTF-16, in hexadecimal or in base64 at any alignment.
func fileHolding(t *testing.T, dir, text string) (name string, files int) {
	t.Helper()
	var wide []byte
	for _, u := range utf16.Encode([]rune(text)) {
		wide = append(wide, byte(u), byte(u>>8))
	}
	spellings := [][]byte{[]byte(text), wide, []byte(hex.EncodeToString([]byte(text))), []byte(strings.ToUpper(hex.EncodeToString([]byte(text))))}
	for shift := range 3 {
		// Groups of three that lie wholly inside the text.
		inside := []byte(text)[(3-shift)%3:]
		spellings = append(spellings, []byte(base64.StdEncoding.EncodeToString(inside[:len(inside)/3*3])))
	}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		files++
		raw, err := os.ReadFile(path)
		for _, s := range spellings {
			if bytes.Contains(raw, s) {
				name = path
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return name, files
}

// memoryHolds says whether a memory file of this process holds a text.
func memoryHolds(text string) bool {
	links, _ := filepath.Glob("/proc/self/fd/*")
	for _, l := range links {
		if target, err := os.Readlink(l); err != nil || !strings.HasPrefix(target, "/memfd:") {
			continue
		}
		if raw, err := os.ReadFile(l); err == nil && bytes.Contains(raw, []byte(text)) {
			return true
		}
	}
	return false
}

// TestR34_NothingOnDisk: ingest, jobs and a restart put no value of the raw file
// on a disk, in any spelling; the memory of the gateway (the control) holds it.
func TestR34_NothingOnDisk(t *testing.T) {
	dir := t.TempDir()
	temp := filepath.Join(dir, "tmp")
	if err := os.Mkdir(temp, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", temp)
	const canary = "CaNaRy7731pLaIn"
	a, err := NewInside(dir, gateway.Options{})
	if err != nil {
		t.Fatal(err)
	}
	stopped := false
	defer func() {
		if !stopped {
			_ = a.Stop()
		}
	}()
	a.Add(t, noted("vault", 3000, canary))
	if !memoryHolds(canary) {
		t.Error("control: no memory file holds the stored text")
	}
	a.MustRun(t, Op(0), "vault", fmt.Sprintf(countNoted, "vault"), 0)
	if err := a.Stop(); err != nil {
		t.Fatal(err)
	}
	stopped = true
	if memoryHolds(canary) {
		t.Error("a memory file outlived its gateway")
	}
	if err := a.Start(gateway.Options{}); err != nil {
		t.Fatal(err)
	}
	stopped = false
	if memoryHolds(canary) {
		t.Error("a snapshot was decrypted before anybody asked for it")
	}
	a.MustRun(t, Op(0), "vault", "SELECT COUNT(*) AS n FROM vault WHERE age < 61", 0)
	if !memoryHolds(canary) {
		t.Error("control: the decrypted snapshot is not in memory")
	}
	if name, files := fileHolding(t, dir, canary); name != "" || files < 10 {
		t.Errorf("%d files; %s holds raw data", files, name)
	}
	found := 0
	for _, e := range a.Entries(t) {
		if strings.Contains(fmt.Sprint(e), "aes-256-gcm") {
			found++
		}
	}
	if found != 2 {
		t.Errorf("%d of 2 starts are recorded as encrypted", found)
	}
	planted := filepath.Join(temp, "planted")
	if err := os.WriteFile(planted, []byte("x"+base64.StdEncoding.EncodeToString([]byte("ab"+canary))), 0o600); err != nil {
		t.Fatal(err)
	}
	if name, _ := fileHolding(t, dir, canary); name != planted {
		t.Errorf("control: the search is blind, found %q", name)
	}
}

// TestR34_DamagedSnapshotFailsClosed: a snapshot file that was changed, cut or
// exchanged costs its job the price, gives the one constant error and hurts no
// other job.
func TestR34_DamagedSnapshotFailsClosed(t *testing.T) {
	dir := t.TempDir()
	a, err := NewInside(dir, gateway.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.Stop() }()
	names := []string{"flipped", "short", "swapped", "stripped", "whole"}
	for i, n := range names {
		a.Add(t, noted(n, 300+i, "n"))
	}
	if err := a.Stop(); err != nil { // what is in memory stays good
		t.Fatal(err)
	}
	data := func(dataset string) string {
		id, err := os.ReadFile(filepath.Join(a.Home.Snapshots(), "current", dataset))
		if err != nil {
			t.Fatal(err)
		}
		return filepath.Join(a.Home.Snapshots(), "snapshots", string(id), "data.sealed")
	}
	change := func(dataset string, f func([]byte) []byte) {
		raw, err := os.ReadFile(data(dataset))
		if err == nil {
			err = errors.Join(os.Chmod(data(dataset), 0o600), os.WriteFile(data(dataset), f(raw), 0o600))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	other, err := os.ReadFile(data("whole"))
	if err != nil {
		t.Fatal(err)
	}
	change("flipped", func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
	change("short", func(b []byte) []byte { return b[:len(b)-1] })
	change("swapped", func([]byte) []byte { return other })
	change("stripped", func(b []byte) []byte { return b[64:] })
	if err := a.Start(gateway.Options{Wall: 1200 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	for _, n := range names[:4] {
		before, _ := a.Spent(t, Op(0), n, "operator_year")
		_, err := a.Run(Op(0), n, fmt.Sprintf(countNoted, n), 0)
		if p := client.ProblemOf(err); p == nil || p.Reason != "EXECUTION_FAILED" || len(p.Reasons) != 1 ||
			p.Reasons[0].GetMessageEn() != "the job could not be completed; its price stays debited" {
			t.Errorf("%s: got %v", n, err)
		}
		if after, _ := a.Spent(t, Op(0), n, "operator_year"); after <= before {
			t.Errorf("%s: the price was not debited", n)
		}
	}
	a.MustRun(t, Op(0), "whole", fmt.Sprintf(countNoted, "whole"), 0)
	// Ingesting the same file again repairs it.
	a.Ingest(t, "flipped", noted("flipped", 300, "n").CSV)
	a.MustRun(t, Op(0), "flipped", "SELECT COUNT(*) AS n FROM flipped WHERE age < 50", 0)
}

// TestR34_StorageKeyIsNeeded: with another storage key nothing opens, without one
// the gateway does not start.
func TestR34_StorageKeyIsNeeded(t *testing.T) {
	dir := t.TempDir()
	a, err := NewInside(dir, gateway.Options{})
	if err != nil {
		t.Fatal(err)
	}
	a.Add(t, noted("locked", 300, "n"))
	// Too little memory: refused before it is charged, with sizes only.
	if err := a.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := a.Start(gateway.Options{SnapshotMemory: 4096}); err != nil {
		t.Fatal(err)
	}
	before, _ := a.Spent(t, Op(0), "locked", "operator_year")
	entries := len(a.Entries(t))
	_, err = a.Run(Op(0), "locked", fmt.Sprintf(countNoted, "locked"), 0)
	if p := client.ProblemOf(err); p == nil || p.Reason != "SNAPSHOT_TOO_LARGE" || !strings.Contains(p.Reasons[0].GetMessageEn(), "the gateway allows 1 MiB") {
		t.Errorf("got %v", err)
	}
	_, err = a.Client(Op(0)).Operator.ExplainJob(context.Background(), &sandgatev1.ExplainJobRequest{Query: Query(Op(0), "locked", fmt.Sprintf(countNoted, "locked"), 0)})
	if Reason(err) != "SNAPSHOT_TOO_LARGE" {
		t.Errorf("explain: got %v", err)
	}
	if after, _ := a.Spent(t, Op(0), "locked", "operator_year"); after != before || len(a.Entries(t)) != entries {
		t.Error("a job that never fits was charged or recorded")
	}
	_, err = a.Client(Department).Ingest(context.Background(), "locked", "csv", strings.NewReader(noted("locked", 10, "m").CSV), nil)
	if Reason(err) != "INGEST_TOO_LARGE" {
		t.Errorf("ingest: got %v", err)
	}
	if err := a.Stop(); err != nil {
		t.Fatal(err)
	}
	rekey(t, a, bytes.Repeat([]byte{9}, 32))
	if err := a.Start(gateway.Options{Wall: 1200 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Run(Op(0), "locked", fmt.Sprintf(countNoted, "locked"), 0); err == nil {
		t.Error("a snapshot opened with another key")
	}
	if err := a.Stop(); err != nil {
		t.Fatal(err)
	}
	rekey(t, a, nil)
	if err := a.Start(gateway.Options{}); err == nil {
		_ = a.Stop()
		t.Error("a gateway started without a storage key")
	}
}

// rekey writes the arena's keyring again with another storage key.
func rekey(t *testing.T, a *Arena, storage []byte) {
	t.Helper()
	secret, err := os.ReadFile(filepath.Join(a.Home.Dir, "unlock.key"))
	if err != nil {
		t.Fatal(err)
	}
	id, err := age.ParseX25519Identity(strings.TrimSpace(string(secret)))
	if err != nil {
		t.Fatal(err)
	}
	keys := *a.Keys
	keys.Storage = storage
	text, err := json.Marshal(keys)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w, err := age.Encrypt(&out, id.Recipient())
	if err == nil {
		_, err = w.Write(text)
		err = errors.Join(err, w.Close(), os.WriteFile(filepath.Join(a.Home.Dir, "keyring.age"), out.Bytes(), 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestSnapshotsTakeTurns: jobs of many data sets at once, with memory for one
// snapshot, all get their answers.
func TestSnapshotsTakeTurns(t *testing.T) {
	a, err := NewInside(t.TempDir(), gateway.Options{})
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"turn_a", "turn_b", "turn_c"}
	for i, n := range names {
		a.Add(t, noted(n, 300+i, "n"))
	}
	if err := a.Stop(); err != nil {
		t.Fatal(err)
	}
	var most int64
	sizes, _ := filepath.Glob(filepath.Join(a.Home.Snapshots(), "snapshots", "*", "data.sealed"))
	for _, s := range sizes {
		info, err := os.Stat(s)
		if err != nil {
			t.Fatal(err)
		}
		most = max(most, info.Size())
	}
	if err := a.Start(gateway.Options{SnapshotMemory: most + 4096}); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.Stop() }()
	var wg sync.WaitGroup
	for i := range 9 {
		wg.Go(func() {
			n := names[i%3]
			if _, err := a.Run(Op(i%Operators), n, fmt.Sprintf("SELECT COUNT(*) AS n FROM %s WHERE age < %d", n, 30+i), 0); err != nil {
				t.Errorf("job %d: %v", i, err)
			}
		})
	}
	wg.Wait()
}
