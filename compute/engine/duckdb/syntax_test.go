package duckdb_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/engine/duckdb"
)

var update = flag.Bool("update-trees", false, "write the syntax trees of compute/analyse/testdata anew")

const analyseData = "../../analyse/testdata/"

func openAnalyser(t *testing.T) *sql.DB {
	t.Helper()
	db, err := duckdb.OpenAnalyser()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// TestSyntaxTreesOfAnalyser: the trees that the pure tests of compute/analyse
// read are those the linked DuckDB makes today. Run with -update-trees after a change
// of cases.txt or of the DuckDB version.
func TestSyntaxTreesOfAnalyser(t *testing.T) {
	cases, err := os.ReadFile(analyseData + "cases.txt")
	if err != nil {
		t.Fatal(err)
	}
	db := openAnalyser(t)
	got := map[string]json.RawMessage{}
	for block := range strings.SplitSeq("\n"+string(cases), "\n== ") {
		_, text, ok := strings.Cut(block, "\n")
		if !ok {
			continue
		}
		text = strings.TrimSuffix(text, "\n")
		tree, err := duckdb.Syntax(context.Background(), db, text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		got[text] = tree
	}
	b, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	// One line per query keeps a change readable.
	b = append(bytes.ReplaceAll(b, []byte(`]},"`), []byte("]},\n\"")), '\n')
	if *update {
		if err := os.WriteFile(analyseData+"trees.json", b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(analyseData + "trees.json")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, want) {
		t.Error("trees.json is not what DuckDB makes of cases.txt; run go test ./compute/engine/duckdb -update-trees and look at the difference")
	}
}
