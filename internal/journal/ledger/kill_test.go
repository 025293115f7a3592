package ledger

import (
	"context"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"moat/internal/audit"
)

// writerEnv makes the test binary a writer that goes on for ever in the home it names.
const writerEnv = "LEDGER_TEST_WRITER"

func TestMain(m *testing.M) {
	if home := os.Getenv(writerEnv); home != "" {
		if err := writeForEver(home); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// writeForEver appends, signs and enters like a supervisor in a hurry. It says when it begins.
func writeForEver(home string) error {
	dir, err := os.OpenRoot(filepath.Join(home, "runs", runID))
	if err != nil {
		return err
	}
	m := OpenMachine(home)
	signer, _, err := m.Signer(context.Background(), nil)
	if err != nil {
		return err
	}
	log, found, err := Open(dir, nil)
	if err != nil {
		return err
	}
	if found.Entries == 0 {
		err = log.Append(time.Now(), "created", audit.Text("run", runID), audit.Text("plan", "p"))
	} else {
		err = log.Append(time.Now(), "gap", audit.Text("what", "supervisor"))
	}
	if _, werr := os.Stdout.WriteString("."); werr != nil {
		return werr
	}
	for i := 0; err == nil; i++ {
		if err = log.Append(time.Now(), "exec", audit.Number("number", i)); err == nil {
			err = log.Flush()
		}
		if err == nil && i%5 == 0 {
			var signed []byte
			if signed, err = log.Sign(audit.OriginOf(signer.Key, runID), signer); err == nil && i%20 == 0 {
				if err = log.Sync(); err == nil {
					_, err = m.EnterRun(signer, runID, signed)
				}
			}
		}
	}
	return err
}

// TestKilledWriters kills one writer after the other, at any moment, and verifies what is left each time.
func TestKilledWriters(t *testing.T) {
	r := newRig(t, runID)
	exe, err := os.Executable()
	r.must(err)
	kills := 60
	if text := os.Getenv("MOAT_SOAK"); text != "" { // as in internal/soak
		if kills, err = strconv.Atoi(text); err != nil {
			t.Fatalf("MOAT_SOAK=%q: write how many kills", text)
		}
	}
	for i := range kills {
		cmd := exec.Command(exe)
		cmd.Env = append(os.Environ(), writerEnv+"="+r.home)
		out, err := cmd.StdoutPipe()
		r.must(err)
		r.must(cmd.Start())
		if _, err := io.ReadFull(out, make([]byte, 1)); err != nil {
			t.Fatalf("the writer after kill %d: %v", i, err)
		}
		<-time.NewTimer(time.Duration(rand.IntN(10_000)) * time.Microsecond).C
		r.must(cmd.Process.Kill())
		_ = cmd.Wait() // it was killed
		if report := r.wantGood("killed"); t.Failed() {
			t.Fatalf("after kill %d of %d entries", i, report.Entries)
		}
	}
	report := r.wantGood("in the end")
	if report.Entries < int64(kills) || report.Signed == 0 {
		t.Errorf("%d entries, %d signed", report.Entries, report.Signed)
	}
	t.Logf("%d entries, %d signed, %d gaps", report.Entries, report.Signed, len(report.Gaps))
}
