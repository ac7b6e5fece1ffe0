package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sandgate/sandgate/gateway"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/statefile"
)

// stateEvery is the flag that says how often a state snapshot is made.
type stateEvery int

func (n *stateEvery) add(c *cobra.Command) {
	c.Flags().IntVar((*int)(n), "state-every", statefile.DefaultEvery,
		"每多少条记录存一份状态快照（停机时满其十分之一即存），下次启动只重放其后的记录，0 关闭（docs/startup.md） after how many entries a state snapshot is kept (at a stop already after a tenth), from which the next start replays only the rest; 0: never")
}

func (n stateEvery) options(opt *gateway.Options) error {
	if n < 0 || n > 1<<30 {
		return usageError{texts.Errorf("--state-every is a number of entries, or 0 for no state snapshots")}
	}
	if opt.StateEvery = int(n); n == 0 {
		opt.StateEvery = -1
	}
	return nil
}

// refusedStates says, by code, why a state snapshot was not taken.
var refusedStates = map[statefile.Code][2]string{
	statefile.Damaged:     {"文件已损坏或被改动", "the file is damaged or was changed"},
	statefile.Foreign:     {"属于另一账本或另一段历史", "it is of another ledger or another history"},
	statefile.Version:     {"由另一软件版本写成", "another version of the program wrote it"},
	statefile.NotRecorded: {"账本未记录其散列", "the ledger does not give its hash"},
	statefile.Unsigned:    {"没有已签检查点覆盖其记录", "no signed checkpoint covers the entry that gives its hash"},
	statefile.Unfit:       {"账本不能由此打开", "the ledger does not open from it"},
}

// opened tells how a gateway came by its state.
func (a *app) opened(from, replayed uint64, refused []*statefile.Refused) {
	for _, r := range refused {
		why := refusedStates[r.Code]
		a.note("第 %d 条处的状态快照未采用（%s）：%s", "state snapshot at %d entries not taken (%s): %s", r.Size, string(r.Code), a.t(why[0], why[1]))
	}
	if from == 0 {
		a.note("重放账本全部 %d 条记录", "replayed all %d entries of the ledger", replayed)
		return
	}
	a.note("由第 %d 条处的状态快照启动，重放其后 %d 条", "started from the state snapshot at %d entries, replayed the %d after it", from, replayed)
}

// stateStats is the newest state snapshot that a ledger names.
type stateStats struct {
	Entries uint64 `json:"entries"` // at which it stands
	Seq     uint64 `json:"seq"`     // of the entry that gives its hash
	Bytes   int64  `json:"bytes"`
	Hash    string `json:"hash"`
	Program string `json:"program"`
}

func (st *ledgerStats) recorded(e *entry.Entry) {
	if r := e.Recorded; r != nil {
		st.State = &stateStats{Entries: r.Size, Seq: e.Seq, Bytes: r.Bytes, Hash: r.Hash, Program: r.Program}
	}
}

func (a *app) stateStats(s *stateStats) {
	if s == nil {
		a.say("没有状态快照：启动时重放全部记录", "no state snapshot: a start replays everything")
		return
	}
	a.say("最新状态快照：前 %d 条，%d 字节，散列 %s（第 %d 条记录）", "newest state snapshot: after %d entries, %d bytes, hash %s (entry %d)", s.Entries, s.Bytes, short(s.Hash), s.Seq)
}

func recordedSummary(r *entry.Recorded) string { return fmt.Sprintf("%d %s", r.Size, short(r.Hash)) }

// startSummary tells how a gateway came by its state, where its entry says so.
func (a *app) startSummary(s *entry.Start) string {
	switch {
	case s == nil:
		return ""
	case s.State > 0:
		return fmt.Sprintf(a.t("；状态快照 %d", "; state snapshot %d"), s.State)
	case s.Refused != "":
		return fmt.Sprintf(a.t("；全部重放（%s）", "; replayed all (%s)"), s.Refused)
	}
	return a.t("；全部重放", "; replayed all")
}
