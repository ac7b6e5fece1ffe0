package attack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sandgate/sandgate/gateway"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/client"
	"github.com/sandgate/sandgate/internal/durable/points"
	"github.com/sandgate/sandgate/ledger/entry"
)

// faulted is an arena whose gateway's disk fails, and all that its parties were told.
type faulted struct {
	a      *Arena
	in     *inspector
	w      *traffic
	limits map[string]int64
	// seen are the entries that were read so far.
	seen     []*sandgatev1.LedgerEntry
	receipts map[string]bool
	n        int
	there    bool // the data set that is ingested and destroyed is there
}

const faultPrice = 1000

// exactSets take turns: each has bits for a few answers.
const exactSets = 4

func exactSet(i int) string { return fmt.Sprintf("exact%d", i%exactSets) }

func newFaulted(t *testing.T) *faulted { return newFaultedIn(t, t.TempDir()) }

// raced is what the race detector says of a gateway in a process of its own.
func raced(log string) string {
	_, report, _ := strings.Cut(log, "WARNING: DATA RACE")
	return report[:min(len(report), 6000)]
}

func newFaultedIn(t *testing.T, dir string) *faulted {
	t.Helper()
	a, err := New(dir, gateway.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if a.Running() {
			if err := a.Stop(); err != nil {
				t.Errorf("%v\n%s", err, raced(a.Logs.String()))
			}
		}
	})
	a.Add(t, noted("plain", 300, "n"))
	for i := range exactSets {
		a.Add(t, Table{ID: exactSet(i), Rule: `mode: exact, exact: {k: 10, round: 5, bits_per_unit: "16"}`, Columns: []Column{column("age", 0, 1_000_000, "filter")}, CSV: ages(300)})
	}
	a.Must(t, noted("moving", 1, "n").Catalogue(), Department)
	x := &faulted{a: a, in: newInspector(t, a), w: &traffic{a: a, price: faultPrice}, limits: map[string]int64{}, receipts: map[string]bool{}}
	for i := range exactSets {
		x.limits[exactSet(i)] = math.MaxInt64
	}
	_, x.limits["plain"] = a.Spent(t, Op(0), "plain", "lifetime")
	if err := a.Stop(); err != nil {
		t.Fatal(err)
	}
	return x
}

func ages(n int) string {
	var b strings.Builder
	b.WriteString("id,age\n")
	for i := range n {
		fmt.Fprintf(&b, "u%d,%d\n", i, i%90)
	}
	return b.String()
}

// work is what the parties do while a point fails. Its errors are looked at by
// nobody: what was told is in the traffic.
var work = map[string]func(ctx context.Context, x *faulted) error{
	"job": func(ctx context.Context, x *faulted) error {
		return x.ask(ctx, "plain")
	},
	"exact job": func(ctx context.Context, x *faulted) error {
		x.n++
		return x.ask(ctx, exactSet(x.n))
	},
	"ingest": func(ctx context.Context, x *faulted) error {
		x.n++
		_, err := x.a.Client(Department).Ingest(ctx, "moving", "csv", strings.NewReader(noted("moving", 20+x.n, "n").CSV), nil, client.AllowEmpty)
		x.there = x.there || err == nil
		return err
	},
	"destroy": func(ctx context.Context, x *faulted) error {
		_, err := x.a.Client(Department).Keys.DestroySnapshot(ctx, &sandgatev1.DestroySnapshotRequest{Dataset: "moving"})
		x.there = x.there && err != nil
		return err
	},
	"rotate": func(ctx context.Context, x *faulted) error {
		_, err := x.a.Client(Regulator).Keys.RotateKey(ctx, &sandgatev1.RotateKeyRequest{Key: "storage"})
		return err
	},
	"wait":  func(context.Context, *faulted) error { return nil },
	"start": nil,
}

// ask submits a new question, again and again while the gateway is there, has not
// decided it, and what is to fail has not.
func (x *faulted) ask(ctx context.Context, dataset string) error {
	q := x.w.fresh(Op(0), dataset)
	for x.w.ask(ctx, q) && !q.settled() && !x.a.Failed() && ctx.Err() == nil {
		time.Sleep(20 * time.Millisecond)
	}
	return nil
}

// driver says which work reaches a point, and what else is made to fail for it.
func driver(point string) (deed string, more []string) {
	head, _, _ := strings.Cut(point, ".")
	switch {
	case point == "release.drop" || point == "post.drop":
		return "job", []string{"post.rename/after fail"}
	case point == "cells.drop":
		return "exact job", []string{"post.rename/after fail"}
	case slices.Contains([]string{"wal.mend", "wal.resync", "release.sweep", "cells.sweep", "store.sweep", "access.mend", "access.torn"}, point):
		return "start", nil
	case head == "cells":
		return "exact job", nil
	case head == "pointer" && point != "pointer.remove", slices.Contains([]string{"snapshot.seal", "snapshot.replace", "snapshot.rename", "store.syncdir", "key.write"}, point):
		return "ingest", nil
	case slices.Contains([]string{"pointer.remove", "snapshot.bury", "store.empty", "key.overwrite", "key.remove"}, point):
		return "destroy", nil
	case head == "home" || head == "key":
		return "rotate", nil
	case point == "access.sync":
		return "wait", nil
	}
	return "job", nil
}

// litter leaves in the home what a crash would, for those points that clean it up.
func (x *faulted) litter(t *testing.T, point string) {
	t.Helper()
	h := x.a.Home
	put := func(path, text string) {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err == nil {
			_, err = f.WriteString(text)
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	switch point {
	case "release.sweep":
		put(filepath.Join(h.Releases(), strings.Repeat("ab", 32)+".json"), "{}")
	case "cells.sweep":
		put(filepath.Join(h.Exact(), "job.cells"), "x")
	case "store.sweep":
		put(filepath.Join(h.Snapshots(), "current", ".tmp-1"), "x")
	case "access.mend", "access.torn":
		logs, err := filepath.Glob(filepath.Join(h.Dir, "access", "access-*.jsonl"))
		if err != nil || len(logs) == 0 {
			t.Fatalf("no access log: %v", err)
		}
		if point == "access.mend" {
			put(logs[len(logs)-1], `{"torn`)
		} else {
			put(filepath.Join(h.Dir, "access", "access-2999-01-01.jsonl"), `{"v`)
		}
	}
}

// start serves the home without failures.
func (x *faulted) start(t *testing.T, after string) {
	t.Helper()
	if err := x.a.Fail(); err != nil {
		t.Fatal(err)
	}
	if err := x.a.StartFaulty(); err != nil {
		t.Fatalf("%s: the gateway does not come up again: %v", after, err)
	}
}

// fault lets a point fail once and brings the gateway up again.
func (x *faulted) fault(t *testing.T, name, deed string, more ...string) {
	t.Helper()
	point, _, _ := strings.Cut(name, "/")
	_, how, _ := strings.Cut(name, " ")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if deed == "start" {
		if err := x.a.Kill(); err != nil {
			t.Fatal(err)
		}
		x.litter(t, point)
		if err := x.a.Fail(name); err != nil {
			t.Fatal(err)
		}
		// What is left of releases is removed while the gateway serves.
		if err := x.a.StartFaulty(); err == nil {
			if point != "release.sweep" {
				t.Errorf("%s: the gateway serves", name)
			}
			for begin := time.Now(); !x.a.Failed() && time.Since(begin) < 10*time.Second; {
				time.Sleep(2 * time.Millisecond)
			}
			if err := x.a.Kill(); err != nil {
				t.Fatal(err)
			}
		}
		if !x.a.Failed() {
			t.Errorf("%s was never reached", name)
		}
		x.start(t, name)
		return
	}
	if (deed == "destroy" || point == "key.stray" || point == "snapshot.replace") && !x.there {
		if err := work["ingest"](ctx, x); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	p := x.a.proc
	below, err := Below(p.cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	// A job may come by another way: two that drew the same numbers share a file, which
	// neither drops.
	for range 3 {
		if err := x.a.Fail(append([]string{name}, more...)...); err != nil {
			t.Fatal(err)
		}
		_ = work[deed](ctx, x)
		for begin := time.Now(); !x.a.Failed() && time.Since(begin) < 10*time.Second; {
			time.Sleep(2 * time.Millisecond)
		}
		if x.a.Failed() {
			break
		}
	}
	if !x.a.Failed() {
		t.Errorf("%s was never reached by %s", name, deed)
	}
	if how == "die" {
		select {
		case <-p.done:
		case <-time.After(10 * time.Second):
			t.Fatalf("%s: the gateway did not die", name)
		}
		x.a.proc = nil
		if err := errors.Join(x.a.hangUp(), gone(below, 10*time.Second)); err != nil {
			t.Error(err)
		}
	} else if head, _, _ := strings.Cut(point, "."); Full() || head == "wal" || point == "integrate" || strings.HasSuffix(point, ".drop") {
		if err := x.a.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	if !x.a.Running() {
		x.start(t, name)
	}
	if deed == "ingest" || deed == "destroy" || deed == "rotate" {
		if err := work[deed](ctx, x); err != nil && (deed != "destroy" || Reason(err) == "INTERNAL") {
			t.Errorf("%s: %s again: %v", name, deed, err)
		}
	}
}

// inspect holds the ledger against what the parties were told.
func (x *faulted) inspect(t *testing.T, after string) {
	t.Helper()
	wrong := func(list ...string) {
		for _, s := range list {
			t.Errorf("after %s: %s", after, s)
		}
	}
	x.w.settle(t, 1)
	now := x.a.Entries(t)
	for i, e := range x.seen {
		if i >= len(now) || !bytes.Equal(now[i].GetJson(), e.GetJson()) {
			wrong("an entry that was seen is gone or another")
			break
		}
	}
	x.seen = now
	entries := decoded(t, now)
	b := books{tries: x.w.tries, price: x.w.price, limits: x.limits, exact: map[string]bool{}}
	for i := range exactSets {
		b.exact[exactSet(i)] = true
	}
	spent, bad := b.account(entries)
	wrong(bad...)
	wrong(strays(t, x.a, entries)...)
	if said, _ := x.a.Spent(t, Op(0), "plain", "lifetime"); said != spent["plain"] {
		wrong("the gateway's budget is not the sum of its reservations")
	}
	told := int64(0)
	for _, try := range x.w.tries {
		if try.dataset == "plain" && (try.rel != nil || try.final == "EXECUTION_FAILED") {
			told += faultPrice
		}
		if try.final != "" && try.final != "EXECUTION_FAILED" {
			wrong("an operator was told " + try.final)
		}
		if try.rel != nil && !x.receipts[try.job()] {
			x.receipts[try.job()] = true
			x.in.keep(t, try.rel)
		}
	}
	if told != spent["plain"] {
		wrong(fmt.Sprintf("operators were told of %d nano-ρ, the ledger holds %d", told, spent["plain"]))
	}
	dir := x.in.copied(t)
	wrong(x.in.audited(t, dir)...)
	x.in.last = filepath.Join(dir, "checkpoint")
}

// R29: every step on the disk of a running gateway fails once before it is done and
// once after, by an error or with the process. Each time it comes up again, nothing
// acknowledged is lost, what is owed is paid for once, no release is on the disk
// without its entry, and the audit passes. Control: the same books on a ledger that
// lacks an entry, in TestAttack14_KilledGateway.
func TestR29_FaultAtEveryPoint(t *testing.T) {
	NeedBinary(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(8, seed))
	// A case is a point that fails by an error and then, the other way round, with the
	// process, which had gone on if the ledger had not stopped; at full strength both
	// each way, and every time with a restart.
	type fail struct {
		point, deed string
		more        []string
		turned      bool // the error comes after the step
	}
	var cases []fail
	add := func(point, deed string, more []string) {
		turned := rng.IntN(2) == 0
		cases = append(cases, fail{point, deed, more, turned})
		if Full() {
			cases = append(cases, fail{point, deed, more, !turned})
		}
	}
	for _, p := range points.All {
		if p.Test == t.Name() {
			deed, more := driver(p.Name)
			add(p.Name, deed, more)
		}
	}
	// The write-ahead file holds every kind of act.
	for _, deed := range []string{"ingest", "destroy", "rotate", "exact job"} {
		add("wal.sync", deed, nil)
	}
	const lanes = 3
	rng.Shuffle(len(cases), func(i, j int) { cases[i], cases[j] = cases[j], cases[i] })
	for lane := range lanes {
		t.Run(fmt.Sprint(lane), func(t *testing.T) {
			t.Parallel()
			x := newFaulted(t)
			x.start(t, "the beginning")
			for i, c := range cases {
				if i%lanes != lane {
					continue
				}
				begin := time.Now()
				whens := []string{"before", "after"}
				if c.turned {
					slices.Reverse(whens)
				}
				for k, how := range []string{"fail", "die"} {
					name := fmt.Sprintf("%s/%s %s", c.point, whens[k], how)
					x.fault(t, name, c.deed, c.more...)
					x.inspect(t, name)
					if t.Failed() {
						t.Fatalf("stopped after %s by %s, case %d", name, c.deed, i)
					}
				}
				t.Logf("%s by %s: %v", c.point, c.deed, time.Since(begin).Round(time.Millisecond))
			}
			counted := 0
			for _, e := range decoded(t, x.seen) {
				if e.Kind == entry.KindReleased {
					counted++
				}
			}
			if counted < 5 {
				t.Errorf("only %d releases: this proves little", counted)
			}
		})
	}
}
