package policies

import (
	"maps"
	"slices"
	"time"
)

// TargetKind is what can be suspended.
type TargetKind string

const (
	TargetGateway  TargetKind = "gateway" // everything; its id is empty
	TargetOperator TargetKind = "operator"
	TargetLicence  TargetKind = "licence"
	TargetDataset  TargetKind = "dataset"
	TargetProduct  TargetKind = "product"
)

// Target of a suspension.
type Target struct {
	Kind TargetKind `yaml:"kind" json:"kind"`
	ID   string     `yaml:"id,omitempty" json:"id,omitempty"`
}

// Hold is a suspension 暂停 in force: nothing runs on its target and nothing that
// was running is released.
type Hold struct {
	Since  time.Time
	By     string // party that suspended
	Reason Text
	Cause  string // id of the order or objection that suspended
}

// suspend adds a hold. Several causes may hold one target; it is free when the
// last was lifted.
func (b *Book) suspend(t Target, h Hold) {
	held := maps.Clone(b.holds[t])
	if held == nil {
		held = map[string]Hold{}
	}
	held[h.Cause] = h
	b.holds[t] = held
}

// lift ends the hold of one cause and says whether there was one.
func (b *Book) lift(t Target, cause string) bool {
	if _, ok := b.holds[t][cause]; !ok {
		return false
	}
	held := maps.Clone(b.holds[t])
	delete(held, cause)
	b.holds[t] = held
	return true
}

// Holds returns the holds of a target in the order of their causes.
func (b *Book) Holds(t Target) []Hold {
	var out []Hold
	for _, cause := range slices.Sorted(maps.Keys(b.holds[t])) {
		out = append(out, b.holds[t][cause])
	}
	return out
}

// Suspended says why nothing may run on a target, nil when it is free.
func (b *Book) Suspended(t Target) *Reason {
	held := b.Holds(t)
	if len(held) == 0 {
		return nil
	}
	h := held[0]
	zh, en := map[TargetKind]string{TargetGateway: "网关", TargetOperator: "运营机构", TargetLicence: "授权", TargetDataset: "数据集", TargetProduct: "产品"}, string(t.Kind)
	code := map[TargetKind]string{TargetGateway: "GATEWAY_SUSPENDED", TargetOperator: "OPERATOR_SUSPENDED", TargetLicence: "LICENCE_SUSPENDED", TargetDataset: "DATASET_SUSPENDED", TargetProduct: "PRODUCT_SUSPENDED"}[t.Kind]
	rule := "order/" + h.Cause
	if _, ok := b.desk.objections[h.Cause]; ok {
		rule = "objection/" + h.Cause
	}
	since := Day(h.Since)
	if t.Kind == TargetGateway {
		return reasonf(code, rule, h.By, "网关自 %s 起暂停使用（%s）", "the gateway is suspended since %s (%s)", since, h.Cause).
			hint("等待作出暂停决定的单位恢复", "wait until who suspended it resumes it")
	}
	if order, ok := b.ended[t]; ok {
		return reasonf(code, "order/"+order, h.By, "%[1]s“%[3]s”已由决定“%[4]s”终止，不再恢复", "%[2]s %[3]q was ended by order %[4]q for good", zh[t.Kind], en, t.ID, order)
	}
	return reasonf(code, rule, h.By, "%[1]s“%[3]s”自 %[4]s 起暂停使用（%[5]s）", "%[2]s %[3]q is suspended since %[4]s (%[5]s)", zh[t.Kind], en, t.ID, since, h.Cause).
		hint("等待作出暂停决定的单位恢复", "wait until who suspended it resumes it")
}
