package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// probeHandler is the canary's handler.
const probeHandler = "sandbox.probe"

func init() { Register(probeHandler, runProbes) }

// probeTarget is what the parent lays out for the canary to reach.
type probeTarget struct {
	Parent   int    `json:"parent"`
	Port     int    `json:"port"`     // loopback TCP listener of the parent
	Abstract string `json:"abstract"` // abstract unix listener of the parent
	Readable string `json:"readable"` // a world-readable file of the parent
	Scratch  string `json:"scratch"`  // a path in a world-writable directory
	Secret   uint64 `json:"secret"`   // address of eight bytes in the parent
}

// probe tries one thing a worker must not be able to do; nil means it could.
// Every probe is harmless when it succeeds: it reads a byte, connects and hangs
// up, writes and removes a file, sends signal 0.
type probe struct {
	name  string
	layer string // what failed when it got through
	try   func(t probeTarget) error
}

var probes = []probe{
	{"open_file", "Landlock or empty root", func(t probeTarget) error {
		f, err := os.Open(t.Readable)
		if err == nil {
			_ = f.Close()
		}
		return err
	}},
	{"open_etc_passwd", "Landlock or empty root", func(probeTarget) error {
		_, err := os.ReadFile("/etc/passwd")
		return err
	}},
	{"list_root", "Landlock or empty root", func(probeTarget) error {
		_, err := os.ReadDir("/")
		return err
	}},
	{"write_file", "Landlock, read-only root or seccomp", func(t probeTarget) error {
		err := os.WriteFile(t.Scratch, []byte("x"), 0o600)
		_ = os.Remove(t.Scratch)
		return err
	}},
	{"parent_environ", "Landlock or empty root", func(t probeTarget) error {
		f, err := os.Open("/proc/" + strconv.Itoa(t.Parent) + "/environ")
		if err == nil {
			_ = f.Close()
		}
		return err
	}},
	{"parent_memory", "PID namespace or seccomp", func(t probeTarget) error {
		var buf [8]byte
		local := []unix.Iovec{{Base: &buf[0], Len: 8}}
		_, err := unix.ProcessVMReadv(t.Parent, local, []unix.RemoteIovec{{Base: uintptr(t.Secret), Len: 8}}, 0)
		return err
	}},
	{"signal_parent", "PID namespace or seccomp", func(t probeTarget) error { return unix.Kill(t.Parent, 0) }},
	{"tcp_connect", "network namespace or seccomp", func(t probeTarget) error {
		c, err := net.DialTimeout("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(t.Port)), time.Second)
		if err == nil {
			_ = c.Close()
		}
		return err
	}},
	{"unix_abstract", "network namespace, Landlock scope or seccomp", func(t probeTarget) error {
		c, err := net.DialTimeout("unix", t.Abstract, time.Second)
		if err == nil {
			_ = c.Close()
		}
		return err
	}},
	{"udp_socket", "seccomp", func(probeTarget) error { return closing(unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)) }},
	{"netlink_socket", "seccomp", func(probeTarget) error {
		return closing(unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE))
	}},
	{"exec_shell", "Landlock, empty root or seccomp", func(probeTarget) error { return exec.Command("/bin/sh", "-c", "exit 0").Run() }},
	{"memfd", "seccomp", func(probeTarget) error { return closing(unix.MemfdCreate("probe", 0)) }},
	{"exec_memory", "seccomp", func(probeTarget) error {
		m, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANON)
		if err == nil {
			_ = unix.Munmap(m)
		}
		return err
	}},
	{"shared_memory", "seccomp", func(probeTarget) error {
		m, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANON)
		if err == nil {
			_ = unix.Munmap(m)
		}
		return err
	}},
	{"io_uring", "seccomp", func(probeTarget) error {
		var params [120]byte
		fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&params)), 0)
		if errno != 0 {
			return errno
		}
		return unix.Close(int(fd))
	}},
	{"raise_limit", "rlimits or seccomp", func(probeTarget) error {
		return unix.Prlimit(0, unix.RLIMIT_CORE, &unix.Rlimit{Cur: 4096, Max: 4096}, nil)
	}},
}

func closing(fd int, err error) error {
	if err == nil {
		_ = unix.Close(fd)
	}
	return err
}

// runProbes emits the names of the probes that got through.
func runProbes(_ context.Context, payload []byte, _ []*os.File, emit func([]byte) error) error {
	var t probeTarget
	if err := json.Unmarshal(payload, &t); err != nil {
		return err
	}
	through := []string{}
	for _, p := range probes {
		if p.try(t) == nil {
			through = append(through, p.name)
		}
	}
	out, err := json.Marshal(through)
	if err != nil {
		return err
	}
	return emit(out)
}

// attack runs the probes in a worker of this pool's configuration. Its seccomp
// filter answers EPERM where a serving worker would be killed, so that one
// canary can try everything.
func (p *Pool) attack(ctx context.Context) ([]string, error) {
	tcp, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("failed to open self-test listener: %w", err)
	}
	defer tcp.Close()
	abstract, err := net.Listen("unix", "@sandgate-probe-"+strconv.Itoa(os.Getpid())+"-"+strconv.FormatInt(time.Now().UnixNano(), 36))
	if err != nil {
		return nil, fmt.Errorf("failed to open self-test listener: %w", err)
	}
	defer abstract.Close()
	readable, err := probeFile()
	if err != nil {
		return nil, err
	}
	defer os.Remove(readable.Name())
	defer readable.Close()
	if err := readable.Chmod(0o644); err != nil {
		return nil, fmt.Errorf("failed to create self-test file: %w", err)
	}
	secret := new([8]byte)
	payload, err := json.Marshal(probeTarget{
		Parent: os.Getpid(), Port: tcp.Addr().(*net.TCPAddr).Port, Abstract: abstract.Addr().String(),
		Readable: readable.Name(), Scratch: readable.Name() + "-w", Secret: uint64(uintptr(unsafe.Pointer(secret))),
	})
	if err != nil {
		return nil, fmt.Errorf("failed to encode self-test: %w", err)
	}
	proc, err := p.launch(ctx, probeHandler, p.limits.Memory, false, true)
	if err != nil {
		return nil, err
	}
	defer p.retire(proc)
	limits := Limits{Wall: 20 * time.Second, Result: 1 << 16}.withDefaults(p.limits)
	var reply []byte
	if err := p.converse(ctx, proc, payload, nil, limits, readAll(&reply)); err != nil {
		return nil, fmt.Errorf("failed to run sandbox self-test: %w", err)
	}
	var through []string
	if err := json.Unmarshal(reply, &through); err != nil {
		return nil, fmt.Errorf("failed to read sandbox self-test: %w", err)
	}
	return through, nil
}

// probeFile creates the file that the canary must fail to read. A read-only /tmp
// is no reason to leave a probe out, nor to serve untested.
func probeFile() (*os.File, error) {
	for _, dir := range []string{os.TempDir(), "/dev/shm", "/var/tmp", "/run"} {
		if f, err := os.CreateTemp(dir, "sandgate-probe-*"); err == nil {
			return f, nil
		}
	}
	return nil, errors.New("failed to create self-test file: no writable directory; set TMPDIR to one · 自检需要一个可写目录，请设置 TMPDIR")
}

// selfTest refuses a configuration that any probe gets through.
func (p *Pool) selfTest(ctx context.Context) error {
	through, err := p.attack(ctx)
	if err != nil {
		return err
	}
	for _, name := range through {
		for _, known := range probes {
			if known.name == name {
				return missing(p.tier, "self-test probe "+name+" got through; missing layer: "+known.layer)
			}
		}
	}
	return nil
}

// describe fills in what Layers answers, once proved.
func (p *Pool) describe(noGroups error) {
	if p.set.has(layerNamespaces | layerRoot) {
		p.layers = append(p.layers, "namespaces: user net pid mount ipc uts cgroup", "empty read-only root")
	}
	p.layers = append(p.layers, "landlock", "seccomp allow-list", "no_new_privs", "no capabilities", "rlimits", "one process per job", "keyless spawner")
	if p.groups != nil {
		p.layers = append(p.layers, p.groups.String())
	} else {
		p.layers = append(p.layers, "note: no cgroup v2 limits, "+noGroups.Error())
	}
	if len(p.libs) > 0 {
		p.layers = append(p.layers, "note: dynamic executable, shared libraries readable")
	}
	if raceEnabled {
		p.layers = append(p.layers, "note: race detector build, no RLIMIT_DATA")
	}
}
