package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
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
		ok, err := run(path, strings.NewReader(c.tests), &out)
		if err != nil || ok != c.ok || !strings.Contains(out.String(), c.says) {
			t.Errorf("%s: %v %v\n%s", c.name, ok, err, out.String())
		}
	}
	path := filepath.Join(t.TempDir(), "card")
	if err := os.WriteFile(path, []byte(good+`{"attack":"x","secret":1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := run(path, strings.NewReader(pass), &bytes.Buffer{}); err == nil {
		t.Error("an unknown field is read over")
	}
}
