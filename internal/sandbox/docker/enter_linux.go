package docker

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// An Arrival is a guest that has learned what to do. The caller closes Conn and Listener.
type Arrival struct {
	Boot
	Conn     *net.UnixConn // ends with the process that called Start
	Listener net.Listener  // where supervisors come
}

// Arrive connects the calling process, which must be the first one of a container, to the Start that waits for it at path.
func Arrive(path string) (*Arrival, error) {
	if os.Getpid() != 1 {
		return nil, errors.New("the guest must be the first process of its container")
	}
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Net: "unix", Name: path})
	if err != nil {
		return nil, err
	}
	a := &Arrival{Conn: conn}
	if err := a.receive(); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return a, nil
}

func (a *Arrival) receive() error {
	first, oob := make([]byte, 1), make([]byte, unix.CmsgSpace(4*bootDescriptors))
	_, oobn, _, _, err := a.Conn.ReadMsgUnix(first, oob)
	if err != nil {
		return fmt.Errorf("receive the guest's descriptors: %w", err)
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(msgs) != 1 {
		return fmt.Errorf("receive the guest's descriptors: %d messages, %w", len(msgs), err)
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil || len(fds) != bootDescriptors {
		return fmt.Errorf("receive the guest's descriptors: %d, %w", len(fds), err)
	}
	socket := os.NewFile(uintptr(fds[0]), "socket")
	defer socket.Close()
	if err := unix.Dup3(fds[1], 2, 0); err != nil { // what the guest has to say is for developers
		return fmt.Errorf("open the log: %w", err)
	}
	if err := unix.Close(fds[1]); err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	if a.Listener, err = net.FileListener(socket); err != nil {
		return fmt.Errorf("listening socket: %w", err)
	}
	if err := json.NewDecoder(a.Conn).Decode(&a.Boot); err != nil {
		return fmt.Errorf("receive the guest's task: %w", err)
	}
	return nil
}

// Answer tells the Start that waits how it went.
func (a *Arrival) Answer(err error) error {
	line := bootReady
	if err != nil {
		line = err.Error()
	}
	_, sendErr := io.WriteString(a.Conn, line+"\n")
	return sendErr
}

// Enter makes of the calling process what runs for good: it puts the sandbox's own files into the image's, becomes the user
// that commands run as, and gives up what the guest alone was given. The door has been opened before.
func (a *Arrival) Enter() error {
	user, err := a.resolve(os.DirFS("/"))
	if err != nil {
		return err
	}
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"files of /etc", func() error { return a.writeEtc(user) }},
		{"temporary directories", makeTemporary},
		{"home directory", func() error { return own(a.User.Home, user.uid, user.gid) }},
		{"capabilities", dropNetAdmin},
		{"user", user.become},
	} {
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return nil
}

// makeTemporary makes the directories that programs take for granted, where an image has none.
func makeTemporary() error {
	for _, dir := range []string{"/tmp", "/var/tmp"} {
		if _, err := os.Stat(dir); err == nil {
			continue
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := os.Chmod(dir, 0o777|os.ModeSticky); err != nil {
			return err
		}
	}
	return nil
}

// own gives a directory to a user; what is in it is that user's already.
func own(path string, uid, gid int) error {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return err
	}
	if int(st.Uid) == uid && int(st.Gid) == gid {
		return nil
	}
	return unix.Chown(path, uid, gid)
}

// dropNetAdmin gives up, on every thread and for all that they start, the power over the network: the door is open, and
// nothing inside may change it. It must not come back by executing something, so it leaves the bounding set first.
func dropNetAdmin() error {
	if _, _, errno := syscall.AllThreadsSyscall(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, unix.CAP_NET_ADMIN, 0); errno != 0 {
		return fmt.Errorf("bounding set: %w", errno)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return err
	}
	for _, set := range []*uint32{&sets[0].Effective, &sets[0].Permitted, &sets[0].Inheritable} {
		*set &^= 1 << unix.CAP_NET_ADMIN
	}
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&sets[0])), 0)
	if errno != 0 {
		return errno
	}
	return nil
}
