package sandbox

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestR01_Escape: no probe gets through any tier a pool may serve; the control
// shows that the same probes do get through without layers.
func TestR01_Escape(t *testing.T) {
	for _, tier := range []Tier{TierFull, TierContainer} {
		p, err := newPool(Config{Tier: tier})
		if err != nil {
			t.Fatal(err)
		}
		through, err := p.attack(context.Background())
		_ = p.Close()
		if err != nil {
			t.Fatal(err)
		}
		if len(through) != 0 {
			t.Errorf("tier %s: got through: %v", tier, through)
		}
	}
	p, err := newPool(Config{Tier: tierNone})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	through, err := p.attack(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, probe := range probes {
		switch probe.name {
		case "raise_limit", "io_uring": // depend on the host's own limits
			continue
		case "parent_environ", "parent_memory": // a hardened parent stops them alone
			if hardened, _ := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); hardened == 0 && os.Getuid() != 0 {
				continue
			}
		}
		if !slices.Contains(through, probe.name) {
			t.Errorf("positive control: %s fails without any layer, so it proves nothing", probe.name)
		}
	}
	if _, err := NewPool(context.Background(), Config{Tier: tierNone}); err == nil {
		t.Error("a pool without layers started")
	}
	if _, err := NewPool(context.Background(), Config{Tier: "light"}); err == nil {
		t.Error("an unknown tier started")
	}
}

// TestSelfTestRefuses: a pool whose layers are off does not pass its own test.
func TestSelfTestRefuses(t *testing.T) {
	p, err := newPool(Config{Tier: tierNone})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	err = p.selfTest(context.Background())
	if err == nil || !strings.Contains(err.Error(), "missing layer") {
		t.Fatalf("got %v", err)
	}
}

// TestNoInheritedDescriptor: a descriptor that lost its close-on-exec flag in
// the parent (a C library may do that) does not reach the worker.
func TestNoInheritedDescriptor(t *testing.T) {
	f, err := os.Open("/etc/hostname")
	if err != nil {
		f, err = os.Open("/etc/passwd")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	dup, err := unix.Dup(int(f.Fd())) // dup clears the flag
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(dup)
	p, err := newPool(Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := p.launch(context.Background(), "echo", 1<<20, false, false); err != nil {
		t.Fatalf("verification found a leak: %v", err)
	}
}

// TestVerifyCatches: the outside check refuses a process that is not jailed.
func TestVerifyCatches(t *testing.T) {
	p, err := newPool(Config{Tier: tierNone})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	proc, err := p.launch(context.Background(), "echo", 1<<20, false, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, tier := range []Tier{TierFull, TierContainer} {
		set, _ := tier.layers()
		if err := verify(proc.pid, tier, set); err == nil {
			t.Errorf("tier %s: an unjailed process passed", tier)
		}
	}
	sealed := "NoNewPrivs:\t1\nSeccomp:\t2\nCapEff:\t0000000000000000\nCapPrm:\t0000000000000000\nCapInh:\t0\nCapAmb:\t0\nCapBnd:\t0000000000000000\n"
	if got := checkStatus(sealed, layersFull); got != "" {
		t.Errorf("a sealed status failed: %s", got)
	}
	for _, broken := range []string{
		strings.Replace(sealed, "Seccomp:\t2", "Seccomp:\t0", 1),
		strings.Replace(sealed, "NoNewPrivs:\t1", "NoNewPrivs:\t0", 1),
		strings.Replace(sealed, "CapBnd:\t0000000000000000", "CapBnd:\t0000000000000400", 1),
		strings.Replace(sealed, "CapAmb:\t0\n", "", 1),
		"",
	} {
		if checkStatus(broken, layersFull) == "" {
			t.Errorf("passed: %q", broken)
		}
	}
}

// TestOrdinaryUser runs a full-tier pool as an unprivileged user when the test
// itself is root; an ordinary user proves it by running the other tests.
func TestOrdinaryUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("already an ordinary user")
	}
	dir, err := os.MkdirTemp("", "sandgate-user-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	exe := dir + "/sandbox.test"
	if err := os.WriteFile(exe, raw, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, run := range [][2]string{
		{"^(TestEcho|TestR01_Escape)$", ""},
		{"^TestEcho$", "SANDGATE_TEST_UNDUMPABLE=1"}, // a gateway that nobody may trace
	} {
		cmd := exec.Command(exe, "-test.run", run[0], "-test.count=1")
		cmd.Dir = "/"
		cmd.Env = []string{"PATH=/usr/bin:/bin", "TMPDIR=/tmp", run[1]}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
}
