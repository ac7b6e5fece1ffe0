package ledger

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/sandgate/sandgate/ledger/evidence"
)

// crashDir makes the test binary a writer on the log below that directory, to be killed.
const crashDir = "SANDGATE_LEDGER_CRASH_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		if err := crashWriter(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// crashWriter appends with 16 writers until it is killed, and prints each receipt as soon as it has it.
func crashWriter(base string) error {
	signer, _, err := NewSignerFromSeed(testOrigin, seedOf(1))
	if err != nil {
		return err
	}
	cfg := configOf(base, signer)
	m := newTally()
	l, err := Open(context.Background(), cfg, m)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	failed := make(chan error, 1)
	for w := range 16 {
		go func() {
			for n := 0; ; n++ {
				decide := m.step(w, "crash")
				if n%4 == 3 { // every fourth command has two entries, which must stay together
					decide = func() ([][]byte, error) {
						c := m.last[w]
						return [][]byte{fmt.Appendf(nil, "%d:%d:first", w, c+1), fmt.Appendf(nil, "%d:%d:second", w, c+2)}, nil
					}
				}
				rs, err := l.Do(context.Background(), decide)
				if err != nil {
					failed <- err
					return
				}
				for _, r := range rs {
					line, err := json.Marshal(r)
					if err != nil {
						failed <- err
						return
					}
					mu.Lock()
					os.Stdout.Write(append(line, '\n'))
					mu.Unlock()
				}
			}
		}()
	}
	return <-failed
}

// kill -9 under concurrent writers, again and again on the same log: no acknowledged entry is lost, the audit of
// the directory as it was left passes, and replay gives the same state as the audit.
func TestR29KillUnderConcurrentWriters(t *testing.T) {
	if testing.Short() {
		t.Skip("starts and kills processes")
	}
	base := t.TempDir()
	signer, _ := testKeys(t)
	cfg := configOf(base, signer)
	var receipts []Receipt
	var torn, unpublished int
	for kill := range 12 {
		// Every fourth process dies at start-up, in the middle of recovery.
		atStart := kill%4 == 3
		fresh := runAndKill(t, base, atStart, time.Duration(5+rand.IntN(50))*time.Millisecond)
		receipts = append(receipts, fresh...)
		res, audited := mustVerify(t, cfg.Dir, fresh)
		if res.TornBytes > 0 {
			torn++
		}
		if res.Unpublished > 0 {
			unpublished++
		}
		for w, n := range audited.last {
			if n == 0 {
				t.Errorf("writer %d has nothing", w)
			}
		}
		if t.Failed() {
			t.Fatalf("after kill %d", kill)
		}
		// Every third time the next opening is the test's own, which can look at the state.
		if kill%3 == 2 {
			l, m := mustOpen(t, cfg)
			if m.digest != audited.digest || m.n != audited.n {
				t.Fatalf("after kill %d: replay of %d entries differs from the audit of %d", kill, m.n, audited.n)
			}
			mustClose(t, l)
			if res, _ := mustVerify(t, cfg.Dir, fresh); res.Unpublished != 0 {
				t.Fatalf("after kill %d: %d entries stay unpublished", kill, res.Unpublished)
			}
		}
	}
	mustVerify(t, cfg.Dir, receipts) // no later process lost what an earlier one had promised
	if len(receipts) < 100 || unpublished == 0 {
		t.Errorf("the test did not bite: %d receipts, %d kills with an unpublished tail", len(receipts), unpublished)
	}
	t.Logf("%d receipts over 12 kills; %d kills left an unpublished tail, %d a torn record", len(receipts), unpublished, torn)
}

// runAndKill starts a writer process, kills it some time after its start or its first receipt and returns the
// receipts.
func runAndKill(t *testing.T, base string, atStart bool, after time.Duration) []Receipt {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crashDir+"="+base)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill := sync.OnceFunc(func() { time.AfterFunc(after, func() { cmd.Process.Kill() }) })
	if atStart {
		kill()
	}
	var receipts []Receipt
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			break // a line cut off by the kill was not received by anybody
		}
		r, err := evidence.ParseReceipt(line[:len(line)-1])
		if err != nil {
			t.Fatal(err)
		}
		kill()
		receipts = append(receipts, r)
	}
	if err := cmd.Wait(); err == nil || len(receipts) == 0 && !atStart {
		t.Fatalf("writer ended by itself: %v", err)
	}
	return receipts
}
