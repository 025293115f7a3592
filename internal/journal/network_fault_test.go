package journal

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// flakyFile fails its writes, behind the first bytes, while full is set.
type flakyFile struct {
	diskFile
	full    atomic.Bool
	fits    int // bytes of a failing write that are written
	syncs   atomic.Int64
	syncErr error
}

func (f *flakyFile) WriteAt(b []byte, off int64) (int, error) {
	if !f.full.Load() {
		return f.diskFile.WriteAt(b, off)
	}
	n, err := f.diskFile.WriteAt(b[:min(f.fits, len(b))], off)
	return n, errors.Join(syscall.ENOSPC, err)
}

func (f *flakyFile) Datasync() error {
	f.syncs.Add(1)
	return f.syncErr
}

func openFlaky(t *testing.T, dir string) *flakyFile {
	t.Helper()
	f, err := openRoot(t, dir).OpenFile(NetworkName, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	return &flakyFile{diskFile: diskFile{f}, fits: 100}
}

// TestNetworkWaitsForRoom: on a full disk whoever records waits, and nothing is lost.
func TestNetworkWaitsForRoom(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		f := openFlaky(t, dir)
		f.full.Store(true)
		var told []error
		n := newNetwork(f, 0, 0, func(err error) { told = append(told, err) })
		const count = 20
		var recorded atomic.Int64
		var all sync.WaitGroup
		for range count {
			all.Go(func() {
				r := request("a.example")
				n.End(ended(r, n.Begin(r)))
				recorded.Add(1)
			})
		}
		time.Sleep(time.Minute) // sleep: synctest's clock
		synctest.Wait()
		if got := recorded.Load(); got > 0 {
			t.Errorf("%d records were taken while none could be written", got)
		}
		if len(told) != 1 || !errors.Is(told[0], ErrNoSpace) {
			t.Errorf("told of a full disk: %v", told)
		}
		f.full.Store(false)
		all.Wait()
		if err := n.Sync(); err != nil {
			t.Error(err)
		}
		if len(told) != 2 || told[1] != nil {
			t.Errorf("told that it goes on: %v", told)
		}
		if err := n.Close(); err != nil {
			t.Error(err)
		}
		if got, damaged := requests(t, dir); len(got) != count || damaged != 0 {
			t.Errorf("%d records of %d, %d damaged", len(got), count, damaged)
		}
	})
}

// TestNetworkClosedOnAFullDisk: Close does not wait for ever, and says what is lost.
func TestNetworkClosedOnAFullDisk(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		f := openFlaky(t, dir)
		n := newNetwork(f, 0, 0, nil)
		n.End(request("kept.example"))
		if err := n.Sync(); err != nil {
			t.Fatal(err)
		}
		f.full.Store(true)
		var stuck sync.WaitGroup
		for range 5 {
			stuck.Go(func() { n.End(request("lost.example")) })
		}
		synctest.Wait()
		err := n.Close()
		stuck.Wait()
		n.End(request("late.example"))
		got, damaged := requests(t, dir)
		if len(got) != 1 || got[0].Host != "kept.example" || damaged != 0 {
			t.Errorf("%s, %d damaged", hosts(got), damaged)
		}
		if !errors.Is(err, ErrNoSpace) || !strings.Contains(err.Error(), "records are lost") || n.Lost() != 6 {
			t.Errorf("closed: %v, %d lost", err, n.Lost())
		}
	})
}

// TestNetworkIsWrittenAtOnce: what Begin and End have returned from is in the file, whatever happens to the process.
func TestNetworkIsWrittenAtOnce(t *testing.T) {
	dir := t.TempDir()
	n, _ := openNetwork(t, dir)
	for i := range 100 {
		r := request("a.example")
		if i%2 == 0 {
			n.Begin(r)
		} else {
			n.End(r)
		}
		if got, damaged := requests(t, dir); len(got) != i+1 || damaged != 0 {
			t.Fatalf("%d records of %d, %d damaged", len(got), i+1, damaged)
		}
	}
}

// TestNetworkSyncsAreGrouped: one sync for all news of 200 ms, none without news.
func TestNetworkSyncsAreGrouped(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		f := openFlaky(t, dir)
		n := newNetwork(f, 0, 0, nil)
		for range 100 {
			n.End(request("a.example"))
			time.Sleep(10 * time.Millisecond) // sleep: synctest's clock
		}
		time.Sleep(syncEvery) // sleep: synctest's clock
		synctest.Wait()
		if got := f.syncs.Load(); got < 5 || got > 6 {
			t.Errorf("%d syncs in a second of news", got)
		}
		before := f.syncs.Load()
		time.Sleep(time.Hour) // sleep: synctest's clock
		synctest.Wait()
		if got := f.syncs.Load(); got != before {
			t.Errorf("%d syncs without news", got-before)
		}
		f.syncErr = syscall.EIO
		n.End(request("a.example"))
		if err := n.Close(); !errors.Is(err, syscall.EIO) {
			t.Errorf("a failed sync is not told: %v", err)
		}
	})
}

// networkWriterEnv makes the test binary a writer of records that goes on for ever in the folder it names.
const networkWriterEnv = "JOURNAL_TEST_NETWORK_WRITER"

// recordForEver records, and after each few records tells on stdout the last ID that must be there from now on.
func recordForEver(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	n, _, err := OpenNetwork(root, nil)
	if err != nil {
		return err
	}
	for {
		var id uint64
		for range 50 {
			r := request("a.example")
			id = n.Begin(r)
			n.End(ended(r, id))
		}
		if err := n.Sync(); err != nil {
			return err
		}
		if err := binary.Write(os.Stdout, binary.LittleEndian, id); err != nil {
			return err
		}
	}
}

// TestKilledNetworkWriter kills one writer after the other on the same file. What a writer told must be there, complete,
// and IDs go on without a gap: a torn record's ID was never used by another one.
func TestKilledNetworkWriter(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	random := rand.New(rand.NewPCG(9, 10))
	var told uint64
	for range 40 {
		told = max(told, killNetworkWriter(t, exe, dir, time.Duration(random.IntN(8000))*time.Microsecond))
	}
	got, damaged := requests(t, dir)
	if uint64(len(got)) < told || damaged != 0 {
		t.Fatalf("%d records are there, the writers told %d; %d lines are damaged", len(got), told, damaged)
	}
	open := 0
	for i, r := range got {
		if r.ID != uint64(i+1) {
			t.Fatalf("record %d has ID %d", i, r.ID)
		}
		if r.DurationMS == nil {
			open++
		}
	}
	if open > 40 {
		t.Errorf("%d records are not complete after 40 kills", open)
	}
	t.Logf("%d records, %d not complete", len(got), open)
}

// killNetworkWriter returns the last ID that the writer told. It is killed so long after its first one.
func killNetworkWriter(t *testing.T, exe, dir string, after time.Duration) (told uint64) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), networkWriterEnv+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := binary.Read(out, binary.LittleEndian, &told); err != nil {
		t.Fatal(err)
	}
	killer := time.AfterFunc(after, func() { cmd.Process.Kill() })
	defer killer.Stop()
	for next := told; ; told = next {
		if err := binary.Read(out, binary.LittleEndian, &next); err != nil {
			break
		}
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the writer ended by itself")
	}
	return told
}
