package box

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"moat/internal/sandbox"
)

// Sources are the host paths of what a sandbox shows, without links.
type Sources struct {
	Workspace string
	Mounts    []string // of Spec.Mounts
}

// Look looks at everything on the host that spec wants to be seen, and makes what a mount needs in the place of another
// one, as the person: an engine would make it as root.
func Look(spec sandbox.Spec) (Sources, error) {
	var found Sources
	var err error
	if found.Workspace, err = source(spec.Workspace, spec.Forbidden); err != nil {
		return found, fmt.Errorf("workspace %s: %w", spec.Workspace, err)
	}
	if fi, err := os.Stat(found.Workspace); err != nil || !fi.IsDir() {
		return found, fmt.Errorf("%w: workspace %s is not a directory", sandbox.ErrSpec, spec.Workspace)
	}
	for _, m := range spec.Mounts {
		from, err := source(m.Source, spec.Forbidden)
		if err == nil {
			err = prepareTarget(spec, found, m.Target, from)
		}
		if err != nil {
			return found, fmt.Errorf("mount %s at %s: %w", m.Source, m.Target, err)
		}
		found.Mounts = append(found.Mounts, from)
	}
	return found, nil
}

// source resolves a path, once: links in it are the person's own wish. It must lead to a directory or a regular file, and
// show nothing of what is forbidden.
func source(p string, forbidden []string) (string, error) {
	real, err := filepath.EvalSymlinks(p)
	if err != nil {
		return "", err
	}
	fi, err := os.Stat(real)
	if err != nil {
		return "", err
	}
	if !fi.IsDir() && !fi.Mode().IsRegular() {
		return "", fmt.Errorf("%w: neither a directory nor a regular file", sandbox.ErrSpec)
	}
	for _, dir := range forbidden {
		realDir, err := filepath.EvalSymlinks(dir)
		if err != nil {
			continue // what does not exist cannot become visible
		}
		if below(real, realDir) || below(realDir, real) {
			return "", fmt.Errorf("%w: it would make %s visible inside", sandbox.ErrSpec, dir)
		}
	}
	return real, nil
}

// below reports whether p is top or lies below it, by what they are and not by name.
func below(p, top string) bool {
	want, err := os.Stat(top)
	if err != nil {
		return false
	}
	for {
		if fi, err := os.Stat(p); err == nil && os.SameFile(fi, want) {
			return true
		}
		if p == filepath.Dir(p) {
			return false
		}
		p = filepath.Dir(p)
	}
}

// prepareTarget makes the place of a mount that lies in the workspace or in an earlier mount. No link is followed to it:
// the sandbox may have put it there in an earlier run.
func prepareTarget(spec sandbox.Spec, found Sources, target, from string) error {
	host, at := found.Workspace, sandbox.WorkspaceDir
	for i, m := range spec.Mounts[:len(found.Mounts)] {
		if strings.HasPrefix(target, m.Target+"/") && len(m.Target) >= len(at) {
			host, at = found.Mounts[i], m.Target
		}
	}
	rest, ok := strings.CutPrefix(target, at+"/")
	if !ok {
		return nil // in the image's own files
	}
	if fi, err := os.Stat(host); err != nil || !fi.IsDir() {
		return err
	}
	root, err := os.OpenRoot(host)
	if err != nil {
		return err
	}
	defer root.Close()
	fi, err := os.Stat(from)
	if err != nil {
		return err
	}
	return makePlace(root, rest, fi.IsDir())
}

// makePlace makes a directory, or an empty file, and the directories above it.
func makePlace(root *os.Root, name string, dir bool) error {
	parts := strings.Split(name, "/")
	for i := range parts {
		p := path.Join(parts[:i+1]...)
		fi, err := root.Lstat(p)
		last := i == len(parts)-1
		switch {
		case errors.Is(err, fs.ErrNotExist) && (!last || dir):
			err = root.Mkdir(p, 0o755)
		case errors.Is(err, fs.ErrNotExist):
			err = makeFile(root, p)
		case err == nil && fi.Mode().Type() == fs.ModeSymlink:
			err = fmt.Errorf("%w: %s is a link", sandbox.ErrSpec, p)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func makeFile(root *os.Root, name string) error {
	f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}
