package audit

import (
	"fmt"

	"github.com/sandgate/sandgate/ledger/state"
)

// models counts what became of model jobs 模型作业. That each verdict follows from its
// figures, and was paid for, the replay has checked.
func (a *auditor) models() {
	r := a.report
	for _, id := range a.state.Models() {
		m, _ := a.state.Model(id)
		if r.Models == nil {
			r.Models = map[string]int{}
		}
		if m.Certified != nil {
			r.Models[string(m.Certified.Certificate.Verdict)]++
		} else {
			r.Models[string(m.Phase)]++
		}
		for _, x := range m.Reasons {
			r.Refusals[x.Code]++
		}
	}
	if n := r.Models[string(state.PhaseReserved)]; n > 0 {
		r.notice("OPEN_MODELS", fmt.Sprintf("%d 个模型已受理而未完成（进行中或中断），预算保持扣减", n),
			fmt.Sprintf("%d models were let in and not finished (running or interrupted); their price stays debited", n))
	}
}
