package main_test

import (
	"go/ast"
	"go/token"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
)

func han(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return unicode.Is(unicode.Han, r) })
}

// literals are the texts that stand in an expression.
func literals(e ast.Expr) string {
	var out strings.Builder
	ast.Inspect(e, func(n ast.Node) bool {
		if x, ok := n.(*ast.BasicLit); ok && x.Kind == token.STRING {
			s, _ := strconv.Unquote(x.Value)
			out.WriteString(s)
		}
		return true
	})
	return out.String()
}

// wholeText is an expression that is text alone.
func wholeText(e ast.Expr) (string, bool) {
	switch x := e.(type) {
	case *ast.BasicLit:
		s, err := strconv.Unquote(x.Value)
		return s, err == nil && x.Kind == token.STRING
	case *ast.BinaryExpr:
		a, first := wholeText(x.X)
		b, second := wholeText(x.Y)
		return a + b, first && second
	}
	return "", false
}

var verb = regexp.MustCompile(`%(?:\[(\d+)\])?([a-z%])`)

// verbs are the arguments that a format takes, by position, each with its verb.
func verbs(format string) map[int]string {
	out, next := map[int]string{}, 1
	for _, m := range verb.FindAllStringSubmatch(format, -1) {
		if m[2] == "%" {
			continue
		}
		if m[1] != "" {
			next, _ = strconv.Atoi(m[1])
		}
		out[next] = m[2]
		next++
	}
	return out
}

// chosen says whether an expression is no text of its own.
func chosen(e ast.Expr) bool {
	_, whole := wholeText(e)
	return !whole
}

// Whoever writes a document, sets a mask or types a command is answered in Chinese:
// every error of these packages has its Chinese in the package's book, for the same
// arguments.
func TestR05_ErrorsThatPeopleReadAreInTheBooks(t *testing.T) {
	for dir, least := range map[string]int{"policies": 400, "masking": 30, "cmd/sandgate": 100, "gateway/home": 50, "gateway/client": 5, "gateway/certificate": 10, "ledger/dossier": 25} {
		book, used := map[string]string{}, map[string]bool{}
		for _, s := range sources(t) {
			if s.test || s.dir != dir {
				continue
			}
			ast.Inspect(s.file, func(n ast.Node) bool {
				if lit, ok := n.(*ast.CompositeLit); ok && selects(lit.Type, "bilingual", "Book") {
					for _, e := range lit.Elts {
						pair := e.(*ast.KeyValueExpr)
						en, _ := wholeText(pair.Key)
						zh, _ := wholeText(pair.Value)
						if !han(zh) && !strings.Contains(zh, "：") {
							t.Errorf("%s: no Chinese: %q", at(pair), zh)
						}
						book[en] = zh
					}
				}
				return true
			})
		}
		for _, s := range sources(t) {
			if s.test || s.dir != dir {
				continue
			}
			ast.Inspect(s.file, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}
				// A command chooses between two texts by itself.
				if own := selects(call.Fun, "fmt", "Errorf") || selects(call.Fun, "errors", "New"); own && (dir != "cmd/sandgate" || !chosen(call.Args[0])) {
					t.Errorf("%s: an error in English alone; write texts.Errorf, with its Chinese in the book", at(call))
				}
				if !selects(call.Fun, "texts", "Errorf") {
					return true
				}
				en, ok := wholeText(call.Args[0])
				zh, known := book[en]
				switch used[en] = true; {
				case !ok:
					t.Errorf("%s: the format is no text", at(call))
				case !known:
					t.Errorf("%s: %q is not in the book of %s", at(call), en, dir)
				default:
					want, got := verbs(en), verbs(zh)
					for i, v := range want {
						if g := got[i]; g != v && !(v == "q" && g == "s") {
							t.Errorf("%s: argument %d is %%%s in English, %q in Chinese", at(call), i, v, g)
						}
					}
					if len(got) != len(want) {
						t.Errorf("%s: %d arguments in English, %d in Chinese", at(call), len(want), len(got))
					}
				}
				return true
			})
		}
		if len(used) < least {
			t.Errorf("%s: only %d errors were looked at", dir, len(used))
		}
	}
}

// A refusal reads in both languages: its Chinese is Chinese and its English is not.
func TestR05_ReasonsReadInBothLanguages(t *testing.T) {
	seen := 0
	check := func(n ast.Node, zh, en ast.Expr) {
		if zh == nil && en == nil {
			return // written below it
		}
		if zh == nil || en == nil {
			t.Errorf("%s: a reason in one language", at(n))
			return
		}
		seen++
		text, whole := wholeText(zh)
		if !whole {
			text = literals(zh)
		}
		if !han(text) && (whole || strings.ContainsFunc(text, unicode.IsLetter)) {
			t.Errorf("%s: the Chinese of a reason is not Chinese: %q", at(n), text)
		}
		if text := literals(en); han(text) {
			t.Errorf("%s: the English of a reason holds Chinese: %q", at(n), text)
		}
	}
	for _, s := range sources(t) {
		if s.test || s.generated {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch x := n.(type) {
			case *ast.CallExpr:
				if f, ok := x.Fun.(*ast.Ident); ok && f.Name == "reasonf" && len(x.Args) >= 5 {
					check(x, x.Args[3], x.Args[4])
				} else if ok && f.Name == "invalid" && len(x.Args) == 3 && s.dir == "gateway" {
					check(x, x.Args[1], x.Args[2])
				}
			case *ast.CompositeLit:
				id, own := x.Type.(*ast.Ident)
				if !selects(x.Type, "policies", "Reason") && !(own && id.Name == "Reason" && s.dir == "policies") || len(x.Elts) == 0 {
					return true
				}
				fields := map[string]ast.Expr{}
				for _, e := range x.Elts {
					if pair, ok := e.(*ast.KeyValueExpr); ok {
						fields[pair.Key.(*ast.Ident).Name] = pair.Value
					}
				}
				names := []string{"Code", "Rule", "SetBy", "ZH", "EN", "HintZH", "HintEN", "Line", "Column"}
				for name := range fields {
					if !slices.Contains(names, name) {
						t.Errorf("%s: what is %s?", at(x), name)
					}
				}
				check(x, fields["ZH"], fields["EN"])
				if fields["HintZH"] != nil || fields["HintEN"] != nil {
					check(x, fields["HintZH"], fields["HintEN"])
				}
			}
			return true
		})
	}
	if seen < 150 {
		t.Errorf("only %d reasons were looked at", seen)
	}
}
