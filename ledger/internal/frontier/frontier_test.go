package frontier

import (
	"fmt"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
)

// The reference is the tree of golang.org/x/mod/sumdb/tlog, another implementation of RFC 6962.
func TestRootAgainstReference(t *testing.T) {
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(idx []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(idx))
		for i, x := range idx {
			out[i] = stored[x]
		}
		return out, nil
	})
	var tree Tree
	for n := range int64(600) {
		want, err := tlog.TreeHash(n, reader)
		if err != nil {
			t.Fatal(err)
		}
		if got := tree.Root(); got != want || tree.Size() != uint64(n) {
			t.Fatalf("size %d: root %v, want %v", n, got, want)
		}
		kept := tree.Clone()
		entry := fmt.Appendf(nil, "entry %d", n)
		hashes, err := tlog.StoredHashes(n, entry, reader)
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, hashes...)
		tree.Append(tlog.RecordHash(entry))
		if kept.Root() != want {
			t.Fatalf("size %d: a clone changed with its original", n)
		}
	}
}
