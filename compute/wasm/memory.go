package wasm

import (
	"github.com/tetratelabs/wazero/experimental"
	"golang.org/x/sys/unix"
)

// arena gives instances their linear memory from one mapping. Instances live one
// after the other; what one wrote is thrown away by the kernel before the next
// sees the pages as zeros again, which costs as much as was touched. Memory of
// the Go heap would have to be zeroed in full and collected.
type arena struct {
	memory []byte
	used   bool
	dirty  uint64
}

var _ experimental.MemoryAllocator = (*arena)(nil)

// noArena is what Allocate panics with: its interface knows no error.
type noArena struct{}

// Allocate implements experimental.MemoryAllocator. It panics when the memory
// cannot be had or a second instance asks while the first lives; guest.instance
// recovers.
func (a *arena) Allocate(_, most uint64) experimental.LinearMemory {
	if a.used {
		panic(noArena{})
	}
	if uint64(len(a.memory)) < most {
		a.release()
		memory, err := unix.Mmap(-1, 0, int(most), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
		if err != nil {
			panic(noArena{})
		}
		a.memory = memory
	}
	a.used = true
	return a
}

// Reallocate implements experimental.LinearMemory.
func (a *arena) Reallocate(size uint64) []byte {
	if size > uint64(len(a.memory)) {
		return nil
	}
	a.dirty = max(a.dirty, size)
	return a.memory[:size:size]
}

// Free implements experimental.LinearMemory.
func (a *arena) Free() {
	a.used = false
	if a.dirty == 0 {
		return
	}
	if err := unix.Madvise(a.memory[:a.dirty], unix.MADV_DONTNEED); err != nil {
		a.release() // never hand out pages that may not be zero
	}
	a.dirty = 0
}

func (a *arena) release() {
	if a.memory != nil {
		_ = unix.Munmap(a.memory)
		a.memory = nil
	}
}
