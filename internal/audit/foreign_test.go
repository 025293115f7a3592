package audit_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"moat/internal/audit"
)

// foreign is a verifier that shares no code with this package: testdata/verifier.
type foreign struct {
	t            *testing.T
	program      string
	log, witness string
}

func newForeign(t *testing.T, log, witness string) *foreign {
	t.Helper()
	f := &foreign{t, filepath.Join(t.TempDir(), "verifier"), log, witness}
	build := exec.Command("go", "build", "-buildvcs=false", "-o", f.program, "./testdata/verifier/main.go")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the verifier: %v\n%s", err, out)
	}
	return f
}

// verify returns what it says of each bundle.
func (f *foreign) verify(bundles ...string) []string {
	f.t.Helper()
	dir := f.t.TempDir()
	args := []string{f.log, f.witness}
	for i, b := range bundles {
		name := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(name, []byte(b), 0o600); err != nil {
			f.t.Fatal(err)
		}
		args = append(args, name)
	}
	out, err := exec.Command(f.program, args...).Output()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
		f.t.Fatalf("%v, %s", err, out)
	}
	said := strings.Split(strings.TrimSuffix(strings.ReplaceAll(string(out), dir+"/", ""), "\n"), "\n")
	if len(said) != len(bundles) {
		f.t.Fatalf("%d verdicts of %d bundles", len(said), len(bundles))
	}
	return said
}

// bundled are bundles of a log with 13 entries, cosigned: whole, and entries 5 to 12.
func bundled(t *testing.T, signer, witness *audit.Signer, at time.Time) (whole, part string) {
	t.Helper()
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
	if msg, err = witness.Cosign(msg, at); err != nil {
		t.Fatal(err)
	}
	signed, err := audit.Open(msg, []audit.Key{signer.Key, witness.Key})
	if err != nil {
		t.Fatal(err)
	}
	var w, p bytes.Buffer
	if err := errors.Join(audit.WriteBundle(&w, msg, tree.Size(), all), audit.WriteRange(&p, signed, 5, 12, all)); err != nil {
		t.Fatal(err)
	}
	return w.String(), p.String()
}

// TestSomebodyElseCanVerify has bundles, and bundles of which one byte was changed, verified by a program that was written
// from the documents. It and this package are to agree.
func TestSomebodyElseCanVerify(t *testing.T) {
	signer, witness := audit.NewSigner(""), audit.NewSigner("")
	at := time.Unix(1_800_000_000, 0)
	f := newForeign(t, signer.String(), witness.Witness())
	whole, part := bundled(t, signer, witness, at)
	good := f.verify(whole, part)
	if good[0] != "good 0: 13 1800000000" || good[1] != "good 1: 8 1800000000" {
		t.Errorf("%q", good)
	}
	for _, b := range []string{whole, part} {
		var changed []string
		for i := range len(b) {
			changed = append(changed, b[:i]+string([]byte{b[i] ^ 1})+b[i+1:])
		}
		changed = append(changed, "", b[:len(b)-1], b+"\n", b+b, strings.Replace(b, "bundle/1", "bundle/2", 1))
		for i, said := range f.verify(changed...) {
			_, err := audit.VerifyBundle(strings.NewReader(changed[i]), []audit.Key{signer.Key, witness.Key}, nil)
			if theirs := strings.HasPrefix(said, "good"); theirs != (err == nil) {
				t.Errorf("change %d of %d: we say %v, and somebody else %s", i, len(b), err, said)
			} else if theirs && strings.Contains(said, " 1800000000") {
				t.Errorf("change %d of %d (%q) is found by nobody", i, len(b), changed[i][max(0, i-5):min(len(changed[i]), i+5)])
			}
		}
	}
}
