// Package ledger keeps audit logs on disk: that of each run, and that of the machine, which knows the newest checkpoint
// of every run.
//
// It promises that an entry is in a log whole or not at all, that what a crash tore is moved aside and the log says so, that
// a checkpoint is only given away when what it vouches for is on the disk, and that readers need no lock, write nothing,
// believe nothing, and use memory that does not grow with a log.
//
// The mathematics and encodings are those of package audit. One writer a log (the run's lock, and a lock of its own for the
// machine's), where the key comes from, what is entered and when: all that is left to the callers. docs/formats.md has the
// files, docs/audit.md says what they are worth.
package ledger

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"sync"
	"time"

	"moat/internal/audit"
)

// Dir is the folder of a run's log in the run's folder, and of the machine's in the home.
const Dir = "audit"

// LogName is the log in it.
const LogName = Dir + "/log"

// maxBuffer is how many bytes of entries may wait to be written.
const maxBuffer = 1 << 20

// ErrFull says that an entry finds no room: too many wait to be written, because the disk is full.
var ErrFull = errors.New("too much waits to be recorded")

// Log appends to a log. Its methods may be called from any goroutine. No entry is synced or signed by itself: Sign and Sync
// do that.
type Log struct {
	file *os.File

	mu     sync.Mutex // guards what follows; only Flush and Sign write under it
	tree   audit.Tree // with what waits
	end    int64      // of what is written
	buf    []byte     // frames that wait to be written
	entry  []byte     // the entry that is being encoded
	signed int64      // entries that the last checkpoint is about
	fresh  bool       // the last frame is a checkpoint, which the next entry has to name
}

// Recovery says what was found when a log was opened for writing.
type Recovery struct {
	Entries int64     // there were
	Last    time.Time // of the last one; zero if there is none
	Cut     int64     // bytes behind the last whole frame: they were moved aside
}

// Open opens a log below a folder for appending, and makes it if it is not there. each (which may be nil) is given every
// entry that it has; an entry is valid only while each runs. What a crash left at the end is moved to a file of its own, and
// an entry says so. The caller closes the Log; dir is not kept.
func Open(dir *os.Root, each func(audit.Entry)) (*Log, Recovery, error) {
	l, r, err := open(dir, each, false)
	if err != nil {
		return nil, r, fmt.Errorf("open the audit record: %w", err)
	}
	return l, r, nil
}

// open is Open. With quick, what the last checkpoint is about is taken as it is.
func open(dir *os.Root, each func(audit.Entry), quick bool) (*Log, Recovery, error) {
	if err := dir.Mkdir(Dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, Recovery{}, err
	}
	f, err := dir.OpenFile(LogName, os.O_RDWR|os.O_CREATE|openNoFollow, 0o600)
	if err != nil {
		return nil, Recovery{}, err
	}
	l := &Log{file: f}
	r, err := l.settle(dir, each, quick)
	if err != nil {
		return nil, r, errors.Join(err, f.Close())
	}
	return l, r, nil
}

// settle finds the end of the log and makes it one.
func (l *Log) settle(dir *os.Root, each func(audit.Entry), quick bool) (Recovery, error) {
	info, err := l.file.Stat()
	if err != nil {
		return Recovery{}, err
	}
	if info.Size() == 0 {
		_, err := l.file.WriteAt([]byte(audit.Magic), 0)
		l.end = int64(len(audit.Magic))
		return Recovery{}, err
	}
	if quick && l.resume(info.Size()) {
		return Recovery{Entries: l.tree.Size()}, nil
	}
	r, err := l.scan(each)
	if err != nil {
		return r, err
	}
	if r.Cut = info.Size() - l.end; r.Cut > 0 {
		err = l.cut(dir, r.Cut)
	}
	return r, err
}

// scan reads all of the log and stops where it is not whole.
func (l *Log) scan(each func(audit.Entry)) (r Recovery, err error) {
	s := newScanner(l.file)
	l.tree, l.signed, l.fresh = audit.Tree{}, 0, false
	var e audit.Entry
	for {
		l.end = s.at
		kind, payload, err := s.next()
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, audit.ErrTorn), errors.Is(err, audit.ErrFrame):
			r.Entries = l.tree.Size()
			return r, nil
		case err != nil:
			return r, err
		}
		if kind == audit.FrameCheckpoint {
			l.signed, l.fresh = l.tree.Size(), true
			continue
		}
		if e.Parse(payload) != nil || e.Seq != l.tree.Size()+1 {
			r.Entries = l.tree.Size() // only somebody else can have written that
			return r, nil
		}
		l.tree.Add(audit.Leaf(payload))
		l.fresh, r.Last = false, e.Time
		if each != nil {
			each(e)
		}
	}
}

// maxResume is how much of the end of a log is looked at for its last checkpoint.
const maxResume = 1 << 20

// resume finds the last checkpoint from the end and goes on from there; false if that cannot be, for any reason.
func (l *Log) resume(size int64) bool {
	from := max(int64(len(audit.Magic)), size-maxResume)
	tail := make([]byte, size-from)
	if _, err := l.file.ReadAt(tail, from); err != nil {
		return false
	}
	var later [][]byte // entries behind it, the newest first
	for rest := tail; ; {
		n, ok := audit.LastFrame(rest)
		if !ok || n > len(rest) {
			return false
		}
		kind, payload, got, err := audit.Frame(rest[len(rest)-n:])
		if err != nil || got != n {
			return false
		}
		rest = rest[:len(rest)-n]
		if kind == audit.FrameEntry {
			later = append(later, payload)
			continue
		}
		if l.tree, ok = edgeTree(payload); !ok {
			return false
		}
		break
	}
	l.signed, l.fresh, l.end = l.tree.Size(), len(later) == 0, size
	for i := len(later) - 1; i >= 0; i-- {
		l.tree.Add(audit.Leaf(later[i]))
	}
	return true
}

// edgeTree is the tree of a checkpoint's frame, if its edge is that of its root.
func edgeTree(payload []byte) (audit.Tree, bool) {
	edge, signed, err := audit.SplitCheckpoint(payload)
	if err != nil {
		return audit.Tree{}, false
	}
	c, err := audit.TextOf(signed)
	if err != nil {
		return audit.Tree{}, false
	}
	tree, err := audit.ResumeTree(c.Size, edge)
	return tree, err == nil && tree.Root() == c.Root
}

// Append adds an entry. It is written by the next Flush, or by this call if many wait already; then the error may be
// ErrFull, and the entry is not in the log.
func (l *Log) Append(at time.Time, kind string, fields ...audit.Field) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.buf) > maxBuffer {
		if err := l.flush(); err != nil {
			return fmt.Errorf("%w: %w", ErrFull, err)
		}
	}
	l.add(at, kind, fields)
	return nil
}

// add encodes an entry. The first one after a checkpoint says so, so that no checkpoint can be left out. mu is held.
func (l *Log) add(at time.Time, kind string, fields []audit.Field) {
	if l.fresh {
		fields = append(fields, audit.Number("signed", l.signed))
		l.fresh = false
	}
	l.entry = audit.Entry{Seq: l.tree.Size() + 1, Time: at, Kind: kind, Fields: fields}.Append(l.entry[:0])
	l.tree.Add(audit.Leaf(l.entry))
	l.buf = audit.AppendFrame(l.buf, audit.FrameEntry, l.entry)
}

// Flush writes what waits. After an error it is not lost, and is written by a later one.
func (l *Log) Flush() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.flush()
}

func (l *Log) flush() error {
	if len(l.buf) == 0 {
		return nil
	}
	if _, err := l.file.WriteAt(l.buf, l.end); err != nil {
		_ = l.file.Truncate(l.end) // or else it is written over
		return fmt.Errorf("write the audit record: %w", err)
	}
	l.end += int64(len(l.buf))
	l.buf = l.buf[:0]
	return nil
}

// Size is how many entries there are, and how many of them a checkpoint is about.
func (l *Log) Size() (entries, signed int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tree.Size(), l.signed
}

// Sign writes all that waits and a checkpoint of it, and returns that; nil if the last one says the same. It may be given
// to others only after a Sync.
func (l *Log) Sign(origin string, by *audit.Signer) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.signed == l.tree.Size() {
		return nil, l.flush()
	}
	signed, err := by.Sign(audit.Checkpoint{Origin: origin, Size: l.tree.Size(), Root: l.tree.Root()})
	if err != nil {
		return nil, err
	}
	waiting := len(l.buf)
	l.buf = audit.AppendFrame(l.buf, audit.FrameCheckpoint, audit.AppendCheckpoint(nil, l.tree.Edge(), signed))
	if err := l.flush(); err != nil {
		l.buf = l.buf[:waiting] // a later one will do
		return nil, err
	}
	l.signed, l.fresh = l.tree.Size(), true
	return signed, nil
}

// Sync returns when all that is written is on the disk.
func (l *Log) Sync() error {
	if err := datasync(l.file); err != nil {
		return fmt.Errorf("sync the audit record: %w", err)
	}
	return nil
}

// Close closes the file. What waits and cannot be written is lost, and is an error.
func (l *Log) Close() error { return errors.Join(l.Flush(), l.file.Close()) }

// cutName is the file to which the end of a log was moved when the entry with that number was written.
func cutName(seq int64) string { return path.Join(Dir, fmt.Sprintf("cut-%d", seq)) }
