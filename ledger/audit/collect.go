package audit

import (
	"math"
	"runtime/debug"
	"runtime/metrics"

	"github.com/sandgate/sandgate/internal/memory"
)

const (
	// auditGC is GOGC during an audit: a ledger of a million entries takes some 0.6 GB of
	// state.
	auditGC = 300
	// auditMemory is what an audit may fill before garbage is looked for at all, which a
	// small state leaves to be a handful of times; it is what auditGC takes for a million
	// entries. Only where there is twice as much to take.
	auditMemory = 2900 << 20
)

// collector makes the collector of garbage look less often while an audit runs: what is
// replayed stays, and looking through it again and again while it grows took a quarter of
// the audit.
type collector struct {
	percent   int
	limit     int64
	postponed bool
	live      [1]metrics.Sample
}

func postpone() *collector {
	c := &collector{percent: debug.SetGCPercent(auditGC), limit: debug.SetMemoryLimit(-1)}
	c.live[0].Name = "/gc/heap/live:bytes"
	if available, err := memory.Available(); err == nil && available/2 >= auditMemory && c.limit == math.MaxInt64 {
		c.postponed = true
		debug.SetMemoryLimit(auditMemory)
		debug.SetGCPercent(-1)
	}
	return c
}

// watch goes back to a share of what lives before the bound would make the collector run
// all the time.
func (c *collector) watch() {
	if c == nil || !c.postponed {
		return
	}
	if metrics.Read(c.live[:]); c.live[0].Value.Kind() != metrics.KindUint64 || c.live[0].Value.Uint64() > auditMemory/4 {
		c.postponed = false
		debug.SetGCPercent(auditGC)
		debug.SetMemoryLimit(c.limit)
	}
}

func (c *collector) restore() {
	debug.SetGCPercent(c.percent)
	debug.SetMemoryLimit(c.limit)
}
