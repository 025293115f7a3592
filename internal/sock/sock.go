// Package sock makes and reaches unix sockets in a folder, however long its path is.
//
// The address of a unix socket holds at most 107 bytes on Linux and 103 on macOS (unix(7), sys/un.h), which a
// user's $MOAT_HOME may exceed. Where the system allows it, a longer path is reached through an open descriptor of
// its folder instead, so that the socket is always where the reader of a run's folder expects it. Package sock
// also says who is on the other side of a connection, as the kernel reports it. What is spoken is left to others.
package sock

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
)

// maxPath is the longest path that is used directly; the shortest limit of the supported systems is 103.
const maxPath = 100

// ErrTooLong says that a folder's path is too long for a socket on this system.
var ErrTooLong = errors.New("path is too long for a unix socket")

// Listen makes the socket dir/name, readable and writable by its owner only, and listens on it. What is there under
// that name is replaced: the caller must own the folder's lock. Closing the listener leaves the socket's file.
func Listen(dir, name string) (*net.UnixListener, error) {
	path := filepath.Join(dir, name)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("replace socket: %w", err)
	}
	addr, done, err := address(dir, name)
	if err != nil {
		return nil, err
	}
	defer done()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: addr})
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	l.SetUnlinkOnClose(false)
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("protect socket: %w", err)
	}
	return l, nil
}

// Dial connects to the socket dir/name. The caller closes the connection.
func Dial(ctx context.Context, dir, name string) (*net.UnixConn, error) {
	addr, done, err := address(dir, name)
	if err != nil {
		return nil, err
	}
	defer done()
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", addr)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", filepath.Join(dir, name), err)
	}
	return c.(*net.UnixConn), nil
}

// address returns what to bind or connect to, and what to call afterwards.
func address(dir, name string) (string, func(), error) {
	path := filepath.Join(dir, name)
	if len(path) <= maxPath {
		return path, func() {}, nil
	}
	return viaDescriptor(dir, name)
}
