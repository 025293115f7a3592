package run

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"moat/internal/atomicfile"
)

// maxRecord bounds what is read of a run.json, in bytes. A plan with hundreds of mounts has less than a tenth.
const maxRecord = 1 << 20

// readRecord reads the record in a run's folder. The error is a *DamagedError, a *NewerError, or one of the file
// system (fs.ErrNotExist: there is no such file).
func readRecord(dir, id string) (Record, error) {
	path := filepath.Join(dir, FileRecord)
	rec, err := readRecordFile(path, id)
	if errors.Is(err, fs.ErrNotExist) && isDir(dir) {
		err = &DamagedError{ID: id, Path: path, Err: errors.New("it is missing")}
	}
	var damaged *DamagedError
	if !errors.As(err, &damaged) {
		return rec, err
	}
	if rec, ok := rescue(dir, id); ok {
		return rec, nil
	}
	return Record{}, err
}

func readRecordFile(path, id string) (Record, error) {
	data, err := readRegular(path)
	var odd *oddFile
	switch {
	case errors.As(err, &odd):
		return Record{}, &DamagedError{ID: id, Path: path, Err: err}
	case err != nil:
		return Record{}, err
	}
	rec, err := decode(data)
	var newer tooNew
	switch {
	case errors.As(err, &newer):
		return Record{}, &NewerError{ID: id, Path: path, Version: int(newer)}
	case err != nil:
		return Record{}, &DamagedError{ID: id, Path: path, Err: err}
	case rec.ID != id:
		return Record{}, &DamagedError{ID: id, Path: path, Err: fmt.Errorf("it belongs to %s", rec.ID)}
	}
	return rec, nil
}

// oddFile says that something is not a file that could be read whole.
type oddFile struct{ what string }

func (e *oddFile) Error() string { return e.what }

// readRegular reads a small regular file without following a link and without blocking.
func readRegular(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|openNoFollow, 0)
	switch {
	case errors.Is(err, syscall.ELOOP):
		return nil, &oddFile{"it is a link"}
	case errors.Is(err, syscall.ENXIO):
		return nil, &oddFile{"it is a socket or a device"}
	case err != nil:
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, &oddFile{"it is not a regular file"}
	case info.Size() > maxRecord:
		return nil, &oddFile{fmt.Sprintf("it has %d bytes", info.Size())}
	}
	data := make([]byte, info.Size())
	n, err := io.ReadFull(f, data)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return data[:n], nil
}

// isDir reports whether there is a folder at path; a link to one is none.
func isDir(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.IsDir()
}

// rescue finds the record that a damaged run.json should have been: a whole one that was written beside it and
// not yet put in its place. More than one is a guess, and no answer.
func rescue(dir, id string) (Record, bool) {
	var found []Record
	for _, name := range leftovers(dir) {
		if rec, err := readRecordFile(filepath.Join(dir, name), id); err == nil {
			found = append(found, rec)
		}
	}
	if len(found) != 1 {
		return Record{}, false
	}
	return found[0], true
}

// leftovers are the names of what a writer that was killed left in the folder.
func leftovers(dir string) []string {
	entries, _ := os.ReadDir(dir) // no answer is none
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), atomicfile.TempPrefix) {
			names = append(names, e.Name())
		}
	}
	return names
}

// writeRecord puts data in the place of run.json.
func writeRecord(dir string, data []byte) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return atomicfile.Write(root, FileRecord, data, 0o600)
}
