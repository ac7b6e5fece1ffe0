package gate

import (
	"fmt"

	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/policies"
)

// Attacks, by the code of the refusal that each leads to.
const (
	CodeFamily     = "GATE_FAMILY"     // family rule: what keeps records, and what may not leave in this way
	CodeStructure  = "GATE_STRUCTURE"  // static scan of what the model holds
	CodeMembership = "GATE_MEMBERSHIP" // LiRA with shadow models
	CodeWorstCase  = "GATE_WORST_CASE" // classifier on the sorted scores
	CodeCanary     = "GATE_CANARY"     // one-run audit with planted units
	CodeAttribute  = "GATE_ATTRIBUTE"  // guessing a feature from the score
	CodeInversion  = "GATE_INVERSION"  // informed adversary who lacks one value
	CodeInstance   = "GATE_INSTANCE"   // records stored in the model
)

// Codes of reasons that are no attacks.
const (
	CodeControl = "GATE_CONTROL" // an attack did not catch the model that memorises
	CodeSample  = "GATE_SAMPLE"  // too few units to judge
)

// Codes of the attacks, in the order of a report.
var Codes = []string{CodeFamily, CodeStructure, CodeMembership, CodeWorstCase, CodeCanary, CodeAttribute, CodeInversion, CodeInstance}

// delta of the ε that people read and canaries are held to.
const delta = 1e-6

const rule = "disclosure/model-gate"

// smallest is the fewest units of a cell, of a class in it, and degrees of freedom.
const smallest = 10

// mark is a figure that a finding must have, and what it may be at most.
type mark struct {
	name, of             string
	each                 bool // once per column
	most, mostLo, mostHi string
}

// marks of an attack follow from the head of the report alone, so that whoever reads a
// report can tell whether it was held to them.
func (r *Report) marks(code string) []mark {
	// In small samples the interval of a single model is so wide that a harmless model
	// often fails a mark on its value: there the mark is asked of the lower end, and the
	// figures of the way of training, which average over all shadows, decide.
	value := func(m mark, most string, resolved bool) mark {
		if resolved {
			m.most = most
		} else {
			m.mostLo = most
		}
		return m
	}
	resolved := r.Attacked >= 2*resolvedUnits
	// The upper end of the AUC of one model is the narrowest mark: at 1250 members one
	// harmless model in a hundred is above it, at 2000 one in thousands.
	sharp := r.Attacked >= 2*sharpUnits
	if r.Version == 1 {
		sharp = resolved
	}
	switch code {
	case CodeFamily:
		return []mark{{name: "refused_family", of: OfModel, most: "0.000"}, {name: "parameters_without_noise", of: OfModel, most: "0.000"}, {name: "epsilon", of: OfModel, most: "4.000"}}
	case CodeStructure:
		return []mark{{name: "parameters_per_unit", of: OfModel, most: "0.050"}, {name: "freedom_short", of: OfModel, most: "0.000"}, {name: "small_cells", of: OfModel, most: "0.000"},
			{name: "pure_cells", of: OfModel, most: "0.000"}, {name: "small_classes", of: OfModel, most: "0.000"}, {name: "foreign_constants", of: OfModel, most: "0.000"}, {name: "loss_gap", of: OfModel, mostLo: "0.000"}}
	case CodeMembership:
		single, one := mark{name: "auc", of: OfModel, mostHi: "0.550"}, mark{name: "tpr_1", of: OfTraining, most: "0.020", mostHi: "0.030"}
		if !sharp {
			single.mostHi, single.mostLo = "", "0.550"
		}
		if !resolved {
			one.mostHi = ""
		}
		m := []mark{{name: "auc", of: OfTraining, mostHi: "0.550"}, single, {name: "auc_per_record", of: OfTraining, mostHi: "0.550"},
			one, {name: "tpr_1", of: OfModel, mostLo: "0.020"},
			{name: "tpr_01", of: OfTraining, most: "0.005"}, {name: "tpr_01", of: OfModel, mostLo: "0.005"}}
		if r.Private {
			m = append(m, mark{name: "auc_bound", of: OfTraining, mostLo: ceil3(membershipBound(r.Rho.Rho()))},
				mark{name: "tpr_1_bound", of: OfTraining, mostLo: ceil3(catchBound(r.Rho.Rho(), 0.01))})
		}
		return m
	case CodeWorstCase:
		return []mark{value(mark{name: "auc", of: OfModel}, "0.550", resolved), {name: "significant", of: OfModel, most: "0.100"}}
	case CodeCanary:
		most := "1.000"
		if r.Private {
			most = r.Epsilon
		}
		return []mark{{name: "epsilon_proved", of: OfTraining, most: most}, {name: "guessed", of: OfTraining}}
	case CodeAttribute:
		return []mark{{name: "surplus", of: OfModel, each: true, mostLo: "0.000"}, {name: "surplus", of: OfTraining, each: true, most: "0.020"}}
	case CodeInversion:
		m := []mark{value(mark{name: "surplus_feature", of: OfTraining}, "0.020", r.Targets >= 150)}
		if len(r.Skipped) == 0 {
			m = append(m, value(mark{name: "surplus_label", of: OfTraining}, "0.020", r.Targets >= 150))
		}
		return m
	case CodeInstance:
		return []mark{{name: "records", of: OfModel, most: "0.000"}, {name: "near", of: OfModel, mostLo: "0.050"}}
	}
	return nil
}

// held gives figures the marks of their attack.
func (r *Report) held(code string, figures []Figure) []Figure {
	for i := range figures {
		for _, m := range r.marks(code) {
			if m.name == figures[i].Name && m.of == figures[i].Of {
				figures[i].Most, figures[i].MostLo, figures[i].MostHi = m.most, m.mostLo, m.mostHi
			}
		}
	}
	return figures
}

// check holds a finding that was read to the marks: every figure that is due, in
// order, with the marks that are due.
func (f Finding) check(r *Report) error {
	for _, figures := range [][]Figure{f.Figures, f.Control} {
		i := 0
		for _, m := range r.marks(f.Code) {
			first := i
			for ; i < len(figures) && figures[i].Name == m.name && figures[i].Of == m.of && (i == first || m.each); i++ {
				x := figures[i]
				if x.Most != m.most || x.MostLo != m.mostLo || x.MostHi != m.mostHi || m.each != (x.Column != "") || len(x.Column) > 256 {
					return fmt.Errorf("a figure of %s is held to other marks than the gate's", f.Code)
				}
				for _, v := range []string{x.Lo, x.Hi} {
					if v != "" && !decimal.MatchString(v) {
						return fmt.Errorf("a figure of %s is no decimal of three places", f.Code)
					}
				}
				if !decimal.MatchString(x.Value) || (m.mostLo != "" && x.Lo == "") || (m.mostHi != "" && x.Hi == "") {
					return fmt.Errorf("a figure of %s is no decimal of three places", f.Code)
				}
			}
			if i == first {
				return fmt.Errorf("a figure of %s is missing", f.Code)
			}
		}
		if i != len(figures) {
			return fmt.Errorf("%s has a figure that is not the gate's", f.Code)
		}
	}
	return nil
}

// epsilonText is the ε of a price at δ = 10⁻⁶, rounded up.
func epsilonText(rho budget.Nano) string {
	e, err := budget.Epsilon(rho, delta)
	if err != nil {
		return ""
	}
	return ceil3(e)
}

// words of the refusals, by attack: what was found, and what would help.
var words = map[string][4]string{
	CodeFamily: {"该模型族或发布方式不允许出域", "this family, or this way of release, may not leave the domain",
		"使用允许的模型族；导出参数须差分隐私训练，且 ε ≤ 4", "use a permitted family; parameters leave only when trained privately, with ε of 4 at most"},
	CodeStructure: {"模型结构过细：参数过多、叶子过小、类别单一、含目录外常数，或训练损失明显低于留出损失", "the model is too fine: too many parameters, small cells, cells of one class, constants outside the catalogue, or a loss on training units clearly below that on the others",
		"减少特征、分箱或深度，提高 leaf，或使用更多数据", "use fewer features, bins or levels, raise leaf, or use more data"},
	CodeMembership: {"成员推断攻击能识别哪些单元参与了训练", "membership inference tells which units were in training",
		"加强正则化、减少参数，或使用 private 训练", "regularise more, use fewer parameters, or train privately"},
	CodeWorstCase: {"仅凭分数即可区分训练单元与留出单元", "the scores alone tell training units from others",
		"加强正则化、减少参数，或使用 private 训练", "regularise more, use fewer parameters, or train privately"},
	CodeCanary: {"植入的金丝雀单元可被识别，实测 ε 下界超过允许值", "planted canaries are recognised: the proved lower bound of ε exceeds what is allowed",
		"限制单个单元的影响（clip），或使用 private 训练", "bound what one unit can do (clip), or train privately"},
	CodeAttribute: {"模型泄露训练单元的属性：猜中率明显高于留出单元", "the model gives away attributes of its training units: they are guessed clearly more often than those of others",
		"去掉该列、减少其分箱，或使用 private 训练", "leave the column out, give it fewer bins, or train privately"},
	CodeInversion: {"知情攻击者可还原训练单元的缺失值", "an informed adversary restores the one value that it lacks",
		"加强正则化、减少参数，或使用 private 训练", "regularise more, use fewer parameters, or train privately"},
	CodeInstance: {"模型内存有训练记录，或与某条记录过近的点", "the model holds training records, or points too close to them",
		"使用不保存记录的模型族", "use a family that keeps no records"},
}

// reason names the attack and the figures that miss their marks.
func (f Finding) reason() *policies.Reason {
	w := words[f.Code]
	zh, en := "", ""
	for _, x := range f.Figures {
		if x.Passes() {
			continue
		}
		got, allowed := x.Value, x.Most
		switch {
		case x.Most != "" && thousandths(x.Value) > thousandths(x.Most):
		case x.MostHi != "" && thousandths(x.Hi) > thousandths(x.MostHi):
			got, allowed = x.Hi, x.MostHi
		default:
			got, allowed = x.Lo, x.MostLo
		}
		zh += fmt.Sprintf("；%s = %s（上限 %s）", Label(x, "zh"), got, allowed)
		en += fmt.Sprintf("; %s = %s (at most %s)", Label(x, "en"), got, allowed)
		if len(zh) > 400 {
			zh, en = zh+"；…", en+"; …"
			break
		}
	}
	return &policies.Reason{Code: f.Code, Rule: rule, SetBy: "sandgate", ZH: w[0] + zh, EN: w[1] + en, HintZH: w[2], HintEN: w[3]}
}

// missed says that an attack proves nothing.
func missed(code string) *policies.Reason {
	return &policies.Reason{Code: CodeControl, Rule: rule, SetBy: "sandgate",
		ZH: "本次检验无效：攻击 " + code + " 未能识破故意记忆数据的对照模型", EN: "this run is void: attack " + code + " did not catch the control, a model that memorises its rows",
		HintZH: "使用更多数据后重新检验；数据列须有足够取值", HintEN: "run the gate again on more data; the columns need enough different values"}
}

var labels = map[string][2]string{
	"refused_family":           {"被拒模型族", "refused family"},
	"parameters_without_noise": {"未加噪而导出参数", "parameters exported without noise"},
	"epsilon":                  {"ε", "ε"},
	"parameters_per_unit":      {"参数数与训练单元数之比", "parameters per training unit"},
	"freedom_short":            {"残差自由度不足 10", "residual degrees of freedom below 10"},
	"small_cells":              {"不足 10 个单元的叶子", "cells of fewer than 10 units"},
	"pure_cells":               {"只有一个类别的叶子", "cells of one class"},
	"small_classes":            {"某类别不足 10 个单元的叶子", "cells with fewer than 10 units of a class"},
	"foreign_constants":        {"目录以外的常数", "constants outside the catalogue"},
	"loss_gap":                 {"训练与留出损失分布之差（KS）", "distance of the losses, training and held out (KS)"},
	"auc":                      {"AUC", "AUC"},
	"auc_per_record":           {"逐记录校准的 AUC", "AUC calibrated per record"},
	"tpr_1":                    {"误报 1 % 时的识别率", "TPR at 1 % FPR"},
	"tpr_01":                   {"误报 0.1 % 时的识别率", "TPR at 0.1 % FPR"},
	"auc_bound":                {"AUC，对照 ρ 理论上限", "AUC against the bound of ρ"},
	"tpr_1_bound":              {"误报 1 % 时的识别率，对照 ρ 理论上限", "TPR at 1 % FPR against the bound of ρ"},
	"significant":              {"显著的重复所占比例", "share of significant repetitions"},
	"epsilon_proved":           {"实测 ε 下界（95 %）", "ε proved at least (95 %)"},
	"guessed":                  {"金丝雀猜中率", "canaries guessed"},
	"surplus":                  {"猜中率高出留出单元", "guessed more often than of others"},
	"surplus_feature":          {"特征值猜中率高出先验", "feature guessed more often than by chance"},
	"surplus_label":            {"标签猜中率高出先验", "label guessed more often than by chance"},
	"records":                  {"与训练记录相同的点", "points equal to training records"},
	"near":                     {"过近的点所占比例", "share of points too close to records"},
}

// Label names a figure in lang ("zh" or "en").
func Label(f Figure, lang string) string {
	w := labels[f.Name]
	if lang == "en" {
		if f.Column != "" {
			w[1] = f.Column + ": " + w[1]
		}
		return w[1] + map[string]string{OfTraining: " (way of training)"}[f.Of]
	}
	if f.Column != "" {
		w[0] = f.Column + "：" + w[0]
	}
	return w[0] + map[string]string{OfTraining: "（训练方式）"}[f.Of]
}
