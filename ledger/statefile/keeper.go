package statefile

import (
	"context"
	"encoding/hex"
	"fmt"
	"sync"
	"time"

	"github.com/sandgate/sandgate/ledger"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/state"
)

// DefaultEvery is after how many entries a state snapshot is made. What a start after a
// crash replays is at most that many.
const DefaultEvery = 10_000

// Keeper makes state snapshots of an open log. It is safe for concurrent use.
type Keeper struct {
	opt    Options
	log    *ledger.Log
	state  *state.State
	origin string

	mu       sync.Mutex // guards the following, and is held while a snapshot is made
	recorder *state.Recorder
	last     uint64
}

// Appender appends one entry that fill completes while no other command runs.
type Appender func(ctx context.Context, fill func(*entry.Entry) error) (ledger.Receipt, error)

// Made is what a snapshot took.
type Made struct {
	Size    uint64        // entries
	Bytes   int64         // of the state
	Written int64         // to the disk, now
	Held    time.Duration // how long no command could run
	Took    time.Duration // in all
}

// Since is how many entries there are since the last snapshot.
func (k *Keeper) Since() uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.log.Size() - min(k.last, k.log.Size())
}

// Record makes a snapshot: it takes hold of the state between two commands (Held), has
// its hash ledgered and published, and then stores it. A crash at any point leaves the
// snapshot before; an entry without a file harms nothing.
func (k *Keeper) Record(ctx context.Context, add Appender) (made Made, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	begin := time.Now()
	defer func() {
		if err != nil {
			// What the recorder believes to be written may not be.
			k.recorder = &state.Recorder{}
			err = fmt.Errorf("failed to make a state snapshot: %w", err)
		}
	}()
	var capture *state.Capture
	_, err = add(ctx, func(e *entry.Entry) (err error) {
		from := time.Now()
		defer func() { made.Held = time.Since(from) }()
		made.Size = e.Seq
		e.Kind, e.Actor, e.Marked = entry.KindMarked, "gateway", &entry.Marked{Layout: state.Layout()}
		capture, err = k.recorder.Capture(k.state)
		return err
	})
	if err != nil {
		return made, err
	}
	s := &Snapshot{Origin: k.origin, Program: k.opt.Program}
	carried, err := capture.Carried()
	if err != nil {
		return made, err
	}
	s.State, s.Hash = *carried, carried.Hash()
	made.Bytes = carried.Bytes()
	var receipt ledger.Receipt
	err = k.opt.Fault.Around("state.record", func() error {
		receipt, err = add(ctx, func(e *entry.Entry) error {
			e.Kind, e.Actor = entry.KindRecorded, "gateway"
			e.Recorded = &entry.Recorded{Size: made.Size, Layout: state.Layout(), Hash: hex.EncodeToString(s.Hash[:]), Bytes: made.Bytes, Program: k.opt.Program}
			return nil
		})
		return err
	})
	if err != nil {
		return made, err
	}
	if _, err := k.log.WaitPublished(ctx, receipt.Seq); err != nil {
		return made, err
	}
	point, err := k.log.PointAt(ctx, made.Size)
	if err != nil {
		return made, err
	}
	s.Point = *point
	if made.Written, err = Write(k.opt.Dir, s, k.opt.Fault); err != nil {
		return made, err
	}
	k.last, made.Took = made.Size, time.Since(begin)
	return made, nil
}
