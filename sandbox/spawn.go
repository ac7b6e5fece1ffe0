package sandbox

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// workerOverhead is what RLIMIT_DATA grants beyond a job's memory: the runtime's
// and the engine's own mappings, most of them never touched.
const workerOverhead = 300 << 20

// stderrCap bounds what is kept of a worker's stderr. It is used to tell a
// memory death from a crash and is never shown or logged.
const stderrCap = 64 << 10

// process is one running worker as its parent sees it. The spawner reaps it; the
// parent holds it by a descriptor, which never comes to mean another process.
type process struct {
	pid     int
	handle  *os.File // pidfd
	control *os.File
	result  *os.File
	stderr  *os.File
	data    uint64 // RLIMIT_DATA it was started with
	group   string // its control group, or ""
	writes  bool
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

// startTimeout bounds a worker's way to READY.
const startTimeout = 20 * time.Second

// start launches a worker and waits until it is ready and verified.
func (p *Pool) start(ctx context.Context, handler string, memory int64, session, errno bool) (*process, error) {
	reg, ok := lookup(handler)
	if !ok {
		return nil, fmt.Errorf("failed to start worker: no handler %q is registered", handler)
	}
	spec := jailSpec{Handler: handler, Layers: p.set, Session: session, Libs: p.libs, Errno: errno, Writes: reg.Writes, Code: reg.Code}
	if !raceEnabled && p.set.has(layerLimits) {
		spec.Data = uint64(memory) + workerOverhead
	}
	group := ""
	if p.groups != nil {
		var err error
		if group, err = p.groups.make(memory, reg.Writes); err != nil {
			return nil, missing(p.tier, err.Error())
		}
	}
	proc, err := p.spawned().spawn(spec, p.tier, group)
	if err != nil {
		removeGroup(group)
		return nil, err
	}
	result := proc.result
	defer context.AfterFunc(ctx, proc.signal)()
	_ = result.SetReadDeadline(time.Now().Add(startTimeout))
	frame, err := ReadFrame(result, 4096)
	if err != nil || len(frame) == 0 || frame[0] != kindReady {
		proc.kill()
		if ctx.Err() != nil {
			return nil, &ErrKilled{CauseCancelled}
		}
		if err == nil && len(frame) > 0 && frame[0] == kindRefuse {
			return nil, missing(p.tier, string(frame[1:]))
		}
		return nil, fmt.Errorf("failed to start worker %q: %w; see whether this program runs without a worker's limits", handler, ErrLost)
	}
	_ = result.SetReadDeadline(time.Time{})
	err = verify(proc.pid, p.tier, p.set)
	if err == nil && group != "" && !inGroup(proc.pid, group) {
		err = missing(p.tier, "verification from outside failed: cgroup")
	}
	if !proc.alive() {
		// Only a process that still lives is certain to be the one inspected, and what
		// a dead one lacks is no finding about its isolation.
		err = fmt.Errorf("failed to start worker %q: %w, while it was verified", handler, ErrLost)
	}
	if err != nil {
		proc.kill()
		return nil, err
	}
	return proc, nil
}

// signal sends SIGKILL and does not wait. As init of its PID namespace the worker
// takes every descendant along.
func (pr *process) signal() {
	conn, err := pr.handle.SyscallConn()
	if err != nil {
		return
	}
	_ = conn.Control(func(fd uintptr) { _ = unix.PidfdSendSignal(int(fd), unix.SIGKILL, nil, 0) })
}

// kill ends the worker, waits for it and closes its descriptors.
func (pr *process) kill() {
	pr.once.Do(func() {
		pr.signal()
		<-pr.exited
		for _, f := range []*os.File{pr.control, pr.result, pr.stderr, pr.handle} {
			_ = f.Close()
		}
		removeGroup(pr.group)
	})
}

// await closes exited once the process is dead and what it wrote to stderr has
// been read; a descendant that holds the pipe open is not waited for.
func (pr *process) await() {
	drained := make(chan struct{})
	go func() {
		_, _ = io.Copy(pr.errText, pr.stderr)
		close(drained)
	}()
	conn, err := pr.handle.SyscallConn()
	if err == nil {
		_ = conn.Read(func(fd uintptr) bool {
			poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			n, err := unix.Poll(poll, 0)
			return n > 0 || err != nil && !errors.Is(err, unix.EINTR)
		})
	}
	select {
	case <-drained:
	case <-time.After(time.Second):
	}
	close(pr.exited)
}

func (pr *process) alive() bool {
	select {
	case <-pr.exited:
		return false
	default:
	}
	dead := false
	conn, err := pr.handle.SyscallConn()
	if err != nil {
		return false
	}
	err = conn.Control(func(fd uintptr) {
		n, _ := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		dead = n > 0
	})
	return err == nil && !dead
}

// send passes a job with its descriptors.
func (pr *process) send(payload []byte, files []*os.File, limits Limits) error {
	if len(files) > maxFiles || len(payload) > MaxFrame {
		return fmt.Errorf("failed to send job: more than %d files or %d bytes", maxFiles, MaxFrame)
	}
	if pr.data > 0 {
		lower := min(uint64(limits.Memory)+workerOverhead, pr.data)
		if err := unix.Prlimit(pr.pid, unix.RLIMIT_DATA, &unix.Rlimit{Cur: lower, Max: lower}, nil); err != nil {
			return fmt.Errorf("failed to lower memory limit: %w", err)
		}
		if !pr.writes {
			if err := lowerGroup(pr.group, int64(lower-workerOverhead)); err != nil {
				return fmt.Errorf("failed to lower memory limit: %w", err)
			}
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
