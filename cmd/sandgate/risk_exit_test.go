package main_test

import (
	"go/ast"
	"testing"
)

// Exact counts of equivalence classes are read in one function, which gives them to
// package risk; and what that finds is answered by one method, whose caller the
// door holds to be the department that owns the data.
func TestR01_ClassCountsAreReadInOnePlace(t *testing.T) {
	calls, naming := 0, map[string]bool{}
	for _, s := range server(t) {
		ast.Inspect(s.file, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				if sel, ok := call.Fun.(*ast.SelectorExpr); ok && sel.Sel.Name == "Classes" {
					calls++
				}
			}
			if e, ok := n.(ast.Expr); ok && selects(e, "risk", "Report", "Assess", "Class") {
				naming[s.path] = true
			}
			return true
		})
	}
	if calls != 1 {
		t.Errorf("%d calls of Runner.Classes; one was expected", calls)
	}
	if len(naming) != 1 || !naming["gateway/risk.go"] {
		t.Errorf("figures of an assessment are handled in %v", naming)
	}
}
