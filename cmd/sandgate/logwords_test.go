package main_test

import (
	"go/ast"
	"slices"
	"strings"
	"testing"
)

// R05: every message that the gateway logs reads in Chinese too, with the English that
// log collectors match beside it.
func TestR05_LogMessagesReadInChinese(t *testing.T) {
	words, seen := map[string]bool{}, 0
	for _, s := range sources(t) {
		if s.path != "cmd/sandgate/logwords.go" {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if pair, ok := n.(*ast.KeyValueExpr); ok {
				en, text := wholeText(pair.Key)
				zh, _ := wholeText(pair.Value)
				if words[en] = text; text && !han(zh) {
					t.Errorf("%s: no Chinese: %q", at(pair), zh)
				}
			}
			return true
		})
	}
	for _, s := range sources(t) {
		if s.test || s.dir != "gateway" {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) == 0 {
				return true
			}
			f, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || !slices.Contains([]string{"Info", "Warn", "Error"}, f.Sel.Name) {
				return true
			}
			if of, ok := f.X.(*ast.SelectorExpr); !ok || of.Sel.Name != "Logger" {
				return true
			}
			message := call.Args[0]
			if sum, ok := message.(*ast.BinaryExpr); ok {
				message = sum.X
			}
			en, ok := wholeText(message)
			if !ok || !words[strings.TrimSuffix(en, ": ")] {
				t.Errorf("%s: %q has no Chinese in logWords", at(call), en)
			}
			seen++
			return true
		})
	}
	if seen < 30 {
		t.Errorf("only %d messages were looked at", seen)
	}
}
