package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// folder is the part of [os.Root] that reading one file needs.
type folder interface {
	Lstat(name string) (fs.FileInfo, error)
	Stat(name string) (fs.FileInfo, error)
	OpenFile(name string, flag int, perm fs.FileMode) (*os.File, error)
	Name() string
}

// Load reads agent.yaml or moat.yaml of a workspace. Without one it returns nil
// and no error. A file that cannot be accepted, whether for its content or for
// what it is, gives an [*Error]; other errors are those of the file system.
//
// The workspace may have been prepared to harm: no link is followed out of it,
// what is not a regular file is not read, and nothing here blocks.
func Load(workspace string) (*Agent, error) {
	root, err := os.OpenRoot(workspace)
	if err != nil {
		return nil, fmt.Errorf("open workspace: %w", err)
	}
	defer root.Close()

	name, err := agentFileName(root)
	if name == "" || err != nil {
		return nil, err
	}
	data, err := readRegular(root, name)
	if err != nil {
		return nil, err
	}
	return Parse(filepath.Join(workspace, name), data)
}

// agentFileName finds the one file that is there, if only as a broken link.
func agentFileName(dir folder) (string, error) {
	found := ""
	for _, name := range []string{AgentFile, AgentFileMoat} {
		_, err := dir.Lstat(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return "", fmt.Errorf("look for %s: %w", name, err)
		case found != "":
			return "", fileError(dir, found, "remove one of them", name+" is there too, and only one can be meant")
		default:
			found = name
		}
	}
	return found, nil
}

// LoadGlobal reads config.yaml in the folder home, which is $MOAT_HOME. Without
// one it returns [DefaultGlobal]. Errors are as for [Load]. The folder is the
// person's own, so links are followed: many keep such files elsewhere.
func LoadGlobal(home string) (*Global, error) {
	dir := ownFolder(home)
	if _, err := dir.Lstat(GlobalFile); errors.Is(err, fs.ErrNotExist) {
		return DefaultGlobal(), nil
	}
	data, err := readRegular(dir, GlobalFile)
	if err != nil {
		return nil, err
	}
	return ParseGlobal(filepath.Join(home, GlobalFile), data)
}

// ownFolder is a folder in which links may lead anywhere.
type ownFolder string

func (f ownFolder) Name() string                           { return string(f) }
func (f ownFolder) Lstat(name string) (fs.FileInfo, error) { return os.Lstat(f.join(name)) }
func (f ownFolder) Stat(name string) (fs.FileInfo, error)  { return os.Stat(f.join(name)) }
func (f ownFolder) join(name string) string                { return filepath.Join(string(f), name) }

func (f ownFolder) OpenFile(name string, flag int, perm fs.FileMode) (*os.File, error) {
	return os.OpenFile(f.join(name), flag, perm)
}

// readRegular reads a whole file, or as much of it as shows that it is too
// large. What is not a regular file is not even opened, as opening a device can
// have effects. Since it may be swapped between the look and the opening, it is
// opened without waiting, which a FIFO would demand, and looked at again.
func readRegular(dir folder, name string) ([]byte, error) {
	info, err := dir.Stat(name)
	if err != nil {
		return nil, lookError(dir, name, err)
	}
	if !info.Mode().IsRegular() {
		return nil, kindError(dir, name, info)
	}
	file, err := dir.OpenFile(name, os.O_RDONLY|openNonblock, 0)
	if err != nil {
		return nil, fmt.Errorf("open configuration: %w", err)
	}
	defer file.Close()

	if info, err = file.Stat(); err != nil {
		return nil, fmt.Errorf("open configuration: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, kindError(dir, name, info)
	}
	data, err := io.ReadAll(io.LimitReader(file, MaxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return data, nil
}

// lookError explains why a file that is there cannot be looked at.
func lookError(dir folder, name string, cause error) error {
	info, err := dir.Lstat(name)
	if err == nil && info.Mode()&fs.ModeSymlink != 0 && !errors.Is(cause, fs.ErrPermission) {
		_, confined := dir.(*os.Root)
		switch {
		case errors.Is(cause, fs.ErrNotExist):
			return fileError(dir, name, "mend or remove it", "this is a link to something that is not there")
		case confined:
			return fileError(dir, name, "replace it by a regular file", "this is a link that leads out of the workspace or in a circle")
		}
	}
	return fmt.Errorf("open configuration: %w", cause)
}

func kindError(dir folder, name string, info fs.FileInfo) error {
	return fileError(dir, name, "replace it by a regular file", "this is "+kind(info.Mode()))
}

// fileError is an Error about a file as a whole.
func fileError(dir folder, name, hint, message string) error {
	return &Error{
		File:     filepath.Join(dir.Name(), name),
		Problems: []Problem{{Message: message, Hint: hint}},
	}
}

func kind(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "a folder"
	case mode&fs.ModeNamedPipe != 0:
		return "a named pipe"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	case mode&fs.ModeDevice != 0:
		return "a device"
	}
	return "not a regular file"
}
