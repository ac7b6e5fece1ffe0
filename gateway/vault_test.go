package gateway_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sandgate/sandgate/gateway"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/attack"
	"github.com/sandgate/sandgate/gateway/home/vault/vaulttest"
)

// R34: a home moves its keys to Vault at its first start with it. From then on the
// home alone opens nothing, what is open answers while Vault is sealed, all else is
// refused with one code and uncharged, and all goes on when it is back.
func TestR34_GatewayWithVault(t *testing.T) {
	server := vaulttest.Start(t, time.Hour)
	cfg := server.Config()
	cfg.Timeout = 3 * time.Second // a handshake under the race detector takes its time
	opt := gateway.Options{Vault: &cfg}
	a := arena(t, "open", gateway.Options{})
	a.Add(t, visits("shut", ""))
	a.MustRun(t, attack.Op(0), "open", "SELECT COUNT(*) AS n FROM open", 0)
	id, file := dataOf(t, a.Home, "open")
	if err := opensWith(t, a.Home, id, file); err != nil {
		t.Fatalf("control: with the keys in the home: %v", err)
	}
	again := func(opt gateway.Options) error {
		t.Helper()
		if a.Running() {
			if err := a.Stop(); err != nil {
				t.Fatal(err)
			}
		}
		return a.Start(opt)
	}
	if err := again(opt); err != nil {
		t.Fatal(err)
	}
	keys, err := a.Home.Unlock()
	if err != nil || keys.Storage != nil || keys.Token != nil || len(keys.Retired) != 0 || keys.VaultToken == "" {
		t.Fatalf("keyring after the move: %d retired, %v", len(keys.Retired), err)
	}
	names, err := filepath.Glob(filepath.Join(a.Home.Snapshots(), "snapshots", "*", "key.json"))
	if err != nil || len(names) != 2 {
		t.Fatalf("keys %v, %v", names, err)
	}
	for _, name := range names {
		if text, err := os.ReadFile(name); err != nil || !strings.Contains(string(text), `"vault:v1:`) {
			t.Errorf("%s is not wrapped by Vault: %v", name, err)
		}
	}
	for _, x := range []string{"open", "shut"} {
		a.MustRun(t, attack.Op(0), x, "SELECT COUNT(*) AS n FROM "+x+" WHERE fee_yuan > 1", 0)
	}
	r, err := a.Client(attack.Regulator).Keys.RotateKey(context.Background(), &sandgatev1.RotateKeyRequest{Key: "storage"})
	if err != nil || r.GetMoved() != 2 || r.GetTo() != "vault:transit/sandgate-storage:v2" {
		t.Errorf("rotation: %v, %v", r, err)
	}
	// The same people are the same units: the key of unit tokens is the same.
	if m, err := a.Client(attack.Department).Ingest(t.Context(), "open", "csv", strings.NewReader(visits("open", "").CSV), nil); err != nil || !strings.HasSuffix(m.GetName(), id) {
		t.Errorf("an equal file gives another snapshot: %v, %v", m, err)
	}

	if err := again(gateway.Options{}); err == nil || !strings.Contains(err.Error(), "--vault-addr") {
		t.Fatalf("a start without Vault: %v", err)
	}
	server.Seal(t)
	if err := again(opt); err == nil || !strings.Contains(err.Error(), "unseal") {
		t.Fatalf("a start with Vault sealed: %v", err)
	}
	server.Unseal(t)
	if err := again(opt); err != nil {
		t.Fatal(err)
	}
	a.MustRun(t, attack.Op(0), "open", "SELECT COUNT(*) AS n FROM open WHERE fee_yuan > 2", 0)
	for _, c := range []struct {
		name, fee  string
		away, back func()
	}{
		{"sealed", "11", func() { server.Seal(t) }, func() { server.Unseal(t) }},
		{"paused", "12", func() { server.Pause(t) }, func() { server.Resume(t) }},
		{"killed", "13", func() { server.Kill(t) }, func() { server.Run(t); server.Unseal(t) }},
	} {
		spent, _ := a.Spent(t, attack.Op(0), "shut", "operator_year")
		c.away()
		a.MustRun(t, attack.Op(0), "open", "SELECT COUNT(*) AS n FROM open WHERE fee_yuan > "+c.fee, 0)
		if _, err := a.Run(attack.Op(0), "shut", "SELECT COUNT(*) AS n FROM shut WHERE fee_yuan > 3", 0); attack.Reason(err) != "KEYS_AWAY" {
			t.Errorf("%s: what is not open: %v", c.name, err)
		}
		if _, err := a.Client(attack.Department).Ingest(t.Context(), "shut", "csv", strings.NewReader(visits("shut", "").CSV+"u9999,F00-F99,F1.9,surgery,2024-03-01,1.50,1.00\n"), nil); attack.Reason(err) != "KEYS_AWAY" {
			t.Errorf("%s: an ingest: %v", c.name, err)
		}
		if now, _ := a.Spent(t, attack.Op(0), "shut", "operator_year"); now != spent {
			t.Errorf("%s: charged %d", c.name, now-spent)
		}
		c.back()
		for deadline := time.Now().Add(10 * time.Second); !a.Domain.KeysAnswer(); time.Sleep(50 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: it does not come back", c.name)
			}
		}
	}
	a.MustRun(t, attack.Op(0), "shut", "SELECT COUNT(*) AS n FROM shut WHERE fee_yuan > 3", 0)
	// Destruction needs no key.
	server.Seal(t)
	if _, err := destroy(a.Client(attack.Department), "open"); err != nil {
		t.Errorf("a destruction while Vault is sealed: %v", err)
	}
	server.Unseal(t)
	if r := audited(t, a); r.Kinds["key.rotated"] != 2 || r.Kinds["snapshot.destroyed"] != 1 {
		t.Errorf("kinds %v", r.Kinds)
	}
}
