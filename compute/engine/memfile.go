package engine

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// newMemoryFile makes an empty file that exists in memory only: it has no name in
// any file system and is gone with its last descriptor, however that ends.
func newMemoryFile() (*os.File, error) {
	const name = "sandgate" // shown in /proc/<pid>/fd, so it says nothing
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate(name, flags|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3
		fd, err = unix.MemfdCreate(name, flags)
	}
	if err != nil {
		return nil, fmt.Errorf("failed to create memory file: %w", err)
	}
	return os.NewFile(uintptr(fd), "memory"), nil
}

// sealMemoryFile freezes f for everybody and for ever and returns a description
// of it that cannot write either. It closes f.
func sealMemoryFile(f *os.File) (*os.File, error) {
	defer f.Close()
	const seals = unix.F_SEAL_WRITE | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		return nil, fmt.Errorf("failed to seal memory file: %w", err)
	}
	again, err := reopen([]*os.File{f})
	if err != nil {
		return nil, err
	}
	return again[0], nil
}

// occupied is the memory that a memory file takes, in bytes.
func occupied(f *os.File) (int64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return 0, fmt.Errorf("failed to inspect memory file: %w", err)
	}
	return st.Blocks * 512, nil
}

// pages rounds a length up to what it occupies in memory.
func pages(n int64) int64 {
	const page = 4096
	return (n + page - 1) / page * page
}
