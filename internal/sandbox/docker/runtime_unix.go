//go:build unix

package docker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"sync"
	"syscall"
	"time"

	"moat/internal/sandbox"
	"moat/internal/sandbox/box"
	"moat/internal/sock"
)

// How long an engine may take. Those that pull, build or start others at the same time are slow.
const (
	askTime    = 15 * time.Second
	removeTime = 60 * time.Second
	podmanTime = 10 * time.Second // for Podman to complete the making of a container
)

// A Runtime makes sandboxes with the engine that the docker command would use. The zero value is ready; it must not be copied
// after first use.
type Runtime struct {
	Env Lookup // where the engine is named; nil: the usual places
	Exe string // this program for Linux, to start as "Exe guest"; empty: the running program

	mu    sync.Mutex // guards lines
	lines map[string]net.Conn
}

var _ sandbox.Runtime = (*Runtime)(nil)

// hold keeps the connection on which a guest was started, whose end would tell the guest that this process is gone.
func (r *Runtime) hold(dir string, line net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lines == nil {
		r.lines = make(map[string]net.Conn)
	}
	r.lines[dir] = line
}

// take returns what hold keeps, once; nil if there is nothing.
func (r *Runtime) take(dir string) net.Conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	line := r.lines[dir]
	delete(r.lines, dir)
	return line
}

// letGo closes what hold keeps.
func (r *Runtime) letGo(dir string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if line := r.lines[dir]; line != nil {
		_ = line.Close()
		delete(r.lines, dir)
	}
}

// find returns the engine to start new sandboxes with.
func (r *Runtime) find(ctx context.Context) (*engine, error) {
	env := r.Env
	if env == nil {
		env = func(string) (string, bool) { return "", false }
	}
	at, err := FindEndpoint(ctx, env)
	if err != nil {
		return nil, err
	}
	return newEngine(at)
}

// Start implements sandbox.Runtime. Leftovers of an earlier start in spec.Dir are removed first, except the home directory.
func (r *Runtime) Start(ctx context.Context, spec sandbox.Spec) error {
	return sandbox.Start(ctx, r, spec, sandbox.Steps{Check: checkImage, Start: r.start})
}

// checkImage wants an image whose meaning was settled.
func checkImage(spec sandbox.Spec) error {
	switch {
	case spec.Image.Digest == "":
		return fmt.Errorf("%w: the docker runtime needs an image", sandbox.ErrSpec)
	case len(spec.Tools) > 0:
		return fmt.Errorf("%w: the docker runtime shows no tools of the host", sandbox.ErrSpec)
	}
	return nil
}

// Dial implements sandbox.Runtime.
func (r *Runtime) Dial(ctx context.Context, ref sandbox.Ref) (net.Conn, error) {
	if rec, err := sandbox.ReadRecord[record](ref); err == nil && rec.Relayed {
		conn, err := r.dialRelayed(ctx, ref, rec)
		if err != nil {
			return nil, fmt.Errorf("dial guest of %s: %w", ref.ID, err)
		}
		return conn, nil
	}
	conn, err := sock.Dial(ctx, ref.Dir, socketName)
	switch {
	case err == nil:
		return conn, nil
	case errors.Is(err, syscall.ECONNREFUSED): // nobody has the listening socket, and nobody can get it any more
		return nil, fmt.Errorf("dial guest of %s: %w", ref.ID, sandbox.ErrGone)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("dial guest of %s: %w", ref.ID, err)
	}
	switch state, stateErr := r.askEngine(ctx, ref); {
	case stateErr != nil:
		return nil, fmt.Errorf("dial guest of %s: %w", ref.ID, stateErr)
	case state == sandbox.Gone:
		return nil, fmt.Errorf("dial guest of %s: %w", ref.ID, sandbox.ErrGone)
	}
	return nil, fmt.Errorf("dial guest of %s: its container runs: %w", ref.ID, err)
}

// State implements sandbox.Runtime.
func (r *Runtime) State(ctx context.Context, ref sandbox.Ref) (sandbox.State, error) {
	if err := ref.Check(); err != nil {
		return sandbox.Unknown, err
	}
	if rec, err := sandbox.ReadRecord[record](ref); err == nil && rec.Relayed {
		return r.askEngine(ctx, ref)
	}
	conn, err := r.Dial(ctx, ref)
	switch {
	case err == nil:
		_ = conn.Close()
		return sandbox.Running, nil
	case errors.Is(err, sandbox.ErrGone):
		return sandbox.Gone, nil
	}
	return sandbox.Unknown, err
}

// askEngine is State for a sandbox without a socket.
func (r *Runtime) askEngine(ctx context.Context, ref sandbox.Ref) (sandbox.State, error) {
	eng, _, err := r.engineOf(ctx, ref)
	if errors.Is(err, fs.ErrNotExist) {
		return sandbox.Gone, nil
	}
	if err != nil {
		return sandbox.Unknown, err
	}
	defer eng.close()
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	c, err := eng.inspect(ctx, containerName(ref))
	if errors.Is(err, errNotFound) {
		return sandbox.Gone, nil
	}
	if err != nil {
		return sandbox.Unknown, err
	}
	return life(c.State.Status)
}

// engineOf returns the engine that a sandbox was made with, and its record; fs.ErrNotExist if none was asked for it.
func (r *Runtime) engineOf(ctx context.Context, ref sandbox.Ref) (*engine, record, error) {
	rec, err := sandbox.ReadRecord[record](ref)
	switch {
	case errors.Is(err, sandbox.ErrTorn): // the machine has crashed since, so it is the one of now
		eng, err := r.find(ctx)
		return eng, record{}, err
	case err != nil:
		return nil, rec, err
	}
	eng, err := newEngine(rec.Endpoint)
	return eng, rec, err
}

// Remove implements sandbox.Runtime. It keeps the home directory, and Ref.Dir for it, if something is in it.
func (r *Runtime) Remove(ctx context.Context, ref sandbox.Ref) error {
	if err := ref.Check(); err != nil {
		return err
	}
	eng, rec, err := r.engineOf(ctx, ref)
	switch {
	case err == nil:
		err = removeContainer(ctx, eng, ref, rec)
		eng.close()
	case errors.Is(err, fs.ErrNotExist):
		err = nil
	}
	if err == nil {
		r.letGo(ref.Dir)
		err = box.Clear(ref.Dir, homeDir)
	}
	if err != nil {
		return fmt.Errorf("remove sandbox %s: %w", ref.ID, err)
	}
	return nil
}

// removeContainer removes the container of a sandbox, also one that the engine is about to make.
func removeContainer(ctx context.Context, eng *engine, ref sandbox.Ref, rec record) error {
	ctx, cancel := context.WithTimeout(ctx, removeTime)
	defer cancel()
	if rec.Supplied {
		if err := removeNamed(ctx, eng, supplierName(ref), placeholder(ref, rec.Image)); err != nil {
			return err
		}
	}
	var stopgap createRequest
	if rec.Container == "" && rec.Image != "" {
		stopgap = placeholder(ref, rec.Image)
	}
	return removeNamed(ctx, eng, containerName(ref), stopgap)
}

// removeNamed removes a container. If there may be a request for it that is still on its way, stopgap is what to make in its place.
func removeNamed(ctx context.Context, eng *engine, name string, stopgap createRequest) error {
	if stopgap.Image != "" {
		if err := occupy(ctx, eng, name, stopgap); err != nil {
			return err
		}
	}
	began := time.Now()
	for {
		err := eng.remove(ctx, name)
		switch {
		case errors.Is(err, errNotFound):
			return nil
		case errors.Is(err, errConflict): // somebody else is removing it
			return awaitRemoved(ctx, eng, name)
		}
		// Podman fails with a container that ends in this moment.
		if podman, _ := eng.isPodman(ctx); err == nil || !podman || time.Since(began) > podmanTime {
			return err
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}

// awaitRemoved waits until somebody else's removal is complete.
func awaitRemoved(ctx context.Context, eng *engine, name string) error {
	for {
		_, err := eng.inspect(ctx, name)
		if errors.Is(err, errNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}

// occupy returns when the engine has a container of that name, or certainly will have none. A request to make one, whose sender was killed, may still be
// on its way: until then removing would find nothing. While the engine works on it, it refuses the name to others, and
// does not know the container yet.
func occupy(ctx context.Context, eng *engine, name string, stopgap createRequest) error {
	began := time.Now()
	for {
		_, err := eng.create(ctx, name, stopgap)
		if err == nil || errors.Is(err, errNotFound) { // there was none; without the image there never was
			return nil
		}
		if _, err := eng.inspect(ctx, name); !errors.Is(err, errNotFound) {
			return err
		}
		// Podman has no class of its own for a name that is taken, so the error may be anything else.
		if podman, _ := eng.isPodman(ctx); !errors.Is(err, errConflict) && (!podman || time.Since(began) > podmanTime) {
			return err
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}

// pause paces questions to an engine that is at work: it has no event for what it refuses or removes.
func pause(ctx context.Context) error {
	t := time.NewTimer(10 * time.Millisecond)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
