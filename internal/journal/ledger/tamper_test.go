package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"moat/internal/audit"
)

// TestEachByteCounts changes each byte of each file of a run and of the machine in turn.
func TestEachByteCounts(t *testing.T) {
	r := newRig(t, runID)
	r.open(false)
	r.print("hello\n")
	r.request("api.example")
	r.round()
	r.log.buf = append(r.log.buf, "torn"...) // so that there is a file with what was cut
	r.must(r.log.Flush())
	r.kill()
	r.open(false)
	r.end()
	r.witness(audit.NewSigner(""))
	if report := r.wantGood("untouched"); len(report.Gaps) != 2 || report.Ended == nil || !report.Closed || len(report.Seen) != 1 {
		t.Errorf("%+v", report)
	}
	files := r.files()
	if len(files) != 9 { // logs of both, what was cut, keys, what was seen of both, and the three that the record is about
		t.Errorf("%q", files)
	}
	for _, path := range files {
		r.damage(path)
	}
	r.wantGood("put right again")
}

// witness has somebody cosign what the run's record and the machine's are now.
func (r *rig) witness(w *audit.Signer) {
	r.t.Helper()
	r.must(r.machine.Trust(w.Key))
	keys, err := r.machine.Keys()
	r.must(err)
	home, err := os.OpenRoot(r.home)
	r.must(err)
	defer home.Close()
	for _, dir := range []*os.Root{r.dir, home} {
		in, err := OpenReader(dir)
		r.must(err)
		note, err := in.Newest()
		r.must(errors.Join(err, in.Close()))
		note, err = w.Cosign(note, time.Now())
		r.must(err)
		signed, err := audit.Open(note, keys.All())
		r.must(err)
		r.must(r.machine.KeepSeen(signed))
	}
}

// damage changes, cuts, doubles and removes a file.
func (r *rig) damage(path string) {
	r.t.Helper()
	data, err := os.ReadFile(path)
	r.must(err)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	r.must(err)
	defer f.Close()
	write := func(data []byte, at int) {
		_, err := f.WriteAt(data, int64(at))
		r.must(err)
	}
	for at := range data {
		changed := data[at] ^ 1<<(at%8)
		write([]byte{changed}, at)
		if r.verify().Valid() {
			r.t.Errorf("%s: byte %d of %d (%q) changed to %q is not found", path, at, len(data), data[at], changed)
		}
		write(data[at:at+1], at)
	}
	write(data, len(data))
	r.wantBad(path+" twice", "")
	whole := len(data)
	if path == filepath.Join(r.home, LogName) {
		all := frames(r.t, data)
		whole -= len(bytes.Join(all[len(all)-2:], nil)) // what was entered last is known to nobody else
	}
	for cut := whole - 1; cut >= 0; cut -= 3 {
		r.must(f.Truncate(int64(cut)))
		if r.verify().Valid() {
			r.t.Errorf("%s cut to %d of %d bytes is not found", path, cut, len(data))
		}
	}
	r.must(os.Remove(path))
	if filepath.Dir(path) != filepath.Join(r.home, seenDir) { // what a witness has seen, it has itself
		r.wantBad(path+" removed", "")
	}
	r.must(os.WriteFile(path, data, 0o600))
}

// frames splits a log.
func frames(t testing.TB, data []byte) [][]byte {
	rest := data[len(audit.Magic):]
	var all [][]byte
	for len(rest) > 0 {
		_, _, n, err := audit.Frame(rest)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, rest[:n])
		rest = rest[n:]
	}
	return all
}

// TestWholeEntriesCount removes, repeats and exchanges whole frames: of the run and of the machine.
func TestWholeEntriesCount(t *testing.T) {
	r := newRig(t, runID)
	r.life()
	for _, path := range []string{filepath.Join(r.home, LogName), filepath.Join(r.dir.Name(), LogName)} {
		data, err := os.ReadFile(path)
		r.must(err)
		all := frames(t, data)
		try := func(what string, list [][]byte) {
			t.Helper()
			r.must(os.WriteFile(path, append([]byte(audit.Magic), bytes.Join(list, nil)...), 0o600))
			if r.verify().Valid() {
				t.Errorf("%s: %s is not found", path, what)
			}
		}
		for i := range all {
			try(fmt.Sprintf("frame %d (%c) removed", i, all[i][8]), slices.Delete(slices.Clone(all), i, i+1))
			try(fmt.Sprintf("frame %d (%c) twice", i, all[i][8]), slices.Insert(slices.Clone(all), i, all[i]))
			if path != filepath.Join(r.home, LogName) || i < len(all)-2 { // what was entered last is known to nobody else
				try(fmt.Sprintf("cut before frame %d", i), all[:i])
			}
			if i > 0 {
				swapped := slices.Clone(all)
				swapped[i-1], swapped[i] = swapped[i], swapped[i-1]
				try(fmt.Sprintf("frames %d and %d exchanged", i-1, i), swapped)
			}
		}
		r.must(os.WriteFile(path, data, 0o600))
	}
	r.wantGood("put right again")
}

// TestForgedEntry changes an entry and everything that can be changed with it without the key.
func TestForgedEntry(t *testing.T) {
	r := newRig(t, runID)
	r.life()
	path := filepath.Join(r.dir.Name(), LogName)
	data, err := os.ReadFile(path)
	r.must(err)
	all := frames(t, data)
	for i, f := range all {
		kind, payload, _, _ := audit.Frame(f)
		if kind == audit.FrameEntry && bytes.Contains(payload, []byte("api.example")) {
			all[i] = audit.AppendFrame(nil, kind, bytes.Replace(payload, []byte("api.example"), []byte("any.example"), 1))
			break
		}
	}
	r.must(os.WriteFile(path, append([]byte(audit.Magic), bytes.Join(all, nil)...), 0o600))
	r.wantBad("a host with its checksum changed", "one was changed, or the record was replaced")
	// With another key nothing is better.
	other := audit.NewSigner("")
	var tree audit.Tree
	for i, f := range all {
		kind, payload, _, _ := audit.Frame(f)
		if kind == audit.FrameEntry {
			tree.Add(audit.Leaf(payload))
			continue
		}
		signed, err := other.Sign(audit.Checkpoint{Origin: audit.OriginOf(other.Key, r.id), Size: tree.Size(), Root: tree.Root()})
		r.must(err)
		all[i] = audit.AppendFrame(nil, kind, audit.AppendCheckpoint(nil, tree.Edge(), signed))
	}
	r.must(os.WriteFile(path, append([]byte(audit.Magic), bytes.Join(all, nil)...), 0o600))
	r.wantBad("signed by somebody else", "")
	r.must(os.Remove(filepath.Join(r.home, LogName)))
	r.wantBad("and the machine's record removed", "a key that is not known")
}

// TestOlderFolder puts a run's whole folder back as it was, and another run's in its place.
func TestOlderFolder(t *testing.T) {
	r := newRig(t, runID)
	r.open(false)
	r.print("hello\n")
	r.round()
	older := t.TempDir()
	r.must(os.CopyFS(older, os.DirFS(r.dir.Name())))
	was := r.state
	r.print("what nobody should know\n")
	r.end()
	r.wantGood("untouched")
	replace := func(from string) {
		r.must(os.RemoveAll(r.dir.Name()))
		r.must(os.CopyFS(r.dir.Name(), os.DirFS(from)))
		dir, err := os.OpenRoot(r.dir.Name())
		r.must(err)
		t.Cleanup(func() { dir.Close() })
		r.dir = dir
	}
	replace(older)
	r.state = was
	r.wantBad("the folder of before", "it was cut off or put back")
	// Its supervisor goes on with it.
	r.open(false)
	for range 30 {
		r.print("harmless\n")
		r.round()
	}
	r.end()
	r.wantBad("the folder of before, and another course", "or the record was replaced")

	other := addRun(t, r.home, "run-ba9876543210")
	other.life()
	other.wantGood("another run")
	replace(other.dir.Name())
	r.state = other.state
	r.wantBad("another run's folder", "run-ba9876543210")
}

// TestMachineRecordPutBack puts the machine's record back as it was: the runs know.
func TestMachineRecordPutBack(t *testing.T) {
	r := newRig(t, runID)
	r.life()
	path := filepath.Join(r.home, LogName)
	older, err := os.ReadFile(path)
	r.must(err)
	other := addRun(t, r.home, "run-ba9876543210")
	other.life()
	r.must(os.WriteFile(path, older, 0o600))
	other.wantBad("the machine's record of before", "it was cut off or put back")
	r.wantGood("a run from before that")
}

func TestRotatedKeysAndWitnesses(t *testing.T) {
	r := newRig(t, runID)
	r.life()
	_, err := r.machine.Rotate(t.Context(), nil)
	r.must(err)
	r.wantGood("signed with the key of before")
	other := addRun(t, r.home, "run-ba9876543210")
	if other.signer.Equal(r.signer.Key) || other.signer.Name != r.signer.Name {
		t.Errorf("after a rotation the key is %s, before it was %s", other.signer, r.signer)
	}
	other.life()
	other.wantGood("signed with the new key")
	r.wantGood("signed with the key of before")
}
