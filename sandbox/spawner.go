package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// spawnerName is argv[0] of the spawner: a helper process of this very binary,
// started before any key is read, that holds one socket and forks the workers.
// So the process that holds keys can be undumpable (an undumpable parent may not
// write its child's id maps) and never forks a worker itself.
const spawnerName = "sandgate-spawner"

// ErrSpawner says that the spawner process is gone. Its workers died with it and
// the pool runs nothing until Restart succeeds or the gateway is restarted.
var ErrSpawner = errors.New("the process that starts workers is gone; no job runs until it is restarted: restart the gateway" +
	" · 启动工作进程的辅助进程已退出，重启网关之前不再执行作业")

// spawnReply accompanies four descriptors (pidfd, control, result, stderr) or
// names the error code with which starting failed.
type spawnReply struct {
	PID   int    `json:"pid,omitempty"`
	Error string `json:"error,omitempty"`
}

const spawnMessage = 64 << 10

// spawnRequest asks for a worker. Spec is passed on as it is; where on the host
// the worker's control group lies is not its business.
type spawnRequest struct {
	Spec  json.RawMessage `json:"spec"`
	Group string          `json:"group,omitempty"`
}

// spawner is the gateway's end.
type spawner struct {
	mu   sync.Mutex
	conn *net.UnixConn
	pid  int
	done chan struct{} // closed to end it
	dead chan struct{} // closed when it has ended
	once sync.Once
}

// newSpawner starts a spawner and checks from outside that it holds no
// descriptor but its own.
func newSpawner(executable string) (*spawner, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("failed to open spawner socket: %w", err)
	}
	own, peer := os.NewFile(uintptr(pair[0]), "spawner"), os.NewFile(uintptr(pair[1]), "spawner")
	defer own.Close()
	defer peer.Close()
	conn, err := net.FileConn(own)
	if err != nil {
		return nil, fmt.Errorf("failed to open spawner socket: %w", err)
	}
	s := &spawner{conn: conn.(*net.UnixConn), done: make(chan struct{}), dead: make(chan struct{})}
	cmd := &exec.Cmd{
		Path: executable, Args: []string{spawnerName, "serve"}, Env: workerEnv(), Dir: "/", ExtraFiles: []*os.File{peer},
		SysProcAttr: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setsid: true},
	}
	started := make(chan error)
	go func() {
		// The parent death signal fires when the starting thread ends, and the
		// Go runtime ends threads: this one lives as long as the spawner.
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		go func() {
			_ = cmd.Wait()
			close(s.dead)
		}()
		select {
		case <-s.done:
			_ = cmd.Process.Kill()
		case <-s.dead:
		}
		<-s.dead
	}()
	if err := <-started; err != nil {
		_ = s.conn.Close()
		return nil, fmt.Errorf("failed to start spawner: %w", err)
	}
	s.pid = cmd.Process.Pid
	if _, _, err := s.receive(); err != nil {
		s.stop()
		return nil, fmt.Errorf("failed to start spawner: %w; see that main calls sandbox.Main first", err)
	}
	if err := s.inspect(); err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

// inspect refuses a spawner that inherited anything.
func (s *spawner) inspect() error {
	dir := "/proc/" + strconv.Itoa(s.pid) + "/fd"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return errors.New("failed to inspect spawner: its descriptors cannot be listed")
	}
	for _, e := range entries {
		target, err := os.Readlink(filepath.Join(dir, e.Name()))
		if err != nil {
			continue
		}
		n, _ := strconv.Atoi(e.Name())
		if spawnerDescriptor(n, target) {
			continue
		}
		return fmt.Errorf("failed to start spawner: it inherited descriptor %d", n)
	}
	return nil
}

// spawnerDescriptor says whether a spawner may hold a descriptor.
func spawnerDescriptor(n int, target string) bool {
	if n == controlFD {
		return strings.HasPrefix(target, "socket:")
	}
	return target == os.DevNull || strings.HasPrefix(target, "anon_inode:[eventpoll]") || strings.HasPrefix(target, "anon_inode:[eventfd]")
}

func (s *spawner) alive() bool {
	select {
	case <-s.dead:
		return false
	default:
		return true
	}
}

// stop ends the spawner and with it every worker that is left.
func (s *spawner) stop() {
	s.once.Do(func() {
		close(s.done)
		<-s.dead
		_ = s.conn.Close()
	})
}

func (s *spawner) receive() (spawnReply, []int, error) {
	var reply spawnReply
	buf, oob := make([]byte, spawnMessage), make([]byte, unix.CmsgSpace(4*8))
	if err := s.conn.SetReadDeadline(time.Now().Add(startTimeout)); err != nil {
		return reply, nil, ErrSpawner
	}
	// net.UnixConn asks for close-on-exec on what arrives.
	n, oobn, _, _, err := s.conn.ReadMsgUnix(buf, oob)
	if err != nil || n == 0 {
		return reply, nil, ErrSpawner
	}
	var fds []int
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err == nil {
		for i := range messages {
			got, err := unix.ParseUnixRights(&messages[i])
			if err == nil {
				fds = append(fds, got...)
			}
		}
	}
	if err := json.Unmarshal(buf[:n], &reply); err != nil {
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
		return reply, nil, fmt.Errorf("failed to read spawner: %w", err)
	}
	return reply, fds, nil
}

// spawn asks for one worker. A spawner that does not answer in time is ended:
// nobody could tell to which request a late answer belongs.
func (s *spawner) spawn(spec jailSpec, tier Tier, group string) (*process, error) {
	inner, err := json.Marshal(spec)
	if err != nil {
		return nil, fmt.Errorf("failed to encode jail: %w", err)
	}
	raw, err := json.Marshal(spawnRequest{Spec: inner, Group: group})
	if err != nil || len(raw) > spawnMessage {
		return nil, fmt.Errorf("failed to encode jail: %w", errors.Join(err, ErrFrame))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.alive() {
		return nil, ErrSpawner
	}
	if _, err := s.conn.Write(raw); err != nil {
		return nil, ErrSpawner
	}
	reply, fds, err := s.receive()
	if err != nil || reply.Error == "" && len(fds) != 4 {
		s.stop()
		return nil, ErrSpawner
	}
	if reply.Error != "" {
		return nil, missing(tier, startDetail(spec.Layers, reply.Error))
	}
	for _, fd := range []int{fds[0], fds[2], fds[3]} {
		_ = unix.SetNonblock(fd, true)
	}
	file := func(i int, name string) *os.File { return os.NewFile(uintptr(fds[i]), name) }
	proc := &process{
		pid: reply.PID, data: spec.Data, group: group, writes: spec.Writes, exited: make(chan struct{}), errText: &capped{},
		handle: file(0, "pidfd"), control: file(1, "control"), result: file(2, "result"), stderr: file(3, "stderr"),
	}
	go proc.await()
	return proc, nil
}

func startDetail(set layer, code string) string {
	if set.has(layerNamespaces) {
		return "user namespace: starting it failed with " + code
	}
	return "starting it failed with " + code
}

// serveSpawner is the helper process: it reads requests from its main thread,
// which the workers' parent death signal is tied to, until the gateway is gone.
func serveSpawner() int {
	if err := closeInherited(); err != nil {
		return 5
	}
	_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: 0, Max: hardCore()})
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return 5
	}
	if err := unix.Sendmsg(controlFD, []byte("{}"), nil, nil, unix.MSG_NOSIGNAL); err != nil {
		return 5
	}
	buf := make([]byte, spawnMessage)
	for {
		n, err := unix.Read(controlFD, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			return 0
		}
		reply, fds := fork(buf[:n], null)
		raw, err := json.Marshal(reply)
		if err != nil {
			return 5
		}
		var rights []byte
		if len(fds) > 0 {
			rights = unix.UnixRights(fds...)
		}
		err = unix.Sendmsg(controlFD, raw, rights, nil, unix.MSG_NOSIGNAL)
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
		if err != nil {
			return 0
		}
	}
}

func hardCore() uint64 {
	var l unix.Rlimit
	_ = unix.Getrlimit(unix.RLIMIT_CORE, &l)
	return l.Max
}

// closeInherited closes whatever the gateway's libraries left without
// close-on-exec, sparing what the runtime opened since.
func closeInherited() error {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, e := range entries {
		n, err := strconv.Atoi(e.Name())
		if err != nil || n <= controlFD {
			continue
		}
		target, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err == nil && !spawnerDescriptor(n, target) {
			_ = unix.Close(n)
		}
	}
	return nil
}

// fork starts one worker and returns the gateway's ends.
func fork(request []byte, null *os.File) (spawnReply, []int) {
	var asked spawnRequest
	var spec jailSpec
	if err := errors.Join(json.Unmarshal(request, &asked), json.Unmarshal(asked.Spec, &spec)); err != nil {
		return spawnReply{Error: "EINVAL"}, nil
	}
	var fds, theirs []int
	fail := func(err error) (spawnReply, []int) {
		for _, fd := range append(fds, theirs...) {
			_ = unix.Close(fd)
		}
		var errno unix.Errno
		if errors.As(err, &errno) {
			return spawnReply{Error: unix.ErrnoName(errno)}, nil
		}
		return spawnReply{Error: "an unknown error"}, nil
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fail(err)
	}
	fds, theirs = append(fds, pair[0]), append(theirs, pair[1])
	for range 2 {
		var pipe [2]int
		if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
			return fail(err)
		}
		fds, theirs = append(fds, pipe[0]), append(theirs, pipe[1])
	}
	attr := attributes(spec.Layers)
	pidfd := -1
	attr.PidFD = &pidfd
	if asked.Group != "" {
		dir, err := unix.Open(asked.Group, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fail(err)
		}
		defer unix.Close(dir)
		attr.UseCgroupFD, attr.CgroupFD = true, dir
	}
	pid, err := syscall.ForkExec("/proc/self/exe", []string{jailName, string(asked.Spec)}, &syscall.ProcAttr{
		Dir: "/", Env: workerEnv(), Sys: attr,
		Files: []uintptr{null.Fd(), null.Fd(), uintptr(theirs[2]), uintptr(theirs[0]), uintptr(theirs[1])},
	})
	if err != nil {
		return fail(err)
	}
	for _, fd := range theirs {
		_ = unix.Close(fd)
	}
	go func() {
		var status unix.WaitStatus
		for {
			if _, err := unix.Wait4(pid, &status, 0, nil); !errors.Is(err, unix.EINTR) {
				return
			}
		}
	}()
	return spawnReply{PID: pid}, append([]int{pidfd}, fds...)
}

// harden keeps other processes of the same user from reading this one's memory,
// by tracing or /proc, and its memory out of core files.
func harden() error {
	if err := undumpable(); err != nil {
		return err
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return layerError("rlimits", err)
	}
	return nil
}
