// Package audit is the mathematics of the record that cannot be edited unnoticed: entries, their hash tree, signed
// checkpoints, and bundles of them that are verified anywhere.
//
// It promises that an entry has exactly one encoding; that whatever of a log was changed, removed, added, exchanged or
// moved does not verify against a checkpoint that was signed before; that a signature counts only if the caller knows its
// key; and that nothing that is read is believed before it is checked, whatever its size.
//
// The tree is that of RFC 6962 (golang.org/x/mod/sumdb/tlog), checkpoints are those of c2sp.org/tlog-checkpoint, signed as
// c2sp.org/signed-note says (Ed25519) and cosigned as c2sp.org/tlog-cosignature says. docs/audit.md describes all of it so
// that somebody else can write a verifier.
//
// The package knows no files, clocks or keys of its own: package ledger keeps logs on disk, package secret keeps the key.
package audit

import (
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// Hash is a node of the tree, or a leaf.
type Hash = tlog.Hash

var (
	// ErrEncoding says that bytes are not the one encoding of an entry.
	ErrEncoding = errors.New("not an entry as moat writes it")
	// ErrCheckpoint says that bytes are no signed checkpoint.
	ErrCheckpoint = errors.New("not a signed checkpoint")
	// ErrUnknownKey says that nobody known has signed.
	ErrUnknownKey = errors.New("it is signed by a key that is not known")
	// ErrSignature says that a signature is not that of the key that it names.
	ErrSignature = errors.New("a signature is wrong")
	// ErrKey says that a text is no key.
	ErrKey = errors.New("not a key as \"moat audit key\" prints it")
	// ErrTree says that entries and a checkpoint do not belong together.
	ErrTree = errors.New("the entries are not those that were signed")
	// ErrBundle says that bytes are no bundle.
	ErrBundle = errors.New("not a bundle as \"moat audit --export\" writes it")
)

// Leaf is the hash of an encoded entry in the tree.
func Leaf(entry []byte) Hash { return tlog.RecordHash(entry) }

// Tree is the right edge of a hash tree: what is needed to add to it and to know its root. The zero Tree is empty.
type Tree struct {
	size int64
	edge []Hash // roots of the perfect subtrees, the largest first: one for each 1 in size
}

// ResumeTree is the tree of that size with that edge.
func ResumeTree(size int64, edge []Hash) (Tree, error) {
	t := Tree{size: size, edge: edge}
	if size < 0 || len(edge) != t.subtrees() {
		return Tree{}, fmt.Errorf("%w: an edge of %d hashes for %d entries", ErrTree, len(edge), size)
	}
	return t, nil
}

func (t *Tree) subtrees() int {
	n := 0
	for size := t.size; size > 0; size &= size - 1 {
		n++
	}
	return n
}

// Size is how many entries the tree has.
func (t *Tree) Size() int64 { return t.size }

// Edge is what ResumeTree wants; it is valid until the next Add.
func (t *Tree) Edge() []Hash { return t.edge }

// Add appends a leaf.
func (t *Tree) Add(leaf Hash) {
	for size := t.size; size&1 == 1; size >>= 1 {
		last := len(t.edge) - 1
		leaf = tlog.NodeHash(t.edge[last], leaf)
		t.edge = t.edge[:last]
	}
	t.edge = append(t.edge, leaf)
	t.size++
}

// Root is the hash of the whole tree; of an empty one it is that of no bytes (RFC 6962, 2.1).
func (t *Tree) Root() Hash {
	last := len(t.edge) - 1
	if last < 0 {
		root, _ := tlog.TreeHash(0, nil) // an empty tree reads nothing
		return root
	}
	root := t.edge[last]
	for i := last - 1; i >= 0; i-- {
		root = tlog.NodeHash(t.edge[i], root)
	}
	return root
}
