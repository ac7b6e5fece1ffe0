package state

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/compute/disclosure"
	"github.com/sandgate/sandgate/compute/protect"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/policies"
)

// information is the charge that an exact plan owes to the information cap of its
// snapshot, nil in dp mode. It depends on public facts alone: a suppression costs
// what an answer costs.
func (s *State) information(core algebra.Core, plan *protect.Plan) (*budget.Charge, *policies.Reason) {
	if plan.Mode != protect.ModeExact {
		return nil, nil
	}
	id := core.Tables[0].Dataset
	c := s.Information(id, plan.Exact.NanoBits)
	if c == nil {
		e, _ := s.book.Dataset(id)
		return nil, missing("SNAPSHOT_STALE", id, e.Department, "数据集“%s”改为精确方式后尚未重新入库，或不足 10 个单元", "data set %q was not ingested again since it was put into exact mode, or has fewer than 10 units")
	}
	c.Amount = budget.Nano(disclosure.Price(plan, s.snapshots[id].Units, s.exact[id]))
	return c, nil
}

// Information is the information cap of a data set's current snapshot, nil when
// the ledger holds no public number of units for it.
func (s *State) Information(dataset string, nanoBits int64) *budget.Charge {
	snap, ok := s.snapshots[dataset]
	if !ok || snap.Units < 1 {
		return nil
	}
	return &budget.Charge{Scope: budget.Scope{Kind: budget.ScopeInformation, Dataset: dataset, Snapshot: snap.Snapshot},
		Limit: budget.Nano(disclosure.Limit(nanoBits, snap.Units))}
}

// rulesOf commits to the exact rules of a plan.
func rulesOf(plan *protect.Plan) string {
	if plan.Exact == nil {
		return ""
	}
	text, err := json.Marshal(plan.Exact)
	if err != nil {
		panic("state: exact rules did not marshal")
	}
	return disclosure.Commitment("rules", string(text))
}

// checkUnits holds a snapshot's public number of units to its rounding, and to
// data sets whose department chose exact mode.
func (s *State) checkUnits(e *entry.Snapshot) error {
	if e.Units == 0 {
		return nil
	}
	if !s.Exact(e.Dataset) || e.Units != disclosure.PublicUnits(e.Units) {
		return fmt.Errorf("the number of units is not rounded, or not public")
	}
	return nil
}

// Exact says whether a data set answers in exact mode.
func (s *State) Exact(dataset string) bool {
	e, ok := s.book.Dataset(dataset)
	return ok && e.Rule != nil && protect.Mode(e.Rule.Mode) == protect.ModeExact
}

// checkCells holds exact releases to their record of cells, and others to none.
func checkCells(j *Job, r *entry.Released) error {
	exact := j.Reserved.Mode == string(protect.ModeExact)
	if exact != (r.Cells != "") || exact && !isDigest(r.Cells) {
		return errors.New("an exact release, and no other, names the record of its cells")
	}
	return nil
}
