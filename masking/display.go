package masking

import (
	"strings"
	"unicode"
)

// starred replaces a value that a display mask cannot read. Its width is fixed
// so that not even the length of a malformed value passes.
const starred = "********"

// display turns a mask of well-formed values into an operator that stars out
// every other value.
func display(mask func(string) (string, bool)) Operator {
	return apply(func(v string) (string, bool) {
		if out, ok := mask(v); ok {
			return out, false
		}
		return starred, false
	})
}

// maskID keeps the first 6 and the last 4 characters of a 公民身份号码 and stars
// the birth date. It keeps region, sex (odd or even serial) and a check that
// narrows the date to one in eleven: a quasi-identifier. A number whose check
// fails is masked the same; the legacy spellings are normalised first.
func maskID(v string) (string, bool) {
	n, ok := NormaliseCitizenID(v)
	if !ok || CitizenID(n) == Malformed {
		return "", false
	}
	return n[:6] + "********" + n[14:], true
}

// maskPhone keeps the first 3 and last 4 digits of a mobile number. With a name
// or a district beside it the last 4 single people out.
func maskPhone(v string) (string, bool) {
	n, ok := NormalisePhone(v)
	if !ok {
		return "", false
	}
	return n[:3] + "****" + n[7:], true
}

// maskCard keeps the issuer's 6 digits and the last 4 of a card number. Luhn's
// check leaves a tenth of the middle: of a 13-digit card only 100 candidates.
func maskCard(v string) (string, bool) {
	if BankCard(v) == Malformed {
		return "", false
	}
	return v[:6] + strings.Repeat("*", len(v)-10) + v[len(v)-4:], true
}

// compoundSurnames 复姓 in current use. A two-character one counts as the
// surname only when a given name follows it.
var compoundSurnames = func() map[string]bool {
	m := map[string]bool{}
	for s := range strings.FieldsSeq("欧阳 司马 上官 诸葛 东方 皇甫 尉迟 公孙 慕容 令狐 司徒 司空 " +
		"夏侯 南宫 东郭 西门 长孙 宇文 轩辕 钟离 闻人 独孤 端木 百里 呼延 公羊 赫连 澹台 申屠 " +
		"太史 濮阳 淳于 单于 鲜于 闾丘 仲孙 万俟 宗政 拓跋 完颜 纳兰") {
		m[s] = true
	}
	return m
}()

// maxName is the longest name in characters that is still read as a name.
const maxName = 30

// maskName keeps the surname, one star per further character: 张*, 欧阳**. A name
// with a separator (阿依古丽·买买提) has no surname: its first character and the
// separators are kept. It keeps surname and length of the name, which single out
// bearers of rare surnames. Counted in characters, not bytes. One character
// alone, or anything not in Han script, is starred out.
func maskName(v string) (string, bool) {
	r := []rune(v)
	if len(r) < 2 || len(r) > maxName {
		return "", false
	}
	dotted := false
	for i, c := range r {
		if separator(c) {
			if i == 0 || i == len(r)-1 || separator(r[i-1]) {
				return "", false
			}
			dotted = true
		} else if !unicode.Is(unicode.Han, c) {
			return "", false
		}
	}
	keep := 1
	if !dotted && len(r) > 2 && compoundSurnames[string(r[:2])] {
		keep = 2
	}
	for i := keep; i < len(r); i++ {
		if separator(r[i]) {
			r[i] = '·'
		} else {
			r[i] = '*'
		}
	}
	return string(r), true
}

// separator of the parts of a name: U+00B7, or one of the dots typed for it.
func separator(c rune) bool {
	return c == '·' || c == '•' || c == '・' || c == '‧'
}
