package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// jobs are the background programs and locks of one script.
type jobs struct {
	byName map[string]*job
	locks  map[string]*os.File

	registry *httptest.Server
}

type jobsKey struct{}

func jobsOf(ts *testscript.TestScript) *jobs { return ts.Value(jobsKey{}).(*jobs) }

// end ends all programs that still run and gives back all locks.
func (j *jobs) end() {
	for _, f := range j.locks {
		f.Close()
	}
	for _, job := range j.byName {
		_ = job.cmd.Process.Kill() // it may have ended by itself
		<-job.done
	}
}

// job is a program in the background.
type job struct {
	cmd            *exec.Cmd
	tty            *os.File // our side of its terminal; nil if it has none
	stdout, stderr watched
	done           chan struct{} // closed when it has ended and been read to the end
	err            error         // of its end
}

// watched is a buffer in which one can wait for text.
type watched struct {
	mu     sync.Mutex
	buf    bytes.Buffer
	change chan struct{} // closed and replaced at each write
}

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.change != nil {
		close(w.change)
		w.change = nil
	}
	return w.buf.Write(p)
}

// look returns what was written and a channel that is closed when there is more.
func (w *watched) look() (string, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.change == nil {
		w.change = make(chan struct{})
	}
	return w.buf.String(), w.change
}

// command prepares a program as the script's last words ask.
func command(ts *testscript.TestScript, args []string) *exec.Cmd {
	var stdin io.Reader
	if n := len(args); n >= 3 && args[n-2] == "<" {
		f, err := os.Open(ts.MkAbs(args[n-1]))
		ts.Check(err)
		ts.Defer(func() { f.Close() })
		stdin, args = f, args[:n-2]
	} else if n >= 3 && args[n-2] == "<<" {
		stdin, args = strings.NewReader(args[n-1]+"\n"), args[:n-2]
	}
	if len(args) == 0 {
		ts.Fatalf("which program?")
	}
	var env []string
	for _, name := range []string{"HOME", "MOAT_HOME", "PATH", "TMPDIR", "LANG", "WORK", "MOAT_STOP_WINDOW", "DOCKER_HOST", "MOAT_DOCKER_LINE", "MOAT_RUNTIME", "MOAT_APPROVE", "FOO"} {
		if v := ts.Getenv(name); v != "" {
			env = append(env, name+"="+v)
		}
	}
	program := args[0]
	if program == "moat" { // exec.Command looks in this process's PATH
		program, _, _ = strings.Cut(ts.Getenv("PATH"), ":")
		program += "/moat"
	}
	cmd := exec.Command(program, args[1:]...)
	cmd.Args[0], cmd.Dir, cmd.Env, cmd.Stdin = args[0], ts.MkAbs("."), env, stdin
	return cmd
}

// begin starts a program; on a terminal of its own, or with pipes.
func begin(ts *testscript.TestScript, cmd *exec.Cmd, onTerminal bool) *job {
	j := &job{cmd: cmd, done: make(chan struct{})}
	copied := make(chan struct{})
	if onTerminal {
		tty, theirs, err := openTerminal()
		ts.Check(err)
		defer theirs.Close()
		cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs, theirs, theirs
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
		j.tty = tty
		go func() {
			_, _ = io.Copy(&j.stdout, tty) // EIO when nobody has the terminal any more (pty(7))
			close(copied)
		}()
	} else {
		cmd.Stdout, cmd.Stderr = &j.stdout, &j.stderr
		close(copied)
	}
	ts.Check(cmd.Start())
	go func() {
		j.err = cmd.Wait()
		<-copied
		close(j.done)
	}()
	return j
}

// openTerminal makes a pseudoterminal (pty(7)).
func openTerminal() (ours, theirs *os.File, err error) {
	ours, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	raw, err := ours.SyscallConn() // Fd would make reads block, so that Close could not end them
	if err != nil {
		return nil, nil, errors.Join(err, ours.Close())
	}
	var number int
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0)
		if failed == nil {
			number, failed = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	})
	if err = errors.Join(err, failed); err == nil {
		theirs, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		return nil, nil, errors.Join(err, ours.Close())
	}
	return ours, theirs, nil
}

// await waits for the end of a program, shows the script what it printed, and returns its exit code as a shell has it.
func (j *job) await(ts *testscript.TestScript) int {
	select {
	case <-j.done:
	case <-time.After(patience):
		_ = j.cmd.Process.Signal(syscall.SIGQUIT) // so that it says where it hangs
		<-j.done
		ts.Logf("%s%s", j.stdout.buf.String(), j.stderr.buf.String())
		ts.Fatalf("%q does not end", j.cmd.Args)
	}
	_, _ = io.WriteString(ts.Stdout(), j.stdout.buf.String())
	_, _ = io.WriteString(ts.Stderr(), j.stderr.buf.String())
	var exit *exec.ExitError
	if j.err != nil && !errors.As(j.err, &exit) {
		ts.Fatalf("%q: %v", j.cmd.Args, j.err)
	}
	status := j.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

func must(ts *testscript.TestScript, neg bool, args []string, least int) {
	if neg || len(args) < least {
		ts.Fatalf("the command is not used like this; see script_linux_test.go")
	}
}

func doMoat(ts *testscript.TestScript, neg bool, args []string) {
	must(ts, neg, args, 0)
	doExit(ts, false, append([]string{"0", "moat"}, args...))
}

func doExit(ts *testscript.TestScript, neg bool, args []string) {
	must(ts, neg, args, 2)
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	if got := begin(ts, command(ts, args[1:]), false).await(ts); got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func doUntil(ts *testscript.TestScript, neg bool, args []string) {
	must(ts, neg, args, 2)
	pattern, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); ; <-tick.C {
		cmd := command(ts, append([]string{"moat"}, args[1:]...))
		out, err := cmd.Output()
		if err == nil && pattern.Match(out) {
			_, _ = ts.Stdout().Write(out)
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%q never came: %s (%v)", args[0], out, err)
		}
	}
}

func doStart(ts *testscript.TestScript, neg bool, args []string) {
	must(ts, neg, args, 2)
	jobsOf(ts).byName[args[0]] = begin(ts, command(ts, args[1:]), false)
}

func doTerminal(ts *testscript.TestScript, neg bool, args []string) {
	must(ts, neg, args, 2)
	jobsOf(ts).byName[args[0]] = begin(ts, command(ts, args[1:]), true)
}

func named(ts *testscript.TestScript, name string) *job {
	j, ok := jobsOf(ts).byName[name]
	if !ok {
		ts.Fatalf("nothing was started as %q", name)
	}
	return j
}

func doSees(ts *testscript.TestScript, neg bool, args []string) {
	must(ts, neg, args, 2)
	j := named(ts, args[0])
	pattern, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	timeout := time.After(patience)
	done := j.done
	for {
		out, moreOut := j.stdout.look()
		errs, moreErrs := j.stderr.look()
		if pattern.MatchString(out) || pattern.MatchString(errs) {
			return
		}
		select {
		case <-moreOut:
		case <-moreErrs:
		case <-done:
			done = nil // look once more
			if out2, _ := j.stdout.look(); out2 == out {
				if errs2, _ := j.stderr.look(); errs2 == errs {
					ts.Fatalf("it ended (%v) without %q:\n%s%s", j.cmd.ProcessState, args[1], out, errs)
				}
			}
		case <-timeout:
			ts.Fatalf("%q never came:\n%s%s", args[1], out, errs)
		}
	}
}

func doBegun(ts *testscript.TestScript, neg bool, args []string) {
	must(ts, neg, args, 2)
	children := fmt.Sprintf("/proc/%d/task/*/children", named(ts, args[0]).cmd.Process.Pid)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !opened(children, ts.MkAbs(args[1])); <-tick.C {
		if time.Now().After(deadline) {
			ts.Fatalf("no program that it started has %s open", args[1])
		}
	}
}

// opened reports whether one of the processes that are listed in files of /proc has a file open.
func opened(lists, file string) bool {
	names, _ := filepath.Glob(lists)
	for _, name := range names {
		pids, err := os.ReadFile(name) // a thread may be gone already
		if err != nil {
			continue
		}
		for _, pid := range strings.Fields(string(pids)) {
			fds, _ := filepath.Glob("/proc/" + pid + "/fd/*")
			for _, fd := range fds {
				if target, err := os.Readlink(fd); err == nil && target == file {
					return true
				}
			}
		}
	}
	return false
}

func doSettled(ts *testscript.TestScript, neg bool, args []string) {
	must(ts, neg, args, 0)
	if left := settle(ts.Getenv("MOAT_HOME")); len(left) > 0 {
		ts.Fatalf("these stay: %q", left)
	}
}

func doSend(ts *testscript.TestScript, neg bool, args []string) {
	must(ts, neg, args, 2)
	number := unix.SignalNum("SIG" + args[1])
	if number == 0 {
		ts.Fatalf("there is no signal %s", args[1])
	}
	ts.Check(named(ts, args[0]).cmd.Process.Signal(number))
}

func doType(ts *testscript.TestScript, neg bool, args []string) {
	must(ts, neg, args, 2)
	text, err := strconv.Unquote(`"` + args[1] + `"`)
	ts.Check(err)
	_, err = named(ts, args[0]).tty.WriteString(text)
	ts.Check(err)
}

func doHangup(ts *testscript.TestScript, neg bool, args []string) {
	must(ts, neg, args, 1)
	ts.Check(named(ts, args[0]).tty.Close())
}

func doEnds(ts *testscript.TestScript, neg bool, args []string) {
	must(ts, neg, args, 2)
	want, err := strconv.Atoi(args[1])
	ts.Check(err)
	if got := named(ts, args[0]).await(ts); got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func doHold(ts *testscript.TestScript, neg bool, args []string) {
	must(ts, neg, args, 1)
	f, err := os.OpenFile(ts.MkAbs(args[0]), os.O_RDWR|os.O_CREATE, 0o600)
	ts.Check(err)
	ts.Check(unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLKW, &unix.Flock_t{Type: unix.F_WRLCK}))
	jobsOf(ts).locks[args[0]] = f
}

func doRelease(ts *testscript.TestScript, neg bool, args []string) {
	must(ts, neg, args, 1)
	ts.Check(jobsOf(ts).locks[args[0]].Close())
	delete(jobsOf(ts).locks, args[0])
}
