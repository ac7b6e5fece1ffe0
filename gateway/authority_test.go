package gateway_test

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sandgate/sandgate/gateway"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/attack"
	"github.com/sandgate/sandgate/gateway/client"
	"github.com/sandgate/sandgate/gateway/home"
	"github.com/sandgate/sandgate/gateway/home/vault/vaulttest"
	"github.com/sandgate/sandgate/ledger/evidence"
)

// calls makes a call on a new connection with the kit of a directory, or on one that
// is kept.
func calls(t *testing.T, a *attack.Arena, dir string) (*client.Client, error) {
	t.Helper()
	kit, err := home.OpenKit(dir)
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.Dial(kit, a.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c, call(t, c)
}

func call(t *testing.T, c *client.Client) error {
	t.Helper()
	_, err := c.Desk.ListDuties(t.Context(), &sandgatev1.ListDutiesRequest{})
	return err
}

func retire(t *testing.T, a *attack.Arena, force bool) (*sandgatev1.RetireKeyResponse, error) {
	t.Helper()
	c, err := calls(t, a, a.KitDir(attack.Regulator))
	if err != nil {
		t.Fatal(err)
	}
	return c.Keys.RetireKey(t.Context(), &sandgatev1.RetireKeyRequest{Key: "ca", Force: force})
}

// renewKit issues to a kit what the home's keyring has in force.
func renewKit(t *testing.T, a *attack.Arena, dir string) {
	t.Helper()
	keys, err := a.Home.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	kit, err := home.OpenKit(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Home.Renew(keys, kit, time.Now()); err != nil {
		t.Fatal(err)
	}
}

// R34: two authorities are good until one is retired, nobody is cut off in between, and
// then whoever was not renewed is shut out: on a new connection by TLS, and on one
// that is open by the next call.
func TestR34_AuthorityRotatesWithoutAStop(t *testing.T) {
	a := arena(t, "turning", gateway.Options{})
	old, fresh := a.KitDir(attack.Op(0)), a.KitDir(attack.Op(1))
	if _, err := retire(t, a, true); attack.Reason(err) != "NOTHING_TO_RETIRE" {
		t.Errorf("before a rotation: %v", err)
	}
	serial := served(t, a)
	receipts := []evidence.Receipt{parsed(t, mustRotate(t, a, "ca").GetReceipt())}
	if _, err := rotate(a, attack.Regulator, "ca"); attack.Reason(err) != "CA_NOT_RETIRED" {
		t.Errorf("a third authority: %v", err)
	}
	for range 2 { // with the gateway as it is, and started anew
		if served(t, a) != serial {
			t.Error("the gateway's certificate changed before the old authority is retired")
		}
		if _, err := calls(t, a, old); err != nil {
			t.Errorf("an old kit between the steps: %v", err)
		}
		renewKit(t, a, fresh)
		if _, err := calls(t, a, fresh); err != nil {
			t.Errorf("a renewed kit between the steps: %v", err)
		}
		keys, err := a.Home.Unlock()
		if err != nil || len(keys.Old["ca"]) != 1 {
			t.Fatalf("keyring: %v", err)
		}
		late := filepath.Join(t.TempDir(), "kit")
		if _, err := a.Home.NewKit(keys, late, attack.Op(2), a.Addr, time.Now()); err != nil {
			t.Fatal(err)
		}
		if _, err := calls(t, a, late); err != nil {
			t.Errorf("a new kit between the steps: %v", err)
		}
		if err := a.Stop(); err != nil {
			t.Fatal(err)
		}
		if err := a.Start(gateway.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	open, err := calls(t, a, old)
	if err != nil {
		t.Fatal(err)
	}
	renewKit(t, a, a.KitDir(attack.Regulator))
	if _, err := calls(t, a, fresh); err != nil {
		t.Fatal(err)
	}
	if _, err := retire(t, a, false); attack.Reason(err) != "CA_IN_USE" || !strings.Contains(err.Error(), attack.Op(0)) || strings.Contains(err.Error(), attack.Op(1)) || strings.Contains(err.Error(), attack.Regulator) {
		t.Errorf("with parties that have not renewed: %v", err)
	}
	r, err := retire(t, a, true)
	if err != nil || !slices.Contains(r.GetParties(), attack.Op(0)) || slices.Contains(r.GetParties(), attack.Op(1)) {
		t.Fatalf("%v, %v", r, err)
	}
	receipts = append(receipts, parsed(t, r.GetReceipt()))
	if err := call(t, open); attack.Reason(err) != "UNAUTHENTICATED" {
		t.Errorf("an open connection under the retired authority: %v", err)
	}
	for range 2 {
		if _, err := calls(t, a, old); err == nil {
			t.Error("an old kit is let in")
		}
		if _, err := calls(t, a, fresh); err != nil {
			t.Errorf("a renewed kit: %v", err)
		}
		if keys, err := a.Home.Unlock(); err != nil || len(keys.Old["ca"]) != 0 {
			t.Errorf("the retired key is in the keyring: %v", err)
		}
		if err := a.Stop(); err != nil {
			t.Fatal(err)
		}
		if err := a.Start(gateway.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	renewKit(t, a, old)
	if _, err := calls(t, a, old); err != nil {
		t.Errorf("a kit that is renewed late: %v", err)
	}
	if rep := auditPinned(t, a, receipts); rep.Kinds["key.erased"] != 1 || rep.Kinds["key.rotated"] != 1 {
		t.Errorf("kinds %v", rep.Kinds)
	}
}

// R34: a rotation or a retirement of the authority that breaks off, by an error or with
// the machine, is carried on; meanwhile old kits go on, and after the ledger has the
// retirement they do not.
func TestR34_AuthorityAndCrash(t *testing.T) {
	crash := ""
	a := arena(t, "turning", gateway.WithFault(gateway.Options{}, func(step string) error {
		if step == crash {
			return errors.New("crash")
		}
		return nil
	}))
	kit := a.KitDir(attack.Op(0))
	for _, step := range []string{"ca.drawn", "ca.ledgered"} {
		crash = step
		if _, err := rotate(a, attack.Regulator, "ca"); err == nil {
			t.Fatalf("%s was not reached", step)
		}
		crash = ""
		b := a.Crash(t, gateway.Options{})
		if _, err := calls(t, b, kit); err != nil {
			t.Errorf("%s: after a start: %v", step, err)
		}
		auditPinned(t, b, nil)
	}
	if _, err := calls(t, a, kit); err != nil {
		t.Errorf("after the faults: %v", err)
	}
	// The ledger has the rotation: repeating it says so and brings the keyring along.
	if _, err := rotate(a, attack.Regulator, "ca"); attack.Reason(err) != "CA_NOT_RETIRED" {
		t.Errorf("repeated: %v", err)
	}
	renewKit(t, a, a.KitDir(attack.Regulator))
	crash = "ca.retired"
	if _, err := retire(t, a, true); err == nil {
		t.Fatal("ca.retired was not reached")
	}
	crash = ""
	b := a.Crash(t, gateway.Options{})
	if _, err := calls(t, b, kit); err == nil {
		t.Error("an old kit is let in after the ledger has the retirement")
	}
	if _, err := calls(t, b, b.KitDir(attack.Regulator)); err != nil {
		t.Errorf("a renewed kit: %v", err)
	}
	if keys, err := b.Home.Unlock(); err != nil || len(keys.Old["ca"]) != 0 {
		t.Errorf("after a start the retired key is there: %v", err)
	}
	auditPinned(t, b, nil)
	auditPinned(t, a, nil)
}

// R34 R28: between a rotation of the key of consents and the next ingest a data set that
// needs them answers nothing; then consents of before count for nobody, and those that
// are recorded again do. With Vault no such key stands in the keyring unwrapped.
func TestR34_ConsentKeyRotates(t *testing.T) {
	server := vaulttest.Start(t, time.Hour)
	cfg := server.Config()
	cfg.Timeout = 3 * time.Second
	opt := gateway.Options{Vault: &cfg}
	a := arena(t, "turning", gateway.Options{})
	addCitizens(t, a, "asked", true)
	addCitizens(t, a, "free", false)
	agree(t, a, "before", "asked", upTo(40)...)
	const count = "SELECT COUNT(*) AS n FROM asked"
	if got := exact(t, a, "asked", count); got != "[40]" {
		t.Fatalf("before: %s", got)
	}
	first := commitments(t, a, "asked", 1)
	again := func() {
		t.Helper()
		if err := a.Stop(); err != nil {
			t.Fatal(err)
		}
		if err := a.Start(opt); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 2 { // the first in the keyring, the second with Vault
		r := mustRotate(t, a, "consent")
		if !slices.Equal(r.GetWaiting(), []string{"asked"}) || !slices.Equal(r.GetDepartments(), []string{attack.Department}) || int(r.GetEpoch()) != i+1 {
			t.Errorf("to be made anew: %v by %v, epoch %d", r.GetWaiting(), r.GetDepartments(), r.GetEpoch())
		}
		if now := commitments(t, a, "asked", 1); now[0] == first[0] {
			t.Error("a subject is named as before")
		}
		if _, err := a.Run(attack.Op(0), "asked", count, 0); attack.Reason(err) != "CONSENT_EPOCH" {
			t.Errorf("before the ingest: %v", err)
		}
		a.MustRun(t, attack.Op(0), "free", "SELECT COUNT(*) AS n FROM free", 0)
		var csv strings.Builder
		csv.WriteString("id,district,fee\n")
		for n := range agreeing {
			csv.WriteString(citizenNumber(n) + ",a,10.00\n")
		}
		a.Ingest(t, "asked", csv.String())
		if got := exact(t, a, "asked", count); got != "[0]" {
			t.Errorf("consents of before count %s", got)
		}
		agree(t, a, []string{"again", "anew"}[i], "asked", upTo(20+i)...)
		want := []string{"[20]", "[21]"}[i]
		if got := exact(t, a, "asked", count); got != want {
			t.Errorf("recorded again: %s, want %s", got, want)
		}
		again()
		if got := exact(t, a, "asked", count); got != want {
			t.Errorf("after a start: %s, want %s", got, want)
		}
	}
	keys, err := a.Home.Unlock()
	if err != nil || len(keys.Old["consent"]) != 3 {
		t.Fatalf("keyring: %d keys of consents, %v", len(keys.Old["consent"]), err)
	}
	for _, h := range keys.Old["consent"] {
		if h.Key != nil || !strings.HasPrefix(h.Vault, "vault:v") {
			t.Error("a key of consents stands in the keyring unwrapped")
		}
	}
	auditPinned(t, a, nil)
}
