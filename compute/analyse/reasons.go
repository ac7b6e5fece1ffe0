package analyse

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/sandgate/sandgate/policies"
)

// wording is one refusal in both languages. {name} stands for a name; the
// texts carry no literal and no word of the parser's own messages.
type wording struct{ zh, en, hintZH, hintEN string }

// reason builds the refusal of a code. An optional name is put in for {name}.
func reason(code string, name ...string) *policies.Reason {
	w, ok := wordings[code]
	if !ok {
		w, ok = postWordings[code]
	}
	if !ok {
		code, w = "UNSUPPORTED", wordings["UNSUPPORTED"]
	}
	zh, en := "该处的名称", "the name there"
	if len(name) > 0 && echoable(name[0]) {
		zh, en = "「"+name[0]+"」", `"`+name[0]+`"`
	}
	put := strings.NewReplacer("{name}", zh).Replace
	putEN := strings.NewReplacer("{name}", en).Replace
	return &policies.Reason{
		Code: code, Rule: "core language", SetBy: "sandgate",
		ZH: put(w.zh), EN: putEN(w.en), HintZH: put(w.hintZH), HintEN: putEN(w.hintEN),
	}
}

// echoable says whether a name that stands in no catalogue may be repeated: what
// an operator typed as a name may be an identity number or a whole record.
func echoable(name string) bool {
	digits := 0
	for _, r := range name {
		if unicode.IsDigit(r) || unicode.IsNumber(r) {
			digits++
		}
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return name != "" && digits < 6 && utf8.RuneCountInString(name) <= 32 && utf8.ValidString(name)
}

// at gives r its place in text.
func at(r *policies.Reason, text string, off int) *policies.Reason {
	r.Line, r.Column = position(text, off)
	return r
}
