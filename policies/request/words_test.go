package request

import (
	"regexp"
	"strings"
	"testing"
)

// The loops say what the regular expressions beside them say.
func FuzzWords(f *testing.F) {
	for _, s := range []string{"", "a", "A", "a1_.-@", "é", "\\", `"`, "~!", " ", "13812345678", "x13812345678y", "12812345678", "138123456789", "110101199003074514", "1234567890123456", "123456789", "\n", "a\n",
		strings.Repeat("a", 63), strings.Repeat("a", 64), strings.Repeat("!", 255), strings.Repeat("!", 256), strings.Repeat("f", 64), strings.Repeat("f", 63) + "F", "123456789012345-", "a12345678"} {
		f.Add(s)
	}
	cases := []wordCase{
		{"word", regexp.MustCompile(`^[!#-\[\]-~]{1,255}$`), isWord},
		{"name", regexp.MustCompile(`^[a-z][a-z0-9_.]{0,62}$`), isName},
		{"party", regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}$`), isParty},
		{"person", regexp.MustCompile(`^[a-z][a-z0-9_.@-]{0,62}$`), isPerson},
		{"long", regexp.MustCompile(`[0-9]{9}`), func(s string) bool { return longestRun(s) >= 9 }},
		{"number", regexp.MustCompile(`(^|[^0-9])(1[3-9][0-9]{9}|[0-9]{15}|[0-9]{16,})([^0-9]|$)`), readsAsNumber},
		{"digest", regexp.MustCompile(`^[0-9a-f]{64}$`), isDigest},
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, c := range cases {
			if got, want := c.is(s), c.was.MatchString(s); got != want {
				t.Errorf("%s %q: %v, want %v", c.name, s, got, want)
			}
		}
	})
}

type wordCase struct {
	name string
	was  *regexp.Regexp
	is   func(string) bool
}
