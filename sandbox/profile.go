package sandbox

import (
	"errors"
	"fmt"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// codeOpen says that this worker may still make code.
var codeOpen atomic.Bool

// SealCode ends the time in which a worker registered with Registration.Code may
// turn memory into code, for good and on every thread: a second seccomp filter
// refuses PROT_EXEC, and memory-deny-write-execute is set where the kernel has
// it (Linux 6.3). It then tries for itself, and fails when anything could still
// become executable. What is executable already stays so. It fails in a process
// that is not such a worker, or was sealed before.
func SealCode() error {
	if !codeOpen.CompareAndSwap(true, false) {
		return errors.New("failed to seal code: this is no worker that makes code, or it is sealed already")
	}
	if err := closeCode(); err != nil {
		return fmt.Errorf("failed to seal code: %w", err)
	}
	// Kernels before 6.3 do not know it; the filter does not need it.
	_ = unix.Prctl(unix.PR_SET_MDWE, unix.PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0)
	if page, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANON); err == nil {
		_ = unix.Munmap(page)
		return errors.New("failed to seal code: executable memory can still be mapped")
	}
	page, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return fmt.Errorf("failed to seal code: %w", err)
	}
	defer func() { _ = unix.Munmap(page) }()
	if unix.Mprotect(page, unix.PROT_READ|unix.PROT_EXEC) == nil {
		return errors.New("failed to seal code: memory can still be made executable")
	}
	return nil
}
