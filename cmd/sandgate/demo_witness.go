package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/sandgate/sandgate/gateway"
	"github.com/sandgate/sandgate/ledger/witness/witnessd"
)

// watching is the demo's witness, a process of its own as the regulator would run it
// on a machine of its own.
type watching struct {
	key, url string
	cmd      *exec.Cmd
}

var witnessReady = regexp.MustCompile(`http://[0-9.:]+`)

// watch makes a witness for the stage's ledger and starts it.
func (s *stage) watch(ctx context.Context, regulator string) (w *watching, err error) {
	dir := filepath.Join(s.dir, "witness")
	if err := witnessd.Create(dir, strings.ReplaceAll(regulator, "_", "-")+".example/witness"); err != nil {
		return nil, err
	}
	_, logKey, err := gateway.LogVerifier(s.home.Config.Origin, s.keys.Log)
	if err != nil {
		return nil, err
	}
	v, err := note.NewVerifier(logKey)
	if err != nil {
		return nil, texts.Errorf("failed to read the log's key: %w", err)
	}
	h, err := witnessd.Open(dir)
	if err != nil {
		return nil, err
	}
	w = &watching{key: h.Key()}
	if err := errors.Join(h.Add(v.Name(), logKey), h.Close()); err != nil {
		return nil, err
	}
	exe, err := os.Executable()
	if err != nil {
		return nil, texts.Errorf("failed to find the program: %w", err)
	}
	// Ends with its own signal, after the gateway's last checkpoint.
	w.cmd = exec.CommandContext(context.WithoutCancel(ctx), exe, "witness", "serve", "--home", dir, "--listen", "127.0.0.1:0")
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for the demo
	said, err := w.cmd.StderrPipe()
	if err != nil {
		return nil, texts.Errorf("failed to start the witness: %w", err)
	}
	if err := w.cmd.Start(); err != nil {
		return nil, texts.Errorf("failed to start the witness: %w", err)
	}
	ready := make(chan string, 1)
	go func() {
		lines := bufio.NewScanner(said)
		for lines.Scan() {
			if u := witnessReady.FindString(lines.Text()); u != "" {
				select {
				case ready <- u:
				default:
				}
			}
		}
		close(ready)
	}()
	select {
	case u, ok := <-ready:
		if !ok {
			return nil, errors.Join(texts.Errorf("the witness ended before it was ready"), w.stop())
		}
		w.url = u
		return w, nil
	case <-time.After(30 * time.Second):
		return nil, errors.Join(texts.Errorf("the witness was not ready in time"), w.stop())
	}
}

// stop ends the process.
func (w *watching) stop() error {
	if err := w.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return texts.Errorf("failed to stop the witness: %w", err)
	}
	if err := w.cmd.Wait(); err != nil {
		return texts.Errorf("the witness ended badly: %w", err)
	}
	return nil
}

// policy is the regulator's word that this witness cosigns every checkpoint, and that
// answers from level 3 on wait for it.
func (w *watching) policy(regulator string) string {
	return fmt.Sprintf("kind: WitnessPolicy\nquorum: 1\nfrom_level: 3\nwitnesses:\n  - {by: %s, key: %q, url: %q}\n", regulator, w.key, w.url)
}
