package box

import (
	"debug/buildinfo"
	"fmt"
	"os"
	"path/filepath"
)

// guestPackage is what a guest is built from.
const guestPackage = "moat/cmd/moat"

// GuestName is what the file is called that is moat for Linux on a processor (as GOARCH), where it lies beside another moat.
func GuestName(arch string) string { return "moat-guest-linux-" + arch }

// A GuestError says that there is no moat for a sandbox.
type GuestError struct {
	Path   string // where it should be
	Arch   string
	Reason string
}

func (e *GuestError) Error() string {
	return fmt.Sprintf("moat's guest for linux/%s: %s: %s", e.Arch, e.Path, e.Reason)
}

// Fix says what to do about it.
func (e *GuestError) Fix() string {
	return fmt.Sprintf("it comes in the same archive as moat: put it beside it, at\n  %s\nor build it in moat's source:\n"+
		"  GOOS=linux GOARCH=%s CGO_ENABLED=0 go build -o %s ./cmd/moat", e.Path, e.Arch, e.Path)
}

// beside returns the guest that lies in the folder of the program exe, which may be called by a link. It is looked at, whether it was
// built from pkg: whatever else is there under that name would only fail inside, without a word.
func beside(exe, arch, pkg string) (string, error) {
	real, err := filepath.EvalSymlinks(exe)
	if err != nil {
		return "", fmt.Errorf("find moat's own program: %w", err)
	}
	path := filepath.Join(filepath.Dir(real), GuestName(arch))
	if _, err := os.Stat(path); err != nil {
		return "", &GuestError{Path: path, Arch: arch, Reason: "there is no such file"}
	}
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return "", &GuestError{Path: path, Arch: arch, Reason: "it is not a program of moat's"}
	}
	is := map[string]string{}
	for _, s := range info.Settings {
		is[s.Key] = s.Value
	}
	switch {
	case info.Path != pkg:
		return "", &GuestError{Path: path, Arch: arch, Reason: "it is another program: " + info.Path}
	case is["GOOS"] != "linux" || is["GOARCH"] != arch:
		return "", &GuestError{Path: path, Arch: arch, Reason: fmt.Sprintf("it is moat for %s/%s", is["GOOS"], is["GOARCH"])}
	case is["CGO_ENABLED"] == "1":
		return "", &GuestError{Path: path, Arch: arch, Reason: "it needs libraries, which an image may not have: build it with CGO_ENABLED=0"}
	}
	return path, nil
}
