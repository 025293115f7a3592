//go:build unix

package supervisor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// Descriptors that a guard gives to its supervisor, besides the start request on standard input.
const (
	fdLock     = 3 // the run's lock, held as long as guard or supervisor lives
	fdListener = 4 // the run's socket, already listening
	fdReady    = 5 // where the outcome of the start is told, if anybody waits for it
	fdMemory   = 6 // anonymous memory for what a successor must know and no file may hold
)

// Back-off of restarts: none at first, so that a killed supervisor is back before anybody notices.
const (
	backoffFirst = 50 * time.Millisecond
	backoffMax   = 5 * time.Second
	steadyAfter  = 10 * time.Second // a supervisor that lived as long is restarted at once again
	giveUpAfter  = 30               // supervisors that did not
)

// A Guard restarts a run's supervisor until the run is over. It holds what must outlive a supervisor: the lock, the
// listening socket (so that clients queue instead of being refused), and what the start needs but no file may hold.
type Guard struct {
	Program  []string // how to start the supervisor
	Lock     *os.File // the run's
	Listener *os.File // the run's socket
	Answer   *os.File // where the outcome of the start is told
	Memory   *os.File // anonymous memory for what a successor must know and no file may hold; nil: there is none
	Start    []byte   // Start as JSON, written to each supervisor's standard input
	Log      *os.File // each supervisor's standard error
	Logger   *slog.Logger
}

// Run starts the supervisor and restarts it whenever it ends in any other way than by exiting with 0. It returns
// when the run is over, or with ctx's error, in which case the supervisor lives on by itself.
func (g *Guard) Run(ctx context.Context) error {
	if err := becomeSubreaper(); err != nil {
		g.Logger.Warn("guard does not reap orphans", "error", err)
	}
	var restarts backoff
	for {
		started := time.Now()
		err := g.once(ctx)
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
	cmd.Args[0] = "moat" // what ps shows
	cmd.Stdin = bytes.NewReader(g.Start)
	cmd.Stderr = g.Log
	cmd.ExtraFiles = []*os.File{fdLock - 3: g.Lock, fdListener - 3: g.Listener, fdReady - 3: g.Answer, fdMemory - 3: g.Memory}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
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
