package sandbox

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// namespaceKinds are the links of /proc/<pid>/ns that must differ in full tier.
var namespaceKinds = []string{"user", "net", "pid", "mnt", "ipc", "uts", "cgroup"}

// verify checks a sealed worker from outside, trusting nothing it said: every
// thread's filter, privileges and capabilities, its namespaces, its open
// descriptors.
func verify(pid int, tier Tier, set layer) error {
	if set == 0 {
		return nil
	}
	dir := "/proc/" + strconv.Itoa(pid)
	fail := func(layer string) error {
		return missing(tier, "verification from outside failed: "+layer)
	}
	tasks, err := os.ReadDir(dir + "/task")
	if err != nil || len(tasks) == 0 {
		return fail("process list")
	}
	for _, task := range tasks {
		raw, err := os.ReadFile(filepath.Join(dir, "task", task.Name(), "status"))
		if os.IsNotExist(err) {
			continue // a thread that ended
		}
		if err != nil {
			return fail("thread status")
		}
		if layer := checkStatus(string(raw), set); layer != "" {
			return fail(layer)
		}
	}
	if set.has(layerNamespaces) {
		for _, kind := range namespaceKinds {
			own, err1 := os.Readlink("/proc/self/ns/" + kind)
			its, err2 := os.Readlink(dir + "/ns/" + kind)
			if err1 != nil || err2 != nil || own == its {
				return fail(kind + " namespace")
			}
		}
	}
	if set.has(layerRoot) {
		var root unix.Statfs_t
		if err := unix.Statfs(dir+"/root", &root); err != nil || root.Type != unix.TMPFS_MAGIC || root.Flags&unix.ST_RDONLY == 0 {
			return fail("empty read-only root")
		}
	}
	if !set.has(layerLimits) {
		return nil
	}
	fds, err := os.ReadDir(dir + "/fd")
	if err != nil {
		return fail("descriptor list")
	}
	for _, fd := range fds {
		target, err := os.Readlink(filepath.Join(dir, "fd", fd.Name()))
		if err != nil {
			continue
		}
		n, _ := strconv.Atoi(fd.Name())
		if !allowedDescriptor(n, target) {
			return fail(fmt.Sprintf("descriptor %d is not one of the worker's own", n))
		}
	}
	return nil
}

func allowedDescriptor(n int, target string) bool {
	switch n {
	case 0, 1:
		return target == "/dev/null"
	case 2, resultFD:
		return strings.HasPrefix(target, "pipe:")
	case controlFD:
		return strings.HasPrefix(target, "socket:")
	}
	// The runtime's poller; an engine's wake-up pipe is its own as well.
	return strings.HasPrefix(target, "anon_inode:[eventpoll]") || strings.HasPrefix(target, "anon_inode:[eventfd]")
}

// checkStatus returns the name of the first layer that a thread lacks.
func checkStatus(status string, set layer) string {
	want := map[string]string{}
	if set&(layerCaps|layerLandlock|layerSeccomp) != 0 {
		want["NoNewPrivs"] = "1"
	}
	if set.has(layerSeccomp) {
		want["Seccomp"] = "2"
	}
	if set.has(layerCaps) {
		want["CapEff"], want["CapPrm"], want["CapInh"], want["CapAmb"] = "", "", "", ""
		if set.has(layerNamespaces) {
			want["CapBnd"] = ""
		}
	}
	for line := range strings.Lines(status) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), ":")
		expected, known := want[key]
		if !ok || !known {
			continue
		}
		value = strings.TrimSpace(value)
		if expected == "" {
			value = strings.Trim(value, "0")
		}
		if value != expected {
			return key
		}
		delete(want, key)
	}
	for key := range want {
		return key
	}
	return ""
}
