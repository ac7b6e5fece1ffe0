package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// attackTarget is what an arena lays out for its attackers.
type attackTarget struct {
	Name     string
	Parent   int    // the arena, which plays the gateway
	Secret   uint64 // address of eight bytes in it
	Port     int    // its TCP listener and UDP echo on loopback
	Abstract string // its abstract unix listener
	Socket   string // its unix listener in the file system
	Data     string // the file handed to the job, read-only
	Sibling  string // a data set the job was not given
	Scratch  string // a directory anybody may write to
}

// leakedFD is a descriptor without close-on-exec that TestMain plants in every
// first stage.
const leakedFD = 100

// attack is one thing a worker must not be able to do; nil means it could.
type attack struct {
	name string
	// weak attacks need more than an ordinary user has (or a terminal): they may
	// fail without any layer and prove nothing there.
	weak bool
	try  func(t attackTarget, files []*os.File) error
}

func init() {
	RegisterWith("attack", Registration{Handler: runAttack, Warm: mapLegacyGate})
}

var attacks = slices.Concat(fileAttacks, processAttacks, kernelAttacks, greedAttacks)

// runAttack emits "begin", and "through" when the attack named in payload worked.
func runAttack(_ context.Context, payload []byte, files []*os.File, emit func([]byte) error) error {
	var t attackTarget
	if err := json.Unmarshal(payload, &t); err != nil {
		return err
	}
	i := slices.IndexFunc(attacks, func(a attack) bool { return a.name == t.Name })
	if i < 0 {
		return emit([]byte("unknown"))
	}
	if err := emit([]byte("begin")); err != nil {
		return err
	}
	if err := attacks[i].try(t, files); err != nil {
		return err
	}
	return emit([]byte("through"))
}

func readSome(path string) error {
	b := make([]byte, 16)
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.Read(b)
	return err
}

func procOf(pid int, file string) string { return "/proc/" + strconv.Itoa(pid) + "/" + file }

func reopen(f *os.File) (*os.File, error) {
	return os.OpenFile("/proc/self/fd/"+strconv.Itoa(int(f.Fd())), os.O_RDWR, 0)
}

var fileAttacks = []attack{
	{"open_etc_passwd", false, func(attackTarget, []*os.File) error { return readSome("/etc/passwd") }},
	{"open_sibling_dataset", false, func(t attackTarget, _ []*os.File) error { return readSome(t.Sibling) }},
	{"list_root", false, func(attackTarget, []*os.File) error {
		entries, err := os.ReadDir("/")
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.Name() == "etc" || e.Name() == "home" {
				return nil
			}
		}
		return errors.New("nothing of the host")
	}},
	{"proc_environ_init", true, func(attackTarget, []*os.File) error { return readSome("/proc/1/environ") }},
	{"proc_environ_parent", false, func(t attackTarget, _ []*os.File) error { return readSome(procOf(t.Parent, "environ")) }},
	{"proc_environ_self", false, func(attackTarget, []*os.File) error { return readSome("/proc/self/environ") }},
	{"proc_maps_parent", false, func(t attackTarget, _ []*os.File) error { return readSome(procOf(t.Parent, "maps")) }},
	{"proc_parent_mem", false, func(t attackTarget, _ []*os.File) error {
		f, err := os.Open(procOf(t.Parent, "mem"))
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = f.ReadAt(make([]byte, 8), int64(t.Secret))
		return err
	}},
	{"write_tmp", false, func(t attackTarget, _ []*os.File) error {
		return os.WriteFile(t.Scratch+"/written", []byte("x"), 0o600)
	}},
	{"create_empty", false, func(t attackTarget, _ []*os.File) error { return os.WriteFile(t.Scratch+"/empty", nil, 0o600) }},
	{"make_directory", false, func(t attackTarget, _ []*os.File) error { return os.Mkdir(t.Scratch+"/dir", 0o700) }},
	{"hard_link", false, func(t attackTarget, _ []*os.File) error { return os.Link(t.Sibling, t.Scratch+"/link") }},
	{"symlink", false, func(t attackTarget, _ []*os.File) error { return os.Symlink("/etc", t.Scratch+"/symlink") }},
	{"rename_dataset", false, func(t attackTarget, _ []*os.File) error {
		if err := os.Rename(t.Sibling, t.Scratch+"/stolen"); err != nil {
			return err
		}
		return os.Rename(t.Scratch+"/stolen", t.Sibling)
	}},
	{"write_dataset", false, func(_ attackTarget, files []*os.File) error {
		f, err := reopen(files[0])
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = f.WriteAt([]byte("x"), 0)
		return err
	}},
	{"write_dataset_by_name", false, func(t attackTarget, _ []*os.File) error {
		f, err := os.OpenFile(t.Data, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		return f.Close()
	}},
	{"chmod_dataset", false, func(_ attackTarget, files []*os.File) error { return unix.Fchmod(int(files[0].Fd()), 0o666) }},
	{"disk_fill", false, func(t attackTarget, _ []*os.File) error {
		defer os.Remove(t.Scratch + "/fill")
		return os.WriteFile(t.Scratch+"/fill", make([]byte, 1<<20), 0o600)
	}},
	{"open_by_handle_at", true, func(t attackTarget, _ []*os.File) error {
		h, _, err := unix.NameToHandleAt(unix.AT_FDCWD, t.Sibling, 0)
		if err != nil {
			return err
		}
		return closing(unix.OpenByHandleAt(unix.AT_FDCWD, h, unix.O_RDONLY))
	}},
	{"fd_leak", false, func(attackTarget, []*os.File) error {
		_, err := unix.Pread(leakedFD, make([]byte, 1), 0)
		return err
	}},
	{"inotify_watch", false, func(attackTarget, []*os.File) error {
		fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		_, err = unix.InotifyAddWatch(fd, "/etc", unix.IN_ACCESS)
		return err
	}},
	{"tcp_connect_parent", false, func(t attackTarget, _ []*os.File) error {
		return dialling("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(t.Port)))
	}},
	{"tcp_listen", false, func(attackTarget, []*os.File) error {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return err
		}
		return l.Close()
	}},
	{"udp_send", false, func(t attackTarget, _ []*os.File) error { return askUDP(t, []byte("x")) }},
	{"dns_lookup", false, func(t attackTarget, _ []*os.File) error {
		// A stolen value as a host name; any answer means that it left.
		return askUDP(t, append([]byte{0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 6}, "stolen\x00\x00\x01\x00\x01"...))
	}},
	{"unix_abstract", false, func(t attackTarget, _ []*os.File) error { return dialling("unix", t.Abstract) }},
	{"unix_path", false, func(t attackTarget, _ []*os.File) error { return dialling("unix", t.Socket) }},
	{"socket_vsock", true, func(attackTarget, []*os.File) error { return closing(unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0)) }},
	{"socket_netlink", false, func(attackTarget, []*os.File) error {
		return closing(unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE))
	}},
	{"socket_alg", true, func(attackTarget, []*os.File) error { return closing(unix.Socket(unix.AF_ALG, unix.SOCK_SEQPACKET, 0)) }},
}

func dialling(network, address string) error {
	c, err := net.DialTimeout(network, address, time.Second)
	if err != nil {
		return err
	}
	return c.Close()
}

func askUDP(t attackTarget, question []byte) error {
	c, err := net.Dial("udp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(t.Port)))
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write(question); err != nil {
		return err
	}
	if err := c.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	_, err = c.Read(make([]byte, 512))
	return err
}

var processAttacks = []attack{
	{"fork_exec_sh", false, func(attackTarget, []*os.File) error { return exec.Command("/bin/sh", "-c", "exit 0").Run() }},
	{"execve_inplace", false, func(attackTarget, []*os.File) error {
		// The shell answers in the worker's place.
		frame := `printf '\010\000\000\000Dthrough\001\000\000\000E' >&4`
		return syscall.Exec("/bin/sh", []string{"sh", "-c", frame}, nil)
	}},
	{"memfd_exec", false, func(attackTarget, []*os.File) error {
		fd, err := unix.MemfdCreate("x", unix.MFD_CLOEXEC)
		if err != nil {
			return err
		}
		if _, err := unix.Write(fd, tinyProgram); err != nil {
			return err
		}
		empty, argv := []byte{0}, []*byte{nil}
		return inChild(0, func() {
			_, _, _ = syscall.RawSyscall6(unix.SYS_EXECVEAT, uintptr(fd), uintptr(unsafe.Pointer(&empty[0])),
				uintptr(unsafe.Pointer(&argv[0])), uintptr(unsafe.Pointer(&argv[0])), unix.AT_EMPTY_PATH, 0)
		})
	}},
	{"ptrace_parent", false, func(t attackTarget, _ []*os.File) error {
		return unix.PtraceSeize(t.Parent)
	}},
	{"process_vm_readv", false, func(t attackTarget, _ []*os.File) error {
		var b [8]byte
		_, err := unix.ProcessVMReadv(t.Parent, []unix.Iovec{{Base: &b[0], Len: 8}}, []unix.RemoteIovec{{Base: uintptr(t.Secret), Len: 8}}, 0)
		return err
	}},
	{"process_vm_writev", false, func(t attackTarget, _ []*os.File) error {
		var b [8]byte
		_, err := unix.ProcessVMWritev(t.Parent, []unix.Iovec{{Base: &b[0], Len: 8}}, []unix.RemoteIovec{{Base: uintptr(t.Secret), Len: 8}}, 0)
		return err
	}},
	{"pidfd_getfd", false, func(t attackTarget, _ []*os.File) error {
		fd, err := unix.PidfdOpen(t.Parent, 0)
		if err != nil {
			return err
		}
		return closing(unix.PidfdGetfd(fd, 0, 0))
	}},
	{"kill_parent", false, func(t attackTarget, _ []*os.File) error { return unix.Kill(t.Parent, 0) }},
	{"kill_everybody", false, func(attackTarget, []*os.File) error { return unix.Kill(-1, 0) }},
	{"prlimit_parent", false, func(t attackTarget, _ []*os.File) error {
		var l unix.Rlimit
		return unix.Prlimit(t.Parent, unix.RLIMIT_NOFILE, nil, &l)
	}},
	{"outlive_gateway", false, func(attackTarget, []*os.File) error { return unix.Prctl(unix.PR_SET_PDEATHSIG, 0, 0, 0, 0) }},
	{"new_session", true, func(attackTarget, []*os.File) error { _, err := unix.Setsid(); return err }},
	{"unshare_user", false, func(attackTarget, []*os.File) error {
		return inChild(0, func() {
			if _, _, e := syscall.RawSyscall(unix.SYS_UNSHARE, unix.CLONE_NEWUSER, 0, 0); e == 0 {
				exitChild(won)
			}
		})
	}},
	{"clone_newuser", false, func(attackTarget, []*os.File) error {
		return inChild(unix.CLONE_NEWUSER, func() { exitChild(won) })
	}},
	{"clone3", false, func(attackTarget, []*os.File) error {
		args := [11]uint64{4: uint64(unix.SIGCHLD)}
		pid, _, e := syscall.RawSyscall(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&args)), 88, 0)
		return childResult(pid, e, func() { exitChild(won) })
	}},
	{"mount_tmpfs", false, func(t attackTarget, _ []*os.File) error {
		what, where := []byte("tmpfs\x00"), append([]byte("/"), 0)
		return inChild(unix.CLONE_NEWUSER|unix.CLONE_NEWNS, func() {
			if _, _, e := syscall.RawSyscall6(unix.SYS_MOUNT, uintptr(unsafe.Pointer(&what[0])), uintptr(unsafe.Pointer(&where[0])),
				uintptr(unsafe.Pointer(&what[0])), 0, 0, 0); e == 0 {
				exitChild(won)
			}
		})
	}},
	{"mount_here", true, func(attackTarget, []*os.File) error { return unix.Mount("proc", "/proc", "proc", 0, "") }},
	{"open_tree_clone", true, func(attackTarget, []*os.File) error {
		return closing(unix.OpenTree(unix.AT_FDCWD, "/", unix.OPEN_TREE_CLONE))
	}},
	{"chroot", true, func(attackTarget, []*os.File) error { return unix.Chroot("/") }},
	{"set_hostname", true, func(attackTarget, []*os.File) error { return unix.Sethostname([]byte("x")) }},
	{"capabilities", true, func(attackTarget, []*os.File) error {
		head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		if err := unix.Capget(&head, &data[0]); err != nil {
			return err
		}
		if data[0].Effective|data[1].Effective|data[0].Permitted|data[1].Permitted == 0 {
			return errors.New("none")
		}
		return nil
	}},
	{"make_dumpable", false, func(attackTarget, []*os.File) error { return unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0) }},
	{"core_dump", false, func(attackTarget, []*os.File) error {
		if err := unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0); err != nil {
			return err
		}
		return unix.Prlimit(0, unix.RLIMIT_CORE, &unix.Rlimit{Cur: 4096, Max: 4096}, nil)
	}},
	{"setpriority", false, func(attackTarget, []*os.File) error { return unix.Setpriority(unix.PRIO_PROCESS, 0, 5) }},
	{"set_affinity", false, func(attackTarget, []*os.File) error {
		var set unix.CPUSet
		if err := unix.SchedGetaffinity(0, &set); err != nil {
			return err
		}
		return unix.SchedSetaffinity(0, &set)
	}},
}

// won is the exit status with which a child says that the attack worked.
const won = 7

// tinyProgram is an ELF executable that exits with status won.
var tinyProgram = func() []byte {
	code := []byte{0xbf, won, 0, 0, 0, 0xb8, 60, 0, 0, 0, 0x0f, 0x05}
	b := make([]byte, 120, 132)
	copy(b, "\x7fELF\x02\x01\x01")
	b[16], b[18], b[20] = 2, 62, 1
	b[24], b[26] = 0x78, 0x40
	b[32], b[52], b[54], b[56] = 64, 64, 56, 1
	b[64], b[68] = 1, 5
	b[82], b[90] = 0x40, 0x40
	b[96], b[104] = 132, 132
	b[113] = 0x10
	return append(b, code...)
}()

//go:norace
func exitChild(status uintptr) {
	for {
		_, _, _ = syscall.RawSyscall(unix.SYS_EXIT_GROUP, status, 0, 0)
	}
}

// inChild runs f in a forked child (raw system calls only) and returns nil when
// the child exited with status won.
//
//go:norace
func inChild(flags uintptr, f func()) error {
	pid, _, e := syscall.RawSyscall6(unix.SYS_CLONE, flags|uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	return childResult(pid, e, f)
}

//go:norace
func childResult(pid uintptr, e syscall.Errno, f func()) error {
	if e != 0 {
		return e
	}
	if pid == 0 {
		f()
		exitChild(1)
	}
	var status unix.WaitStatus
	for {
		_, err := unix.Wait4(int(pid), &status, 0, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		if status.ExitStatus() != won {
			return errors.New("child: " + strconv.Itoa(status.ExitStatus()))
		}
		return nil
	}
}

var spinning uint64

func ignoreSignals() {
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGXCPU, syscall.SIGALRM)
}

// greedySpan is how long a greedy worker must last to have got through; with
// limits its wall clock is shorter.
const greedySpan = 900 * time.Millisecond

const bombBytes = 512 << 20

func fill(b []byte, err error) error {
	if err != nil {
		return err
	}
	for i := 0; i < len(b); i += 4096 {
		b[i] = 1
	}
	time.Sleep(4 * watchInterval)
	return nil
}

func bomb(flags int) error {
	return fill(unix.Mmap(-1, 0, bombBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|flags))
}

var greedAttacks = []attack{
	{"mem_bomb", false, func(attackTarget, []*os.File) error { return bomb(unix.MAP_PRIVATE) }},
	{"mem_bomb_shared", false, func(attackTarget, []*os.File) error { return bomb(unix.MAP_SHARED) }},
	{"mem_bomb_growsdown", false, func(attackTarget, []*os.File) error { return bomb(unix.MAP_PRIVATE | unix.MAP_GROWSDOWN) }},
	{"mem_bomb_memfd", false, func(attackTarget, []*os.File) error {
		fd, err := unix.MemfdCreate("x", 0)
		if err != nil {
			return err
		}
		return unix.Fallocate(fd, 0, 0, bombBytes)
	}},
	{"mem_lock", false, func(attackTarget, []*os.File) error {
		b, err := unix.Mmap(-1, 0, 1<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
		if err != nil {
			return err
		}
		return unix.Mlock(b)
	}},
	{"thread_bomb", false, func(attackTarget, []*os.File) error {
		started := make(chan struct{}, 200)
		for range 200 {
			go func() { started <- struct{}{}; _ = unix.Nanosleep(&unix.Timespec{Sec: 5}, nil) }()
		}
		for range 200 {
			<-started
		}
		time.Sleep(300 * time.Millisecond)
		return nil
	}},
	{"fork_bomb", false, func(attackTarget, []*os.File) error {
		nap := unix.Timespec{Sec: 1}
		for range 20 {
			if err := forkNapping(&nap); err != nil {
				return err
			}
		}
		return nil
	}},
	{"cpu_spin", false, func(attackTarget, []*os.File) error {
		ignoreSignals()
		for begin := time.Now(); time.Since(begin) < greedySpan; spinning++ {
		}
		return nil
	}},
	{"sleep_ignoring_signals", false, func(attackTarget, []*os.File) error {
		ignoreSignals()
		time.Sleep(greedySpan)
		return nil
	}},
	{"flood_result", false, func(attackTarget, []*os.File) error {
		for range 64 {
			if err := WriteFrame(fdWriter(resultFD), append([]byte{kindData}, make([]byte, 1<<16)...)); err != nil {
				return err
			}
		}
		return nil
	}},
	{"lie_about_length", false, func(attackTarget, []*os.File) error {
		// Five megabytes in one frame, announced honestly: the cap must stop it.
		body := strings.Repeat("x", 5<<20)
		return WriteFrame(fdWriter(resultFD), []byte(string(rune(kindData))+body))
	}},
}

//go:norace
func forkNapping(nap *unix.Timespec) error {
	pid, _, e := syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if e != 0 {
		return e
	}
	if pid == 0 {
		_, _, _ = syscall.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(nap)), 0, 0)
		exitChild(0)
	}
	return nil
}
