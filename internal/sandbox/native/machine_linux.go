package native

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"moat/internal/sandbox"
)

// Fact is one thing about this machine that decides what a sandbox can be like.
type Fact struct {
	Name  string // snake_case, stable
	Value string // what was found
	OK    bool   // whether all is as it should be
	Note  string // what follows from it, where something does
}

// Examine looks at the machine, and at the folder that keeps runs. It changes nothing and never fails: what cannot be
// read is a Fact too. Whether sandboxes work is for Check to try.
func Examine(home string) []Fact {
	return append([]Fact{kernelFact(), userNamespaceFact(observe()), groupFact(), landlockFact(), seccompFact()}, homeFacts(home)...)
}

func kernelFact() Fact {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return Fact{Name: "kernel", Value: "unknown", Note: err.Error()}
	}
	return Fact{Name: "kernel", Value: unix.ByteSliceToString(u.Release[:]), OK: true}
}

func userNamespaceFact(f facts) Fact {
	fact := Fact{Name: "user_namespaces", Value: "available", OK: true}
	switch {
	case !f.userNamespaces:
		fact.Value, fact.OK = "not in this kernel", false
	case f.maxUserNamespaces == "0":
		fact.Value, fact.OK = "switched off (user.max_user_namespaces is 0)", false
	case !f.root && f.unprivilegedClone == "0":
		fact.Value, fact.OK = "for root only (kernel.unprivileged_userns_clone is 0)", false
	case !f.root && f.restrictedBy == "1":
		fact.Value, fact.OK = "restricted by AppArmor (kernel.apparmor_restrict_unprivileged_userns is 1)", false
	}
	return fact
}

// groupFact tells which limits all processes of a sandbox can be held to together.
func groupFact() Fact {
	var here, missing []string
	version := "none"
	groups := planGroups("doctor", sandbox.Limits{MemoryBytes: 1, CPUs: 1, PIDs: 1})
	for _, controller := range []string{"memory", "cpu", "pids"} {
		dir, ok := groups[controller]
		if !ok {
			missing = append(missing, controller)
			continue
		}
		here = append(here, controller)
		version = map[bool]string{true: "v2", false: "v1"}[exists(filepath.Join(filepath.Dir(dir), "cgroup.controllers"))]
	}
	if version == "none" && exists("/sys/fs/cgroup/cgroup.controllers") {
		version = "v2"
	}
	fact := Fact{Name: "cgroup", Value: version, OK: len(missing) == 0}
	if len(here) > 0 {
		fact.Value += ", usable: " + strings.Join(here, " ")
	}
	if len(missing) > 0 {
		fact.Note = "limits for " + strings.Join(missing, ", ") + " hold for each process alone, as far as they can"
		if version == "v2" {
			fact.Note += "; under systemd: systemd-run --user --scope -p Delegate=yes moat run …"
		}
	}
	return fact
}

func landlockFact() Fact {
	if abi := LandlockABI(); abi > 0 {
		return Fact{Name: "landlock", Value: fmt.Sprintf("ABI %d", abi), OK: true}
	}
	return Fact{Name: "landlock", Value: "not available", Note: "the second wall around files is missing; the first, the mounts, stands"}
}

func seccompFact() Fact {
	b, err := os.ReadFile("/proc/sys/kernel/seccomp/actions_avail")
	if err != nil {
		return Fact{Name: "seccomp", Value: "unknown", Note: err.Error()}
	}
	for _, action := range strings.Fields(string(b)) {
		if action == "errno" {
			return Fact{Name: "seccomp", Value: "available", OK: true}
		}
	}
	return Fact{Name: "seccomp", Value: "not available", Note: "use a kernel with CONFIG_SECCOMP_FILTER=y"}
}

// homeFacts are about the folder, or what there is of the path to it.
func homeFacts(home string) []Fact {
	dir := home
	for dir != "/" && !exists(dir) {
		dir = filepath.Dir(dir)
	}
	var facts []Fact
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		facts = append(facts, Fact{Name: "home_writable", Value: "no", Note: dir + ": " + err.Error()})
	} else {
		facts = append(facts, Fact{Name: "home_writable", Value: "yes", OK: true})
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return append(facts, Fact{Name: "home_file_system", Value: "unknown", Note: err.Error()})
	}
	fact := Fact{Name: "home_file_system", OK: true}
	fact.Value, fact.Note = fileSystem(st.Type)
	if fact.Note != "" {
		fact.OK = false
	}
	return append(facts, fact)
}

// fileSystem names a file system (statfs(2)) and says what it is not good for.
func fileSystem(magic int64) (name, note string) {
	const noUpper = "tools are read-only inside: it cannot hold the changes of an overlay (Documentation/filesystems/overlayfs.rst)"
	const noLocks = "locks may not hold on it: set MOAT_HOME to a local folder"
	for _, k := range []struct {
		magic      int64
		name, note string
	}{
		{unix.EXT4_SUPER_MAGIC, "ext4", ""}, {unix.XFS_SUPER_MAGIC, "xfs", ""}, {unix.BTRFS_SUPER_MAGIC, "btrfs", ""},
		{unix.TMPFS_MAGIC, "tmpfs", ""}, {unix.F2FS_SUPER_MAGIC, "f2fs", ""}, {0x2fc12fc1, "zfs", ""},
		{unix.OVERLAYFS_SUPER_MAGIC, "overlay", noUpper}, {unix.NFS_SUPER_MAGIC, "nfs", noLocks}, {unix.SMB2_SUPER_MAGIC, "smb", noLocks},
		{unix.CIFS_SUPER_MAGIC, "cifs", noLocks}, {unix.FUSE_SUPER_MAGIC, "fuse", noUpper}, {unix.V9FS_MAGIC, "9p", noUpper},
		{unix.MSDOS_SUPER_MAGIC, "fat", noUpper},
	} {
		if k.magic == magic&0xffffffff {
			return k.name, k.note
		}
	}
	return fmt.Sprintf("unknown (0x%x)", magic), ""
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
