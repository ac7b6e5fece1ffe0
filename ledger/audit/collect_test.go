package audit

import (
	"runtime/debug"
	"testing"
)

func TestCollectorIsPutBackAsItWas(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(123))
	c := postpone()
	c.watch()
	c.restore()
	if got := debug.SetGCPercent(123); got != 123 {
		t.Errorf("GOGC is %d after an audit, was 123", got)
	}
	if got := debug.SetMemoryLimit(-1); got != c.limit {
		t.Errorf("memory limit is %d after an audit, was %d", got, c.limit)
	}
	// A state that outgrew the bound is left to auditGC: with the bound alone the
	// collector would run all the time.
	c = postpone()
	defer c.restore()
	if c.postponed {
		c.live[0].Name = "/gc/no/such:bytes"
		c.watch()
		if c.postponed || debug.SetMemoryLimit(-1) != c.limit {
			t.Error("the bound stays although the size of the state is not known to be small")
		}
	}
}
