package run

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Entry is a run as a reader finds it.
type Entry struct {
	Record
	// Locked says that somebody looks after the run, so that its record is true. It is asked only for runs that need it.
	Locked bool
}

// Unattended reports whether something is left to do for the run and nobody is there to do it.
func (e Entry) Unattended() bool { return !e.Locked && (e.State.Live() || e.CleanupPending) }

// Listing is every run that was asked for.
type Listing struct {
	Runs     []Entry   // newest first
	Problems []Problem // folders whose record could not be read, by id
}

// Problem is a run that cannot be listed. Err is a *DamagedError, a *NewerError or one of the file system.
type Problem struct {
	ID  string
	Err error
}

// List reads every run: the live ones, or all of them. Runs that appear or go away meanwhile may be missing.
func (h *Home) List(all bool) (Listing, error) {
	ids, err := h.ids()
	if err != nil {
		return Listing{}, err
	}
	return h.read(ids, all), nil
}

// ids are the names of all folders that are runs, whole or damaged.
func (h *Home) ids() ([]string, error) {
	entries, err := os.ReadDir(h.runs())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, homeError(h.path, fmt.Errorf("list runs: %w", err))
	}
	ids := make([]string, 0, len(entries))
	for _, e := range entries {
		if e.IsDir() && IsID(e.Name()) {
			ids = append(ids, e.Name())
		}
	}
	return ids, nil
}

// read reads the runs with as many goroutines as there are processors.
func (h *Home) read(ids []string, all bool) Listing {
	type result struct {
		entry Entry
		err   error
	}
	results := make([]result, len(ids))
	var next atomic.Int64
	var readers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(ids)) {
		readers.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(ids)); i = next.Add(1) - 1 {
				results[i].entry, results[i].err = h.entry(ids[i])
			}
		})
	}
	readers.Wait()

	var list Listing
	for i, r := range results {
		switch {
		case errors.Is(r.err, fs.ErrNotExist): // destroyed meanwhile
		case r.err != nil:
			list.Problems = append(list.Problems, Problem{ids[i], r.err})
		case all || r.entry.State.Live():
			list.Runs = append(list.Runs, r.entry)
		}
	}
	slices.SortFunc(list.Runs, newestFirst)
	return list
}

func newestFirst(a, b Entry) int {
	return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), strings.Compare(a.ID, b.ID))
}

func (h *Home) entry(id string) (Entry, error) {
	dir := h.Dir(id)
	rec, err := readRecord(dir, id)
	if err != nil || rec.State.Final() && !rec.CleanupPending {
		return Entry{Record: rec}, err
	}
	locked, err := Locked(filepath.Join(dir, FileLock))
	if err != nil || locked {
		return Entry{Record: rec, Locked: locked}, err
	}
	// The supervisor may have recorded the end and let go between the two questions.
	rec, err = readRecord(dir, id)
	return Entry{Record: rec}, err
}

// Get finds the run that ref means: an id, the unique beginning of one ("run-" and at least one digit), or a
// name. Of runs with one name it is the newest live one, or else the newest.
//
// Errors: *NotFoundError, *AmbiguousError, and for a run that is there Problem's.
func (h *Home) Get(ref string) (Entry, error) {
	switch {
	case IsID(ref):
		return h.byID(ref)
	case isIDPart(ref):
		return h.byPart(ref)
	case CheckName(ref) == nil:
		return h.byName(ref)
	}
	return Entry{}, h.notFound(ref)
}

func (h *Home) byID(id string) (Entry, error) {
	if !isDir(h.Dir(id)) {
		return Entry{}, h.notFound(id)
	}
	e, err := h.entry(id)
	if errors.Is(err, fs.ErrNotExist) {
		return Entry{}, h.notFound(id)
	}
	return e, err
}

func (h *Home) byPart(part string) (Entry, error) {
	ids, err := h.ids()
	if err != nil {
		return Entry{}, err
	}
	ids = slices.DeleteFunc(ids, func(id string) bool { return !strings.HasPrefix(id, part) })
	switch len(ids) {
	case 0:
		return Entry{}, h.notFound(part)
	case 1:
		return h.byID(ids[0])
	}
	return Entry{}, &AmbiguousError{Ref: part, Candidates: candidates(h.read(ids, true))}
}

func (h *Home) byName(name string) (Entry, error) {
	// Most often the run is the one that holds the name now.
	if id, err := os.Readlink(h.names(name)); err == nil && IsID(id) && isDir(h.Dir(id)) {
		e, err := h.entry(id)
		if err == nil && e.Name == name && e.State.Live() {
			return e, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return Entry{}, err // it is the one that is meant, and cannot be read
		}
	}
	list, err := h.List(true)
	if err != nil {
		return Entry{}, err
	}
	named := slices.DeleteFunc(slices.Clone(list.Runs), func(e Entry) bool { return e.Name != name })
	if len(named) == 0 {
		return Entry{}, notFoundIn(name, list)
	}
	if i := slices.IndexFunc(named, func(e Entry) bool { return e.State.Live() }); i >= 0 {
		return named[i], nil
	}
	return named[0], nil
}

// Newest is the run that was made last, of the live ones or of all; a *NotFoundError if there is none.
func (h *Home) Newest(live bool) (Entry, error) {
	list, err := h.List(!live)
	if err != nil {
		return Entry{}, err
	}
	if len(list.Runs) == 0 {
		return Entry{}, &NotFoundError{}
	}
	return list.Runs[0], nil
}

// maxCandidates bounds how many runs a *NotFoundError names.
const maxCandidates = 10

func (h *Home) notFound(ref string) error {
	list, err := h.List(true)
	if err != nil {
		return err
	}
	return notFoundIn(ref, list)
}

func notFoundIn(ref string, list Listing) error {
	all := candidates(list)
	return &NotFoundError{Ref: ref, Candidates: all[:min(len(all), maxCandidates)]}
}

func candidates(list Listing) []Candidate {
	var all []Candidate
	for _, e := range list.Runs {
		all = append(all, Candidate{ID: e.ID, Name: e.Name, State: e.State})
	}
	for _, p := range list.Problems {
		all = append(all, Candidate{ID: p.ID})
	}
	return all
}
