package sandbox

import (
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// seccompSupported says that this architecture has a reviewed system call table.
const seccompSupported = true

// plainCalls are allowed whatever their arguments: none of them names an object
// outside the process.
var plainCalls = []uint32{
	unix.SYS_FUTEX, unix.SYS_READ, unix.SYS_WRITE, unix.SYS_PREAD64, unix.SYS_NANOSLEEP, unix.SYS_CLOCK_NANOSLEEP,
	unix.SYS_SCHED_YIELD, unix.SYS_MADVISE, unix.SYS_MUNMAP, unix.SYS_CLOSE, unix.SYS_LSEEK,
	unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN, unix.SYS_RT_SIGACTION, unix.SYS_SIGALTSTACK,
	unix.SYS_GETPID, unix.SYS_GETTID, unix.SYS_CLOCK_GETTIME, unix.SYS_CLOCK_GETRES, unix.SYS_GETTIMEOFDAY, unix.SYS_TIME,
	unix.SYS_GETRANDOM, unix.SYS_FSTAT, unix.SYS_NEWFSTATAT, unix.SYS_STAT, unix.SYS_LSTAT, unix.SYS_ACCESS,
	unix.SYS_FACCESSAT, unix.SYS_READLINK, unix.SYS_READLINKAT, unix.SYS_GETDENTS64, unix.SYS_GETCWD,
	unix.SYS_SYSINFO, unix.SYS_SCHED_GETAFFINITY, unix.SYS_SET_ROBUST_LIST, unix.SYS_RSEQ, unix.SYS_BRK, unix.SYS_MREMAP,
	unix.SYS_EPOLL_CREATE1, unix.SYS_EPOLL_CTL, unix.SYS_EPOLL_PWAIT, unix.SYS_EPOLL_WAIT, unix.SYS_EVENTFD2, unix.SYS_PIPE2,
	unix.SYS_EXIT, unix.SYS_EXIT_GROUP, unix.SYS_RESTART_SYSCALL, unix.SYS_UNAME, unix.SYS_FADVISE64, unix.SYS_POLL,
	unix.SYS_GETUID, unix.SYS_GETEUID, unix.SYS_GETGID, unix.SYS_GETEGID, unix.SYS_GETRUSAGE, unix.SYS_GETCPU,
	unix.SYS_MINCORE,
}

// writeCalls are added for a worker that fills descriptors it was handed. None
// of them takes a path.
var writeCalls = []uint32{unix.SYS_PWRITE64, unix.SYS_FTRUNCATE, unix.SYS_FSYNC, unix.SYS_FDATASYNC}

// Thread flags: CLONE_VM|FS|FILES|SIGHAND|THREAD|SYSVSEM|SETTLS, as the Go
// runtime of a program without cgo passes them, and with PARENT_SETTID|
// CHILD_CLEARTID, as glibc does.
const (
	goThread    = 0x000d0f00
	glibcThread = 0x003d0f00
)

const (
	offNr   = 0
	offArch = 4
	x32Bit  = 0x40000000
)

func offArg(i int) uint32 { return uint32(16 + 8*i) }

// program is a seccomp filter under construction.
type program []unix.SockFilter

func (p *program) stmt(code uint16, k uint32) {
	*p = append(*p, unix.SockFilter{Code: code, K: k})
}

func (p *program) jump(code uint16, k uint32, jt, jf uint8) {
	*p = append(*p, unix.SockFilter{Code: code, Jt: jt, Jf: jf, K: k})
}

const (
	load  = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	jeq   = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	jset  = unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K
	ret   = unix.BPF_RET | unix.BPF_K
	allow = unix.SECCOMP_RET_ALLOW
	kill  = unix.SECCOMP_RET_KILL_PROCESS
)

func errnoAction(e unix.Errno) uint32 { return unix.SECCOMP_RET_ERRNO | uint32(e) }

// on emits body for system call nr: body must end in a return.
func (p *program) on(nr uint32, body func(*program)) {
	var b program
	body(&b)
	p.jump(jeq, nr, 0, uint8(len(b)))
	*p = append(*p, b...)
}

// oneOf allows the call when its argument's low word is one of values.
func oneOf(arg int, values ...uint32) func(*program) {
	return func(b *program) {
		b.stmt(load, offArg(arg))
		for _, v := range values {
			b.jump(jeq, v, 0, 1)
			b.stmt(ret, allow)
		}
		b.stmt(ret, errnoAction(unix.EPERM))
	}
}

// without allows the call unless its argument has one of the bits.
func without(arg int, bits uint32, e unix.Errno) func(*program) {
	return func(b *program) {
		b.stmt(load, offArg(arg))
		b.jump(jset, bits, 0, 1)
		b.stmt(ret, errnoAction(e))
		b.stmt(ret, allow)
	}
}

func answer(e unix.Errno) func(*program) {
	return func(b *program) { b.stmt(ret, errnoAction(e)) }
}

// buildFilter returns the allow-list. Everything not named ends the process, or
// fails with EPERM under errno (the self-test, whose probes must survive). With
// code, memory may become executable until sealFilter is added.
func buildFilter(pid uint32, writes, code, errno bool) []unix.SockFilter {
	fallback := uint32(kill)
	if errno {
		fallback = errnoAction(unix.EPERM)
	}
	var p program
	p.stmt(load, offArch)
	p.jump(jeq, unix.AUDIT_ARCH_X86_64, 1, 0)
	p.stmt(ret, kill)
	p.stmt(load, offNr)
	p.jump(jset, x32Bit, 0, 1)
	p.stmt(ret, kill)
	calls := plainCalls
	if writes {
		calls = append(append([]uint32{}, calls...), writeCalls...)
		p.on(unix.SYS_FALLOCATE, answer(unix.EOPNOTSUPP))
	}
	for _, nr := range calls {
		p.on(nr, func(b *program) { b.stmt(ret, allow) })
	}
	p.on(unix.SYS_CLONE, oneOf(0, goThread, glibcThread))
	p.on(unix.SYS_CLONE3, answer(unix.ENOSYS))
	// Shared and growing mappings would escape RLIMIT_DATA.
	const badMap = unix.MAP_SHARED | unix.MAP_GROWSDOWN | unix.MAP_HUGETLB | unix.MAP_LOCKED
	p.on(unix.SYS_MMAP, func(b *program) {
		b.stmt(load, offArg(2))
		b.jump(jset, unix.PROT_EXEC, 0, 1)
		b.stmt(ret, errnoAction(unix.EACCES))
		b.stmt(load, offArg(3))
		b.jump(jset, badMap, 0, 1)
		b.stmt(ret, errnoAction(unix.EPERM))
		b.stmt(ret, allow)
	})
	if code {
		p.on(unix.SYS_MPROTECT, neverBoth(2, unix.PROT_EXEC, unix.PROT_WRITE, unix.EACCES))
		p.on(unix.SYS_SECCOMP, onlySeal)
	} else {
		p.on(unix.SYS_MPROTECT, without(2, unix.PROT_EXEC, unix.EACCES))
	}
	const writeFlags = unix.O_WRONLY | unix.O_RDWR | unix.O_CREAT | unix.O_TRUNC | unix.O_APPEND | unix.O_TMPFILE&^unix.O_DIRECTORY
	p.on(unix.SYS_OPEN, without(1, writeFlags, unix.EROFS))
	p.on(unix.SYS_OPENAT, without(2, writeFlags, unix.EROFS))
	p.on(unix.SYS_FCNTL, oneOf(1, unix.F_GETFD, unix.F_SETFD, unix.F_GETFL, unix.F_SETLK, unix.F_GETLK, unix.F_DUPFD_CLOEXEC))
	p.on(unix.SYS_PRCTL, func(b *program) {
		b.stmt(load, offArg(0))
		b.jump(jeq, unix.PR_SET_NAME, 0, 1)
		b.stmt(ret, allow)
		b.jump(jeq, unix.PR_SET_VMA, 0, 1)
		b.stmt(ret, allow)
		if code {
			b.jump(jeq, unix.PR_SET_MDWE, 0, 1)
			b.stmt(ret, allow)
		}
		b.jump(jeq, unix.PR_SET_DUMPABLE, 1, 0)
		b.stmt(ret, errnoAction(unix.EPERM))
		b.stmt(load, offArg(1))
		b.jump(jeq, 0, 0, 1)
		b.stmt(ret, allow)
		b.stmt(ret, errnoAction(unix.EPERM))
	})
	p.on(unix.SYS_TGKILL, oneOf(0, pid))
	p.on(unix.SYS_RECVMSG, oneOf(0, controlFD))
	// Reading one's own limits only: no new limit, no other process.
	p.on(unix.SYS_PRLIMIT64, func(b *program) {
		b.stmt(load, offArg(0))
		b.jump(jeq, 0, 1, 0)
		b.stmt(ret, errnoAction(unix.EPERM))
		b.stmt(load, offArg(2))
		b.jump(jeq, 0, 1, 0)
		b.stmt(ret, errnoAction(unix.EPERM))
		b.stmt(load, offArg(2)+4)
		b.jump(jeq, 0, 1, 0)
		b.stmt(ret, errnoAction(unix.EPERM))
		b.stmt(ret, allow)
	})
	p.on(unix.SYS_IOCTL, answer(unix.ENOTTY))
	p.on(unix.SYS_STATX, answer(unix.ENOSYS))
	p.stmt(ret, fallback)
	return p
}

// seccompActionAvailable asks whether the kernel knows a filter's action.
func seccompActionAvailable(action *uint32) error {
	_, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_GET_ACTION_AVAIL, 0, uintptr(unsafe.Pointer(action)))
	runtime.KeepAlive(action)
	if errno != 0 {
		return errno
	}
	return nil
}

// filterCalls installs the filter on every thread.
func filterCalls(spec jailSpec) error {
	codeOpen.Store(spec.Code)
	return install(buildFilter(uint32(os.Getpid()), spec.Writes, spec.Code, spec.Errno))
}

// install adds a filter to every thread. A filter once installed stays; a later
// one can only take more away.
func install(filter []unix.SockFilter) error {
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	thread, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(filter)
	if errno != 0 {
		return layerError("seccomp", errno)
	}
	if thread != 0 {
		return layerError("seccomp (thread synchronisation)", unix.EBUSY)
	}
	return nil
}
