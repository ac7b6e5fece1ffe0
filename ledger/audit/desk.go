package audit

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sandgate/sandgate/policies"
)

// mostNamed caps the deadlines that a finding lists.
const mostNamed = 20

// desk tells which deadlines were missed: those the gateway noted, and those past
// their end when the ledger ends, noted or not. It is a notice: that a department
// was late does not make the ledger wrong.
func (a *auditor) desk() {
	r := a.report
	for _, n := range a.state.Noted() {
		if n.Phase.Missed() && !slices.Contains(r.Missed, n.Duty) {
			r.Missed = append(r.Missed, n.Duty)
		}
	}
	for _, d := range a.state.Duties(r.Last) {
		if d.Phase.Missed() && !slices.Contains(r.Missed, d.ID) {
			r.Missed = append(r.Missed, d.ID)
		}
	}
	// Shown to the regulator from the start; nobody missed anything.
	r.Missed = slices.DeleteFunc(r.Missed, func(id string) bool {
		kind, _, _ := strings.Cut(id, "/")
		return kind == string(policies.DutyUnused) || kind == string(policies.DutyBurst) || kind == string(policies.DutyProbe)
	})
	slices.Sort(r.Missed)
	if n := len(r.Missed); n > 0 {
		list := strings.Join(r.Missed[:min(n, mostNamed)], ", ")
		if n > mostNamed {
			list += ", …"
		}
		r.notice("DEADLINES_MISSED", fmt.Sprintf("%d 项办理逾期：%s", n, list), fmt.Sprintf("%d deadlines were missed: %s", n, list))
	}
}
