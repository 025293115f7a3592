package audit_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"moat/internal/audit"
)

// What follows verifies bundles with nothing but the documents: RFC 6962, c2sp.org/signed-note, /tlog-checkpoint,
// /tlog-cosignature, and docs/audit.md for what a bundle looks like. It shares no code with the package.

type foreignKey struct {
	name string
	kind byte
	key  []byte
}

func readVkey(t *testing.T, text string) foreignKey {
	parts := strings.SplitN(text, "+", 3)
	data, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil {
		t.Fatal(err)
	}
	return foreignKey{parts[0], data[0], data[1:]}
}

func (k foreignKey) id(name string) []byte {
	sum := sha256.Sum256(slices.Concat([]byte(name), []byte("\n"), []byte{k.kind}, k.key))
	return sum[:4]
}

// openNote returns the note's text, and the time of the witness's signature.
func openNote(signed string, log, witness foreignKey) (text string, seen uint64, err error) {
	split := strings.LastIndex(signed, "\n\n")
	text = signed[:split+1]
	origin, _, _ := strings.Cut(text, "\n")
	ok := false
	for line := range strings.Lines(signed[split+2:]) {
		words := strings.Fields(line) // a dash, the name, the signature
		raw, err := base64.StdEncoding.DecodeString(words[2])
		if err != nil {
			return "", 0, err
		}
		id, sig := raw[:4], raw[4:]
		if words[1] == origin && strings.HasPrefix(origin, log.name) && bytes.Equal(id, log.id(origin)) {
			ok = ed25519.Verify(log.key, []byte(text), sig)
		}
		if words[1] == witness.name && bytes.Equal(id, witness.id(witness.name)) {
			at := binary.BigEndian.Uint64(sig)
			if ed25519.Verify(witness.key, fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s", at, text), sig[8:]) {
				seen = at
			}
		}
	}
	if !ok {
		return "", 0, fmt.Errorf("the log has not signed")
	}
	return text, seen, nil
}

func leafHash(data string) []byte {
	sum := sha256.Sum256(append([]byte{0}, data...))
	return sum[:]
}

func nodeHash(left, right []byte) []byte {
	sum := sha256.Sum256(slices.Concat([]byte{1}, left, right))
	return sum[:]
}

// treeHash is MTH of RFC 6962, 2.1.
func treeHash(leaves [][]byte) []byte {
	if len(leaves) == 1 {
		return leaves[0]
	}
	k := 1
	for 2*k < len(leaves) {
		k *= 2
	}
	return nodeHash(treeHash(leaves[:k]), treeHash(leaves[k:]))
}

// rootFrom follows an audit path (RFC 9162, 2.1.3.2).
func rootFrom(index, size uint64, hash []byte, path [][]byte) []byte {
	fn, sn := index, size-1
	for _, p := range path {
		if fn&1 == 1 || fn == sn {
			hash = nodeHash(p, hash)
			for fn&1 == 0 && fn != 0 {
				fn, sn = fn>>1, sn>>1
			}
		} else {
			hash = nodeHash(hash, p)
		}
		fn, sn = fn>>1, sn>>1
	}
	return hash
}

func verifyForeign(t *testing.T, bundle string, log, witness foreignKey) (entries []string, seen uint64, err error) {
	head := strings.SplitN(bundle, "\n", 4)
	blocks := strings.Split(head[3], "\n\n")
	text, seen, err := openNote(blocks[0]+"\n\n"+blocks[1]+"\n", log, witness)
	if err != nil {
		return nil, 0, err
	}
	lines := strings.Split(text, "\n")
	size, _ := strconv.ParseUint(lines[1], 10, 64)
	root, _ := base64.StdEncoding.DecodeString(lines[2])
	if head[1] == "whole" {
		entries = strings.Split(strings.TrimSuffix(blocks[2], "\n"), "\n")
		var leaves [][]byte
		for _, e := range entries {
			leaves = append(leaves, leafHash(e))
		}
		if uint64(len(entries)) != size || !bytes.Equal(treeHash(leaves), root) {
			return nil, 0, fmt.Errorf("wrong root")
		}
		return entries, seen, nil
	}
	for _, block := range blocks[2:] {
		parts := strings.Split(strings.TrimSuffix(block, "\n"), "\n")
		var path [][]byte
		for _, p := range parts[1:] {
			h, _ := base64.StdEncoding.DecodeString(p)
			path = append(path, h)
		}
		var e struct{ Seq uint64 }
		if err := json.Unmarshal([]byte(parts[0]), &e); err != nil {
			return nil, 0, err
		}
		if !bytes.Equal(rootFrom(e.Seq-1, size, leafHash(parts[0]), path), root) {
			return nil, 0, fmt.Errorf("entry %d is not in the tree", e.Seq)
		}
		entries = append(entries, parts[0])
	}
	return entries, seen, nil
}

func TestSomebodyElseCanVerify(t *testing.T) {
	signer, other := audit.NewSigner(""), audit.NewSigner("")
	log, witness := readVkey(t, signer.String()), readVkey(t, other.Witness())
	at := time.Unix(1_800_000_000, 0)
	var entries [][]byte
	var tree audit.Tree
	for seq := range int64(13) {
		e := audit.Entry{Seq: seq + 1, Time: at, Kind: "exec", Fields: []audit.Field{audit.List("args", []string{"ls", "é\n"})}}
		entries = append(entries, e.Append(nil))
		tree.Add(audit.Leaf(entries[seq]))
	}
	all := func(yield func([]byte, error) bool) {
		for _, e := range entries {
			if !yield(e, nil) {
				return
			}
		}
	}
	msg, err := signer.Sign(audit.Checkpoint{Origin: audit.OriginOf(signer.Key, "run-0123456789ab"), Size: tree.Size(), Root: tree.Root()})
	if err != nil {
		t.Fatal(err)
	}
	if msg, err = other.Cosign(msg, at); err != nil {
		t.Fatal(err)
	}
	signed, err := audit.Open(msg, []audit.Key{signer.Key, other.Key})
	if err != nil {
		t.Fatal(err)
	}
	var whole, part bytes.Buffer
	if err := audit.WriteBundle(&whole, msg, tree.Size(), all); err != nil {
		t.Fatal(err)
	}
	if err := audit.WriteRange(&part, signed, 5, 12, all); err != nil {
		t.Fatal(err)
	}
	for data, want := range map[string]int{whole.String(): 13, part.String(): 8} {
		got, seen, err := verifyForeign(t, data, log, witness)
		if err != nil || len(got) != want || seen != uint64(at.Unix()) {
			t.Errorf("%d entries, seen at %d: %v\n%s", len(got), seen, err, data)
		}
		if _, _, err := verifyForeign(t, strings.Replace(data, `"ls"`, `"rm"`, 1), log, witness); err == nil {
			t.Error("a changed entry verifies")
		}
	}
}
