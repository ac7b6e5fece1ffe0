package entry

import "github.com/sandgate/sandgate/policies"

// KindDutyNoted records that a duty came into a phase: a reminder, a missed
// deadline, an escalation. The gateway writes it; a replay decides again that the
// duty was in that phase at the entry's time and had not been noted in it before.
const KindDutyNoted Kind = "duty.noted"

// DutyNoted names a duty (policies.Duty.ID) and its phase.
type DutyNoted struct {
	Duty  string             `json:"duty"`
	Phase policies.DutyPhase `json:"phase"`
	Owes  string             `json:"owes"`
}
