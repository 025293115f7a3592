package native

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"moat/internal/sandbox"
)

// Access rights of Landlock (landlock(7)), grouped by what we do with them.
const (
	landRead  = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	landWrite = unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE
	landMake  = unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE |
		unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_REG | unix.LANDLOCK_ACCESS_FS_MAKE_SOCK |
		unix.LANDLOCK_ACCESS_FS_MAKE_FIFO | unix.LANDLOCK_ACCESS_FS_MAKE_SYM | unix.LANDLOCK_ACCESS_FS_REFER
	landDevice = unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	landNever  = unix.LANDLOCK_ACCESS_FS_MAKE_CHAR | unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK
	landFile   = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE | landWrite | landDevice
)

// minLandlock is the first version that is used. Before REFER existed, moving a file to another directory was refused
// altogether; that breaks git and npm.
const minLandlock = 2

// landRule allows rights on everything at and below a path.
type landRule struct {
	path   string
	rights uint64
}

// landRules is what the second wall allows: to read what is visible, and to write where the first wall, the mounts, has
// something to write to.
func (b *Boot) landRules() []landRule {
	if hasImage(b.Spec) { // all of it is the sandbox's own but what is mounted read-only
		return []landRule{{"/", landRead | landWrite | landMake}, {"/dev", landDevice}}
	}
	rules := []landRule{
		{"/", landRead},
		{"/proc", landWrite},
		{"/dev", landWrite | landDevice},
	}
	for _, dir := range []string{"/dev/shm", "/run", "/tmp", "/var/tmp", b.Spec.User.Home, sandbox.WorkspaceDir} {
		rules = append(rules, landRule{dir, landWrite | landMake})
	}
	for _, m := range b.Spec.Mounts {
		if !m.ReadOnly {
			rules = append(rules, landRule{m.Target, landWrite | landMake})
		}
	}
	for _, t := range b.Spec.Tools {
		rules = append(rules, landRule{t.Path, landWrite | landMake})
	}
	return rules
}

// restrictFiles puts the calling thread into a Landlock domain, as far as the kernel knows Landlock: it is a second wall
// behind the mounts, so its absence is no error. exe may be executed although it is not visible.
func (b *Boot) restrictFiles(exe int) error {
	abi := LandlockABI()
	if abi < minLandlock {
		return nil
	}
	attr := unix.LandlockRulesetAttr{Handled_access_fs: landRead | landWrite | landMake | landDevice | landNever}
	if abi < 3 {
		attr.Handled_access_fs &^= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	if abi < 5 {
		attr.Handled_access_fs &^= landDevice
	}
	if abi >= 6 {
		attr.Scoped = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL
	}
	r, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), landlockAttrSize(abi), 0)
	if errno != 0 {
		return fmt.Errorf("create: %w", errno)
	}
	ruleset := int(r)
	defer unix.Close(ruleset)
	if err := allow(ruleset, exe, landRead&landFile); err != nil {
		return err
	}
	for _, rule := range b.landRules() {
		fd, err := unix.Open(rule.path, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open %s: %w", rule.path, err)
		}
		err = allow(ruleset, fd, rule.rights&attr.Handled_access_fs)
		unix.Close(fd)
		if err != nil {
			return fmt.Errorf("allow %s: %w", rule.path, err)
		}
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(ruleset), 0, 0); errno != 0 {
		return fmt.Errorf("restrict: %w", errno)
	}
	return nil
}

// LandlockABI returns the version of Landlock, 0 if there is none or it is switched off.
func LandlockABI() int {
	v, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0
	}
	return int(v)
}

// landlockAttrSize is how much of a ruleset's description the kernel knows.
func landlockAttrSize(abi int) uintptr {
	switch {
	case abi < 4:
		return 8 // files
	case abi < 6:
		return 16 // and TCP
	default:
		return 24 // and scopes
	}
}

// allow adds a rule for what fd refers to. A file takes fewer rights than a directory.
func allow(ruleset, fd int, rights uint64) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		rights &= landFile
	}
	attr := unix.LandlockPathBeneathAttr{Allowed_access: rights, Parent_fd: int32(fd)}
	_, _, errno := unix.RawSyscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(ruleset), unix.LANDLOCK_RULE_PATH_BENEATH,
		uintptr(unsafe.Pointer(&attr)), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
