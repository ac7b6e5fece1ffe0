package audit

import (
	"fmt"

	"github.com/sandgate/sandgate/ledger/state"
)

// rounds counts what became of the aggregation rounds 聚合轮次 in which the domain took
// part. That each was allowed and paid for, the replay has checked.
func (a *auditor) rounds() {
	r := a.report
	for _, id := range a.state.Rounds() {
		x, _ := a.state.Round(id)
		if r.Rounds == nil {
			r.Rounds = map[string]int{}
		}
		r.Rounds[string(x.Phase)]++
	}
	if n := r.Rounds[string(state.PhaseReserved)]; n > 0 {
		r.notice("OPEN_ROUNDS", fmt.Sprintf("%d 个跨域轮次已参加而未结束（进行中或中断），预算保持扣减", n),
			fmt.Sprintf("%d rounds across domains were joined and not ended (running or interrupted); their price stays debited", n))
	}
}
