package trail

import (
	"crypto/sha256"
	"fmt"
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"
)

// Tree is the right edge of a Merkle tree: all that is needed to append leaves and to know the root.
// Its zero value is the empty tree. Copies made with Clone grow independently.
type Tree struct {
	size uint64
	// edge is the roots of the complete subtrees that the leaves divide into, the largest first: one for
	// each bit that is set in size.
	edge []tlog.Hash
}

// LoadTree reads the right edge of a tree of that size from its stored hashes.
func LoadTree(size uint64, r tlog.HashReader) (*Tree, error) {
	t := &Tree{size: size}
	var indexes []int64
	start := uint64(0)
	for left := size; left != 0; {
		level := bits.Len64(left) - 1
		indexes = append(indexes, tlog.StoredHashIndex(level, int64(start>>level)))
		start += 1 << level
		left -= 1 << level
	}
	if len(indexes) == 0 {
		return t, nil
	}
	hashes, err := r.ReadHashes(indexes)
	if err != nil {
		return nil, err
	}
	if len(hashes) != len(indexes) {
		return nil, fmt.Errorf("%d hashes for %d indexes", len(hashes), len(indexes))
	}
	t.edge = append(t.edge, hashes...)
	return t, nil
}

// Clone returns an independent copy.
func (t *Tree) Clone() *Tree {
	return &Tree{size: t.size, edge: append(make([]tlog.Hash, 0, len(t.edge)+8), t.edge...)}
}

// Size returns the number of leaves.
func (t *Tree) Size() uint64 { return t.size }

// Append adds a leaf's hash and appends to stored the hashes that a log stores for it, in the order of
// tlog.StoredHashIndex.
func (t *Tree) Append(leaf tlog.Hash, stored []tlog.Hash) []tlog.Hash {
	h := leaf
	stored = append(stored, h)
	for n := t.size; n&1 == 1; n >>= 1 {
		last := len(t.edge) - 1
		h = tlog.NodeHash(t.edge[last], h)
		t.edge = t.edge[:last]
		stored = append(stored, h)
	}
	t.edge = append(t.edge, h)
	t.size++
	return stored
}

// Root returns the root hash.
func (t *Tree) Root() tlog.Hash {
	if len(t.edge) == 0 {
		return sha256.Sum256(nil)
	}
	h := t.edge[len(t.edge)-1]
	for i := len(t.edge) - 2; i >= 0; i-- {
		h = tlog.NodeHash(t.edge[i], h)
	}
	return h
}
