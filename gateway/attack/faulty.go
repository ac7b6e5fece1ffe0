package attack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/sandgate/sandgate/gateway"
	"github.com/sandgate/sandgate/gateway/home"
	"github.com/sandgate/sandgate/internal/durable"
)

// faultyHome makes this package's test binary a gateway on that home, whose steps on
// the disk fail as the file that faultyPlan names says. The real program has no way
// to be told that.
const faultyHome, faultyPlan = "SANDGATE_FAULTY_HOME", "SANDGATE_FAULTY_PLAN"

// errFaulty is what a step fails with.
var errFaulty = errors.New("injected failure of the disk")

// Faulty serves, in a process that was started for it, a home whose disk fails; else
// it returns at once. It is to be called after sandbox.Main.
func Faulty() {
	dir := os.Getenv(faultyHome)
	if dir == "" {
		return
	}
	if err := serveFaulty(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func serveFaulty(dir string) error {
	durable.Inject(planned(os.Getenv(faultyPlan)))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	h, err := home.Open(dir)
	if err != nil {
		return err
	}
	d, err := gateway.OpenDomain(ctx, h, gateway.Options{Tick: 5 * time.Millisecond, Wall: time.Second, Memory: 512 << 20, Heartbeat: 300 * time.Millisecond,
		Logger: slog.New(slog.NewJSONHandler(os.Stderr, nil))})
	if err != nil {
		return err
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return errors.Join(err, d.Close(context.Background()))
	}
	fmt.Printf("gateway ready on %s, faulty\n", lis.Addr())
	err = gateway.Serve(ctx, d, lis)
	return errors.Join(err, d.Close(context.Background()))
}

// planned reads the plan anew at every step, so that a running gateway can be given
// another one. A line is a failure point and "fail" or "die"; it counts once.
func planned(file string) durable.Fault {
	var mu sync.Mutex
	return func(point string) error {
		mu.Lock()
		defer mu.Unlock()
		text, err := os.ReadFile(file)
		if err != nil {
			return nil
		}
		for line := range strings.Lines(string(text)) {
			name, what, _ := strings.Cut(strings.TrimSpace(line), " ")
			if name != point {
				continue
			}
			if err := os.WriteFile(file, []byte(strings.Replace(string(text), line, "", 1)), 0o600); err != nil {
				return err
			}
			if what == "die" {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			}
			return errFaulty
		}
		return nil
	}
}

// StartFaulty serves the arena's home by this test binary in a process of its own,
// the steps of which fail as Fail says.
func (a *Arena) StartFaulty() error {
	return a.run(exec.Command(os.Args[0]), faultyHome+"="+a.Home.Dir, faultyPlan+"="+a.plan())
}

func (a *Arena) plan() string { return filepath.Join(a.Dir, "faults") }

// Fail makes steps of the next or the running faulty gateway fail: lines of a point,
// a blank, and "fail" or "die".
func (a *Arena) Fail(lines ...string) error {
	tmp := a.plan() + ".tmp"
	return errors.Join(os.WriteFile(tmp, []byte(strings.Join(lines, "\n")+"\n"), 0o600), os.Rename(tmp, a.plan()))
}

// Failed says whether every planned failure has come.
func (a *Arena) Failed() bool {
	text, _ := os.ReadFile(a.plan())
	return strings.TrimSpace(string(text)) == ""
}
