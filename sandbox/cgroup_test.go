package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// fakeGroups lays out a mounted cgroup file system with this process in group
// own, and what /proc says of it.
func fakeGroups(t *testing.T, own, controllers, members string) (procfs, mount string) {
	t.Helper()
	procfs, mount = t.TempDir(), t.TempDir()
	dir := filepath.Join(mount, strings.TrimPrefix(own, "/delegated"))
	for name, text := range map[string]string{
		filepath.Join(procfs, "cgroup"): "3:memory:/elsewhere\n0::" + own + "\n",
		filepath.Join(procfs, "mountinfo"): "21 1 0:20 / /proc rw - proc proc rw\n" +
			"22 1 0:21 / /sys/fs/other rw - cgroup cgroup rw\n" +
			"23 1 0:22 /delegated " + mount + " rw,nosuid - cgroup2 cgroup2 rw\n",
		filepath.Join(dir, "cgroup.procs"):             members,
		filepath.Join(dir, "cgroup.controllers"):       controllers + "\n",
		filepath.Join(dir, "cgroup.subtree_control"):   "",
		filepath.Join(mount, "cgroup.controllers"):     controllers + "\n",
		filepath.Join(mount, "cgroup.subtree_control"): "",
		filepath.Join(mount, "cgroup.procs"):           "",
	} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return procfs, mount
}

// TestFindGroups: only a group that is this process's alone, with the controllers
// that matter, is taken; everything else is named and left alone.
func TestFindGroups(t *testing.T) {
	self := strconv.Itoa(os.Getpid()) + "\n"
	for _, c := range []struct{ name, own, controllers, members, want string }{
		{"delegated", "/delegated/unit", "cpu io memory pids", self, "memory pids cpu"},
		{"root of a container", "/delegated", "memory pids", self, "memory pids"},
		{"entered before", "/delegated/unit/" + ownGroup, "memory pids", self, ""},
		{"others live there", "/delegated/unit", "memory pids", "1\n" + self, "other processes"},
		{"no memory", "/delegated/unit", "cpu pids hugetlb", self, "no memory controller"},
		{"no pids", "/delegated/unit", "memory", self, "no pids controller"},
		{"outside of what is mounted", "/other/unit", "memory pids", self, "not mounted"},
	} {
		procfs, mount := fakeGroups(t, c.own, c.controllers, c.members)
		if c.name == "entered before" {
			if err := os.WriteFile(filepath.Join(mount, "unit", "cgroup.controllers"), []byte("memory pids"), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(mount, "unit", "cgroup.subtree_control"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
			c.want = "memory pids"
		}
		g, err := findGroups(procfs)
		switch {
		case err == nil && strings.Join(g.controllers, " ") != c.want:
			t.Errorf("%s: %v", c.name, g.controllers)
		case err != nil && !strings.Contains(err.Error(), c.want):
			t.Errorf("%s: %v", c.name, err)
		}
		var why errNoGroups
		if err != nil && (!errors.As(err, &why) || why.zh == "") {
			t.Errorf("%s: %v is not said in both languages", c.name, err)
		}
		if left, _ := os.ReadDir(filepath.Join(mount, "unit", ownGroup)); c.name != "entered before" && len(left) > 0 {
			t.Errorf("%s: looking changed something", c.name)
		}
	}
	if _, err := findGroups(t.TempDir()); err == nil {
		t.Error("a host without control groups")
	}
}

// TestGroupFiles: what is written where, in a directory that plays the kernel's.
func TestGroupFiles(t *testing.T) {
	_, mount := fakeGroups(t, "/delegated", "memory pids cpu", "")
	g := &groups{dir: mount, controllers: []string{"memory", "pids", "cpu"}}
	stale := filepath.Join(mount, workerGroups+"1-1")
	if err := os.Mkdir(stale, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := g.enter(); err != nil {
		t.Fatal(err)
	}
	read := func(parts ...string) string {
		raw, _ := os.ReadFile(filepath.Join(append([]string{mount}, parts...)...))
		return string(raw)
	}
	if read(ownGroup, "cgroup.procs") != strconv.Itoa(os.Getpid()) || read("cgroup.subtree_control") != "+cpu" {
		t.Error("not entered")
	}
	if _, err := os.Stat(stale); err == nil {
		t.Error("an earlier process's group is left")
	}
	dir, err := g.make(64<<20, false)
	if err != nil {
		t.Fatal(err)
	}
	want := strconv.FormatInt(64<<20+workerOverhead, 10)
	if raceEnabled {
		want = ""
	}
	name := filepath.Base(dir)
	if read(name, "memory.max") != want || read(name, "pids.max") != "136" || read(name, "cpu.weight") != "50" || read(name, "memory.swap.max") != "0" || read(name, "memory.oom.group") != "1" {
		t.Error("limits")
	}
	writer, err := g.make(64<<20, true)
	if err != nil || read(filepath.Base(writer), "memory.max") != "" {
		t.Errorf("a writer is charged for its owner's files: %v", err)
	}
	if memoryKilled(dir) || memoryKilled("") {
		t.Error("killed without a kill")
	}
	if err := os.WriteFile(filepath.Join(dir, "memory.events"), []byte("low 0\noom 1\noom_kill 2\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if !memoryKilled(dir) {
		t.Error("a kill went unnoticed")
	}
}

// TestWorkerInGroup: on a real cgroup file system a worker is born in its group,
// which is gone after its job; where the memory controller is there, the kernel
// ends one that outgrows it and the cause is MEMORY.
func TestWorkerInGroup(t *testing.T) {
	mount := ""
	for _, dir := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		if _, err := os.Stat(filepath.Join(dir, "cgroup.controllers")); err == nil {
			mount = dir
		}
	}
	own := filepath.Join(mount, fmt.Sprintf("sandgate-test-%d", os.Getpid()))
	if mount == "" || os.Mkdir(own, 0o755) != nil {
		t.Skip("CGROUP V2 NOT TESTED: no cgroup v2 file system that this user may write to")
	}
	t.Cleanup(func() {
		if err := os.Remove(own); err != nil {
			t.Errorf("groups are left behind: %v", err)
		}
	})
	raw, err := os.ReadFile(filepath.Join(own, "cgroup.controllers"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []string{"memory", "pids"} {
		if !strings.Contains(string(raw), c) {
			bornInGroup(t, own)
			t.Skipf("CGROUP V2 LIMITS NOT TESTED, birth in a group was: no %s controller here (found %q)", c, strings.TrimSpace(string(raw)))
		}
	}
	for _, c := range []string{"memory", "pids"} {
		if err := os.WriteFile(filepath.Join(own, "cgroup.subtree_control"), []byte("+"+c), 0); err != nil {
			t.Skipf("CGROUP V2 NOT TESTED: %v", err)
		}
	}
	p, err := newPool(Config{Tier: tierNone}) // no resource limit that would come first
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	p.groups = &groups{dir: own, controllers: []string{"memory", "pids"}}
	if raceEnabled {
		t.Skip("no memory limit under the race detector")
	}
	err = p.Run(context.Background(), Job{Handler: "hostile", Payload: []byte("memory"), Limits: Limits{Wall: 20 * time.Second, Memory: 32 << 20}}, nil)
	var killed *ErrKilled
	if !errors.As(err, &killed) || killed.Cause != CauseMemory {
		t.Fatalf("got %v", err)
	}
}

// bornInGroup starts a worker of the full tier into a group without limits.
func bornInGroup(t *testing.T, own string) {
	t.Helper()
	p, err := newPool(Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	dir := filepath.Join(own, workerGroups+"0-1")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	proc, err := p.spawned().spawn(jailSpec{Handler: "hostile", Layers: p.set, Libs: p.libs}, p.tier, dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ReadFrame(proc.result, 4096); err != nil {
		t.Error(err)
	}
	if err := verify(proc.pid, p.tier, p.set); err != nil {
		t.Error(err)
	}
	if !inGroup(proc.pid, dir) || inGroup(proc.pid, own) || inGroup(os.Getpid(), dir) {
		t.Error("the worker lives elsewhere")
	}
	if err := os.Remove(dir); err == nil {
		t.Error("nobody lives in the group")
	}
	if line, err := os.ReadFile(procOf(proc.pid, "cmdline")); err != nil || strings.Contains(string(line), own) {
		t.Errorf("the worker is told where its group lies: %v", err)
	}
	proc.kill()
	if _, err := os.Stat(dir); err == nil {
		t.Error("the group outlived its worker")
	}
}
