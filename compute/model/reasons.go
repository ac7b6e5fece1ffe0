package model

import (
	"fmt"

	"github.com/sandgate/sandgate/policies"
)

// Codes of refusals. The first group is NewDesign's, before any data is read; the
// second the encoder's; the third Train's.
const (
	CodeFamily    = "MODEL_FAMILY"     // no such family, or one that keeps records
	CodeSpec      = "MODEL_SPEC"       // the specification contradicts itself
	CodeSetting   = "MODEL_SETTING"    // a setting out of range or of another family
	CodeColumn    = "MODEL_COLUMN"     // a column that cannot be used as asked
	CodeConstant  = "MODEL_CONSTANT"   // by the catalogue the column has one value
	CodeLabel     = "MODEL_LABEL"      // the label does not fit the family or the catalogue
	CodeTooLarge  = "MODEL_TOO_LARGE"  // too many parameters
	CodePrice     = "MODEL_PRICE"      // rho is missing, malformed or too small
	CodeParameter = "MODEL_PARAMETERS" // a parameter file that is not one

	CodeCode = "MODEL_CODE_NOT_LISTED" // a stored value is outside the code list
	CodeRows = "MODEL_ROWS"            // a batch of rows does not have the form of the design

	CodeOneClass    = "MODEL_ONE_CLASS"     // one class has too few units
	CodeTooFewUnits = "MODEL_TOO_FEW_UNITS" // too few units to train on or to judge
	CodeDegenerate  = "MODEL_DEGENERATE"    // the sums do not determine a model
	CodePass        = "MODEL_PASS"          // a pass that the plan does not hold
)

// reason is a refusal about a model. Arguments are names of the specification and of
// the catalogue, never values of rows.
func reason(code, zh, en, hintZH, hintEN string, args ...any) *policies.Reason {
	for i, a := range args {
		if s, ok := a.(string); ok {
			args[i] = shortName(s)
		}
	}
	format := func(s string) string {
		if len(args) == 0 {
			return s
		}
		return fmt.Sprintf(s, args...)
	}
	return &policies.Reason{Code: code, Rule: "model", SetBy: "sandgate", ZH: format(zh), EN: format(en), HintZH: hintZH, HintEN: hintEN}
}

// shortName keeps what a caller typed from carrying data into a refusal, as the
// policies' refusals do: a text long enough to be an identity number is not repeated.
func shortName(s string) string {
	digits, runes := 0, 0
	for _, c := range s {
		runes++
		if c >= '0' && c <= '9' {
			digits++
		}
		if c < ' ' || c == 0x7f {
			return "…"
		}
	}
	if runes > 64 || digits >= 9 {
		return "…"
	}
	return s
}

func tooFewUnits(least int) *policies.Reason {
	return reason(CodeTooFewUnits, "训练单元少于 %d 个（按可用的计数），不训练模型", "fewer than %d units to train on, by the count at hand: no model is trained",
		"扩大数据范围，或调小 settings.leaf", "use a larger data set, or a smaller settings.leaf", least)
}

func oneClass(least int) *policies.Reason {
	return reason(CodeOneClass, "标签的某一类少于 %d 个单元（按可用的计数），无法学习区分", "one class of the label has fewer than %d units, by the count at hand: there is nothing to tell apart",
		"换一个标签，或合并类别（label.positive、label.threshold）", "choose another label, or merge classes with label.positive or label.threshold", least)
}

func degenerate() *policies.Reason {
	return reason(CodeDegenerate, "所得汇总值不能确定一个模型", "the sums do not determine a model",
		"提高 rho，减少特征，或检查特征是否都缺失", "raise rho, use fewer features, or look whether the features are missing throughout")
}
