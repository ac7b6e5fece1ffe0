package audit

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
)

// late is a ledger whose health commission ruled on one objection in time, on
// another too late, and owes the third when the ledger ends.
func late(t testing.TB) *book {
	t.Helper()
	b := begun(t)
	b.now = time.Date(2026, 3, 2, 1, 0, 0, 0, time.UTC)
	profile, err := os.ReadFile(filepath.Join("..", "..", "testdata", "profiles", "chifeng.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	b.policy(false, string(profile), "data_bureau")
	object := func(id string) {
		b.policy(false, "kind: Objection\nid: "+id+"\nby: hrss\nofficial: h-desk\ndataset: visits\nground: {zh: 异议 "+id+"}\n", "hrss")
	}
	rule := func(id string) {
		b.policy(false, "kind: Ruling\nobjection: "+id+"\nby: health\nofficials: [h-one, h-two]\noutcome: resume\nreason: {zh: 核实}\nbasis: {zh: 依据}\nanswer: {zh: 已答复}\n", "health")
	}
	object("obj-1")
	rule("obj-1")
	object("obj-2")
	b.now = b.now.AddDate(0, 0, 8)
	b.note(false, "rule/obj-2/health", policies.PhaseOverdue)
	rule("obj-2")
	object("obj-3")
	b.now = b.now.AddDate(0, 0, 20)
	b.add(false, entry.KindHeartbeat, "gateway", func(e *entry.Entry) { e.Heartbeat = &entry.Beat{} })
	return b
}

func (b *book) note(forged bool, duty string, phase policies.DutyPhase) {
	b.t.Helper()
	b.add(forged, entry.KindDutyNoted, "gateway", func(e *entry.Entry) {
		e.DutyNoted = &entry.DutyNoted{Duty: duty, Phase: phase, Owes: "health"}
	})
}

func TestR24_R30_MissedDeadlinesAreListed(t *testing.T) {
	b := late(t)
	w := write(t, b.entries, "log", state.New())
	r := audit(t, w.dir, Options{Trust: trust(t)})
	if want := []string{"rule/obj-2/health", "rule/obj-3/health"}; !r.OK || !slices.Equal(r.Missed, want) {
		t.Errorf("%v, missed %q, want %q", r.OK, r.Missed, want)
	}
	if f := found(r, "DEADLINES_MISSED"); !strings.Contains(f, "2 deadlines") || !strings.Contains(f, "rule/obj-3/health") {
		t.Errorf("%q", f)
	}
}

// A gateway that slanders a department, or claims to have warned it when it had
// not to be, is found out.
func TestR30_ForgedNoticesFail(t *testing.T) {
	for name, forge := range map[string]func(b *book){
		"only escalated":     func(b *book) { b.note(true, "rule/obj-3/health", policies.PhaseOverdue) },
		"never owed":         func(b *book) { b.note(true, "rule/obj-9/health", policies.PhaseEscalated) },
		"ruled on long ago":  func(b *book) { b.note(true, "rule/obj-1/health", policies.PhaseOverdue) },
		"noted once already": func(b *book) { b.note(true, "rule/obj-2/health", policies.PhaseOverdue) },
	} {
		b := late(t)
		forge(b)
		w := write(t, b.entries, "log", anything{})
		if r := audit(t, w.dir, Options{Trust: trust(t)}); r.OK || found(r, "REPLAY") == "" {
			t.Errorf("%s: passed", name)
		}
	}
}
