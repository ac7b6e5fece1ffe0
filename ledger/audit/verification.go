package audit

import (
	"fmt"

	"github.com/sandgate/sandgate/ledger/state"
)

// verifications counts what became of verifications 核验, by phase, and says which
// patterns of probing the ledger shows.
func (a *auditor) verifications() {
	r := a.report
	for _, id := range a.state.Verifications() {
		v, _ := a.state.Verification(id)
		if r.Verifications == nil {
			r.Verifications = map[string]int{}
		}
		r.Verifications[string(v.Phase)]++
		for _, x := range v.Reasons {
			r.Refusals[x.Code]++
		}
	}
	if n := r.Verifications[string(state.PhaseReserved)]; n > 0 {
		r.notice("OPEN_VERIFICATIONS", fmt.Sprintf("%d 次核验已受理而未答复（进行中或中断），次数保持扣减", n),
			fmt.Sprintf("%d verifications were let in and not answered (running or interrupted); they stay counted", n))
	}
	for _, p := range a.state.Probes(r.Last) {
		r.notice("PROBING", fmt.Sprintf("授权“%s”下的核验有试探迹象（%s）", p.Licence, p.Pattern), fmt.Sprintf("verifications under licence %q look like probing (%s)", p.Licence, p.Pattern))
	}
}
