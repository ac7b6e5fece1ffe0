package audit

import (
	"fmt"

	"github.com/sandgate/sandgate/ledger/state"
)

// hubTrainings counts what became of the trainings of models over domains 跨域模型 that this
// gateway was the aggregator of. That each pass was the one whose turn it was, each answer
// signed by the regulator's node, and each model passed by the gate of every domain, by its
// signed report, the replay has checked.
func (a *auditor) hubTrainings() {
	r := a.report
	misses := 0
	for _, run := range a.state.HubTrainings() {
		t, _ := a.state.HubTraining(run)
		if r.HubTrainings == nil {
			r.HubTrainings = map[string]int{}
		}
		r.HubTrainings[string(t.Phase)]++
		misses += t.Misses()
	}
	if n := r.HubTrainings[string(state.PhaseReserved)]; n > 0 {
		r.notice("OPEN_TRAININGS", fmt.Sprintf("%d 个跨域训练尚无结论（进行中或中断）", n), fmt.Sprintf("%d trainings over domains have no outcome yet (running or interrupted)", n))
	}
	if misses > 0 {
		r.notice("MISSED_PASSES", fmt.Sprintf("跨域训练有 %d 轮未能完成，各域可能已为之付价", misses), fmt.Sprintf("%d rounds of trainings over domains failed; domains may have paid for them", misses))
	}
}
