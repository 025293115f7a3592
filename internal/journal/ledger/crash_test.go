package ledger

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"moat/internal/audit"
	"moat/internal/journal"
)

// TestTornAtEachByte cuts the end of a log at each byte behind the last checkpoint that others know, and goes on.
func TestTornAtEachByte(t *testing.T) {
	r := newRig(t, runID)
	r.open(false)
	r.round()
	kept := r.log.end
	known, err := os.ReadFile(filepath.Join(r.home, LogName))
	r.must(err)
	r.event("exec", audit.List("args", []string{"ls"}))
	r.event("exec", audit.List("args", []string{"ps"}))
	r.kill()
	path := filepath.Join(r.dir.Name(), LogName)
	data, err := os.ReadFile(path)
	r.must(err)
	for cut := kept; cut <= int64(len(data)); cut++ {
		r.must(os.WriteFile(path, data[:cut], 0o600))
		found := r.open(true)
		r.event("exec", audit.List("args", []string{"go", "on"}))
		r.round()
		r.kill()
		report := r.wantGood("cut")
		if found.Cut > 0 != strings.Contains(textOf(report.Gaps), "moved to") {
			t.Errorf("cut at %d: %d bytes were torn, and the record says %q", cut, found.Cut, textOf(report.Gaps))
		}
		// Back to before, also what the machine knows.
		r.must(os.WriteFile(filepath.Join(r.home, LogName), known, 0o600))
		left, _ := filepath.Glob(filepath.Join(r.dir.Name(), "audit/cut-*"))
		for _, name := range left {
			r.must(os.Remove(name))
		}
	}
}

func textOf(list []Problem) string {
	var all []string
	for _, p := range list {
		all = append(all, p.What)
	}
	return strings.Join(all, "; ")
}

// TestLostRecords takes away records of network and output that were entered: after a restart of the machine that is a gap,
// otherwise somebody has done it.
func TestLostRecords(t *testing.T) {
	for _, restart := range []bool{true, false} {
		r := newRig(t, runID)
		r.open(false)
		r.print("one\n")
		r.request("a.example")
		r.round()
		r.print("two\n")
		r.request("b.example")
		r.round()
		r.kill()
		for _, name := range []string{journal.NetworkName, journal.LogName, journal.IndexName} {
			path := filepath.Join(r.dir.Name(), name)
			data, err := os.ReadFile(path)
			r.must(err)
			keep := map[string]int{journal.NetworkName: bytes.IndexByte(data, '\n') + 1, journal.LogName: 4, journal.IndexName: 64}[name]
			r.must(os.Truncate(path, int64(keep)))
		}
		r.open(restart)
		r.print("three\n")
		r.request("c.example")
		r.end()
		if restart {
			report := r.wantGood("lost with the power")
			if text := textOf(report.Gaps); !strings.Contains(text, "3 network records") || !strings.Contains(text, "bytes of output") {
				t.Errorf("gaps: %s", text)
			}
		} else {
			r.wantBad("taken away", "records were removed")
		}
	}
}

// TestUnenteredRecords leaves records that a killed supervisor did not live to enter.
func TestUnenteredRecords(t *testing.T) {
	r := newRig(t, runID)
	r.open(false)
	r.round()
	r.network.OnWritten(func(journal.Written) {})
	r.print("printed\n")
	r.request("a.example")
	r.kill()
	report := r.wantGood("killed")
	if text := strings.Join(report.Remarks, "; "); !strings.Contains(text, "2 lines of network.jsonl are not entered") || !strings.Contains(text, "output.log are not entered") {
		t.Errorf("remarks: %s", text)
	}
	r.open(false)
	r.end()
	if report := r.wantGood("entered later"); len(report.Remarks) > 0 {
		t.Errorf("remarks: %q", report.Remarks)
	}
}

func TestClockSetBack(t *testing.T) {
	r := newRig(t, runID)
	r.open(false)
	r.must(r.log.Append(time.Now().Add(-48*time.Hour), "warning", audit.Text("text", "what time is it")))
	r.end()
	if report := r.wantGood("the clock was set back"); !strings.Contains(strings.Join(report.Remarks, "; "), "set back by 48h") {
		t.Errorf("remarks: %q", report.Remarks)
	}
}

// TestVerifiersOfALiveRun verify while it is written.
func TestVerifiersOfALiveRun(t *testing.T) {
	r := newRig(t, runID)
	r.open(false)
	r.round()
	done := make(chan struct{})
	var verifiers sync.WaitGroup
	for range 2 {
		v := &rig{t: t, home: r.home, id: r.id, dir: r.dir, machine: r.machine, signer: r.signer, state: r.state, held: true}
		verifiers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				report := v.verify()
				for range 5 { // as the command line does: it may have been in the middle of a change
					if report.Valid() {
						break
					}
					report = v.verify()
				}
				if !report.Valid() {
					t.Errorf("%+v", report.Problems)
					return
				}
			}
		})
	}
	for i := range 200 {
		r.print("line\n")
		r.request("a.example")
		if i%10 == 0 {
			r.round()
		}
	}
	close(done)
	verifiers.Wait()
	r.end()
	r.wantGood("in the end")
}

func TestReadOnlyReading(t *testing.T) {
	r := newRig(t, runID)
	r.life()
	before := snapshot(t, r.home)
	r.wantGood("read")
	if after := snapshot(t, r.home); after != before {
		t.Errorf("verifying has changed something:\n%s\nbefore:\n%s", after, before)
	}
}

func snapshot(t *testing.T, dir string) string {
	var all strings.Builder
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		info, ierr := d.Info()
		if err != nil || ierr != nil {
			return err
		}
		all.WriteString(path + " " + info.ModTime().String() + " " + info.Mode().String() + "\n")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}
