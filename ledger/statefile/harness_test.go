package statefile

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/sandgate/sandgate/ledger"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/ledgertest"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/ledger/wal"
)

// place is a ledger of its own, with its guard and its state snapshots.
type place struct {
	t    testing.TB
	base string
	opt  Options
}

// made are the shared ledgers that this process has asked for.
var made = map[int]string{}

// placeOf is a copy of the shared ledger of so many entries.
func placeOf(t testing.TB, entries int) *place {
	t.Helper()
	shared, ok := made[entries]
	var err error
	if !ok {
		shared, err = ledgertest.Shared(context.Background(), entries)
		made[entries] = shared
	}
	if err != nil {
		t.Fatal(err)
	}
	base := t.TempDir()
	copyTree(t, shared, base)
	return &place{t: t, base: base, opt: optionsOf(t, base)}
}

func optionsOf(t testing.TB, base string) Options {
	t.Helper()
	trust, err := ledgertest.Trust()
	if err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(trust.LogKey)
	if err != nil {
		t.Fatal(err)
	}
	return Options{Dir: filepath.Join(base, "state"), Program: "test 1", Keys: note.VerifierList(v), Config: func(*state.State) ledger.Config {
		cfg, err := ledgertest.Config(base)
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}}
}

// copyTree copies files that are changed in place and links the others.
func copyTree(t testing.TB, from, to string) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(from), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, name), 0o755)
		}
		if strings.Contains(name, "ledger/tile/") && os.Link(filepath.Join(from, name), filepath.Join(to, name)) == nil {
			return nil
		}
		text, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, name), text, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (p *place) open() *Opened {
	p.t.Helper()
	o, err := Open(p.t.Context(), p.opt)
	if err != nil {
		p.t.Fatal(err)
	}
	return o
}

func (p *place) close(o *Opened) {
	p.t.Helper()
	if err := o.Log.Close(); err != nil {
		p.t.Fatal(err)
	}
}

// appender appends as a gateway does.
func appender(o *Opened) Appender {
	return func(ctx context.Context, fill func(*entry.Entry) error) (ledger.Receipt, error) {
		receipts, err := o.Log.Do(ctx, func() ([][]byte, error) {
			e := entry.Entry{V: entry.Version, Seq: o.State.Size(), At: max(o.State.At(), time.Now().UnixMilli())}
			if err := fill(&e); err != nil {
				return nil, err
			}
			text, err := entry.Encode(&e)
			return [][]byte{text}, err
		})
		if err != nil {
			return ledger.Receipt{}, err
		}
		return receipts[0], nil
	}
}

func (p *place) beats(o *Opened, n int) {
	p.t.Helper()
	for range n {
		if _, err := appender(o)(p.t.Context(), func(e *entry.Entry) error {
			e.Kind, e.Actor, e.Heartbeat = entry.KindHeartbeat, "gateway", &entry.Beat{Released: o.State.Released()}
			return nil
		}); err != nil {
			p.t.Fatal(err)
		}
	}
}

// recorded makes a snapshot at the end of the ledger and n entries after it.
func (p *place) recorded(n int) {
	p.t.Helper()
	o := p.open()
	if _, err := o.Keeper.Record(p.t.Context(), appender(o)); err != nil {
		p.t.Fatal(err)
	}
	p.beats(o, n)
	p.close(o)
}

var errFault = errors.New("fault")

// failAt fails once at a point.
func failAt(point string) wal.Fault {
	return func(p string) error {
		if p == point {
			point = ""
			return errFault
		}
		return nil
	}
}
