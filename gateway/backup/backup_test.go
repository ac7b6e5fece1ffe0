package backup_test

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"golang.org/x/mod/sumdb/note"

	_ "github.com/sandgate/sandgate/compute/engine/duckdb" // the workers' handlers
	"github.com/sandgate/sandgate/gateway"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/attack"
	"github.com/sandgate/sandgate/gateway/backup"
	"github.com/sandgate/sandgate/gateway/client"
	"github.com/sandgate/sandgate/gateway/home"
	"github.com/sandgate/sandgate/ledger"
	"github.com/sandgate/sandgate/ledger/audit"
	"github.com/sandgate/sandgate/ledger/evidence"
	"github.com/sandgate/sandgate/ledger/verify"
	"github.com/sandgate/sandgate/policies"
)

func TestMain(m *testing.M) { attack.Main(m) }

func people(id, rule string) attack.Table {
	var csv strings.Builder
	csv.WriteString("id,age,flag\n")
	for i := range 400 {
		fmt.Fprintf(&csv, "u%d,%d,%v\n", i, i%90, i%7 == 0)
	}
	return attack.Table{ID: id, Rule: rule, CSV: csv.String(), Columns: []attack.Column{
		{Name: "age", YAML: `type: int, bounds: {lo: "0", hi: "120"}`, Uses: "key, filter, measure"}, {Name: "flag", YAML: "type: bool", Uses: "filter"},
	}}
}

func arena(t *testing.T) *attack.Arena {
	t.Helper()
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
	return a
}

// key is a fresh age key and a file that holds it.
func key(t *testing.T) (to []age.Recipient, ids []age.Identity) {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return []age.Recipient{id.Recipient()}, []age.Identity{id}
}

func create(t *testing.T, a *attack.Arena, dir string, to []age.Recipient) *backup.Report {
	t.Helper()
	rep, err := backup.Create(t.Context(), a.Home, dir, to, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

// opened is a restored home that serves.
type opened struct {
	*gateway.Domain
	home *home.Home
}

func open(t *testing.T, dir string, recovery []byte) (*opened, error) {
	t.Helper()
	h, err := home.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	d, err := gateway.OpenDomain(t.Context(), h, gateway.Options{Memory: 512 << 20, Tick: 5 * time.Millisecond, Recovery: recovery})
	return &opened{d, h}, err
}

func (o *opened) shut(t *testing.T) *audit.Report {
	t.Helper()
	if err := o.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	return audited(t, o.home.Ledger())
}

func audited(t *testing.T, dir string, receipts ...evidence.Receipt) *audit.Report {
	t.Helper()
	r, err := audit.Run(context.Background(), dir, audit.Options{Receipts: receipts})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// run asks as operator 0 and waits.
func (o *opened) run(t *testing.T, a *attack.Arena, request, dataset, sql string) (*gateway.Answer, error) {
	t.Helper()
	kit, err := home.OpenKit(a.KitDir(attack.Op(0)))
	if err != nil {
		t.Fatal(err)
	}
	signer, err := client.SignerOf(kit)
	if err != nil {
		t.Fatal(err)
	}
	req := &sandgatev1.SubmitJobRequest{RequestId: request, Query: &sandgatev1.QuerySpec{Licence: attack.LicenceID(attack.Op(0), dataset), Purpose: attack.Purpose, Sql: sql}}
	q := gateway.Query{Licence: req.GetQuery().GetLicence(), Purpose: attack.Purpose, SQL: sql}
	if q.Signed, q.Salt, err = signer.Sign(client.JobStatement(req, ""), client.JobBody(req.GetQuery())); err != nil {
		t.Fatal(err)
	}
	job, err := o.Submit(t.Context(), attack.Op(0), request, q)
	if err != nil {
		return nil, err
	}
	if err := o.Wait(t.Context(), job); err != nil {
		return nil, err
	}
	return o.Answer(t.Context(), attack.Op(0), job)
}

// spent is what the ledger of a gateway says of operator 0's year.
func spent(t *testing.T, d *gateway.Domain, dataset string) int64 {
	t.Helper()
	x, err := d.Explain(t.Context(), attack.Op(0), gateway.Query{Licence: attack.LicenceID(attack.Op(0), dataset), Purpose: attack.Purpose, SQL: "SELECT COUNT(*) AS n FROM " + dataset + " WHERE age = 77"})
	if err != nil || !x.Allowed {
		t.Fatalf("%+v, %v", x, err)
	}
	for _, b := range x.Budgets {
		if b.Scope.Kind == "operator_year" {
			return int64(b.Spent - b.Query)
		}
	}
	t.Fatal("no budget of the operator's year")
	return 0
}

func receiptOf(t *testing.T, r *sandgatev1.Release) (out evidence.Receipt) {
	t.Helper()
	if err := json.Unmarshal(r.GetReceipt().GetJson(), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func code(err error) string {
	var r *gateway.Refusal
	if errors.As(err, &r) && len(r.Reasons) > 0 {
		return r.Reasons[0].Code
	}
	return fmt.Sprint(err)
}

// confirm is the regulator's signature under a restoration.
func confirm(t *testing.T, a *attack.Arena, mark *home.Restored, whole bool) []byte {
	t.Helper()
	kit, err := home.OpenKit(a.KitDir(attack.Regulator))
	if err != nil {
		t.Fatal(err)
	}
	sign, err := kit.SigningKey()
	if err != nil {
		t.Fatal(err)
	}
	return confirmBy(t, mark, whole, attack.Regulator, sign)
}

func confirmBy(t *testing.T, mark *home.Restored, whole bool, party string, sign crypto.Signer) []byte {
	t.Helper()
	text, err := policies.SignRecovery(policies.Recovery{Origin: mark.Origin, Home: mark.Home, Size: mark.Size, Root: mark.Root, Whole: whole}, party, sign)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// copyLedger is what an auditor takes home.
func copyLedger(t *testing.T, a *attack.Arena) string {
	t.Helper()
	if _, err := waitPublished(t, a); err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(logKey(t, a.Home))
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "copy")
	if _, err := verify.Copy(t.Context(), a.Home.Ledger(), dir, v); err != nil {
		t.Fatal(err)
	}
	return dir
}

func waitPublished(t *testing.T, a *attack.Arena) (uint64, error) {
	t.Helper()
	entries := a.Entries(t)
	time.Sleep(400 * time.Millisecond) // a few checkpoint intervals
	return uint64(len(entries)), nil
}

func logKey(t *testing.T, h *home.Home) string {
	t.Helper()
	keys, err := h.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	_, k, err := gateway.LogVerifier(h.Config.Origin, keys.Log)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

const (
	first  = "SELECT COUNT(*) AS n FROM kept"
	second = "SELECT COUNT(*) AS n FROM kept WHERE age > 10"
)

func id(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", n) }

// R35: a backup made while jobs run becomes a home that audits clean, answers what
// it answered before, and whose old receipts hold. Nothing in it is in plain text,
// and a second backup writes only what is new.
func TestR35_BackupWhileJobsRun(t *testing.T) {
	a := arena(t)
	a.Add(t, people("kept", ""))
	a.Add(t, people("exactly", `mode: exact, exact: {k: 10, round: 5, bits_per_unit: "16"}`))
	before := a.MustRun(t, attack.Op(0), "kept", first, 0)
	a.MustRun(t, attack.Op(0), "exactly", "SELECT COUNT(*) AS n FROM exactly", 0)
	to, ids := key(t)
	dir := filepath.Join(t.TempDir(), "backups")
	stop, ran := make(chan struct{}), make(chan error, 1)
	go func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				ran <- nil
				return
			default:
			}
			if _, err := a.Run(attack.Op(1), "kept", fmt.Sprintf("%s WHERE age = %d", first, i%90), 0); err != nil {
				ran <- err
				return
			}
		}
	}()
	one := create(t, a, dir, to)
	two := create(t, a, dir, to)
	close(stop)
	if err := <-ran; err != nil {
		t.Errorf("a job during the backup: %v", err)
	}
	if one.Files < 10 || two.Entries < one.Entries || two.Written >= one.Written/2 {
		t.Errorf("first %+v, second %+v", one, two)
	}
	names, err := backup.List(dir)
	if err != nil || !slices.Equal(names, []string{one.Name, two.Name}) {
		t.Errorf("backups %v, %v", names, err)
	}
	for _, name := range append([]string{""}, names...) {
		if rep, err := backup.Verify(t.Context(), dir, name, ids); err != nil || rep.Entries == 0 {
			t.Errorf("verify %q: %+v, %v", name, rep, err)
		}
	}
	plain := 0
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if !strings.HasPrefix(string(text), "age-encryption.org/v1\n") || strings.Contains(string(text), "regulator") {
			plain++
		}
		return err
	})
	if err != nil || plain > 0 {
		t.Errorf("%d objects are not encrypted, %v", plain, err)
	}

	to2 := filepath.Join(t.TempDir(), "home")
	rep, mark, err := backup.Restore(t.Context(), dir, "", to2, "", ids)
	if err != nil || len(rep.Lost) > 0 || len(rep.Destroyed) > 0 {
		t.Fatalf("%+v, %v", rep, err)
	}
	if _, err := open(t, to2, nil); err == nil || !strings.Contains(err.Error(), "backup confirm") {
		t.Fatalf("a restored home serves unconfirmed: %v", err)
	}
	o, err := open(t, to2, confirm(t, a, mark, true))
	if err != nil {
		t.Fatal(err)
	}
	if ans, err := o.run(t, a, id(1), "kept", first); err != nil || ans.RepeatOf == "" {
		t.Errorf("a repeat: %+v, %v", ans, err)
	}
	if _, err := o.run(t, a, id(2), "kept", second); err != nil {
		t.Errorf("a new query: %v", err)
	}
	if _, err := o.run(t, a, id(3), "exactly", "SELECT COUNT(*) AS n FROM exactly WHERE age < 45"); err != nil {
		t.Errorf("a new exact query, held against the old: %v", err)
	}
	if r := o.shut(t); !r.OK || r.Kinds["home.restored"] != 1 {
		t.Errorf("audit %+v", r)
	}
	old := receiptOf(t, before)
	if r := audited(t, o.home.Ledger(), old); !r.OK || r.Receipts != 1 {
		t.Errorf("an old receipt: %+v", r.Findings)
	}
	// Once confirmed, it is a home like any other.
	if o, err = open(t, to2, nil); err != nil {
		t.Fatal(err)
	}
	o.shut(t)
}

// R35: restoring an old backup gives no budget back: without the later ledger the
// data set is closed, with it all is as spent as it was. The control takes the mark
// away by hand, and only an auditor with a receipt then sees it.
func TestR35_OldBackupGivesNoBudgetBack(t *testing.T) {
	a := arena(t)
	a.Add(t, people("kept", ""))
	a.MustRun(t, attack.Op(0), "kept", first, 0)
	to, ids := key(t)
	dir := filepath.Join(t.TempDir(), "backups")
	create(t, a, dir, to)
	early := spent(t, a.Domain, "kept")
	later := a.MustRun(t, attack.Op(0), "kept", second, 0)
	late := spent(t, a.Domain, "kept")
	tail := copyLedger(t, a)
	if late <= early {
		t.Fatalf("spent %d, then %d", early, late)
	}
	restore := func(name, tail string) (string, *home.Restored) {
		dest := filepath.Join(t.TempDir(), name)
		_, mark, err := backup.Restore(t.Context(), dir, "", dest, tail, ids)
		if err != nil {
			t.Fatal(err)
		}
		return dest, mark
	}
	receipt := receiptOf(t, later)

	// Control: whoever owns the machine can remove the mark.
	forged, _ := restore("forged", "")
	if err := os.Remove(filepath.Join(forged, "restored.json")); err != nil {
		t.Fatal(err)
	}
	o, err := open(t, forged, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := spent(t, o.Domain, "kept"); got != early {
		t.Errorf("control: spent %d, want %d given back", got, early)
	}
	o.shut(t)
	if r := audited(t, o.home.Ledger(), receipt); r.OK {
		t.Error("an auditor with a later receipt sees nothing")
	}

	lossy, mark := restore("lossy", "")
	_, stranger, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	other := *mark
	other.Home = strings.Repeat("ab", 32)
	shorter := *mark
	shorter.Size--
	for name, c := range map[string][]byte{
		"nothing": nil, "not an envelope": []byte("{}"),
		"another's signature":    confirmBy(t, mark, true, attack.Regulator, stranger),
		"a department's":         confirmBy(t, mark, true, attack.Department, stranger),
		"of another restoration": confirm(t, a, &other, true),
		"of another tree":        confirm(t, a, &shorter, true),
	} {
		if o, err := open(t, lossy, c); err == nil {
			o.shut(t)
			t.Fatalf("serves under %s", name)
		}
	}
	good := confirm(t, a, mark, false)
	if o, err = open(t, lossy, good); err != nil {
		t.Fatal(err)
	}
	if _, err := o.run(t, a, id(4), "kept", second); code(err) != "BUDGET_UNKNOWN" {
		t.Errorf("a new query on the lossy home: %v", err)
	}
	if ans, err := o.run(t, a, id(5), "kept", first); err != nil || ans.RepeatOf == "" {
		t.Errorf("a repeat on the lossy home: %v", err)
	}
	if r := o.shut(t); !r.OK || r.Refusals["BUDGET_UNKNOWN"] != 1 {
		t.Errorf("audit of the lossy home: %+v", r)
	}
	again, _ := restore("again", "")
	if o, err := open(t, again, good); err == nil {
		o.shut(t)
		t.Error("a confirmation serves twice")
	}

	whole, mark := restore("whole", tail)
	if o, err = open(t, whole, confirm(t, a, mark, true)); err != nil {
		t.Fatal(err)
	}
	if got := spent(t, o.Domain, "kept"); got != late {
		t.Errorf("with the later ledger: spent %d, want %d", got, late)
	}
	o.shut(t)
	if r := audited(t, o.home.Ledger(), receipt); !r.OK {
		t.Errorf("the later receipt: %+v", r.Findings)
	}
	// A copy older than the backup, and one of another history, are no tails.
	a.MustRun(t, attack.Op(0), "kept", second+" AND flag", 0)
	create(t, a, dir, to)
	for name, dirs := range map[string]string{"older": tail, "of another history": o.home.Ledger()} {
		refusedRestore(t, dir, dirs, ids, name)
	}
	// One that is cut in the middle of what the backup holds, and one of noise.
	for name, spoil := range map[string]func([]byte) []byte{
		"cut":   func(b []byte) []byte { return b[:len(b)/3] },
		"noisy": func(b []byte) []byte { return append(b[:len(b)/2:len(b)/2], make([]byte, len(b)/2)...) },
	} {
		bad := filepath.Join(t.TempDir(), "tail")
		if err := os.CopyFS(bad, os.DirFS(tail)); err != nil {
			t.Fatal(err)
		}
		wal := ledger.WriteAheadFile(bad)
		text, err := os.ReadFile(wal)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.Chmod(wal, 0o600), os.WriteFile(wal, spoil(text), 0o600)); err != nil {
			t.Fatal(err)
		}
		refusedRestore(t, dir, bad, ids, name)
	}
}

// R35 R36: after a destruction no backup in the directory opens the snapshot any
// more, and one restored with the later ledger knows that it is gone.
func TestR35R36_BackupOfDestroyed(t *testing.T) {
	a := arena(t)
	a.Add(t, people("kept", ""))
	a.Add(t, people("leaving", ""))
	to, ids := key(t)
	dir := filepath.Join(t.TempDir(), "backups")
	one := create(t, a, dir, to)
	if _, err := a.Client(attack.Department).Keys.DestroySnapshot(t.Context(), &sandgatev1.DestroySnapshotRequest{Dataset: "leaving"}); err != nil {
		t.Fatal(err)
	}
	if keys, _ := filepath.Glob(filepath.Join(dir, "keys", "*", "*")); len(keys) != 2 {
		t.Fatalf("keys before: %v", keys)
	}
	create(t, a, dir, to)
	if keys, _ := filepath.Glob(filepath.Join(dir, "keys", "*", "*")); len(keys) != 1 {
		t.Errorf("keys after: %v", keys)
	}
	if rep, err := backup.Verify(t.Context(), dir, one.Name, ids); err != nil || len(rep.Destroyed) != 1 {
		t.Errorf("%+v, %v", rep, err)
	}
	dest := filepath.Join(t.TempDir(), "home")
	rep, mark, err := backup.Restore(t.Context(), dir, one.Name, dest, copyLedger(t, a), ids)
	if err != nil || len(rep.Destroyed) != 1 || len(rep.Lost) != 0 {
		t.Fatalf("%+v, %v", rep, err)
	}
	o, err := open(t, dest, confirm(t, a, mark, true))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.run(t, a, id(6), "leaving", "SELECT COUNT(*) AS n FROM leaving"); code(err) != "NO_SNAPSHOT" {
		t.Errorf("the destroyed one: %v", err)
	}
	if _, err := o.run(t, a, id(7), "kept", first); err != nil {
		t.Errorf("the other one: %v", err)
	}
	o.shut(t)
}

// R35: a damaged or foreign backup is refused, and leaves no home that serves.
func TestR35_DamagedBackup(t *testing.T) {
	a := arena(t)
	a.Add(t, people("kept", ""))
	to, ids := key(t)
	_, strangers := key(t)
	dir := filepath.Join(t.TempDir(), "backups")
	rep := create(t, a, dir, to)
	if _, err := backup.Verify(t.Context(), dir, "", strangers); err == nil {
		t.Error("a stranger reads the backup")
	}
	if _, err := backup.Verify(t.Context(), dir, "../"+rep.Name, ids); err == nil {
		t.Error("a path was taken for a name")
	}
	if _, _, err := backup.Restore(t.Context(), dir, "", a.Home.Dir, "", ids); err == nil {
		t.Error("a home was overwritten")
	}
	objects, _ := filepath.Glob(filepath.Join(dir, "objects", "*.age"))
	for _, o := range objects[:3] {
		whole, err := os.ReadFile(o)
		if err != nil {
			t.Fatal(err)
		}
		other, err := os.ReadFile(objects[len(objects)-1])
		if err != nil {
			t.Fatal(err)
		}
		flipped := slices.Clone(whole)
		flipped[len(flipped)-1] ^= 1
		for name, text := range map[string][]byte{"changed": flipped, "cut": whole[:len(whole)-9], "another object": other, "empty": nil} {
			if err := os.WriteFile(o, text, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := backup.Verify(t.Context(), dir, "", ids); err == nil {
				t.Errorf("%s: verified", name)
			}
			dest := filepath.Join(t.TempDir(), "home")
			if _, _, err := backup.Restore(t.Context(), dir, "", dest, "", ids); err == nil {
				t.Errorf("%s: restored", name)
			}
			if left, err := os.ReadDir(filepath.Dir(dest)); err != nil || len(left) > 0 {
				t.Errorf("%s: half a home is left: %v, %v", name, left, err)
			}
		}
		if err := os.WriteFile(o, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := backup.Verify(t.Context(), dir, "", ids); err != nil {
		t.Errorf("control: %v", err)
	}
}

// R35: with a passphrase the backups have a key of their own under it.
func TestR35_Passphrase(t *testing.T) {
	dir := t.TempDir()
	pass := func(text string, mode os.FileMode) string {
		name := filepath.Join(t.TempDir(), "pass")
		if err := os.WriteFile(name, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return name
	}
	good := pass("correct horse battery\n", 0o600)
	for name, file := range map[string]string{"short": pass("short", 0o600), "open to others": pass("correct horse battery", 0o644), "missing": filepath.Join(dir, "none")} {
		if _, err := backup.Recipients(dir, nil, file); err == nil {
			t.Errorf("a passphrase that is %s was taken", name)
		}
	}
	one, err := backup.Recipients(dir, nil, good)
	if err != nil {
		t.Fatal(err)
	}
	two, err := backup.Recipients(dir, nil, good)
	if err != nil || fmt.Sprint(one) != fmt.Sprint(two) {
		t.Errorf("the key changed: %v", err)
	}
	if _, err := backup.Identities(dir, "", good); err != nil {
		t.Error(err)
	}
	if _, err := backup.Identities(dir, "", pass("another horse battery", 0o600)); err == nil {
		t.Error("another passphrase opens it")
	}
	if _, err := backup.Identities(dir, "", ""); err == nil {
		t.Error("nothing opens it")
	}
	if _, err := backup.Recipients(dir, []string{"age1nonsense"}, ""); err == nil {
		t.Error("a bad recipient was taken")
	}
}

// refusedRestore restores with a ledger copy that must not be taken: nothing of a home
// may be left, at its place or beside it.
func refusedRestore(t *testing.T, dir, tail string, ids []age.Identity, name string) {
	t.Helper()
	parent := t.TempDir()
	if _, _, err := backup.Restore(t.Context(), dir, "", filepath.Join(parent, "no"), tail, ids); err == nil {
		t.Errorf("a ledger copy that is %s was taken", name)
	}
	if left, err := os.ReadDir(parent); err != nil || len(left) > 0 {
		t.Errorf("a ledger copy that is %s left %v, %v", name, left, err)
	}
}
