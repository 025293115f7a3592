// Package run says what a run is: its id and name, the states that it goes through, its folder and record on
// disk, and the lock that tells whether somebody looks after it.
//
// It promises:
//
//   - A run is there whole or not at all: folders appear and disappear by one rename.
//   - The record changes only by an event of the one table (Transitions), only through a Folder, and a Folder
//     exists only for the holder of the run's lock. run.json is replaced atomically.
//   - Reading (Get, List, Newest, Locked) never writes, never waits for a lock, never follows a link and never
//     blocks on what is not a regular file. One damaged run does not hide the others.
//   - The lock is held as long as any process lives that inherited its descriptor: guard or supervisor.
//
// It leaves to others: what a sandbox is doing (package sandbox), what belongs in the output files (package
// journal), when events happen (package supervisor) and how all this is shown (package cli).
//
// docs/formats.md describes the files, docs/states.md is made from the tables here.
package run

//go:generate go test -run=TestStatesDocument -update .

import (
	"errors"
	"fmt"
	"strings"
)

// Errors without fields.
var (
	ErrLocked      = errors.New("run is in use by a supervisor")
	ErrUnsupported = errors.New("runs cannot be kept on this operating system")
)

// NotFoundError says that no run is what somebody asked for.
type NotFoundError struct {
	Ref        string      // empty: any run would have done
	Candidates []Candidate // some that exist, newest first
}

func (e *NotFoundError) Error() string {
	if e.Ref == "" {
		return "there is no run"
	}
	return fmt.Sprintf("there is no run %q", e.Ref)
}

// AmbiguousError says that more than one run has an id that begins so.
type AmbiguousError struct {
	Ref        string
	Candidates []Candidate // all of them, newest first
}

func (e *AmbiguousError) Error() string {
	ids := make([]string, len(e.Candidates))
	for i, c := range e.Candidates {
		ids[i] = c.ID
	}
	return fmt.Sprintf("%q is the beginning of %d ids: %s", e.Ref, len(ids), strings.Join(ids, ", "))
}

// Candidate is a run that somebody may have meant. Name and State are empty when its record cannot be read.
type Candidate struct {
	ID    string
	Name  string
	State State
}

// NameError says that a name cannot be one.
type NameError struct {
	Name   string
	Reason string
}

func (e *NameError) Error() string { return fmt.Sprintf("name %q: %s", e.Name, e.Reason) }

// NameTakenError says that a run which has not ended has the name.
type NameTakenError struct {
	Name   string
	Holder string // its id
}

func (e *NameTakenError) Error() string {
	return fmt.Sprintf("the name %q belongs to %s, which has not ended", e.Name, e.Holder)
}

// DamagedError says that a run's record cannot be believed.
type DamagedError struct {
	ID   string
	Path string // the file
	Err  error
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("%s: %s is damaged (%v); what it printed can still be read, and \"moat destroy %s\" removes it",
		e.ID, e.Path, e.Err, e.ID)
}

func (e *DamagedError) Unwrap() error { return e.Err }

// NewerError says that a run was made by a moat that knows more than this one. Nothing of it was touched.
type NewerError struct {
	ID      string
	Path    string
	Version int
}

func (e *NewerError) Error() string {
	return fmt.Sprintf("%s was made by a newer moat: %s has version %d, this one knows %d", e.ID, e.Path, e.Version, Version)
}

// HomeError says what is wrong with the folder that keeps the runs.
type HomeError struct {
	Path   string
	Reason string // a whole sentence for the person, without the path
	Err    error
}

func (e *HomeError) Error() string { return fmt.Sprintf("MOAT_HOME %s: %s", e.Path, e.Reason) }

func (e *HomeError) Unwrap() error { return e.Err }
