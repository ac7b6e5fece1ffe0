package sandbox

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// raw makes a system call and closes the descriptor it returns, if it is one.
func raw(returnsFD bool, nr, a, b, c, d, e uintptr) error {
	fd, _, errno := unix.Syscall6(nr, a, b, c, d, e, 0)
	if errno != 0 {
		return errno
	}
	if returnsFD {
		return unix.Close(int(fd))
	}
	return nil
}

// legacyGate is `mov $24,%eax; int $0x80; ret`: getuid through the 32-bit entry,
// under a number that means sched_yield in the 64-bit table and is allowed there.
var legacyGate uintptr

// mapLegacyGate runs before the filter, which refuses executable memory.
func mapLegacyGate() error {
	m, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return err
	}
	copy(m, []byte{0xb8, 24, 0, 0, 0, 0xcd, 0x80, 0xc3})
	legacyGate = uintptr(unsafe.Pointer(&m[0]))
	return unix.Mprotect(m, unix.PROT_READ|unix.PROT_EXEC)
}

var kernelAttacks = []attack{
	{"io_uring_setup", true, func(attackTarget, []*os.File) error {
		var p [120]byte
		return raw(true, unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&p)), 0, 0, 0)
	}},
	{"bpf", true, func(attackTarget, []*os.File) error {
		attr := [16]uint32{2, 4, 4, 1} // BPF_MAP_CREATE of an array map
		return raw(true, unix.SYS_BPF, 0, uintptr(unsafe.Pointer(&attr)), 64, 0, 0)
	}},
	{"perf_event_open", true, func(attackTarget, []*os.File) error {
		attr := unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Size: uint32(unsafe.Sizeof(unix.PerfEventAttr{})),
			Config: unix.PERF_COUNT_SW_TASK_CLOCK, Bits: unix.PerfBitExcludeKernel | unix.PerfBitExcludeHv}
		return closing(unix.PerfEventOpen(&attr, 0, -1, -1, 0))
	}},
	{"userfaultfd", false, func(attackTarget, []*os.File) error { return raw(true, unix.SYS_USERFAULTFD, 1, 0, 0, 0, 0) }},
	{"add_key", false, func(attackTarget, []*os.File) error {
		_, err := unix.AddKey("user", "sandgate", []byte("x"), unix.KEY_SPEC_PROCESS_KEYRING)
		return err
	}},
	{"memfd_create", false, func(attackTarget, []*os.File) error { return closing(unix.MemfdCreate("x", 0)) }},
	{"memfd_secret", true, func(attackTarget, []*os.File) error { return raw(true, unix.SYS_MEMFD_SECRET, 0, 0, 0, 0, 0) }},
	{"mmap_exec", false, func(attackTarget, []*os.File) error {
		_, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_ANON|unix.MAP_PRIVATE)
		return err
	}},
	{"mprotect_exec", false, func(attackTarget, []*os.File) error {
		m, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
		if err != nil {
			return err
		}
		return unix.Mprotect(m, unix.PROT_READ|unix.PROT_EXEC)
	}},
	{"pkey_mprotect_exec", false, func(attackTarget, []*os.File) error {
		m, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
		if err != nil {
			return err
		}
		return raw(false, unix.SYS_PKEY_MPROTECT, uintptr(unsafe.Pointer(&m[0])), 4096, unix.PROT_READ|unix.PROT_EXEC, ^uintptr(0), 0)
	}},
	{"personality", false, func(attackTarget, []*os.File) error {
		const readImpliesExec = 0x0400000
		return raw(false, unix.SYS_PERSONALITY, readImpliesExec, 0, 0, 0, 0)
	}},
	{"x32_call", true, func(attackTarget, []*os.File) error { return raw(false, unix.SYS_GETPID|0x40000000, 0, 0, 0, 0, 0) }},
	{"int80_call", false, func(attackTarget, []*os.File) error {
		runtime.LockOSThread()
		entry := &legacyGate
		(*(*func())(unsafe.Pointer(&entry)))()
		return nil
	}},
	{"modify_ldt", true, func(attackTarget, []*os.File) error {
		var b [64]byte
		return raw(false, unix.SYS_MODIFY_LDT, 0, uintptr(unsafe.Pointer(&b)), 64, 0, 0)
	}},
	{"terminal_injection", true, func(attackTarget, []*os.File) error {
		c := byte('x')
		return raw(false, unix.SYS_IOCTL, 0, unix.TIOCSTI, uintptr(unsafe.Pointer(&c)), 0, 0)
	}},
	{"shm_sysv", false, func(attackTarget, []*os.File) error {
		id, err := unix.SysvShmGet(unix.IPC_PRIVATE, 4096, unix.IPC_CREAT|0o600)
		if err != nil {
			return err
		}
		_, err = unix.SysvShmCtl(id, unix.IPC_RMID, nil)
		return err
	}},
	{"mq_open", false, func(attackTarget, []*os.File) error {
		name := append([]byte("sandgate-attack"), 0)
		attr := [8]int64{1: 1, 2: 8}
		return raw(true, unix.SYS_MQ_OPEN, uintptr(unsafe.Pointer(&name[0])), unix.O_CREAT|unix.O_RDWR, 0o600, uintptr(unsafe.Pointer(&attr)), 0)
	}},
	{"ptrace_traceme", false, func(attackTarget, []*os.File) error {
		return raw(false, unix.SYS_PTRACE, unix.PTRACE_TRACEME, 0, 0, 0, 0)
	}},
	{"vmsplice", false, func(attackTarget, []*os.File) error {
		var p [2]int
		if err := unix.Pipe2(p[:], 0); err != nil {
			return err
		}
		page := make([]byte, 4096)
		_, err := unix.Vmsplice(p[1], []unix.Iovec{{Base: &page[0], Len: 4096}}, 0)
		return err
	}},
	{"timer_signal", false, func(attackTarget, []*os.File) error {
		var id int32
		return raw(false, unix.SYS_TIMER_CREATE, unix.CLOCK_MONOTONIC, 0, uintptr(unsafe.Pointer(&id)), 0, 0)
	}},
	{"kernel_log", true, func(attackTarget, []*os.File) error {
		_, err := unix.Klogctl(unix.SYSLOG_ACTION_SIZE_BUFFER, nil)
		return err
	}},
	{"pass_descriptor_up", false, func(attackTarget, []*os.File) error {
		// A worker that could send descriptors could hand its caller a trap.
		return unix.Sendmsg(controlFD, []byte("x"), unix.UnixRights(controlFD), nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
	}},
	{"setuid_program", true, func(attackTarget, []*os.File) error {
		out, err := exec.Command("/bin/su", "-c", "id").CombinedOutput()
		if err == nil && strings.Contains(string(out), "uid=0") {
			return nil
		}
		return errors.New("not root")
	}},
	{"raise_limit", true, func(attackTarget, []*os.File) error {
		var l syscall.Rlimit
		if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
			return err
		}
		if l.Max > 1024 {
			return nil
		}
		l.Max++
		return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l)
	}},
}
