package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// partner is the process of a node.
type partner struct {
	cmd  *exec.Cmd
	said *said
	over chan struct{}
}

// said keeps what a process says and tells when a word comes.
type said struct {
	mu    sync.Mutex
	text  bytes.Buffer
	until string
	found chan struct{}
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text.Write(p)
	if s.until != "" && strings.Contains(s.text.String(), s.until) {
		s.until = ""
		close(s.found)
	}
	return len(p), nil
}

func (s *said) all() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// start runs the node of a party as a process of its own.
func (f *federation) start(ctx context.Context, party string) error {
	exe, err := os.Executable()
	if err != nil {
		return texts.Errorf("failed to find the program: %w", err)
	}
	n := &partner{said: &said{until: "ready", found: make(chan struct{})}, over: make(chan struct{})}
	n.cmd = exec.CommandContext(context.WithoutCancel(ctx), exe, "node", "--lang", "en", "--home", filepath.Join(f.dir, party, "home"), "--kit", f.hub.kitDir(party),
		"--isolation", f.o.tier, "--snapshot-memory", "256", "--tick", demoTick.String())
	n.cmd.Stdout, n.cmd.Stderr = n.said, n.said
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for the demo
	n.cmd.WaitDelay = 5 * time.Second
	if err := n.cmd.Start(); err != nil {
		return texts.Errorf("failed to start a node: %w", err)
	}
	found := n.said.found
	go func() { defer close(n.over); n.cmd.Wait() }()
	select {
	case <-found:
		f.nodes[party] = n
		return nil
	case <-n.over:
		return texts.Errorf("the node of %s ended before it was ready: %s", party, n.said.all())
	case <-time.After(time.Minute):
		return errors.Join(texts.Errorf("the node of %s was not ready in time", party), n.cmd.Process.Kill())
	}
}

// startAll runs the nodes of parties.
func (f *federation) startAll(ctx context.Context, parties ...string) error {
	for _, p := range parties {
		if err := f.start(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// stop ends the process of a node by a signal.
func (f *federation) stop(party string, sig os.Signal) error {
	n := f.nodes[party]
	delete(f.nodes, party)
	if err := n.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return texts.Errorf("failed to stop a node: %w", err)
	}
	select {
	case <-n.over:
		return nil
	case <-time.After(30 * time.Second):
		return errors.Join(texts.Errorf("the node of %s did not end", party), n.cmd.Process.Kill())
	}
}

// end stops every node that still runs.
func (f *federation) end() (err error) {
	for p := range f.nodes {
		err = errors.Join(err, f.stop(p, syscall.SIGTERM))
	}
	return err
}
