package state

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/policies"
)

// CheckRisk says whether a party may record an assessment with this question of
// the snapshot in force, whatever its outcome.
func (s *State) CheckRisk(actor string, r *entry.Risk) *policies.Reason {
	e, ok := s.book.Dataset(r.Dataset)
	if x := s.book.Authorize(actor, policies.ActAssessRisk, policies.Resource{Department: e.Department}); x != nil {
		return x
	}
	if !ok {
		return &policies.Reason{Code: "DATASET_UNKNOWN", Rule: "catalogue", ZH: "目录中没有该数据集", EN: "the data set is not in the catalogue"}
	}
	if x := e.Ready(); x != nil {
		return x
	}
	snap, ok := s.snapshots[r.Dataset]
	if !ok || snap.Snapshot != r.Snapshot || snap.Spec != r.Spec || e.SpecDigest() != r.Spec {
		return &policies.Reason{Code: "SNAPSHOT_STALE", Rule: "catalogue/" + r.Dataset, SetBy: e.Department,
			ZH: "数据集没有现行目录和脱敏规则下的快照", EN: "the data set has no snapshot under the catalogue and masks in force",
			HintZH: "请重新入库后再评估", HintEN: "ingest the file again, then assess"}
	}
	return e.CheckAssessment(r.Quasi, r.Sensitive, policies.SharingModel(r.Model), r.Context)
}

func (s *State) applyRisk(e *entry.Entry) error {
	r := e.Risk
	if x := s.CheckRisk(e.Actor, r); x != nil {
		return x
	}
	least, _ := policies.SharingModel(r.Model).K()
	levels := map[string]bool{"L2": false, "L3": true, "L4": true}
	within, known := levels[r.Level]
	if r.Least != least || r.Overall != policies.MaxOverallRisk || !known || within != r.Within || (r.Level == "L4") != (len(r.Quasi) == 0) {
		return errors.New("thresholds, level and verdict do not fit each other")
	}
	if h, err := hex.DecodeString(r.Figures); err != nil || len(h) != 32 {
		return errors.New("the commitment to the figures is not a SHA-256 hash")
	}
	if err := s.signedAct(e, e.Actor, ActRisk(r)); err != nil {
		return err
	}
	s.acted(e, e.Actor)
	s.book = s.book.WithAssessment(policies.Assessment{ID: RiskID(e.Seq), Dataset: r.Dataset, Spec: r.Spec, Model: policies.SharingModel(r.Model), Within: r.Within})
	return nil
}

// checkVariants holds a snapshot to the hidden columns that the rules in force demand:
// one that was made under other rules has others.
func (s *State) checkVariants(e *entry.Snapshot) error {
	d, _ := s.book.Dataset(e.Dataset)
	if !slices.Equal(e.Variants, d.VariantNames()) {
		return MaskingMoved(d)
	}
	return nil
}

// MaskingMoved refuses a file that was ingested under other rules than are in force.
func MaskingMoved(d policies.Entry) *policies.Reason {
	return &policies.Reason{Code: "POLICY_CHANGED", Rule: "masking/" + d.Dataset.ID, SetBy: d.Department,
		ZH: "入库期间脱敏规则已变更", EN: "the masking rules changed while the file was ingested",
		HintZH: "请重新入库", HintEN: "ingest the file again"}
}

// RiskID is the id of the assessment in a ledger entry.
func RiskID(seq uint64) string { return fmt.Sprintf("risk-%d", seq) }
