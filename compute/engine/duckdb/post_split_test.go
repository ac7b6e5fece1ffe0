package duckdb_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/analyse"
	"github.com/sandgate/sandgate/compute/engine/duckdb"
)

type postCase struct{ title, sql string }

func postCases(t testing.TB) []postCase {
	t.Helper()
	b, err := os.ReadFile(analyseData + "post_cases.txt")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	var out []postCase
	for i := 0; i+1 < len(lines); i += 2 {
		out = append(out, postCase{strings.TrimPrefix(lines[i], "-- "), lines[i+1]})
	}
	return out
}

// TestSplitGolden: every case is cut as post_golden.txt says, both halves printed
// by the engine. Run with -update-trees after a change and look at the difference.
func TestSplitGolden(t *testing.T) {
	db := openAnalyser(t)
	schemas := analyserSchemas(t)
	trees := map[string]json.RawMessage{}
	var out strings.Builder
	print := func(tree []byte) string {
		var text string
		if err := db.QueryRow("SELECT json_deserialize_sql($1::JSON)", string(tree)).Scan(&text); err != nil {
			t.Fatalf("%s: %v", tree, err)
		}
		return text
	}
	for _, c := range postCases(t) {
		tree, err := duckdb.Syntax(context.Background(), db, c.sql)
		if err != nil {
			t.Fatal(err)
		}
		trees[c.sql] = tree
		fmt.Fprintf(&out, "-- %s\n%s\n", c.title, c.sql)
		params := []string{"100", "5", "60"}[:min(3, strings.Count(strings.ReplaceAll(c.sql, "<> $3", ""), "$"))]
		parts, r := analyse.Split(tree, c.sql, schemas, params)
		switch {
		case r != nil:
			fmt.Fprintf(&out, "refused  %s %d:%d\n\n", r.Code, r.Line, r.Column)
			continue
		case parts == nil:
			fmt.Fprintf(&out, "not cut\n\n")
			continue
		}
		if parts.Core != nil {
			fmt.Fprintf(&out, "core     %s\n", strings.TrimSpace(print(parts.Core)+"  "+strings.Join(parts.Parameters, ",")))
			fmt.Fprintf(&out, "where    %s\n", c.sql[parts.From:parts.To])
		}
		fmt.Fprintf(&out, "post     %s\n", print(parts.Post.Tree))
		if len(parts.Post.Columns)+len(parts.Post.Releases) > 0 {
			fmt.Fprintf(&out, "reads    %s %s\n", strings.Join(parts.Post.Columns, ", "), strings.Join(parts.Post.Releases, ", "))
		}
		if _, _, r := analyse.Read(tree, c.sql, schemas, params); r != nil {
			fmt.Fprintf(&out, "decode   %s %d:%d\n", r.Code, r.Line, r.Column)
		}
		out.WriteString("\n")
	}
	b, err := json.Marshal(trees)
	if err != nil {
		t.Fatal(err)
	}
	b = append(bytes.ReplaceAll(b, []byte(`]},"`), []byte("]},\n\"")), '\n')
	for name, got := range map[string][]byte{"post_golden.txt": []byte(out.String()), "post_trees.json": b} {
		if *update {
			if err := os.WriteFile(analyseData+name, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(analyseData + name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what the split makes of post_cases.txt; run go test ./compute/engine/duckdb -run TestSplitGolden -update-trees and look at the difference", name)
		}
	}
}
