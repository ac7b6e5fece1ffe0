package analyse_test

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/analyse"
)

// readPostTrees gives the parser's tree of every text of post_cases.txt; the
// engine's test keeps the file true.
func readPostTrees(t testing.TB) map[string]json.RawMessage {
	t.Helper()
	b, err := os.ReadFile("testdata/post_trees.json")
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]json.RawMessage
	if err := json.Unmarshal(b, &out); err != nil || len(out) < 30 {
		t.Fatalf("%d trees, %v", len(out), err)
	}
	return out
}

// tables lists the tables that a tree's FROMs name, with their schema.
func tables(v any, into map[string]bool) {
	switch v := v.(type) {
	case []any:
		for _, child := range v {
			tables(child, into)
		}
	case map[string]any:
		if name, ok := v["table_name"].(string); ok {
			schema, _ := v["schema_name"].(string)
			into[schema+"."+name] = true
		}
		for _, child := range v {
			tables(child, into)
		}
	}
}

// checkParts is what holds for every cut: the post-processing names no data set,
// and the core names no release and nothing that is not its own.
func checkParts(t testing.TB, text string, parts *analyse.Parts, schemas []algebra.Schema) {
	t.Helper()
	decode := func(b []byte) (v any) {
		if err := json.Unmarshal(b, &v); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		return v
	}
	post := map[string]bool{}
	tables(decode(parts.Post.Tree), post)
	released := false
	for name := range post {
		schema, table, _ := strings.Cut(name, ".")
		switch schema {
		case "main":
			released = true
			if table != "released" {
				t.Errorf("%q: post-processing reads %s", text, name)
			}
		case "releases", "Releases", "RELEASES":
		case "":
			for _, s := range schemas {
				// A WITH name may hide a data set's.
				if s.Dataset == table && !strings.Contains(strings.ToUpper(text), "WITH") {
					t.Errorf("%q: post-processing reads the data set %s", text, table)
				}
			}
		default:
			if !strings.EqualFold(schema, "releases") {
				t.Errorf("%q: post-processing reads %s", text, name)
			}
		}
	}
	if bytes.Contains(parts.Post.Tree, []byte(`"PARAMETER"`)) {
		t.Errorf("%q: a parameter is left", text)
	}
	if parts.Core == nil {
		if released || len(parts.Post.Columns) > 0 {
			t.Errorf("%q: without core, post-processing reads main.released", text)
		}
		return
	}
	core := map[string]bool{}
	tables(decode(parts.Core), core)
	for name := range core {
		if !strings.HasPrefix(name, ".") {
			t.Errorf("%q: the core reads %s", text, name)
		}
	}
	if parts.From < 0 || parts.To > len(text) || parts.From >= parts.To {
		t.Errorf("%q: the core is at %d-%d", text, parts.From, parts.To)
	}
}

func TestSplitKeepsSidesApart(t *testing.T) {
	schemas := readSchemas(t)
	cut := 0
	for text, tree := range readPostTrees(t) {
		parts, r := analyse.Split(tree, text, schemas, []string{"100", "5", "60"}[:min(3, strings.Count(strings.ReplaceAll(text, "<> $3", ""), "$"))])
		if r == nil && parts != nil {
			cut++
			checkParts(t, text, parts, schemas)
		}
	}
	if cut < 15 {
		t.Errorf("only %d texts were cut", cut)
	}
}

// TestReadLeavesPlainQueriesAlone: a text that Decode takes is not cut, so that its
// answer keeps intervals beside every estimate.
func TestReadLeavesPlainQueriesAlone(t *testing.T) {
	schemas, trees := readSchemas(t), readTrees(t)
	plain := 0
	for _, c := range readCases(t) {
		if c.code != "OK" {
			continue
		}
		want, r := analyse.Decode(trees[c.sql], c.sql, schemas, nil)
		if r != nil {
			t.Fatalf("%s: %v", c.sql, r)
		}
		got, parts, r := analyse.Read(trees[c.sql], c.sql, schemas, nil)
		if r != nil || parts.Post != nil {
			t.Errorf("%s: cut", c.sql)
		}
		a, _ := json.Marshal(want)
		b, _ := json.Marshal(got)
		if !bytes.Equal(a, b) {
			t.Errorf("%s: read as another query", c.sql)
		}
		plain++
	}
	if plain == 0 {
		t.Fatal("no plain query was read")
	}
}

// TestReadOneCoreForManyTexts: different post-processing of the same core gives the
// same canonical core, which is what the free repeat goes by.
func TestReadOneCoreForManyTexts(t *testing.T) {
	schemas, trees := readSchemas(t), readPostTrees(t)
	var cores []string
	for text, tree := range trees {
		if !strings.Contains(text, "AS n FROM social GROUP BY district)") || strings.Contains(text, "$") {
			continue
		}
		q, parts, r := analyse.Read(tree, text, schemas, nil)
		if r != nil || parts.Post == nil {
			t.Errorf("%s: %+v", text, r)
			continue
		}
		cores = append(cores, string(algebra.Canonicalise(q).Core.Bytes()))
	}
	for _, c := range cores {
		if c != cores[0] {
			t.Errorf("%s\n%s", c, cores[0])
		}
	}
	if len(cores) < 3 {
		t.Fatalf("only %d texts", len(cores))
	}
}

func TestSplitParametersMissing(t *testing.T) {
	schemas := readSchemas(t)
	for text, tree := range readPostTrees(t) {
		if !strings.Contains(text, "$1") {
			continue
		}
		if _, r := analyse.Split(tree, text, schemas, []string{"100"}); r == nil || r.Code != "POST_PARAMETER" || r.Column == 0 {
			t.Errorf("%s with one value: %+v", text, r)
		}
		return
	}
	t.Fatal("no text has parameters")
}

// FuzzSplit: whatever the tree, the cut does not panic, and what it cuts stays apart.
func FuzzSplit(f *testing.F) {
	schemas := readSchemas(f)
	for text, tree := range readPostTrees(f) {
		f.Add([]byte(tree), text)
	}
	for text, tree := range readTrees(f) {
		f.Add([]byte(tree), text)
	}
	f.Fuzz(func(t *testing.T, tree []byte, text string) {
		params := []string{"1", "2"}[:min(2, strings.Count(text, "$"))]
		parts, r := analyse.Split(tree, text, schemas, params)
		if r != nil && (r.Code == "" || r.ZH == "" || r.EN == "") {
			t.Errorf("refusal without words: %+v", r)
		}
		if r == nil && parts != nil {
			checkParts(t, text, parts, schemas)
		}
		_, _, _ = analyse.Read(tree, text, schemas, params)
	})
}
