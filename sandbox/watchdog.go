package sandbox

import (
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// maxThreads is how many threads a worker may have. RLIMIT_NPROC says the same
// with namespaces; without them it would count the whole user's processes (and
// never binds root), so there the watchdog is the only limit.
const maxThreads = 128

// watchInterval is how far a worker can get between two looks.
const watchInterval = 25 * time.Millisecond

// watch ends a worker over its thread or memory limit until done is closed. It
// is the second line behind the resource limits: it sees what RLIMIT_DATA does
// not count, and is the only memory limit of a race detector build.
func watch(pid int, memory int64, done <-chan struct{}, stop func(Cause)) {
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	path := "/proc/" + strconv.Itoa(pid) + "/status"
	for {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return // the worker is gone; its reader notices
		}
		threads, anonymous := usage(string(raw))
		if threads > maxThreads {
			stop(CauseCrashed)
			return
		}
		// Snapshots are memory files and count as shared, never as anonymous.
		if anonymous > memory+workerOverhead {
			stop(CauseMemory)
			return
		}
	}
}

// usage reads the thread count and the anonymous resident bytes of a status file.
func usage(status string) (threads int, anonymous int64) {
	for line := range strings.Lines(status) {
		key, value, _ := strings.Cut(line, ":")
		switch key {
		case "Threads":
			threads, _ = strconv.Atoi(strings.TrimSpace(value))
		case "RssAnon":
			kib, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			anonymous = kib << 10
		}
	}
	return threads, anonymous
}

// processorTime is what a process has had of the processors, all its threads together.
// Where the kernel does not tell, the wall clock stands for it.
func processorTime(pid int) (time.Duration, bool) {
	// The clock of another process, as clock_getcpuclockid(3) makes its number.
	const scheduled = 2
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|scheduled), &t); err != nil {
		return 0, false
	}
	return time.Duration(t.Nano()), true
}

// spend ends a worker that has had more than until of the processors, until done is
// closed. What a job may compute must not depend on what else the machine does: an
// honest job that had to wait would be taken for one that never ends.
func spend(pid int, until time.Duration, done <-chan struct{}, stop func(Cause)) {
	for {
		had, ok := processorTime(pid)
		switch {
		case !ok:
			return // the worker is gone; its reader notices
		case had >= until:
			stop(CauseTimeout)
			return
		}
		select {
		case <-done:
			return
		case <-time.After(max(until-had, watchInterval)):
		}
	}
}
