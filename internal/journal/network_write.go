package journal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	maxQueue   = 1 << 20                // bytes of records that wait to be written; whoever comes then waits
	retryEvery = 100 * time.Millisecond // between attempts to write on a full disk
)

// Network appends to a run's network record. There is one writer a run: the caller holds the run's lock. Its methods
// may be called from any goroutine at any time.
//
// A record is queued, and written as soon as the disk takes it, usually within a millisecond. When more than 1 MiB is
// queued, which happens when the disk is slow or full, Begin and End wait: nothing is dropped. What was written is on
// the disk at most 200 ms later, apart from the time of the sync.
type Network struct {
	file    file
	trouble func(error)
	lastID  atomic.Uint64
	syncer  syncer
	quit    chan struct{} // closed by Close: a full disk is not waited for any more
	done    chan struct{} // closed when the writer has ended

	end int64 // of the last whole line in the file; the writer's alone

	// What is queued. Guarded by state, under which nothing is read or written.
	state   sync.Mutex
	news    sync.Cond // queue or closed changed
	moved   sync.Cond // the writer took the queue, or wrote what it took
	queue   []byte    // whole lines
	waiting int       // callers that wait for room in it
	added   int64     // bytes that were ever queued
	settled int64     // of them, those that are written, or given up at Close
	lost    int64     // records that were given up
	lostErr error     // why
	closed  bool
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
	last, end, cut, err := settleNetwork(f)
	if err != nil {
		return nil, NetworkRecovery{}, errors.Join(fmt.Errorf("open network record: %w", err), f.Close())
	}
	return newNetwork(diskFile{f}, last, end, trouble), cut, nil
}

// settleNetwork cuts the file back to its last whole line, and returns the largest ID in it and its size.
func settleNetwork(f *os.File) (last uint64, end int64, cut NetworkRecovery, err error) {
	info, err := f.Stat()
	if err != nil {
		return 0, 0, cut, err
	}
	bad := int64(0) // lines since the last whole one
	found := func(id uint64, at int64, line []byte) {
		last, end = max(last, id), at+int64(len(line))
		cut.Damaged, bad = cut.Damaged+bad, 0
	}
	if _, err = scanRecords(f, 0, found, func() { bad++ }); err != nil {
		return 0, 0, cut, err
	}
	if cut.Cut = info.Size() - end; cut.Cut == 0 {
		return last, end, cut, nil
	}
	if cut.Cut > maxCut {
		return 0, 0, cut, fmt.Errorf("%w: the last %d bytes of %s are no records", ErrDamaged, cut.Cut, NetworkName)
	}
	if err := f.Truncate(end); err != nil {
		return 0, 0, cut, writeError("cut "+NetworkName, err)
	}
	return last, end, cut, nil
}

func newNetwork(f file, last uint64, end int64, trouble func(error)) *Network {
	if trouble == nil {
		trouble = func(error) {}
	}
	n := &Network{file: f, trouble: trouble, end: end, quit: make(chan struct{}), done: make(chan struct{})}
	n.lastID.Store(last)
	n.news.L, n.moved.L = &n.state, &n.state
	n.syncer.start(n.datasync, n.keepSyncError)
	go n.write()
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

// add queues a record. After Close it does nothing; what waits when it is closed is still queued.
func (n *Network) add(r Request) {
	line := encodeLine(r)
	n.state.Lock()
	defer n.state.Unlock()
	if n.closed {
		return
	}
	n.waiting++
	for len(n.queue) >= maxQueue && !n.closed {
		n.moved.Wait()
	}
	n.waiting--
	n.queue = append(n.queue, line...)
	n.added += int64(len(line))
	n.news.Signal()
}

// write is the goroutine that writes what is queued until the Network is closed.
func (n *Network) write() {
	defer close(n.done)
	for batch := n.take(nil); len(batch) > 0; batch = n.take(batch) {
		lost, err := n.put(batch)
		n.state.Lock()
		n.settled += int64(len(batch))
		if lost > 0 {
			n.lost, n.lostErr = n.lost+lost, err
		}
		n.moved.Broadcast()
		n.state.Unlock()
		n.syncer.wake(false)
	}
}

// take waits for records and returns all that are queued; nothing when the Network is closed. The queue goes on in the
// memory of the batch before.
func (n *Network) take(before []byte) []byte {
	n.state.Lock()
	defer n.state.Unlock()
	for len(n.queue) == 0 && (!n.closed || n.waiting > 0) {
		n.news.Wait()
	}
	batch := n.queue
	n.queue = before[:0]
	n.moved.Broadcast()
	return batch
}

// put writes lines, again and again until all are written: only Close ends that, after one more attempt. It returns how
// many lines were given up, and why.
func (n *Network) put(lines []byte) (lost int64, err error) {
	told, last := false, false
	for {
		written, err := n.file.WriteAt(lines, n.end)
		whole := bytes.LastIndexByte(lines[:written], '\n') + 1
		n.end += int64(whole)
		if lines = lines[whole:]; len(lines) == 0 {
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
			return int64(bytes.Count(lines, []byte("\n"))), err
		}
		last = n.pause()
	}
	if told {
		n.trouble(nil)
	}
	return 0, nil
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

// Sync returns when everything that was recorded before is on the disk. On a full disk it waits.
func (n *Network) Sync() error {
	n.state.Lock()
	for want := n.added; n.settled < want; {
		n.moved.Wait()
	}
	err := n.lostError()
	n.state.Unlock()
	return errors.Join(err, n.takeSyncError(), n.datasync())
}

func (n *Network) datasync() error {
	n.syncer.running.Lock()
	defer n.syncer.running.Unlock()
	if err := n.file.Datasync(); err != nil && !errors.Is(err, os.ErrClosed) {
		return writeError("sync network record", err)
	}
	return nil
}

// lostError says what was given up. state is held.
func (n *Network) lostError() error {
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

// Close writes and syncs what is recorded so far, also by those that still wait in Begin or End, and closes the file. What
// comes later is dropped, so those that record are ended first. Where the disk is full, which they may wait for, it tries
// once more and returns the error with the number of records that are lost. Only its first call does anything.
func (n *Network) Close() error {
	n.state.Lock()
	if n.closed {
		n.state.Unlock()
		return nil
	}
	n.closed = true
	n.news.Broadcast()
	n.moved.Broadcast()
	n.state.Unlock()
	close(n.quit)
	<-n.done
	n.syncer.stop()
	return errors.Join(n.Sync(), n.file.Close())
}
