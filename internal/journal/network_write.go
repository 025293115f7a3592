package journal

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const retryEvery = 100 * time.Millisecond // between attempts to write on a full disk

// Network appends to a run's network record. There is one writer a run: the caller holds the run's lock. Its methods
// may be called from any goroutine at any time.
//
// A record is written before Begin and End return, so that it outlives this process (some 5 µs; the page cache keeps it).
// Where the disk is full they wait: nothing is dropped. What was written is on the disk at most 200 ms later, apart from
// the time of the sync.
type Network struct {
	file    file
	trouble func(error)
	lastID  atomic.Uint64
	syncer  syncer
	quit    chan struct{} // closed by Hurry: a full disk is not waited for any more
	hurry   sync.Once

	writing chan struct{} // has room for who writes a record, however long that takes
	end     int64         // of the last whole line in the file; of who writes
	lines   int64         // in the file; of who writes
	written func(Written) // set before anything is recorded; nil: nobody wants to know

	// Nothing is read or written while state is held.
	state   sync.Mutex
	closed  bool  // Close was called
	shut    bool  // the file is closed
	lost    int64 // records that were given up
	lostErr error // why
	syncErr error // of a sync in the background, not yet returned to anybody
}

// NetworkRecovery says what of the file was no whole record when it was opened.
type NetworkRecovery struct {
	Cut     int64 // bytes that were cut off its end: records that a crash tore
	Damaged int64 // lines before the last whole one that cannot be read; they stay, and readers step over them
}

// OpenNetwork opens the network record in a run's folder for appending and creates it if it is not there. What a crash
// tore at its end is cut off; it refuses (ErrDamaged) to cut more than a crash explains. A record that was begun and
// not ended when a writer died stays as it is: its duration is null for ever. IDs go on where they ended.
//
// trouble, if it is not nil, is told when records cannot be written (ErrNoSpace: the disk is full) or synced, and with
// nil when it goes on. It is called from goroutines of Network, once each time, and must not call it back.
//
// The caller closes the Network; dir is not kept. A new file's name survives the loss of power only after dir is
// synced, which is left to the caller.
func OpenNetwork(dir *os.Root, trouble func(error)) (*Network, NetworkRecovery, error) {
	f, err := dir.OpenFile(NetworkName, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, NetworkRecovery{}, fmt.Errorf("open network record: %w", err)
	}
	was, cut, err := settleNetwork(f)
	if err != nil {
		return nil, NetworkRecovery{}, errors.Join(fmt.Errorf("open network record: %w", err), f.Close())
	}
	n := newNetwork(diskFile{f}, was.last, was.end, trouble)
	n.lines = was.lines
	return n, cut, nil
}

// settled is what a network record has when it is opened.
type settled struct {
	last  uint64 // the largest ID
	end   int64  // its size
	lines int64
}

// settleNetwork cuts the file back to its last whole line.
func settleNetwork(f *os.File) (was settled, cut NetworkRecovery, err error) {
	info, err := f.Stat()
	if err != nil {
		return was, cut, err
	}
	bad := int64(0) // lines since the last whole one
	found := func(id uint64, at int64, line []byte) {
		was.last, was.end, was.lines = max(was.last, id), at+int64(len(line)), was.lines+bad+1
		cut.Damaged, bad = cut.Damaged+bad, 0
	}
	if _, err = scanRecords(f, 0, found, func() { bad++ }); err != nil {
		return was, cut, err
	}
	if cut.Cut = info.Size() - was.end; cut.Cut == 0 {
		return was, cut, nil
	}
	if cut.Cut > maxCut {
		return was, cut, fmt.Errorf("%w: the last %d bytes of %s are no records", ErrDamaged, cut.Cut, NetworkName)
	}
	if err := f.Truncate(was.end); err != nil {
		return was, cut, writeError("cut "+NetworkName, err)
	}
	return was, cut, nil
}

// Written is a line that is in the network record now.
type Written struct {
	Line int64 // its number, from 1
	Sum  [sha256.Size]byte
	// Request is what it says, as far as others need to know: without headers and bodies.
	Request Request
}

// OnWritten sets who is told of lines, in their order, after they were written and before they are synced. Nothing is
// written until told returns, so it must not block. Nothing may have been recorded yet.
func (n *Network) OnWritten(told func(Written)) { n.written = told }

// tell tells of a line that was written.
func (n *Network) tell(r Request, line []byte) {
	if n.lines++; n.written == nil {
		return
	}
	r.RequestHeaders, r.ResponseHeaders, r.RequestBody, r.ResponseBody = nil, nil, nil, nil
	n.written(Written{Line: n.lines, Sum: sha256.Sum256(bytes.TrimSuffix(line, []byte("\n"))), Request: r})
}

func newNetwork(f file, last uint64, end int64, trouble func(error)) *Network {
	if trouble == nil {
		trouble = func(error) {}
	}
	n := &Network{file: f, trouble: trouble, end: end, quit: make(chan struct{}), writing: make(chan struct{}, 1)}
	n.lastID.Store(last)
	n.syncer.start(n.datasync, n.keepSyncError)
	return n
}

// Begin records that something begins and returns the ID to end it with. r's ID and duration are not looked at.
func (n *Network) Begin(r Request) uint64 {
	r.ID, r.DurationMS = n.lastID.Add(1), nil
	n.add(r)
	return r.ID
}

// End records the same thing complete. One that is over at once may be ended without a Begin; its ID is 0 then. Without
// a duration it took until now.
func (n *Network) End(r Request) {
	if r.ID == 0 {
		r.ID = n.lastID.Add(1)
	}
	if r.DurationMS == nil {
		ms := max(0, float64(time.Since(r.T))/float64(time.Millisecond))
		r.DurationMS = &ms
	}
	n.add(r)
}

// add writes a record. After Close it is lost, which is counted.
func (n *Network) add(r Request) {
	line := encodeLine(r)
	n.writing <- struct{}{}
	err := os.ErrClosed
	if !n.isShut() {
		err = n.put(line)
	}
	if err == nil {
		n.tell(r, line)
	}
	<-n.writing
	if err != nil {
		n.state.Lock()
		n.lost, n.lostErr = n.lost+1, err
		n.state.Unlock()
		return
	}
	n.syncer.wake(false)
}

// isShut reports whether the file may be closed.
func (n *Network) isShut() bool {
	n.state.Lock()
	defer n.state.Unlock()
	return n.shut
}

// put writes a line, again and again until it is written: only Hurry ends that, after one more attempt.
func (n *Network) put(line []byte) error {
	told := false
	for last := false; ; last = n.pause() {
		written, err := n.file.WriteAt(line, n.end)
		if written == len(line) {
			break
		}
		// What a failed write left behind the last whole line is cut off, or else written over.
		_ = n.file.Truncate(n.end)
		err = writeError("record network", short(err))
		if !told {
			told = true
			n.trouble(err)
		}
		if last {
			return err
		}
	}
	n.end += int64(len(line))
	if told {
		n.trouble(nil)
	}
	return nil
}

// short is the error of a write that did not write all.
func short(err error) error {
	if err == nil {
		return io.ErrShortWrite
	}
	return err
}

// pause waits before the next attempt. It reports whether that is the last one.
func (n *Network) pause() bool {
	timer := time.NewTimer(retryEvery)
	defer timer.Stop()
	select {
	case <-timer.C:
		return false
	case <-n.quit:
		return true
	}
}

// Sync returns when everything that was recorded before is on the disk.
func (n *Network) Sync() error {
	return errors.Join(n.lostError(), n.takeSyncError(), n.datasync())
}

// Lost is how many records were given up: on a full disk when the Network was closed, or because they came later.
func (n *Network) Lost() int64 {
	n.state.Lock()
	defer n.state.Unlock()
	return n.lost
}

func (n *Network) datasync() error {
	n.syncer.running.Lock()
	defer n.syncer.running.Unlock()
	if err := n.file.Datasync(); err != nil && !errors.Is(err, os.ErrClosed) {
		return writeError("sync network record", err)
	}
	return nil
}

// lostError says what was given up.
func (n *Network) lostError() error {
	n.state.Lock()
	defer n.state.Unlock()
	if n.lost == 0 {
		return nil
	}
	return fmt.Errorf("%d records are lost: %w", n.lost, n.lostErr)
}

func (n *Network) keepSyncError(err error) {
	n.state.Lock()
	n.syncErr = err
	n.state.Unlock()
	n.trouble(err)
}

func (n *Network) takeSyncError() error {
	n.state.Lock()
	defer n.state.Unlock()
	err := n.syncErr
	n.syncErr = nil
	return err
}

// Hurry has nobody wait any more because the disk is full: who waits tries once more, and who comes later only once. What
// cannot be written is lost. It is called before those that record are waited for.
func (n *Network) Hurry() { n.hurry.Do(func() { close(n.quit) }) }

// Close does what Hurry does, syncs what is recorded and closes the file; what comes later is lost. The error has the number of records that are lost. Only its first call does anything.
func (n *Network) Close() error {
	n.state.Lock()
	if n.closed {
		n.state.Unlock()
		return nil
	}
	n.closed = true
	n.state.Unlock()
	n.Hurry()
	n.writing <- struct{}{}
	n.state.Lock()
	n.shut = true
	n.state.Unlock()
	<-n.writing
	n.syncer.stop()
	return errors.Join(n.Sync(), n.file.Close())
}
