package journal

import (
	"os"
	"sync"
	"time"
)

const (
	syncEvery   = 200 * time.Millisecond // longest that news stay unsynced, apart from the sync itself
	maxUnsynced = 64 << 20               // bytes after which Append waits for the disk; half of it wakes the syncer early
)

// diskFile is a file of the operating system.
type diskFile struct{ *os.File }

func (f diskFile) Datasync() error { return datasync(f.File) }

// syncer runs a function once for all news of syncEvery, in a goroutine of its own that sleeps without a timer while
// there are none.
type syncer struct {
	news chan struct{} // something is to be synced
	now  chan struct{} // and at once
	quit chan struct{}
	done chan struct{}

	running sync.Mutex // one sync at a time
	failed  bool       // a sync failed: no later one vouches for what that one lost. Guarded by running
}

func (s *syncer) start(sync func() error, report func(error)) {
	s.news, s.now = make(chan struct{}, 1), make(chan struct{}, 1)
	s.quit, s.done = make(chan struct{}), make(chan struct{})
	go func() {
		defer close(s.done)
		for s.await() {
			if err := sync(); err != nil {
				report(err)
			}
		}
	}()
}

// await returns true when it is time to sync, false when the syncer is stopped.
func (s *syncer) await() bool {
	select {
	case <-s.news:
	case <-s.quit:
		return false
	}
	timer := time.NewTimer(syncEvery)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.now:
	case <-s.quit:
		return false
	}
	return true
}

// wake tells of news; it never blocks.
func (s *syncer) wake(atOnce bool) {
	select {
	case s.news <- struct{}{}:
	default:
	}
	if atOnce {
		select {
		case s.now <- struct{}{}:
		default:
		}
	}
}

// stop ends the goroutine and waits for it.
func (s *syncer) stop() {
	close(s.quit)
	<-s.done
}

// Sync returns when everything that was appended before is on the disk. It does nothing if it is there already.
func (o *Output) Sync() error {
	o.syncer.running.Lock()
	defer o.syncer.running.Unlock()

	o.writing.Lock()
	covered := o.records
	o.state.Lock()
	pending := o.unsynced
	o.state.Unlock()
	o.writing.Unlock()
	if pending == 0 {
		return nil
	}
	err := o.log.Datasync()
	if err == nil {
		err = o.idx.Datasync()
	}
	o.state.Lock()
	o.unsynced -= pending
	o.state.Unlock()
	if err != nil {
		// Linux reports a lost page once and then takes it for clean (fsync(2), "errors"): from here on only the
		// checksums tell what is on the disk.
		o.syncer.failed = true
		return writeError("sync output", err)
	}
	if !o.syncer.failed {
		o.addCheckpoint(covered)
	}
	return nil
}

// addCheckpoint notes that the first covered records and their output are on the disk. If that fails, whoever opens
// the files has more to check, nothing else.
func (o *Output) addCheckpoint(covered int64) {
	o.writing.Lock()
	defer o.writing.Unlock()
	r := record{time: o.last, offset: o.end, kind: kindCheckpoint, value: uint32(o.records - covered)}
	if o.addRecord(r) != nil {
		_ = o.idx.Truncate(position(o.records))
	}
}

// makeRoom waits for the disk if too much is unsynced, and returns the error of a sync that nobody heard of.
func (o *Output) makeRoom() error {
	o.state.Lock()
	err, closed, full := o.syncErr, o.closed, o.unsynced >= maxUnsynced
	o.syncErr = nil
	o.state.Unlock()
	switch {
	case closed:
		return os.ErrClosed
	case err != nil:
		return err
	case full:
		return o.Sync()
	}
	return nil
}

func (o *Output) keepSyncError(err error) {
	o.state.Lock()
	defer o.state.Unlock()
	o.syncErr = err
}

func (o *Output) takeSyncError() error {
	o.state.Lock()
	defer o.state.Unlock()
	err := o.syncErr
	o.syncErr = nil
	return err
}
