package analyse

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestR24_EveryRefusalHasItsWords reads the package's own source: a code without
// words, or words without a code, is a refusal nobody understands.
func TestR24_EveryRefusalHasItsWords(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	call := regexp.MustCompile(`(?:(?:refuse|reason|refuseExpression|refuseItem)\((?:[a-z]+, )?|code :?= )"([A-Z0-9_]+)"`)
	for _, f := range files {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		src, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range call.FindAllStringSubmatch(string(src), -1) {
			used[m[1]] = true
		}
	}
	all := maps.Clone(wordings)
	maps.Copy(all, postWordings)
	for code := range used {
		if _, ok := all[code]; !ok {
			t.Errorf("%s has no words", code)
		}
	}
	for code, w := range all {
		if !used[code] {
			t.Errorf("%s is never used", code)
		}
		if w.zh == "" || w.en == "" || w.hintZH == "" || w.hintEN == "" || len(code) > 63 {
			t.Errorf("%s lacks a text", code)
		}
		if strings.Contains(w.zh, "{name}") != strings.Contains(w.en, "{name}") {
			t.Errorf("%s names its object in one language only", code)
		}
	}
}

func TestR01_NamesThatMayBeDataAreNotRepeated(t *testing.T) {
	for name, want := range map[string]bool{
		"district": true, "区县": true, "col_12345": true, "a b": true,
		"": false, "11010519491231002X": false, "a123456": false, "１２３４５６": false, "一二〡〢〣〤〥〦": false,
		strings.Repeat("x", 33): false, "a\nb": false, "a\u202eb": false, "a\xffb": false,
	} {
		if echoable(name) != want {
			t.Errorf("echoable(%q) is not %v", name, want)
		}
	}
	if r := reason("UNKNOWN_COLUMN", "11010519491231002X"); strings.Contains(r.Text("zh")+r.Text("en"), "1101") {
		t.Error(r.Text("zh"))
	}
	if r := reason("UNKNOWN_COLUMN", "salary"); !strings.Contains(r.Text("zh"), "salary") || !strings.Contains(r.Text("en"), "salary") {
		t.Error(r.Text("en"))
	}
}
