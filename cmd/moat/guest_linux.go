package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"moat/internal/frame"
	"moat/internal/guest"
	"moat/internal/line"
	"moat/internal/sandbox"
	"moat/internal/sandbox/box"
	"moat/internal/sandbox/cgroup"
	"moat/internal/sandbox/docker"
	"moat/internal/sandbox/native"
	"moat/internal/sandbox/walls"
)

// Descriptors that a runtime gives to a guest.
const (
	bootFD   = 3   // pipe: one frame that says what to do; it ends when the runtime's process dies
	listenFD = 4   // listening unix socket
	statusFD = 5   // pipe: "ok\n" when the guest can be dialled, otherwise what went wrong
	doorFD   = 100 // and on: the sockets of the door, where the Go runtime has nothing of its own
)

// What a guest in a container may be told to do. Anything else is where it learns that.
const (
	guestAwait  = "await"  // by who reaches it with a relay
	guestRelay  = "relay"  // this is the relay
	guestReport = "report" // this only tells what is to be seen here
)

// runGuest is the first process of a sandbox, or a relay to it. It returns the exit code. In a container args say what it is;
// where moat itself has made the sandbox, descriptors tell.
func runGuest(ctx context.Context, args []string) int {
	var err error
	switch {
	case len(args) != 1:
		err = serveNative(ctx)
	case args[0] == guestAwait:
		err = serveRelayed(ctx)
	case args[0] == guestRelay:
		err = relay(ctx)
	case args[0] == guestReport:
		err = json.NewEncoder(os.Stdout).Encode(box.Found{
			OOMKills: cgroup.OOMKills("/sys/fs/cgroup") + cgroup.OOMKills("/sys/fs/cgroup/memory"), Walls: walls.Of(1),
		})
	default:
		err = serveContainer(ctx, args[0])
	}
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, "moat guest:", err)
	if errors.Is(err, docker.ErrUnreached) {
		return docker.ExitUnreached
	}
	return 1
}

// relay leads from standard input and output to the guest.
func relay(ctx context.Context) error {
	if err := guest.Protect(); err != nil {
		return err
	}
	return guest.Relay(ctx, os.Stdin, os.Stdout)
}

// serveRelayed is the guest in a container into which no socket reaches.
func serveRelayed(ctx context.Context) error {
	if err := guest.Protect(); err != nil {
		return err
	}
	l, err := guest.ListenForRelays()
	if err != nil {
		return err
	}
	conn, err := l.Accept() // nobody else is here yet
	if err != nil {
		return err
	}
	boot, err := box.Learn(conn)
	if err != nil {
		return err
	}
	cfg := guest.Config{Listener: l, Secret: boot.Secret, Relayed: true, First: conn, Init: true}
	err = boot.Here.Check()
	if err == nil {
		err = openAll(&cfg, boot)
	}
	warning := ""
	if err == nil && boot.Filter {
		warning, err = filter()
	}
	if err = errors.Join(err, box.Answer(conn, warning, err)); err != nil {
		return err
	}
	return guest.Serve(ctx, cfg)
}

// filter puts the system call filter in force, and returns a warning where the kernel has none.
func filter() (warning string, err error) {
	err = native.FilterProcess()
	if errors.Is(err, native.ErrNoFilter) {
		return "there is no system call filter: the kernel of the sandbox has none", nil
	}
	if err != nil {
		return "", fmt.Errorf("system call filter: %w", err)
	}
	return "", nil
}

// openAll opens the door, if there is to be one, and makes of this process what runs for good.
func openAll(cfg *guest.Config, boot box.Boot) (err error) {
	if boot.Network {
		if cfg.Door, err = guest.OpenDoor(); err != nil {
			return fmt.Errorf("%w: %w", box.ErrDoor, err)
		}
	}
	if err := boot.Enter(); err != nil {
		return err
	}
	return addAgent(cfg, boot.SSHAgent)
}

// serveContainer is the guest in a container that an engine has made.
func serveContainer(ctx context.Context, path string) error {
	if err := guest.Protect(); err != nil {
		return err
	}
	a, err := docker.Arrive(path)
	if err != nil {
		return fmt.Errorf("learn what to do: %w", err)
	}
	cfg := guest.Config{Listener: a.Listener, Secret: a.Secret, Lifeline: a.Conn, Init: true}
	err = openAll(&cfg, a.Boot)
	if err = errors.Join(err, a.Answer(err)); err != nil {
		return err
	}
	return guest.Serve(ctx, cfg)
}

// addAgent opens the socket of the ssh agent, if it is wanted, as the user that commands run as.
func addAgent(cfg *guest.Config, wanted bool) error {
	if !wanted || len(cfg.Door) == 0 {
		return nil
	}
	agent, err := guest.OpenAgent(sandbox.AgentSocket)
	if err == nil {
		cfg.Door = append(cfg.Door, agent)
	}
	return err
}

// serveNative is the guest in a sandbox that moat itself makes.
func serveNative(ctx context.Context) error {
	status := os.NewFile(statusFD, "status pipe")
	cfg, err := enter()
	if err == nil {
		_, err = io.WriteString(status, "ok\n")
	} else {
		_, _ = fmt.Fprintln(status, err)
	}
	_ = status.Close()
	if err != nil {
		return err
	}
	return guest.Serve(ctx, cfg)
}

// enter makes this process the first one of the sandbox that its runtime asks for.
func enter() (guest.Config, error) {
	if err := guest.Protect(); err != nil {
		return guest.Config{}, err
	}
	if err := syscall.SetNonblock(bootFD, true); err != nil { // so that closing it ends a read
		return guest.Config{}, fmt.Errorf("boot pipe: %w", err)
	}
	lifeline := os.NewFile(bootFD, "boot pipe")
	boot, err := readBoot(lifeline)
	if err != nil {
		return guest.Config{}, err
	}
	if boot.Spec.Network {
		boot.Door = openDoor
	}
	if err := boot.Enter(); err != nil {
		return guest.Config{}, err
	}
	socket := os.NewFile(listenFD, "socket")
	listener, err := net.FileListener(socket)
	_ = socket.Close()
	if err != nil {
		return guest.Config{}, fmt.Errorf("listening socket: %w", err)
	}
	cfg := guest.Config{Listener: listener, Secret: boot.Spec.Secret, Lifeline: lifeline, Init: true}
	for i, fd := range boot.Kept {
		cfg.Door = append(cfg.Door, os.NewFile(uintptr(fd), line.DoorNames()[i]))
	}
	err = addAgent(&cfg, boot.Spec.SSHAgent)
	return cfg, err
}

// openDoor opens the door while the wall is built, and puts its sockets where the second image finds them.
func openDoor() ([]int, error) {
	files, err := guest.OpenDoor()
	if err != nil {
		return nil, err
	}
	var kept []int
	for i, f := range files {
		fd := doorFD + i
		if err := unix.Dup3(int(f.Fd()), fd, 0); err != nil {
			return nil, err
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
		kept = append(kept, fd)
	}
	return kept, nil
}

func readBoot(r io.Reader) (*native.Boot, error) {
	_, payload, err := frame.NewReader(r).Next()
	if err != nil {
		return nil, fmt.Errorf("boot record: %w", err)
	}
	var b native.Boot
	if err := json.Unmarshal(payload, &b); err != nil {
		return nil, fmt.Errorf("boot record: %w", err)
	}
	return &b, nil
}
