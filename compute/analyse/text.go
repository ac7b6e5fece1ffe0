package analyse

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/sandgate/sandgate/policies"
)

// Limits of an operator's text. A text within them costs the parser well under
// 100 ms; the planner, which does not scale, never sees it.
const (
	MaxText  = 64 << 10 // bytes of SQL text
	MaxNodes = 2000     // expressions of the syntax tree
	MaxDepth = 100      // nesting of expressions
	MaxJoins = 10
	maxAlias = 128 // characters of an output name
	// bytes of a syntax tree: more than one of MaxNodes expressions has, and little
	// enough that reading it takes well under 64 MB.
	maxTree = 1 << 20
)

// CheckText refuses a text that must not reach the parser: too long, not UTF-8,
// or with characters that make a reader see another query than the parser does.
func CheckText(text string) *policies.Reason {
	switch {
	case strings.TrimSpace(text) == "":
		return reason("EMPTY")
	case len(text) > MaxText:
		return reason("TOO_LARGE")
	}
	for off, r := range text {
		if r == utf8.RuneError {
			if _, size := utf8.DecodeRuneInString(text[off:]); size == 1 {
				return at(reason("NOT_UTF8"), text, off)
			}
		}
		if r == 0 {
			return at(reason("CHARACTER"), text, off)
		}
	}
	bad := -1
	lex(text, func(off int, r rune, in region) bool {
		switch {
		case in == inLiteral:
			return true
		case r == '\t' || r == '\n' || r == '\r' || r == ' ':
			return true
		case unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029':
			bad = off // bidirectional overrides and zero-width characters are in Cf
		case in != inComment && unicode.IsSpace(r) || in == inCode && unicode.Is(unicode.Zs, r):
			bad = off // the parser rewrites them, and every position behind moves
		}
		return bad < 0
	})
	if bad >= 0 {
		return at(reason("CHARACTER"), text, bad)
	}
	return nil
}

// region is where a character of SQL text stands.
type region int

const (
	inCode region = iota
	inLiteral
	inName // quoted identifier
	inComment
)

// lex walks text character by character and says where each one stands, until
// visit returns false. It knows '…', E'…', "…", $tag$…$tag$, -- and nested /* */.
func lex(text string, visit func(off int, r rune, in region) bool) {
	emit := func(from, to int, in region) bool {
		for i, r := range text[from:to] {
			if !visit(from+i, r, in) {
				return false
			}
		}
		return true
	}
	for i := 0; i < len(text); {
		end, in := i, inCode
		rest := text[i:]
		switch {
		case strings.HasPrefix(rest, "--"):
			end, in = i+lengthTo(rest, "\n"), inComment
		case strings.HasPrefix(rest, "/*"):
			end, in = i+commentLength(rest), inComment
		case rest[0] == '"':
			end, in = i+quotedLength(rest, '"', false), inName
		case rest[0] == '\'':
			escapes := i > 0 && (text[i-1] == 'e' || text[i-1] == 'E') && (i < 2 || !wordByte(text[i-2]))
			end, in = i+quotedLength(rest, '\'', escapes), inLiteral
		case rest[0] == '$' && (i == 0 || !wordByte(text[i-1])):
			if tag := dollarTag(rest); tag != "" {
				end, in = i+len(tag)+lengthTo(rest[len(tag):], tag), inLiteral
			}
		}
		if end == i {
			_, size := utf8.DecodeRuneInString(rest)
			end = i + size
		}
		if !emit(i, end, in) {
			return
		}
		i = end
	}
}

func wordByte(b byte) bool {
	return b == '_' || b >= '0' && b <= '9' || b|0x20 >= 'a' && b|0x20 <= 'z' || b >= utf8.RuneSelf
}

// lengthTo is the length of s up to and with the first end, or all of s.
func lengthTo(s, end string) int {
	if i := strings.Index(s, end); i >= 0 {
		return i + len(end)
	}
	return len(s)
}

func quotedLength(s string, quote byte, escapes bool) int {
	for i := 1; i < len(s); i++ {
		switch {
		case escapes && s[i] == '\\':
			i++
		case s[i] == quote:
			if i+1 < len(s) && s[i+1] == quote {
				i++
				continue
			}
			return i + 1
		}
	}
	return len(s)
}

func commentLength(s string) int {
	depth := 0
	for i := 0; i+1 < len(s); i++ {
		switch s[i : i+2] {
		case "/*":
			depth++
			i++
		case "*/":
			depth--
			i++
			if depth == 0 {
				return i + 1
			}
		}
	}
	return len(s)
}

// dollarTag is the opening $tag$ at the start of s, or empty.
func dollarTag(s string) string {
	for i := 1; i < len(s); i++ {
		if s[i] == '$' {
			return s[:i+1]
		}
		if !wordByte(s[i]) || i == 1 && s[i] >= '0' && s[i] <= '9' {
			return ""
		}
	}
	return ""
}

// firstWord is the first keyword of text, in upper case.
func firstWord(text string) string {
	var b strings.Builder
	lex(text, func(_ int, r rune, in region) bool {
		letter := in == inCode && (r|0x20 >= 'a' && r|0x20 <= 'z')
		if letter {
			b.WriteRune(unicode.ToUpper(r))
		}
		return letter || b.Len() == 0
	})
	return b.String()
}

// position turns a byte offset into a line and a column, both from 1 and in
// characters; zero for an offset outside the text.
func position(text string, off int) (line, column int) {
	if off < 0 || off > len(text) {
		return 0, 0
	}
	line, column = 1, 1
	for _, r := range text[:off] {
		if r == '\n' {
			line, column = line+1, 1
		} else {
			column++
		}
	}
	return line, column
}

// byteOffset is where the n-th character of text starts: the parser counts
// characters in its errors, but bytes in its trees.
func byteOffset(text string, n int) int {
	for off := range text {
		if n == 0 {
			return off
		}
		n--
	}
	return len(text)
}
