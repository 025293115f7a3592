package guest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"moat/internal/line"
)

// Exit codes of commands that could not be started, as shells have them (POSIX, XCU 2.8.2) and docker.
const (
	codeMoat       = 125
	codeCannotExec = 126
	codeNotFound   = 127
)

// A startError says why a command could not be started and which exit code that is.
type startError struct {
	code int
	err  error
}

func (e *startError) Error() string { return e.err.Error() }
func (e *startError) Unwrap() error { return e.err }

// spawn starts a process and returns the answer to the host. The caller holds mu.
func (g *guest) spawn(s *session, m line.Spawn) line.Message {
	if p := g.processes[m.Process]; p != nil {
		return line.Spawned{Process: p.id, PID: p.pid}
	}
	p, err := g.start(s, m)
	if err != nil {
		code := codeMoat
		var se *startError
		if errors.As(err, &se) {
			code = se.code
		}
		text := err.Error()
		return line.Failed{Process: m.Process, Code: code, Error: text[:min(len(text), maxErrorText)]}
	}
	g.started = true
	g.processes[p.id] = p
	if p.main {
		g.env = m.Env
	}
	return line.Spawned{Process: p.id, PID: p.pid}
}

// start executes a command whose output goes to s. On error nothing is left of it. The caller holds mu.
func (g *guest) start(s *session, m line.Spawn) (*process, error) {
	if g.ended {
		return nil, errors.New("the run's command has ended")
	}
	if len(g.processes) >= line.MaxProcesses {
		return nil, fmt.Errorf("%d commands are running or were not released", len(g.processes))
	}
	if m.Env == nil || m.Inherit {
		m.Env = overlay(g.env, m.Env)
	}
	if m.Dir == "" {
		m.Dir = "/"
	}
	if err := checkDir(m.Dir); err != nil {
		return nil, err
	}
	path, err := lookPath(m.Args[0], m.Env, m.Dir)
	if err != nil {
		return nil, err
	}
	st, err := openStreams(m)
	if err != nil {
		return nil, err
	}
	lower := g.standing.raise()
	pid, err := syscall.ForkExec(path, m.Args, &syscall.ProcAttr{
		Dir: m.Dir, Env: m.Env, Files: st.child[:],
		Sys: &syscall.SysProcAttr{Setsid: true, Setctty: m.TTY, Ctty: 0},
	})
	lower()
	st.closeChild()
	if err != nil {
		st.closeOurs()
		return nil, execError(m.Args[0], path, err)
	}
	p := newProcess(g, m.Process, pid, s)
	p.run(st)
	return p, nil
}

// overlay is base with the variables of over in the place of those of the same name.
func overlay(base, over []string) []string {
	env := slices.Clone(base)
	for _, kv := range over {
		name, _, _ := strings.Cut(kv, "=")
		env = slices.DeleteFunc(env, func(other string) bool { return strings.HasPrefix(other, name+"=") })
		env = append(env, kv)
	}
	return env
}

func newProcess(g *guest, id uint32, pid int, s *session) *process {
	p := &process{g: g, id: id, pid: pid, main: id == line.Main, on: s}
	p.out.pool = &g.pool
	p.room.L = &p.mu
	p.in.more.L = &p.mu
	return p
}

// run starts to read and write the process's streams. The caller holds g.mu.
func (p *process) run(st *streams) {
	p.tty, p.slave = st.tty, st.slave
	for _, r := range st.readers {
		p.open = append(p.open, r.file)
		p.g.streams[r.file] = struct{}{}
	}
	for _, r := range st.readers {
		p.g.wait.Go(func() { p.pump(r) })
	}
	if p.in.file, p.in.terminal = st.stdin, st.tty != nil; p.in.file == nil {
		p.in.ended = true
		return
	}
	p.g.wait.Go(p.feed)
}

// Where commands are looked for if the environment does not say (environ of a login, Debian).
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

const maxErrorText = 4 << 10

func checkDir(dir string) error {
	st, err := os.Stat(dir)
	if err == nil && !st.IsDir() {
		err = syscall.ENOTDIR
	}
	if err == nil {
		err = unix.Faccessat(unix.AT_FDCWD, dir, unix.X_OK, unix.AT_EACCESS)
	}
	var pe *os.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	if err != nil {
		return fmt.Errorf("working directory %s: %w", dir, err)
	}
	return nil
}

// lookPath finds the file of a command as a shell in dir with that environment would.
func lookPath(name string, env []string, dir string) (string, error) {
	if strings.Contains(name, "/") {
		path := absolute(name, dir)
		if err := executable(path); err != nil {
			return "", execError(name, path, err)
		}
		return path, nil
	}
	list := defaultPath
	for _, kv := range env { // the first one counts, as in getenv(3)
		if v, ok := strings.CutPrefix(kv, "PATH="); ok {
			list = v
			break
		}
	}
	var found error // the first file of that name that cannot be executed
	for _, d := range strings.Split(list, ":") {
		path := absolute(filepath.Join(d, name), dir)
		err := executable(path)
		if err == nil {
			return path, nil
		}
		if found == nil && !isMissing(err) {
			found = execError(name, path, err)
		}
	}
	if found != nil {
		return "", found
	}
	return "", &startError{codeNotFound, fmt.Errorf("%s: command not found in PATH (%s)", name, list)}
}

func absolute(path, dir string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// executable reports why the file cannot be executed.
func executable(path string) error {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
	case unix.S_IFDIR:
		return unix.EISDIR
	default:
		return unix.EACCES
	}
	return unix.Faccessat(unix.AT_FDCWD, path, unix.X_OK, unix.AT_EACCESS)
}

// isMissing reports whether there is no such file, rather than one that cannot be used.
func isMissing(err error) bool { return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) }

// execError says why the command called name, in the file path, cannot be started.
func execError(name, path string, err error) error {
	switch {
	case isMissing(err) && isMissing(executable(path)):
		return &startError{codeNotFound, fmt.Errorf("%s: no such file", name)}
	case isMissing(err):
		return &startError{codeCannotExec, fmt.Errorf("%s: cannot be executed: the interpreter or loader that %s names is missing", name, path)}
	case errors.Is(err, unix.ENOEXEC):
		return &startError{codeCannotExec, fmt.Errorf("%s: cannot be executed: %s is neither a program for this machine nor a script with a #! line", name, path)}
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENOMEM):
		return fmt.Errorf("%s: cannot be started: no more processes or memory: %w", name, err)
	case errors.Is(err, unix.EISDIR):
		return &startError{codeCannotExec, fmt.Errorf("%s: cannot be executed: %s is a directory", name, path)}
	}
	return &startError{codeCannotExec, fmt.Errorf("%s: cannot be executed: %s: %w", name, path, err)}
}
