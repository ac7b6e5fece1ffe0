package state

import (
	"errors"
	"slices"

	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/policies"
)

// Destruction is a certificate of destruction with its place in the ledger.
type Destruction struct {
	entry.Destroyed
	Seq uint64
}

// Destructions returns what was destroyed of a data set, oldest first.
func (s *State) Destructions(dataset string) []Destruction { return slices.Clone(s.destroyed[dataset]) }

// Destroyed lists the data sets of which a snapshot was ever destroyed, sorted.
func (s *State) Destroyed() []string {
	var out []string
	for id := range s.destroyed {
		out = append(out, id)
	}
	slices.Sort(out)
	return out
}

// OpenOn lists the jobs with an open reservation on a data set, in order.
func (s *State) OpenOn(dataset string) []string {
	var out []string
	for _, id := range s.order {
		if j := s.jobs[id]; j.Phase == PhaseReserved && slices.Contains(j.Request.Core.Datasets(), dataset) {
			out = append(out, id)
		}
	}
	return out
}

// OpenModelsOn lists the models with an open reservation on a data set, in order.
func (s *State) OpenModelsOn(dataset string) []string {
	var out []string
	for _, id := range s.OpenModels() {
		if s.datasetOf(s.models.all[id]) == dataset {
			out = append(out, id)
		}
	}
	return out
}

// CheckDestroy says whether a party may have the snapshot of a data set destroyed.
func (s *State) CheckDestroy(actor, dataset string) *policies.Reason {
	e, known := s.book.Dataset(dataset)
	res := policies.Resource{Department: e.Department}
	if known {
		owner, _ := s.book.Party(e.Department)
		res.Withdrawn = owner.Withdrawn || s.book.Suspended(policies.Target{Kind: policies.TargetDataset, ID: dataset}) != nil
	}
	if x := s.book.Authorize(actor, policies.ActDestroySnapshot, res); x != nil {
		return x
	}
	if _, ok := s.snapshots[dataset]; !ok {
		return &policies.Reason{Code: "NO_SNAPSHOT", Rule: "catalogue/" + dataset, SetBy: e.Department,
			ZH: "该数据集没有快照可销毁", EN: "the data set has no snapshot to destroy"}
	}
	return nil
}

func (s *State) applyDestroyed(e *entry.Entry) error {
	d := e.Destroyed
	if x := s.CheckDestroy(e.Actor, d.Dataset); x != nil {
		return x
	}
	if have := s.snapshots[d.Dataset]; have.Snapshot != d.Snapshot || have.Manifest != d.Manifest {
		return errors.New("certificate of destruction names another snapshot than the one in force")
	}
	if len(s.OpenOn(d.Dataset)) > 0 || len(s.OpenModelsOn(d.Dataset)) > 0 || len(s.OpenTwinsOn(d.Dataset)) > 0 || len(s.OpenRelationsOn(d.Dataset)) > 0 {
		return errors.New("a snapshot was destroyed under an open reservation")
	}
	if err := s.signedAct(e, e.Actor, ActDestroy(d.Dataset)); err != nil {
		return err
	}
	s.acted(e, e.Actor)
	delete(s.snapshots, d.Dataset)
	s.destroyed[d.Dataset] = append(s.destroyed[d.Dataset], Destruction{*d, e.Seq})
	return nil
}

// StorageKey names the master key that data keys are wrapped by since the last
// rotation, "" before the first.
func (s *State) StorageKey() string { return s.storageKey }

// applyRestored takes the confirmation under which a restored gateway serves. What
// was spent in entries that may be lost is unknown, so it counts as all there was.
func (s *State) applyRestored(e *entry.Entry) error {
	if err := s.gateway(e); err != nil {
		return err
	}
	r, err := s.CheckRestored(e.Restored)
	if err != nil {
		return err
	}
	s.restorations[r.Home] = true
	if !r.Whole {
		for _, id := range s.book.Datasets() {
			s.unknown[id] = true
		}
	}
	return nil
}

// CheckRestored verifies the confirmation of a restoration against the state at
// its end.
func (s *State) CheckRestored(x *entry.Restored) (policies.Recovery, error) {
	if s.book == nil {
		return policies.Recovery{}, errors.New("an empty ledger was not restored")
	}
	envelope, err := Inflate(x.Confirmation)
	if err != nil {
		return policies.Recovery{}, err
	}
	r, err := s.book.CheckRecovery(envelope)
	if err != nil {
		return r, err
	}
	if r.Origin != s.genesis.Origin || r.Size != s.next || r.Size != x.Size || r.Root != x.Root || r.Home != x.Home {
		return r, errors.New("the confirmation is for another restoration")
	}
	if s.restorations[r.Home] {
		return r, errors.New("the confirmation was used before")
	}
	return r, nil
}

// spentUnknown refuses a data set of which nobody knows what was spent.
func (s *State) spentUnknown(datasets []string) *policies.Reason {
	for _, id := range datasets {
		if s.unknown[id] {
			e, _ := s.book.Dataset(id)
			return &policies.Reason{Code: "BUDGET_UNKNOWN", Rule: "recovery", SetBy: s.genesis.Regulator,
				ZH:     "网关从备份恢复时账本可能缺失，数据集“" + id + "”（" + e.Department + "）的已用预算无从得知，按用尽处理",
				EN:     "the gateway was restored with a ledger that may lack entries: what was spent of data set \"" + id + "\" is unknown and counts as all of it",
				HintZH: "重复已发布的同一查询不收费；其余查询须等数源部门提供新的数据", HintEN: "repeating a released query is free; anything else waits for other data of the department"}
		}
	}
	return nil
}

// SpentUnknown says whether nobody knows what was spent of a data set: all of it,
// then.
func (s *State) SpentUnknown(dataset string) bool { return s.unknown[dataset] }

// Restoration says whether a restoration was confirmed.
func (s *State) Restoration(home string) bool { return s.restorations[home] }
