package native

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"moat/internal/sandbox"
)

// Remove implements sandbox.Runtime. It keeps the home directory, and Ref.Dir for it, if something is in it.
func (r *Runtime) Remove(ctx context.Context, ref sandbox.Ref) error {
	if err := ref.Check(); err != nil {
		return err
	}
	if err := r.end(ctx, ref); err != nil {
		return fmt.Errorf("remove sandbox %s: %w", ref.ID, err)
	}
	if err := clearDir(ref.Dir, homeDir); err != nil {
		return fmt.Errorf("remove sandbox %s: %w", ref.ID, err)
	}
	return nil
}

// end ends the processes of the sandbox and removes its cgroups.
func (r *Runtime) end(ctx context.Context, ref sandbox.Ref) error {
	r.mu.Lock()
	c := r.children[ref.Dir]
	r.mu.Unlock()
	rec, err := sandbox.ReadRecord[record](ref)
	if err != nil && c != nil { // somebody has removed the folder
		rec.Groups = c.groups
	}
	switch {
	case rec.Process.PID != 0:
		err = rec.Process.end(ctx)
	case c != nil: // it was never written down
		_ = c.process.Kill()
		err = c.wait(ctx)
	default:
		// A guest whose owner died before writing it down ends by itself, and a torn record has seen the machine end.
		err = r.awaitEnd(ctx, ref)
	}
	if err != nil {
		return err
	}
	rec.Groups.kill()
	if err := rec.Groups.remove(ctx); err != nil {
		return err
	}
	if c == nil {
		return nil
	}
	return r.disown(ctx, ref.Dir, c)
}

// awaitEnd waits until nobody has the guest's socket open.
func (r *Runtime) awaitEnd(ctx context.Context, ref sandbox.Ref) error {
	for {
		conn, err := r.Dial(ctx, ref)
		if errors.Is(err, sandbox.ErrGone) {
			return nil
		}
		if err != nil {
			return err
		}
		stop := context.AfterFunc(ctx, func() { conn.Close() })
		_, _ = io.Copy(io.Discard, conn) // nobody accepts it, so it ends with the socket
		stop()
		conn.Close()
	}
}

// wait waits for the end of a child.
func (c *child) wait(ctx context.Context) error {
	select {
	case <-c.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// disown waits for the end of a child and forgets it.
func (r *Runtime) disown(ctx context.Context, dir string, c *child) error {
	if err := c.wait(ctx); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.children[dir] != c {
		return nil // somebody else did it
	}
	delete(r.children, dir)
	return c.lifeline.Close()
}

// clearDir removes everything in dir but the entry keep, and dir itself if nothing is left. A dir that is not there is
// fine, and so is somebody else who does the same meanwhile.
func clearDir(dir, keep string) error {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	d := os.NewFile(uintptr(fd), dir)
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil && !errors.Is(err, unix.ENOENT) { // getdents(2): somebody else has just removed it
		return err
	}
	for _, name := range names {
		if name == keep {
			_ = unix.Unlinkat(fd, name, unix.AT_REMOVEDIR) // if it is empty
			continue
		}
		if err := removeAll(fd, name); err != nil {
			return err
		}
	}
	err = unix.Rmdir(dir)
	if err != nil && !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EEXIST) && !errors.Is(err, unix.ENOENT) {
		return &fs.PathError{Op: "remove", Path: dir, Err: err}
	}
	return nil
}
