package attack

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"syscall"
	"time"

	"github.com/sandgate/sandgate/gateway"
)

// Binary is the real program that arenas run as a process of its own: what
// SANDGATE_BIN names, "" for none. Without it, and where a test reaches into the
// gateway (its clock, its seats, its workers), the same code serves inside the
// test's process.
func Binary() string { return os.Getenv("SANDGATE_BIN") }

// process is a running `sandgate serve`.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // readable once done is closed
}

// external says whether the command line can say these options.
func external(opt gateway.Options) bool {
	return opt.Now == nil && opt.Logger == nil && opt.Executable == "" && opt.Memory == 0 && opt.Heartbeat == 0 &&
		opt.SnapshotMemory%(1<<20) == 0 && (opt.Wall == 0 || opt.Wall >= time.Second)
}

var readyLine = regexp.MustCompile(`(?m)^(?:网关已就绪|gateway ready on) ([0-9.]+:[0-9]+)(?:，|, )`)

// serveArgs is the command line of options.
func serveArgs(dir string, opt gateway.Options) []string {
	tick := opt.Tick
	switch {
	case tick == 0:
		tick = 5 * time.Millisecond // a default one would slow every test
	case tick < 0:
		tick = 0
	}
	args := []string{"serve", "--home", dir, "--listen", "127.0.0.1:0", "--tick", tick.String()}
	for name, n := range map[string]int64{"jobs": int64(opt.Jobs), "jobs-per-operator": int64(opt.JobsPerOperator), "queue": int64(opt.Queue), "snapshot-memory": opt.SnapshotMemory >> 20} {
		if n != 0 {
			args = append(args, "--"+name, strconv.FormatInt(n, 10))
		}
	}
	if opt.Wall != 0 {
		args = append(args, "--wall", opt.Wall.String())
	}
	if opt.Tier != "" {
		args = append(args, "--isolation", string(opt.Tier))
	}
	return args
}

// launch serves the arena's home with the real program and waits until it is
// ready. env comes on top of this process's environment.
func (a *Arena) launch(opt gateway.Options, env ...string) error {
	return a.run(exec.Command(Binary(), serveArgs(a.Home.Dir, opt)...), env...)
}

// run starts a process that serves and waits until it is ready.
func (a *Arena) run(cmd *exec.Cmd, env ...string) error {
	p := &process{cmd: cmd, done: make(chan struct{})}
	from := len(a.Logs.String())
	p.cmd.Stdout, p.cmd.Stderr = a.Logs, a.Logs
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.WaitDelay = 5 * time.Second
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("failed to start the gateway: %w", err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	for until := time.Now().Add(90 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		said := a.Logs.String()[from:]
		if m := readyLine.FindStringSubmatch(said); m != nil {
			a.Addr, a.proc = m[1], p
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("gateway ended before it was ready: %w: %s", errors.Join(p.err, errors.New("see its words")), said)
		default:
		}
		if time.Now().After(until) {
			return errors.Join(fmt.Errorf("gateway was not ready in time: %s", said), p.cmd.Process.Kill())
		}
	}
}

// end stops the process in order.
func (p *process) end() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("failed to stop the gateway: %w", err)
	}
	select {
	case <-p.done:
		return p.err
	case <-time.After(time.Minute):
		return errors.Join(errors.New("the gateway did not stop in time"), p.cmd.Process.Kill())
	}
}
