package gateway_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/sandgate/sandgate/gateway"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/attack"
	"github.com/sandgate/sandgate/gateway/home"
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
	kit, err := home.OpenKit(a.KitDir(op))
	if err != nil {
		t.Fatal(err)
	}
	conf, err := kit.TLS()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient(a.Addr, grpc.WithTransportCredentials(credentials.NewTLS(conf)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.Invoke(t.Context(), "/sandgate.v1.Nobody/Tell239902196203215088", &sandgatev1.ApplyPolicyRequest{}, &sandgatev1.ApplyPolicyResponse{}); status.Code(err) != codes.Unimplemented {
		t.Fatalf("a method that does not exist: %v", err)
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
	if strings.Contains(string(raw), "239902196203215088") || !strings.Contains(string(raw), `"method":"unknown"`) {
		t.Error("a caller's own words are in the access log")
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
