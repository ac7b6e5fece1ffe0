package analyse_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/analyse"
	"github.com/sandgate/sandgate/policies"
)

// checkAnswer holds what must be true of every answer of Decode.
func checkAnswer(t *testing.T, q algebra.Query, r *policies.Reason, schemas []algebra.Schema) {
	t.Helper()
	if r != nil {
		if r.ZH == "" || r.EN == "" || r.Code == "" || r.Line < 0 || r.Column < 0 {
			t.Fatalf("incomplete refusal: %+v", r)
		}
		return
	}
	canonical := algebra.Canonicalise(q)
	if err := canonical.Core.Validate(schemas); err != nil {
		t.Fatal(err)
	}
	if b := canonical.Core.Bytes(); string(b) != string(canonical.Core.Canonical().Bytes()) {
		t.Fatalf("canonical form is not stable: %s", b)
	}
	var refs []int
	for _, o := range canonical.Post.Outputs {
		if o.Grouping != nil {
			all := len(canonical.Core.Keys) + len(canonical.Core.Aggs)
			if o.Ref != all || slices.Max(o.Grouping) >= len(canonical.Core.Keys) || slices.Min(o.Grouping) < 0 {
				t.Fatalf("grouping %v, %d of %d", o.Grouping, o.Ref, all)
			}
			continue
		}
		refs = append(refs, o.Ref)
	}
	for _, o := range canonical.Post.Order {
		refs = append(refs, o.Ref)
	}
	outputs := len(canonical.Core.Keys) + len(canonical.Core.Aggs)
	if slices.ContainsFunc(refs, func(i int) bool { return i < 0 || i >= outputs }) {
		t.Fatalf("references %v to %d outputs", refs, outputs)
	}
}

// FuzzDecode starts from real trees and texts: whatever the bytes, Decode
// answers with a valid query or with a complete refusal.
func FuzzDecode(f *testing.F) {
	schemas, trees := readSchemas(f), readTrees(f)
	for _, c := range readCases(f) {
		f.Add([]byte(trees[c.sql]), c.sql)
	}
	f.Add([]byte(`{"error":true,"error_type":"parser","position":"99999999999"}`), "SELECT 1")
	f.Add([]byte(`{"error":false,"statements":[{"node":{"type":"SELECT_NODE"}}]}`), "SELECT 区")
	f.Fuzz(func(t *testing.T, tree []byte, text string) {
		q, r := analyse.Decode(tree, text, schemas, nil)
		checkAnswer(t, q, r, schemas)
	})
}

// FuzzDecodeCrossed puts a part of one real tree in the place of a part of
// another, which reaches constructs that byte changes never build. With plant
// set, every text literal and unknown name is an identity number, and no refusal
// may repeat it.
func FuzzDecodeCrossed(f *testing.F) {
	const secret = "11010519491231002X"
	schemas, trees, cases := readSchemas(f), readTrees(f), readCases(f)
	for i := range cases {
		f.Add(i, i*7, (i+11)%len(cases), i*3, i%2 == 0)
	}
	f.Fuzz(func(t *testing.T, i, n, j, m int, plant bool) {
		if i < 0 || j < 0 || i >= len(cases) || j >= len(cases) {
			return
		}
		var into, from any
		if json.Unmarshal(trees[cases[i].sql], &into) != nil || json.Unmarshal(trees[cases[j].sql], &from) != nil {
			t.Fatal("stored tree is not JSON")
		}
		var places, parts []func(any) any
		collect(into, &places)
		collect(from, &parts)
		if n < 0 || m < 0 || len(places) == 0 || len(parts) == 0 {
			return
		}
		places[n%len(places)](parts[m%len(parts)](nil))
		if plant {
			plantSecret(into, secret)
		}
		b, err := json.Marshal(into)
		if err != nil {
			t.Fatal(err)
		}
		q, r := analyse.Decode(b, cases[i].sql, schemas, nil)
		checkAnswer(t, q, r, schemas)
		if plant && r != nil && strings.Contains(r.Text("zh")+r.Text("en"), secret) {
			t.Fatalf("refusal repeats an identity number: %s", r.Text("en"))
		}
	})
}

// collect lists every value of a tree as a function that returns it and, given
// something, puts that in its place. Keys are visited in order.
func collect(v any, out *[]func(any) any) {
	switch v := v.(type) {
	case map[string]any:
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		for _, k := range keys {
			*out = append(*out, func(x any) any {
				old := v[k]
				if x != nil {
					v[k] = x
				}
				return old
			})
			collect(v[k], out)
		}
	case []any:
		for i := range v {
			*out = append(*out, func(x any) any {
				old := v[i]
				if x != nil {
					v[i] = x
				}
				return old
			})
			collect(v[i], out)
		}
	}
}

// plantSecret replaces literals and the last part of column names.
func plantSecret(v any, secret string) {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			if _, text := x.(string); text && (k == "value" || k == "function_name" || k == "table_name") {
				v[k] = secret
				continue
			}
			if names, ok := x.([]any); ok && k == "column_names" && len(names) > 0 {
				names[len(names)-1] = secret
			}
			plantSecret(x, secret)
		}
	case []any:
		for _, x := range v {
			plantSecret(x, secret)
		}
	}
}
