//go:build unix

package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"moat/internal/sandbox"
	"moat/internal/sandbox/box"
)

// LineEnv names an environment variable that says how supervisors reach their guests: "relay" by a relay even where a socket
// would do. It is for tests.
const LineEnv = "MOAT_DOCKER_LINE"

// byRelay reports whether guests of an engine are certainly not reached by a socket. Of others a start shows it.
func (r *Runtime) byRelay(at Endpoint) bool {
	if r.Env != nil {
		if v, ok := r.Env(LineEnv); ok && v == "relay" {
			return true
		}
	}
	return otherKernel || at.elsewhere()
}

// A relayedLaunch is one start of a sandbox whose guest is reached by relays.
type relayedLaunch struct {
	launch
	program guestProgram
	about   info
	here    string        // what the guest must find to know that the folders are those of this machine
	started chan struct{} // closed when the container runs
	conn    net.Conn      // to the guest, until it or this process ends
}

// startRelayed makes the sandbox. What it made is left to Remove if it fails.
func (r *Runtime) startRelayed(ctx context.Context, eng *engine, spec sandbox.Spec, found box.Sources) error {
	about, err := eng.info(ctx)
	if err == nil {
		err = about.usable()
	}
	if err != nil {
		return err
	}
	l := &relayedLaunch{about: about, here: rand.Text(), started: make(chan struct{})}
	l.launch = launch{eng: eng, spec: spec, rec: record{Endpoint: eng.at, Image: spec.Image.Digest, Relayed: true}, ready: l.supply, up: func() { close(l.started) }}
	if err := l.prepare(); err != nil {
		return err
	}
	exe, err := r.program(about.goArch(), spec.Dir)
	if err == nil {
		l.program, err = lookAt(exe)
	}
	if err != nil {
		return err
	}
	req := relayedRequest(spec, found, l.program.volume())
	if err := l.suit(ctx, &req); err != nil {
		return err
	}
	if err := l.run(ctx, req); err != nil {
		return l.blame(err)
	}
	r.hold(spec.Dir, l.conn)
	return nil
}

// prepare makes Ref.Dir and what belongs in it.
func (l *relayedLaunch) prepare() error {
	if err := makeFolders(l.spec.Dir); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(l.spec.Dir, bootDir, bootHere), []byte(l.here), 0o444); err != nil {
		return err
	}
	return sandbox.WriteRecord(l.spec.Ref, l.rec)
}

// run lets the engine make and start the container, and tells the guest what to do.
func (l *relayedLaunch) run(ctx context.Context, req createRequest) error {
	group, ctx := errgroup.WithContext(ctx)
	booted, done := context.WithCancel(ctx)
	defer done()
	group.Go(func() error { return l.launch.launch(ctx, booted, req) })
	group.Go(func() error {
		defer done()
		return l.boot(ctx)
	})
	if err := group.Wait(); err != nil {
		if l.conn != nil {
			_ = l.conn.Close()
		}
		return err
	}
	l.rec.Report = l.report()
	return errors.Join(sandbox.WriteRecord(l.spec.Ref, l.rec), os.Remove(filepath.Join(l.spec.Dir, bootDir, bootHere)))
}

// boot tells the guest what to do, as soon as its container runs.
func (l *relayedLaunch) boot(ctx context.Context) error {
	boot, err := box.NewBoot(ctx, l.spec)
	if err != nil {
		return err
	}
	boot.User, boot.ImageUser = box.CommandUser(l.spec, l.about.rootless())
	boot.Here = box.Here{Path: insideBoot + "/" + bootHere, Content: l.here}
	select {
	case <-l.started:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if l.conn, err = l.eng.relay(ctx, l.rec.Container); err != nil {
		return fmt.Errorf("reach the guest: %w", err)
	}
	_, err = boot.HandOver(ctx, l.conn) // the engine has filtered already
	return err
}

// relay starts what leads to a guest.
func (e *engine) relay(ctx context.Context, container string) (net.Conn, error) {
	return e.exec(ctx, container, insideProgram, "guest", "relay")
}

// blame says what is probably wrong with an engine on another kernel that cannot make a container.
func (l *relayedLaunch) blame(err error) error {
	var said *engineError
	if errors.Is(err, box.ErrNotHere) || errors.As(err, &said) && l.rec.Container == "" && !errors.Is(err, errNotFound) {
		return &notShownError{at: l.eng.at, workspace: l.spec.Workspace, cause: err}
	}
	return err
}

// A notShownError says that an engine does not show its containers the folders of this machine.
type notShownError struct {
	at        Endpoint
	workspace string
	cause     error
}

func (e *notShownError) Error() string {
	return fmt.Sprintf("the engine at %s has another kernel, and its containers do not see this machine's folders, so the workspace %s is not there: %v\n"+
		"share the folder, and moat's own, with the engine's virtual machine (Docker Desktop: Settings, Resources, File sharing), or use an engine on this machine",
		e.at.Host, e.workspace, e.cause)
}

func (e *notShownError) Unwrap() error { return e.cause }

// report says which of the limits hold, as far as the engine says so.
func (l *relayedLaunch) report() sandbox.Report {
	var rep sandbox.Report
	want := l.spec.Limits
	for _, limit := range []struct {
		hold  *sandbox.Hold
		what  string
		asked bool
		can   bool
	}{
		{&rep.Memory, "memory", want.MemoryBytes > 0, l.about.MemoryLimit},
		{&rep.CPUs, "cpu", want.CPUs > 0, l.about.CpuCfsQuota},
		{&rep.PIDs, "process", true, l.about.PidsLimit},
	} {
		switch {
		case limit.asked && limit.can:
			*limit.hold = sandbox.Held
		case limit.asked:
			rep.Warnings = append(rep.Warnings, fmt.Sprintf("the %s limit is not held, because the engine cannot set it", limit.what))
		}
	}
	if l.eng.at.open() {
		rep.Warnings = append(rep.Warnings, "everything between moat and the engine crosses the network without encryption: "+l.eng.at.Host)
	}
	return rep
}

// A guestProgram is the file that a container gets as its first process.
type guestProgram struct {
	path   string
	size   int64
	digest string // SHA-256, in hexadecimal
}

// volume is the name of an engine's volume with the program. An engine needs it once, for all runs of one moat.
func (g guestProgram) volume() string { return "moat-guest-" + g.digest[:16] }

// programTime is the time of the file in a volume. It is set when the file is complete, so it says that it is.
func programTime() time.Time { return time.Unix(1_000_000_000, 0) }

func lookAt(path string) (guestProgram, error) {
	f, err := os.Open(path)
	if err != nil {
		return guestProgram{}, fmt.Errorf("read moat's own program: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	size, err := io.Copy(h, f)
	if err != nil {
		return guestProgram{}, fmt.Errorf("read moat's own program: %w", err)
	}
	return guestProgram{path: path, size: size, digest: hex.EncodeToString(h.Sum(nil))}, nil
}

// supply puts the program into the volume, by way of a container that never runs, unless it is there. In the sandbox's own
// container the volume cannot be written to.
func (l *relayedLaunch) supply(ctx context.Context, container string) error {
	st, err := l.eng.stat(ctx, container, insideProgram)
	switch {
	case err == nil && st.Size == l.program.size && st.Mtime.Equal(programTime()):
		return nil
	case err != nil && !errors.Is(err, errNotFound):
		return err
	}
	l.rec.Supplied = true
	if err := sandbox.WriteRecord(l.spec.Ref, l.rec); err != nil {
		return err
	}
	id, err := l.eng.create(ctx, supplierName(l.spec.Ref), supplier(l.spec, l.program.volume()))
	if err != nil {
		return err
	}
	if err := l.fill(ctx, id); err != nil {
		return err
	}
	l.eng.removePrograms(ctx)
	return l.eng.remove(ctx, id)
}

// removePrograms removes volumes with other programs, which older moats have left. Those that a container has are refused.
func (e *engine) removePrograms(ctx context.Context) {
	found, err := e.volumes(ctx, labelProgram)
	if err != nil {
		return // they only take up room
	}
	for _, name := range found {
		_ = e.removeVolume(ctx, name)
	}
}

// fill copies the program.
func (l *relayedLaunch) fill(ctx context.Context, supplier string) error {
	f, err := os.Open(l.program.path)
	if err != nil {
		return err
	}
	defer f.Close()
	var head bytes.Buffer
	err = tar.NewWriter(&head).WriteHeader(&tar.Header{
		Name: filepath.Base(insideProgram), Mode: 0o755, Size: l.program.size, ModTime: programTime(), Format: tar.FormatUSTAR,
	})
	if err != nil {
		return err
	}
	const block = 512
	tail := make([]byte, (block-l.program.size%block)%block+2*block) // padding, and the archive's end
	return l.eng.put(ctx, supplier, programFolder, io.MultiReader(&head, io.LimitReader(f, l.program.size), bytes.NewReader(tail)))
}

// dialRelayed is Dial for a sandbox whose guest is reached by relays.
func (r *Runtime) dialRelayed(ctx context.Context, ref sandbox.Ref, rec record) (net.Conn, error) {
	if conn := r.take(ref.Dir); conn != nil {
		if err := box.MakeLine(conn); err == nil {
			return conn, nil
		}
		_ = conn.Close() // whatever has become of it, there is another way
	}
	eng, err := newEngine(rec.Endpoint)
	if err != nil {
		return nil, err
	}
	defer eng.close()
	conn, err := eng.relay(ctx, containerName(ref))
	if err == nil {
		return conn, nil
	}
	if errors.Is(err, errNotFound) || errors.Is(err, errConflict) { // the latter if it does not run
		if state, stateErr := r.askEngine(ctx, ref); state == sandbox.Gone {
			return nil, sandbox.ErrGone
		} else if stateErr != nil {
			return nil, stateErr
		}
	}
	return nil, err
}
