package sandbox

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// ErrSpec is returned for a Spec that no runtime can carry out.
var ErrSpec = errors.New("sandbox specification")

// maxHostname is the kernel's limit (__NEW_UTS_LEN in linux/utsname.h), in bytes.
const maxHostname = 64

// Check reports the first thing in s that no runtime can carry out, as an ErrSpec. It looks at s only, not at the machine.
func (s Spec) Check() error {
	checks := []func() error{s.checkRef, s.checkNames, s.checkImage, s.checkMounts, s.checkTools, s.checkLimits}
	for _, check := range checks {
		if err := check(); err != nil {
			return fmt.Errorf("%w: %w", ErrSpec, err)
		}
	}
	return nil
}

func (s Spec) checkRef() error {
	if err := s.Ref.Check(); err != nil {
		return err
	}
	if len(s.Secret) != 32 {
		return fmt.Errorf("the secret has %d bytes instead of 32", len(s.Secret))
	}
	return nil
}

// Check reports whether r can name a sandbox.
func (r Ref) Check() error {
	notAllowed := func(c rune) bool {
		return c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z')
	}
	if r.ID == "" || len(r.ID) > maxHostname || strings.ContainsFunc(r.ID, notAllowed) {
		return fmt.Errorf("run id %q", r.ID)
	}
	return checkPath("folder of the sandbox", r.Dir)
}

func (s Spec) checkNames() error {
	if s.Hostname == "" || len(s.Hostname) > maxHostname || strings.ContainsAny(s.Hostname, "/\x00\n \t") {
		return fmt.Errorf("host name %q", s.Hostname)
	}
	if s.User.UID < 0 || s.User.GID < 0 {
		return fmt.Errorf("user %d:%d", s.User.UID, s.User.GID)
	}
	if err := checkPath("home directory", s.User.Home); err != nil {
		return err
	}
	if s.Image.Ref != "" {
		return nil // nothing is mounted there
	}
	return checkTarget("home directory", s.User.Home)
}

func (s Spec) checkImage() error {
	if s.Image.Ref == "" {
		return nil
	}
	for _, dir := range s.Image.Layers {
		if err := checkPath("layer", dir); err != nil {
			return err
		}
	}
	if s.Image.Dir == "" {
		return nil
	}
	return checkPath("directory of the image", s.Image.Dir)
}

func (s Spec) checkMounts() error {
	if err := checkPath("workspace", s.Workspace); err != nil {
		return err
	}
	seen := []string{WorkspaceDir, s.User.Home}
	for _, m := range s.Mounts {
		if err := checkPath("mount source", m.Source); err != nil {
			return err
		}
		if err := checkTarget("mount target", m.Target); err != nil {
			return err
		}
		if slices.Contains(seen, m.Target) {
			return fmt.Errorf("two things are mounted at %q", m.Target)
		}
		seen = append(seen, m.Target)
	}
	return nil
}

func (s Spec) checkTools() error {
	for _, t := range s.Tools {
		if err := checkTarget("tool", t.Path); err != nil {
			return err
		}
		for _, m := range t.Mask {
			if err := checkPath("masked path", m); err != nil {
				return err
			}
			if !strings.HasPrefix(m, t.Path+"/") {
				return fmt.Errorf("masked path %q is not below %q", m, t.Path)
			}
		}
	}
	return nil
}

func (s Spec) checkLimits() error {
	if l := s.Limits; l.MemoryBytes < 0 || l.CPUs < 0 || l.PIDs < 0 {
		return fmt.Errorf("limits %+v", l)
	}
	return nil
}

// checkPath wants an absolute, clean path.
func checkPath(what, p string) error {
	if !path.IsAbs(p) || path.Clean(p) != p || strings.Contains(p, "\x00") {
		return fmt.Errorf("%s %q is not an absolute, clean path", what, p)
	}
	return nil
}

// checkTarget wants a path at which something may be put inside: not the root, and nothing that the wall is made of.
func checkTarget(what, p string) error {
	if err := checkPath(what, p); err != nil {
		return err
	}
	for _, own := range []string{"/proc", "/dev", "/sys", "/etc", "/run"} {
		if p == own || strings.HasPrefix(p, own+"/") {
			return fmt.Errorf("%s %q: %s belongs to the sandbox", what, p, own)
		}
	}
	if slices.Contains([]string{"/", "/usr", "/bin", "/sbin", "/lib", "/lib64", "/opt", "/var", "/tmp", "/home"}, p) {
		return fmt.Errorf("%s %q would hide a directory of the sandbox", what, p)
	}
	return nil
}
