package docker

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"moat/internal/sandbox/box"
)

// An Arrival is a guest that has learned what to do. The caller closes Conn and Listener.
type Arrival struct {
	box.Boot
	Conn     *net.UnixConn // ends with the process that called Start
	Listener net.Listener  // where supervisors come
}

// ErrUnreached is returned where no Start waits: the guest should end with ExitUnreached.
var ErrUnreached = errors.New("no socket of the engine's machine reaches here")

// Arrive connects the calling process, which must be the first one of a container, to the Start that waits for it at path.
func Arrive(path string) (*Arrival, error) {
	if os.Getpid() != 1 {
		return nil, errors.New("the guest must be the first process of its container")
	}
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Net: "unix", Name: path})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreached, err)
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
