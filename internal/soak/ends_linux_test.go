package soak

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// times is how often something is tried: short, or long for a soak.
func times(short, long int) int {
	if os.Getenv("MOAT_SOAK") != "" {
		return long
	}
	return short
}

// talker starts a run of a talker with a name; see talk.
func (w *world) talker(name string, args ...string) *command {
	return w.run(append([]string{"-n", name, "--", "/workspace/" + talkerName}, args...)...)
}

// detached starts a run of a talker and returns its id when it has said something.
func (w *world) detached(args ...string) string {
	w.t.Helper()
	c := w.run(append([]string{"-d", "--", "/workspace/" + talkerName}, args...)...).want(0)
	id := strings.TrimSpace(c.out.String())
	w.must("output of "+id, func() bool {
		info, err := os.Stat(filepath.Join(w.home, "runs", id, "output.log"))
		return err == nil && info.Size() > 0
	})
	return id
}

// held is what makes a talker go on until release, however long that takes.
func held(n int, name string) []string {
	return []string{"held", fmt.Sprint(n), "5ms", "/workspace/go-" + name}
}

func (w *world) release(name string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.workspace, "go-"+name), nil, 0o644); err != nil {
		w.t.Fatal(err)
	}
}

// exited checks that a run ends by itself, says n lines on each of the streams, and leaves nothing.
func (w *world) exited(id string, n int, streams ...string) {
	w.t.Helper()
	w.command("wait", id).want(exitTalked)
	run, _ := w.find(id)
	if run.State != "exited" || run.ExitCode == nil || *run.ExitCode != exitTalked {
		w.t.Errorf("%v", run)
	}
	for _, stream := range streams {
		letter := map[string]byte{"stdout": 'o', "stderr": 'e'}[stream]
		if got := lines(w.t, "record of "+stream, letter, w.record(id, stream), false); got != n {
			w.t.Errorf("%d lines on %s, want %d", got, stream, n)
		}
	}
	w.nothingLeft(id)
}

// TestFastCommands runs commands that have ended before anybody can attach to them.
func TestFastCommands(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for range times(8, 100) {
		id := strings.TrimSpace(w.run("-d", "--", "sh", "-c", "echo out; echo err >&2; exit 9").want(0).out.String())
		w.command("wait", id).want(9)
		out, err := w.record(id, "stdout"), w.record(id, "stderr")
		if string(out) != "out\n" || string(err) != "err\n" {
			t.Errorf("record: %q, %q", out, err)
		}
		c := w.run("--", "sh", "-c", "echo out; echo err >&2; exit 9").want(9)
		if c.out.String() != "out\n" || c.err.String() != "err\n" {
			t.Errorf("shown: %q, %q", c.out.String(), c.err.String())
		}
	}
}

// TestManyAtOnce starts fifty runs at the same time.
func TestManyAtOnce(t *testing.T) {
	w := newWorld(t)
	var all []*command
	for i := range 50 {
		all = append(all, w.talker(fmt.Sprintf("many-%d", i), "steady", "20", "10ms").start())
	}
	for _, c := range all {
		c.want(exitTalked)
		if n := lines(t, "shown", 'o', c.out.Bytes(), false); n != 20 {
			t.Errorf("%d lines were shown, want 20", n)
		}
	}
	for _, run := range w.list() {
		w.exited(run.ID, 20, "stdout", "stderr")
	}
}

// TestAttachInEveryState asks for a run in the states that can be held still.
func TestAttachInEveryState(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ended := w.detached("steady", "3", "1ms")
	w.exited(ended, 3, "stdout")
	failed := w.run("--", "/does/not/exist").wait()
	if failed.code() != 127 {
		t.Errorf("a command that is not there ended with %d: %s", failed.code(), failed.err.String())
	}
	deaf := w.detached("deaf", "100000", "5ms")
	attached := w.command("attach", deaf).start()
	w.must("output", func() bool { return len(attached.out.Bytes()) > 0 })
	stop := w.command("stop", "--time", "1h", deaf).start()
	w.must("stopping", func() bool { return w.state(deaf) == "stopping" })
	refused := map[string]string{deaf: "stopping", ended: "exited with code 7"}
	for _, run := range w.list() {
		if run.State == "failed" {
			refused[run.ID] = "failed"
		}
	}
	if len(refused) != 3 {
		t.Errorf("there should be a failed run: %v", w.list())
	}
	for id, state := range refused {
		c := w.command("attach", id).want(1)
		if text := c.err.String(); !strings.Contains(text, state) || !strings.Contains(text, "moat logs") {
			t.Errorf("attach to a run that is %q says %q", state, text)
		}
	}
	w.command("stop", "--time", "0", deaf).want(0)
	stop.want(0)
	attached.want(137)
}

// TestStopSurvives kills the supervisor in a stop's grace: the grace ends when it would have ended.
func TestStopSurvives(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.detached("deaf", "100000", "5ms")
	began := time.Now()
	stop := w.command("stop", "--time", "1500ms", id).start()
	w.must("stopping", func() bool { return w.state(id) == "stopping" })
	w.killRoles(roleGuard, roleSupervisor)
	stop.want(0)
	if took := time.Since(began); took < 1500*time.Millisecond {
		t.Errorf("the stop took %v, want at least 1.5 s", took)
	}
	if run, _ := w.find(id); run.State != "stopped" || run.ExitCode == nil || *run.ExitCode != 137 {
		t.Errorf("%v", run)
	}
	w.nothingLeft(id)
}

// TestStopFrozen stops a run whose supervisor was killed while its guest is frozen, so that no successor reaches that.
func TestStopFrozen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.detached("deaf", "100000", "5ms")
	for _, p := range w.procs() {
		if p.role == roleGuest {
			if err := syscall.Kill(p.pid, syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.killRoles(roleSupervisor)
	w.command("stop", "--time", "0", id).want(0)
	if run, _ := w.find(id); run.State != "stopped" || run.ExitCode == nil || *run.ExitCode != 137 {
		t.Errorf("%v", run)
	}
	w.nothingLeft(id)
}

// TestLeftBehind runs commands that leave processes behind.
func TestLeftBehind(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.run("-n", "behind", "--", "sh", "-c", "sleep 1000 & echo early; (echo late) &").want(0)
	if c.out.String() != "early\nlate\n" {
		t.Errorf("shown: %q", c.out.String())
	}
	run, _ := w.find("behind")
	w.nothingLeft(run.ID)
}

// TestExecIsHungUp kills the supervisor under an exec'ed command: nobody reads it any more, and it must not stay.
func TestExecIsHungUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.detached("steady", "100000", "5ms")
	exec := w.command("exec", "-e", "SOAK_BEGAN=", id, "--", "sh", "-c", "echo here; exec sleep 1000").start()
	w.must("output of exec", func() bool { return len(exec.out.Bytes()) > 0 })
	w.killRoles(roleSupervisor)
	exec.want(125)
	w.must("the end of the exec'ed command", func() bool {
		for _, p := range w.procs() {
			if len(p.args) > 0 && p.args[0] == "sleep" {
				return false
			}
		}
		return true
	})
	w.command("stop", "--time", "0", id).want(0)
	w.nothingLeft(id)
}

// TestStartedOnce kills the supervisor as soon as the command has begun, when most often that is not on record yet.
func TestStartedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range times(5, 50) {
		name := fmt.Sprintf("once-%d", i)
		began := filepath.Join(w.workspace, name)
		c := w.talker(name, "steady", "20", "5ms")
		c.cmd.Env = append(c.cmd.Env, "SOAK_BEGAN=/workspace/"+name)
		c.start()
		for end := time.Now().Add(patience); time.Now().Before(end); {
			if _, err := os.Stat(began); err == nil {
				break
			}
		}
		w.killRoles(roleSupervisor)
		c.want(exitTalked)
		data, _ := os.ReadFile(began)
		if n := bytes.Count(data, []byte("\n")); n != 1 {
			t.Errorf("the command was started %d times", n)
		}
		run, _ := w.find(name)
		w.exited(run.ID, 20, "stdout", "stderr")
	}
}

// TestTwoDestroys removes a run twice at the same time.
func TestTwoDestroys(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for range times(5, 50) {
		id := w.detached("steady", "1", "1ms")
		cs := []*command{w.command("destroy", "-f", id).start(), w.command("destroy", "-f", id).start()}
		done := 0
		for _, c := range cs {
			c.wait()
			switch {
			case c.code() == 0 && c.out.String() == id+"\n":
				done++
			case c.code() != 1:
				t.Errorf("destroy ended with %d: %q, %q", c.code(), c.out.String(), c.err.String())
			}
		}
		if done != 1 {
			t.Errorf("%d of two say that they removed the run: %q, %q", done, cs[0].err.String(), cs[1].err.String())
		}
		if left := w.leftInHome(); len(left) > 0 {
			t.Errorf("left: %q", left)
		}
	}
}

// TestLongHome has a $MOAT_HOME with a path of over 200 characters, which no socket's address can hold.
func TestLongHome(t *testing.T) {
	t.Parallel()
	w := worldOf(t, programs.path(moatName), strings.Repeat("long/", 40)+"home")
	id := w.detached(held(100, "it")...)
	w.killRoles(roleSupervisor)
	if c := w.command("exec", id, "--", "echo", "inside").want(0); c.out.String() != "inside\n" {
		t.Errorf("exec printed %q", c.out.String())
	}
	w.release("it")
	w.exited(id, 100, "stdout", "stderr")
}

// TestStopWhileStarting stops runs as early as they can be named.
func TestStopWhileStarting(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range times(4, 50) {
		name := fmt.Sprintf("early-%d", i)
		c := w.talker(name, "steady", "100000", "5ms").start()
		w.must("a run to stop", func() bool { return w.command("stop", "--time", "0", name).wait().code() == 0 })
		if c.wait(); c.code() == 0 || c.code() == exitTalked {
			t.Errorf("the client of a stopped run ended with %d: %s", c.code(), c.err.String())
		}
		run, _ := w.find(name)
		if run.State != "stopped" {
			t.Errorf("%v", run)
		}
		w.nothingLeft(run.ID)
	}
}

// TestManyOrphans kills those who look after many runs; one command takes all of them over.
func TestManyOrphans(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var ids []string
	for range times(6, 50) {
		ids = append(ids, w.detached(held(400, "all")...))
	}
	if n := w.killRoles(roleGuard, roleSupervisor); n < len(ids) {
		t.Errorf("%d processes were killed for %d runs", n, len(ids))
	}
	if n := len(w.list()); n != len(ids) {
		t.Errorf("%d runs are listed, want %d", n, len(ids))
	}
	w.release("all")
	for _, id := range ids {
		w.exited(id, 400, "stdout", "stderr")
	}
}

// TestLeftovers has folders of runs that were being made or removed by somebody who was killed: the next run takes them
// away when it ends.
func TestLeftovers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.exited(w.detached("steady", "1", "1ms"), 1, "stdout")
	for _, dir := range []string{".new-run-0123456789ab", ".trash-run-ba9876543210"} {
		if err := os.MkdirAll(filepath.Join(w.home, "runs", dir, "sandbox"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("run-0123456789ab", filepath.Join(w.home, "names", "nobody")); err != nil {
		t.Fatal(err)
	}
	id := w.detached("steady", "1", "1ms")
	w.exited(id, 1, "stdout")
	for _, r := range w.list() {
		w.command("destroy", r.ID).want(0)
	}
	if left := w.leftInHome(); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// TestManyAdopters lets several commands meet an orphan at the same time.
func TestManyAdopters(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range times(2, 30) {
		name := fmt.Sprint(i)
		id := w.detached(held(150, name)...)
		w.killRoles(roleGuard, roleSupervisor)
		list := w.command("list", "-a", "--json").start()
		wait := w.command("wait", id).start()
		follow := w.command("-q", "logs", "-f", "--stream", "stdout", id).start()
		attach := w.command("-q", "attach", id).start()
		exec := w.command("exec", id, "--", "echo", "inside").start()
		list.want(0)
		exec.want(0)
		w.must("what is followed", func() bool { return len(follow.out.Bytes()) > 0 && len(attach.out.Bytes()) > 0 })
		w.release(name)
		wait.want(exitTalked)
		follow.want(0)
		attach.want(exitTalked)
		if exec.out.String() != "inside\n" {
			t.Errorf("exec printed %q", exec.out.String())
		}
		for _, c := range []*command{follow, attach} {
			if n := lines(t, "shown", 'o', c.out.Bytes(), false); n != 150 {
				t.Errorf("%q has shown %d lines, want 150", c.cmd.Args, n)
			}
		}
		w.exited(id, 150, "stdout", "stderr")
	}
}

// TestHomeRemoved removes the home under a run: when the command ends, nobody waits for it to come back.
func TestHomeRemoved(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.detached("steady", "100", "5ms")
	if err := os.RemoveAll(w.home); err != nil {
		t.Fatal(err)
	}
	w.must("the end of everybody", func() bool { return len(w.procs()) == 0 })
	w.nothingLeft(id)
}
