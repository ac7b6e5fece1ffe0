package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sandgate/sandgate/cmd/sandgate/internal/city"
	"github.com/sandgate/sandgate/gateway/home"
)

// root is the repository, seen from this package.
var root = func() string {
	dir, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		panic(err)
	}
	return dir
}()

// residents of the city that the tests ingest.
const residents = 2000

// binary is the program under test: the real one, as the Makefile builds it.
var binary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		scratch, err := os.MkdirTemp("", "sandgate-test-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(scratch)
		if binary, err = realBinary(scratch); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		if err := os.Setenv("PATH", filepath.Dir(binary)+string(os.PathListSeparator)+os.Getenv("PATH")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		template.dir = filepath.Join(scratch, "city")
		return m.Run()
	}())
}

// realBinary builds the program, or takes the one that SANDGATE_BIN names.
func realBinary(scratch string) (string, error) {
	out := filepath.Join(scratch, "bin", "sandgate")
	if err := os.MkdirAll(filepath.Dir(out), 0o700); err != nil {
		return "", err
	}
	if given := os.Getenv("SANDGATE_BIN"); given != "" {
		path := given // relative to the repository, where make is run
		if !filepath.IsAbs(path) {
			path = filepath.Join(root, path)
		}
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("SANDGATE_BIN: %w", err)
		}
		return out, os.Symlink(path, out)
	}
	build := exec.Command("go", "build", "-tags", "netgo osusergo landlocktsync", "-ldflags", `-s -w -linkmode external -extldflags "-static"`, "-o", out, ".")
	if text, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("failed to build sandgate: %w\n%s", err, text)
	}
	return out, nil
}

// serving is one running `sandgate serve`.
type serving struct {
	cmd  *exec.Cmd
	addr string
	done chan struct{} // closed when the process has ended
	err  error         // readable once done is closed
}

// logbook appends to a file and watches for the line that names the address.
type logbook struct {
	mu    sync.Mutex
	file  *os.File
	seen  bytes.Buffer
	found bool
	addr  chan string
}

var readyLine = regexp.MustCompile(`(?m)^(?:网关已就绪|gateway ready on) ([0-9.]+:[0-9]+)(?:，|, )`)

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	// Whoever waits for the address finds the line in the file.
	n, err := l.file.Write(p)
	if !l.found {
		l.seen.Write(p)
		if m := readyLine.FindSubmatch(l.seen.Bytes()); m != nil {
			l.found = true
			l.addr <- string(m[1])
		}
	}
	return n, err
}

// serve starts the gateway of a home on a free loopback port and waits until it
// is ready. Its standard error goes to the end of log. Ticks are short, to keep the
// stories so; a flag in args comes last and counts.
func serve(env []string, dir, homeDir, log string, args ...string) (*serving, error) {
	f, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	book := &logbook{file: f, addr: make(chan string, 1)}
	s := &serving{done: make(chan struct{})}
	s.cmd = exec.Command(binary, append([]string{"serve", "--home", homeDir, "--listen", "127.0.0.1:0", "--tick", "20ms"}, args...)...)
	s.cmd.Env, s.cmd.Dir, s.cmd.Stdout, s.cmd.Stderr = env, dir, book, book
	// Workers that outlive a killed gateway would hold the pipe open.
	s.cmd.WaitDelay = 5 * time.Second
	if err := s.cmd.Start(); err != nil {
		f.Close()
		return nil, err
	}
	go func() {
		s.err = s.cmd.Wait()
		f.Close()
		close(s.done)
	}()
	select {
	case s.addr = <-book.addr:
		return s, nil
	case <-s.done:
		return nil, fmt.Errorf("gateway ended before it was ready: %w\n%s", s.err, book.seen.String())
	case <-time.After(60 * time.Second):
		s.cmd.Process.Kill()
		<-s.done
		return nil, fmt.Errorf("gateway was not ready in time\n%s", book.seen.String())
	}
}

// end sends a signal and waits for the process and its workers to be gone.
func (s *serving) end(sig os.Signal) error {
	children := childrenOf(s.cmd.Process.Pid)
	if err := s.cmd.Process.Signal(sig); err != nil {
		return err
	}
	select {
	case <-s.done:
	case <-time.After(30 * time.Second):
		s.cmd.Process.Kill()
		<-s.done
		return fmt.Errorf("gateway did not end on %v", sig)
	}
	if sig != os.Kill && s.err != nil {
		return fmt.Errorf("gateway ended badly on %v: %w", sig, s.err)
	}
	// A worker without its gateway would still hold a snapshot open.
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		var left []string
		for pid, start := range children {
			if start != "" && startOf(pid) == start {
				name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
				left = append(left, fmt.Sprintf("%d %q", pid, name))
			}
		}
		if len(left) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d of %d workers outlived their gateway: %v", len(left), len(children), left)
		}
	}
}

// childrenOf maps the direct children of a process to their start times, which
// tell a process from a later one with the same number.
func childrenOf(pid int) map[int]string {
	out := map[int]string{}
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, t := range tasks {
		text, _ := os.ReadFile(t)
		for _, f := range strings.Fields(string(text)) {
			var child int
			if _, err := fmt.Sscan(f, &child); err == nil {
				out[child] = startOf(child)
			}
		}
	}
	return out
}

func startOf(pid int) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 20 || fields[0] == "Z" {
		return ""
	}
	return fields[19]
}

// template is a stopped city home, made once by the program itself and copied
// for every test that begins after ingest.
var template struct {
	once sync.Once
	dir  string
	err  error
}

// cityTemplate returns a directory with home, kits and bundles of the demo city:
// all data sets ingested, all licences in force.
func cityTemplate() (string, error) {
	template.once.Do(func() { template.err = makeCity(template.dir) })
	return template.dir, template.err
}

// copyCity lays a copy of the template into a directory.
func copyCity(to string) error {
	dir, err := cityTemplate()
	if err != nil {
		return err
	}
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		return err
	}
	// CopyFS takes no permission bits over but x; the unlock key must be its
	// owner's alone.
	return errors.Join(os.Chmod(filepath.Join(to, "home", "unlock.key"), 0o600), os.Remove(filepath.Join(to, "gateway.log")))
}

func makeCity(dir string) (err error) {
	if err := os.MkdirAll(filepath.Join(dir, "tmp"), 0o700); err != nil {
		return err
	}
	env := append(os.Environ(), "TMPDIR="+filepath.Join(dir, "tmp"), "LANG=C")
	run := func(args ...string) error {
		c := exec.Command(binary, args...)
		c.Dir, c.Env = dir, env
		if out, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("sandgate %s: %w\n%s", strings.Join(args, " "), err, out)
		}
		return nil
	}
	if err := run("init", "--home", "home", "--regulator", "data_bureau", "--kit-out", "kits/data_bureau"); err != nil {
		return err
	}
	departments := []string{"public_security", "civil_affairs", "hrss", "housing_fund_centre", "natural_resources", "market_regulation", "health"}
	for _, p := range append([]string{"alpha", "beta"}, departments...) {
		if err := run("party", "create", "--home", "home", "--id", p, "--out", "kits/"+p); err != nil {
			return err
		}
	}
	s, err := serve(env, dir, "home", filepath.Join(dir, "gateway.log"))
	if err != nil {
		return err
	}
	defer func() {
		if s != nil {
			s.end(os.Kill)
		}
	}()
	env = append(env, "SANDGATE_SERVER="+s.addr)
	publish := func(name string, signers ...string) error {
		if err := placed(filepath.Join(root, "testdata", "city", name+".yaml"), filepath.Join(dir, filepath.Base(name)+".yaml"), filepath.Join(dir, "kits")); err != nil {
			return err
		}
		file := filepath.Base(name) + ".yaml"
		for _, p := range signers {
			if err := run("policy", "sign", file, "--kit", "kits/"+p); err != nil {
				return err
			}
		}
		return run("policy", "apply", file+".dsse", "--kit", "kits/"+signers[0])
	}
	if err := publish("registry", "data_bureau"); err != nil {
		return err
	}
	for _, p := range departments {
		if err := publish(p, p); err != nil {
			return err
		}
	}
	for name, signers := range map[string][]string{
		"alpha-2026": {"data_bureau", "public_security", "hrss", "housing_fund_centre", "health", "civil_affairs"},
		"beta-2026":  {"data_bureau", "market_regulation", "natural_resources", "hrss", "civil_affairs"},
	} {
		if err := publish("licences/"+name, signers...); err != nil {
			return err
		}
	}
	for _, t := range city.Tables() {
		file := filepath.Join(dir, t.Name+".csv")
		if err := writeTable(t.Name, file, residents); err != nil {
			return err
		}
		if err := run("ingest", file, "--dataset", t.Name, "--kit", "kits/"+t.Department); err != nil {
			return err
		}
	}
	err = s.end(os.Interrupt)
	s = nil
	return err
}

// writeTable writes a raw table of the city.
func writeTable(name, file string, residents int) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := city.New(city.Config{Seed: 7, Residents: residents}).Write(name, f); err != nil {
		return err
	}
	return f.Close()
}

var keyPlace = regexp.MustCompile(`@KEY:([a-z_]+)`)

// placed copies a policy file with the public keys of the kits in the place of
// @KEY:party, and with terms of licences that hold whenever the test is run.
func placed(from, to, kits string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	var missing error
	out := keyPlace.ReplaceAllStringFunc(string(text), func(m string) string {
		key, err := publicKey(filepath.Join(kits, keyPlace.FindStringSubmatch(m)[1]))
		if err != nil {
			missing = err
		}
		return key
	})
	year := time.Now().UTC().Year()
	out = strings.NewReplacer("2026-01-01T", fmt.Sprintf("%d-01-01T", year), "2030-12-31T", fmt.Sprintf("%d-12-31T", year+4)).Replace(out)
	if missing != nil {
		return missing
	}
	return os.WriteFile(to, []byte(out), 0o600)
}

// publicKey is the public half of a kit's signing key, as the registry wants it.
func publicKey(kit string) (string, error) {
	k, err := home.OpenKit(kit)
	if err != nil {
		return "", err
	}
	sign, err := k.SigningKey()
	if err != nil {
		return "", err
	}
	return home.PublicOf(sign)
}
