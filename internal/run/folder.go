package run

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"moat/internal/plan"
)

// Folder is a run's folder in the hands of the one who may write it: the holder of the run's lock. Its methods
// may be called concurrently.
type Folder struct {
	home *Home
	dir  string
	lock *os.File

	writing sync.Mutex // held while run.json is replaced; taken before mu

	mu  sync.Mutex // guards what follows
	rec Record
}

// Create is CreateAs with an id that nobody has had.
func (h *Home) Create(p plan.Plan, now time.Time) (*Folder, error) {
	return h.CreateAs(NewID(), p, now)
}

// CreateAs makes the run id: folder, lock (held), record (created) and name; an empty p.Name gets a made-up one. Others
// see all of it or nothing. On error nothing is left behind; a *NameError, *NameTakenError or *HomeError is for
// the person to mend. The caller closes the Folder.
func (h *Home) CreateAs(id string, p plan.Plan, now time.Time) (*Folder, error) {
	if p.Name != "" {
		if err := CheckName(p.Name); err != nil {
			return nil, err
		}
	}
	if err := h.prepare(); err != nil {
		return nil, err
	}
	f := &Folder{home: h, rec: Record{Version: Version, ID: id, State: Created, Plan: p, CreatedAt: now.UTC()}}
	if err := f.create(); err != nil {
		return nil, errors.Join(homeError(h.path, err), f.discard())
	}
	return f, nil
}

// create makes the folder under a name that no reader looks at, and then shows it. It does not wait for the disk: what
// a loss of power takes away now is a run that has not begun. See Save.
func (f *Folder) create() error {
	h, id := f.home, f.rec.ID
	f.dir = h.runs(prefixNew + id)
	if err := h.exclusive(f.draft); err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(f.dir, DirSandbox), 0o700); err != nil {
		return err
	}
	data, err := f.rec.encode()
	if err != nil {
		return err
	}
	path := filepath.Join(f.dir, FileRecord)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return &SaveError{Path: path, Err: err}
	}
	if err := os.Rename(f.dir, h.Dir(id)); err != nil {
		return err
	}
	f.dir = h.Dir(id)
	return nil
}

// draft makes the locked folder and claims the name. A Sweep that came between would find leftovers of the dead.
func (f *Folder) draft() error {
	err := os.Mkdir(f.dir, 0o700)
	if err != nil {
		return err
	}
	if f.lock, err = Lock(filepath.Join(f.dir, FileLock)); err != nil {
		return err
	}
	f.rec.Name, err = f.home.claim(f.rec.Plan.Name, f.rec.ID, RandomName)
	f.rec.Plan.Name = f.rec.Name
	return err
}

// discard removes a run that could not be made. Its lock keeps others away until the end.
func (f *Folder) discard() error {
	if f.lock == nil { // no name was claimed, and nothing is in the folder
		return removeTree(f.dir)
	}
	name := f.home.exclusive(func() error { return f.home.release(f.rec.Name, f.rec.ID) })
	trash := f.home.runs(prefixTrash + f.rec.ID)
	return errors.Join(name, os.Rename(f.dir, trash), removeTree(trash), f.Close())
}

// Adopt takes over a run that nobody looks after: ErrLocked if somebody does, *NotFoundError if there is none.
// What a killed writer left in the folder is cleared. The caller closes the Folder.
func (h *Home) Adopt(id string) (*Folder, error) {
	lock, err := h.lock(id)
	if err != nil {
		return nil, err
	}
	return h.open(id, lock)
}

// Inherit is Adopt for a process whose parent holds the run's lock and has passed it on as descriptor fd.
func (h *Home) Inherit(id string, fd uintptr) (*Folder, error) {
	lock, err := FromFD(fd, filepath.Join(h.Dir(id), FileLock))
	if err != nil {
		return nil, err
	}
	return h.open(id, lock)
}

// lock takes the lock of a run that exists.
func (h *Home) lock(id string) (*os.File, error) {
	if !IsID(id) || !isDir(h.Dir(id)) {
		return nil, &NotFoundError{Ref: id}
	}
	lock, err := Lock(filepath.Join(h.Dir(id), FileLock))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &NotFoundError{Ref: id}
	}
	return lock, err
}

func (h *Home) open(id string, lock *os.File) (*Folder, error) {
	dir := h.Dir(id)
	rec, err := readRecord(dir, id)
	if err != nil {
		lock.Close()
		return nil, err
	}
	f := &Folder{home: h, dir: dir, lock: lock, rec: rec}
	return f, f.mend()
}

// mend clears what a killed writer left. If the record was among it, it is put in its place first.
func (f *Folder) mend() error {
	left := leftovers(f.dir)
	if len(left) == 0 {
		return nil
	}
	if err := f.Save(); err != nil {
		return errors.Join(err, f.Close())
	}
	for _, name := range left {
		if err := os.RemoveAll(filepath.Join(f.dir, name)); err != nil {
			return errors.Join(fmt.Errorf("clear %s: %w", f.dir, err), f.Close())
		}
	}
	return nil
}

// Dir is the folder's absolute path.
func (f *Folder) Dir() string { return f.dir }

// Lock is the descriptor to pass on to a child that looks after the run too (exec.Cmd.ExtraFiles). It stays the
// Folder's.
func (f *Folder) Lock() *os.File { return f.lock }

// Close lets go of the run as far as this process is concerned; whoever inherited the lock keeps it.
func (f *Folder) Close() error { return f.lock.Close() }

// Record is the record as it is in memory, which is ahead of run.json while saving fails.
func (f *Folder) Record() Record {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rec.copy()
}

// Do applies an event and saves the record: it is Move, then Save. If only saving failed the error is a *SaveError,
// the change stands in memory, and Save tries again.
func (f *Folder) Do(on Event, now time.Time, change func(*Record)) error {
	if err := f.Move(on, now, change); err != nil {
		return err
	}
	return f.Save()
}

// Move applies an event in memory: the state moves on as the table says, started_at or ended_at is set to now where
// that belongs to the new state, and change (which may be nil) adds what else is known. Of a run that is lost, now is
// the time of the last thing that it recorded. The caller calls Save.
//
// A *TransitionError, or a change that would make an impossible record, leaves all as it was.
func (f *Folder) Move(on Event, now time.Time, change func(*Record)) error {
	return f.memorize(func(rec *Record) error {
		next, err := Next(rec.State, on)
		if err != nil {
			return err
		}
		now = now.UTC()
		rec.State = next
		switch {
		case next == Running:
			rec.StartedAt = &now
		case next.Final():
			rec.EndedAt = &now
		}
		return apply(rec, change)
	})
}

// Update changes what does not belong to an event, under Do's rules.
func (f *Folder) Update(change func(*Record)) error {
	if err := f.memorize(func(rec *Record) error { return apply(rec, change) }); err != nil {
		return err
	}
	return f.Save()
}

// apply lets change have the record, except for what is not its to change.
func apply(rec *Record, change func(*Record)) error {
	if change == nil {
		return nil
	}
	was := *rec
	change(rec)
	if rec.Version != was.Version || rec.ID != was.ID || rec.Name != was.Name || rec.State != was.State {
		return fmt.Errorf("change %s: version, id, name and state change by events only", was.ID)
	}
	return nil
}

func (f *Folder) memorize(change func(*Record) error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	rec := f.rec.copy()
	if err := change(&rec); err != nil {
		return err
	}
	if err := rec.check(); err != nil {
		return fmt.Errorf("change %s: %w", rec.ID, err)
	}
	f.rec = rec
	return nil
}

// SaveError says that a record could not be written. What is on disk is older than what is true.
type SaveError struct {
	Path string
	Err  error
}

func (e *SaveError) Error() string { return fmt.Sprintf("save %s: %v", e.Path, e.Err) }

func (e *SaveError) Unwrap() error { return e.Err }

// Save writes the record as it is in memory. When a run has ended it gives up its name as well.
func (f *Folder) Save() error {
	f.writing.Lock()
	defer f.writing.Unlock()
	rec := f.Record()
	data, err := rec.encode()
	if err != nil {
		return err
	}
	if err := writeRecord(f.dir, data); err != nil {
		return &SaveError{Path: filepath.Join(f.dir, FileRecord), Err: err}
	}
	if rec.State == Starting {
		if err := f.home.sync(); err != nil { // from here on the run is one that must not vanish
			return &SaveError{Path: f.home.runs(""), Err: err}
		}
	}
	if !rec.State.Final() {
		return nil
	}
	err = f.home.exclusive(func() error { return f.home.release(rec.Name, rec.ID) })
	if err != nil {
		return &SaveError{Path: f.home.names(rec.Name), Err: err}
	}
	return nil
}
