package audit

import (
	"fmt"
	"time"

	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/policies"
)

const (
	// leastGrace is what a gateway under load may take to carry out an order,
	// however short its heartbeats are; mostGrace bounds what a heartbeat may be
	// claimed to be.
	leastGrace = 10 * time.Second
	mostGrace  = time.Hour
	// defaultBeat is the interval of heartbeats of a gateway that names none.
	defaultBeat = 5 * time.Minute
)

// watcher holds the ledger against the standing orders in force: an order that is
// called for while the gateway writes, and is not given within its heartbeat's
// interval, was withheld. The time in which the gateway did not run is not counted.
type watcher struct {
	grace   time.Duration
	last    time.Time            // entry before
	looked  time.Time            // last look
	pending map[string]time.Time // standing order and licence → first look at which it was called for
	told    map[string]bool
}

// look is called with an entry before it is applied.
func (a *auditor) look(e *entry.Entry) {
	w := &a.watch
	if w.pending == nil {
		w.pending, w.told, w.grace = map[string]time.Time{}, map[string]bool{}, defaultBeat
	}
	at, last := e.Time(), w.last
	w.last = at
	switch {
	case e.Kind == entry.KindOrdered:
		return // the order itself; what it leaves undone, the next look sees
	case e.Kind == entry.KindStarted:
		for key, first := range w.pending {
			w.pending[key] = first.Add(at.Sub(last))
		}
		if span, err := time.ParseDuration(e.Started.Heartbeat); err == nil {
			w.grace = min(max(span, leastGrace), mostGrace)
		}
	case e.Kind != entry.KindHeartbeat && e.Kind != entry.KindStopped && at.Sub(w.looked) < w.grace:
		return
	}
	if a.state.Genesis() == nil {
		return
	}
	w.looked = at
	now := map[string]time.Time{}
	for _, v := range a.state.Due(at) {
		key := v.Standing + " → " + v.Order.Target.String()
		first, known := w.pending[key]
		if !known {
			first = at
		}
		now[key] = first
		if at.Sub(first) > w.grace && !w.told[key] {
			w.told[key] = true
			a.report.fail("ORDER_NOT_EXECUTED",
				fmt.Sprintf("自动处置规则 %s 的条件自 %s 起已满足，网关至第 %d 条记录仍未执行", key, policies.Clock(first), e.Seq),
				fmt.Sprintf("standing order %s was called for since %s and the gateway had not carried it out by entry %d", key, policies.Clock(first), e.Seq))
		}
	}
	w.pending = now
}
