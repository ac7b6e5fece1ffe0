package attack

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Outside is one process below a gateway, as anybody on the machine sees it in
// /proc: a worker, or the spawner that starts workers.
type Outside struct {
	PID   int
	Born  string // start time in clock ticks: a pid may come to mean another process
	Name  string // argv[0]: sandgate-spawner, sandgate-worker
	Spec  string // argv[1]: for a worker, what it is there for
	Clock int64  // processor time used, in clock ticks
}

// Executes says whether it is an engine worker, idle or with a job.
func (o Outside) Executes() bool {
	return o.Name == "sandgate-worker" && strings.Contains(o.Spec, `"handler":"execute"`)
}

// Alive says whether this very process is still there; what waits to be reaped is
// not.
func (o Outside) Alive() bool {
	now, _, ok := look(o.PID)
	return ok && now.Born == o.Born
}

// look reads one process and its parent's pid.
func look(pid int) (o Outside, parent int, ok bool) {
	dir := "/proc/" + strconv.Itoa(pid)
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return o, 0, false
	}
	// The name stands in parentheses and may hold anything.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return o, 0, false
	}
	parent, _ = strconv.Atoi(fields[1])
	user, _ := strconv.ParseInt(fields[11], 10, 64)
	system, _ := strconv.ParseInt(fields[12], 10, 64)
	args, _ := os.ReadFile(dir + "/cmdline")
	name, spec, _ := strings.Cut(strings.TrimRight(string(args), "\x00"), "\x00")
	return Outside{pid, fields[19], name, spec, user + system}, parent, true
}

// Below lists what runs below a process, at any depth.
func Below(pid int) (out []Outside, err error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, fmt.Errorf("failed to list processes: %w", err)
	}
	all, parents := map[int]Outside{}, map[int]int{}
	for _, dir := range dirs {
		n, _ := strconv.Atoi(filepath.Base(dir))
		if o, parent, ok := look(n); ok {
			all[n], parents[n] = o, parent
		}
	}
	for n, o := range all {
		for up := parents[n]; up > 1; up = parents[up] {
			if up == pid {
				out = append(out, o)
				break
			}
		}
	}
	slices.SortFunc(out, func(a, b Outside) int { return a.PID - b.PID })
	return out, nil
}

// NeedBinary skips a test of what can only be done to a process of its own. The
// score card counts a skipped attack as one that did not pass.
func NeedBinary(t testing.TB) {
	t.Helper()
	if Binary() == "" {
		t.Skip("SANDGATE_BIN 未指定真实程序，无法对其发信号 · names no real program to send signals to")
	}
}

// Processes are those below the real program.
func (a *Arena) Processes(t testing.TB) []Outside {
	t.Helper()
	list, err := Below(a.proc.cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// Signal sends a signal to the processes below the real program that match, and
// returns them.
func (a *Arena) Signal(t testing.TB, sig syscall.Signal, match func(Outside) bool) (hit []Outside) {
	t.Helper()
	for _, o := range a.Processes(t) {
		if match(o) && syscall.Kill(o.PID, sig) == nil {
			hit = append(hit, o)
		}
	}
	return hit
}

// Kill ends the real program with SIGKILL, as the machine's memory killer would,
// and errs if anything below it outlives it by more than a few seconds. The home
// can be started again.
func (a *Arena) Kill() error {
	p := a.proc
	if p == nil {
		return errors.New("failed to kill the gateway: it is not running as a process of its own")
	}
	below, err := Below(p.cmd.Process.Pid)
	if err != nil {
		return err
	}
	a.proc = nil
	return errors.Join(p.kill(), a.hangUp(), gone(below, 10*time.Second))
}

// kill sends SIGKILL and waits.
func (p *process) kill() error {
	if err := p.cmd.Process.Kill(); err != nil {
		return fmt.Errorf("failed to kill the gateway: %w", err)
	}
	<-p.done
	return nil
}

// gone waits until none of the processes is left.
func gone(list []Outside, within time.Duration) error {
	for until := time.Now().Add(within); ; time.Sleep(2 * time.Millisecond) {
		left := slices.IndexFunc(list, Outside.Alive)
		if left < 0 {
			return nil
		}
		if time.Now().After(until) {
			return fmt.Errorf("process %d (%s) is still there %v after it should have ended", list[left].PID, list[left].Name, within)
		}
	}
}
