package main_test

import (
	"fmt"
	"go/ast"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/internal/durable/points"
)

// writers are the functions of os, unix and syscall that change the disk.
var writers = map[string][]string{
	"os": {"Chmod", "Chown", "Chtimes", "CopyFS", "Create", "CreateTemp", "Link", "Mkdir", "MkdirAll", "MkdirTemp", "OpenFile", "Remove", "RemoveAll",
		"Rename", "Symlink", "Truncate", "WriteFile"},
	"unix": {"Fallocate", "Fdatasync", "Fsync", "Ftruncate", "Link", "Linkat", "Mkdir", "Open", "Openat", "Openat2", "Pwrite", "Rename", "Renameat", "Renameat2", "Rmdir",
		"Symlink", "Sync", "Syncfs", "Truncate", "Unlink", "Unlinkat", "Write", "Writev"},
	"syscall": {"Fsync", "Ftruncate", "Link", "Mkdir", "Open", "Pwrite", "Rename", "Rmdir", "Symlink", "Sync", "Truncate", "Unlink", "Write"},
	"ioutil":  {"TempDir", "TempFile", "WriteFile"},
}

// fileMethods change a file or make it durable; how many arguments tell them from
// others of the same name.
var fileMethods = map[string]int{"Sync": 0, "WriteAt": 2, "Truncate": 1}

// doors take the name of their failure point: at which argument it stands, and what
// follows it.
var doors = map[string]struct {
	at    int
	steps []string
}{
	"Around": {0, []string{""}}, "durable.Write": {2, []string{".write", ".rename", ".syncdir"}}, "durable.Remove": {1, []string{""}}, "durable.Discard": {1, []string{""}},
	"durable.SyncDir": {1, []string{".syncdir"}}, "wal.WriteDurable": {2, []string{".write", ".rename", ".syncdir"}}, "WriteDurable": {2, []string{".write", ".rename", ".syncdir"}},
	"l.write": {0, []string{""}}, "d.step": {0, []string{""}},
}

// A write to the disk stands under a failure point that package points lists, or in
// that package's list of those that need none, with the reason; and what is listed
// is there. So whoever adds a write says what becomes of the gateway when it fails.
func TestEveryWriteHasAFailurePoint(t *testing.T) {
	known, used := map[string]bool{}, map[string]bool{}
	tests := map[string]bool{}
	for _, s := range sources(t) {
		if s.test {
			functions(s, func(f *ast.FuncDecl) { tests[f.Name.Name] = true })
		}
	}
	for _, p := range points.All {
		if !tests[p.Test] {
			t.Errorf("point %s: there is no test %q", p.Name, p.Test)
		}
		if known[p.Name] {
			t.Errorf("point %s is listed twice", p.Name)
		}
		known[p.Name] = true
		if p.ZH == "" || p.EN == "" {
			t.Errorf("point %s does not say what happens", p.Name)
		}
	}
	exempt, unused := map[string]string{}, map[string]bool{}
	for _, x := range points.Exempt {
		exempt[x.Site], unused[x.Site] = x.Reason, true
		if x.Reason == "" {
			t.Errorf("%s: no reason", x.Site)
		}
	}
	sites := 0
	for _, s := range sources(t) {
		if s.test || s.generated || !(s.under("gateway") || s.under("ledger") || s.under("compute/engine") || s.under("internal/durable")) {
			continue
		}
		if s.under("gateway/attack") || strings.HasSuffix(s.dir, "test") {
			continue // imported by tests only
		}
		functions(s, func(f *ast.FuncDecl) {
			var stack []ast.Node
			ast.Inspect(f, func(n ast.Node) bool {
				if n == nil {
					stack = stack[:len(stack)-1]
					return true
				}
				stack = append(stack, n)
				if call, ok := n.(*ast.CallExpr); ok {
					for _, p := range pointsOf(call) {
						if used[p] = true; !known[p] {
							t.Errorf("%s: failure point %s is not in internal/durable/points", at(n), p)
						}
					}
				}
				what := written(n, stack)
				if what == "" {
					return true
				}
				sites++
				if slices.ContainsFunc(stack, func(n ast.Node) bool { c, ok := n.(*ast.CallExpr); return ok && door(c) != "" }) {
					return true
				}
				site := s.path + ":" + f.Name.Name + ":" + what
				if _, ok := exempt[site]; !ok {
					t.Errorf("%s: %s writes to the disk under no failure point: put it under durable.Around, durable.Write or durable.Remove and list the point in internal/durable/points, or list %q there with the reason why it needs none",
						at(n), what, site)
				}
				delete(unused, site)
				return true
			})
		})
	}
	for site := range unused {
		t.Errorf("%s is listed and not there", site)
	}
	for name := range known {
		if !used[name] {
			t.Errorf("point %s is listed and in no code", name)
		}
	}
	if sites < 60 || len(used) < 60 {
		t.Errorf("only %d writes and %d points were found: this check looks at nothing", sites, len(used))
	}
}

// written names what a node writes with, "" for nothing.
func written(n ast.Node, stack []ast.Node) string {
	sel, ok := n.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	if x, ok := sel.X.(*ast.Ident); ok {
		if list, ok := writers[x.Name]; ok {
			if slices.Contains(list, sel.Sel.Name) {
				return x.Name + "." + sel.Sel.Name
			}
			return ""
		}
	}
	args, ok := fileMethods[sel.Sel.Name]
	if !ok {
		return ""
	}
	if len(stack) > 1 {
		if call, ok := stack[len(stack)-2].(*ast.CallExpr); ok && call.Fun == n && (len(call.Args) != args || sel.Sel.Name == "Truncate" && isDuration(call.Args[0])) {
			return ""
		}
	}
	return sel.Sel.Name
}

// isDuration says whether an argument of Truncate is of a time, not of a file.
func isDuration(e ast.Expr) bool {
	found := false
	ast.Inspect(e, func(n ast.Node) bool {
		x, ok := n.(ast.Expr)
		found = found || ok && selects(x, "time", "Millisecond", "Second", "Minute", "Hour")
		return !found
	})
	return found
}

// door is the key in doors of a call, "" for none.
func door(call *ast.CallExpr) string {
	name := ""
	switch f := call.Fun.(type) {
	case *ast.Ident:
		name = f.Name
	case *ast.SelectorExpr:
		name = types(f)
		if f.Sel.Name == "Around" {
			name = "Around"
		}
	}
	if _, ok := doors[name]; !ok {
		return ""
	}
	return name
}

// pointsOf are the failure points that a call names.
func pointsOf(call *ast.CallExpr) (out []string) {
	d := doors[door(call)]
	if d.steps == nil || len(call.Args) <= d.at {
		return nil
	}
	lit, ok := call.Args[d.at].(*ast.BasicLit)
	if !ok {
		return nil // a door that hands its caller's point on
	}
	name, err := strconv.Unquote(lit.Value)
	if err != nil {
		return nil
	}
	for _, step := range d.steps {
		out = append(out, name+step)
	}
	return out
}

// Nothing but tests puts faults in the way.
func TestOnlyTestsInjectFaults(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || s.under("gateway/attack") {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if e, ok := n.(ast.Expr); ok && selects(e, "durable", "Inject") {
				t.Errorf("%s injects faults", at(n))
			}
			return true
		})
		for _, imp := range s.imports() {
			if imp == module+"internal/durable/points" {
				t.Errorf("%s imports the list of points, which is for tests", s.path)
			}
		}
	}
}

// The document says of every point what happens there, in the words of the list.
func TestDocumentOfFaultsListsEveryPoint(t *testing.T) {
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "docs", "faults.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range points.All {
		if row := fmt.Sprintf("| `%s` | %s<br>%s |", p.Name, p.ZH, p.EN); !strings.Contains(string(text), row+"\n") {
			t.Errorf("docs/faults.md lacks the row\n%s", row)
		}
	}
}
