package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	unitFile = "../docs/deploy/sandgate.service"
	// unitExposure is the most that systemd-analyze may find, of 100: what it
	// still counts is what the jail needs, and the network.
	unitExposure = "28"
	// unitHost plays the process that systemd starts under the unit.
	unitHost = "sandgate-test-unit"
)

func systemdAnalyze(t *testing.T, args ...string) string {
	t.Helper()
	path, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("UNIT NOT CHECKED: systemd-analyze is not on this machine")
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("systemd-analyze %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// TestUnitFile: systemd understands every line of the unit, and finds little left
// to harden.
func TestUnitFile(t *testing.T) {
	raw, err := os.ReadFile(unitFile)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// The program need not be installed here.
	name := filepath.Join(t.TempDir(), "sandgate.service")
	if err := os.WriteFile(name, bytes.ReplaceAll(raw, []byte("/usr/local/bin/sandgate"), []byte(self)), 0o644); err != nil {
		t.Fatal(err)
	}
	if out := systemdAnalyze(t, "verify", "--man=no", name); strings.Contains(out, "sandgate.service") {
		t.Errorf("systemd complains:\n%s", out)
	}
	out := systemdAnalyze(t, "security", "--offline=true", "--threshold="+unitExposure, "--no-pager", name)
	if m := regexp.MustCompile(`Overall exposure level.*`).FindString(out); m == "" {
		t.Errorf("no verdict in\n%s", out)
	} else {
		t.Log(m)
	}
	// The controls: a misspelt line is found, and an unhardened unit is over the
	// threshold.
	if err := os.WriteFile(name, []byte("[Service]\nExecStart="+self+"\nNoNewPriviledges=yes\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if out := systemdAnalyze(t, "verify", "--man=no", name); !strings.Contains(out, "NoNewPriviledges") {
		t.Error("a misspelt line goes unnoticed")
	}
	if err := exec.Command("systemd-analyze", "security", "--offline=true", "--threshold="+unitExposure, "--no-pager", name).Run(); err == nil {
		t.Error("an unhardened unit passes")
	}
}

// TestJailUnderTheUnit: with the unit's system call filter, without a single
// capability and without a way to get one, the full tier still starts and holds;
// without what the unit marks as the jail's it refuses (the control).
func TestJailUnderTheUnit(t *testing.T) {
	raw, err := os.ReadFile(unitFile)
	if err != nil {
		t.Fatal(err)
	}
	var filter []string
	for _, m := range regexp.MustCompile(`(?m)^SystemCallFilter=(.*)$`).FindAllSubmatch(raw, -1) {
		filter = append(filter, strings.Fields(string(m[1]))...)
	}
	without := func(name string) []string {
		return slices.DeleteFunc(slices.Clone(filter), func(s string) bool { return s == name })
	}
	numbers := callNumbers(t)
	for _, c := range []struct {
		name   string
		filter []string
		holds  bool
	}{
		{"as it is", filter, true},
		{"control: without @mount", without("@mount"), false},
		{"control: without landlock_restrict_self", without("landlock_restrict_self"), false},
		{"control: without sethostname", without("sethostname"), false},
	} {
		var allowed []uint32
		for _, name := range unitCalls(t, c.filter) {
			if nr, ok := numbers[name]; ok {
				allowed = append(allowed, nr)
			}
		}
		order, err := json.Marshal(allowed)
		if err != nil || len(allowed) < 100 {
			t.Fatalf("%d calls, %v", len(allowed), err)
		}
		cmd := exec.Command("/proc/self/exe")
		cmd.Args, cmd.Dir, cmd.Env, cmd.Stderr = []string{unitHost, string(order)}, "/", []string{"TMPDIR=/tmp"}, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if os.Getuid() == 0 {
			cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
		}
		out, err := cmd.Output()
		if holds := err == nil && string(out) == "ok\n"; holds != c.holds {
			t.Errorf("%s: %v: %s", c.name, err, out)
		}
	}
}

// unitCalls resolves groups of system calls as systemd does.
func unitCalls(t *testing.T, names []string) []string {
	var out []string
	for _, name := range names {
		if !strings.HasPrefix(name, "@") {
			out = append(out, name)
			continue
		}
		for _, line := range strings.Split(systemdAnalyze(t, "--no-pager", "syscall-filter", name), "\n") {
			line = strings.TrimSpace(line)
			if strings.HasPrefix(line, "@") && line != name {
				out = append(out, unitCalls(t, []string{line})...)
			} else if line != "" && line != name && !strings.HasPrefix(line, "#") {
				out = append(out, line)
			}
		}
	}
	// What systemd allows in any case to start a program at all.
	return append(out, "execve", "exit", "exit_group", "brk", "mmap", "mprotect", "munmap", "read", "write", "rt_sigreturn")
}

// callNumbers reads the kernel's own list from the C headers.
func callNumbers(t *testing.T) map[string]uint32 {
	t.Helper()
	raw, err := os.ReadFile("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
	if err != nil {
		if raw, err = os.ReadFile("/usr/include/asm/unistd_64.h"); err != nil {
			t.Skip("UNIT'S FILTER NOT TRIED: no C headers with the system call numbers")
		}
	}
	out := map[string]uint32{}
	for _, m := range regexp.MustCompile(`(?m)^#define __NR_(\w+) (\d+)$`).FindAllSubmatch(raw, -1) {
		var n uint32
		if _, err := fmt.Sscan(string(m[2]), &n); err == nil {
			out[string(m[1])] = n
		}
	}
	// Newer than some headers.
	for name, nr := range map[string]uint32{"mount_setattr": unix.SYS_MOUNT_SETATTR, "landlock_create_ruleset": unix.SYS_LANDLOCK_CREATE_RULESET,
		"landlock_add_rule": unix.SYS_LANDLOCK_ADD_RULE, "landlock_restrict_self": unix.SYS_LANDLOCK_RESTRICT_SELF, "close_range": unix.SYS_CLOSE_RANGE} {
		out[name] = nr
	}
	return out
}

// unitMain is a process under the unit: an ordinary user, no capability in reach,
// the filter on. It says whether the full tier holds there.
func unitMain(order string) error {
	var allowed []uint32
	if err := json.Unmarshal([]byte(order), &allowed); err != nil {
		return err
	}
	for c := uintptr(0); c < 41; c++ {
		_ = unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	var p program
	p.stmt(load, offNr)
	for _, nr := range allowed {
		p.on(nr, func(b *program) { b.stmt(ret, allow) })
	}
	p.stmt(ret, errnoAction(unix.EPERM))
	prog := unix.SockFprog{Len: uint16(len(p)), Filter: &p[0]}
	if _, _, e := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog))); e != 0 {
		return e
	}
	pool, err := NewPool(context.Background(), Config{})
	if err != nil {
		return err
	}
	defer pool.Close()
	var got []byte
	if err := pool.Run(context.Background(), Job{Handler: "echo", Payload: []byte("ok\n")}, readAll(&got)); err != nil {
		return err
	}
	_, err = os.Stdout.Write(got)
	return err
}
