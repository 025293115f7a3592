package soak

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Bounds of waits. They are generous, because the machine may be busy; whoever waits as long has found a bug.
const (
	patience  = 2 * time.Minute       // for a moat command
	tidyUp    = 60 * time.Second      // for the end of what a run has left
	lookAgain = 10 * time.Millisecond // between two looks at what sends no message: /proc, mounts, other processes' files
)

// world is one $MOAT_HOME with its own link to the moat program, so that its processes can be told from all others.
type world struct {
	t         *testing.T
	moat      string // the link
	home      string
	workspace string
	env       []string // besides the test's
}

// newWorld makes a world. When the test ends nothing may be left of it.
func newWorld(t *testing.T) *world {
	t.Helper()
	return worldOf(t, programs.path(moatName), "home")
}

// worldOf makes a world for another program, and with a home elsewhere below the world's folder.
func worldOf(t *testing.T, program, home string) *world {
	t.Helper()
	dir, err := os.MkdirTemp(programs.dir, "w") //nolint:usetesting // links to programs stay on their file system
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, moat: filepath.Join(dir, moatName), home: filepath.Join(dir, home), workspace: filepath.Join(dir, "ws")}
	err = errors.Join(os.Link(program, w.moat), os.Mkdir(w.workspace, 0o755),
		os.Link(programs.path(talkerName), filepath.Join(w.workspace, talkerName)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.leave()
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove the world: %v", err)
		}
	})
	return w
}

// leave removes what is there with moat's own commands, and by force what they have left, which is an error.
func (w *world) leave() {
	for _, r := range w.list() {
		w.command("destroy", "-f", r.ID).wait()
	}
	w.command("clean", "-f").wait()
	if w.t.Failed() {
		w.logs()
	}
	if !w.within(tidyUp, func() bool { return len(w.procs()) == 0 }) {
		w.t.Errorf("processes were left behind: %v", w.procs())
	}
	for _, p := range w.procs() {
		p.kill(w.t)
	}
	if left := w.leftInHome(); len(left) > 0 {
		w.t.Errorf("after destroy and clean these are left in the home: %q", left)
	}
}

// leftInHome are the files of runs.
func (w *world) leftInHome() []string {
	var left []string
	for _, pattern := range []string{"runs/*", "names/[^.]*"} {
		found, _ := filepath.Glob(filepath.Join(w.home, pattern))
		left = append(left, found...)
	}
	return left
}

// logs prints what supervisors and guests have written for developers.
func (w *world) logs() {
	for _, pattern := range []string{"runs/*/supervisor.log", "runs/*/sandbox/guest.log", "runs/*/run.json"} {
		files, _ := filepath.Glob(filepath.Join(w.home, pattern))
		for _, name := range files {
			data, _ := os.ReadFile(name)
			w.t.Logf("%s:\n%s", name, data)
		}
	}
}

// fatalf ends the test and shows what the supervisors have to say.
func (w *world) fatalf(format string, args ...any) {
	w.t.Helper()
	w.logs()
	w.t.Fatalf(format, args...)
}

func (w *world) mark() string { return "SOAK_WORLD=" + w.moat }

// within looks until ok is true; false if it is not after d.
func (w *world) within(d time.Duration, ok func() bool) bool {
	end := time.NewTimer(d)
	defer end.Stop()
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	for {
		if ok() {
			return true
		}
		select {
		case <-tick.C:
		case <-end.C:
			return ok()
		}
	}
}

// must is within, or the end of the test.
func (w *world) must(what string, ok func() bool) {
	w.t.Helper()
	if !w.within(patience, ok) {
		w.fatalf("%s: not within %v; processes: %v", what, patience, w.procs())
	}
}

// command is one moat command.
type command struct {
	w        *world
	cmd      *exec.Cmd
	out, err buffer
	done     chan struct{} // closed when it has ended
}

// buffer is an unbounded one that may be read while it is written.
type buffer struct {
	mu   sync.Mutex
	data bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data.Write(p)
}

// Bytes is a copy.
func (b *buffer) Bytes() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Clone(b.data.Bytes())
}

func (b *buffer) String() string { return string(b.Bytes()) }

// command prepares a moat command; nothing is on its standard input.
func (w *world) command(args ...string) *command {
	c := &command{w: w, cmd: exec.Command(w.moat, args...), done: make(chan struct{})}
	c.cmd.Dir = w.workspace
	c.cmd.Env = append(os.Environ(), "MOAT_HOME="+w.home, "MOAT_STOP_WINDOW=200ms")
	c.cmd.Env = append(c.cmd.Env, w.env...)
	c.cmd.Stdout, c.cmd.Stderr = &c.out, &c.err
	return c
}

// run is the command "moat run" with the world's mark on what it runs.
func (w *world) run(args ...string) *command {
	return w.command(append([]string{"-q", "run", "-e", w.mark(), "-e", "SOAK_BEGAN"}, args...)...)
}

// start starts the command.
func (c *command) start() *command {
	c.w.t.Helper()
	if err := c.cmd.Start(); err != nil {
		c.w.t.Fatalf("start %q: %v", c.cmd.Args, err)
	}
	go func() {
		defer close(c.done)
		_ = c.cmd.Wait() // the exit code is asked for in code
	}()
	return c
}

// wait waits for the end, which must come; it starts the command if nobody has.
func (c *command) wait() *command {
	c.w.t.Helper()
	if c.cmd.Process == nil {
		c.start()
	}
	if !c.endsWithin(patience) {
		stacks(c)
		c.w.fatalf("%q has not ended within %v\nstdout: %.2000s\nstderr: %.8000s", c.cmd.Args, patience, c.out.String(), c.err.String())
	}
	return c
}

// stacks makes the command print what its goroutines do, and end.
func stacks(c *command) {
	_ = c.cmd.Process.Signal(syscall.SIGQUIT)
	if !c.endsWithin(20 * time.Second) {
		_ = c.cmd.Process.Kill()
	}
}

func (c *command) endsWithin(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-c.done:
		return true
	case <-timer.C:
		return false
	}
}

func (c *command) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// code is the exit code; -1 if a signal ended it.
func (c *command) code() int { return c.cmd.ProcessState.ExitCode() }

// want waits for the end and checks the exit code.
func (c *command) want(code int) *command {
	c.w.t.Helper()
	c.wait()
	if c.code() != code {
		c.w.t.Errorf("%q ended with %d, want %d\nstdout: %.2000s\nstderr: %.8000s", c.cmd.Args, c.code(), code, c.out.String(), c.err.String())
	}
	return c
}

// listed is a line of moat list --json.
type listed struct {
	ID       string  `json:"id"`
	Name     string  `json:"name"`
	State    string  `json:"state"`
	ExitCode *int    `json:"exit_code"`
	Reason   *string `json:"reason"`
	Clients  *int    `json:"clients"`
}

func (l listed) String() string {
	code, reason := "none", ""
	if l.ExitCode != nil {
		code = fmt.Sprint(*l.ExitCode)
	}
	if l.Reason != nil {
		reason = *l.Reason
	}
	return fmt.Sprintf("%s (%s) is %s, code %s, %s", l.ID, l.Name, l.State, code, reason)
}

func (l listed) live() bool {
	return strings.Contains("created starting running stopping", l.State)
}

// list is moat list -a.
func (w *world) list() []listed {
	w.t.Helper()
	c := w.command("list", "-a", "--json").want(0)
	var all []listed
	if err := json.Unmarshal(c.out.Bytes(), &all); err != nil {
		w.t.Fatalf("list: %v in %.500q, stderr %s", err, c.out.String(), c.err.String())
	}
	return all
}

// find is the run with that name or id, if there is one.
func (w *world) find(ref string) (listed, bool) {
	w.t.Helper()
	for _, l := range w.list() {
		if l.ID == ref || l.Name == ref {
			return l, true
		}
	}
	return listed{}, false
}

// state reads the record as it is on disk, and nothing else.
func (w *world) state(id string) string {
	var rec struct{ State string }
	data, err := os.ReadFile(filepath.Join(w.home, "runs", id, "run.json"))
	if err != nil || json.Unmarshal(data, &rec) != nil {
		return ""
	}
	return rec.State
}
