package box

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
)

// running is this program, whatever has become of its file (proc_pid_exe(5)).
const running = "/proc/self/exe"

// programName is a copy of this program in a sandbox's folder.
const programName = "moat"

// Program returns the file that is moat for Linux on a processor (as GOARCH): this program, or a GuestError. If the file of the
// running one was replaced or removed meanwhile, it is a copy in dir.
func Program(arch, dir string) (string, error) {
	path, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find moat's own program: %w", err)
	}
	if arch != runtime.GOARCH {
		return beside(path, arch, guestPackage)
	}
	if path, err = itself(path, dir); err != nil {
		return "", fmt.Errorf("find moat's own program: %w", err)
	}
	return path, nil
}

func itself(path, dir string) (string, error) {
	now, err := os.Stat(running)
	if err != nil {
		return "", err
	}
	if there, err := os.Stat(path); err == nil && os.SameFile(there, now) {
		return path, nil
	}
	copied := filepath.Join(dir, programName)
	from, err := os.Open(running)
	if err != nil {
		return "", err
	}
	defer from.Close()
	to, err := os.OpenFile(copied, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return "", err
	}
	_, err = io.Copy(to, from)
	return copied, errors.Join(err, to.Close())
}
