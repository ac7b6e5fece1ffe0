package policies

import "fmt"

// Reason is one cause of a refusal 拒绝理由, in both languages. It names the
// construct, the rule and who set it, and a way that would be allowed. It never
// carries a data value or an operator's literal: only names that stand in the
// catalogue, and positions in the operator's own text.
type Reason struct {
	// Code is stable and machine-readable, UPPER_SNAKE, at most 63 characters.
	Code string `json:"code"`
	// Rule is the article or policy document the refusal rests on, e.g.
	// "disclosure/social_insurance" or "core language".
	Rule string `json:"rule,omitempty"`
	// SetBy is the party that can change the rule (a department, "regulator",
	// "sandgate" for the closed language).
	SetBy string `json:"set_by,omitempty"`
	ZH    string `json:"zh"`
	EN    string `json:"en"`
	// HintZH and HintEN say what would be allowed.
	HintZH string `json:"hint_zh,omitempty"`
	HintEN string `json:"hint_en,omitempty"`
	// Line and Column (1-based, in characters) locate the construct in the SQL
	// text; zero when the refusal is not about a place.
	Line   int `json:"line,omitempty"`
	Column int `json:"column,omitempty"`
}

// Error implements error with the English text; callers that face a person use
// Text.
func (r *Reason) Error() string { return r.Code + ": " + r.EN }

// Text returns message, position and hint in lang ("zh" or "en").
func (r *Reason) Text(lang string) string {
	msg, hint, at := r.ZH, r.HintZH, "（第 %d 行第 %d 列）"
	sep := "；"
	if lang == "en" {
		msg, hint, at, sep = r.EN, r.HintEN, " (line %d, column %d)", "; "
	}
	if r.Line > 0 {
		msg += fmt.Sprintf(at, r.Line, r.Column)
	}
	if hint != "" {
		msg += sep + hint
	}
	return msg
}
