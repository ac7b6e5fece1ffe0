package duckdb_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestFunctionsOfAnalyser: the list of functions that compute/analyse is tried with
// is that of the linked DuckDB. Run with -update-trees after a change of version.
func TestFunctionsOfAnalyser(t *testing.T) {
	rows, err := openAnalyser(t).Query("SELECT DISTINCT function_type, function_name FROM duckdb_functions() ORDER BY function_name, function_type")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	var b strings.Builder
	for rows.Next() {
		var kind, name string
		if err := rows.Scan(&kind, &name); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s\t%s\n", kind, name)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	const list = analyseData + "functions.txt"
	if *update {
		if err := os.WriteFile(list, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(list)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Error("functions.txt is not the linked DuckDB's list; run go test ./compute/engine/duckdb -update-trees and look at the difference")
	}
}
