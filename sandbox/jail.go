package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// enterJail is the first stage. It runs on the locked main thread of a process
// that cloned into fresh namespaces (full tier) and ends by executing this very
// binary again, so that the second stage starts single-threaded with every layer
// already on. The order matters: what a step forbids must not be needed later.
func enterJail(spec jailSpec) error {
	exe, err := unix.Open("/proc/self/exe", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return errors.New("executable: cannot open it")
	}
	// An idle worker is the first to go when the host runs out of memory.
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0)
	if spec.Layers.has(layerLimits) {
		if err := unix.CloseRange(firstFreeFD, ^uint(0)>>1&0x7fffffff, unix.CLOSE_RANGE_CLOEXEC); err != nil {
			return layerError("descriptors", err)
		}
	}
	if spec.Layers.has(layerRoot) {
		if err := emptyRoot(spec.Libs); err != nil {
			return err
		}
	}
	if spec.Layers.has(layerLimits) {
		if err := limitResources(spec); err != nil {
			return err
		}
	}
	if spec.Layers.has(layerCaps) {
		if err := dropCapabilities(); err != nil {
			return err
		}
	}
	if spec.Layers&(layerCaps|layerLandlock|layerSeccomp) != 0 {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return layerError("no_new_privs", err)
		}
	}
	if spec.Layers.has(layerLandlock) {
		if err := restrictFiles(exe, spec); err != nil {
			return err
		}
	}
	return execute(exe)
}

func layerError(layer string, err error) error {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return fmt.Errorf("%s: %s", layer, unix.ErrnoName(errno))
	}
	return fmt.Errorf("%s: refused", layer)
}

// emptyRoot replaces the root by an empty read-only tmpfs. A dynamically linked
// executable keeps its loader and libraries, read-only; a static one nothing.
func emptyRoot(libs []string) error {
	const layer = "mount namespace"
	if err := unix.Sethostname([]byte("worker")); err != nil {
		return layerError("uts namespace", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return layerError(layer, err)
	}
	root := ""
	for _, dir := range []string{"/tmp", "/run", "/mnt", "/proc"} {
		if unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "size=256k,nr_inodes=128,mode=0755") == nil {
			root = dir
			break
		}
	}
	if root == "" {
		return layerError(layer+" (tmpfs)", unix.EPERM)
	}
	for _, lib := range libs {
		source, target, ok := strings.Cut(lib, "=")
		target = filepath.Join(root, filepath.Clean("/"+target))
		if !ok {
			return layerError("shared libraries", unix.EINVAL)
		}
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return layerError("shared libraries", err)
		}
		if err := os.WriteFile(target, nil, 0o444); err != nil {
			return layerError("shared libraries", err)
		}
		if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
			return layerError("shared libraries (bind)", err)
		}
		attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV}
		if err := unix.MountSetattr(unix.AT_FDCWD, target, 0, &attr); err != nil {
			return layerError("shared libraries (read-only)", err)
		}
	}
	if err := unix.Chdir(root); err != nil {
		return layerError("pivot_root", err)
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return layerError("pivot_root", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return layerError("pivot_root (detach)", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return layerError("pivot_root", err)
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV}
	if len(libs) == 0 {
		attr.Attr_set |= unix.MOUNT_ATTR_NOEXEC
	}
	if err := unix.MountSetattr(unix.AT_FDCWD, "/", 0, &attr); err != nil {
		return layerError("read-only root", err)
	}
	return nil
}

// fileSizeCeiling is RLIMIT_FSIZE of a worker that writes its one output file.
const fileSizeCeiling = 1 << 40

// limitResources lowers soft and hard limits together, so nothing inside raises
// them again. RLIMIT_NPROC counts per user namespace, hence only with one of
// its own; elsewhere the watchdog counts threads.
func limitResources(spec jailSpec) error {
	limits := map[int]uint64{
		unix.RLIMIT_CORE: 0, unix.RLIMIT_NOFILE: 128, unix.RLIMIT_FSIZE: 0,
		unix.RLIMIT_MEMLOCK: 0, unix.RLIMIT_MSGQUEUE: 0,
	}
	if spec.Writes {
		limits[unix.RLIMIT_FSIZE] = fileSizeCeiling
	}
	if spec.Data > 0 {
		limits[unix.RLIMIT_DATA] = spec.Data
	}
	if spec.Layers.has(layerNamespaces) {
		limits[unix.RLIMIT_NPROC] = maxThreads
	}
	for resource, value := range limits {
		var old unix.Rlimit
		if err := unix.Getrlimit(resource, &old); err != nil {
			return layerError("rlimits", err)
		}
		value = min(value, old.Max)
		if err := unix.Setrlimit(resource, &unix.Rlimit{Cur: value, Max: value}); err != nil {
			return layerError("rlimits", err)
		}
	}
	return nil
}

// secureBits locks the process out of every way root gains capabilities:
// NOROOT, NO_SETUID_FIXUP and NO_CAP_AMBIENT_RAISE set and locked, KEEP_CAPS
// locked off (capabilities(7)).
const secureBits = 0xEF

func dropCapabilities() error {
	const layer = "capabilities"
	for c := uintptr(0); c < 64; c++ {
		err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0)
		if errors.Is(err, unix.EINVAL) {
			break
		}
		if errors.Is(err, unix.EPERM) {
			break // an ordinary user in the container tier: verify sees CapEff 0
		}
		if err != nil {
			return layerError(layer, err)
		}
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return layerError(layer, err)
	}
	if err := unix.Prctl(unix.PR_SET_SECUREBITS, secureBits, 0, 0, 0); err != nil && !errors.Is(err, unix.EPERM) {
		return layerError(layer, err)
	}
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&head, &none[0]); err != nil {
		return layerError(layer, err)
	}
	return nil
}

// restrictFiles puts the thread into a Landlock domain that handles every right
// the kernel knows and allows one thing: executing and reading this binary, with
// its loader and libraries when it is linked dynamically.
func restrictFiles(exe int, spec jailSpec) error {
	const layer = "landlock"
	abi, err := syscall.LandlockGetABIVersion()
	if err != nil || abi < 1 {
		return layerError(layer, unix.EOPNOTSUPP)
	}
	attr := syscall.RulesetAttr{HandledAccessFS: syscall.AccessFSMakeSym<<1 - 1}
	if abi >= 2 {
		attr.HandledAccessFS |= syscall.AccessFSRefer
	}
	if abi >= 3 {
		attr.HandledAccessFS |= syscall.AccessFSTruncate
	}
	if abi >= 4 {
		attr.HandledAccessNet = syscall.AccessNetBindTCP | syscall.AccessNetConnectTCP
	}
	if abi >= 5 {
		attr.HandledAccessFS |= syscall.AccessFSIoctlDev
	}
	if abi >= 6 {
		attr.Scoped = syscall.ScopeAbstractUnixSocket | syscall.ScopeSignal
	}
	rules, err := syscall.LandlockCreateRuleset(&attr, 0)
	if err != nil {
		return layerError(layer, err)
	}
	defer unix.Close(rules)
	allow := func(fd int, access uint64) error {
		if err := syscall.LandlockAddPathBeneathRule(rules, &syscall.PathBeneathAttr{AllowedAccess: access, ParentFd: fd}, 0); err != nil {
			return layerError(layer, err)
		}
		return nil
	}
	const run = syscall.AccessFSExecute | syscall.AccessFSReadFile
	if err := allow(exe, run); err != nil {
		return err
	}
	for _, lib := range spec.Libs {
		source, target, _ := strings.Cut(lib, "=")
		if !spec.Layers.has(layerRoot) {
			target = source
		}
		fd, err := unix.Open(target, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return layerError("shared libraries", err)
		}
		if err := allow(fd, run); err != nil {
			return err
		}
		_ = unix.Close(fd)
	}
	if err := syscall.LandlockRestrictSelf(rules, 0); err != nil {
		return layerError(layer, err)
	}
	return nil
}

// workerEnv is the whole environment of a worker.
func workerEnv() []string {
	return []string{"GOTRACEBACK=none", "TZ=UTC", "LC_ALL=C", "GODEBUG=updatemaxprocs=0,containermaxprocs=0"}
}

func execute(exe int) error {
	empty := []byte{0}
	argv := make([]*byte, 0, 3)
	for _, s := range []string{workerName, os.Args[1]} {
		p, err := unix.BytePtrFromString(s)
		if err != nil {
			return layerError("execveat", err)
		}
		argv = append(argv, p)
	}
	argv = append(argv, nil)
	var envp []*byte
	for _, s := range workerEnv() {
		p, _ := unix.BytePtrFromString(s)
		envp = append(envp, p)
	}
	envp = append(envp, nil)
	_, _, errno := unix.RawSyscall6(unix.SYS_EXECVEAT, uintptr(exe), uintptr(unsafe.Pointer(&empty[0])),
		uintptr(unsafe.Pointer(&argv[0])), uintptr(unsafe.Pointer(&envp[0])), unix.AT_EMPTY_PATH, 0)
	return layerError("execveat", errno)
}

// seal is the second stage's last step before READY.
func seal(spec jailSpec) error {
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return layerError("parent death signal", err)
	}
	// execve made the process dumpable again. Without a user namespace an
	// ordinary parent could not inspect it any more, so there the flag falls
	// when the first job arrives, after verification.
	if spec.Layers.has(layerNamespaces | layerSeccomp) {
		if err := undumpable(); err != nil {
			return err
		}
	}
	if !spec.Layers.has(layerSeccomp) {
		return nil
	}
	// Memory-deny-write-execute needs Linux 6.3; the seccomp filter refuses
	// PROT_EXEC on older kernels as well. It is for good, so a worker that makes
	// code sets it in SealCode.
	if !spec.Code {
		_ = unix.Prctl(unix.PR_SET_MDWE, unix.PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0)
	}
	return filterCalls(spec)
}

// undumpable keeps other processes of the same user from tracing this one.
func undumpable() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return layerError("dumpable", err)
	}
	return nil
}
