package journal

import (
	"bytes"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"
)

// writerEnv makes the test binary a writer that goes on for ever in the folder it names.
const writerEnv = "JOURNAL_TEST_WRITER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(writerEnv); dir != "" {
		if err := writeForEver(dir); err != nil {
			panic(err)
		}
	}
	if dir := os.Getenv(networkWriterEnv); dir != "" {
		if err := recordForEver(dir); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// writeForEver appends the pattern and tells on stdout, after each chunk, where it is.
func writeForEver(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	o, _, err := OpenOutput(root)
	if err != nil {
		return err
	}
	for {
		off := o.Offset()
		c := Chunk{Time: time.Now(), Stream: Stdout, Offset: off, Data: pattern(off, chunkSize(off))}
		if err := o.Append(c); err != nil {
			return err
		}
		if err := binary.Write(os.Stdout, binary.LittleEndian, c.End()); err != nil {
			return err
		}
	}
}

// TestKilledWriter kills one writer after the other on the same files. What a writer told must be there, in whole
// chunks, and everything from the first byte must be right.
func TestKilledWriter(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	root := openRoot(t, dir)
	random := rand.New(rand.NewPCG(7, 8))
	var checked, told int64
	for i := range 100 {
		told = max(told, runWriterAndKill(t, exe, dir, time.Duration(random.IntN(8000))*time.Microsecond))
		r, err := OpenReader(root)
		if err != nil {
			t.Fatal(err)
		}
		if r.End() < told {
			t.Fatalf("kill %d: %d bytes are there, the writer told %d", i, r.End(), told)
		}
		for c, err := range r.Chunks(checked, r.End()) {
			if err != nil || c.Offset != checked || len(c.Data) != chunkSize(checked) ||
				!bytes.Equal(c.Data, pattern(checked, len(c.Data))) {
				t.Fatalf("kill %d: chunk of %d bytes at %d, want %d at %d, %v",
					i, len(c.Data), c.Offset, chunkSize(checked), checked, err)
			}
			checked = c.End()
		}
		if checked != r.End() {
			t.Fatalf("kill %d: chunks end at %d, output at %d", i, checked, r.End())
		}
		r.Close()
	}
	if checked == 0 {
		t.Error("nothing was written")
	}
	t.Logf("%d bytes over 100 kills", checked)
}

// runWriterAndKill returns the last offset that the writer told. It is killed so long after its first one.
func runWriterAndKill(t *testing.T, exe, dir string, after time.Duration) (told int64) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), writerEnv+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var offset [8]byte
	if _, err := io.ReadFull(out, offset[:]); err != nil {
		t.Fatal(err)
	}
	killer := time.AfterFunc(after, func() { cmd.Process.Kill() })
	defer killer.Stop()
	for {
		told = int64(binary.LittleEndian.Uint64(offset[:]))
		if _, err := io.ReadFull(out, offset[:]); err != nil {
			break
		}
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the writer ended by itself")
	}
	return told
}
