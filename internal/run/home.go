package run

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"moat/internal/atomicfile"
)

// What is in the home and in a run's folder, as far as no other package owns it; docs/formats.md shows all of it.
const (
	FileRecord  = "run.json"
	FileLock    = "lock"
	FileLog     = "supervisor.log"
	DirSandbox  = "sandbox"
	dirRuns     = "runs"
	dirNames    = "names"
	prefixNew   = ".new-"
	prefixTrash = ".trash-"
)

// Home is the folder that keeps every run: $MOAT_HOME. Its methods may be called concurrently, by any number of
// processes.
type Home struct {
	path string // absolute
}

// Open looks at the folder and returns a *HomeError if it is not safe to use. A missing one is as good as an
// empty one: the first Create makes it, because asking creates nothing.
func Open(path string) (*Home, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, &HomeError{path, "the current directory is unknown", err}
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &Home{path}, nil
	case err != nil:
		return nil, homeError(path, err)
	case !info.IsDir():
		return nil, &HomeError{path, "it is not a folder", nil}
	}
	if err := trusted(info); err != nil {
		return nil, &HomeError{path, err.Error(), err}
	}
	return &Home{path}, nil
}

// Path is the folder's absolute path.
func (h *Home) Path() string { return h.path }

// Dir is the absolute path of a run's folder.
func (h *Home) Dir(id string) string { return h.runs(id) }

func (h *Home) runs(name ...string) string {
	return filepath.Join(append([]string{h.path, dirRuns}, name...)...)
}

func (h *Home) names(name string) string { return filepath.Join(h.path, dirNames, name) }

// prepare makes the folders that are missing.
func (h *Home) prepare() error {
	for _, dir := range []string{h.runs(), h.names("")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return homeError(h.path, err)
		}
	}
	return nil
}

// sync makes it survive a power cut that a run has appeared.
func (h *Home) sync() error {
	root, err := os.OpenRoot(h.path)
	if err != nil {
		return err
	}
	defer root.Close()
	return atomicfile.SyncDir(root, dirRuns)
}

// homeError makes a *HomeError with a sentence that says what to do of the faults that are the home's, and leaves
// all others as they are.
func homeError(path string, err error) error {
	var already *HomeError
	switch {
	case errors.As(err, &already):
		return err
	case errors.Is(err, syscall.EROFS):
		return &HomeError{path, "it is on a read-only file system; set MOAT_HOME to a folder that can be written", err}
	case errors.Is(err, fs.ErrPermission):
		return &HomeError{path, "it cannot be used with your permissions; set MOAT_HOME to a folder of your own", err}
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return &HomeError{path, "its file system is full", err}
	case errors.Is(err, syscall.ENOTDIR):
		return &HomeError{path, "a part of its path is not a folder", err}
	}
	return err
}

// exclusive calls do while no other process changes which runs and names exist. Nothing slow belongs into do.
func (h *Home) exclusive(do func() error) error {
	f, err := os.OpenFile(h.names(".lock"), os.O_RDWR|os.O_CREATE|openNoFollow, 0o600)
	if err != nil {
		return homeError(h.path, err)
	}
	defer f.Close()
	if err := setLock(f, true); err != nil {
		return fmt.Errorf("lock names: %w", err)
	}
	return do()
}
