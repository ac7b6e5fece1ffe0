package sandbox

import "golang.org/x/sys/unix"

// neverBoth allows the call unless its argument has both bits: memory that can
// be written and executed at once exists in no worker.
func neverBoth(arg int, one, other uint32, e unix.Errno) func(*program) {
	return func(b *program) {
		b.stmt(load, offArg(arg))
		b.jump(jset, one, 0, 2)
		b.jump(jset, other, 0, 1)
		b.stmt(ret, errnoAction(e))
		b.stmt(ret, allow)
	}
}

// onlySeal allows adding one more filter to every thread, and no listener or
// other use of seccomp(2).
func onlySeal(b *program) {
	b.stmt(load, offArg(0))
	b.jump(jeq, unix.SECCOMP_SET_MODE_FILTER, 1, 0)
	b.stmt(ret, errnoAction(unix.EPERM))
	oneOf(1, unix.SECCOMP_FILTER_FLAG_TSYNC)(b)
}

// sealFilter is added to the allow-list when code is made: from then on nothing
// becomes executable, and no filter is added any more. The allow-list stays in
// force beside it, and has checked the architecture.
func sealFilter() []unix.SockFilter {
	var p program
	p.stmt(load, offNr)
	for _, nr := range []uint32{unix.SYS_MMAP, unix.SYS_MPROTECT, unix.SYS_PKEY_MPROTECT} {
		p.on(nr, without(2, unix.PROT_EXEC, unix.EACCES))
	}
	p.on(unix.SYS_SECCOMP, answer(unix.EPERM))
	p.stmt(ret, allow)
	return p
}

// closeCode installs the second filter.
func closeCode() error { return install(sealFilter()) }
