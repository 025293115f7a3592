package native

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"moat/internal/sandbox"
)

// A Runtime makes native sandboxes. The zero value is ready; it must not be copied after first use.
type Runtime struct {
	Exe string // program to start as "Exe guest"; empty: the running program

	mu       sync.Mutex // guards children
	children map[string]*child
}

var _ sandbox.Runtime = (*Runtime)(nil)

// Start implements sandbox.Runtime. Leftovers of an earlier start in spec.Dir are removed first, except the home
// directory. A failure names the step of the set-up that failed.
func (r *Runtime) Start(ctx context.Context, spec sandbox.Spec) error {
	return sandbox.Start(ctx, r, spec, sandbox.Steps{Start: r.start})
}

// Dial implements sandbox.Runtime.
func (r *Runtime) Dial(ctx context.Context, ref sandbox.Ref) (net.Conn, error) {
	conn, err := dial(ctx, ref)
	switch {
	case err == nil:
		return conn, nil
	case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("dial guest of %s: %w", ref.ID, sandbox.ErrGone)
	default:
		return nil, fmt.Errorf("dial guest of %s: %w", ref.ID, err)
	}
}

// State implements sandbox.Runtime. A guest lives if its process does, or if somebody accepts on its socket.
func (r *Runtime) State(ctx context.Context, ref sandbox.Ref) (sandbox.State, error) {
	if err := ref.Check(); err != nil {
		return sandbox.Unknown, err
	}
	rec, err := sandbox.ReadRecord[record](ref)
	if err == nil && rec.Process.PID != 0 {
		switch alive, err := rec.Process.alive(); {
		case err != nil:
			return sandbox.Unknown, fmt.Errorf("state of sandbox %s: %w", ref.ID, err)
		case alive:
			return sandbox.Running, nil
		}
		return sandbox.Gone, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, sandbox.ErrTorn) {
		return sandbox.Unknown, fmt.Errorf("state of sandbox %s: %w", ref.ID, err)
	}
	return r.answers(ctx, ref)
}

// answers tells the state of a sandbox whose guest is not written down: it was never told what to do, so at most it is about to
// exit, and its socket tells.
func (r *Runtime) answers(ctx context.Context, ref sandbox.Ref) (sandbox.State, error) {
	conn, err := r.Dial(ctx, ref)
	switch {
	case err == nil:
		conn.Close()
		return sandbox.Running, nil
	case errors.Is(err, sandbox.ErrGone):
		return sandbox.Gone, nil
	default:
		return sandbox.Unknown, err
	}
}

// Report implements sandbox.Runtime.
func (r *Runtime) Report(_ context.Context, ref sandbox.Ref) (sandbox.Report, error) {
	rec, err := sandbox.ReadRecord[record](ref)
	if errors.Is(err, fs.ErrNotExist) {
		err = sandbox.ErrGone
	}
	if err != nil {
		return sandbox.Report{}, fmt.Errorf("report on sandbox %s: %w", ref.ID, err)
	}
	rep := rec.Report
	rep.OOMKills = rec.Groups.oomKills()
	if rec.Process.PID != 0 {
		rep.Walls = rec.Process.walls()
	}
	return rep, nil
}

// Names in Ref.Dir. What the person may want to see afterwards is in homeDir alone.
const (
	socketName = "guest.sock"
	logName    = "guest.log" // standard error of the guest
	homeDir    = "home"      // the home directory inside
	rootDir    = "root"      // empty; the sandbox's root is mounted on it, in the sandbox's own mount namespace
	tmpDir     = "tmp"
	varTmpDir  = "var-tmp"
	layersDir  = "layers" // upper and work directories of overlays
)

// dial connects to the guest's socket, however long its path is.
func dial(ctx context.Context, ref sandbox.Ref) (net.Conn, error) {
	var conn net.Conn
	err := withSocketPath(ref.Dir, func(path string) (err error) {
		var d net.Dialer
		conn, err = d.DialContext(ctx, "unix", path)
		return err
	})
	return conn, err
}

// listen makes the guest's socket and returns its listening descriptor.
func listen(ref sandbox.Ref) (*os.File, error) {
	var file *os.File
	err := withSocketPath(ref.Dir, func(path string) error {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			return err
		}
		defer l.Close()
		l.SetUnlinkOnClose(false)
		if err := os.Chmod(path, 0o600); err != nil {
			return err
		}
		file, err = l.File()
		return err
	})
	return file, err
}

// withSocketPath calls f with a path of the socket in dir that fits into a sockaddr_un (108 bytes, unix(7)).
func withSocketPath(dir string, f func(path string) error) error {
	if path := filepath.Join(dir, socketName); len(path) <= 100 {
		return f(path)
	}
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(fd)
	return f(fmt.Sprintf("/proc/self/fd/%d/%s", fd, socketName))
}
