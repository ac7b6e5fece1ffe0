package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/google/uuid"
	"github.com/rogpeppe/go-internal/testscript"
)

// shot is one submission of a barrage.
type shot struct {
	id, sql, purpose, price string
	code                    int
	file                    string // standard output: the release as JSON
}

// shooting submits jobs one after another, several at a time, until stopped.
type shooting struct {
	dir  string
	env  []string
	stop chan struct{}
	wg   sync.WaitGroup

	mu    sync.Mutex
	shots []*shot
	acked int
}

func (b *shooting) submit(s *shot) (out, errOut []byte, code int, err error) {
	c := exec.Command(binary, "job", "submit", s.sql, "--licence", "alpha-2026", "--purpose", s.purpose,
		"--kit", "kits/alpha", "--price", s.price, "--request-id", s.id, "-o", "json")
	var stdout, stderr bytes.Buffer
	c.Dir, c.Env, c.Stdout, c.Stderr = b.dir, b.env, &stdout, &stderr
	err = c.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return stdout.Bytes(), stderr.Bytes(), exit.ExitCode(), nil
	}
	return stdout.Bytes(), stderr.Bytes(), 0, err
}

func (b *shooting) shoot(worker int) {
	for n := 0; ; n++ {
		select {
		case <-b.stop:
			return
		default:
		}
		s := &shot{id: uuid.NewString(), purpose: "urban_planning", price: "0.0001", sql: fmt.Sprintf("SELECT COUNT(*) AS n FROM social_insurance WHERE base_yuan > %d", 1000+1000*worker+n)}
		out, _, code, err := b.submit(s)
		if err != nil {
			code = -1
		}
		s.code, s.file = code, filepath.Join(b.dir, "shots", s.id+".json")
		if code == 0 {
			if err := os.WriteFile(s.file, out, 0o600); err != nil {
				s.code = -1
			}
		}
		b.mu.Lock()
		b.shots = append(b.shots, s)
		if s.code == 0 {
			b.acked++
		}
		b.mu.Unlock()
	}
}

// barrage start N: submits jobs until the gateway is killed; returns when at
// least N were acknowledged. barrage stop: waits for the submitters. barrage
// retry: submits every one again under its own request id and checks that an
// acknowledged answer is the very same, and that the ledger was debited once for
// each. barrage orphan: kills the gateway between the reservation and the release
// of a job that takes the last of its budget; barrage settle: wants its answer on
// retry, at the price once paid. barrage audit DIR: audits a ledger copy with the receipt of each.
func cmdBarrage(ts *testscript.TestScript, neg bool, a []string) {
	noNeg(ts, neg)
	args(ts, a, "barrage start N | stop | retry | orphan | settle | audit DIR", 1, 2)
	p := playingOf(ts)
	switch a[0] {
	case "start":
		want, err := strconv.Atoi(a[1])
		ts.Check(err)
		b := &shooting{dir: ts.MkAbs("."), env: environ(ts), stop: make(chan struct{})}
		ts.Check(os.MkdirAll(filepath.Join(b.dir, "shots"), 0o700))
		p.shots = b
		var once sync.Once
		ts.Defer(func() { once.Do(func() { b.halt() }) })
		for w := range 2 {
			b.wg.Go(func() { b.shoot(w) })
		}
		for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(2 * time.Millisecond) {
			b.mu.Lock()
			n := b.acked
			b.mu.Unlock()
			if n >= want {
				return
			}
			if time.Now().After(deadline) {
				ts.Fatalf("only %d jobs were answered in time", n)
			}
		}
	case "stop":
		p.shots.halt()
		lost := 0
		for _, s := range p.shots.shots {
			switch s.code {
			case exitOK:
			case exitUnavailable:
				lost++
			default:
				ts.Fatalf("a submission ended with code %d", s.code)
			}
		}
		if lost == 0 {
			ts.Fatalf("the gateway was killed between jobs, none was interrupted")
		}
	case "retry":
		p.shots.retry(ts)
	case "audit":
		p.shots.audit(ts, a[1])
	case "orphan":
		p.shots.env = environ(ts)
		p.orphan = p.shots.snipe(ts, p)
	case "settle":
		p.shots.env = environ(ts)
		out, problem, code, err := p.shots.submit(p.orphan)
		ts.Check(err)
		if code != 0 {
			ts.Fatalf("the orphaned job was paid for and not answered: code %d\n%s", code, problem)
		}
		price, err := field(out, "priceNanoRho")
		ts.Check(err)
		if spent := p.shots.spent(ts, "visits"); spent != rhoText(ts, price) {
			ts.Fatalf("spent %s, the orphaned job cost %v", spent, price)
		}
	default:
		ts.Fatalf("unknown barrage command %q", a[0])
	}
}

// rhoText renders a price that stands in JSON.
func rhoText(ts *testscript.TestScript, price any) string {
	n, err := strconv.ParseInt(fmt.Sprint(price), 10, 64)
	ts.Check(err)
	return rho(n)
}

// snipe spends the whole budget of a data set in one job and kills the gateway
// between the reservation and the release.
func (b *shooting) snipe(ts *testscript.TestScript, p *playing) *shot {
	s := &shot{
		id: uuid.NewString(), purpose: "public_health", price: "0.0044",
		sql: "SELECT diagnosis, COUNT(*) AS n, SUM(fee_yuan) AS fees FROM visits GROUP BY diagnosis",
	}
	wal := filepath.Join(b.dir, "home", "ledger", "wal.log")
	before, err := os.Stat(wal)
	ts.Check(err)
	ended := make(chan int, 1)
	go func() {
		_, _, code, _ := b.submit(s)
		ended <- code
	}()
	for deadline := time.Now().Add(30 * time.Second); ; {
		now, err := os.Stat(wal)
		ts.Check(err)
		if now.Size() > before.Size() {
			// Frozen at once: ending it takes longer than the job might.
			ts.Check(p.gateway.cmd.Process.Signal(syscall.SIGSTOP))
			break
		}
		if time.Now().After(deadline) {
			ts.Fatalf("no reservation in time")
		}
	}
	gateway := p.gateway
	p.gateway = nil
	ts.Check(gateway.end(os.Kill))
	if code := <-ended; code != exitUnavailable {
		ts.Fatalf("the job ended with code %d before the gateway was killed", code)
	}
	return s
}

func (b *shooting) halt() {
	select {
	case <-b.stop:
	default:
		close(b.stop)
	}
	b.wg.Wait()
}

func (b *shooting) retry(ts *testscript.TestScript) {
	b.env = environ(ts) // the gateway has another address now
	total := int64(0)
	for _, s := range b.shots {
		again, problem, code, err := b.submit(s)
		ts.Check(err)
		if code != 0 {
			ts.Fatalf("retry of request %s ended with code %d\n%s", s.id, code, problem)
		}
		if s.code == 0 {
			for _, part := range []string{"name", "rows", "digest", "receipt"} {
				was, err := field([]byte(ts.ReadFile(s.file)), part)
				ts.Check(err)
				is, err := field(again, part)
				ts.Check(err)
				if fmt.Sprint(was) != fmt.Sprint(is) {
					ts.Fatalf("%s of an acknowledged job changed after the crash:\n%v\n%v", part, was, is)
				}
			}
		} else {
			ts.Check(os.WriteFile(s.file, again, 0o600))
		}
		price, err := field(again, "priceNanoRho")
		ts.Check(err)
		n, err := strconv.ParseInt(fmt.Sprint(price), 10, 64)
		ts.Check(err)
		total += n
	}
	if total == 0 {
		ts.Fatalf("nothing was charged")
	}
	if spent := b.spent(ts, "social_insurance"); spent != rho(total) {
		ts.Fatalf("spent %s, but %d jobs cost %s: something was charged twice or not at all", spent, len(b.shots), rho(total))
	}
}

// spent is what the operator has spent of a data set this year.
func (b *shooting) spent(ts *testscript.TestScript, dataset string) string {
	c := exec.Command(binary, "budget", "show", "alpha-2026", "--kit", "kits/alpha", "-o", "json", "--lang", "en")
	c.Dir, c.Env = b.dir, b.env
	out, err := c.Output()
	ts.Check(err)
	lines, err := field(out, "0")
	for i := 0; err == nil; i++ {
		m := lines.(map[string]any)
		if m["dataset"] == dataset && m["scope"] == "operator_year" {
			return fmt.Sprint(m["spent ρ"])
		}
		lines, err = field(out, strconv.Itoa(i+1))
	}
	ts.Fatalf("no budget line of %s", dataset)
	return ""
}

func (b *shooting) audit(ts *testscript.TestScript, dir string) {
	cmd := []string{"audit", "--ledger", dir, "--trust", "kits/data_bureau/trust.json", "-o", "json"}
	for _, s := range b.shots {
		cmd = append(cmd, "--receipt", s.file)
	}
	c := exec.Command(binary, cmd...)
	c.Dir, c.Env = b.dir, b.env
	out, err := c.CombinedOutput()
	if err != nil {
		ts.Fatalf("audit with every receipt: %v\n%s", err, out)
	}
	n, err := field(out, "receipts")
	ts.Check(err)
	if fmt.Sprint(n) != strconv.Itoa(len(b.shots)) {
		ts.Fatalf("audit checked %v receipts of %d", n, len(b.shots))
	}
}

// stall is an ingest whose file does not go on.
type stall struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stderr bytes.Buffer
	before int // memory files of the gateway before it
}

// stalled start NAME FILE HOME ARG...: begins `sandgate ingest` with FILE and
// holds the stream open, once the gateway of HOME is writing. stalled end NAME CODE:
// closes the stream and wants that exit code. stalled kill NAME: kills the client
// and waits until the gateway has thrown away what it sent.
func cmdStalled(ts *testscript.TestScript, neg bool, a []string) {
	noNeg(ts, neg)
	args(ts, a, "stalled start NAME FILE HOME ARG... | end NAME CODE | kill NAME", 2, -1)
	p := playingOf(ts)
	switch a[0] {
	case "start":
		args(ts, a, "stalled start NAME FILE HOME ARG...", 4, -1)
		s := &stall{cmd: exec.Command(binary, append([]string{"ingest", "/dev/stdin", "--format", "csv"}, a[4:]...)...)}
		s.cmd.Dir, s.cmd.Env, s.cmd.Stderr = ts.MkAbs("."), environ(ts), &s.stderr
		var err error
		s.stdin, err = s.cmd.StdinPipe()
		ts.Check(err)
		ts.Check(s.cmd.Start())
		ts.Defer(func() {
			s.stdin.Close()
			s.cmd.Process.Kill()
			s.cmd.Wait()
		})
		if p.stalls == nil {
			p.stalls = map[string]*stall{}
		}
		p.stalls[a[1]] = s
		if p.gateway == nil {
			ts.Fatalf("no gateway runs")
		}
		s.before = len(memoryFiles(p.gateway.cmd.Process.Pid))
		_, err = io.WriteString(s.stdin, ts.ReadFile(a[2]))
		ts.Check(err)
		// What an ingest writes is in memory files; on the disk there is nothing.
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			if len(memoryFiles(p.gateway.cmd.Process.Pid)) > s.before {
				if files, err := os.ReadDir(filepath.Join(ts.MkAbs(a[3]), "snapshots", "staging")); err != nil || len(files) > 0 {
					ts.Fatalf("staging holds %v, %v", files, err)
				}
				return
			}
			if time.Now().After(deadline) {
				ts.Fatalf("the gateway did not begin to write\n%s", s.stderr.String())
			}
		}
	case "kill":
		s := p.stalls[a[1]]
		ts.Check(s.cmd.Process.Kill())
		_ = s.cmd.Wait()
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			if len(memoryFiles(p.gateway.cmd.Process.Pid)) <= s.before {
				return
			}
			if time.Now().After(deadline) {
				ts.Fatalf("the gateway kept what a killed client had sent")
			}
		}
	case "end":
		args(ts, a, "stalled end NAME CODE", 3, 3)
		s := p.stalls[a[1]]
		ts.Check(s.stdin.Close())
		err := s.cmd.Wait()
		var exit *exec.ExitError
		code := 0
		if errors.As(err, &exit) {
			code = exit.ExitCode()
		} else {
			ts.Check(err)
		}
		ts.Check(os.WriteFile(ts.MkAbs(a[1]+".stderr"), s.stderr.Bytes(), 0o600))
		if strconv.Itoa(code) != a[2] {
			ts.Fatalf("stalled ingest ended with code %d, want %s\n%s", code, a[2], s.stderr.String())
		}
	default:
		ts.Fatalf("unknown stalled command %q", a[0])
	}
}
