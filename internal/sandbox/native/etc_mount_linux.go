package native

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const hostEtc = "/etc"

// makeEtc shows the host's /etc, read-only, with the sandbox's own files in the place of the host's and without
// what is secret.
//
// Both are layers of one overlay: the upper holds our files, and a whiteout for each secret. Where there is something
// mounted in the host's /etc (containers do that) or the kernel does not let us, files are mounted over files instead,
// which can only replace what is there.
func (b *Boot) makeEtc(t tree) error {
	files := etcFiles(b.Spec)
	masks, err := etcMasks(hostEtc)
	if err != nil {
		return err
	}
	if err := t.layEtc(files, masks); err == nil {
		return nil
	}
	return t.coverEtc(files, masks)
}

func (t tree) layEtc(files map[string][]byte, masks []string) error {
	if err := t.makeDir(etcLayer, 0o755); err != nil {
		return err
	}
	for _, name := range masks {
		if err := t.sameDirs(filepath.Dir(name)); err != nil {
			return err
		}
		dir, err := t.reach(filepath.Join(etcLayer, filepath.Dir(name)), true)
		if err != nil {
			return err
		}
		err = unix.Mknodat(dir, filepath.Base(name), unix.S_IFCHR, 0) // a whiteout (overlayfs documentation)
		unix.Close(dir)
		if err != nil {
			return &fs.PathError{Op: "hide", Path: name, Err: err}
		}
	}
	for name, content := range files {
		if slices.Contains(masks, name) {
			return fmt.Errorf("%s is both made and hidden", name)
		}
		if err := t.sameDirs(filepath.Dir(name)); err != nil {
			return err
		}
		if err := t.write(filepath.Join(etcLayer, name), content, 0o644); err != nil {
			return err
		}
	}
	upper, err := t.reach(etcLayer, true)
	if err != nil {
		return err
	}
	defer unix.Close(upper)
	lower, err := unix.Open(hostEtc, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(lower)
	options := fmt.Sprintf("lowerdir=%s:%s,userxattr", procFD(upper), procFD(lower))
	return t.mount("/etc", "overlay", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, options)
}

// sameDirs makes the directory rel, and those above it, in the layer with the modes that they have in the host's /etc:
// the overlay shows the layer's.
func (t tree) sameDirs(rel string) error {
	var done string
	for name := range strings.SplitSeq(rel, "/") {
		if done = filepath.Join(done, name); done == "." {
			continue
		}
		mode := uint32(0o755)
		if fi, err := os.Lstat(filepath.Join(hostEtc, done)); err == nil {
			mode = uint32(fi.Mode().Perm())
		}
		if err := t.makeDir(filepath.Join(etcLayer, done), mode); err != nil {
			return err
		}
	}
	return nil
}

// coverEtc is the way without an overlay.
func (t tree) coverEtc(files map[string][]byte, masks []string) error {
	if err := t.bindPath(hostEtc, "/etc", readOnly); err != nil {
		return err
	}
	for _, name := range masks {
		if err := t.mask("/etc", name); err != nil {
			return err
		}
	}
	for name, content := range files {
		made := filepath.Join(etcLayer, name)
		if err := t.write(made, content, 0o644); err != nil {
			return err
		}
		if err := t.replaceEtc(name, made); err != nil {
			return err
		}
	}
	return nil
}

// replaceEtc mounts the file at made over /etc/name. A link that leads out of /etc (resolv.conf often does, to /run)
// gets its target made inside.
func (t tree) replaceEtc(name, made string) error {
	target := filepath.Join("/etc", name)
	if to, err := os.Readlink(target); err == nil {
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(target), to)
		}
		target = to
	}
	src, err := t.reach(made, false)
	if err != nil {
		return err
	}
	defer unix.Close(src)
	err = t.bind(src, target, readOnly)
	if errors.Is(err, unix.EROFS) {
		return nil // not there, and cannot be made
	}
	return err
}
