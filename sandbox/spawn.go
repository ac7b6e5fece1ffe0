package sandbox

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// workerOverhead is what RLIMIT_DATA grants beyond a job's memory: the runtime's
// and the engine's own mappings, most of them never touched.
const workerOverhead = 300 << 20

// stderrCap bounds what is kept of a worker's stderr. It is used to tell a
// memory death from a crash and is never shown or logged.
const stderrCap = 64 << 10

// spawner starts processes from one locked thread: PR_SET_PDEATHSIG fires when
// the starting thread ends, not the process, and the Go runtime ends threads.
type spawner struct {
	requests chan spawnRequest
	done     chan struct{}
	slot     atomic.Uint32
}

type spawnRequest struct {
	cmd   *exec.Cmd
	reply chan error
}

func newSpawner() *spawner {
	s := &spawner{requests: make(chan spawnRequest), done: make(chan struct{})}
	go func() {
		runtime.LockOSThread()
		for {
			select {
			case r := <-s.requests:
				r.reply <- startDumpable(r.cmd)
			case <-s.done:
				// The thread dies with the goroutine and takes every
				// remaining worker along, which is what Close wants.
				return
			}
		}
	}()
	return s
}

// startDumpable starts cmd. A parent that made itself undumpable (to keep others
// from tracing it) may not write its child's id maps unless it is root, so the
// flag is lifted for the moment of the start.
func startDumpable(cmd *exec.Cmd) error {
	dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	if err == nil && dumpable == 0 && os.Getuid() != 0 {
		if err := unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0); err == nil {
			defer func() { _ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) }()
		}
	}
	return cmd.Start()
}

func (s *spawner) start(cmd *exec.Cmd) error {
	r := spawnRequest{cmd: cmd, reply: make(chan error, 1)}
	select {
	case s.requests <- r:
		return <-r.reply
	case <-s.done:
		return errPoolClosed
	}
}

// process is one running worker as its parent sees it.
type process struct {
	cmd     *exec.Cmd
	control *os.File
	result  *os.File
	data    uint64 // RLIMIT_DATA it was started with
	exited  chan struct{}
	errText *capped
	once    sync.Once
}

// capped keeps the first stderrCap bytes and swallows the rest, so a worker that
// floods its stderr neither blocks nor costs memory.
type capped struct {
	mu  sync.Mutex
	buf []byte
}

func (c *capped) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if room := stderrCap - len(c.buf); room > 0 {
		c.buf = append(c.buf, p[:min(room, len(p))]...)
	}
	return len(p), nil
}

func (c *capped) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.buf)
}

// hostIDBase is the first of a thousand host ids that root maps workers to: each
// worker gets an id of its own, which owns nothing on the host, so that
// RLIMIT_NPROC binds and one worker's id gives no hold on another.
const hostIDBase = 200000

// hostID picks the host id of the next worker from what this process may map:
// "root" in a rootless container has a single entry and must use its own.
func (s *spawner) hostID() int {
	want := hostIDBase + int(s.slot.Add(1)%1000)
	raw, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return os.Getuid()
	}
	fallback := os.Getuid()
	for line := range strings.Lines(string(raw)) {
		fields := strings.Fields(line)
		if len(fields) != 3 {
			continue
		}
		first, _ := strconv.Atoi(fields[0])
		count, _ := strconv.Atoi(fields[2])
		if want >= first && want-first < count {
			return want
		}
		if 65534 >= first && 65534-first < count {
			fallback = 65534
		}
	}
	return fallback
}

func (s *spawner) attributes(set layer) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setsid: true}
	if !set.has(layerNamespaces) {
		return attr
	}
	attr.Cloneflags = syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWNS |
		syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS | syscall.CLONE_NEWCGROUP
	uid, gid := os.Getuid(), os.Getgid()
	root := uid == 0
	if root {
		uid = s.hostID()
		if uid != 0 {
			gid = uid
		}
	}
	attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
	attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: gid, Size: 1}}
	attr.GidMappingsEnableSetgroups = root
	attr.Credential = &syscall.Credential{Uid: 0, Gid: 0, NoSetGroups: !root}
	return attr
}

// startTimeout bounds a worker's way to READY.
const startTimeout = 20 * time.Second

// start launches a worker and waits until it is ready and verified.
func (p *Pool) start(handler string, memory int64, session, errno bool) (*process, error) {
	reg, ok := lookup(handler)
	if !ok {
		return nil, fmt.Errorf("failed to start worker: no handler %q is registered", handler)
	}
	spec := jailSpec{Handler: handler, Layers: p.set, Session: session, Libs: p.libs, Errno: errno, Writes: reg.Writes}
	if !raceEnabled && p.set.has(layerLimits) {
		spec.Data = uint64(memory) + workerOverhead
	}
	raw, err := json.Marshal(spec)
	if err != nil {
		return nil, fmt.Errorf("failed to encode jail: %w", err)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("failed to open control socket: %w", err)
	}
	control, peer := os.NewFile(uintptr(pair[0]), "control"), os.NewFile(uintptr(pair[1]), "control")
	defer peer.Close()
	result, sink, err := os.Pipe()
	if err != nil {
		_ = control.Close()
		return nil, fmt.Errorf("failed to open result pipe: %w", err)
	}
	defer sink.Close()
	proc := &process{control: control, result: result, data: spec.Data, exited: make(chan struct{}), errText: &capped{}}
	proc.cmd = &exec.Cmd{
		Path: p.executable, Args: []string{jailName, string(raw)}, Env: workerEnv(), Dir: "/",
		Stderr: proc.errText, ExtraFiles: []*os.File{peer, sink},
		SysProcAttr: p.spawner.attributes(p.set), WaitDelay: time.Second,
	}
	if err := p.spawner.start(proc.cmd); err != nil {
		_ = control.Close()
		_ = result.Close()
		return nil, missing(p.tier, startDetail(p.set, err))
	}
	go func() {
		_ = proc.cmd.Wait()
		close(proc.exited)
	}()
	_ = result.SetReadDeadline(time.Now().Add(startTimeout))
	frame, err := ReadFrame(result, 4096)
	if err != nil || len(frame) == 0 || frame[0] != kindReady {
		proc.kill()
		if err == nil && len(frame) > 0 && frame[0] == kindRefuse {
			return nil, missing(p.tier, string(frame[1:]))
		}
		return nil, fmt.Errorf("failed to start worker %q: it died before it was ready; see whether this program runs without a worker's limits", handler)
	}
	_ = result.SetReadDeadline(time.Time{})
	if err := verify(proc.cmd.Process.Pid, p.tier, p.set); err != nil {
		proc.kill()
		return nil, err
	}
	return proc, nil
}

func startDetail(set layer, err error) string {
	prefix := ""
	if set.has(layerNamespaces) {
		prefix = "user namespace: "
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return prefix + "starting it failed with " + unix.ErrnoName(errno)
	}
	return prefix + "starting it failed"
}

// kill ends the worker and waits for it. As init of its PID namespace it takes
// every descendant along.
func (pr *process) kill() {
	pr.once.Do(func() {
		_ = pr.cmd.Process.Kill()
		<-pr.exited
		_ = pr.control.Close()
		_ = pr.result.Close()
	})
}

func (pr *process) pid() int { return pr.cmd.Process.Pid }

func (pr *process) alive() bool {
	select {
	case <-pr.exited:
		return false
	default:
		return true
	}
}

// send passes a job with its descriptors.
func (pr *process) send(payload []byte, files []*os.File, limits Limits) error {
	if len(files) > maxFiles || len(payload) > MaxFrame {
		return fmt.Errorf("failed to send job: more than %d files or %d bytes", maxFiles, MaxFrame)
	}
	if pr.data > 0 {
		lower := min(uint64(limits.Memory)+workerOverhead, pr.data)
		if err := unix.Prlimit(pr.cmd.Process.Pid, unix.RLIMIT_DATA, &unix.Rlimit{Cur: lower, Max: lower}, nil); err != nil {
			return fmt.Errorf("failed to lower memory limit: %w", err)
		}
	}
	fixed := make([]byte, 16)
	binary.LittleEndian.PutUint32(fixed, uint32(len(files)))
	var rights []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		rights = unix.UnixRights(fds...)
	}
	head, err := json.Marshal(jobHead{Limits: limits})
	if err != nil {
		return fmt.Errorf("failed to encode job: %w", err)
	}
	if err := unix.Sendmsg(int(pr.control.Fd()), fixed, rights, nil, unix.MSG_NOSIGNAL); err != nil {
		return fmt.Errorf("failed to send job: %w", err)
	}
	runtime.KeepAlive(files)
	if err := WriteFrame(pr.control, head); err != nil {
		return err
	}
	return WriteFrame(pr.control, payload)
}
