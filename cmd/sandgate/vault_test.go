package main

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sandgate/sandgate/gateway/home/vault/vaulttest"
)

// vaultCondition is [vault] in a script: there is a Vault server, or there must be.
func vaultCondition(cond string) (bool, error) {
	if cond != "vault" {
		return false, fmt.Errorf("unknown condition %q", cond)
	}
	_, err := vaulttest.Binary()
	need := os.Getenv("CI") == "true" || os.Getenv("SANDGATE_NEED_VAULT") == "1"
	return err == nil || need, nil
}

// scripted fails the script in the place of the test.
type scripted struct {
	testing.TB
	ts *testscript.TestScript
}

func (s scripted) Fatal(args ...any)                 { s.ts.Fatalf("%s", fmt.Sprint(args...)) }
func (s scripted) Fatalf(format string, args ...any) { s.ts.Fatalf(format, args...) }
func (s scripted) TempDir() string                   { return s.ts.MkAbs("vault") }
func (s scripted) Cleanup(f func())                  { s.ts.Defer(f) }

// vaultserver start makes a Vault server in the directory vault and sets VAULT;
// seal, unseal, kill and run do as they say.
func cmdVaultServer(t *testing.T) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, got []string) {
		noNeg(ts, neg)
		args(ts, got, "vaultserver start|seal|unseal|kill|run", 1, 1)
		p, by := playingOf(ts), scripted{t, ts}
		if got[0] == "start" {
			ts.Check(os.MkdirAll(ts.MkAbs("vault"), 0o700))
			p.vault = vaulttest.Start(by, time.Hour)
			ts.Setenv("VAULT", "https://"+p.vault.Addr)
			return
		}
		do, ok := map[string]func(testing.TB){"seal": p.vault.Seal, "unseal": p.vault.Unseal, "kill": p.vault.Kill, "run": p.vault.Run}[got[0]]
		if !ok {
			ts.Fatalf("unknown: %s", got[0])
		}
		do(by)
	}
}
