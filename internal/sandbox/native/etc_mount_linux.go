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

	"moat/internal/ca"
)

const hostEtc = "/etc"

// makeEtc shows the host's /etc, read-only, with the sandbox's own files in the place of the host's and without
// what is secret.
//
// Both are layers of one overlay: the upper holds our files, and a whiteout for each secret. Where there is something
// mounted in the host's /etc (containers do that) or the kernel does not let us, files are mounted over files instead,
// which can only replace what is there.
func (b *Boot) makeEtc(t tree) error {
	files, masks := etcFiles(b.Spec), b.late.etcMasks
	has := func(place string) bool {
		fi, err := os.Stat(filepath.Join(hostEtc, place))
		return err == nil && fi.Mode().IsRegular()
	}
	if err := addTrust(files, b.Spec.TrustFile, has); err != nil {
		return err
	}
	if err := addKnownHosts(files, b.Spec.KnownHostsFile); err != nil {
		return err
	}
	masks = slices.DeleteFunc(masks, func(name string) bool { return files[name] != nil }) // ours are shown instead
	layer, err := openTree(filepath.Join(b.scratch, etcLayer))
	if err != nil {
		return err
	}
	defer unix.Close(layer.root)
	if err := layer.fill(files, masks); err == nil {
		if err = t.layEtc(layer); err == nil {
			return nil
		}
	}
	return b.coverEtc(t, layer, files, masks)
}

// addTrust puts the roots that the sandbox trusts where programs look for them: the places of Debian and its relatives,
// of Red Hat's and of SUSE's, and one that is the same everywhere.
//
// has tells whether a place is there; the first is made where it is not.
func addTrust(files map[string][]byte, bundle string, has func(place string) bool) error {
	if bundle == "" {
		return nil
	}
	roots, err := os.ReadFile(bundle)
	if err != nil {
		return fmt.Errorf("roots to trust: %w", err)
	}
	root, err := os.ReadFile(filepath.Join(filepath.Dir(bundle), "root.pem"))
	if err != nil {
		return fmt.Errorf("roots to trust: %w", err)
	}
	files["moat/roots.pem"], files["moat/root.pem"], files["moat/roots.jks"] = roots, root, ca.KeyStore(roots)
	for _, place := range []string{"ssl/certs/ca-certificates.crt", "pki/tls/certs/ca-bundle.crt", "ssl/ca-bundle.pem", "ssl/cert.pem"} {
		if has(place) || place == "ssl/certs/ca-certificates.crt" {
			files[place] = roots
		}
	}
	return nil
}

// knownHosts is where ssh looks for hosts that everybody knows.
const knownHosts = "ssh/ssh_known_hosts"

// addKnownHosts adds lines to the hosts that ssh knows.
func addKnownHosts(files map[string][]byte, file string) error {
	if file == "" {
		return nil
	}
	lines, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("hosts that ssh knows: %w", err)
	}
	host, err := os.ReadFile(filepath.Join(hostEtc, knownHosts))
	if err == nil && len(host) > 0 {
		host = append(host, '\n')
	}
	files[knownHosts] = append(host, lines...)
	return nil
}

// fill makes the layer t: files, and whiteouts (overlayfs documentation: character devices 0/0) for masks.
func (t tree) fill(files map[string][]byte, masks []string) error {
	for _, name := range masks {
		if err := t.sameDirs(filepath.Dir(name)); err != nil {
			return err
		}
		dir, err := t.reach(filepath.Dir(name), true)
		if err != nil {
			return err
		}
		err = unix.Mknodat(dir, filepath.Base(name), unix.S_IFCHR, 0)
		unix.Close(dir)
		if err != nil {
			return &fs.PathError{Op: "hide", Path: name, Err: err}
		}
	}
	for name, content := range files {
		if err := t.sameDirs(filepath.Dir(name)); err != nil {
			return err
		}
		if err := t.write(name, content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// layEtc mounts the host's /etc with the layer on it.
func (t tree) layEtc(layer tree) error {
	lower, err := unix.Open(hostEtc, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(lower)
	options := fmt.Sprintf("lowerdir=%s:%s,userxattr", procFD(layer.root), procFD(lower))
	return t.mount("/etc", "overlay", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, options)
}

// sameDirs makes the directory rel, and those above it, in the layer t, with the modes that they have in the host's /etc:
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
		if err := t.makeDir(done, mode); err != nil {
			return err
		}
	}
	return nil
}

// coverEtc is the way without an overlay.
func (b *Boot) coverEtc(t, layer tree, files map[string][]byte, masks []string) error {
	if err := t.bindPath(hostEtc, "/etc", readOnly); err != nil {
		return err
	}
	for _, name := range masks {
		if err := b.mask(t, "/etc", name); err != nil {
			return err
		}
	}
	for name, content := range files {
		if err := layer.replaceFile(name, content); err != nil {
			return err
		}
		src, err := layer.reach(name, false)
		if err != nil {
			return err
		}
		err = t.bind(src, etcTarget(name), readOnly)
		unix.Close(src)
		if err != nil && !errors.Is(err, unix.EROFS) { // not there, and cannot be made
			return err
		}
	}
	return nil
}

// replaceFile is write for a file that may be there already: fill may have stopped anywhere.
func (t tree) replaceFile(name string, content []byte) error {
	err := t.write(name, content, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// etcTarget is where a file made for the sandbox must be mounted. A link that leads out of /etc (that of resolv.conf
// often does, to /run) gets its target made inside.
func etcTarget(name string) string {
	target := filepath.Join("/etc", name)
	to, err := os.Readlink(target)
	if err != nil {
		return target
	}
	if !filepath.IsAbs(to) {
		to = filepath.Join(filepath.Dir(target), to)
	}
	return to
}
