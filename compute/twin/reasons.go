package twin

import (
	"fmt"

	"github.com/sandgate/sandgate/policies"
)

// Codes of refusals. The first group is NewSchema's, before any data is read.
const (
	CodeSpec   = "TWIN_SPEC"   // the specification contradicts itself or the catalogue
	CodeColumn = "TWIN_COLUMN" // a column without code list or bounds, or one too wide
	CodePrice  = "TWIN_PRICE"  // rho is missing, malformed or too small

	CodeRows        = "TWIN_ROWS"          // a batch of rows does not have the form of the schema
	CodePass        = "TWIN_PASS"          // a pass that the plan does not hold
	CodeTooFewUnits = "TWIN_TOO_FEW_UNITS" // by the noisy count there is nothing to learn from
	CodeFile        = "TWIN_FILE"          // a twin document that is not one
	CodeStale       = "TWIN_STALE"         // the catalogue changed since the twin was learned
	CodeSample      = "TWIN_SAMPLE"        // a size that cannot be drawn
)

// reason is a refusal about a twin. Arguments are names of the catalogue, never values
// of rows; what is too long or holds too many digits to be a name is not repeated.
func reason(code, zh, en, hintZH, hintEN string, args ...any) *policies.Reason {
	for i, a := range args {
		if s, ok := a.(string); ok {
			args[i] = shortName(s)
		}
	}
	if len(args) > 0 {
		zh, en = fmt.Sprintf(zh, args...), fmt.Sprintf(en, args...)
	}
	return &policies.Reason{Code: code, Rule: "twin", SetBy: "sandgate", ZH: zh, EN: en, HintZH: hintZH, HintEN: hintEN}
}

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

func badRows() error {
	return reason(CodeRows, "一批行的列数、行数或类型与孪生的结构不符", "a batch of rows does not have the columns, length or types of the schema", "按 Schema.Reads 的次序读取", "read the columns in the order of Schema.Reads")
}

func badPass(i int) error {
	return reason(CodePass, "第 %d 遍不在计划之内", "pass %d is not in the plan", "重新学习", "learn again", i+1)
}
