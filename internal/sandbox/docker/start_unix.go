//go:build unix

package docker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sync/errgroup"

	"moat/internal/sandbox"
	"moat/internal/sandbox/box"
	"moat/internal/sock"
)

// A launch is one start of a sandbox.
type launch struct {
	eng   *engine
	spec  sandbox.Spec
	rec   record
	door  *net.UnixListener // where the guest comes to
	guest *os.File          // the guest's listening socket
	log   *os.File
	pid   int           // the guest's, on this machine
	line  *net.UnixConn // to the guest, until it or this process ends

	ready func(ctx context.Context, container string) error // called before the container is started; nil: nothing is to be done
	up    func()                                            // called when it was
}

// start makes the sandbox. What it made is left to Remove if it fails.
func (r *Runtime) start(ctx context.Context, spec sandbox.Spec) error {
	found, err := box.Look(spec)
	if err != nil {
		return err
	}
	eng, err := r.find(ctx)
	if err != nil {
		return err
	}
	defer eng.close()
	if r.byRelay(eng.at) {
		return r.startRelayed(ctx, eng, spec, found)
	}
	err = r.startReached(ctx, eng, spec, found)
	if !errors.Is(err, errOtherKernel) {
		return err
	}
	if err := r.Remove(ctx, spec.Ref); err != nil {
		return err
	}
	return r.startRelayed(ctx, eng, spec, found)
}

// startReached makes a sandbox whose guest has a socket on this machine; errOtherKernel if that turns out to be impossible.
func (r *Runtime) startReached(ctx context.Context, eng *engine, spec sandbox.Spec, found box.Sources) error {
	l := &launch{eng: eng, spec: spec, rec: record{Endpoint: eng.at, Image: spec.Image.Digest}}
	defer l.close()
	if err := l.prepare(); err != nil {
		return err
	}
	exe, err := r.program(runtime.GOARCH, spec.Dir) // the engine is on this machine
	if err != nil {
		return err
	}
	req := request(spec, found, exe)
	if err := l.suit(ctx, &req); err != nil {
		return err
	}
	if err := l.run(ctx, req); err != nil {
		return err
	}
	r.hold(spec.Dir, l.line)
	return nil
}

// suit changes a request to what the engine understands.
func (l *launch) suit(ctx context.Context, req *createRequest) error {
	podman, err := l.eng.isPodman(ctx)
	if err == nil && podman {
		err = req.forPodman(l.spec.Dir)
	}
	return err
}

// program is the file that the container gets as its first process.
func (r *Runtime) program(arch, dir string) (string, error) {
	if r.Exe != "" {
		return filepath.Abs(r.Exe)
	}
	return box.Program(arch, dir)
}

// makeFolders makes Ref.Dir and the folders in it.
func makeFolders(dir string) error {
	for _, d := range []struct {
		path string
		mode os.FileMode
	}{{dir, 0o700}, {filepath.Join(dir, homeDir), 0o700}, {filepath.Join(dir, bootDir), 0o755}} {
		if err := os.Mkdir(d.path, d.mode); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return os.Chmod(filepath.Join(dir, bootDir), 0o755) // whatever the umask is
}

// prepare makes Ref.Dir and what belongs in it.
func (l *launch) prepare() error {
	dir := l.spec.Dir
	if err := makeFolders(dir); err != nil {
		return err
	}
	// Nobody else can reach it outside, and inside root is not always who owns it here.
	var err error
	if l.door, err = sock.Listen(filepath.Join(dir, bootDir), bootSocket); err != nil {
		return err
	}
	if err := os.Chmod(filepath.Join(dir, bootDir, bootSocket), 0o666); err != nil {
		return err
	}
	listener, err := sock.Listen(dir, socketName)
	if err != nil {
		return err
	}
	defer listener.Close()
	if l.guest, err = listener.File(); err != nil {
		return err
	}
	l.log, err = os.OpenFile(filepath.Join(dir, logName), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	return sandbox.WriteRecord(l.spec.Ref, l.rec)
}

func (l *launch) close() {
	if l.door != nil {
		_ = l.door.Close()
	}
	for _, f := range []*os.File{l.guest, l.log} {
		if f != nil {
			_ = f.Close()
		}
	}
}

// run lets the engine make and start the container while the guest is waited for.
func (l *launch) run(ctx context.Context, req createRequest) error {
	group, ctx := errgroup.WithContext(ctx)
	booted, done := context.WithCancel(ctx)
	defer done()
	about := make(chan info, 1)
	group.Go(func() error {
		what, err := l.eng.info(ctx)
		if err == nil {
			err = what.usable()
		}
		if err == nil {
			err = what.sameKernel()
		}
		about <- what
		return err
	})
	group.Go(func() error { return l.launch(ctx, booted, req) })
	group.Go(func() error {
		defer done()
		return l.receive(ctx, about)
	})
	if err := group.Wait(); err != nil {
		if l.line != nil {
			_ = l.line.Close()
		}
		return l.explain(err)
	}
	l.rec.PID = l.pid
	l.rec.Report = l.report()
	return sandbox.WriteRecord(l.spec.Ref, l.rec)
}

// launch makes and starts the container, and then looks whether it ends before booted does.
func (l *launch) launch(ctx, booted context.Context, req createRequest) error {
	id, err := l.eng.create(ctx, containerName(l.spec.Ref), req)
	if err != nil {
		return fmt.Errorf("make a container of image %s: %w", cmp.Or(l.spec.Image.Ref, l.spec.Image.Digest), err)
	}
	l.rec.Container = id
	if err := sandbox.WriteRecord(l.spec.Ref, l.rec); err != nil {
		return err
	}
	if l.ready != nil {
		if err := l.ready(ctx, id); err != nil {
			return fmt.Errorf("prepare the container: %w", err)
		}
	}
	if err := l.eng.start(ctx, id); err != nil {
		return fmt.Errorf("start the container: %w", err)
	}
	if l.up != nil {
		l.up()
	}
	if err := l.eng.wait(booted, id); err != nil {
		if booted.Err() != nil {
			return nil
		}
		return fmt.Errorf("wait for the guest: %w", err)
	}
	if booted.Err() != nil {
		return nil
	}
	c, err := l.eng.inspect(ctx, id)
	if err != nil {
		return fmt.Errorf("the guest ended before it was ready: %w", err)
	}
	if c.State.ExitCode == ExitUnreached {
		return fmt.Errorf("%w: no socket reaches into its containers", errOtherKernel)
	}
	return fmt.Errorf("the guest ended before it was ready, with exit code %d %s", c.State.ExitCode, c.State.Error)
}

// receive waits for the guest and tells it what to do. The connection stays open for as long as this process lives, or the
// guest does.
func (l *launch) receive(ctx context.Context, about <-chan info) error {
	conn, err := acceptBoot(ctx, l.door)
	if err != nil {
		return fmt.Errorf("wait for the guest: %w", err)
	}
	// The guest is the only one that ever comes.
	if err := errors.Join(l.door.Close(), os.Remove(filepath.Join(l.spec.Dir, bootDir, bootSocket))); err != nil {
		return err
	}
	l.line = conn
	if l.pid, err = peerPID(conn); err != nil {
		return err
	}
	boot, err := box.NewBoot(ctx, l.spec)
	if err != nil {
		return err
	}
	select {
	case what := <-about:
		boot.User, boot.ImageUser = box.CommandUser(l.spec, what.rootless())
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return handOver(ctx, boot, conn, l.guest, l.log)
}

// explain adds the end of the guest's log to err.
func (l *launch) explain(err error) error {
	b, readErr := os.ReadFile(filepath.Join(l.spec.Dir, logName))
	if readErr != nil || len(b) == 0 {
		return err
	}
	return fmt.Errorf("%w (the guest printed: %q)", err, b[max(0, len(b)-1000):])
}
