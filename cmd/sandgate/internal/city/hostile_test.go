package city

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

// hostile is one query of testdata/hostile, expanded; see the README there.
type hostile struct{ name, refuse, sql string }

var (
	hostileName   = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	hostileCode   = regexp.MustCompile(`^[A-Z0-9]+(_[A-Z0-9]+)*$`)
	hostileRepeat = regexp.MustCompile(`⟦([1-9][0-9]*)×([^⟦⟧]+)⟧`)
	hostileEscape = regexp.MustCompile(`\\(x[0-9a-f]{2}|u[0-9a-f]{4})`)
)

// parseHostile reads one file of the corpus. It refuses an unknown key, a doubled
// one, a missing one, a marker that does not expand and an empty query.
func parseHostile(text string) ([]hostile, error) {
	blocks := strings.Split("\n"+text, "\n-- name: ")
	if strings.TrimSpace(blocks[0]) != "" {
		return nil, fmt.Errorf("text in front of the first name")
	}
	var out []hostile
	for _, block := range blocks[1:] {
		name, rest, _ := strings.Cut(block, "\n")
		refuse, rest, ok := strings.Cut(strings.TrimPrefix(rest, "-- refuse: "), "\n")
		if !hostileName.MatchString(name) || !ok || !hostileCode.MatchString(refuse) {
			return nil, fmt.Errorf("query %q: bad name or code", name)
		}
		body, escapes := strings.CutPrefix(rest, "-- escapes: yes\n")
		if strings.HasPrefix(body, "-- ") {
			return nil, fmt.Errorf("query %q: unknown key", name)
		}
		body, err := expand(strings.Trim(body, " \n"), escapes)
		if err != nil {
			return nil, fmt.Errorf("query %q: %w", name, err)
		}
		out = append(out, hostile{name, refuse, body})
	}
	return out, nil
}

func expand(body string, escapes bool) (string, error) {
	if body == "" {
		return "", fmt.Errorf("no text")
	}
	body = hostileRepeat.ReplaceAllStringFunc(body, func(m string) string {
		part := hostileRepeat.FindStringSubmatch(m)
		n, _ := strconv.Atoi(part[1])
		return strings.Repeat(part[2], min(n, 100_000))
	})
	if strings.ContainsAny(body, "⟦⟧") {
		return "", fmt.Errorf("marker does not expand")
	}
	if !escapes {
		return body, nil
	}
	plain := body
	body = hostileEscape.ReplaceAllStringFunc(body, func(m string) string {
		n, _ := strconv.ParseUint(m[2:], 16, 32)
		if m[1] == 'x' {
			return string([]byte{byte(n)})
		}
		return string(rune(n))
	})
	if body == plain || strings.Contains(body, `\`) {
		return "", fmt.Errorf("escapes announced but none or a wrong one found")
	}
	return body, nil
}

func TestHostileCorpus(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(testdata, "hostile", "*.sql"))
	if err != nil {
		t.Fatal(err)
	}
	seen, queries, codes := map[string]bool{}, map[string]string{}, map[string]int{}
	odd := 0
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if !utf8.Valid(text) {
			t.Errorf("%s is not plain text", f)
		}
		all, err := parseHostile(string(text))
		if err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		for _, q := range all {
			if seen[q.name] || queries[q.sql] != "" {
				t.Errorf("query %s is doubled (%s)", q.name, queries[q.sql])
			}
			seen[q.name], queries[q.sql] = true, q.name
			codes[q.refuse]++
			if !utf8.ValidString(q.sql) || strings.Contains(q.sql, "\x00") {
				odd++
			}
		}
	}
	if len(seen) < 250 || len(codes) < 40 || odd < 7 {
		t.Errorf("corpus shrank: %d queries, %d codes, %d with NUL or broken UTF-8", len(seen), len(codes), odd)
	}
}

func TestHostileFormatIsStrict(t *testing.T) {
	good := "-- name: a\n-- refuse: STAR\nSELECT ⟦3×(⟧1⟦3×)⟧\n\n-- name: b\n-- refuse: CHARACTER\n-- escapes: yes\nx\\x00\\u200b\n"
	all, err := parseHostile(good)
	if err != nil || len(all) != 2 || all[0].sql != "SELECT (((1)))" || all[1].sql != "x\x00\u200b" {
		t.Fatalf("%q, %v", all, err)
	}
	for name, text := range map[string]string{
		"text in front":  "SELECT 1\n-- name: a\n-- refuse: STAR\nx\n",
		"unknown key":    "-- name: a\n-- refuse: STAR\n-- because: x\nx\n",
		"no code":        "-- name: a\nSELECT *\n",
		"bad name":       "-- name: A b\n-- refuse: STAR\nx\n",
		"no query":       "-- name: a\n-- refuse: STAR\n\n",
		"broken marker":  "-- name: a\n-- refuse: STAR\n⟦x×(⟧\n",
		"nested marker":  "-- name: a\n-- refuse: STAR\n⟦2×⟦2×(⟧⟧\n",
		"no escape":      "-- name: a\n-- refuse: STAR\n-- escapes: yes\nx\n",
		"broken escape":  "-- name: a\n-- refuse: STAR\n-- escapes: yes\nx\\x00\\q\n",
		"escapes denied": "-- name: a\n-- refuse: STAR\n-- escapes: no\nx\\x00\n",
	} {
		if _, err := parseHostile(text); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
