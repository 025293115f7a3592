package native

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"moat/internal/sandbox"
	"moat/internal/sandbox/walls"
)

// record is what Start leaves in Ref.Dir for whoever must find the sandbox again.
type record struct {
	Process process        `json:"process"` // PID 0: the guest, if there is one, was told nothing yet
	Groups  groups         `json:"groups"`
	Report  sandbox.Report `json:"report"`
}

// process names one process for all time: a number alone is used again.
type process struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks since the machine's start (proc_pid_stat(5), field 22)
	Boot  string `json:"boot"`  // the machine's start (/proc/sys/kernel/random/boot_id)
}

// identify returns the lasting name of the running process pid.
func identify(pid int) (process, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return process{}, err
	}
	start, err := startTime(pid)
	if err != nil {
		return process{}, err
	}
	return process{PID: pid, Start: start, Boot: string(bytes.TrimSpace(boot))}, nil
}

// walls tells what holds a guest; nothing if it has ended. Landlock cannot be looked at from outside, so what the
// kernel has is what was used.
func (p process) walls() []string {
	found := walls.Of(p.PID)
	if now, err := identify(p.PID); err != nil || now != p || len(found) == 0 {
		return nil
	}
	if abi := LandlockABI(); abi >= minLandlock {
		found = append(found, fmt.Sprintf("landlock %d", abi))
	}
	return found
}

func startTime(pid int) (uint64, error) {
	name := fmt.Sprintf("/proc/%d/stat", pid)
	b, err := os.ReadFile(name)
	if err != nil {
		return 0, err
	}
	// The second field is the program's name in brackets and may contain anything; field 22 is the 20th after it.
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(fields) < 20 {
		return 0, fmt.Errorf("%s has %d fields", name, len(fields))
	}
	return strconv.ParseUint(string(fields[19]), 10, 64)
}

// open returns a descriptor of p for signals and waiting, or fs.ErrNotExist if p has ended. A process that has ended
// and was not waited for is still found; its descriptor is readable at once.
func (p process) open() (*os.File, error) {
	if p.PID <= 0 {
		return nil, fs.ErrNotExist
	}
	fd, err := unix.PidfdOpen(p.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil, fs.ErrNotExist
	}
	if err != nil {
		return nil, fmt.Errorf("pidfd of %d: %w", p.PID, err)
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	now, err := identify(p.PID)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ESRCH), err == nil && now != p:
		f.Close()
		return nil, fs.ErrNotExist
	case err != nil:
		f.Close()
		return nil, err
	}
	return f, nil
}

// alive reports whether p still runs.
func (p process) alive() (bool, error) {
	f, err := p.open()
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLIN}}, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return false, fmt.Errorf("poll process %d: %w", p.PID, err)
		}
		return n == 0, nil
	}
}

// end kills p and waits until it, and with it everything in its PID namespace, has ended.
func (p process) end(ctx context.Context) error {
	f, err := p.open()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	err = unix.PidfdSendSignal(int(f.Fd()), unix.SIGKILL, nil, 0)
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill process %d: %w", p.PID, err)
	}
	return waitReadable(ctx, f)
}

// waitReadable blocks until f, a pidfd, can be read from or ctx ends.
func waitReadable(ctx context.Context, f *os.File) error {
	stopR, stopW, err := os.Pipe()
	if err != nil {
		return err
	}
	defer stopR.Close()
	release := context.AfterFunc(ctx, func() { stopW.Close() })
	defer func() {
		if release() {
			stopW.Close()
		}
	}()
	fds := []unix.PollFd{
		{Fd: int32(f.Fd()), Events: unix.POLLIN},
		{Fd: int32(stopR.Fd()), Events: unix.POLLIN},
	}
	for {
		_, err := unix.Poll(fds, -1)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("wait for the end of the guest: %w", err)
		case fds[0].Revents != 0:
			return nil
		default:
			return fmt.Errorf("wait for the end of the guest: %w", ctx.Err())
		}
	}
}
