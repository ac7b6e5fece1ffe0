package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// gVisor is runsc if this machine has it.
func gVisor(t *testing.T) (runsc, bin string) {
	t.Helper()
	runsc = os.Getenv("SANDGATE_RUNSC")
	if runsc == "" {
		runsc, _ = exec.LookPath("runsc")
	}
	bin = os.Getenv("SANDGATE_BIN")
	if runsc == "" || bin == "" {
		t.Skip("GVISOR NOT TESTED: needs runsc in PATH or SANDGATE_RUNSC, and SANDGATE_BIN")
	}
	if !filepath.IsAbs(bin) {
		bin = filepath.Join("..", bin)
	}
	return runsc, bin
}

// shown is a directory that an ordinary user can reach, unlike t.TempDir.
func shown(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sandgate-gvisor-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// bundle writes what runsc needs for one worker: a root with nothing but the
// binary, no capability, no mount, no network.
func bundle(t *testing.T, bin, handler string, set layer) string {
	t.Helper()
	dir := shown(t)
	raw, err := os.ReadFile(bin)
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(dir, "rootfs")
	if err := errors.Join(os.Mkdir(root, 0o755), os.WriteFile(filepath.Join(root, workerName), raw, 0o755)); err != nil {
		t.Fatal(err)
	}
	spec, err := json.Marshal(jailSpec{Handler: handler, Layers: set})
	if err != nil {
		t.Fatal(err)
	}
	config, err := json.Marshal(map[string]any{
		"ociVersion": "1.0.0", "hostname": "worker",
		"root": map[string]any{"path": "rootfs", "readonly": true},
		"process": map[string]any{
			// argv[0] makes it a worker; the search path finds the file.
			"args": []string{workerName, string(spec)}, "env": append(workerEnv(), "PATH=/"), "cwd": "/",
			"user": map[string]any{"uid": nobody, "gid": nobody}, "noNewPrivileges": true, "capabilities": map[string]any{},
			"rlimits": []any{map[string]any{"type": "RLIMIT_CORE", "hard": 0, "soft": 0}, map[string]any{"type": "RLIMIT_FSIZE", "hard": 0, "soft": 0}},
		},
		"linux": map[string]any{"namespaces": []any{
			map[string]any{"type": "pid"}, map[string]any{"type": "network"}, map[string]any{"type": "ipc"}, map[string]any{"type": "uts"}, map[string]any{"type": "mount"},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), config, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// startUnderGVisor runs one worker of the real binary in runsc and returns it
// once it is ready.
func startUnderGVisor(t *testing.T, runsc, bin, handler string, set layer) *process {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	own, its := os.NewFile(uintptr(pair[0]), "control"), os.NewFile(uintptr(pair[1]), "control")
	id := "sandgate-test-" + strconv.Itoa(os.Getpid()) + "-" + handler
	state := shown(t)
	flags := []string{"--root", state, "--network=none", "--ignore-cgroups", "--rootless"}
	cmd := exec.Command(runsc, append(flags, "run", "--bundle", bundle(t, bin, handler, set), "--pass-fd", "3:3", "--pass-fd", "4:4", id)...)
	// An ordinary user needs no more; as root it would leave mounts behind.
	attr := &syscall.SysProcAttr{}
	if os.Getuid() == 0 {
		attr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
		if err := os.Chown(state, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	cmd.SysProcAttr = attr
	cmd.ExtraFiles, cmd.WaitDelay = []*os.File{its, w}, 5*time.Second
	out := &capped{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = its.Close()
	_ = w.Close()
	t.Cleanup(func() {
		_ = own.Close()
		_ = r.Close()
		kill := exec.Command(runsc, append(flags, "delete", "--force", id)...)
		kill.SysProcAttr = attr
		_ = kill.Run()
		_ = cmd.Wait()
	})
	_ = r.SetReadDeadline(time.Now().Add(startTimeout))
	frame, err := ReadFrame(r, 4096)
	if err != nil || string(frame) != string(rune(kindReady)) {
		t.Fatalf("not ready: %q, %v\n%s", frame, err, out)
	}
	return &process{pid: cmd.Process.Pid, control: own, result: r}
}

// TestWorkerUnderGVisor: the recipe of docs/sandbox.md. The binary's own query
// worker, sealed with its filter, answers from a snapshot handed over as a
// descriptor, on gVisor's kernel instead of the host's.
func TestWorkerUnderGVisor(t *testing.T) {
	runsc, bin := gVisor(t)
	p, err := newPool(Config{Executable: bin, Limits: benchLimits})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	snapshot := benchSnapshot(t, p, 3000)
	again, err := os.Open(procOf(os.Getpid(), "fd/"+strconv.Itoa(int(snapshot.Fd()))))
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	answer := func(ask func(payload []byte, recv func([]byte) error) error) string {
		t.Helper()
		payload, err := json.Marshal(map[string]any{"sql": "SELECT a AS k0, COUNT(*) AS m0, SUM(n) AS m1 FROM d0.main.t WHERE _rn <= 6 GROUP BY ALL ORDER BY k0",
			"schema": map[string]any{"keys": []any{map[string]any{"kind": "int"}}, "measures": 2, "max_cells": 1000}})
		if err != nil {
			t.Fatal(err)
		}
		var got []byte
		if err := ask(payload, readAll(&got)); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%x", got)
	}
	want := answer(func(payload []byte, recv func([]byte) error) error {
		return p.Run(context.Background(), Job{Handler: executeHandler, Payload: payload, Files: []*os.File{again}}, recv)
	})
	begin := time.Now()
	proc := startUnderGVisor(t, runsc, bin, executeHandler, layerSeccomp)
	t.Logf("READY under gVisor after %v", time.Since(begin))
	got := answer(func(payload []byte, recv func([]byte) error) error {
		if err := proc.send(payload, []*os.File{again}, benchLimits); err != nil {
			return err
		}
		for {
			frame, err := ReadFrame(proc.result, MaxFrame)
			if err != nil || len(frame) == 0 {
				return fmt.Errorf("no answer: %w", err)
			}
			switch frame[0] {
			case kindData:
				if err := recv(frame[1:]); err != nil {
					return err
				}
			case kindEnd:
				return nil
			default:
				return fmt.Errorf("frame %q", frame[:1])
			}
		}
	})
	if got != want || len(want) < 100 {
		t.Errorf("gVisor answers something else (%d and %d bytes)", len(got)/2, len(want)/2)
	}
}
