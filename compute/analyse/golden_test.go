package analyse_test

import (
	"encoding/json"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
)

// testCase is one query of testdata/cases.txt with the answer that is wanted:
// "OK", or a code and, where there is one, "line:column".
type testCase struct{ sql, code, place string }

func readCases(t testing.TB) []testCase {
	t.Helper()
	b, err := os.ReadFile("testdata/cases.txt")
	if err != nil {
		t.Fatal(err)
	}
	var out []testCase
	for block := range strings.SplitSeq("\n"+string(b), "\n== ") {
		head, sql, ok := strings.Cut(block, "\n")
		if !ok {
			continue
		}
		code, place, _ := strings.Cut(head, " ")
		out = append(out, testCase{sql: strings.TrimSuffix(sql, "\n"), code: code, place: place})
	}
	return out
}

// readTrees gives the syntax tree of every query, as the engine's own parser
// made it. The engine's test keeps the file true (compute/engine/duckdb).
func readTrees(t testing.TB) map[string]json.RawMessage {
	t.Helper()
	treesOnce.Do(func() { trees = loadTrees(t) })
	return trees
}

var (
	treesOnce sync.Once
	trees     map[string]json.RawMessage
)

func loadTrees(t testing.TB) map[string]json.RawMessage {
	t.Helper()
	b, err := os.ReadFile("testdata/trees.json")
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]json.RawMessage
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func readSchemas(t testing.TB) []algebra.Schema {
	t.Helper()
	b, err := os.ReadFile("testdata/schemas.json")
	if err != nil {
		t.Fatal(err)
	}
	var out []algebra.Schema
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return out
}
