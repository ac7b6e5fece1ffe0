package main_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/sandgate/sandgate/compute/release"
)

const module = "github.com/sandgate/sandgate/"

// source is one Go file of the module.
type source struct {
	path      string // from the module's root, with slashes
	dir       string
	lines     int
	test      bool
	generated bool
	file      *ast.File
	text      []byte
}

var (
	fset        = token.NewFileSet()
	readSources = sync.OnceValues(func() ([]*source, error) {
		root, err := moduleRoot()
		if err != nil {
			return nil, err
		}
		var out []*source
		err = filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() {
				if base := d.Name(); name != root && (base == "testdata" || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_")) {
					return filepath.SkipDir
				}
				return nil
			}
			if !strings.HasSuffix(name, ".go") {
				return nil
			}
			text, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(root, name)
			if err != nil {
				return err
			}
			rel = filepath.ToSlash(rel)
			file, err := parser.ParseFile(fset, rel, text, parser.ParseComments)
			if err != nil {
				return err
			}
			out = append(out, &source{path: rel, dir: path.Dir(rel), lines: bytes.Count(text, []byte("\n")), test: strings.HasSuffix(rel, "_test.go"),
				generated: ast.IsGenerated(file), file: file, text: text})
			return nil
		})
		return out, err
	})
)

func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	for err == nil {
		if _, serr := os.Stat(filepath.Join(dir, "go.mod")); serr == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fs.ErrNotExist
		}
		dir = filepath.Dir(dir)
	}
	return "", err
}

func sources(t *testing.T) []*source {
	t.Helper()
	all, err := readSources()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 100 {
		t.Fatalf("only %d files were found: the checks would pass on nothing", len(all))
	}
	return all
}

func (s *source) under(dir string) bool { return s.dir == dir || strings.HasPrefix(s.dir, dir+"/") }

func (s *source) imports() []string {
	var out []string
	for _, i := range s.file.Imports {
		p, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			p = i.Path.Value
		}
		out = append(out, p)
	}
	return out
}

// The checks below know packages by their usual names: an import under another
// name, or under none, would walk past them.
func TestNoImportHidesUnderAnotherName(t *testing.T) {
	known := map[string]string{"time": "time", module + "compute/release": "release", module + "compute/protect": "protect", module + "compute/render": "render",
		module + "gateway/api/sandgate/v1": "sandgatev1"}
	for _, s := range sources(t) {
		for i, imp := range s.imports() {
			name := s.file.Imports[i].Name
			if want, ok := known[imp]; ok && name != nil && name.Name != want && name.Name != "_" {
				t.Errorf("%s imports %s as %s", s.path, imp, name.Name)
			}
			if name != nil && name.Name == "." {
				t.Errorf("%s imports %s with a dot", s.path, imp)
			}
		}
	}
}

func at(n ast.Node) string { return fset.Position(n.Pos()).String() }

// selects says whether an expression is pkg.name.
func selects(e ast.Expr, pkg string, names ...string) bool {
	sel, ok := e.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	x, ok := sel.X.(*ast.Ident)
	return ok && x.Name == pkg && slices.Contains(names, sel.Sel.Name)
}

// pure packages know no clock, disk, network, process or chance: an auditor must
// be able to run them again and get the same.
var pure = []string{"internal/bilingual", "policies", "policies/propose", "policies/request", "policies/signature", "masking", "masking/risk", "compute/algebra", "compute/analyse", "compute/protect", "compute/budget", "compute/disclosure", "compute/render", "compute/federate/fit", "compute/federate/query", "compute/model/encrypted", "ledger/witness", "ledger/dossier"}

// Dependencies point inwards: gateway → {compute, sandbox, ledger} → {policies,
// masking} → standard library.
func TestR05_ImportsPointInwards(t *testing.T) {
	// For each tree, what of this module it may import.
	allowed := map[string][]string{
		"compute/algebra":    {},
		"compute/budget":     {},
		"masking":            {"compute/algebra", "internal/bilingual"},
		"policies":           {"policies", "masking", "compute/algebra", "compute/budget", "internal/bilingual"},
		"compute":            {"compute", "policies", "masking", "sandbox", "internal/durable"},
		"sandbox":            {"sandbox"},
		"ledger":             {"ledger", "internal/durable", "internal/memory", "internal/bilingual", "policies", "compute/algebra", "compute/budget", "compute/disclosure", "compute/protect", "compute/twin", "compute/federate", "compute/model"}, // schemas and prices of twins and trainings are decided again
		"gateway":            {"gateway", "compute", "sandbox", "ledger", "policies", "masking", "internal/leak", "internal/bilingual", "internal/durable", "internal/memory"},
		"internal/durable":   {"internal/durable"}, // the one way to write to the disk
		"internal/bilingual": {},                   // errors in two languages
		"internal/memory":    {},                   // how much of it there is
		"internal/leak":      {},                   // the attack suite's recorder; tests of every tree use it
		"cmd":                {""},
		"policies/propose":   {"policies", "masking", "compute/algebra"},
		"bench":              {"compute", "policies"}, // comparisons, no part of the product
	}
	trees := []string{"compute/algebra", "compute/budget", "masking", "policies/propose", "policies", "compute", "sandbox", "ledger", "gateway", "internal/durable", "internal/leak", "internal/memory", "internal/bilingual", "cmd", "bench"}
	for _, s := range sources(t) {
		if s.test || s.dir == "." {
			continue
		}
		i := slices.IndexFunc(trees, s.under)
		if i < 0 {
			t.Errorf("%s stands in no known tree; say in this test what it may import", s.path)
			continue
		}
		for _, imp := range s.imports() {
			own, ok := strings.CutPrefix(imp, module)
			if !ok {
				continue
			}
			fits := slices.ContainsFunc(allowed[trees[i]], func(a string) bool { return a == "" || own == a || strings.HasPrefix(own, a+"/") })
			if !fits {
				t.Errorf("%s imports %s, which lies further out", s.path, own)
			}
		}
	}
}

// The second reader of the ledger is worth something only while it shares nothing
// with the first one and with what writes the log.
func TestR30_SecondReaderStandsAlone(t *testing.T) {
	checked := 0
	for _, s := range sources(t) {
		if s.test || s.dir != "ledger/second" {
			continue
		}
		checked++
		for _, imp := range s.imports() {
			if strings.HasPrefix(imp, module) || strings.HasPrefix(imp, "github.com/transparency-dev/") {
				t.Errorf("%s imports %s", s.path, imp)
			}
		}
	}
	if checked == 0 {
		t.Error("there is no second reader")
	}
}

func TestR05_PureCoreHasNoIO(t *testing.T) {
	forbidden := regexp.MustCompile(`^(os|net|log|math/rand|syscall|io/ioutil|plugin|runtime|testing|C|golang\.org/x/sys|google\.golang\.org)(/|$)|^crypto/rand$`)
	checked := 0
	for _, s := range sources(t) {
		if s.test || !slices.Contains(pure, s.dir) {
			continue
		}
		checked++
		for _, imp := range s.imports() {
			if forbidden.MatchString(imp) {
				t.Errorf("%s imports %s", s.path, imp)
			}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			e, ok := n.(ast.Expr)
			if ok && selects(e, "time", "Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker") {
				t.Errorf("%s: the pure core looks at the clock", at(n))
			}
			return true
		})
	}
	if checked < 20 {
		t.Errorf("only %d files of the pure core were checked", checked)
	}
}

// Noise comes from one place, and never from a generator that can be seeded.
func TestR02_TheReleaseKernelDrawsFromOneSource(t *testing.T) {
	drawn := false
	for _, s := range sources(t) {
		if s.test || !s.under("compute/release") {
			continue
		}
		for _, imp := range s.imports() {
			switch {
			case strings.HasPrefix(imp, "math/rand"):
				t.Errorf("%s imports %s", s.path, imp)
			case imp == "crypto/rand" && s.path != "compute/release/source.go":
				t.Errorf("%s imports crypto/rand; only source.go may", s.path)
			case imp == "crypto/rand":
				drawn = true
			case slices.Contains([]string{"os", "net", "log", "log/slog", "os/exec", "syscall"}, imp):
				t.Errorf("%s imports %s", s.path, imp)
			}
		}
	}
	if !drawn {
		t.Error("the kernel's source of randomness is gone")
	}
}

func TestNativeCodeLivesInOnePackage(t *testing.T) {
	native := regexp.MustCompile(`^C$|duckdb-go|go-duckdb|duckdb/duckdb`)
	found := false
	for _, s := range sources(t) {
		for _, imp := range s.imports() {
			if !native.MatchString(imp) {
				continue
			}
			if s.dir != "compute/engine/duckdb" {
				t.Errorf("%s imports %s", s.path, imp)
			}
			found = true
		}
	}
	if !found {
		t.Error("the engine's driver is imported nowhere")
	}
}

// One door, first half: nobody but the kernel can make a release that holds
// anything.
func TestR01_OnlyTheKernelMakesReleases(t *testing.T) {
	typ := reflect.TypeFor[release.Release]()
	for i := range typ.NumField() {
		if f := typ.Field(i); f.IsExported() || f.Anonymous {
			t.Errorf("field %s of release.Release can be set from outside", f.Name)
		}
	}
	if typ.NumField() == 0 {
		t.Error("release.Release is empty")
	}
	for _, s := range sources(t) {
		if s.under("compute/release") {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch x := n.(type) {
			case *ast.CompositeLit:
				if selects(x.Type, "release", "Release") {
					t.Errorf("%s makes a release", at(n))
				}
			case *ast.CallExpr:
				if f, ok := x.Fun.(*ast.Ident); ok && f.Name == "new" && len(x.Args) == 1 && selects(x.Args[0], "release", "Release") {
					t.Errorf("%s makes a release", at(n))
				}
			}
			return true
		})
	}
}

// server are the files of the gateway's server side.
func server(t *testing.T) []*source {
	t.Helper()
	var out []*source
	for _, s := range sources(t) {
		if s.dir == "gateway" && !s.test {
			out = append(out, s)
		}
	}
	if len(out) < 5 {
		t.Fatalf("only %d files of the gateway", len(out))
	}
	return out
}

// functions calls visit for every function with a body.
func functions(s *source, visit func(*ast.FuncDecl)) {
	for _, d := range s.file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Body != nil {
			visit(f)
		}
	}
}

// One door, second half: the gateway puts rows on the wire in one function, and
// that function reads a release.
func TestR01_OneFunctionPutsRowsOnTheWire(t *testing.T) {
	made := 0
	for _, s := range server(t) {
		functions(s, func(f *ast.FuncDecl) {
			door := s.path == "gateway/services.go" && f.Recv == nil && f.Name.Name == "releaseOf"
			ast.Inspect(f, func(n ast.Node) bool {
				if e, ok := n.(ast.Expr); ok && selects(e, "sandgatev1", "ReleaseRow", "ReleaseCell") {
					if !door {
						t.Errorf("%s: %s handles rows of the wire", at(n), f.Name.Name)
					}
					made++
				}
				if a, ok := n.(*ast.AssignStmt); ok && !door {
					for _, l := range a.Lhs {
						if sel, ok := l.(*ast.SelectorExpr); ok && (sel.Sel.Name == "Rows" || sel.Sel.Name == "Cells") {
							t.Errorf("%s: %s sets %s", at(n), f.Name.Name, sel.Sel.Name)
						}
					}
				}
				return true
			})
			if door && (len(f.Type.Params.List) != 1 || types(f.Type.Params.List[0].Type) != "*Answer") {
				t.Errorf("%s: releaseOf takes something else than an Answer", at(f))
			}
		})
	}
	if made == 0 {
		t.Error("releaseOf makes no rows: this check looks at nothing")
	}
}

// types writes a type expression as text.
func types(e ast.Expr) string {
	switch x := e.(type) {
	case *ast.StarExpr:
		return "*" + types(x.X)
	case *ast.SelectorExpr:
		return types(x.X) + "." + x.Sel.Name
	case *ast.Ident:
		return x.Name
	}
	return "?"
}

// Exact partials pass through the gateway from the runner to the kernel and are
// looked at by nobody in between; and what the runner runs was rendered from the
// algebra, never taken from an operator.
func TestR01_PartialsGoStraightToTheKernel(t *testing.T) {
	calls := 0
	for _, s := range server(t) {
		ast.Inspect(s.file, func(n ast.Node) bool {
			if e, ok := n.(ast.Expr); ok && selects(e, "protect", "Partials", "Cell") {
				t.Errorf("%s names exact partials", at(n))
			}
			return true
		})
		functions(s, func(f *ast.FuncDecl) {
			ast.Inspect(f, func(n ast.Node) bool {
				a, ok := n.(*ast.AssignStmt)
				if !ok {
					return true
				}
				for _, r := range a.Rhs {
					call, ok := r.(*ast.CallExpr)
					if !ok || !isExecute(call) {
						continue
					}
					calls++
					id, ok := a.Lhs[0].(*ast.Ident)
					if !ok {
						t.Errorf("%s: the partials are kept somewhere", at(n))
						continue
					}
					checkPartials(t, f, id)
					if len(call.Args) < 2 || types(call.Args[1]) != "p.sql" {
						t.Errorf("%s: the runner runs something else than the prepared statement", at(call))
					}
				}
				return true
			})
		})
	}
	if calls != 2 { // of jobs, and of rounds across domains
		t.Errorf("%d assignments from Runner.Execute; two were expected", calls)
	}
	all := 0
	for _, s := range server(t) {
		ast.Inspect(s.file, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok && isExecute(call) {
				all++
			}
			return true
		})
	}
	if all != calls {
		t.Errorf("%d calls of Runner.Execute, %d of them checked", all, calls)
	}
}

func isExecute(call *ast.CallExpr) bool {
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || sel.Sel.Name != "Execute" && sel.Sel.Name != "ExecuteConsented" {
		return false
	}
	return strings.HasSuffix(types(sel.X), "runner")
}

// checkPartials allows every use of a variable in f but as an argument of the
// kernel's two entrances.
func checkPartials(t *testing.T, f *ast.FuncDecl, defined *ast.Ident) {
	t.Helper()
	into := map[*ast.Ident]bool{}
	ast.Inspect(f, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		// A round's cells are laid out by the kernel and leave under encryption alone.
		if !ok || !selects(call.Fun, "release", "DP", "Exact") && !(f.Name.Name == "cellsOf" && types(call.Fun) == "q.Cells") {
			return true
		}
		for _, a := range call.Args {
			if id, ok := a.(*ast.Ident); ok {
				into[id] = true
			}
		}
		return true
	})
	used := 0
	ast.Inspect(f, func(n ast.Node) bool {
		id, ok := n.(*ast.Ident)
		if !ok || id.Name != defined.Name || id == defined {
			return true
		}
		if !into[id] {
			t.Errorf("%s: exact partials are used outside the release kernel", at(id))
		}
		used++
		return true
	})
	if used == 0 {
		t.Errorf("%s: the partials go nowhere", at(defined))
	}
}

// The statement that reaches the engine is assigned in one place, from the
// renderer.
func TestR01_NoOperatorTextReachesTheEngine(t *testing.T) {
	assigned := 0
	for _, s := range server(t) {
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch x := n.(type) {
			case *ast.AssignStmt:
				for _, l := range x.Lhs {
					sel, ok := l.(*ast.SelectorExpr)
					if !ok || sel.Sel.Name != "sql" {
						continue
					}
					call, ok := x.Rhs[0].(*ast.CallExpr)
					if !ok || x.Lhs[0] != l || !selects(call.Fun, "render", "SQL") {
						t.Errorf("%s: the statement comes from elsewhere than the renderer", at(n))
					}
					assigned++
				}
			case *ast.KeyValueExpr:
				if k, ok := x.Key.(*ast.Ident); ok && k.Name == "sql" {
					t.Errorf("%s: the statement is set in a literal", at(n))
				}
			case *ast.UnaryExpr:
				if sel, ok := x.X.(*ast.SelectorExpr); ok && x.Op == token.AND && sel.Sel.Name == "sql" {
					t.Errorf("%s: the statement's address is taken", at(n))
				}
			}
			return true
		})
	}
	if assigned != 1 {
		t.Errorf("%d assignments of the prepared statement; one was expected", assigned)
	}
}

// release.Joint takes sums that carry the noise of those who opened them, and adds
// none: it is a door of the kernel for rounds across domains alone.
func TestR01_SumsAcrossDomainsHaveOneDoor(t *testing.T) {
	uses := 0
	for _, s := range sources(t) {
		if s.test || s.dir == "compute/release" {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if e, ok := n.(ast.Expr); ok && selects(e, "release", "Joint", "JointCells") {
				uses++
				if s.dir != "compute/federate/query" {
					t.Errorf("%s uses the kernel's door of rounds across domains", at(n))
				}
			}
			return true
		})
	}
	if uses == 0 {
		t.Error("nothing uses that door: look for its new name")
	}
}
