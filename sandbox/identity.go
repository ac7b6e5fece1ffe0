package sandbox

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// workerSlot numbers the workers of a spawner.
var workerSlot atomic.Uint32

// hostIDBase is the first of a thousand host ids that root maps workers to: each
// worker gets an id of its own, which owns nothing on the host, so that
// RLIMIT_NPROC binds and one worker's id gives no hold on another.
const hostIDBase = 200000

// hostID picks the host id of the next worker from what this process may map:
// "root" in a rootless container has a single entry and must use its own.
func hostID() int {
	want := hostIDBase + int(workerSlot.Add(1)%1000)
	raw, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return os.Getuid()
	}
	fallback := os.Getuid()
	for line := range strings.Lines(string(raw)) {
		fields := strings.Fields(line)
		if len(fields) != 3 {
			continue
		}
		first, _ := strconv.Atoi(fields[0])
		count, _ := strconv.Atoi(fields[2])
		if want >= first && want-first < count {
			return want
		}
		if 65534 >= first && 65534-first < count {
			fallback = 65534
		}
	}
	return fallback
}

// attributes of a worker process, as clone and exec need them.
func attributes(set layer) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setsid: true}
	if !set.has(layerNamespaces) {
		return attr
	}
	attr.Cloneflags = syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWNS |
		syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS | syscall.CLONE_NEWCGROUP
	uid, gid := os.Getuid(), os.Getgid()
	root := uid == 0
	if root {
		uid = hostID()
		if uid != 0 {
			gid = uid
		}
	}
	attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
	attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: gid, Size: 1}}
	attr.GidMappingsEnableSetgroups = root
	attr.Credential = &syscall.Credential{Uid: 0, Gid: 0, NoSetGroups: !root}
	return attr
}
