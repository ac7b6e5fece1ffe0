package model

import (
	"math"

	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/policies"
)

// setting is one number of ModelSettings with its range, and the families that have it
// with their defaults: private and not.
type setting struct {
	name    string
	lo, hi  float64
	of      map[policies.ModelFamily][2]float64
	read    func(*policies.ModelSettings) float64
	replace func(*policies.ModelSettings, float64)
}

func whole(at func(*policies.ModelSettings) *int) (func(*policies.ModelSettings) float64, func(*policies.ModelSettings, float64)) {
	return func(s *policies.ModelSettings) float64 { return float64(*at(s)) }, func(s *policies.ModelSettings, v float64) { *at(s) = int(v) }
}

func real(at func(*policies.ModelSettings) *float64) (func(*policies.ModelSettings) float64, func(*policies.ModelSettings, float64)) {
	return func(s *policies.ModelSettings) float64 { return *at(s) }, func(s *policies.ModelSettings, v float64) { *at(s) = v }
}

type families map[policies.ModelFamily][2]float64

var settings = func() []setting {
	all := []setting{
		{name: "steps", lo: 1, hi: 200, of: families{policies.FamilyLogistic: {8, 50}, policies.FamilySoftmax: {10, 200}, policies.FamilyKMeans: {6, 30}}},
		{name: "clip", lo: 0.01, hi: 100, of: families{policies.FamilyLogistic: {1, 0}, policies.FamilySoftmax: {2, 0}}},
		{name: "l2", lo: 0, hi: 1, of: families{policies.FamilyLinear: {1e-4, 1e-4}, policies.FamilyLogistic: {1e-4, 1e-4}, policies.FamilySoftmax: {1e-4, 1e-4}}},
		{name: "rounds", lo: 1, hi: 200, of: families{policies.FamilyAdditive: {12, 60}}},
		{name: "rate", lo: 0.001, hi: 10, of: families{policies.FamilyLogistic: {1, 1}, policies.FamilySoftmax: {1, 1}, policies.FamilyAdditive: {0.5, 0.5}}},
		{name: "trees", lo: 1, hi: 100, of: families{policies.FamilyForest: {20, 20}}},
		{name: "depth", lo: 1, hi: 10, of: families{policies.FamilyTree: {4, 4}, policies.FamilyForest: {6, 6}}},
		{name: "leaf", lo: 10, hi: 10000, of: families{policies.FamilyLinear: {20, 20}, policies.FamilyLogistic: {20, 20}, policies.FamilySoftmax: {20, 20},
			policies.FamilyAdditive: {20, 20}, policies.FamilyTree: {20, 20}, policies.FamilyForest: {20, 20}, policies.FamilyKMeans: {20, 20}}},
		{name: "clusters", lo: 2, hi: 64, of: families{policies.FamilyKMeans: {8, 8}}},
	}
	for i := range all {
		s := &all[i]
		switch s.name {
		case "steps":
			s.read, s.replace = whole(func(m *policies.ModelSettings) *int { return &m.Steps })
		case "clip":
			s.read, s.replace = real(func(m *policies.ModelSettings) *float64 { return &m.Clip })
		case "l2":
			s.read, s.replace = real(func(m *policies.ModelSettings) *float64 { return &m.L2 })
		case "rounds":
			s.read, s.replace = whole(func(m *policies.ModelSettings) *int { return &m.Rounds })
		case "rate":
			s.read, s.replace = real(func(m *policies.ModelSettings) *float64 { return &m.Rate })
		case "trees":
			s.read, s.replace = whole(func(m *policies.ModelSettings) *int { return &m.Trees })
		case "depth":
			s.read, s.replace = whole(func(m *policies.ModelSettings) *int { return &m.Depth })
		case "leaf":
			s.read, s.replace = whole(func(m *policies.ModelSettings) *int { return &m.Leaf })
		case "clusters":
			s.read, s.replace = whole(func(m *policies.ModelSettings) *int { return &m.Clusters })
		}
	}
	return all
}()

// completed gives the settings with the defaults of the family, and refuses one that
// is out of range or means nothing to it.
func completed(spec policies.ModelSpec) (policies.ModelSettings, *policies.Reason) {
	out := spec.Setting
	for _, s := range settings {
		v := s.read(&out)
		defaults, has := s.of[spec.Family]
		switch {
		case v == 0 && has:
			if spec.Private {
				s.replace(&out, defaults[0])
			} else {
				s.replace(&out, defaults[1])
			}
		case v == 0:
		case !has || !spec.Private && defaults[1] == 0: // nothing is clipped without noise
			return out, reason(CodeSetting, "模型族 %s 没有设置项 %s", "family %s has no setting %s", "删去该设置项", "leave the setting out", string(spec.Family), s.name)
		case math.IsNaN(v) || v < s.lo || v > s.hi:
			return out, reason(CodeSetting, "设置项 %s 不在 %g 到 %g 之间", "setting %s is not between %g and %g", "改为范围内的值，或删去以取默认值", "give a value within the range, or leave it out for the default", s.name, s.lo, s.hi)
		}
	}
	return out, nil
}

// prices reads what training and evaluation cost: training 0 when not private.
func prices(spec policies.ModelSpec) (training, evaluation budget.Nano, r *policies.Reason) {
	read := func(field, s string) (budget.Nano, *policies.Reason) {
		n, err := budget.ParseLimit(s) // never more than what is written
		if err != nil || n <= 0 {
			return 0, reason(CodePrice, "%s 不是大于 0 的十进制数", "%s is no decimal number above 0", `写成如 "0.02" 的十进制字符串`, `write a decimal string such as "0.02"`, field)
		}
		return n, nil
	}
	if evaluation, r = read("rho_evaluation", spec.RhoEvaluation); r != nil {
		return 0, 0, r
	}
	switch {
	case spec.Family == policies.FamilyModule && (spec.Private || spec.Rho != ""):
		return 0, 0, reason(CodePrice, "自带模块不在此训练，不能写 private 或 rho", "a module is not trained here: it takes neither private nor rho", "删去 private 与 rho", "leave private and rho out")
	case spec.Private:
		training, r = read("rho", spec.Rho)
	case spec.Rho != "":
		r = reason(CodePrice, "写了 rho，但没有写 private: true", "rho is given without private: true", "加上 private: true，或删去 rho", "add private: true, or leave rho out")
	}
	return training, evaluation, r
}
