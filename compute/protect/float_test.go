package protect

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// Plans are computed in integers: a float that rounds differently on another
// machine would make two auditors disagree.
func TestNoFloatInPlans(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) < 5 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if x, ok := n.(*ast.BasicLit); ok && x.Kind == token.FLOAT {
				t.Errorf("%s: float literal %s", name, x.Value)
			}
			if x, ok := n.(*ast.Ident); ok && (x.Name == "float64" || x.Name == "float32" || x.Name == "Float64") {
				t.Errorf("%s: %s", name, x.Name)
			}
			return true
		})
	}
}
