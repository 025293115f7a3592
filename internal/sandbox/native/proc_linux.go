package native

import (
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// makeProc mounts a /proc of the sandbox's processes. What in it is about the machine is read-only, and what not
// everybody may read there is covered.
//
// For an ordinary user this only repeats what file modes say. It matters for root: inside as outside it is the owner of
// these files, and the kernel asks for nothing else when one is opened.
func (b *Boot) makeProc(t tree) error {
	if err := t.mount("/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return err
	}
	entries, err := os.ReadDir("/proc") // the host's; the kernel's part is the same
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := b.tameProc(t, e); err != nil {
			return err
		}
	}
	return nil
}

// tameProc covers or protects one entry of /proc.
func (b *Boot) tameProc(t tree, e fs.DirEntry) error {
	name := e.Name()
	if name[0] >= '0' && name[0] <= '9' || e.Type() == fs.ModeSymlink {
		return nil
	}
	fi, err := e.Info()
	if err != nil {
		return nil // gone since; what comes later belongs to modules that are loaded now and is root's own doing
	}
	p := filepath.Join("/proc", name)
	switch {
	case hiddenProc(name), !e.IsDir() && fi.Mode().Perm()&0o004 == 0:
		fd, err := t.reach(p, false)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return b.cover(fd)
	case e.IsDir(), fi.Mode().Perm()&0o222 != 0:
		fd, err := t.reach(p, false)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return t.bind(fd, p, readOnly|unix.MOUNT_ATTR_NOEXEC)
	}
	return nil
}

// hiddenProc names what everybody may read and nobody in a sandbox should: Docker's list of masked paths, and the
// kernel's symbols.
func hiddenProc(name string) bool {
	switch name {
	case "asound", "acpi", "interrupts", "kcore", "keys", "key-users", "latency_stats", "timer_list", "timer_stats",
		"sched_debug", "scsi", "kallsyms", "modules", "mtrr":
		return true
	}
	return false
}
