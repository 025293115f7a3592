package journal

import (
	"errors"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// faultyDisk has room for so many more bytes; a write that needs more writes what fits.
type faultyDisk struct {
	room   int64
	broken bool // it cannot truncate either
	cause  error
}

type faultyFile struct {
	diskFile
	disk *faultyDisk
}

func (f faultyFile) WriteAt(b []byte, off int64) (int, error) {
	if int64(len(b)) <= f.disk.room {
		f.disk.room -= int64(len(b))
		return f.diskFile.WriteAt(b, off)
	}
	n, err := f.diskFile.WriteAt(b[:f.disk.room], off)
	f.disk.room = 0
	return n, errors.Join(f.disk.cause, err)
}

func (f faultyFile) Truncate(size int64) error {
	if f.disk.broken {
		return f.disk.cause
	}
	return f.diskFile.Truncate(size)
}

// TestFailedAppendChangesNothing lets the disk fail after each number of bytes that one append needs.
func TestFailedAppendChangesNothing(t *testing.T) {
	next := piece{12, Stderr, "0123456789"}
	for room := range int64(len(next.data) + recordSize) {
		for _, broken := range []bool{false, true} {
			for _, cause := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EIO} {
				checkFailedAppend(t, next, faultyDisk{room: room, broken: broken, cause: cause})
			}
		}
	}
}

func checkFailedAppend(t *testing.T, next piece, disk faultyDisk) {
	t.Helper()
	root := openRoot(t, t.TempDir())
	write(t, root, mixed...)
	log, err := openFile(root, LogName, os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	idx, err := openFile(root, IndexName, os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	e, _, err := settle(idx, log)
	if err != nil {
		t.Fatal(err)
	}
	room := disk.room
	o := newOutput(faultyFile{diskFile{log}, &disk}, faultyFile{diskFile{idx}, &disk}, e)
	defer o.Close()

	c := Chunk{Time: second(next.at), Stream: next.stream, Offset: o.Offset(), Data: []byte(next.data)}
	err = o.Append(c)
	if !errors.Is(err, disk.cause) || errors.Is(err, ErrNoSpace) != !errors.Is(disk.cause, syscall.EIO) {
		t.Errorf("error %v", err)
	}
	if got, _, err := readAll(root); err != nil || text(got) != text(mixed) || o.Offset() != c.Offset {
		t.Errorf("room for %d: after the error %q, %v, offset %d", room, text(got), err, o.Offset())
	}
	disk.room = 1 << 20
	if err := o.Append(c); err != nil {
		t.Fatal(err)
	}
	got, torn, err := readAll(root)
	if err != nil || torn.Torn() {
		t.Errorf("after the second try: %v, %+v", err, torn)
	}
	diff(t, append(mixed[:len(mixed):len(mixed)], next), got)
}

// countedFile counts syncs and lets a test fail them.
type countedFile struct {
	diskFile
	syncs *atomic.Int32
	fail  *atomic.Pointer[error]
}

func (f countedFile) Datasync() error {
	f.syncs.Add(1)
	if err := f.fail.Swap(nil); err != nil {
		return *err
	}
	return nil
}

// counted returns an Output in a bubble's time, how often its output file was synced, and where to put an error.
func counted(t *testing.T, root *os.Root) (*Output, *atomic.Int32, *atomic.Pointer[error]) {
	t.Helper()
	write(t, root)
	log, err := openFile(root, LogName, os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	idx, err := openFile(root, IndexName, os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	var syncs atomic.Int32
	var fail atomic.Pointer[error]
	return newOutput(countedFile{diskFile{log}, &syncs, &fail}, diskFile{idx}, extent{written: true}), &syncs, &fail
}

func TestSyncsAreGrouped(t *testing.T) {
	root := openRoot(t, t.TempDir())
	synctest.Test(t, func(t *testing.T) {
		o, syncs, _ := counted(t, root)
		step := func(want int32, what string) {
			t.Helper()
			synctest.Wait()
			if got := syncs.Load(); got != want {
				t.Errorf("%s: %d syncs, want %d", what, got, want)
			}
		}
		pass := func(d time.Duration) { <-time.After(d) }

		pass(time.Hour)
		step(0, "nothing to sync")
		for range 1000 {
			appendAll(t, o, piece{0, Stdout, "x"})
			pass(time.Millisecond)
		}
		pass(syncEvery)
		step(5, "one second of output")
		pass(time.Hour)
		step(5, "idle")
		appendAll(t, o, piece{0, Stdout, "x"})
		pass(syncEvery - 1)
		step(5, "just before")
		pass(1)
		step(6, "after the time")
		appendAll(t, o, piece{0, Stdout, "x"})
		if err := o.Close(); err != nil {
			t.Error(err)
		}
		step(7, "closed")
	})
	if _, torn, err := readAll(root); err != nil || torn.Torn() {
		t.Errorf("%v, %+v", err, torn)
	}
}

func TestSyncIsForcedWhenMuchIsUnsynced(t *testing.T) {
	root := openRoot(t, t.TempDir())
	synctest.Test(t, func(t *testing.T) { // in which no time passes while anybody is busy
		o, syncs, _ := counted(t, root)
		data := strings.Repeat("x", MaxChunk)
		for range 3 * maxUnsynced / MaxChunk {
			appendAll(t, o, piece{0, Stdout, data})
			o.state.Lock()
			if o.unsynced >= maxUnsynced+MaxChunk+recordSize {
				t.Errorf("%d bytes are unsynced", o.unsynced)
			}
			o.state.Unlock()
		}
		if syncs.Load() < 2 {
			t.Errorf("%d syncs", syncs.Load())
		}
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestFailedSyncIsToldAndVouchesForNothing(t *testing.T) {
	root := openRoot(t, t.TempDir())
	synctest.Test(t, func(t *testing.T) {
		o, _, fail := counted(t, root)
		var eio error = syscall.EIO
		fail.Store(&eio)
		appendAll(t, o, piece{0, Stdout, "a"})
		<-time.After(syncEvery)
		synctest.Wait()
		c := Chunk{Stream: Stdout, Offset: 1, Data: []byte("b")}
		if err := o.Append(c); !errors.Is(err, syscall.EIO) || o.Offset() != 1 {
			t.Errorf("append after a failed sync: %v, offset %d", err, o.Offset())
		}
		if err := o.Append(c); err != nil || o.Offset() != 2 {
			t.Errorf("the same again: %v, offset %d", err, o.Offset())
		}
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	})
	if f := load(t, root); wholeRecords(int64(len(f.idx))) != 2 {
		t.Errorf("%d records: a checkpoint after a failed sync", wholeRecords(int64(len(f.idx))))
	}
}

// hookedFile does something while it is being synced.
type hookedFile struct {
	diskFile
	during func()
}

func (f hookedFile) Datasync() error {
	f.during()
	return f.diskFile.Datasync()
}

func TestCheckpointLeavesOutWhatCameDuringTheSync(t *testing.T) {
	root := openRoot(t, t.TempDir())
	write(t, root)
	log, err := openFile(root, LogName, os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	idx, err := openFile(root, IndexName, os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	var o *Output
	during := sync.OnceFunc(func() { appendAll(t, o, piece{1, Stdout, "during"}, piece{2, Stderr, "that"}) })
	o = newOutput(hookedFile{diskFile{log}, during}, diskFile{idx}, extent{written: true})
	defer o.Close()
	appendAll(t, o, piece{0, Stdout, "before"})
	if err := o.Sync(); err != nil {
		t.Fatal(err)
	}
	// Of "before" nothing may be checked any more, of the others everything.
	for at, want := range map[int]int64{0: 16, len("before"): 6, len("beforeduring"): 12} {
		f := load(t, root)
		f.log[at] ^= 0x10
		copied := openRoot(t, t.TempDir())
		f.store(t, copied)
		if r := openReader(t, copied); r.End() != want {
			t.Errorf("byte %d changed: the output ends at %d, want %d", at, r.End(), want)
		}
	}
}
