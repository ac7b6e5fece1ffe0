package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// groups is a subtree of control groups (version 2) that was delegated to this
// process. Each worker is created inside a group of its own there. It is a layer
// beside resource limits and watchdog, for hosts that offer it: unlike those it
// counts kernel memory, and no worker's memory goes to swap.
type groups struct {
	dir         string
	controllers []string // of groupControllers, those that are there
	next        atomic.Int64
}

// groupControllers are used where they are delegated; memory and pids must be.
var groupControllers = []string{"memory", "pids", "cpu"}

const (
	ownGroup     = "gateway" // the leaf that this process moves to
	workerGroups = "worker-"
	// workerWeight makes workers yield to the gateway (100) when the CPU is short.
	workerWeight = 50
)

// errNoGroups says why there is no delegated subtree. Its texts end in lists of
// layers and in doctor.
type errNoGroups struct{ zh, en string }

func (e errNoGroups) Error() string { return e.en }

// findGroups looks for a subtree that belongs to this process alone: its own
// group, in which no other process lives, with the controllers it needs. procfs is
// /proc/self but in tests.
func findGroups(procfs string) (*groups, error) {
	own, err := ownGroupDir(procfs)
	if err != nil {
		return nil, err
	}
	if filepath.Base(own) == ownGroup { // entered before, or by DelegateSubgroup=gateway
		own = filepath.Dir(own)
	} else if err := alone(filepath.Join(own, "cgroup.procs")); err != nil {
		return nil, err
	}
	raw, err := os.ReadFile(filepath.Join(own, "cgroup.controllers"))
	if err != nil {
		return nil, errNoGroups{"无法读取控制器", "its controllers cannot be read"}
	}
	offered := strings.Fields(string(raw))
	g := &groups{dir: own}
	for _, c := range groupControllers {
		if slices.Contains(offered, c) {
			g.controllers = append(g.controllers, c)
		}
	}
	for _, c := range []string{"memory", "pids"} {
		if !slices.Contains(g.controllers, c) {
			return nil, errNoGroups{"没有控制器 " + c, "no " + c + " controller"}
		}
	}
	f, err := os.OpenFile(filepath.Join(own, "cgroup.subtree_control"), os.O_WRONLY, 0)
	if err != nil {
		return nil, errNoGroups{"控制组未委派给本用户", "the group is not delegated to this user"}
	}
	return g, f.Close()
}

// ownGroupDir is where this process's group of version 2 is mounted.
func ownGroupDir(procfs string) (string, error) {
	none := errNoGroups{"未挂载 cgroup v2", "cgroup v2 is not mounted"}
	raw, err := os.ReadFile(filepath.Join(procfs, "cgroup"))
	if err != nil {
		return "", none
	}
	own := ""
	for line := range strings.Lines(string(raw)) {
		if group, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			own = group
		}
	}
	mounts, err := os.ReadFile(filepath.Join(procfs, "mountinfo"))
	if err != nil || own == "" {
		return "", none
	}
	for line := range strings.Lines(string(mounts)) {
		head, tail, _ := strings.Cut(line, " - ")
		fields := strings.Fields(head)
		if len(fields) < 5 || !strings.HasPrefix(tail, "cgroup2 ") {
			continue
		}
		if below, err := filepath.Rel(fields[3], own); err == nil && !strings.HasPrefix(below, "..") {
			return filepath.Join(fields[4], below), nil
		}
	}
	return "", none
}

// alone refuses a group that other processes live in: it is not this one's to
// rebuild, whatever its permissions say to root.
func alone(procs string) error {
	raw, err := os.ReadFile(procs)
	if err != nil {
		return errNoGroups{"无法读取控制组成员", "the group's members cannot be read"}
	}
	for _, pid := range strings.Fields(string(raw)) {
		if pid != strconv.Itoa(os.Getpid()) {
			return errNoGroups{"控制组内还有其他进程（用 systemd Delegate=yes）", "other processes live in this group (systemd: Delegate=yes)"}
		}
	}
	return nil
}

// enter moves this process to a leaf, for a group with members cannot hand
// controllers down, hands them down and clears what an earlier process left.
func (g *groups) enter() error {
	failed := func(err error) error {
		return errNoGroups{"控制组无法使用", layerError("it cannot be used", err).Error()}
	}
	leaf := filepath.Join(g.dir, ownGroup)
	if err := os.Mkdir(leaf, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return failed(err)
	}
	if err := os.WriteFile(filepath.Join(leaf, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0); err != nil {
		return failed(err)
	}
	for _, c := range g.controllers {
		if err := os.WriteFile(filepath.Join(g.dir, "cgroup.subtree_control"), []byte("+"+c), 0); err != nil {
			return failed(err)
		}
	}
	left, _ := filepath.Glob(filepath.Join(g.dir, workerGroups+"*"))
	for _, dir := range left {
		_ = os.Remove(dir) // refused while anything lives there
	}
	return nil
}

// make creates a worker's group with its limits: memory bytes beyond the worker's
// own, none of them in swap. Memory files count for the group that fills them, so
// a worker that writes has no limit here: whoever owns the files counts them.
func (g *groups) make(memory int64, writes bool) (string, error) {
	dir := filepath.Join(g.dir, workerGroups+strconv.Itoa(os.Getpid())+"-"+strconv.FormatInt(g.next.Add(1), 10))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", layerError("cgroup", errors.Unwrap(err))
	}
	// Threads come one by one; the watchdog's limit is reached first.
	set := [][2]string{{"pids.max", strconv.Itoa(maxThreads + 8)}}
	if !raceEnabled && !writes {
		set = append(set, [2]string{"memory.max", strconv.FormatInt(memory+workerOverhead, 10)})
	}
	set = append(set, [2]string{"memory.oom.group", "1"})
	if slices.Contains(g.controllers, "cpu") {
		set = append(set, [2]string{"cpu.weight", strconv.Itoa(workerWeight)})
	}
	for _, s := range set {
		if err := os.WriteFile(filepath.Join(dir, s[0]), []byte(s[1]), 0); err != nil {
			_ = os.Remove(dir)
			return "", layerError("cgroup "+s[0], errors.Unwrap(err))
		}
	}
	// Absent where the kernel does not account swap.
	if err := os.WriteFile(filepath.Join(dir, "memory.swap.max"), []byte("0"), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
		_ = os.Remove(dir)
		return "", layerError("cgroup memory.swap.max", errors.Unwrap(err))
	}
	return dir, nil
}

// removeGroup deletes a worker's group, ending whatever still lives there.
func removeGroup(dir string) {
	if dir == "" {
		return
	}
	for range 20 {
		if err := os.Remove(dir); err == nil || errors.Is(err, os.ErrNotExist) {
			return
		}
		_ = os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0)
		time.Sleep(5 * time.Millisecond)
	}
}

// String names the layer.
func (g *groups) String() string { return "cgroup v2: " + strings.Join(g.controllers, " ") }

// lowerGroup follows a job that asks for less than its worker was started with.
func lowerGroup(dir string, memory int64) error {
	if dir == "" || raceEnabled {
		return nil
	}
	if err := os.WriteFile(filepath.Join(dir, "memory.max"), []byte(strconv.FormatInt(memory+workerOverhead, 10)), 0); err != nil {
		return layerError("cgroup memory.max", errors.Unwrap(err))
	}
	return nil
}

// memoryKilled says whether the kernel ended a process of the group for memory.
func memoryKilled(dir string) bool {
	if dir == "" {
		return false
	}
	raw, err := os.ReadFile(filepath.Join(dir, "memory.events"))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(raw)) {
		var n int
		if count, ok := strings.CutPrefix(line, "oom_kill "); ok {
			_, _ = fmt.Sscan(count, &n)
			return n > 0
		}
	}
	return false
}

// inGroup says whether a process lives in a group, as the kernel tells it.
func inGroup(pid int, dir string) bool {
	raw, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(raw)) {
		if group, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return filepath.Base(group) == filepath.Base(dir)
		}
	}
	return false
}

// enteredGroups is the subtree of this process, entered once: a process has one
// group.
var enteredGroups = sync.OnceValues(func() (*groups, error) {
	g, err := findGroups("/proc/self")
	if err != nil {
		return nil, err
	}
	return g, g.enter()
})
