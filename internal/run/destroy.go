package run

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Destroy removes a run, whole or damaged, and its folder: ErrLocked if somebody looks after it, a
// *NotFoundError if it is gone already. From then on nobody finds the run, also when an error says that some of
// its files could not be removed; Sweep tries those again.
func (h *Home) Destroy(id string) error {
	if !IsID(id) || !isDir(h.Dir(id)) {
		return &NotFoundError{Ref: id}
	}
	trash := h.runs(prefixTrash + id)
	var lock *os.File
	var names error
	err := h.exclusive(func() (err error) {
		if lock, err = h.lock(id); err != nil {
			return err
		}
		if err := os.Rename(h.Dir(id), trash); err != nil {
			return errors.Join(homeError(h.path, err), lock.Close())
		}
		names = h.releaseAll(id)
		return nil
	})
	if err != nil {
		return err
	}
	defer lock.Close()
	return errors.Join(names, removeTrash(trash))
}

func removeTrash(path string) error {
	if err := removeTree(path); err != nil {
		return fmt.Errorf("remove the files of %s: %w", filepath.Base(path), err)
	}
	return nil
}

// releaseAll takes from a run the names that it holds; its record may be too damaged to tell which.
func (h *Home) releaseAll(id string) error {
	names, err := os.ReadDir(h.names(""))
	if err != nil {
		return err
	}
	for _, n := range names {
		if n.Type()&fs.ModeSymlink != 0 {
			err = errors.Join(err, h.release(n.Name(), id))
		}
	}
	return err
}

// Sweep clears what killed commands left behind: half-made runs, half-removed runs, names of runs that have
// ended or are gone. What a living process works on is left alone. It returns the ids whose leftovers are gone.
func (h *Home) Sweep() ([]string, error) {
	if !isDir(h.names("")) {
		return nil, nil
	}
	var dead []string
	err := h.exclusive(func() (err error) {
		dead, err = h.bury()
		return errors.Join(err, h.releaseDead())
	})
	var swept []string
	for _, id := range dead {
		gone := removeTrash(h.runs(prefixTrash + id))
		if gone == nil {
			swept = append(swept, id)
		}
		err = errors.Join(err, gone)
	}
	return swept, err
}

// bury turns half-made runs into trash and returns the ids of all trash that nobody is removing.
func (h *Home) bury() ([]string, error) {
	entries, err := os.ReadDir(h.runs())
	if err != nil {
		return nil, homeError(h.path, err)
	}
	var dead []string
	for _, e := range entries {
		id, isNew := strings.CutPrefix(e.Name(), prefixNew)
		id, isTrash := strings.CutPrefix(id, prefixTrash)
		if isNew == isTrash || !IsID(id) {
			continue
		}
		if locked, lerr := Locked(filepath.Join(h.runs(e.Name()), FileLock)); locked || lerr != nil {
			err = errors.Join(err, lerr)
			continue
		}
		if isNew {
			if rerr := os.Rename(h.runs(e.Name()), h.runs(prefixTrash+id)); rerr != nil {
				err = errors.Join(err, rerr)
				continue
			}
		}
		dead = append(dead, id)
	}
	slices.Sort(dead)
	return slices.Compact(dead), err
}

func (h *Home) releaseDead() error {
	names, err := os.ReadDir(h.names(""))
	if err != nil {
		return err
	}
	for _, n := range names {
		if n.Type()&fs.ModeSymlink == 0 {
			continue
		}
		holder, rerr := os.Readlink(h.names(n.Name()))
		if rerr == nil && !h.holds(holder) {
			rerr = os.Remove(h.names(n.Name()))
		}
		err = errors.Join(err, rerr)
	}
	return err
}
