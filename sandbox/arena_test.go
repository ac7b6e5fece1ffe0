package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// An arena is a disposable place for attacks, some of which do harm when nothing
// stops them. Its outer process sits in user, mount, PID, network, IPC and UTS
// namespaces of its own, owned by nobody (65534) on the host, over a read-only
// view of the file system with four megabytes of /tmp. Its inner process is an
// ordinary user in there and plays the gateway. When the outer process ends, the
// kernel ends everything.
const (
	arenaOuter = "sandgate-test-arena-outer"
	arenaInner = "sandgate-test-arena"
	nobody     = 65534
)

// arenaOrder is what an arena is asked for.
type arenaOrder struct {
	Columns []arenaColumn
	Root    bool // play a gateway that is root of the arena
	// Only names a column's attacks; a column it does not name runs all.
	Only map[string][]string
}

type arenaColumn struct {
	Name string
	Set  layer
}

// fate of one attack in one layer set.
type fate struct {
	Attack, Column string
	Through        bool
	Cause          string
}

// runArena runs every attack of an order in a fresh arena.
func runArena(t testing.TB, order arenaOrder) []fate {
	t.Helper()
	raw, err := json.Marshal(order)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Args = []string{arenaOuter, string(raw)}
	cmd.Env = []string{"PATH=/usr/bin:/bin", "TMPDIR=/tmp"}
	cmd.Dir = "/"
	host, gid := os.Getuid(), os.Getgid()
	root := host == 0
	if root {
		host, gid = nobody, nobody
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET |
			syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS,
		UidMappings: []syscall.SysProcIDMap{{HostID: host, Size: 1}}, GidMappings: []syscall.SysProcIDMap{{HostID: gid, Size: 1}},
		GidMappingsEnableSetgroups: root, Credential: &syscall.Credential{NoSetGroups: !root}, Pdeathsig: syscall.SIGKILL,
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("arena: %v\n%s", err, stderr.String())
	}
	var fates []fate
	if err := json.Unmarshal(out, &fates); err != nil {
		t.Fatalf("arena: %v\n%s\n%s", err, out, stderr.String())
	}
	return fates
}

// Every first stage starts with a descriptor that somebody leaked. Variables come
// before the init function that builds the jail.
var _ = func() bool {
	if len(os.Args) == 2 && os.Args[0] == jailName {
		if fd, err := unix.Open("/proc/self/exe", unix.O_RDONLY, 0); err == nil {
			_ = unix.Dup2(fd, leakedFD)
			_ = unix.Close(fd)
		}
	}
	return true
}()

// arenaMain takes over in a process that is part of an arena.
func arenaMain() {
	var err error
	switch {
	case len(os.Args) == 2 && os.Args[0] == arenaOuter:
		err = outerArena()
	case len(os.Args) == 2 && os.Args[0] == arenaInner:
		err = innerArena()
	case len(os.Args) == 2 && os.Args[0] == poorHost:
		err = hostMain(os.Args[1])
	case len(os.Args) == 2 && os.Args[0] == unitHost:
		err = unitMain(os.Args[1])
	default:
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func outerArena() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("private mounts: %w", err)
	}
	ro := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
	if err := unix.MountSetattr(unix.AT_FDCWD, "/", unix.AT_RECURSIVE, &ro); err != nil {
		return fmt.Errorf("read-only view: %w", err)
	}
	if err := unix.Mount("tmpfs", "/tmp", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "size=4m,nr_inodes=1k,mode=1777"); err != nil {
		return fmt.Errorf("tiny /tmp: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV, ""); err != nil {
		return fmt.Errorf("proc: %w", err)
	}
	// Small numbers would name a worker's own threads inside its namespace.
	if err := os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte("5000"), 0); err != nil {
		return fmt.Errorf("process numbers: %w", err)
	}
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, lo); err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	_ = unix.Close(s)
	// Whatever runs wild in here dies with this process, within this time.
	time.AfterFunc(4*time.Minute, func() { os.Exit(2) })
	var order arenaOrder
	if err := json.Unmarshal([]byte(os.Args[1]), &order); err != nil {
		return err
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{arenaInner, os.Args[1]}
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if !order.Root {
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 1000, HostID: 0, Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 1000, HostID: 0, Size: 1}},
			Credential:  &syscall.Credential{Uid: 1000, Gid: 1000, NoSetGroups: true},
		}
	}
	return cmd.Run()
}

func innerArena() error {
	var order arenaOrder
	if err := json.Unmarshal([]byte(os.Args[1]), &order); err != nil {
		return err
	}
	target, data, err := layOut()
	if err != nil {
		return err
	}
	defer data.Close()
	var fates []fate
	var mu sync.Mutex
	for _, column := range order.Columns {
		p, err := newPool(Config{Tier: tierNone})
		if err != nil {
			return err
		}
		p.set = column.Set
		if err := p.Run(context.Background(), Job{Handler: "echo", Payload: []byte("x")}, func([]byte) error { return nil }); err != nil {
			return fmt.Errorf("%s: a harmless job fails: %w", column.Name, err)
		}
		var wg sync.WaitGroup
		var failed error
		seats := make(chan struct{}, 3)
		for i, a := range attacks {
			if only, some := order.Only[column.Name]; some && !slices.Contains(only, a.name) {
				continue
			}
			seats <- struct{}{}
			wg.Go(func() {
				defer func() { <-seats }()
				t := target
				t.Name = a.name
				t.Scratch = fmt.Sprintf("/tmp/scratch-%s-%d", strings.ReplaceAll(column.Name, " ", "-"), i)
				f, err := runOne(p, column, t, data)
				mu.Lock()
				defer mu.Unlock()
				fates = append(fates, f)
				if err != nil && failed == nil {
					failed = err
				}
			})
		}
		wg.Wait()
		if err := p.Close(); err != nil {
			return err
		}
		if failed != nil {
			return failed
		}
	}
	return json.NewEncoder(os.Stdout).Encode(fates)
}

func runOne(p *Pool, column arenaColumn, t attackTarget, data *os.File) (fate, error) {
	f := fate{Attack: t.Name, Column: column.Name}
	if err := os.Mkdir(t.Scratch, 0o777); err != nil {
		return f, err
	}
	defer os.RemoveAll(t.Scratch)
	payload, err := json.Marshal(t)
	if err != nil {
		return f, err
	}
	limits := Limits{Wall: 8 * time.Second, Memory: 64 << 20, Result: 64 << 20, Threads: 1}
	if column.Set.has(layerLimits) {
		limits.Result = 1 << 20
		if t.Name == "cpu_spin" || t.Name == "sleep_ignoring_signals" {
			limits.Wall = greedySpan / 2
		}
	}
	begun := false
	err = p.Run(context.Background(), Job{Handler: "attack", Payload: payload, Files: []*os.File{data}, Limits: limits}, func(frame []byte) error {
		begun = begun || string(frame) == "begin"
		f.Through = f.Through || string(frame) == "through"
		return nil
	})
	var killed *ErrKilled
	if errors.As(err, &killed) {
		f.Cause = string(killed.Cause)
		err = nil
	}
	if err == nil && !begun {
		err = errors.New("the attacker never began")
	}
	if err != nil {
		return f, fmt.Errorf("%s × %s: %w", column.Name, t.Name, err)
	}
	return f, nil
}

var arenaSecret = new([8]byte)

// layOut sets up what attackers aim at.
func layOut() (attackTarget, *os.File, error) {
	t := attackTarget{Parent: os.Getpid(), Secret: uint64(uintptr(unsafe.Pointer(arenaSecret))), Data: "/tmp/data",
		Sibling: "/tmp/sibling", Socket: "/tmp/gateway.sock", Abstract: "@sandgate-arena"}
	for _, f := range []string{t.Data, t.Sibling} {
		if err := os.WriteFile(f, []byte("rows of another department"), 0o644); err != nil {
			return t, nil, err
		}
	}
	tcp, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return t, nil, err
	}
	t.Port = tcp.Addr().(*net.TCPAddr).Port
	listeners := []net.Listener{tcp}
	for _, name := range []string{t.Socket, t.Abstract} {
		l, err := net.Listen("unix", name)
		if err != nil {
			return t, nil, err
		}
		listeners = append(listeners, l)
	}
	for _, l := range listeners {
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_ = c.Close()
			}
		}()
	}
	udp, err := net.ListenPacket("udp4", tcp.Addr().String())
	if err != nil {
		return t, nil, err
	}
	go func() {
		b := make([]byte, 512)
		for {
			n, from, err := udp.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = udp.WriteTo(b[:n], from)
		}
	}()
	data, err := os.Open(t.Data)
	if err != nil {
		return t, nil, err
	}
	return t, data, nil
}
