package audit

import (
	"testing"
	"time"

	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/state"
)

// withheld is a ledger whose gateway was told to suspend what is not used for a
// month. It beats every five minutes.
func withheld(t testing.TB) *book {
	t.Helper()
	b := begun(t)
	b.add(false, entry.KindStarted, "gateway", func(e *entry.Entry) {
		e.Started = &entry.Started{Version: "test", Tier: "full", Storage: "plain", Heartbeat: "5m0s"}
	})
	b.policy(false, "kind: StandingOrder\nid: unused\nby: data_bureau\ncondition: {kind: unused, months: 1}\nmeasure: {stage: suspend}\nreason: {zh: 未使用}\nbasis: {zh: 第九条}\n", "data_bureau")
	b.now = time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC).Add(-time.Minute)
	b.beat()
	return b
}

func (b *book) beat() {
	b.t.Helper()
	b.add(false, entry.KindHeartbeat, "gateway", func(e *entry.Entry) { e.Heartbeat = &entry.Beat{} })
}

func (b *book) carryOut() {
	b.t.Helper()
	v, _, err := b.s.NextOrdered(b.now)
	if err != nil {
		b.t.Fatal(err)
	}
	b.add(false, entry.KindOrdered, "gateway", func(e *entry.Entry) { e.Ordered = &v })
}

func TestR27_R30_WithheldOrdersAreFound(t *testing.T) {
	for name, c := range map[string]struct {
		play  func(b *book)
		found bool
	}{
		"carried out at once": {func(b *book) { b.now = b.now.Add(time.Minute); b.carryOut(); b.now = b.now.Add(time.Hour); b.beat() }, false},
		"carried out after a beat": {func(b *book) {
			b.now = b.now.Add(2 * time.Minute)
			b.beat()
			b.now = b.now.Add(4 * time.Minute)
			b.carryOut()
		}, false},
		"withheld": {func(b *book) {
			for range 3 {
				b.now = b.now.Add(5 * time.Minute)
				b.beat()
			}
		}, true},
		"carried out too late": {func(b *book) {
			for range 3 {
				b.now = b.now.Add(5 * time.Minute)
				b.beat()
			}
			b.carryOut()
		}, true},
		"withheld, and no more beats": {func(b *book) {
			for i := range 6 {
				b.now = b.now.Add(4 * time.Minute)
				b.policy(false, "kind: Order\nid: o-"+string(rune('a'+i))+"\nby: data_bureau\ntarget: {kind: gateway}\nstage: "+[]string{"suspend", "resume"}[i%2]+"\nreason: {zh: 检查}\nbasis: {zh: 第九条}\n", "data_bureau")
			}
		}, true},
		"did not run": {func(b *book) {
			b.now = b.now.Add(2 * time.Minute)
			b.beat()
			b.now = b.now.AddDate(0, 0, 9)
			b.add(false, entry.KindStarted, "gateway", func(e *entry.Entry) { e.Started = &entry.Started{Heartbeat: "5m0s"} })
			b.carryOut()
		}, false},
	} {
		b := withheld(t)
		c.play(b)
		w := write(t, b.entries, "log", state.New())
		r := audit(t, w.dir, Options{Trust: trust(t)})
		if got := found(r, "ORDER_NOT_EXECUTED") != ""; got != c.found || r.OK == c.found {
			t.Errorf("%s: found %v, passed %v: %+v", name, got, r.OK, r.Findings)
		}
	}
}
