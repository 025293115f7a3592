//go:build unix

package docker

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"moat/internal/sandbox/box"
)

// acceptBoot waits for the guest.
func acceptBoot(ctx context.Context, l *net.UnixListener) (*net.UnixConn, error) {
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	c, err := l.AcceptUnix()
	if ctx.Err() != nil {
		if err == nil {
			_ = c.Close()
		}
		return nil, context.Cause(ctx)
	}
	return c, err
}

// handOver tells the guest what to do and waits until it has done it. A guest that says something else is reported with that.
func handOver(ctx context.Context, b box.Boot, c *net.UnixConn, files ...*os.File) error {
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	err := sendBoot(b, c, files)
	// An error of sending means that the guest is gone; what it said before tells more.
	line, readErr := bufio.NewReader(io.LimitReader(c, 4<<10)).ReadString('\n')
	switch line = strings.TrimSpace(line); {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case line == bootReady:
		return nil
	case line != "":
		return errors.New(line)
	case err != nil:
		return fmt.Errorf("send the guest its task: %w", err)
	default:
		return fmt.Errorf("the guest ended before it was ready: %w", readErr)
	}
}

func sendBoot(b box.Boot, c *net.UnixConn, files []*os.File) error {
	fds := make([]int, len(files))
	for i, f := range files {
		raw, err := f.SyscallConn()
		if err != nil {
			return err
		}
		if err := raw.Control(func(fd uintptr) { fds[i] = int(fd) }); err != nil { // the caller keeps it open
			return err
		}
	}
	if _, _, err := c.WriteMsgUnix([]byte{0}, syscall.UnixRights(fds...), nil); err != nil {
		return err
	}
	return json.NewEncoder(c).Encode(b)
}
