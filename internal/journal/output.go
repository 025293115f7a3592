package journal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// file is what the writer does to one of its files.
type file interface {
	io.WriterAt
	Truncate(size int64) error
	Datasync() error // contents and size are on the disk; times need not be
	Close() error
}

// Output appends to a run's recorded output. There is one writer a run: the caller holds the run's lock, and calls
// Append from one goroutine at a time. All other methods may be called from any goroutine at any time.
type Output struct {
	log, idx file

	// What the two files hold. writing is held while they are written, by Append and for checkpoints.
	writing sync.Mutex
	extent
	encoded [recordSize]byte // the record that is being written

	// What everybody may ask. Guarded by state, under which nothing is read or written.
	state    sync.Mutex
	shown    int64         // end of the last whole record
	shownAt  time.Time     // its time; zero if there is none
	tape     int64         // records up to the last step of the tape
	news     chan struct{} // closed when shown grows or closed is set; nil if nobody waits
	closed   bool
	unsynced int64 // bytes, records included, that no finished sync covers
	syncErr  error // of a sync in the background, not yet returned to anybody

	syncer syncer
}

// OpenOutput opens the output in a run's folder for appending and creates it if it is not there. What a crash left
// behind the last whole record is cut off first; Recovery says how much. It refuses (ErrDamaged) to cut more than a
// crash explains, and an index that it does not know (ErrFormat). The caller closes the Output; dir is not kept.
//
// A new file's name survives the loss of power only after dir is synced: the caller does that, as part of its own
// first write to that folder.
func OpenOutput(dir *os.Root) (*Output, Recovery, error) {
	log, err := openFile(dir, LogName, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return nil, Recovery{}, err
	}
	idx, err := openFile(dir, IndexName, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return nil, Recovery{}, errors.Join(err, log.Close())
	}
	e, cut, err := settle(idx, log)
	if err == nil {
		err = cutBack(idx, log, &e, cut)
	}
	var tape int64
	if err == nil {
		tape, err = lastStep(idx, e.records)
	}
	if err != nil {
		return nil, Recovery{}, errors.Join(fmt.Errorf("open output for writing: %w", err), log.Close(), idx.Close())
	}
	o := newOutput(diskFile{log}, diskFile{idx}, e)
	o.tape = tape // nobody else knows o yet
	return o, cut, nil
}

// cutBack makes the files what settle found.
func cutBack(idx, log *os.File, e *extent, cut Recovery) error {
	if cut.Output > maxCut {
		return fmt.Errorf("%w: %s describes %d bytes, %s has %d more", ErrDamaged, IndexName, e.end, LogName, cut.Output)
	}
	if cut.Output > 0 {
		if err := log.Truncate(e.end); err != nil {
			return writeError("cut "+LogName, err)
		}
	}
	if !e.written {
		if err := idx.Truncate(0); err != nil {
			return writeError("cut "+IndexName, err)
		}
		header := encodeHeader()
		if _, err := idx.WriteAt(header[:], 0); err != nil {
			return writeError("begin "+IndexName, err)
		}
		e.written = true
		return nil
	}
	if cut.Index > 0 {
		if err := idx.Truncate(position(e.records)); err != nil {
			return writeError("cut "+IndexName, err)
		}
	}
	return nil
}

func newOutput(log, idx file, e extent) *Output {
	o := &Output{log: log, idx: idx, extent: e, shown: e.end, unsynced: e.pending}
	if e.records > 0 {
		o.shownAt = time.Unix(0, e.last).UTC()
	}
	o.syncer.start(o.Sync, o.keepSyncError)
	if o.unsynced > 0 {
		o.syncer.wake(false)
	}
	return o
}

// Append records a chunk: all of it or, if it returns an error, nothing. c.Offset must be Offset(). A time before
// that of the chunk before, or out of the years 1970 to 2261, is taken as the time of the chunk before.
//
// After any error but ErrInvalid, ErrOffset and os.ErrClosed the same chunk can be appended again later; ErrNoSpace
// says that the disk is full. An error may also be that of an earlier sync in the background.
//
// Append does not wait for the disk as long as less than 64 MiB are unsynced.
func (o *Output) Append(c Chunk) error {
	if len(c.Data) == 0 {
		return nil
	}
	if len(c.Data) > MaxChunk || c.Stream == AnyStream {
		return fmt.Errorf("append output: %w: %d bytes, stream %d", ErrInvalid, len(c.Data), c.Stream)
	}
	if err := o.makeRoom(); err != nil {
		return err
	}
	o.writing.Lock()
	defer o.writing.Unlock()
	if c.Offset != o.end {
		return fmt.Errorf("append output: %w: it begins at %d, recorded are %d", ErrOffset, c.Offset, o.end)
	}
	if _, err := o.log.WriteAt(c.Data, o.end); err != nil {
		o.undo()
		return writeError("append output", err)
	}
	err := o.addRecord(record{
		time:   max(o.last, nanoseconds(c.Time)),
		offset: o.end,
		length: uint32(len(c.Data)),
		kind:   kindOutput,
		stream: c.Stream,
		value:  checksum(c.Data),
	})
	if err != nil {
		o.undo()
		return writeError("append output", err)
	}
	o.show(int64(len(c.Data)), o.last)
	return nil
}

// addRecord writes the next record of the index. writing is held.
func (o *Output) addRecord(r record) error {
	r.put(o.encoded[:])
	if _, err := o.idx.WriteAt(o.encoded[:], position(o.records)); err != nil {
		return err
	}
	o.records, o.end, o.last = o.records+1, r.end(), r.time
	return nil
}

// undo gives back the room that a failed write took. That may fail too: what remains lies behind the last whole
// record, where readers do not look and the next write begins.
func (o *Output) undo() {
	_ = o.idx.Truncate(position(o.records))
	_ = o.log.Truncate(o.end)
}

// show lets everybody see what was appended.
func (o *Output) show(n, at int64) {
	o.state.Lock()
	defer o.state.Unlock()
	o.shown += n
	o.tape = o.records
	o.shownAt = time.Unix(0, at).UTC()
	o.unsynced += n + recordSize
	if o.news != nil {
		close(o.news)
		o.news = nil
	}
	o.syncer.wake(o.unsynced >= maxUnsynced/2)
}

// Extent returns how many bytes of output there are, and how many bytes of the index say so: whole records only. What is
// before them does not change any more.
func (o *Output) Extent() (output, index int64) {
	o.writing.Lock()
	defer o.writing.Unlock()
	return o.end, position(o.records)
}

// Offset returns where the next chunk begins: the end of the last whole record.
func (o *Output) Offset() int64 {
	o.state.Lock()
	defer o.state.Unlock()
	return o.shown
}

// LastTime returns the time of the last whole record; zero if nothing is recorded.
func (o *Output) LastTime() time.Time {
	o.state.Lock()
	defer o.state.Unlock()
	return o.shownAt
}

// Wait blocks until Offset() > after and returns it. Otherwise it returns Offset() with os.ErrClosed when there will
// be no more, or with ctx's cause.
func (o *Output) Wait(ctx context.Context, after int64) (int64, error) {
	for {
		o.state.Lock()
		shown, closed := o.shown, o.closed
		if shown <= after && !closed && o.news == nil {
			o.news = make(chan struct{})
		}
		news := o.news
		o.state.Unlock()
		switch {
		case shown > after:
			return shown, nil
		case closed:
			return shown, os.ErrClosed
		}
		select {
		case <-news:
		case <-ctx.Done():
			return shown, context.Cause(ctx)
		}
	}
}

// Close ends the record: it syncs what is unsynced, ends every Wait and closes the files. Only its first call does
// anything; it must not run together with Append. After an error of the sync the files are closed all the same.
func (o *Output) Close() error {
	o.state.Lock()
	if o.closed {
		o.state.Unlock()
		return nil
	}
	o.closed = true
	if o.news != nil {
		close(o.news)
		o.news = nil
	}
	o.state.Unlock()

	o.syncer.stop()
	err := errors.Join(o.takeSyncError(), o.Sync())
	return errors.Join(err, o.log.Close(), o.idx.Close())
}
