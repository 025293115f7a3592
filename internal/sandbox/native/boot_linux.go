package native

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"moat/internal/frame"
	"moat/internal/sandbox"
)

// The guest's descriptors beside its standard ones, which are /dev/null, /dev/null and a log.
const (
	bootFD     = 3 // carries one frame, the Boot, and stays open: its end means that nobody owns the sandbox
	listenerFD = 4 // the guest's socket, bound and listening
	statusFD   = 5 // a socket: brings what Start finds out meanwhile, takes one line: statusReady, or what went wrong
)

const (
	bootKind    byte = 'B' // kind of the frame that holds a Boot
	masksKind   byte = 'M' // more of the paths of /etc to hide, each with a NUL after it
	lateKind    byte = 'L' // the last frame of those on statusFD: a fallback as JSON
	statusReady      = "ok"
)

// errProbed is the answer to a Boot with Probe: everything that was tried works.
var errProbed = errors.New("sandboxes can be made here")

// Boot is what Start tells the guest: the first frame on descriptor 3, as JSON.
type Boot struct {
	Spec      sandbox.Spec `json:"spec"`
	Workspace source       `json:"workspace"`
	Mounts    []source     `json:"mounts,omitempty"`   // of Spec.Mounts
	Tools     []source     `json:"tools,omitempty"`    // of Spec.Tools
	Kept      []int        `json:"kept,omitempty"`     // further descriptors that the second image inherits
	Ordinary  bool         `json:"ordinary,omitempty"` // an ordinary user made this; it cannot leave its groups
	Probe     bool         `json:"probe,omitempty"`    // try what a sandbox needs and nothing else
	Entered   bool         `json:"entered,omitempty"`  // the wall stands; this is the locked second image

	// Door opens what the sandbox has of a network, and returns the descriptors that the second image inherits. Enter
	// calls it, if it is not nil, while it builds. It must not need files.
	Door func() ([]int, error) `json:"-"`

	// While entering.
	again   int          // the pipe of descriptor 3, to write to
	door    <-chan error // closed when Door is done
	umask   int          // the person's
	scratch string       // see makeScratch
	late    late         // see readLate
}

// Enter builds the wall around the calling process, which must be one that Start made, and returns nil when it stands.
//
// To return it executes the program a second time, with the same arguments and descriptors, and a Boot on
// descriptor 3 that says so: locking down is a matter of single threads, and a Go program has many that it cannot
// name. So the caller reads the Boot and calls Enter, as if it happened once; what it did before, it will do again.
func (b *Boot) Enter() error {
	if b.Entered {
		// A dumpable process could be read, and its descriptors taken, by anything with the same user id.
		if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
			return fmt.Errorf("make the guest unreadable: %w", err)
		}
		return unix.CloseRange(bootFD, maxFD, unix.CLOSE_RANGE_CLOEXEC) // not for the commands that it will start
	}
	runtime.LockOSThread() // and never unlock: what follows is the state of this thread, which is the one that executes
	if os.Getpid() != 1 {
		return errors.New("the guest must be the first process of its namespace")
	}
	if b.Probe {
		return probe()
	}
	b.umask = unix.Umask(0)
	b.openDoor()
	exe, err := unix.Open("/proc/self/exe", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the program: %w", err)
	}
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"set up the namespaces", b.setUpNamespaces},
		{"build the file system", b.buildRoot},
		{"close inherited descriptors", b.closeInherited},
		{"leave the cgroup tree", func() error { return unix.Unshare(unix.CLONE_NEWCGROUP) }},
		{"announce the second image", b.announce},
		{"lock down", func() error { return b.lockDown(exe) }},
	} {
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return fmt.Errorf("execute the guest again: %w", execute(exe, os.Args))
}

// openDoor begins with the door. Its threads have the rights that are needed until the second image is executed.
func (b *Boot) openDoor() {
	done := make(chan error, 1)
	b.door = done
	if b.Door == nil {
		close(done)
		return
	}
	go func() {
		var err error
		b.Kept, err = b.Door()
		done <- err
	}()
}

// maxFD is higher than any descriptor.
const maxFD = 1<<31 - 1

// closeInherited marks everything that this process was not given on purpose as closed in what it executes. Go closes
// nothing by itself, and a descriptor that leaked in from above would be a hole in the wall.
func (b *Boot) closeInherited() error {
	if err := unix.CloseRange(bootFD, maxFD, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return err
	}
	for _, fd := range append([]int{bootFD, listenerFD, statusFD}, b.Kept...) {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
			return err
		}
	}
	return nil
}

// late is what Start finds out while the guest builds already: both parts take the kernel some time.
type late struct {
	fallback fallback
	etcMasks []string
}

// readLate waits for the late part of what Start has to say. When it is here, the process is in its cgroup.
func readLate() (late, error) {
	fd, err := unix.Dup(statusFD)
	if err != nil {
		return late{}, err
	}
	f := os.NewFile(uintptr(fd), "status")
	defer f.Close()
	var l late
	for frames := frame.NewReader(f); ; {
		kind, payload, err := frames.Next()
		switch {
		case err != nil:
			return l, err
		case kind == masksKind:
			l.etcMasks = append(l.etcMasks, strings.FieldsFunc(string(payload), func(r rune) bool { return r == 0 })...)
		case kind == lateKind:
			return l, json.Unmarshal(payload, &l.fallback)
		default:
			return l, fmt.Errorf("frame of kind %q", kind)
		}
	}
}

// send is the other end of readLate.
func (l late) send(w io.Writer) error {
	frames := frame.NewWriter(w)
	for masks := l.etcMasks; len(masks) > 0; {
		var chunk []byte
		for len(masks) > 0 && len(chunk)+len(masks[0])+1 <= frame.Max {
			chunk = append(append(chunk, masks[0]...), 0)
			masks = masks[1:]
		}
		if err := frames.Write(masksKind, chunk); err != nil {
			return err
		}
	}
	msg, err := json.Marshal(l.fallback)
	if err != nil {
		return err
	}
	return frames.Write(lateKind, msg)
}

// setUpNamespaces configures those that are not about files.
func (b *Boot) setUpNamespaces() error {
	if err := unix.Sethostname([]byte(b.Spec.Hostname)); err != nil {
		return fmt.Errorf("host name: %w", err)
	}
	if err := raiseLoopback(); err != nil {
		return fmt.Errorf("loopback interface: %w", err)
	}
	// No user namespace below ours: they are where most kernel bugs become reachable (namespaces(7), user/max_*).
	if err := os.WriteFile("/proc/sys/user/max_user_namespaces", []byte("0"), 0); err != nil {
		return fmt.Errorf("forbid user namespaces: %w", err)
	}
	// The keys of the person who started us stay outside (session-keyring(7)).
	_, _, errno := unix.RawSyscall(unix.SYS_KEYCTL, unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0) // 0: a new, nameless one
	if errno != 0 && errno != unix.ENOSYS {
		return fmt.Errorf("session keyring: %w", errno)
	}
	return nil
}

// raiseLoopback sets the interface lo up (netdevice(7)).
func raiseLoopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req)
}

// announce puts the Boot of the second image into the pipe that it will read it from, behind this one. The pipe's
// other end is not touched, so its closing still means what it means.
func (b *Boot) announce() error {
	next := Boot{Entered: true, Spec: b.Spec, Kept: b.Kept}
	next.Spec.Tools, next.Spec.Mounts, next.Spec.Forbidden, next.Spec.Image.Layers = nil, nil, nil, nil
	msg, err := json.Marshal(next)
	if err != nil {
		return err
	}
	_, err = unix.Write(b.again, frame.Append(nil, bootKind, msg))
	return err
}

// execute replaces the process by the program that the descriptor exe refers to.
func execute(exe int, args []string) error {
	argv, err := syscall.SlicePtrFromStrings(args)
	if err != nil {
		return err
	}
	env := []*byte{nil}
	empty := new(byte)
	_, _, errno := unix.RawSyscall6(unix.SYS_EXECVEAT, uintptr(exe), uintptr(unsafe.Pointer(empty)),
		uintptr(unsafe.Pointer(&argv[0])), uintptr(unsafe.Pointer(&env[0])), unix.AT_EMPTY_PATH, 0)
	return errno
}
