package audit

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// stored keeps all hashes as tlog wants them.
type stored []Hash

func (s stored) ReadHashes(places []int64) ([]Hash, error) {
	var out []Hash
	for _, at := range places {
		out = append(out, s[at])
	}
	return out, nil
}

func TestTreeIsThatOfRFC6962(t *testing.T) {
	var tree Tree
	var all stored
	for n := range int64(300) {
		want, err := tlog.TreeHash(n, all)
		if err != nil {
			t.Fatal(err)
		}
		if got := tree.Root(); got != want || tree.Size() != n {
			t.Fatalf("of %d entries the root is %v, want %v", n, got, want)
		}
		resumed, err := ResumeTree(n, append([]Hash(nil), tree.Edge()...))
		if err != nil || resumed.Root() != want {
			t.Fatalf("resumed with %d entries the root is %v (%v), want %v", n, resumed.Root(), err, want)
		}
		more, err := tlog.StoredHashes(n, fmt.Append(nil, n), all)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, more...)
		tree.Add(Leaf(fmt.Append(nil, n)))
	}
	if _, err := ResumeTree(3, make([]Hash, 1)); !errors.Is(err, ErrTree) {
		t.Errorf("an edge of the wrong length: %v", err)
	}
}

// record is a log in memory.
type record struct {
	signer  *Signer
	entries [][]byte
	tree    Tree
}

func newRecord(n int) *record {
	r := &record{signer: NewSigner("")}
	for seq := range int64(n) {
		e := example(seq + 1)
		r.entries = append(r.entries, e.Append(nil))
		r.tree.Add(Leaf(r.entries[seq]))
	}
	return r
}

func (r *record) sign(t testing.TB) Signed {
	t.Helper()
	msg, err := r.signer.Sign(Checkpoint{OriginOf(r.signer.Key, "run-0123456789ab"), r.tree.Size(), r.tree.Root()})
	if err != nil {
		t.Fatal(err)
	}
	signed, err := Open(msg, []Key{r.signer.Key})
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func (r *record) all() iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for _, e := range r.entries {
			if !yield(e, nil) {
				return
			}
		}
	}
}

func (r *record) whole(t testing.TB) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := WriteBundle(&out, r.sign(t).Note, r.tree.Size(), r.all()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func (r *record) part(t testing.TB, first, last int64) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := WriteRange(&out, r.sign(t), first, last, r.all()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestBundlesVerify(t *testing.T) {
	for _, n := range []int{1, 2, 3, 8, 21} {
		r := newRecord(n)
		for _, data := range [][]byte{r.whole(t), r.part(t, 1, int64(n)), r.part(t, int64(n), int64(n)), r.part(t, int64(n+1)/2, int64(n))} {
			count := int64(0)
			b, err := VerifyBundle(bytes.NewReader(data), []Key{r.signer.Key}, func(Entry) { count++ })
			if err != nil || b.Size != int64(n) || count != b.Last-b.First+1 {
				t.Errorf("%d entries: %v, %+v, %d seen\n%s", n, err, b, count, data)
			}
		}
	}
}

// TestEachByteOfABundleCounts changes each byte in several ways. Nothing else may verify.
func TestEachByteOfABundleCounts(t *testing.T) {
	r := newRecord(5)
	for _, data := range [][]byte{r.whole(t), r.part(t, 2, 4)} {
		for at := range data {
			for _, flip := range []byte{0x01, 0x20, 0x80, 0xff} {
				bad := bytes.Clone(data)
				bad[at] ^= flip
				if _, err := VerifyBundle(bytes.NewReader(bad), []Key{r.signer.Key}, nil); err == nil {
					t.Errorf("byte %d (%q) changed to %q, and it verifies", at, data[at], bad[at])
				}
			}
			if _, err := VerifyBundle(bytes.NewReader(data[:at]), []Key{r.signer.Key}, nil); err == nil {
				t.Errorf("cut to %d of %d bytes it verifies", at, len(data))
			}
		}
	}
}

func TestWrongBundlesSayWhy(t *testing.T) {
	r, other := newRecord(6), newRecord(6)
	whole := string(r.whole(t))
	entries := strings.SplitAfter(whole, "\n")
	swapped := strings.Join(append(append([]string{}, entries[:len(entries)-3]...), entries[len(entries)-2], entries[len(entries)-3]), "")
	shorter := newRecord(5)
	shorter.signer = r.signer
	reroot := strings.Replace(whole, r.tree.Root().String(), shorter.tree.Root().String(), 1)
	foreign := string(other.whole(t))
	for name, test := range map[string]struct {
		data string
		want error
		says string
	}{
		"empty":               {"", ErrBundle, "it is empty"},
		"foreign":             {foreign, ErrUnknownKey, other.signer.Name},
		"truncated":           {strings.Join(entries[:len(entries)-2], ""), ErrBundle, "cut off"},
		"longer":              {whole + entries[len(entries)-2], ErrBundle, "more than was signed"},
		"reordered":           {swapped, ErrBundle, "entry 6 is where 5 should be"},
		"another root":        {reroot, ErrSignature, "signature is wrong"},
		"another version":     {strings.Replace(whole, "bundle/1", "bundle/0", 1), ErrBundle, `version "0"`},
		"not said to be part": {strings.Replace(string(r.part(t, 1, 6)), "entries 1-6", "whole", 1), ErrEncoding, "entry 2 (line 11"},
		"other entries":       {strings.Replace(string(r.part(t, 2, 3)), "entries 2-3", "entries 3-4", 1), ErrBundle, "where 3 should be"},
		"no entries signed":   {strings.Replace(string(r.part(t, 2, 3)), "entries 2-3", "entries 2-9", 1), ErrBundle, "6 were signed"},
		"something else":      {"hello\n", ErrBundle, "does not begin as one"},
	} {
		_, err := VerifyBundle(strings.NewReader(test.data), []Key{r.signer.Key}, nil)
		if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v, want %v that says %q", name, err, test.want, test.says)
		}
	}
}

func TestCheckpointsWantAKnownKey(t *testing.T) {
	r := newRecord(3)
	signed := r.sign(t)
	other, rotated := NewSigner(""), NewSigner(r.signer.Name)
	if _, err := Open(signed.Note, []Key{other.Key, rotated.Key}); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("with keys of others: %v", err)
	}
	// Another machine's key must not sign for this one's runs, known or not.
	forged, err := other.Sign(signed.Checkpoint)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(forged, []Key{r.signer.Key, other.Key}); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("signed by another machine: %v", err)
	}
	if got, err := Open(signed.Note, []Key{rotated.Key, r.signer.Key}); err != nil || !got.By.Equal(r.signer.Key) {
		t.Errorf("an older key of the machine: %v, %v", err, got.By)
	}
}

func TestWitnessesAreNamed(t *testing.T) {
	r, w := newRecord(3), NewSigner("")
	at := time.Date(2026, 12, 1, 8, 0, 0, 0, time.UTC)
	signed := r.sign(t)
	msg, err := w.Cosign(signed.Note, at)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Open(msg, []Key{r.signer.Key, w.Key})
	if err != nil || len(got.Witnesses) != 1 || !got.Witnesses[0].Key.Equal(w.Key) || !got.Witnesses[0].Time.Equal(at) {
		t.Errorf("%v, %+v", err, got.Witnesses)
	}
	if got, err := Open(msg, []Key{r.signer.Key}); err != nil || len(got.Witnesses) != 0 || len(got.Unknown) != 1 {
		t.Errorf("a witness that is not known: %v, %+v", err, got)
	}
	if _, err := Open(msg, []Key{w.Key}); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("signed by a witness only: %v", err)
	}
	lines := strings.SplitAfter(string(msg), "\n")
	last := len(lines) - 2
	lines[last] = strings.Replace(lines[last], "A", "B", 1)
	if got, err := Open([]byte(strings.Join(lines, "")), []Key{r.signer.Key, w.Key}); err == nil && len(got.Witnesses) > 0 {
		t.Errorf("a changed cosignature counts: %+v", got.Witnesses)
	}
}

func TestKeysAreReadAsTheyAreWritten(t *testing.T) {
	s := NewSigner("")
	for _, text := range []string{s.String(), s.Witness()} {
		if k, err := ParseKey(text); err != nil || !k.Equal(s.Key) {
			t.Errorf("%s: %v", text, err)
		}
		for at := range text {
			bad := []byte(text)
			bad[at] ^= 1
			if k, err := ParseKey(string(bad)); err == nil {
				t.Errorf("%s is read as %s", bad, k)
			}
		}
	}
	again, err := ParseSigner(s.Secret())
	if err != nil || !again.Equal(s.Key) {
		t.Errorf("the private key read again: %v", err)
	}
	if _, err := ParseSigner(s.Secret()[1:]); err == nil || strings.Contains(err.Error(), s.Secret()[20:]) {
		t.Errorf("a damaged private key: %v", err)
	}
}

func FuzzCheckpoint(f *testing.F) {
	r := newRecord(3)
	f.Add(r.sign(f).Note)
	f.Fuzz(func(t *testing.T, msg []byte) {
		if text, _, ok := strings.Cut(string(msg), "\n\n"); ok {
			if c, err := ParseCheckpoint(text + "\n"); err == nil && c.Text() != text+"\n" {
				t.Errorf("%q is accepted, and written as %q", text, c.Text())
			}
		}
		if s, err := Open(msg, []Key{r.signer.Key}); err == nil && (s.Root != r.tree.Root() || s.Size != r.tree.Size()) {
			t.Errorf("%q is believed", msg)
		}
	})
}

func FuzzBundle(f *testing.F) {
	r := newRecord(3)
	whole, part := r.whole(f), r.part(f, 2, 3)
	f.Add(whole)
	f.Add(part)
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := VerifyBundle(bytes.NewReader(data), []Key{r.signer.Key}, nil)
		if err == nil && b.Whole && !bytes.Equal(data, whole) {
			t.Errorf("%q is believed", data)
		}
	})
}

func BenchmarkVerifyEntry(b *testing.B) {
	data := example(1).Append(nil)
	var tree Tree
	var e Entry
	for b.Loop() {
		if err := e.Parse(data); err != nil {
			b.Fatal(err)
		}
		tree.Add(Leaf(data))
	}
}
