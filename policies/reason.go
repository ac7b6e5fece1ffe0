package policies

import (
	"fmt"
	"regexp"
	"unicode"

	"github.com/sandgate/sandgate/internal/bilingual"
)

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

// Chinese is the reason as a part of another error in Chinese.
func (r *Reason) Chinese() string { return r.Code + "：" + r.Text("zh") }

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

// reasonf builds a Reason whose zh and en formats take the same arguments, all
// of them names from policy documents or the request's own identifiers.
func reasonf(code, rule, setBy, zh, en string, args ...any) *Reason {
	for i, a := range args {
		if s, ok := a.(string); ok {
			args[i] = safeName(s)
		}
	}
	return &Reason{Code: code, Rule: rule, SetBy: setBy, ZH: fmt.Sprintf(zh, args...), EN: fmt.Sprintf(en, args...)}
}

func (r *Reason) hint(zh, en string) *Reason { r.HintZH, r.HintEN = zh, en; return r }

// safeName keeps an identifier that a caller typed from carrying data into a
// refusal: a name long enough to be an identity number is not repeated.
func safeName(s string) string {
	digits := 0
	for _, c := range s {
		if unicode.IsDigit(c) {
			digits++
		}
		if !unicode.IsPrint(c) {
			return "…"
		}
	}
	if len([]rune(s)) > 64 || digits >= 9 {
		return "…"
	}
	return s
}

var longNumber = regexp.MustCompile(`\p{Nd}{9,}`)

// plainError shows err without any number as long as an identity number.
type plainError struct{ err error }

// withoutNumbers keeps what stands in a bundle by mistake, an identity number as
// a key or a code, out of the error that says where the mistake is.
func withoutNumbers(err error) error {
	if err == nil || !longNumber.MatchString(err.Error()) {
		return err
	}
	return plainError{err}
}

func (e plainError) Error() string { return longNumber.ReplaceAllString(e.err.Error(), "…") }

// Chinese is the error in Chinese, without such numbers either.
func (e plainError) Chinese() string {
	return longNumber.ReplaceAllString(bilingual.Chinese(e.err), "…")
}

func (e plainError) Unwrap() error { return e.err }
