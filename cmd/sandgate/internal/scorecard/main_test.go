package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestScoreCard(t *testing.T) {
	const good = `{"attack":"01 a","figure":0.5,"bound":0.55,"control":1,"pass":true,"trials":9}` + "\n"
	const leak = `{"attack":"02 b","figure":1,"bound":0,"control":1,"pass":false,"trials":1}` + "\n"
	const open = `{"attack":"09 c","figure":1,"bound":"none","control":1,"pass":true,"trials":1,"open":true,"note":"later"}` + "\n"
	const pass = `{"Action":"pass","Package":"p","Test":"TestAttack01"}` + "\n"
	const fail = `{"Action":"fail","Package":"p","Test":"TestAttack02"}` + "\n"
	const build = `{"Action":"fail","Package":"q"}` + "\n"
	for _, c := range []struct {
		name, scores, tests string
		ok                  bool
		says                string
	}{
		{"all well", good + open, "noise\n" + pass, true, "1 通过 passed · 0 失败 leaked · 1 未防护 open · 1 项测试，0"},
		{"leak", good + leak, pass, false, "失败 LEAK"},
		{"failed test", good, pass + fail, false, "fail"},
		{"failed package", good, pass + build, false, "fail"},
		{"nothing run", good, "", false, "0 项测试"},
		{"nothing measured", open, pass, false, "0 通过"},
	} {
		path := filepath.Join(t.TempDir(), "card")
		if err := os.WriteFile(path, []byte(c.scores), 0o600); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		ok, err := run(path, "", nil, strings.NewReader(c.tests), &out, time.Now())
		if err != nil || ok != c.ok || !strings.Contains(out.String(), c.says) {
			t.Errorf("%s: %v %v\n%s", c.name, ok, err, out.String())
		}
	}
	path := filepath.Join(t.TempDir(), "card")
	if err := os.WriteFile(path, []byte(good+`{"attack":"x","secret":1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := run(path, "", nil, strings.NewReader(pass), &bytes.Buffer{}, time.Now()); err == nil {
		t.Error("an unknown field is read over")
	}
}

func TestDocument(t *testing.T) {
	var lines strings.Builder
	for _, r := range rows {
		if r.elsewhere == "" {
			lines.WriteString(`{"attack":"` + r.number + ` some|attack","figure":0.5,"bound":0.55,"control":1,"pass":true,"trials":9}` + "\n")
		}
	}
	const pass = `{"Action":"pass","Package":"p","Test":"TestAttack01"}` + "\n"
	dir := t.TempDir()
	path, document := filepath.Join(dir, "card"), filepath.Join(dir, "doc")
	write := func(text string) (bool, string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		ok, err := run(path, document, nil, strings.NewReader(pass), &out, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
		if err != nil {
			t.Fatal(err)
		}
		return ok, out.String()
	}
	if ok, out := write(lines.String()); !ok {
		t.Errorf("a whole card is refused: %s", out)
	}
	md, err := os.ReadFile(document + ".md")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"2026-01-02", "重放", `some\|attack`, "| 17 |"} {
		if !strings.Contains(string(md), want) {
			t.Errorf("the document lacks %q:\n%s", want, md)
		}
	}
	if raw, err := os.ReadFile(document + ".json"); err != nil || !json.Valid(raw) {
		t.Errorf("%v: %s", err, raw)
	}
	// A row without a figure is missing, not passed.
	if ok, out := write(lines.String()[strings.Index(lines.String(), "\n")+1:]); ok || !strings.Contains(out, "01") {
		t.Errorf("a card without row 01 is taken: %s", out)
	}
}

// A row measured by itself replaces its own figures, says when, and leaves the others; a
// row without figures, or one that does not exist, is not passed over.
func TestOneRowAgain(t *testing.T) {
	const pass = `{"Action":"pass","Package":"p","Test":"TestAttack01"}` + "\n"
	dir := t.TempDir()
	path, document := filepath.Join(dir, "card"), filepath.Join(dir, "doc")
	play := func(scores, day string, again ...string) (bool, error) {
		t.Helper()
		if err := os.WriteFile(path, []byte(scores), 0o600); err != nil {
			t.Fatal(err)
		}
		now, err := time.Parse(time.DateOnly, day)
		if err != nil {
			t.Fatal(err)
		}
		return run(path, document, again, strings.NewReader(pass), &bytes.Buffer{}, now)
	}
	line := func(attack, figure string) string {
		return `{"attack":"` + attack + `","figure":"` + figure + `","bound":1,"control":2,"pass":true,"trials":9}` + "\n"
	}
	if _, err := play(line("01 a", "first")+line("18 b", "gone"), "2026-01-02"); err != nil {
		t.Fatal(err)
	}
	if ok, err := play(line("01 a", "not this")+line("18 c", "second"), "2026-01-05", "18"); err != nil || !ok {
		t.Fatalf("%v, %v", ok, err)
	}
	md, err := os.ReadFile(document + ".md")
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{"first": true, "second": true, "2026-01-02": true, "2026-01-05": true, "gone": false, "not this": false, "passed 2": true} {
		if strings.Contains(string(md), text) != want {
			t.Errorf("%q: %v\n%s", text, !want, md)
		}
	}
	if ok, err := play(line("01 a", "x"), "2026-01-06", "18"); err != nil || ok {
		t.Errorf("a row without figures passes: %v", err)
	}
	if _, err := play(line("01 a", "x"), "2026-01-06", "99"); err == nil {
		t.Error("a row that does not exist passes")
	}
}
