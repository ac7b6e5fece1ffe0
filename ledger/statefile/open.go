package statefile

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"runtime/debug"

	"golang.org/x/mod/sumdb/note"

	"github.com/sandgate/sandgate/ledger"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/ledger/wal"
)

// Options of Open.
type Options struct {
	// Dir holds the state snapshots. It lies outside the log directory: who gets a copy of
	// that has no use for them.
	Dir string
	// Program names this program and its build; only its own snapshots are taken.
	Program string
	// Keys verify the log's newest checkpoints.
	Keys note.Verifiers
	// Config of the log for a machine; it is called anew for each state that is tried.
	Config func(*state.State) ledger.Config
	// Fault is a test hook; see Write.
	Fault wal.Fault

	// unchecked takes whatever snapshot can be read: tests show by it that the attack
	// succeeds without the check.
	unchecked bool
}

// Opened is a log with the state that its entries lead to.
type Opened struct {
	Log    *ledger.Log
	State  *state.State
	Keeper *Keeper
	// From is the size of the state snapshot that was taken, 0 if all was replayed, and
	// Replayed how many entries were.
	From, Replayed uint64
	// Refused are the snapshots that were not taken, the newest first.
	Refused []*Refused
}

// Start is how the state was come by, for the ledger.
func (o *Opened) Start() *entry.Start {
	s := &entry.Start{State: o.From}
	if len(o.Refused) > 0 {
		s.Refused = string(o.Refused[0].Code)
	}
	return s
}

// Open opens a log from its newest state snapshot that the log itself vouches for, or
// by replaying every entry. It never fails for want of a snapshot.
func Open(ctx context.Context, opt Options) (*Opened, error) {
	out := &Opened{}
	sizes, err := List(opt.Dir)
	if err != nil {
		out.Refused = append(out.Refused, &Refused{Damaged, 0, err})
	}
	for _, size := range sizes {
		err := out.from(ctx, opt, size)
		if err == nil {
			return out, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		var r *Refused
		if !errors.As(err, &r) {
			r = &Refused{Unfit, size, err}
		}
		out.Refused = append(out.Refused, r)
	}
	st := state.New()
	cfg := opt.Config(st)
	log, err := ledger.Open(ctx, cfg, st)
	if err != nil {
		return nil, err
	}
	return out.with(opt, cfg.Origin, log, st, &state.Recorder{}, 0), nil
}

// startGC is GOGC while a state is read.
const startGC = 400

func (o *Opened) from(ctx context.Context, opt Options, size uint64) error {
	cfg := opt.Config(state.New())
	s, err := Read(opt.Dir, size, cfg.Origin, opt.Program)
	if err != nil {
		return err
	}
	// What is read now stays: looking for garbage among it, again and again while it grows,
	// would take a third of the start.
	defer debug.SetGCPercent(debug.SetGCPercent(startGC))
	// The segments are read while the log is asked: neither waits for the other, and
	// nothing is used before both have said yes.
	type restored struct {
		st  *state.State
		r   *state.Recorder
		err error
	}
	done := make(chan restored, 1)
	go func() {
		if opt.unchecked {
			s.Hash = s.State.Hash()
		}
		st, r, err := s.Restore(opt.Dir)
		done <- restored{st, r, err}
	}()
	var vouched error
	if !opt.unchecked {
		vouched = s.vouched(cfg, opt.Keys)
	}
	got := <-done
	if vouched != nil {
		return vouched
	}
	if got.err != nil {
		return got.err
	}
	cfg = opt.Config(got.st)
	cfg.Resume = &s.Point
	log, err := ledger.Open(ctx, cfg, got.st)
	if err != nil {
		return &Refused{Unfit, size, err}
	}
	o.with(opt, cfg.Origin, log, got.st, got.r, size)
	return nil
}

var recordedKind = []byte(`"kind":"` + entry.KindRecorded + `"`)

// vouched asks the log whether it has recorded this snapshot.
func (s *Snapshot) vouched(cfg ledger.Config, keys note.Verifiers) error {
	hash := hex.EncodeToString(s.Hash[:])
	err := ledger.Vouch(cfg, keys, &s.Point, func(_ uint64, text []byte) bool {
		if !bytes.Contains(text, recordedKind) { // most entries are not worth decoding
			return false
		}
		e, err := entry.Decode(text)
		return err == nil && e.Recorded != nil && e.Actor == "gateway" && e.Recorded.Size == s.State.Size &&
			e.Recorded.Hash == hash && e.Recorded.Program == s.Program && e.Recorded.Layout == state.Layout()
	})
	var damage *wal.CorruptError
	code := Unfit
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ledger.ErrNotNamed):
		code = NotRecorded
	case errors.Is(err, ledger.ErrUnsigned):
		code = Unsigned
	case errors.Is(err, ledger.ErrOtherLog), errors.As(err, &damage):
		code = Foreign
	}
	return &Refused{code, s.State.Size, err}
}

func (o *Opened) with(opt Options, origin string, log *ledger.Log, st *state.State, r *state.Recorder, from uint64) *Opened {
	o.Log, o.State, o.From, o.Replayed = log, st, from, st.Size()-from
	o.Keeper = &Keeper{opt: opt, log: log, state: st, recorder: r, last: from, origin: origin}
	return o
}

// Usage is what the directory of state snapshots holds.
func Usage(dir string) (files int, bytes int64, err error) {
	for _, d := range []string{dir, dir + string(os.PathSeparator) + segmentsDir} {
		list, err := os.ReadDir(d)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, 0, fmt.Errorf("failed to measure state snapshots: %w", err)
		}
		for _, f := range list {
			if info, err := f.Info(); err == nil && !f.IsDir() {
				files, bytes = files+1, bytes+info.Size()
			}
		}
	}
	return files, bytes, nil
}
