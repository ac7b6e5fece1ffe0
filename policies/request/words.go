package request

import "strings"

// Every statement is checked at each of its steps and by every replay, so these are
// loops; each stands for the regular expression beside it.

func within(s string, most int, ok func(i int, c byte) bool) bool {
	if len(s) == 0 || len(s) > most {
		return false
	}
	for i := range len(s) {
		if !ok(i, s[i]) {
			return false
		}
	}
	return true
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isLower(c byte) bool { return c >= 'a' && c <= 'z' }

// isWord: ^[!#-\[\]-~]{1,255}$
func isWord(s string) bool {
	return within(s, 255, func(_ int, c byte) bool { return c > ' ' && c <= '~' && c != '"' && c != '\\' })
}

func isIdentifier(s, further string) bool {
	return within(s, 63, func(i int, c byte) bool {
		return isLower(c) || i > 0 && (isDigit(c) || strings.IndexByte(further, c) >= 0)
	})
}

// isName: ^[a-z][a-z0-9_.]{0,62}$
func isName(s string) bool { return isIdentifier(s, "_.") }

// isParty: ^[a-z][a-z0-9_-]{0,62}$
func isParty(s string) bool { return isIdentifier(s, "_-") }

// isPerson: ^[a-z][a-z0-9_.@-]{0,62}$
func isPerson(s string) bool { return isIdentifier(s, "_.@-") }

// isDigest: ^[0-9a-f]{64}$
func isDigest(s string) bool {
	return len(s) == 64 && within(s, 64, func(_ int, c byte) bool { return isDigit(c) || c >= 'a' && c <= 'f' })
}

// eachRun calls f with every longest run of digits.
func eachRun(s string, f func(run string)) {
	for i := 0; i < len(s); i++ {
		if !isDigit(s[i]) {
			continue
		}
		from := i
		for i < len(s) && isDigit(s[i]) {
			i++
		}
		f(s[from:i])
	}
}

// longestRun of digits.
func longestRun(s string) (most int) {
	eachRun(s, func(run string) { most = max(most, len(run)) })
	return most
}

// readsAsNumber says whether a text holds what reads as a person's number: a mobile
// telephone's, or an identity or bank card's of 15 digits or more.
// (^|[^0-9])(1[3-9][0-9]{9}|[0-9]{15}|[0-9]{16,})([^0-9]|$)
func readsAsNumber(s string) (found bool) {
	eachRun(s, func(run string) {
		found = found || len(run) >= 15 || len(run) == 11 && run[0] == '1' && run[1] >= '3'
	})
	return found
}
