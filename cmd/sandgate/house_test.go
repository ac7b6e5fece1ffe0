package main_test

import (
	"bytes"
	"go/ast"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestHouseNames(t *testing.T) {
	vague := regexp.MustCompile(`^(util|utils|common|helper|helpers|manager|misc|shared|base)$`)
	later := regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X)\b`)
	for _, s := range sources(t) {
		stem := strings.TrimSuffix(strings.TrimSuffix(path.Base(s.path), ".go"), "_test")
		for _, name := range []string{s.file.Name.Name, path.Base(s.dir), stem} {
			if vague.MatchString(name) {
				t.Errorf("%s: %q says nothing", s.path, name)
			}
		}
		if s.generated {
			continue
		}
		if m := later.Find(s.text); m != nil {
			t.Errorf("%s holds a %s", s.path, m)
		}
		// Tables of cases may run longer than what has to be understood.
		most := 600
		if s.test {
			most = 700
		}
		if s.lines > most {
			t.Errorf("%s has %d lines; split it", s.path, s.lines)
		}
	}
}

func TestExportedNamesAreDocumented(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || s.generated || s.file.Name.Name == "main" {
			continue
		}
		for _, d := range s.file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				// Error needs no words: they would only say that it implements error.
				if d.Name.IsExported() && d.Name.Name != "Error" && d.Doc == nil && exportedReceiver(d) {
					t.Errorf("%s: %s has no doc comment", at(d), d.Name.Name)
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					undocumented(t, d, spec)
				}
			}
		}
	}
}

func undocumented(t *testing.T, d *ast.GenDecl, spec ast.Spec) {
	t.Helper()
	switch x := spec.(type) {
	case *ast.TypeSpec:
		if x.Name.IsExported() && d.Doc == nil && x.Doc == nil {
			t.Errorf("%s: %s has no doc comment", at(x), x.Name.Name)
		}
	case *ast.ValueSpec:
		// Values of a named type are documented with it.
		if d.Doc != nil || x.Doc != nil || x.Comment != nil || x.Type != nil {
			return
		}
		for _, n := range x.Names {
			if n.IsExported() {
				t.Errorf("%s: %s has no doc comment", at(n), n.Name)
			}
		}
	}
}

// exportedReceiver says whether a function is one, or a method of an exported
// type.
func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	e := d.Recv.List[0].Type
	if star, ok := e.(*ast.StarExpr); ok {
		e = star.X
	}
	if index, ok := e.(*ast.IndexExpr); ok {
		e = index.X
	}
	id, ok := e.(*ast.Ident)
	return ok && id.IsExported()
}

// What is published names nobody's machine and no private registry.
func TestNoMachineIsNamed(t *testing.T) {
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	list := exec.Command("git", "ls-files", "-z")
	list.Dir = root
	out, err := list.Output()
	if err != nil {
		t.Skip("not a git checkout: what is tracked is not known")
	}
	// In pieces, so that this file does not name them.
	words := []string{"/wo" + "rk/", "/ro" + "ot/", "/ho" + "me/", "/Us" + "ers/", "arti" + "factory", "jf" + "rog", "/nex" + "us/", "GOPR" + "OXY=http"}
	names := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	if len(names) < 100 {
		t.Fatalf("only %d files are tracked", len(names))
	}
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			continue // removed, not committed yet
		}
		for _, word := range words {
			for from := 0; ; {
				i := bytes.Index(text[from:], []byte(word))
				if i < 0 {
					break
				}
				// A path that goes on to the left is somebody else's: gateway/home/home.go.
				if i += from; i == 0 || word[0] != '/' || !pathByte(text[i-1]) {
					t.Errorf("%s:%d names a machine: %s", name, 1+bytes.Count(text[:i], []byte("\n")), word)
				}
				from = i + len(word)
			}
		}
	}
}

func pathByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("._-*}>", c) >= 0
}

// A person reads instants in one zone, which stands beside them: policies.Clock and
// policies.Day say how. Only stored values of data sets have forms of their own.
func TestInstantsAreWrittenInOnePlace(t *testing.T) {
	own := regexp.MustCompile(`\.Local\(\)|time\.(DateTime|ANSIC|Kitchen|RFC1123|RFC822)\b|"[^"\n]*15:04[^"\n]*"`)
	seen := 0
	for _, s := range sources(t) {
		switch {
		case s.test || s.generated || strings.HasPrefix(s.path, "compute/"):
		case s.path == "policies/calendar.go":
			seen = len(own.FindAll(s.text, -1))
		default:
			if m := own.Find(s.text); m != nil {
				t.Errorf("%s writes an instant its own way: %s", s.path, m)
			}
		}
	}
	if seen != 1 {
		t.Errorf("policies/calendar.go writes instants in %d ways", seen)
	}
}
