package audit

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/state"
)

// record marks the state, lets something happen, and records the state's hash.
func (b *book) record(r *state.Recorder, change func(*entry.Recorded)) {
	b.t.Helper()
	capture, err := r.Capture(b.s)
	if err != nil {
		b.t.Fatal(err)
	}
	c, err := capture.Carried()
	if err != nil {
		b.t.Fatal(err)
	}
	sum := c.Hash()
	rec := &entry.Recorded{Size: b.s.Size(), Layout: state.Layout(), Hash: hex.EncodeToString(sum[:]), Bytes: c.Bytes(), Program: "test"}
	if change != nil {
		change(rec)
	}
	b.add(false, entry.KindMarked, "gateway", func(e *entry.Entry) { e.Marked = &entry.Marked{Layout: rec.Layout} })
	b.decide(b.ask("between"), nil)
	b.add(false, entry.KindRecorded, "gateway", func(e *entry.Entry) { e.Recorded = rec })
}

// R30 R33: the audit comes to every recorded state by itself, and names a gateway that
// recorded another.
func TestR30_AuditComparesRecordedStates(t *testing.T) {
	run := func(change func(*entry.Recorded)) *Report {
		b := begun(t)
		r := &state.Recorder{}
		b.record(r, nil)
		b.release(false, b.decide(b.ask("q1"), nil))
		b.record(r, change)
		b.add(false, entry.KindHeartbeat, "gateway", func(e *entry.Entry) { e.Heartbeat = &entry.Beat{Released: 1} })
		return audit(t, write(t, b.entries, "log", anything{}).dir, Options{Trust: trust(t)})
	}
	if r := run(nil); !r.OK || r.States != 2 {
		t.Errorf("honest: %d states, %+v", r.States, r.Findings)
	}
	for what, change := range map[string]func(*entry.Recorded){
		"hash":  func(r *entry.Recorded) { r.Hash = strings.Repeat("00", 32) },
		"bytes": func(r *entry.Recorded) { r.Bytes++ },
	} {
		r := run(change)
		if r.OK || r.States != 1 || !strings.Contains(found(r, "STATE_HASH"), "entry") {
			t.Errorf("%s: verdict %v, %d states, %+v", what, r.OK, r.States, r.Findings)
		}
	}
	// Of another layout it is said that it was not compared.
	if r := run(func(r *entry.Recorded) { r.Layout = "00112233445566aa" }); !r.OK || r.States != 1 || found(r, "STATE_LAYOUT") == "" {
		t.Errorf("another layout: verdict %v, %d states, %+v", r.OK, r.States, r.Findings)
	}
}
