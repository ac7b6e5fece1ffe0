// Package frontier computes RFC 6962 tree heads leaf by leaf in logarithmic memory.
package frontier

import (
	"crypto/sha256"
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"
)

// Tree is the right edge of a Merkle tree: one hash for every perfect subtree, largest first.
// The zero value is the empty tree. Not safe for concurrent use.
type Tree struct {
	size  uint64
	edges []tlog.Hash
}

// Size is the number of leaves.
func (t *Tree) Size() uint64 { return t.size }

// Append adds one leaf hash (RFC 6962 §2.1: SHA-256 over a zero byte and the entry).
func (t *Tree) Append(leaf tlog.Hash) {
	h := leaf
	for i := bits.TrailingZeros64(^t.size); i > 0; i-- {
		last := len(t.edges) - 1
		h = tlog.NodeHash(t.edges[last], h)
		t.edges = t.edges[:last]
	}
	t.edges = append(t.edges, h)
	t.size++
}

// Root is the tree head; that of the empty tree is SHA-256 of nothing.
func (t *Tree) Root() tlog.Hash {
	if t.size == 0 {
		return sha256.Sum256(nil)
	}
	h := t.edges[len(t.edges)-1]
	for i := len(t.edges) - 2; i >= 0; i-- {
		h = tlog.NodeHash(t.edges[i], h)
	}
	return h
}

// Clone returns an independent copy.
func (t *Tree) Clone() *Tree {
	return &Tree{size: t.size, edges: append([]tlog.Hash(nil), t.edges...)}
}

// Edges are the hashes of the perfect subtrees, largest first.
func (t *Tree) Edges() []tlog.Hash { return append([]tlog.Hash(nil), t.edges...) }

// FromEdges is the tree of size leaves that has these perfect subtrees; ok says whether it has as many.
func FromEdges(size uint64, edges []tlog.Hash) (t *Tree, ok bool) {
	return &Tree{size: size, edges: append([]tlog.Hash(nil), edges...)}, bits.OnesCount64(size) == len(edges)
}
