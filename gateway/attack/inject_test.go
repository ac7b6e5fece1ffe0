package attack

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sandgate/sandgate/gateway"
)

// needTracer skips a test where no program can be traced. SANDGATE_NEED_STRACE, which
// continuous integration sets, makes that a failure.
func needTracer(t *testing.T) {
	t.Helper()
	out, err := exec.Command("strace", "-f", "-qq", "-o", os.DevNull, "-e", "inject=fsync:error=EIO:when=1", "true").CombinedOutput()
	if err == nil {
		return
	}
	said := fmt.Sprintf("STRACE CANNOT TRACE HERE (%v %s): no system call was made to fail; on Debian: apt-get install strace", err, strings.TrimSpace(string(out)))
	if os.Getenv("SANDGATE_NEED_STRACE") != "" {
		t.Fatal(said)
	}
	fmt.Fprintln(os.Stderr, "!! "+said)
	t.Skip(said)
}

// syscallFault lets system calls of a gateway fail: from its start, or once it runs.
type syscallFault struct {
	calls, how string
	when       int // which call of every thread; 0: every one
	start      bool
}

func (f syscallFault) String() string {
	at := "running"
	if f.start {
		at = "starting"
	}
	return fmt.Sprintf("%s %s of %s, %s", ordinal(f.when), f.how, f.calls, at)
}

func ordinal(n int) string {
	if n == 0 {
		return "every"
	}
	return "#" + strconv.Itoa(n)
}

func (f syscallFault) args(log string) []string {
	when := "1+"
	if f.when > 0 {
		when = strconv.Itoa(f.when)
	}
	return []string{"-f", "-qq", "-o", log, "-e", "trace=" + f.calls, "-e", "inject=" + f.calls + ":" + f.how + ":when=" + when}
}

// hit counts the calls that were made to fail, in a tracer's log.
func (f syscallFault) hit(log string) int {
	text, _ := os.ReadFile(log)
	if strings.HasPrefix(f.how, "signal") {
		return min(1, strings.Count(string(text), "(INJECTED")+strings.Count(string(text), "+++ killed by SIGKILL +++"))
	}
	return strings.Count(string(text), "(INJECTED)")
}

const (
	renames = "renameat,renameat2,rename"
	syncs   = "fsync,fdatasync"
	noSpace = "error=ENOSPC"
	ioError = "error=EIO"
	killed  = "signal=SIGKILL"
)

// sweep are the first writes of each kind. A write to a pipe that fails may end the
// Go runtime: that is a death like another.
var sweep = []syscallFault{
	{syncs, ioError, 1, false}, {syncs, ioError, 2, false}, {syncs, ioError, 0, false}, {syncs, killed, 2, false},
	{"pwrite64", noSpace, 1, false}, {"pwrite64", ioError, 0, false}, {"pwrite64", killed, 1, false},
	{renames, noSpace, 1, false}, {renames, ioError, 0, false}, {renames, killed, 2, false},
	{"openat", noSpace, 2, false}, {"openat", "error=EROFS", 0, false}, {"write", noSpace, 3, false}, {"write", killed, 4, false},
	{"unlinkat", ioError, 0, false}, {"mkdirat", noSpace, 0, false},
	{syncs, killed, 2, true}, {"pwrite64", noSpace, 1, true}, {renames, noSpace, 1, true}, {renames, killed, 1, true},
	{"ftruncate", ioError, 1, true}, {"ftruncate", killed, 1, true}, {"mkdirat", "error=EROFS", 1, true}, {"openat", "error=EROFS", 60, true},
}

// chance is any fault.
func chance(rng *rand.Rand) syscallFault {
	calls := []string{syncs, "pwrite64", renames, "openat", "write", "ftruncate", "unlinkat", "mkdirat"}
	hows := []string{noSpace, ioError, killed, "error=EROFS", "error=EDQUOT"}
	return syscallFault{calls[rng.IntN(len(calls))], hows[rng.IntN(len(hows))], rng.IntN(9), rng.IntN(3) == 0}
}

var broken = regexp.MustCompile(`(?m)^panic: |"msg":"panic"|DATA RACE`)

// gaveUp is how the log library ends the process when it cannot take its own lock: as
// by a kill, with the name of the file and nothing else.
var gaveUp = regexp.MustCompile(`(?m)^panic: open \S*/\.state/treeState\.lock: .*\n(?s:.{0,400})tessera/storage/posix\.\(\*appender\)\.sequenceBatch`)

// trace has a fault happen and brings the gateway up again; hits is how many calls
// failed.
func (x *faulted) trace(t *testing.T, f syscallFault) (hits int) {
	t.Helper()
	log := filepath.Join(x.a.Dir, "trace")
	if err := os.RemoveAll(log); err != nil {
		t.Fatal(err)
	}
	from := len(x.a.Logs.String())
	opt := gateway.Options{Wall: time.Second}
	up := false
	var tracer *exec.Cmd
	if f.start {
		err := x.a.run(exec.Command("strace", append(f.args(log), append([]string{Binary()}, serveArgs(x.a.Home.Dir, opt)...)...)...))
		if up = err == nil; !up && !strings.Contains(err.Error(), "ended before it was ready") {
			t.Fatalf("%s: %v", f, err)
		}
	} else {
		if err := x.a.launch(opt); err != nil {
			t.Fatal(err)
		}
		up = true
		tracer = exec.Command("strace", append(f.args(log), "-p", strconv.Itoa(x.a.proc.cmd.Process.Pid))...)
		if err := tracer.Start(); err != nil {
			t.Fatal(err)
		}
		traced := fmt.Sprintf("/proc/%d/status", x.a.proc.cmd.Process.Pid)
		for begin := time.Now(); time.Since(begin) < 10*time.Second; time.Sleep(5 * time.Millisecond) {
			if text, _ := os.ReadFile(traced); !strings.Contains(string(text), "TracerPid:\t0\n") {
				break
			}
		}
	}
	if up {
		ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
		for i := range 2 {
			if x.w.ask(ctx, x.w.fresh(Op(0), "plain")) && i == 0 {
				_ = work["ingest"](ctx, x)
			}
		}
		cancel()
		p := x.a.proc
		x.a.proc = nil
		below, err := Below(p.cmd.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		// The tracer is the parent of a gateway that was started by it.
		if err := syscall.Kill(p.cmd.Process.Pid, syscall.SIGKILL); err != nil && err != syscall.ESRCH {
			t.Fatal(err)
		}
		for _, o := range below {
			if f.start && o.Alive() {
				_ = syscall.Kill(o.PID, syscall.SIGKILL)
			}
		}
		<-p.done
		if err := gone(below, 10*time.Second); err != nil {
			t.Error(err)
		}
		if err := x.a.hangUp(); err != nil {
			t.Error(err)
		}
	}
	if tracer != nil {
		_ = tracer.Wait() // it ends with what it traces
	}
	if said := x.a.Logs.String()[from:]; broken.MatchString(said) && !gaveUp.MatchString(said) {
		t.Errorf("%s: the gateway breaks: %s", f, said)
	} else if !up && !strings.Contains(said, "failed to") && !strings.HasPrefix(f.how, "signal") && f.calls != "write" {
		t.Errorf("%s: the start fails and does not say why: %s", f, said)
	}
	if err := x.a.launch(opt); err != nil {
		t.Fatalf("%s: the gateway does not come up again: %v", f, err)
	}
	return f.hit(log)
}

// R29: system calls of the real program that write fail, by an error or with the
// process, while it starts and while operators work. Each time it comes up again as
// in TestR29_FaultAtEveryPoint.
func TestR29_SystemCallsFail(t *testing.T) {
	NeedBinary(t)
	needTracer(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(9, seed))
	all := sweep
	for range Trials(6, 150) {
		all = append(all, chance(rng))
	}
	const lanes = 3
	hits := make([]int, len(all))
	t.Run("all", func(t *testing.T) {
		for lane := range lanes {
			t.Run(fmt.Sprint(lane), func(t *testing.T) {
				t.Parallel()
				x := newFaulted(t)
				for i, f := range all {
					if i%lanes != lane {
						continue
					}
					begin := time.Now()
					hits[i] = x.trace(t, f)
					x.inspect(t, f.String())
					if err := x.a.Kill(); err != nil {
						t.Fatal(err)
					}
					if t.Logf("%s: %d hits, %v", f, hits[i], time.Since(begin).Round(time.Millisecond)); t.Failed() {
						t.Fatalf("stopped after %s", f)
					}
				}
			})
		}
	})
	met := map[string]int{}
	for i, f := range all {
		if hits[i] > 0 {
			met[f.calls]++
		}
	}
	t.Logf("%d faults, calls that failed: %v", len(all), met)
	for _, calls := range []string{syncs, "pwrite64", renames, "openat", "write", "ftruncate", "mkdirat"} {
		if met[calls] == 0 {
			t.Errorf("no %s ever failed: this proves little", calls)
		}
	}
}
