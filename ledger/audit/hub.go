package audit

import (
	"fmt"

	"github.com/sandgate/sandgate/ledger/state"
)

// hubRounds counts what became of the rounds across domains 聚合轮次 that this gateway was
// the aggregator of. That each was within licence and agreement, and each answer signed by
// the regulator's node, the replay has checked.
func (a *auditor) hubRounds() {
	r := a.report
	for _, id := range a.state.HubRounds() {
		x, _ := a.state.HubRound(id)
		if r.HubRounds == nil {
			r.HubRounds = map[string]int{}
		}
		r.HubRounds[string(x.Phase)]++
	}
	if n := r.HubRounds[string(state.PhaseReserved)]; n > 0 {
		r.notice("OPEN_ROUNDS", fmt.Sprintf("%d 个跨域轮次尚无结果（进行中或中断）", n), fmt.Sprintf("%d rounds across domains have no outcome yet (running or interrupted)", n))
	}
}
