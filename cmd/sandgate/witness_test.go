package main

import (
	"bufio"
	"os/exec"
	"regexp"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// watcher start NAME HOME [URL] | kill NAME | stop NAME runs a witness. start sets
// WITNESS_NAME to its URL; with a URL it listens there again.
func cmdWatcher(ts *testscript.TestScript, neg bool, a []string) {
	noNeg(ts, neg)
	args(ts, a, "watcher start NAME HOME [URL] | kill NAME | stop NAME", 2, 4)
	p := playingOf(ts)
	if p.watchers == nil {
		p.watchers = map[string]*watching{}
	}
	w := p.watchers[a[1]]
	switch {
	case a[0] == "start" && w == nil:
		listen := "127.0.0.1:0"
		if len(a) == 4 {
			listen = strings.TrimPrefix(a[3], "http://")
		}
		w = &watching{cmd: exec.Command(binary, "witness", "serve", "--home", ts.MkAbs(a[2]), "--listen", listen)}
		w.cmd.Env = environ(ts)
		said, err := w.cmd.StderrPipe()
		ts.Check(err)
		ts.Check(w.cmd.Start())
		p.watchers[a[1]] = w
		ts.Defer(func() {
			if p.watchers[a[1]] == w {
				w.cmd.Process.Kill()
				w.cmd.Wait()
			}
		})
		ready := make(chan string, 1)
		go func() {
			var all []string
			for lines := bufio.NewScanner(said); lines.Scan(); {
				all = append(all, lines.Text())
				if u := witnessReady.FindString(lines.Text()); u != "" && len(ready) == 0 {
					ready <- u
				}
			}
			select {
			case ready <- "ended: " + strings.Join(all, "\n"):
			default:
			}
		}()
		select {
		case u := <-ready:
			if !strings.HasPrefix(u, "http://") {
				ts.Fatalf("the witness %s", u)
			}
			ts.Setenv("WITNESS_"+a[1], u)
		case <-time.After(30 * time.Second):
			ts.Fatalf("the witness was not ready in time")
		}
	case a[0] == "kill" && w != nil:
		delete(p.watchers, a[1])
		ts.Check(w.cmd.Process.Kill())
		w.cmd.Wait() // killed: that is no error
	case a[0] == "stop" && w != nil:
		delete(p.watchers, a[1])
		ts.Check(w.stop())
	default:
		ts.Fatalf("watcher %s %s: not now", a[0], a[1])
	}
}

// until PATTERN PROGRAM ARG... runs a program again and again, whatever its exit code,
// until what it prints matches.
func cmdUntil(ts *testscript.TestScript, neg bool, a []string) {
	noNeg(ts, neg)
	args(ts, a, "until PATTERN PROGRAM [ARG...]", 2, -1)
	want, err := regexp.Compile(a[0])
	ts.Check(err)
	for begin := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		_ = ts.Exec(a[1], a[2:]...) // what it prints counts
		if want.MatchString(ts.ReadFile("stdout")) {
			return
		}
		if time.Since(begin) > 30*time.Second {
			ts.Fatalf("never printed %q:\n%s%s", a[0], ts.ReadFile("stdout"), ts.ReadFile("stderr"))
		}
	}
}
