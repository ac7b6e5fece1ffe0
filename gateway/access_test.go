package gateway_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sandgate/sandgate/gateway"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/attack"
	"github.com/sandgate/sandgate/ledger/audit"
)

// Every call is in the raw access log with who made it and how it ended, and what a
// heartbeat vouched for cannot be changed without an audit that finds it.
func TestR29_R34_AccessLogIsHeldAgainstTheLedger(t *testing.T) {
	t.Parallel()
	a, err := attack.NewInside(t.TempDir(), gateway.Options{Heartbeat: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	running := true
	t.Cleanup(func() {
		if running {
			_ = a.Stop()
		}
	})
	op := attack.Op(0)
	if _, err := a.Client(op).Policy.ApplyPolicy(t.Context(), &sandgatev1.ApplyPolicyRequest{}); err == nil {
		t.Fatal("an empty bundle is applied")
	}
	time.Sleep(200 * time.Millisecond) // some heartbeats
	running = false
	if err := a.Stop(); err != nil {
		t.Fatal(err)
	}
	dir, ledgerDir := filepath.Join(a.Dir, "home", "access"), filepath.Join(a.Dir, "home", "ledger")
	files, err := filepath.Glob(filepath.Join(dir, "access-*.jsonl"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no access log: %v", err)
	}
	raw, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	line := ""
	for l := range strings.Lines(string(raw)) {
		if strings.Contains(l, `"party":"`+op+`"`) && strings.Contains(l, "/ApplyPolicy") {
			line = l
		}
	}
	if !strings.Contains(line, `"code":"FailedPrecondition"`) || !strings.Contains(line, `"peer":"127.0.0.1"`) {
		t.Fatalf("the refused call reads %q", line)
	}
	check := func() *audit.Report {
		t.Helper()
		r, err := audit.Run(t.Context(), ledgerDir, audit.Options{Access: dir})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if r := check(); !r.OK || r.AccessLines == 0 {
		t.Fatalf("the intact log: %+v", r.Findings)
	}
	// The operator that tried is blotted out.
	forged := strings.Replace(string(raw), line, strings.Replace(line, op, attack.Op(1), 1), 1)
	if err := os.WriteFile(files[0], []byte(forged), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := check(); r.OK {
		t.Error("a forged access log passes the audit")
	}
}
