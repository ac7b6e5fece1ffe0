package audit

import (
	"encoding/hex"
	"fmt"

	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/state"
)

// records holds the hashes of states that a gateway recorded against those that the
// replay comes to. A gateway starts from such a state without a replay; the audit
// never does.
type records struct {
	recorder  state.Recorder
	hash      string
	bytes     int64
	elsewhere int // recorded by programs of another layout
}

// mark computes the hash of the state that is about to be marked.
func (a *auditor) mark(e *entry.Entry) error {
	if e.Marked == nil || e.Marked.Layout != state.Layout() || a.state.Genesis() == nil {
		return nil
	}
	capture, err := a.records.recorder.Capture(a.state)
	if err != nil {
		return err
	}
	c, err := capture.Carried()
	if err != nil {
		return err
	}
	sum := c.Hash()
	a.records.hash, a.records.bytes = hex.EncodeToString(sum[:]), c.Bytes()
	return nil
}

// recorded compares a record, which the replay accepted, with what was computed.
func (a *auditor) recorded(e *entry.Entry) {
	r := e.Recorded
	switch {
	case r == nil:
	case r.Layout != state.Layout():
		a.records.elsewhere++
	case r.Hash != a.records.hash || r.Bytes != a.records.bytes:
		a.report.fail("STATE_HASH", fmt.Sprintf("第 %d 条记录给出的状态快照（前 %d 条）散列与重放所得不符：网关可能从虚假的状态启动", e.Seq, r.Size),
			fmt.Sprintf("entry %d gives another hash of the state after %d entries than the replay comes to: the gateway may start from a false state", e.Seq, r.Size))
	default:
		a.report.States++
	}
}

// unread tells of records that this program cannot compute.
func (a *auditor) unread() {
	if n := a.records.elsewhere; n > 0 {
		a.report.notice("STATE_LAYOUT", fmt.Sprintf("%d 份状态快照由状态字段不同的软件版本记录，其散列未核对；用记录时的版本审计可核对", n),
			fmt.Sprintf("%d state snapshots were recorded by program versions whose state has other fields; their hashes were not compared, an audit by the version that wrote them compares them", n))
	}
}
