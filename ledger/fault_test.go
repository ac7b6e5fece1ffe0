package ledger

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var errInjected = errors.New("injected")

// Every step that changes the disk fails once, before it is done (lost) or after (persisted but reported as
// failed), under concurrent writers. Whatever was acknowledged must be in the log, and the log must go on after it
// is opened again.
func TestFaultAtEveryCommitPoint(t *testing.T) {
	for _, step := range []string{"wal.write", "wal.sync", "integrate", "guard.write", "guard.rename", "guard.syncdir", "sign"} {
		for _, when := range []string{"before", "after"} {
			t.Run(step+"/"+when, func(t *testing.T) {
				t.Parallel()
				var armed, fired atomic.Bool
				cfg := testConfig(t, t.TempDir())
				cfg.Fault = func(point string) error {
					if point == step+"/"+when && armed.CompareAndSwap(true, false) {
						fired.Store(true)
						return errInjected
					}
					return nil
				}
				l, m := mustOpen(t, cfg)
				receipts := mustAppend(t, l, m, 0, 10, "")
				armed.Store(true)
				receipts = append(receipts, hammer(t, l, m, 8, 5)...)
				if size := l.Size(); size > 0 {
					ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
					defer cancel()
					_, err := l.WaitPublished(ctx, size-1)
					if publishes := strings.HasPrefix(step, "guard") || step == "sign"; publishes != (err == nil) {
						t.Errorf("WaitPublished after the fault: %v", err)
					}
				}
				if !fired.Load() {
					t.Fatal("the fault point was never reached")
				}
				stops := strings.HasPrefix(step, "wal") || step == "integrate"
				if err := l.Close(); stops != errors.Is(err, ErrStopped) || stops != errors.Is(err, errInjected) {
					t.Errorf("Close: %v", err)
				}

				l, m = mustOpen(t, cfg)
				receipts = append(receipts, mustAppend(t, l, m, 100, 10, "")...)
				mustClose(t, l)
				res, audited := mustVerify(t, cfg.Dir, receipts)
				if audited.digest != m.digest || res.Unpublished != 0 {
					t.Errorf("audit %+v, replay equal: %v", res, audited.digest == m.digest)
				}
			})
		}
	}
}

// hammer lets writers append concurrently and returns the receipts that were given. A refusal must be a stop.
func hammer(t *testing.T, l *Log, m *tally, writers, each int) []Receipt {
	t.Helper()
	var mu sync.Mutex
	var receipts []Receipt
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for range each {
				rs, err := l.Do(context.Background(), m.step(w+1, "pad"))
				if err != nil {
					if !errors.Is(err, ErrStopped) {
						t.Errorf("Do: %v", err)
					}
					return
				}
				mu.Lock()
				receipts = append(receipts, rs...)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return receipts
}

// A log whose creation breaks off at any point can be created again.
func TestFaultDuringCreation(t *testing.T) {
	for _, step := range []string{"guard.write", "guard.rename", "guard.syncdir", "sign", "wal.create.write", "wal.create.rename", "wal.create.syncdir"} {
		for _, when := range []string{"before", "after"} {
			t.Run(step+"/"+when, func(t *testing.T) {
				t.Parallel()
				cfg := testConfig(t, t.TempDir())
				fired := false
				cfg.Fault = func(point string) error {
					if point == step+"/"+when && !fired {
						fired = true
						return errInjected
					}
					return nil
				}
				if _, err := Open(context.Background(), cfg, newTally()); err == nil || !fired {
					t.Fatalf("Open: %v, fault reached: %v", err, fired)
				}
				l, m := mustOpen(t, cfg)
				receipts := mustAppend(t, l, m, 1, 3, "")
				mustClose(t, l)
				mustVerify(t, cfg.Dir, receipts)
			})
		}
	}
}

// What a start does to the end of the write-ahead file fails: the start does, and the next one carries it on.
func TestFaultDuringRepair(t *testing.T) {
	for _, step := range []string{"wal.mend", "wal.rewrite", "wal.resync"} {
		for _, when := range []string{"before", "after"} {
			t.Run(step+"/"+when, func(t *testing.T) {
				t.Parallel()
				var mu sync.Mutex
				at := ""
				arm := func(point string) (left string) {
					mu.Lock()
					defer mu.Unlock()
					left, at = at, point
					return left
				}
				cfg := testConfig(t, t.TempDir())
				cfg.Fault = func(point string) error {
					mu.Lock()
					defer mu.Unlock()
					if point == at {
						at = ""
						return errInjected
					}
					return nil
				}
				l, m := mustOpen(t, cfg)
				receipts := mustAppend(t, l, m, 1, 3, "")
				if _, err := l.WaitPublished(context.Background(), 2); err != nil {
					t.Fatal(err)
				}
				arm("integrate/before") // what is acknowledged from here on is in the write-ahead file alone
				receipts = append(receipts, mustAppend(t, l, m, 2, 1, "")...)
				if err := l.Close(); !errors.Is(err, errInjected) {
					t.Fatalf("Close: %v", err)
				}
				arm(step + "/" + when)
				if _, err := Open(context.Background(), cfg, newTally()); !errors.Is(err, errInjected) || arm("") != "" {
					t.Fatalf("Open: %v", err)
				}
				l, _ = mustOpen(t, cfg)
				mustClose(t, l)
				if res, _ := mustVerify(t, cfg.Dir, receipts); res.Unpublished != 0 {
					t.Errorf("%+v", res)
				}
			})
		}
	}
}

// A witnessed checkpoint that cannot be written does not count as one until it can.
func TestFaultOfWitnessedCheckpoint(t *testing.T) {
	for _, step := range []string{"witnessed.write", "witnessed.rename", "witnessed.syncdir"} {
		for _, when := range []string{"before", "after"} {
			t.Run(step+"/"+when, func(t *testing.T) {
				a := startWatcher(t, "a.example")
				cfg := testConfig(t, t.TempDir())
				policy := policyOf(t, 1, a)
				cfg.Witnesses = always(policy)
				var broken atomic.Bool
				broken.Store(true)
				cfg.Fault = func(point string) error {
					if point == step+"/"+when && broken.Load() {
						return errInjected
					}
					return nil
				}
				l, m := mustOpen(t, cfg)
				receipts := mustAppend(t, l, m, 1, 4, "")
				if _, err := l.WaitWitnessed(brief(t), 3); err == nil {
					t.Error("counted as witnessed")
				}
				if _, err := l.WaitPublished(context.Background(), 3); err != nil {
					t.Errorf("publishing stops: %v", err)
				}
				broken.Store(false)
				receipts = append(receipts, mustAppend(t, l, m, 1, 1, "")...)
				if cp, err := l.WaitWitnessed(context.Background(), 4); err != nil || !policy.Satisfied(cp) {
					t.Errorf("%v", err)
				}
				mustClose(t, l)
				l, _ = mustOpen(t, cfg)
				if raw, n := l.Witnessed(); n != 5 || !policy.Satisfied(raw) {
					t.Errorf("%d witnessed after a restart", n)
				}
				mustClose(t, l)
				mustVerify(t, cfg.Dir, receipts)
			})
		}
	}
}
