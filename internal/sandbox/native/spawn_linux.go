package native

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"moat/internal/frame"
	"moat/internal/sandbox"
)

// namespaces are made by the clone; the cgroup namespace follows in Boot.Enter, when the guest is in its cgroup.
const namespaces = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET |
	unix.CLONE_NEWIPC | unix.CLONE_NEWUTS

// child is a guest that this process started.
type child struct {
	process  *os.Process
	lifeline *os.File      // writing end of the guest's fd 3; its end tells the guest that we are gone
	status   *os.File      // our end of the guest's fd 5
	ended    chan struct{} // closed when the guest was waited for
	groups   groups        // as written down
	members  groups        // those that the guest was born into
}

// start makes the sandbox. What it made is left to Remove if it fails.
func (r *Runtime) start(ctx context.Context, spec sandbox.Spec) error {
	boot, err := newBoot(spec)
	if err != nil {
		return err
	}
	masks := make(chan foundMasks, 1) // if we fail before it is used, nobody waits for it
	go func() {
		var m foundMasks
		if !hasImage(spec) {
			m.masks, m.err = etcMasks(hostEtc)
		}
		masks <- m
	}()
	folders := foldersOf(spec)
	if err := makeDirs(spec, folders[:1]); err != nil {
		return fmt.Errorf("make folders: %w", err)
	}
	listener, err := listen(spec.Ref)
	if err != nil {
		return fmt.Errorf("make the guest's socket: %w", err)
	}
	defer listener.Close()
	// Whatever must be taken down later is written down before it is made.
	rec := record{Groups: planGroups(spec.ID, limitsOf(spec))}
	if err := sandbox.WriteRecord(spec.Ref, rec); err != nil {
		return fmt.Errorf("write down the guest: %w", err)
	}
	ready := rec.Groups.make(limitsOf(spec))
	made := make(chan error, 1)
	go func() { made <- makeDirs(spec, folders[1:]) }() // the guest needs them when it is told what to do
	c, err := r.clone(spec, listener, ready)
	madeErr := <-made
	if err != nil {
		return fmt.Errorf("clone into new namespaces: %w", err)
	}
	c.groups = rec.Groups
	r.adopt(spec.Dir, c)
	rest, err := rec.enroll(spec, ready, c)
	if err != nil {
		return fmt.Errorf("write down the guest: %w", err)
	}
	if madeErr != nil {
		return fmt.Errorf("make folders: %w", madeErr)
	}
	err = c.handOver(ctx, boot, func() (late, error) {
		found := <-masks
		if spec.Trusted == nil || found.err != nil {
			return late{rest, found.masks}, found.err
		}
		return late{rest, found.masks}, spec.Trusted(ctx)
	})
	if err != nil {
		return c.explain(spec.Ref, err)
	}
	return nil
}

// foundMasks is what etcMasks returns.
type foundMasks struct {
	masks []string
	err   error
}

// enroll writes down who the guest is and how its limits are held, and returns those that are left to itself.
func (rec *record) enroll(spec sandbox.Spec, ready groups, c *child) (fallback, error) {
	var err error
	if rec.Process, err = identify(c.process.Pid); err != nil {
		return fallback{}, err
	}
	rec.Report = ready.hold(c.members, c.process.Pid)
	rest := fallBack(limitsOf(spec), &rec.Report, os.Geteuid() == 0 && (spec.User.UID == 0 || hasImage(spec)))
	return rest, sandbox.WriteRecord(spec.Ref, *rec)
}

// limitsOf fills in what is limited although nobody asked.
func limitsOf(spec sandbox.Spec) sandbox.Limits {
	l := spec.Limits
	if l.PIDs == 0 {
		l.PIDs = sandbox.DefaultPIDs
	}
	return l
}

// makeDirs makes some of foldersOf.
func makeDirs(spec sandbox.Spec, folders []folder) error {
	for _, d := range folders {
		path := filepath.Join(spec.Dir, d.name)
		err := os.Mkdir(path, 0o700)
		if errors.Is(err, fs.ErrExist) {
			continue // Ref.Dir, or a home directory that was kept
		}
		if err != nil {
			return err
		}
		if err := os.Chmod(path, d.mode); err != nil { // whatever the umask is
			return err
		}
		if d.owned && spec.User.UID != os.Geteuid() && !hasImage(spec) {
			if err := os.Lchown(path, spec.User.UID, spec.User.GID); err != nil {
				return err
			}
		}
	}
	return nil
}

// folder is a directory in Ref.Dir.
type folder struct {
	name  string
	mode  os.FileMode
	owned bool // by the user inside; with an image that is ourselves, whatever we are called there
}

// foldersOf lists what belongs in Ref.Dir, and itself.
func foldersOf(spec sandbox.Spec) []folder {
	dirs := []folder{{"", 0o700, false}, {rootDir, 0o700, false}, {layersDir, 0o755, false}}
	layer := func(name string) []folder {
		return []folder{{layersDir + "/" + name, 0o755, false}, {layersDir + "/" + name + "/upper", 0o755, true}, {layersDir + "/" + name + "/work", 0o755, false}}
	}
	if hasImage(spec) {
		return append(append(dirs, layer(rootLayer)...), folder{homeDir, 0o700, true}, folder{layersDir + "/" + homeDir, 0o755, false})
	}
	dirs = append(dirs, []folder{
		{homeDir, 0o700, true},
		{tmpDir, 0o777 | os.ModeSticky, false},
		{varTmpDir, 0o777 | os.ModeSticky, false},
		{layersDir + "/" + homeDir, 0o755, false},
		{layersDir + "/" + tmpDir, 0o755, false},
		{layersDir + "/" + varTmpDir, 0o755, false},
	}...)
	for i := range spec.Tools {
		dirs = append(dirs, layer(strconv.Itoa(i))...)
	}
	return dirs
}

// clone starts "Exe guest" as PID 1 of new namespaces. It waits there for its Boot.
func (r *Runtime) clone(spec sandbox.Spec, listener *os.File, into groups) (*child, error) {
	exe := r.Exe
	if exe == "" {
		exe = "/proc/self/exe"
	}
	var opened []*os.File
	defer func() {
		for _, f := range opened {
			f.Close()
		}
	}()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile(filepath.Join(spec.Dir, logName), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	opened = append(opened, null, log)
	if err != nil {
		return nil, err
	}
	bootR, bootW, err := os.Pipe()
	opened = append(opened, bootR)
	if err != nil {
		return nil, err
	}
	status, theirs, err := socketPair()
	if err != nil {
		return nil, errors.Join(err, bootW.Close())
	}
	opened = append(opened, theirs)
	attr, err := sysProcAttr(spec)
	if err == nil {
		c := &child{lifeline: bootW, status: status, ended: make(chan struct{})}
		c.members, err = into.bear(func(group *os.File) (err error) {
			attr := *attr
			if group != nil {
				attr.UseCgroupFD, attr.CgroupFD = true, int(group.Fd())
			}
			c.process, err = os.StartProcess(exe, []string{"moat", "guest"}, &os.ProcAttr{
				Dir: "/", Env: []string{}, Files: []*os.File{null, null, log, bootR, listener, theirs}, Sys: &attr,
			})
			return err
		})
		if err == nil {
			return c, nil
		}
	}
	return nil, errors.Join(err, bootW.Close(), status.Close())
}

// socketPair returns two ends of a stream, the first for this process.
func socketPair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	if err := unix.SetNonblock(fds[0], true); err != nil { // only then does os.NewFile make it one that Close interrupts
		return nil, nil, errors.Join(err, unix.Close(fds[0]), unix.Close(fds[1]))
	}
	return os.NewFile(uintptr(fds[0]), "status"), os.NewFile(uintptr(fds[1]), "status"), nil
}

// sysProcAttr maps ids so that files keep the owners that they have outside: for root all that we have ourselves,
// for others their own only (user_namespaces(7)). With an image, whose files all belong to us, we are mapped to its user.
func sysProcAttr(spec sandbox.Spec) (*syscall.SysProcAttr, error) {
	attr := &syscall.SysProcAttr{Cloneflags: namespaces, Setsid: true}
	for c := uintptr(0); c <= unix.CAP_LAST_CAP; c++ {
		attr.AmbientCaps = append(attr.AmbientCaps, c) // kept over the execution of Exe, given up by Boot.Enter
	}
	if uid, gid := os.Geteuid(), os.Getegid(); uid != 0 || hasImage(spec) {
		inside := sandbox.User{UID: uid, GID: gid}
		if hasImage(spec) {
			inside = spec.User
		}
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: inside.UID, HostID: uid, Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: inside.GID, HostID: gid, Size: 1}}
		attr.GidMappingsEnableSetgroups = uid == 0
		return attr, nil
	}
	var err error
	if attr.UidMappings, err = identity("/proc/self/uid_map"); err != nil {
		return nil, err
	}
	attr.GidMappings, err = identity("/proc/self/gid_map")
	attr.GidMappingsEnableSetgroups = true
	return attr, err
}

// identity returns a mapping of all ids in the map file, which is our own, to themselves.
func identity(file string) ([]syscall.SysProcIDMap, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var out []syscall.SysProcIDMap
	for line := range strings.Lines(string(b)) {
		var first, outside, size uint32
		if _, err := fmt.Sscan(line, &first, &outside, &size); err != nil {
			return nil, fmt.Errorf("read %s: %w", file, err)
		}
		out = append(out, syscall.SysProcIDMap{ContainerID: int(first), HostID: int(first), Size: int(size)})
	}
	return out, nil
}

// adopt makes r wait for c's end, so that no zombie is left, and lets Remove find it.
func (r *Runtime) adopt(dir string, c *child) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.children == nil {
		r.children = make(map[string]*child)
	}
	r.children[dir] = c
	go func() {
		defer close(c.ended)
		_, _ = c.process.Wait() // its end is all that matters, and fails only if somebody else waited for it
	}()
}

// handOver sends the boot message, does what is left to do while the guest builds, sends the result after it, and waits
// until the guest says that it is ready. A guest that says something else is reported with that.
func (c *child) handOver(ctx context.Context, boot Boot, meanwhile func() (late, error)) error {
	b, err := json.Marshal(boot)
	if err != nil {
		return err
	}
	if len(b) > frame.Max {
		return fmt.Errorf("%w: it has %d bytes, the guest takes %d", sandbox.ErrSpec, len(b), frame.Max)
	}
	stop := context.AfterFunc(ctx, func() { _ = c.process.Kill() }) // ends all waits below
	defer stop()
	defer c.status.Close()
	sendErr := frame.NewWriter(c.lifeline).Write(bootKind, b)
	rest, err := meanwhile()
	if err != nil {
		return err
	}
	if sendErr == nil {
		sendErr = rest.send(c.status)
	}
	// An error of sending means that the guest is gone; what it said before tells more.
	line, err := bufio.NewReader(io.LimitReader(c.status, 4<<10)).ReadString('\n')
	switch line = strings.TrimSpace(line); {
	case ctx.Err() != nil:
		return ctx.Err()
	case line == statusReady:
		return nil
	case line != "":
		return errors.New(line)
	case sendErr != nil:
		return fmt.Errorf("send the guest its task: %w", sendErr)
	default:
		return fmt.Errorf("the guest ended before it was ready: %w", err)
	}
}

// explain adds the end of the guest's log to err.
func (c *child) explain(ref sandbox.Ref, err error) error {
	b, readErr := os.ReadFile(filepath.Join(ref.Dir, logName))
	if readErr != nil || len(b) == 0 {
		return err
	}
	if len(b) > 1000 {
		b = b[len(b)-1000:]
	}
	return fmt.Errorf("%w (the guest printed: %q)", err, b)
}
