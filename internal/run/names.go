package run

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Names are links names/<name> → id, one for each run that has not ended. They are made and removed only inside
// exclusive, so that of two takers one wins.

// tries is how many random names are drawn before one gets a number.
const tries = 16

// claim gives the run a name and returns it; an empty one is drawn from names that draw makes up.
func (h *Home) claim(name, id string, draw func() string) (string, error) {
	if name != "" {
		return name, h.claimExactly(name, id)
	}
	name = draw()
	for i := 1; ; i++ {
		err := h.claimExactly(name, id)
		var taken *NameTakenError
		if !errors.As(err, &taken) {
			return name, err
		}
		name = draw()
		if i >= tries {
			name = fmt.Sprintf("%s-%d", name, i)
		}
	}
}

// claimExactly gives the run a name. If its run has ended or is gone it is taken over; a *NameTakenError otherwise.
func (h *Home) claimExactly(name, id string) error {
	err := os.Symlink(id, h.names(name))
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	holder, err := os.Readlink(h.names(name))
	if err == nil && h.holds(holder) {
		return &NameTakenError{Name: name, Holder: holder}
	}
	if err := os.RemoveAll(h.names(name)); err != nil {
		return err
	}
	return os.Symlink(id, h.names(name))
}

// holds reports whether a run still has a right to its name: while it is being made, while it has not ended, and
// when its record cannot be read.
func (h *Home) holds(id string) bool {
	if !IsID(id) {
		return false
	}
	// In this order: what is being made may appear between the two questions, but never disappears.
	if locked, err := Locked(filepath.Join(h.runs(prefixNew+id), FileLock)); locked || err != nil {
		return true
	}
	rec, err := readRecord(h.Dir(id), id)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	return rec.State.Live()
}

// release takes a name from the run if it is the run's.
func (h *Home) release(name, id string) error {
	holder, err := os.Readlink(h.names(name))
	if err != nil || holder != id {
		return nil // somebody else's, or nobody's
	}
	return os.Remove(h.names(name))
}
