package bench

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// runLimit bounds one sample of anything.
const runLimit = 3 * time.Minute

// sample is one execution of a program.
type sample struct {
	wall  time.Duration // from before fork until it was waited for
	first time.Duration // until the first byte of its output; 0 if there was none
	cpu   time.Duration // user and system, of it and of what it left behind: see settle
	out   int64         // bytes of output
}

// series are samples of one program.
type series []sample

// of picks one figure of each sample, sorted.
func (s series) of(pick func(sample) time.Duration) []time.Duration {
	all := make([]time.Duration, len(s))
	for i, one := range s {
		all[i] = pick(one)
	}
	slices.Sort(all)
	return all
}

func wall(s sample) time.Duration  { return s.wall }
func first(s sample) time.Duration { return s.first }
func cpu(s sample) time.Duration   { return s.cpu }

// median of a sorted list, the lower one of two.
func median[T cmp.Ordered](sorted []T) T { return sorted[(len(sorted)-1)/2] }

// program is something to execute again and again.
type program struct {
	args []string
	env  []string      // nil: this process's
	dir  string        // "": this process's
	out  func() []byte // nil, or the buffer for reading output: with it output is read through a pipe
}

// execute runs the program once and waits until nothing of it is left.
func (p program) execute(t testing.TB) sample {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), runLimit)
	defer cancel()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, p.args[0], p.args[1:]...)
	cmd.Env, cmd.Dir, cmd.Stderr = p.env, p.dir, &stderr
	start := time.Now()
	var s sample
	err := p.read(cmd, func(n int) {
		if s.out == 0 {
			s.first = time.Since(start)
		}
		s.out += int64(n)
	})
	s.wall = time.Since(start)
	if err != nil {
		t.Fatalf("%q: %v\n%s", p.args, err, stderr.Bytes())
	}
	s.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime() + settle(t)
	return s
}

// read runs cmd and calls got for each piece of its output, if that is wanted.
func (p program) read(cmd *exec.Cmd, got func(n int)) error {
	if p.out == nil {
		return cmd.Run()
	}
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	for buf := p.out(); ; {
		n, err := pipe.Read(buf)
		if n > 0 {
			got(n)
		}
		if err != nil {
			return errors.Join(eofIsFine(err), cmd.Wait())
		}
	}
}

func eofIsFine(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// buffer is as large as the largest pipe that a program makes by itself.
func buffer() []byte { return make([]byte, 64<<10) }

// interleave takes n samples of each program in turn, after one of each that does not count.
func interleave(t testing.TB, n int, programs ...program) []series {
	t.Helper()
	all := make([]series, len(programs))
	for round := range n + 1 {
		for i, p := range programs {
			if s := p.execute(t); round > 0 {
				all[i] = append(all[i], s)
			}
		}
	}
	return all
}

// becomeParent makes this process the parent of what a program leaves running when it exits, so that settle can wait
// for it.
func becomeParent() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become a subreaper: %w", err)
	}
	return nil
}

// settle waits for supervisors and guards, the only processes that a moat client leaves behind, and returns the CPU time that
// they and all below them used.
func settle(t testing.TB) time.Duration {
	t.Helper()
	var used time.Duration
	for found := true; found; { // a guard becomes this process's child when its supervisor has ended
		found = false
		for _, p := range processes(t) {
			if p.parent != os.Getpid() || len(p.args) > 0 && !p.is("guard") && !p.is("supervise") {
				continue // dockerd
			}
			var usage syscall.Rusage
			if _, err := syscall.Wait4(p.pid, nil, 0, &usage); err != nil {
				t.Fatalf("wait for %d: %v", p.pid, err)
			}
			used += time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
			found = true
		}
	}
	return used
}
