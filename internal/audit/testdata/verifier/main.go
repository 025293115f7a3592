// Command verifier verifies bundles that "moat audit --export" writes. It is written from the documents alone, with
// nothing but Go's standard library, to show that they suffice: RFC 6962 for the tree, c2sp.org/signed-note, /tlog-checkpoint and
// /tlog-cosignature for what is signed, and docs/audit.md for what a bundle looks like.
//
//	verifier LOG-KEY WITNESS-KEY BUNDLE…
//
// The keys are lines of "moat audit key"; a witness's may be "-". For each bundle it prints "good", how many entries it has and the
// time of the witness's signature (0: it has none), or "bad" and why.
package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

func main() {
	if len(os.Args) < 4 {
		fmt.Fprintln(os.Stderr, "verifier LOG-KEY WITNESS-KEY BUNDLE…")
		os.Exit(2)
	}
	log, err := readKey(os.Args[1], typeLog)
	var witness key
	if err == nil && os.Args[2] != "-" {
		witness, err = readKey(os.Args[2], typeWitness)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	code := 0
	for _, name := range os.Args[3:] {
		data, err := os.ReadFile(name)
		var b bundle
		if err == nil {
			b, err = verify(string(data), log, witness)
		}
		if err != nil {
			fmt.Printf("bad %s: %v\n", name, err)
			code = 1
			continue
		}
		fmt.Printf("good %s: %d %d\n", name, b.entries, b.seen)
	}
	os.Exit(code)
}

// Signature types (signed-note).
const (
	typeLog     = 0x01
	typeWitness = 0x04
)

// key is a vkey: name+id+base64(type, key).
type key struct {
	name string
	data []byte // type and public key
}

func readKey(text string, want byte) (key, error) {
	parts := strings.SplitN(text, "+", 3)
	if len(parts) != 3 {
		return key{}, errors.New("not a vkey")
	}
	data, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(data) != 1+ed25519.PublicKeySize || data[0] != want {
		return key{}, errors.New("not a vkey of that type")
	}
	k := key{parts[0], data}
	if fmt.Sprintf("%x", k.id(k.name)) != parts[1] {
		return key{}, errors.New("the vkey's id is not that of its key")
	}
	return k, nil
}

// id is what a signature line names a key by: SHA-256(name, newline, type, key)[:4].
func (k key) id(name string) []byte {
	sum := sha256.Sum256(slices.Concat([]byte(name), []byte("\n"), k.data))
	return sum[:4]
}

func (k key) verify(text, sig []byte) bool { return ed25519.Verify(k.data[1:], text, sig) }

// bundle is what a good one has.
type bundle struct {
	entries int
	seen    uint64
}

func verify(data string, log, witness key) (bundle, error) {
	if !strings.HasSuffix(data, "\n") {
		return bundle{}, errors.New("it ends within a line")
	}
	lines := strings.Split(strings.TrimSuffix(data, "\n"), "\n")
	if len(lines) < 9 || lines[0] != "moat-audit-bundle/1" || lines[2] != "" {
		return bundle{}, errors.New("not a bundle")
	}
	// The note: text, empty line, signatures, up to the next empty line.
	rest := lines[3:]
	split := slices.Index(rest, "")
	if split < 0 {
		return bundle{}, errors.New("not a note")
	}
	end := slices.Index(rest[split+1:], "")
	if end < 0 {
		return bundle{}, errors.New("nothing follows the note")
	}
	end += split + 1
	text := strings.Join(rest[:split], "\n") + "\n"
	seen, err := signatures(text, rest[split+1:end], log, witness)
	if err != nil {
		return bundle{}, err
	}
	size, root, err := checkpoint(rest[:split])
	if err != nil {
		return bundle{}, err
	}
	entries := rest[end+1:]
	if lines[1] == "whole" {
		return bundle{len(entries), seen}, whole(entries, size, root)
	}
	n, err := proven(lines[1], entries, size, root)
	return bundle{n, seen}, err
}

// signatures looks at the signature lines of a note. The log must have signed under the origin as its name.
func signatures(text string, lines []string, log, witness key) (seen uint64, err error) {
	origin, _, _ := strings.Cut(text, "\n")
	if origin != log.name && !strings.HasPrefix(origin, log.name+"/") {
		return 0, fmt.Errorf("it is a log of %s", origin)
	}
	signed := false
	for _, line := range lines {
		rest, ok := strings.CutPrefix(line, "— ")
		name, encoded, ok2 := strings.Cut(rest, " ")
		raw, err := base64.StdEncoding.Strict().DecodeString(encoded)
		if !ok || !ok2 || name == "" || err != nil || len(raw) < 5 {
			return 0, errors.New("not a signature line")
		}
		id, sig := raw[:4], raw[4:]
		switch {
		case name == origin && bytes.Equal(id, log.id(origin)):
			if signed = log.verify([]byte(text), sig); !signed {
				return 0, errors.New("the log's signature is wrong")
			}
		case name == witness.name && witness.data != nil && bytes.Equal(id, witness.id(name)):
			if len(sig) != 8+ed25519.SignatureSize {
				return 0, errors.New("not a cosignature")
			}
			at := binary.BigEndian.Uint64(sig)
			if !witness.verify(fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s", at, text), sig[8:]) {
				return 0, errors.New("the witness's signature is wrong")
			}
			seen = at
		}
	}
	if !signed {
		return 0, errors.New("the log has not signed it")
	}
	return seen, nil
}

// checkpoint reads origin, size and root.
func checkpoint(lines []string) (size uint64, root []byte, err error) {
	if len(lines) != 3 {
		return 0, nil, errors.New("not a checkpoint of three lines")
	}
	if size, err = strconv.ParseUint(lines[1], 10, 63); err != nil || strconv.FormatUint(size, 10) != lines[1] || size == 0 {
		return 0, nil, errors.New("not the size of a log")
	}
	if root, err = base64.StdEncoding.Strict().DecodeString(lines[2]); err != nil || len(root) != sha256.Size {
		return 0, nil, errors.New("not a root")
	}
	return size, root, nil
}

func whole(entries []string, size uint64, root []byte) error {
	if uint64(len(entries)) != size {
		return fmt.Errorf("it has %d entries, and %d were signed", len(entries), size)
	}
	var leaves [][]byte
	for i, e := range entries {
		if err := entry(e, uint64(i)+1); err != nil {
			return err
		}
		leaves = append(leaves, leafHash(e))
	}
	if !bytes.Equal(treeHash(leaves), root) {
		return errors.New("the entries are not those that were signed")
	}
	return nil
}

// proven reads some entries, each with its proof.
func proven(head string, lines []string, size uint64, root []byte) (n int, err error) {
	var first, last uint64
	if _, err := fmt.Sscanf(head, "entries %d-%d", &first, &last); err != nil || head != fmt.Sprintf("entries %d-%d", first, last) || first < 1 || last < first || last > size {
		return 0, errors.New("it does not say which entries it has")
	}
	for seq := first; seq <= last; seq++ {
		end := len(lines)
		if seq < last {
			if end = slices.Index(lines, ""); end < 0 {
				return 0, errors.New("entries are missing")
			}
		}
		if end == 0 {
			return 0, errors.New("an entry is missing")
		}
		var path [][]byte
		for _, text := range lines[1:end] {
			h, err := base64.StdEncoding.Strict().DecodeString(text)
			if err != nil || len(h) != sha256.Size {
				return 0, errors.New("not a hash of a proof")
			}
			path = append(path, h)
		}
		if err := entry(lines[0], seq); err != nil {
			return 0, err
		}
		if got, ok := rootFrom(seq-1, size, leafHash(lines[0]), path); !ok || !bytes.Equal(got, root) {
			return 0, fmt.Errorf("entry %d is not in the tree", seq)
		}
		n++
		if seq < last {
			lines = lines[end+1:]
		}
	}
	return n, nil
}

// entry checks what can be checked of an entry without its hash.
func entry(text string, seq uint64) error {
	var e struct{ Seq uint64 }
	if err := json.Unmarshal([]byte(text), &e); err != nil || e.Seq != seq {
		return fmt.Errorf("not entry %d", seq)
	}
	return nil
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
func rootFrom(index, size uint64, hash []byte, path [][]byte) ([]byte, bool) {
	fn, sn := index, size-1
	for _, p := range path {
		if sn == 0 {
			return nil, false
		}
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
	return hash, sn == 0
}
