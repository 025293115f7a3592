//go:build unix

package supervisor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"syscall"
	"time"

	"moat/internal/api"
	"moat/internal/run"
)

// Descriptors that a guard is given, and gives to its supervisors, besides the start request on standard input.
const (
	fdLock     = 3 // the run's lock, held as long as guard or supervisor lives
	fdListener = 4 // the run's socket, already listening
	fdReady    = 5 // where the outcome of the start is told, if anybody waits for it
	fdMemory   = 6 // anonymous memory for what a successor must know and no file may hold
)

// VerbGuard is the first argument with which the moat program becomes a guard; the run's id and $MOAT_HOME follow.
const VerbGuard = "guard"

// fdWatch is the end of a pipe that a guard reads: its run's first supervisor, which is not its child, holds the other end
// for as long as it lives, and writes to it when the run is over.
const fdWatch = 7

// Back-off of restarts: none at first, so that a killed supervisor is back before anybody notices.
const (
	backoffFirst = 50 * time.Millisecond
	backoffMax   = 5 * time.Second
	steadyAfter  = 10 * time.Second // a supervisor that lived as long is restarted at once again
	giveUpAfter  = 30               // supervisors that did not
)

// A Guard starts a new supervisor whenever a run's supervisor has died, until the run is over. It holds what must outlive a
// supervisor: the lock, the listening socket (so that clients queue instead of being refused), and what the start needs but no
// file may hold.
type Guard struct {
	Program  []string // how to start a supervisor
	Watch    *os.File // on which the first supervisor's end is seen: see fdWatch
	Lock     *os.File // the run's
	Listener *os.File // the run's socket
	Answer   *os.File // where the outcome of the start is told
	Memory   *os.File // anonymous memory for what a successor must know and no file may hold; nil: there is none
	Start    []byte   // Start as JSON, written to each supervisor's standard input
	Log      *os.File // each supervisor's standard error
	Logger   *slog.Logger
}

// Guard is a guard's whole life; args are what follows VerbGuard. The caller has no other goroutines and no children.
func (m Main) Guard(ctx context.Context, args []string) error {
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if len(args) != 2 {
		return fmt.Errorf("%s wants an id and a home", VerbGuard)
	}
	start, err := io.ReadAll(io.LimitReader(os.Stdin, maxRequest))
	if err != nil {
		return fmt.Errorf("read start: %w", err)
	}
	g := &Guard{
		Program: append([]string{m.Self, api.VerbSupervise}, args...),
		Watch:   os.NewFile(fdWatch, "watch"), Lock: os.NewFile(fdLock, "lock"), Listener: os.NewFile(fdListener, "socket"),
		Answer: os.NewFile(fdReady, "answer"), Memory: os.NewFile(fdMemory, "memory"),
		Start: start, Log: os.Stderr, Logger: logger,
	}
	logger.Info("guard begins", "version", m.Version, "pid", os.Getpid())
	if err := g.Run(ctx); err != nil {
		logger.Error("guard ends", "error", err)
		return err
	}
	home, err := run.Open(args[1])
	if err != nil {
		return err
	}
	// What killed commands have left does not have to wait until somebody cleans.
	if swept, err := home.Sweep(); err != nil || len(swept) > 0 {
		logger.Info("leftovers were removed", "runs", swept, "error", err)
	}
	logger.Info("guard ends: the run is over")
	return nil
}

// watched is the other end of a guard's Watch. Without a guard it is zero.
type watched struct{ pipe *os.File }

// over tells the guard that the run is over.
func (w watched) over() error {
	if w.pipe == nil {
		return nil
	}
	if _, err := w.pipe.Write([]byte{1}); err != nil && !errors.Is(err, syscall.EPIPE) { // it was killed
		return fmt.Errorf("tell the guard: %w", err)
	}
	return nil
}

// startGuard starts the guard of the run, which then watches this process.
func (m Main) startGuard(p *post) (watched, error) {
	theirs, ours, err := os.Pipe()
	if err != nil {
		return watched{}, fmt.Errorf("start a guard: %w", err)
	}
	defer theirs.Close()
	folder := p.config.Folder
	cmd := exec.Command(m.Self, VerbGuard, folder.Record().ID, p.home)
	share(cmd, p.start, p.log, []*os.File{
		fdLock - 3: folder.Lock(), fdListener - 3: p.socket, fdReady - 3: p.answer, fdMemory - 3: p.config.Memory, fdWatch - 3: theirs,
	})
	if err := cmd.Start(); err != nil {
		ours.Close()
		return watched{}, fmt.Errorf("start a guard: %w", err)
	}
	go func() {
		if err := cmd.Wait(); err != nil {
			p.config.Logger.Warn("the guard has ended", "error", err)
		}
	}()
	return watched{ours}, nil
}

// share gives one of those who keep a run what they all have.
func share(cmd *exec.Cmd, start []byte, log *os.File, files []*os.File) {
	cmd.Args[0] = "moat" // what ps shows
	cmd.Stdin = bytes.NewReader(start)
	cmd.Stderr = log
	cmd.ExtraFiles = files
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
}

// Run waits for the end of the first supervisor and starts another whenever one ends in any other way than because the run is
// over. It returns when that is so, or with ctx's error, in which case the supervisor lives on by itself.
func (g *Guard) Run(ctx context.Context) error {
	if err := becomeSubreaper(); err != nil {
		g.Logger.Warn("guard does not reap orphans", "error", err)
	}
	var restarts backoff
	for next := g.watch; ; next = g.once {
		started := time.Now()
		err := next(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		wait, ok := restarts.next(time.Since(started))
		if !ok {
			return fmt.Errorf("%d supervisors in a row ended early, the last: %w", giveUpAfter, err)
		}
		g.Logger.Warn("supervisor ended, starting another one", "error", err, "after", wait)
		if err := sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// errVanished says that the first supervisor has died.
var errVanished = errors.New("supervisor was killed, or could not go on")

// watch waits for the end of the first supervisor; nil if it has said that the run is over.
func (g *Guard) watch(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { g.Watch.Close() })()
	if n, _ := g.Watch.Read(make([]byte, 1)); n == 0 {
		return errVanished
	}
	return nil
}

// backoff decides about restarts.
type backoff struct {
	wait     time.Duration // before the last restart
	failures int           // supervisors in a row that ended early
}

// next tells how long to wait after a supervisor that lived for so long; false: start no other one.
func (b *backoff) next(lived time.Duration) (time.Duration, bool) {
	if lived > steadyAfter {
		*b = backoff{}
	}
	if b.failures++; b.failures == giveUpAfter {
		return 0, false
	}
	if b.failures > 1 {
		b.wait = min(max(2*b.wait, backoffFirst), backoffMax)
	}
	return b.wait, true
}

// once runs one supervisor to its end.
func (g *Guard) once(ctx context.Context) error {
	cmd := exec.Command(g.Program[0], g.Program[1:]...)
	share(cmd, g.Start, g.Log, []*os.File{fdLock - 3: g.Lock, fdListener - 3: g.Listener, fdReady - 3: g.Answer, fdMemory - 3: g.Memory})
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start supervisor: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- reap(cmd.Process.Pid) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// reap waits for the process pid and meanwhile for every orphan that came to this process. Nil means that pid exited with 0.
func reap(pid int) error {
	for {
		var status syscall.WaitStatus
		got, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("wait for supervisor: %w", err)
		case got != pid:
			continue
		case status.Signaled():
			return fmt.Errorf("supervisor was killed by signal %d", int(status.Signal()))
		case status.ExitStatus() != 0:
			return fmt.Errorf("supervisor exited with %d", status.ExitStatus())
		default:
			return nil
		}
	}
}
