package gateway_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sandgate/sandgate/gateway"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/attack"
	"github.com/sandgate/sandgate/gateway/home"
	"github.com/sandgate/sandgate/gateway/home/vault/vaulttest"
	"github.com/sandgate/sandgate/internal/leak"
	"github.com/sandgate/sandgate/ledger/audit"
	"github.com/sandgate/sandgate/ledger/evidence"
)

func rotate(a *attack.Arena, as, key string) (*sandgatev1.RotateKeyResponse, error) {
	return a.Client(as).Keys.RotateKey(context.Background(), &sandgatev1.RotateKeyRequest{Key: key})
}

func mustRotate(t *testing.T, a *attack.Arena, key string) *sandgatev1.RotateKeyResponse {
	t.Helper()
	r, err := rotate(a, attack.Regulator, key)
	if err != nil {
		t.Fatalf("%s: %v", key, err)
	}
	return r
}

// pinned is what an auditor was given when the arena's home was made.
func pinned(t *testing.T, a *attack.Arena) *audit.Trust {
	t.Helper()
	_, key, err := gateway.LogVerifier(a.Home.Config.Origin, a.Keys.Log)
	if err != nil {
		t.Fatal(err)
	}
	return &audit.Trust{Origin: a.Home.Config.Origin, Regulator: attack.Regulator, RegulatorKey: a.Home.Config.RegulatorKey, LogKey: key,
		ReceiptKey: home.PublicKey(ed25519.NewKeyFromSeed(a.Keys.Receipt).Public().(ed25519.PublicKey))}
}

func parsed(t *testing.T, r *sandgatev1.Receipt) evidence.Receipt {
	t.Helper()
	out, err := evidence.ParseReceipt(r.GetJson())
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// auditPinned stops an arena and audits its ledger by the first keys, with what
// parties hold.
func auditPinned(t *testing.T, a *attack.Arena, receipts []evidence.Receipt, saved ...[]byte) *audit.Report {
	t.Helper()
	if a.Running() {
		if err := a.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	r, err := audit.Run(t.Context(), a.Home.Ledger(), audit.Options{Trust: pinned(t, a), Receipts: receipts, Earlier: saved})
	if err != nil {
		t.Fatal(err)
	}
	if !r.OK || r.Receipts != len(receipts) || r.Checkpoints != len(saved) {
		t.Errorf("audit: %d of %d receipts, %d of %d checkpoints, %+v", r.Receipts, len(receipts), r.Checkpoints, len(saved), r.Findings)
	}
	return r
}

// served is the serial number of the certificate that a new connection gets.
func served(t *testing.T, a *attack.Arena) string {
	t.Helper()
	kit, err := home.OpenKit(a.KitDir(attack.Op(0)))
	if err != nil {
		t.Fatal(err)
	}
	conf, err := kit.TLS()
	if err != nil {
		t.Fatal(err)
	}
	conf.NextProtos = []string{"h2"}
	c, err := tls.Dial("tcp", a.Addr, conf)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].SerialNumber.String()
}

var everyKey = []string{"storage", "log", "receipt", "token", "commit", "server"}

// R34: every key is rotated, twice, while jobs run. Every job succeeds, repeats are
// still known and free, and whoever pinned the first keys audits it all.
func TestR34_RotateEveryKeyUnderLoad(t *testing.T) {
	a := arena(t, "turning", gateway.Options{})
	sql := "SELECT COUNT(*) AS n FROM turning"
	first := a.MustRun(t, attack.Op(0), "turning", sql, 0)
	receipts := []evidence.Receipt{parsed(t, first.GetReceipt())}
	for _, as := range []string{attack.Department, attack.Op(0), attack.Ghost} {
		for _, key := range everyKey {
			if _, err := rotate(a, as, key); attack.Reason(err) != "PERMISSION_DENIED" && attack.Reason(err) != "PARTY_UNKNOWN" {
				t.Errorf("%s rotates %s: %v", as, key, err)
			}
		}
	}
	if _, err := rotate(a, attack.Regulator, "tls"); attack.Reason(err) != "KEY_UNKNOWN" {
		t.Errorf("an unknown key: %v", err)
	}
	saved, err := os.ReadFile(filepath.Join(a.Home.Ledger(), "checkpoint"))
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var load sync.WaitGroup
	var mu sync.Mutex
	for i := range 2 {
		load.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				q := sql
				if n%3 == 0 {
					q += fmt.Sprintf(" WHERE fee_yuan > %d", 10*n+i)
				}
				r, err := a.Run(attack.Op(1+i), "turning", q, 0)
				if err != nil {
					t.Errorf("a job during the rotation: %v", err)
					return
				}
				mu.Lock()
				receipts = append(receipts, parsed(t, r.GetReceipt()))
				mu.Unlock()
			}
		})
	}
	before, err := a.Home.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	serial := served(t, a)
	names := map[string]string{}
	for range 2 {
		for _, key := range everyKey {
			r := mustRotate(t, a, key)
			if r.GetFrom() == r.GetTo() || names[key] != "" && names[key] != r.GetFrom() {
				t.Errorf("%s: from %s to %s after %s", key, r.GetFrom(), r.GetTo(), names[key])
			}
			names[key] = r.GetTo()
			mu.Lock()
			receipts = append(receipts, parsed(t, r.GetReceipt()))
			mu.Unlock()
		}
	}
	close(stop)
	load.Wait()
	if served(t, a) == serial {
		t.Error("new connections get the certificate of before")
	}
	list, err := a.Client(attack.Regulator).Keys.ListKeys(t.Context(), &sandgatev1.ListKeysRequest{})
	if err != nil || len(list.GetKeys()) != 8 {
		t.Fatalf("list: %v, %v", list, err)
	}
	for _, k := range list.GetKeys() {
		if want := names[k.GetId()]; want != "" && (k.GetName() != want || k.GetSeq() == 0) || k.GetPurposeEn() == "" || k.GetRotationZh() == "" || k.GetSince() == nil {
			t.Errorf("listed %v", k)
		}
	}
	after, err := a.Home.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	for name, pair := range map[string][2][]byte{"log": {before.Log, after.Log}, "receipt": {before.Receipt, after.Receipt}, "token": {before.Token, after.Token},
		"commit": {before.Commit, after.Commit}, "server": {before.Server, after.Server}, "storage": {before.Storage, after.Storage}} {
		if bytes.Equal(pair[0], pair[1]) {
			t.Errorf("the %s key is the one of before", name)
		}
	}
	if len(after.Next) != 0 || len(after.Old["commit"]) != 2 || len(after.Old["token"]) != 2 {
		t.Errorf("keyring: %d waiting, %d and %d of before", len(after.Next), len(after.Old["commit"]), len(after.Old["token"]))
	}
	// The same question is a repeat across two changes of the commitment key.
	spent, _ := a.Spent(t, attack.Op(0), "turning", "operator_year")
	again := a.MustRun(t, attack.Op(0), "turning", sql, 0)
	if now, _ := a.Spent(t, attack.Op(0), "turning", "operator_year"); now != spent || again.GetDigest() != first.GetDigest() {
		t.Errorf("a repeat was charged %d", now-spent)
	}
	for range 2 { // with the gateway as it is, and started anew
		a.Ingest(t, "turning", visits("turning", "").CSV)
		a.MustRun(t, attack.Op(0), "turning", sql+" WHERE fee_yuan > 7", 0)
		if err := a.Stop(); err != nil {
			t.Fatal(err)
		}
		if err := a.Start(gateway.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	if keys, err := a.Home.Unlock(); err != nil || len(keys.Old["token"]) != 0 {
		t.Errorf("token keys of before are left: %v", err)
	}
	r := auditPinned(t, a, receipts, saved)
	if len(r.Keys) != 3 || r.Kinds["key.announced"] != 2 || r.Kinds["key.rotated"] != 12 || r.Kinds["key.erased"] != 1 {
		t.Errorf("%d checkpoint keys, kinds %v", len(r.Keys), r.Kinds)
	}
}

// R34: whatever step a rotation breaks off at, by an error or with the machine, the
// gateway works, the same command carries it on, and the ledger is audited.
func TestR34_RotationAndCrash(t *testing.T) {
	crash := ""
	a := arena(t, "turning", gateway.WithFault(gateway.Options{}, func(step string) error {
		if step == crash {
			return errors.New("crash")
		}
		return nil
	}))
	sql := "SELECT COUNT(*) AS n FROM turning"
	a.MustRun(t, attack.Op(0), "turning", sql, 0)
	for i, step := range []string{"log.drawn", "log.announced", "log.checkpoint", "log.ledgered", "receipt.drawn", "receipt.ledgered",
		"commit.drawn", "commit.ledgered", "token.drawn", "token.ledgered", "server.drawn", "server.ledgered"} {
		key, _, _ := strings.Cut(step, ".")
		crash = step
		if _, err := rotate(a, attack.Regulator, key); err == nil {
			t.Fatalf("%s was not reached", step)
		}
		crash = ""
		if i%2 == 1 || key == "log" {
			b := a.Crash(t, gateway.Options{})
			b.MustRun(t, attack.Op(0), "turning", fmt.Sprintf("%s WHERE fee_yuan > %d", sql, i), 0)
			b.Ingest(t, "turning", visits("turning", "").CSV)
			mustRotate(t, b, key)
			b.MustRun(t, attack.Op(1), "turning", sql, 0)
			auditPinned(t, b, nil)
		}
		mustRotate(t, a, key)
		a.MustRun(t, attack.Op(0), "turning", sql, 0)
	}
	for _, step := range []string{"erase.entry", "erase.key"} {
		mustRotate(t, a, "token")
		crash = step
		a.Ingest(t, "turning", visits("turning", "").CSV)
		crash = ""
		keys, err := a.Home.Unlock()
		if err != nil || len(keys.Old["token"]) == 0 {
			t.Fatalf("%s was not reached: %v", step, err)
		}
		b := a.Crash(t, gateway.Options{})
		if keys, err := b.Home.Unlock(); err != nil || len(keys.Old["token"]) != 0 {
			t.Errorf("%s: after a start the old key is there: %v", step, err)
		}
		auditPinned(t, b, nil)
	}
	auditPinned(t, a, nil)
}

// R01 R34: exact answers under a new token key cannot be held against those of
// before, so there are none. In one epoch the same second question is answered
// but for the cell that would give a unit away.
func TestR34_ExactAcrossTokenKeys(t *testing.T) {
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
	rule := `mode: exact, exact: {k: 10, round: 5, bits_per_unit: "16"}`
	withoutOne := func(x attack.Table) string { return strings.Replace(x.CSV, "u17,17,c,17.50,false\n", "", 1) }
	refused := func(x attack.Table, sql string) string {
		t.Helper()
		_, err := a.Run(attack.Op(0), x.ID, sql, 0)
		return attack.Reason(err)
	}
	same, other := people("stays", 400, rule), people("turns", 400, rule)
	for _, x := range []attack.Table{same, other} {
		a.Add(t, x)
		a.MustRun(t, attack.Op(0), x.ID, "SELECT district, COUNT(*) AS n FROM "+x.ID+" GROUP BY district", 0)
	}
	a.Ingest(t, same.ID, withoutOne(same))
	control, err := a.Run(attack.Op(0), same.ID, "SELECT district, COUNT(*) AS n FROM "+same.ID+" GROUP BY district", 0)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(control)
	if err != nil {
		t.Fatal(err)
	}
	withheld := strings.Contains(string(text), "DIFFERENCING")
	if !withheld {
		t.Errorf("control: in one epoch the difference of one unit is not withheld: %s", text)
	}
	r := mustRotate(t, a, "token")
	if !slices.Contains(r.GetClosing(), other.ID) || !slices.Contains(r.GetWaiting(), other.ID) {
		t.Errorf("the rotation does not warn: %v", r)
	}
	// Not ingested again, it answers as before.
	a.MustRun(t, attack.Op(0), other.ID, "SELECT COUNT(*) AS n FROM "+other.ID, 0)
	a.Ingest(t, other.ID, withoutOne(other))
	got := refused(other, "SELECT district, COUNT(*) AS n FROM "+other.ID+" GROUP BY district")
	if got != "EXACT_EPOCH" {
		t.Errorf("under the new key: %q", got)
	}
	leak.Record(t, leak.Score{Attack: "an exact cell subtracted across token keys", Figure: got, Bound: "EXACT_EPOCH", Control: "withheld in one epoch", Pass: got == "EXACT_EPOCH" && withheld, Trials: 1})
	auditPinned(t, a, nil)
}

// R31: an old ledger with its guard, put back after a key was rotated, does not
// serve: the keyring knows better. Control: with the keyring put back too it does.
func TestAttack14_OldLedgerAndGuardAfterRotation(t *testing.T) {
	for _, key := range []string{"log", "receipt", "token", "commit"} {
		a := arena(t, "turning", gateway.Options{})
		old := t.TempDir()
		if err := a.Stop(); err != nil {
			t.Fatal(err)
		}
		run := func(name string, args ...string) {
			t.Helper()
			if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}
		run("cp", "-a", a.Home.Dir+"/.", old)
		if err := a.Start(gateway.Options{}); err != nil {
			t.Fatal(err)
		}
		mustRotate(t, a, key)
		if err := a.Stop(); err != nil {
			t.Fatal(err)
		}
		for _, dir := range []string{a.Home.Ledger(), a.Home.Guard()} {
			rel, _ := filepath.Rel(a.Home.Dir, dir)
			run("rm", "-rf", dir)
			run("cp", "-a", filepath.Join(old, rel), dir)
		}
		err := a.Start(gateway.Options{})
		if !errors.Is(err, home.ErrLedgerOlder) {
			t.Errorf("%s: an old ledger and guard: %v", key, err)
		}
		run("cp", "-a", filepath.Join(old, home.KeyringFile), a.Home.Dir)
		if err := a.Start(gateway.Options{}); err != nil {
			t.Errorf("%s: control: %v", key, err)
		}
		leak.Record(t, leak.Score{Attack: "14 an old ledger with its guard, after the " + key + " key was rotated", Figure: "refused", Bound: "refused", Control: "served with the keyring put back", Pass: errors.Is(err, home.ErrLedgerOlder), Trials: 1})
	}
}

// A keyring of before the rotation, with the newest ledger, does not sign as
// nobody: it is refused with what to do.
func TestOldKeyringAfterRotation(t *testing.T) {
	a := arena(t, "turning", gateway.Options{})
	ring := filepath.Join(a.Home.Dir, home.KeyringFile)
	for _, key := range []string{"log", "receipt", "token", "commit"} {
		old, err := os.ReadFile(ring)
		if err != nil {
			t.Fatal(err)
		}
		mustRotate(t, a, key)
		if err := a.Stop(); err != nil {
			t.Fatal(err)
		}
		kept, err := os.ReadFile(ring)
		if err == nil {
			err = os.WriteFile(ring, old, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Start(gateway.Options{}); !errors.Is(err, home.ErrKeyringOlder) {
			t.Errorf("%s: %v", key, err)
		}
		if err := os.WriteFile(ring, kept, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := a.Start(gateway.Options{}); err != nil {
			t.Fatal(err)
		}
	}
}

// R34: with Vault, token keys of every epoch are wrapped by it, and nothing of them
// or of what came of them stands in the keyring.
func TestR34_RotateTokenWithVault(t *testing.T) {
	server := vaulttest.Start(t, time.Hour)
	cfg := server.Config()
	cfg.Timeout = 3 * time.Second
	opt := gateway.Options{Vault: &cfg}
	a := arena(t, "turning", gateway.Options{})
	mustRotate(t, a, "token") // an epoch that moves to Vault later
	mustRotate(t, a, "log")
	again := func() {
		t.Helper()
		if err := a.Stop(); err != nil {
			t.Fatal(err)
		}
		if err := a.Start(opt); err != nil {
			t.Fatal(err)
		}
	}
	again()
	mustRotate(t, a, "token")
	bare := func(old int) {
		t.Helper()
		keys, err := a.Home.Unlock()
		if err != nil || keys.Token != nil || keys.VaultToken == "" || len(keys.Old["token"]) != old || len(keys.Old["consent"]) != 1 {
			t.Fatalf("keyring: %d token keys of before, %v", len(keys.Old["token"]), err)
		}
		for _, h := range append(keys.Old["token"], keys.Old["consent"]...) {
			if h.Key != nil || !strings.HasPrefix(h.Vault, "vault:v") {
				t.Error("a key stands in the keyring unwrapped")
			}
		}
	}
	bare(2)
	server.Seal(t)
	if _, err := rotate(a, attack.Regulator, "token"); attack.Reason(err) != "KEYS_AWAY" {
		t.Errorf("with Vault sealed: %v", err)
	}
	server.Unseal(t)
	for deadline := time.Now().Add(10 * time.Second); !a.Domain.KeysAnswer() && time.Now().Before(deadline); {
		time.Sleep(50 * time.Millisecond)
	}
	for _, key := range []string{"storage", "receipt", "commit", "log", "server"} {
		mustRotate(t, a, key)
	}
	again()
	bare(2)
	a.Ingest(t, "turning", visits("turning", "").CSV)
	a.MustRun(t, attack.Op(0), "turning", "SELECT COUNT(*) AS n FROM turning", 0)
	bare(0)
	again()
	bare(0)
	auditPinned(t, a, nil)
}
