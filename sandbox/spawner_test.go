package sandbox

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// actor plays another process of a test, named by the first argument.
func actor(name string) {
	switch name {
	case "gateway":
		gatewayThatDies()
	case "keyholder":
		keyholder()
	case "thief":
		thief()
	}
}

// gatewayThatDies starts a spinning worker, tells the pids and waits to be killed.
func gatewayThatDies() {
	p, err := NewPool(context.Background(), Config{Tier: Tier(os.Args[2])})
	if err != nil {
		os.Exit(9)
	}
	proc, err := p.launch(context.Background(), "hostile", 64<<20, false, false)
	if err != nil {
		os.Exit(9)
	}
	if err := proc.send([]byte("spin"), nil, defaultLimits); err != nil {
		os.Exit(9)
	}
	idle, err := p.launch(context.Background(), "hostile", 64<<20, false, false)
	if err != nil {
		os.Exit(9)
	}
	fmt.Println(proc.pid, idle.pid, p.spawner.pid)
	select {}
}

func gone(pid int) bool {
	if unix.Kill(pid, 0) != nil {
		return true
	}
	raw, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err != nil || bytes.Contains(raw, []byte(") Z "))
}

func within(t *testing.T, span time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(span)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, span)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// TestGatewayKilledEverybodyGone: a gateway that is killed leaves nothing behind,
// with and without namespaces, not even a spinning worker.
func TestGatewayKilledEverybodyGone(t *testing.T) {
	for _, tier := range Tiers() {
		cmd := exec.Command("/proc/self/exe", "gateway", string(tier))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		pids := readPids(t, out, 3)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		begin := time.Now()
		within(t, time.Second, "tier "+string(tier), func() bool {
			return gone(pids[0]) && gone(pids[1]) && gone(pids[2])
		})
		t.Logf("tier %s: gone after %v", tier, time.Since(begin))
	}
}

func readPids(t *testing.T, out io.Reader, n int) []int {
	t.Helper()
	line := make([]byte, 128)
	got, err := out.Read(line)
	fields := strings.Fields(string(line[:got]))
	if len(fields) != n {
		t.Fatalf("the other process said %q, %v", line[:got], err)
	}
	pids := make([]int, n)
	for i, f := range fields {
		pids[i], _ = strconv.Atoi(f)
		if pids[i] <= 0 {
			t.Fatalf("not a number: %q", f)
		}
	}
	return pids
}

// TestSpawnerKilled: without its spawner a pool refuses clearly, warm and running
// workers are gone, and Restart brings it back.
func TestSpawnerKilled(t *testing.T) {
	p, err := NewPool(context.Background(), Config{Warm: map[string]int{"echo": 1}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	running := make(chan error, 1)
	go func() {
		running <- p.Run(context.Background(), Job{Handler: "hostile", Payload: []byte("spin")}, nil)
	}()
	within(t, 5*time.Second, "job starts", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.live) == 2
	})
	dead := p.spawner
	if err := unix.Kill(dead.pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	within(t, time.Second, "death noticed", func() bool { return !dead.alive() })
	var killed *ErrKilled
	select {
	case err := <-running:
		if !errors.As(err, &killed) && !errors.Is(err, ErrSpawner) {
			t.Fatalf("running job: %v", err)
		}
	case <-time.After(time.Second):
		t.Fatal("a running job outlived the spawner")
	}
	for _, handler := range []string{"echo", "hostile"} {
		if err := p.Run(context.Background(), Job{Handler: handler}, nil); !errors.Is(err, ErrSpawner) {
			t.Fatalf("%s: got %v", handler, err)
		}
	}
	if err := p.Restart(context.Background()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := p.Run(context.Background(), Job{Handler: "echo", Payload: []byte("x")}, func([]byte) error { return nil }); err != nil {
			t.Fatalf("after restart: %v", err)
		}
	}
	if err := p.Restart(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// TestNothingInherited: ledger, key and socket descriptors reach neither the
// spawner nor a worker, whether opened before or after the pool, and even where
// a library forgot close-on-exec.
func TestNothingInherited(t *testing.T) {
	dir := t.TempDir()
	var fds []int
	open := func(name string) {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		l, err := net.Listen("unix", filepath.Join(dir, name+".sock"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		raw, err := l.(*net.UnixListener).File()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = raw.Close() })
		for _, g := range []*os.File{f, raw} {
			fd, err := unix.Dup(int(g.Fd())) // not close-on-exec
			if err != nil {
				t.Fatal(err)
			}
			fds = append(fds, fd)
		}
	}
	targets := func(pid int) []string {
		entries, err := os.ReadDir(procOf(pid, "fd"))
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, e := range entries {
			target, _ := os.Readlink(procOf(pid, "fd/"+e.Name()))
			all = append(all, target)
		}
		return all
	}
	open("before")
	p, err := newPool(Config{Tier: TierContainer})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	open("after")
	defer func() {
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
	}()
	proc, err := p.launch(context.Background(), "echo", 64<<20, false, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		own, err := os.Readlink(procOf(os.Getpid(), "fd/"+strconv.Itoa(fd)))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(targets(os.Getpid()), own) {
			t.Fatal("the check cannot find a descriptor that is there")
		}
		for who, pid := range map[string]int{"spawner": p.spawner.pid, "worker": proc.pid} {
			if slices.Contains(targets(pid), own) {
				t.Errorf("%s inherited a descriptor", who)
			}
		}
	}
}

// keyholder is a gateway with a key. It tells its pid, its spawner's, and where
// the key is.
func keyholder() {
	var p *Pool
	var err error
	if os.Args[2] == "hard" {
		p, err = NewPool(context.Background(), Config{})
	} else {
		p, err = newPool(Config{})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(9)
	}
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		os.Exit(9)
	}
	fmt.Println(os.Getpid(), p.spawner.pid, uint64(uintptr(unsafe.Pointer(&key[0]))))
	_, _ = os.Stdin.Read(make([]byte, 1))
	sinkKey = key
	os.Exit(0)
}

var sinkKey []byte

// thief prints what it can do to a process of its own user: argument 2 is the
// pid, 3 an address in it.
func thief() {
	pid, _ := strconv.Atoi(os.Args[2])
	address, _ := strconv.ParseUint(os.Args[3], 10, 64)
	t := attackTarget{Parent: pid, Secret: address}
	for _, name := range []string{"proc_environ_parent", "proc_maps_parent", "proc_parent_mem", "ptrace_parent",
		"process_vm_readv", "process_vm_writev", "pidfd_getfd"} {
		i := slices.IndexFunc(attacks, func(a attack) bool { return a.name == name })
		if attacks[i].try(t, nil) == nil {
			fmt.Println(name)
		}
	}
	os.Exit(0)
}

// TestKeysCannotBeReadByTheSameUser: an unjailed process of the gateway's own
// user cannot read or trace it; without hardening it can.
func TestKeysCannotBeReadByTheSameUser(t *testing.T) {
	var attr *syscall.SysProcAttr
	if os.Getuid() == 0 {
		attr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	for mode, want := range map[string]bool{"hard": false, "soft": true} {
		holder := exec.Command("/proc/self/exe", "keyholder", mode)
		holder.SysProcAttr, holder.Dir, holder.Stderr = attr, "/", os.Stderr
		holder.Env = []string{"TMPDIR=/tmp"}
		in, err := holder.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := holder.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := holder.Start(); err != nil {
			t.Fatal(err)
		}
		facts := readPids(t, out, 3)
		steal := exec.Command("/proc/self/exe", "thief", strconv.Itoa(facts[0]), strconv.Itoa(facts[2]))
		steal.SysProcAttr, steal.Dir = attr, "/"
		loot, err := steal.Output()
		_ = in.Close()
		_ = holder.Wait()
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Fields(string(loot)); len(got) > 0 != want {
			t.Errorf("%s: got through: %v", mode, got)
		}
	}
}
