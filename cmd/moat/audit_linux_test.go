package main

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"moat/internal/audit"
	"moat/internal/journal/ledger"
)

// entries are the verified entries of the lab's run.
func (l *lab) entries(t *testing.T) []audit.Entry {
	t.Helper()
	file := filepath.Join(t.TempDir(), "lab.bundle")
	if out, code := l.moat("audit", "--export", file, "lab"); code != 0 {
		t.Fatalf("audit: %d, %s", code, out)
	}
	keys, err := ledger.OpenMachine(l.home()).Keys()
	fine(t, err)
	f, err := os.Open(file)
	fine(t, err)
	defer f.Close()
	var all []audit.Entry
	_, err = audit.VerifyBundle(f, keys.Own, func(e audit.Entry) { all = append(all, e) })
	fine(t, err)
	return all
}

// typist is a person at a terminal.
type typist struct {
	t    *testing.T
	tty  *os.File
	seen watched
	cmd  *exec.Cmd
	done chan struct{} // closed when the terminal is gone
}

// sit starts a moat command on a terminal of its own.
func (l *lab) sit(t *testing.T, args ...string) *typist {
	t.Helper()
	tty, theirs, err := openTerminal()
	fine(t, err)
	defer theirs.Close()
	p := &typist{t: t, tty: tty, cmd: exec.CommandContext(t.Context(), l.bin, args...), done: make(chan struct{})}
	p.cmd.Dir, p.cmd.Env = l.project, l.env
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = theirs, theirs, theirs
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	fine(t, p.cmd.Start())
	go func() {
		defer close(p.done)
		_, _ = io.Copy(&p.seen, tty) // EIO when nobody has the terminal any more (pty(7))
	}()
	t.Cleanup(func() { tty.Close() })
	return p
}

// sees waits for a text.
func (p *typist) sees(text string) {
	p.t.Helper()
	limit := time.After(patience)
	for {
		got, more := p.seen.look()
		if strings.Contains(got, text) {
			return
		}
		select {
		case <-more:
		case <-limit:
			p.t.Fatalf("%q is not in %q", text, got)
		}
	}
}

// types types a text.
func (p *typist) types(text string) {
	p.t.Helper()
	_, err := p.tty.WriteString(text)
	fine(p.t, err)
}

// leaves waits for the end of the command.
func (p *typist) leaves() {
	p.t.Helper()
	<-p.done
	if err := p.cmd.Wait(); err != nil {
		got, _ := p.seen.look()
		p.t.Errorf("%v, %q", err, got)
	}
}

// TestAuditInput types on the run's terminal, on one of a further command, and sends a file: all of it is in the record as
// digests that belong to it, and nothing of it as text anywhere.
func TestAuditInput(t *testing.T) {
	l := newLab(t, "command: [sh, -c, 'stty -echo; echo ready; while read x; do echo taken; done']\naudit: {input: true}\n")
	const password = "correct-horse-8d1f"
	p := l.sit(t, "run", "-it", "-n", "lab")
	p.sees("ready")
	p.types(password + "\r")
	p.sees("taken")
	p.types("\x1fd")
	p.leaves()

	l.killSupervisor(t)
	again := l.sit(t, "attach", "lab")
	again.sees("taken")
	again.types("y\ry\r")
	again.sees("taken\r\ntaken\r\n")
	again.types("\x1fd")
	again.leaves()

	further := l.sit(t, "exec", "-it", "lab", "--", "sh", "-c", "stty -echo; echo ready; read x")
	further.sees("ready")
	further.types(password + "!\r")
	further.leaves()

	piped := exec.Command(l.bin, "exec", "-i", "lab", "--", "wc", "-c")
	piped.Dir, piped.Env, piped.Stdin = l.project, l.env, strings.NewReader(strings.Repeat(password, 10_000))
	if out, err := piped.Output(); err != nil || strings.TrimSpace(string(out)) != "180000" {
		t.Fatalf("%v, %q", err, out)
	}

	key, err := ledger.InputKey(openRoot(t, l.runDir(t)))
	fine(t, err)
	fine(t, os.Remove(filepath.Join(l.runDir(t), ledger.InputKeyName)))
	l.killSupervisor(t)
	if out, code := l.moat("exec", "lab", "--", "true"); code != 0 {
		t.Fatalf("without its key the run cannot be supervised: %d, %s", code, out)
	}
	if out, code := l.moat("stop", "lab"); code != 0 {
		t.Fatalf("stop: %d, %s", code, out)
	}
	want := []string{password + "\r", "y\ry\r", password + "!\r", strings.Repeat(password, 10_000)}
	got := map[string]int{}
	var sources []string
	for _, e := range l.entries(t) {
		if e.Kind != "input" {
			continue
		}
		source, from, to := e.Text("source"), e.Number("from"), e.Number("to")
		if _, known := got[source]; !known {
			sources = append(sources, source)
		}
		n := len(sources) - 1
		if n >= len(want) || from != int64(got[source]) || to > int64(len(want[n])) {
			t.Fatalf("entry %d has bytes %d to %d of %s, after %d", e.Seq, from, to, source, got[source])
		}
		if ledger.InputHMAC(key, source, uint64(from), []byte(want[n][from:to])) != e.Text("hmac") {
			t.Errorf("entry %d: the digest is not that of %q", e.Seq, want[n][from:to])
		}
		if _, further := e.Get("number"); further != (n >= 2) || e.Number("uid") != int64(os.Getuid()) {
			t.Errorf("entry %d does not say whose it is", e.Seq)
		}
		got[source] = int(to)
	}
	for n, text := range want {
		if n >= len(sources) || got[sources[n]] != len(text) {
			t.Errorf("input %d: %v, want %d bytes", n, got, len(text))
		}
	}
	l.searchFor(t, password)
	out, _ := l.moat("trace", "lab")
	for _, want := range []string{" input ", "digests of input are not entered any more"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in %s", want, out)
		}
	}
}

// runDir is the folder of the lab's run.
func (l *lab) runDir(t *testing.T) string {
	t.Helper()
	id, err := os.Readlink(filepath.Join(l.home(), "names/lab"))
	fine(t, err)
	return filepath.Join(l.home(), "runs", filepath.Base(id))
}

func openRoot(t *testing.T, dir string) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(dir)
	fine(t, err)
	t.Cleanup(func() { root.Close() })
	return root
}
