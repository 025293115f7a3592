//go:build unix

package apple

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// How long the command may take. The system may be busy with machines that others start.
const (
	askTime    = 15 * time.Second // it answers itself, or not at all, within 10 (SystemStatus.swift)
	startTime  = 60 * time.Second
	removeTime = 60 * time.Second
)

// Bounds of what is read of the command's output, in bytes.
const (
	maxOutput = 32 << 20
	maxSaid   = 4 << 10
)

// Classes of errors. An error of no class is the command's own: what it was asked for could not be done.
var (
	errNotInstalled = errors.New("Apple's container command is not installed")
	errStopped      = errors.New("Apple's container system is not started")
	errSilent       = errors.New("Apple's container command gave no answer")
)

// A commandError says that the command ended without doing what it was asked for.
type commandError struct {
	Verb string // with its arguments left out
	Code int
	Said string // for people
}

func (e *commandError) Error() string {
	if e.Said == "" {
		return fmt.Sprintf("container %s: exit code %d", e.Verb, e.Code)
	}
	return fmt.Sprintf("container %s: %s", e.Verb, e.Said)
}

// Lookup finds an environment variable.
type Lookup func(name string) (value string, ok bool)

// A command is Apple's program. Its methods may be called concurrently.
type command struct {
	path string
	env  []string
}

// passed are the variables that the command may see: who asks, and where it was told to keep its own things. Nothing else of
// the person's environment is its business.
func passed() []string {
	return []string{"HOME", "USER", "LOGNAME", "TMPDIR", "PATH", "LANG", "LC_ALL", "CONTAINER_APP_ROOT", "CONTAINER_INSTALL_ROOT"}
}

// usualPlaces are where installers put the command, besides the PATH: Apple's, and Homebrew.
func usualPlaces() []string { return []string{"/usr/local/bin", "/opt/homebrew/bin"} }

// find returns the command of the environment. Relative places in the PATH do not count: a sandbox may have written there.
func find(env Lookup) (command, error) {
	var c command
	for _, name := range passed() {
		if v, ok := env(name); ok {
			c.env = append(c.env, name+"="+v)
		}
	}
	path, _ := env("PATH")
	for _, dir := range append(filepath.SplitList(path), usualPlaces()...) {
		if !filepath.IsAbs(dir) {
			continue
		}
		at := filepath.Join(dir, "container")
		if fi, err := os.Stat(at); err == nil && fi.Mode().IsRegular() && fi.Mode().Perm()&0o111 != 0 {
			c.path = at
			return c, nil
		}
	}
	return c, errNotInstalled
}

// A call is one question to the command.
type call struct {
	args []string
	verb string        // for errors; empty: the first of args
	time time.Duration // zero: askTime
	hold *os.File      // stays open for as long as the command runs, whatever becomes of this process; nil: nothing
}

// ask runs the command and returns what it printed. An error is of a class, a *commandError, or that of ctx.
func (c command) ask(ctx context.Context, q call) ([]byte, error) {
	out, err := c.run(ctx, q)
	var refused *commandError
	if !errors.As(err, &refused) {
		return out, err
	}
	// Why it failed is told in words only. Whether the system runs is told by a number.
	_, statusErr := c.run(ctx, call{args: []string{"system", "status"}})
	if errors.As(statusErr, &refused) {
		return nil, fmt.Errorf("%w: %w", errStopped, err)
	}
	return nil, err
}

func (c command) run(ctx context.Context, q call) ([]byte, error) {
	limit := q.time
	if limit == 0 {
		limit = askTime
	}
	bounded, cancel := context.WithTimeoutCause(ctx, limit, errSilent)
	defer cancel()
	out, said := &output{max: maxOutput}, &output{max: maxSaid, cut: true}
	cmd := exec.CommandContext(bounded, c.path, q.args...)
	c.prepare(cmd)
	cmd.Stdout, cmd.Stderr = out, said
	cmd.WaitDelay = time.Second // for what it started, which may have its output
	if q.hold != nil {
		cmd.ExtraFiles = []*os.File{q.hold}
	}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return out.buf.Bytes(), nil
	case bounded.Err() != nil && ctx.Err() == nil:
		return nil, fmt.Errorf("container %s: %w within %v", q.name(), errSilent, limit)
	case ctx.Err() != nil:
		return nil, fmt.Errorf("container %s: %w", q.name(), context.Cause(ctx))
	case errors.As(err, &exit):
		return nil, &commandError{Verb: q.name(), Code: exit.ExitCode(), Said: said.text()}
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w: %w", errNotInstalled, err)
	}
	return nil, fmt.Errorf("container %s: %w", q.name(), err)
}

func (q call) name() string {
	if q.verb != "" {
		return q.verb
	}
	return q.args[0]
}

// prepare sets what all processes of the command have: no directory of a person's, no keyboard's signals.
func (c command) prepare(cmd *exec.Cmd) {
	cmd.Dir = "/"
	cmd.Env = append([]string{}, c.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
}

// An output keeps a number of bytes. What comes after them is an error, or is left away.
type output struct {
	buf bytes.Buffer
	max int
	cut bool
}

func (o *output) Write(p []byte) (int, error) {
	if room := o.max - o.buf.Len(); len(p) > room {
		if !o.cut {
			return 0, fmt.Errorf("%w: more than %d bytes", errFormat, o.max)
		}
		_, _ = o.buf.Write(p[:max(room, 0)])
		return len(p), nil
	}
	return o.buf.Write(p)
}

// text is what was said, in one line.
func (o *output) text() string {
	return strings.TrimPrefix(strings.Join(strings.Fields(o.buf.String()), " "), "Error: ")
}
