package gateway

import (
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/sandgate/sandgate/ledger"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/ledger/statefile"
)

// stateLook is how often it is looked whether a state snapshot is due.
const stateLook = time.Second

// stateWait bounds the wait for a checkpoint over a state snapshot's entry.
const stateWait = time.Minute

// program names this program and its build: the version, and the id that the linker
// derives from everything that went in. A state snapshot is taken by the very program
// that made it only, since another may decide otherwise what it holds.
var program = sync.OnceValue(func() string {
	id := Version()
	path, err := os.Executable()
	if err != nil {
		return id
	}
	f, err := elf.Open(path)
	if err != nil {
		return id
	}
	defer f.Close()
	if s := f.Section(".note.go.buildid"); s != nil {
		if text, err := s.Data(); err == nil {
			sum := sha256.Sum256(text)
			id += " " + hex.EncodeToString(sum[:8])
		}
	}
	return id
})

// openLedger opens the ledger, settles what a restoration left open and records the
// start.
func (d *Domain) openLedger(ctx context.Context) error {
	if err := d.openState(ctx); err != nil {
		return err
	}
	err := d.confirmRestored(ctx)
	if err == nil {
		err = d.begin(ctx)
	}
	if err != nil {
		return errors.Join(err, d.log.Close())
	}
	// Now nobody waits: what was replayed at length need not be again.
	if d.stateDue(false) {
		d.recordState(ctx)
	}
	return nil
}

// openState opens the ledger from the newest state snapshot that it vouches for, or by
// replaying all of it.
func (d *Domain) openState(ctx context.Context) error {
	first, err := d.newestKeys()
	if err != nil {
		return err
	}
	keys, err := d.logVerifiers()
	if err != nil {
		return err
	}
	o, err := statefile.Open(ctx, statefile.Options{
		Dir: d.home.State(), Program: program(), Keys: keys, Fault: d.opt.fault,
		Config: func(s *state.State) ledger.Config {
			d.state = s
			return ledger.Config{
				Dir: d.home.Ledger(), GuardDir: d.home.Guard(), Origin: d.home.Config.Origin,
				Witnesses: d.witnessesAt,
				Signer:    first.Signer, ReceiptKey: first.ReceiptKey, Keys: d.keysInForce,
			}
		},
	})
	if err != nil {
		return fmt.Errorf("failed to open the ledger: %w", err)
	}
	// The state was set with the configuration, before the log's own goroutines looked.
	d.log, d.opened = o.Log, o
	for _, r := range o.Refused {
		d.opt.Logger.Warn("state snapshot refused", "size", r.Size, "code", string(r.Code), "error", r.Err.Error())
	}
	return nil
}

// logVerifiers verify checkpoints of the keys that the keyring holds: the one in force
// and, in the middle of a rotation, the next.
func (d *Domain) logVerifiers() (note.Verifiers, error) {
	seeds := [][]byte{d.keys.Log}
	if next, ok := d.keys.Next[entry.KeyLog]; ok {
		seeds = append(seeds, next.Key)
	}
	var list []note.Verifier
	for _, seed := range seeds {
		v, _, err := LogVerifier(d.home.Config.Origin, seed)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return note.VerifierList(list...), nil
}

// Opened says how the ledger was opened: from which state snapshot, how many entries
// were replayed, and which snapshots were refused.
func (d *Domain) Opened() (from, replayed uint64, refused []*statefile.Refused) {
	return d.opened.From, d.opened.Replayed, d.opened.Refused
}

// stateDue says whether a state snapshot is to be made: when so many entries came in
// since the last, and at a stop already for a tenth of that.
func (d *Domain) stateDue(stopping bool) bool {
	if d.opt.StateEvery < 0 {
		return false
	}
	every := uint64(d.opt.StateEvery)
	if stopping {
		every = max(1, every/10)
	}
	return d.opened.Keeper.Since() >= every
}

// recordState makes a state snapshot. The gateway serves on without one: the next start
// then takes longer, and says so.
func (d *Domain) recordState(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, stateWait)
	defer cancel()
	made, err := d.opened.Keeper.Record(ctx, d.append)
	if err != nil {
		if ctx.Err() == nil {
			d.opt.Logger.Error("state snapshot failed", "error", err.Error())
		}
		return
	}
	d.opt.Logger.Info("state snapshot made", "size", made.Size, "bytes", made.Bytes, "written", made.Written, "held", made.Held.String(), "took", made.Took.String())
}

// keepState makes state snapshots while the gateway serves.
func (d *Domain) keepState() {
	t := time.NewTicker(stateLook)
	defer t.Stop()
	for {
		select {
		case <-d.ctx.Done():
			return
		case <-t.C:
			if d.stateDue(false) {
				d.recordState(d.ctx)
			}
		}
	}
}
