package native

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"moat/internal/sandbox"
	"moat/internal/sandbox/cgroup"
)

// groups are the cgroups of one sandbox: folders that must be removed with it. On a machine with cgroups v1 there
// is one per controller, otherwise one in all.
type groups map[string]string // controller → folder; with v2 the same folder several times

// cpuPeriod is the time over which CPU use is averaged, in microseconds; the kernel's default.
const cpuPeriod = 100_000

// planGroups chooses the cgroups for the limits, as far as there is a place for them, and makes none: they must be
// written down first.
func planGroups(id string, l sandbox.Limits) groups {
	g := groups{}
	own, err := cgroup.Of("/proc/self/cgroup")
	if err != nil {
		return g
	}
	mounts, err := cgroup.Mounts("/proc/self/mountinfo")
	if err != nil {
		return g
	}
	for controller, wanted := range map[string]bool{"memory": l.MemoryBytes > 0, "cpu": l.CPUs > 0, "pids": l.PIDs > 0} {
		if !wanted {
			continue
		}
		if parent, err := parentGroup(own, mounts, controller); err == nil {
			g[controller] = filepath.Join(parent, "moat-"+id)
		}
	}
	return g
}

// make makes the groups and sets their limits, and returns those that are ready: what cannot be held is for fallBack.
func (g groups) make(l sandbox.Limits) groups {
	ready := groups{}
	for controller, dir := range g {
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			continue
		}
		if limitGroup(dir, controller, l) == nil {
			ready[controller] = dir
		}
	}
	return ready
}

// bear calls start, which starts a process that is to be a member of the groups from its first instruction on, and
// returns those that it is a member of. With version 2 start is asked to clone it there (clone3(2), CLONE_INTO_CGROUP),
// with version 1 it inherits the groups of the thread that clones it, which joins them and ends.
//
// A process that is moved later makes the kernel wait until no CPU starts a process or thread, some 10 ms.
func (g groups) bear(start func(into *os.File) error) (members groups, err error) {
	dir, into := g.unified()
	if into != nil {
		defer into.Close()
	}
	onThread(func() {
		members = g.join()
		if into != nil {
			if err = start(into); err == nil {
				for controller := range g {
					if g[controller] == dir {
						members[controller] = dir
					}
				}
				return
			}
		}
		err = start(nil) // the kernel has no such clone (before 5.7), or does not let us
	})
	return members, err
}

// unified opens the group of version 2, if there is one.
func (g groups) unified() (string, *os.File) {
	for _, dir := range g {
		if _, err := os.Stat(filepath.Join(dir, "cgroup.controllers")); err != nil {
			continue
		}
		if f, err := os.Open(dir); err == nil {
			return dir, f
		}
	}
	return "", nil
}

// join puts the calling thread into the groups of version 1, as far as possible, and returns those.
func (g groups) join() groups {
	joined := groups{}
	for controller, dir := range g {
		if writeFile(dir, "tasks", "0") == nil {
			joined[controller] = dir
		}
	}
	return joined
}

// onThread calls f on a thread of its own, which ends with it.
func onThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			f()
			return // without unlocking
		}
		onThread(f) // the first thread never ends
		runtime.UnlockOSThread()
	}()
	<-done
}

// hold puts pid into those groups that it is not a member of, and reports which limits are held that way.
func (g groups) hold(members groups, pid int) sandbox.Report {
	var report sandbox.Report
	held := map[string]*sandbox.Hold{"memory": &report.Memory, "cpu": &report.CPUs, "pids": &report.PIDs}
	for controller, dir := range g {
		if members[controller] == dir || writeFile(dir, "cgroup.procs", strconv.Itoa(pid)) == nil {
			*held[controller] = sandbox.Held
		}
	}
	return report
}

// parentGroup returns the folder in which a cgroup with the controller can be made. A controller that is not on a
// hierarchy of its own is on the unified one.
func parentGroup(own map[string]string, mounts map[string]cgroup.Mount, controller string) (string, error) {
	if path, ok := own[controller]; ok {
		m, ok := mounts[controller]
		if !ok {
			return "", fmt.Errorf("cgroup controller %s is not mounted", controller)
		}
		dir := m.Folder(path)
		return dir, unix.Access(dir, unix.W_OK)
	}
	m, ok := mounts[""]
	if !ok {
		return "", errors.New("cgroups are not mounted")
	}
	return delegated(m.Folder(own[""]), m.Point, controller)
}

// delegated looks upwards from own, which has processes and so cannot give controllers to children (the "no internal
// processes" rule of cgroups(7)), for the nearest folder that gives the controller to its children and that we may write.
func delegated(own, top, controller string) (string, error) {
	for dir := own; ; dir = filepath.Dir(dir) {
		b, err := os.ReadFile(filepath.Join(dir, "cgroup.subtree_control"))
		if err == nil && slices.Contains(strings.Fields(string(b)), controller) &&
			unix.Access(dir, unix.W_OK) == nil && unix.Access(filepath.Join(dir, "cgroup.procs"), unix.W_OK) == nil {
			return dir, nil
		}
		if dir == top || len(dir) <= len(top) {
			return "", fmt.Errorf("cgroup controller %s is not delegated to us", controller)
		}
	}
}

// limitGroup writes one controller's limits.
func limitGroup(dir, controller string, l sandbox.Limits) error {
	_, err := os.Stat(filepath.Join(dir, "cgroup.controllers"))
	v2 := err == nil
	memory := strconv.FormatInt(l.MemoryBytes, 10)
	quota := strconv.FormatInt(max(1000, int64(l.CPUs*cpuPeriod)), 10) // the kernel refuses less than 1 ms
	switch {
	case controller == "pids":
		return writeFile(dir, "pids.max", strconv.Itoa(l.PIDs))
	case controller == "memory" && v2:
		_ = writeFile(dir, "memory.swap.max", "0") // absent where swap is not accounted
		return writeFile(dir, "memory.max", memory)
	case controller == "memory":
		if err := writeFile(dir, "memory.limit_in_bytes", memory); err != nil {
			return err
		}
		_ = writeFile(dir, "memory.memsw.limit_in_bytes", memory) // as above
		return nil
	case v2:
		return writeFile(dir, "cpu.max", fmt.Sprintf("%s %d", quota, cpuPeriod))
	default:
		if err := writeFile(dir, "cpu.cfs_period_us", strconv.Itoa(cpuPeriod)); err != nil {
			return err
		}
		return writeFile(dir, "cpu.cfs_quota_us", quota)
	}
}

// writeFile writes to a file that exists: in a cgroup, creating one is an error that says less than its absence.
func writeFile(dir, name, value string) error {
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

// oomKills returns how many processes the kernel ended for want of memory; 0 if nobody counted.
func (g groups) oomKills() int {
	if dir, ok := g["memory"]; ok {
		return cgroup.OOMKills(dir)
	}
	return 0
}

// kill ends what is still in the groups; only version 2 can (kernel 5.14).
func (g groups) kill() {
	for _, dir := range g {
		_ = writeFile(dir, "cgroup.kill", "1")
	}
}

// remove removes the folders. The processes in them have ended, but the kernel may take a moment to notice; version 1
// has no event for that, so busy folders are tried again until ctx ends.
func (g groups) remove(ctx context.Context) error {
	for _, dir := range g {
		for {
			err := unix.Rmdir(dir)
			if err == nil || errors.Is(err, unix.ENOENT) {
				break
			}
			if !errors.Is(err, unix.EBUSY) {
				return &fs.PathError{Op: "remove cgroup", Path: dir, Err: err}
			}
			select {
			case <-ctx.Done():
				return &fs.PathError{Op: "remove cgroup", Path: dir, Err: err}
			case <-time.After(2 * time.Millisecond):
			}
		}
	}
	return nil
}
