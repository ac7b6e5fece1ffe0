package masking

import (
	"strings"
	"unicode"
)

// compoundSurnames 复姓 of two characters. One counts as the surname only when a
// given name follows it: 欧阳 alone may be a 欧 whose given name is 阳.
var compoundSurnames = func() map[string]bool {
	m := map[string]bool{}
	for s := range strings.FieldsSeq("欧阳 司马 上官 诸葛 东方 皇甫 尉迟 公孙 慕容 令狐 司徒 司空 " +
		"夏侯 南宫 东郭 西门 长孙 宇文 轩辕 钟离 闻人 独孤 端木 百里 呼延 公羊 赫连 澹台 申屠 " +
		"太史 濮阳 淳于 单于 鲜于 闾丘 仲孙 万俟 宗政 拓跋 完颜 纳兰 公冶 太叔 巫马 公良 漆雕 " +
		"壤驷 公西 段干 子车 颛孙 微生 羊舌 梁丘 左丘 东门 南门 第五 贺兰 耶律 叶赫 那拉 爱新 " +
		"富察 佟佳 钮祜 西陵 即墨 达奚 谷梁 乐正 司寇 司城 亓官 宰父 夹谷") {
		m[s] = true
	}
	return m
}()

// maxName is the longest name in characters that is still read as a name.
const maxName = 30

// PersonalName checks the shape of a name in Han script: 1 to 30 characters, of
// which separators (·) may stand between parts, not at an end and not in a row.
// Characters are counted, not bytes: a rare character beyond the basic plane is
// one. A name has no check character, so the result is OK or Malformed; names in
// other scripts are Malformed, and display masks star them out.
func PersonalName(s string) Validity {
	n, last := 0, true // a separator must not come first
	for _, c := range s {
		switch {
		case separator(c):
			if last {
				return Malformed
			}
			last = true
		case unicode.Is(unicode.Han, c):
			last = false
		default:
			return Malformed
		}
		n++
	}
	if n == 0 || n > maxName || last {
		return Malformed
	}
	return OK
}

// separator of the parts of a name: U+00B7, or one of the dots typed for it.
func separator(c rune) bool {
	return c == '·' || c == '•' || c == '・' || c == '‧'
}
