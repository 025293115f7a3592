package screens

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// everyMode switches on whatever a program may, so that there is something to give back.
const everyMode = "\x1b]2;theirs\a\x1b[?1049h\x1b[?1h\x1b=\x1b[?25l\x1b[?1000;1002;1006h\x1b[?2004h\x1b[?1004h\x1b[>5u\x1b[3;9r\x1b[4h\x1b[31;1m\x1b(0\x1b[5 q"

// TestEndings: whatever ends a session, the terminal is as it was.
func TestEndings(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		end  func(h *house, s *seat)
		code int
	}{
		{"detach", func(_ *house, s *seat) { s.typed("\x1fd") }, 0},
		{"stop key", func(_ *house, s *seat) { s.typed("\x1fk") }, 143},
		{"stop key, late letter", func(_ *house, s *seat) { s.typed("\x1f"); s.typed("k") }, 143},
		{"exit", func(_ *house, s *seat) { s.typed("q") }, 0},
		{"stopped by another", func(h *house, _ *seat) { h.must("stop", "e") }, 143},
		{"SIGTERM", func(_ *house, s *seat) { s.cmd.Process.Signal(syscall.SIGTERM) }, 0},
		{"SIGHUP", func(_ *house, s *seat) { s.cmd.Process.Signal(syscall.SIGHUP) }, 0},
		{"SIGKILL", func(_ *house, s *seat) { s.minded(); s.cmd.Process.Kill() }, -1},
		{"SIGQUIT, which prints all goroutines", func(_ *house, s *seat) { s.minded(); s.cmd.Process.Signal(syscall.SIGQUIT) }, 2},
		{"SIGKILL of all", func(h *house, s *seat) { s.minded(); h.kill("supervise"); h.kill("guard"); s.cmd.Process.Kill() }, -1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			s := h.sit(80, 24, "run", "-it", "--name", "e", "--", "/workspace/actor", "send", strings.Trim(strconv.QuoteToASCII(everyMode), `"`))
			s.raw()
			s.sees("⎼") // "r" in the set of lines
			if left := leftOn(s.all()); len(left) < 9 {
				t.Fatalf("only these were switched on: %q", left)
			}
			test.end(h, s)
			s.ends(test.code)
		})
	}
}

// kill ends every process of the house with that role with SIGKILL. The role is its first argument.
func (h *house) kill(verb string) int {
	h.t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		h.t.Fatal(err)
	}
	killed := 0
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		line, _ := os.ReadFile("/proc/" + e.Name() + "/cmdline") // none of one that has ended
		args := strings.Split(string(line), "\x00")
		env, _ := os.ReadFile("/proc/" + e.Name() + "/environ")
		if len(args) > 1 && args[1] == verb && (strings.Contains(string(env), "MOAT_HOME="+h.home+"\x00") || strings.Contains(string(line), h.home)) {
			if err := unix.Kill(pid, unix.SIGKILL); err == nil {
				killed++
			}
		}
	}
	return killed
}

// TestStuckTerminal: a terminal that takes no output can be left, and its settings come back.
func TestStuckTerminal(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.start("stuck", "/workspace/actor", "flood", "100", "0")
	s := h.sit(80, 24, "-q", "attach", "stuck")
	s.raw()
	s.got("line")
	s.pause(true)
	// The terminal's buffer has some KB; the client's are full soon after.
	if !within(patience, func() bool { return h.find("stuck").LastOutputAt != nil }) {
		t.Fatal("there is no output")
	}
	start := time.Now()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.done:
	case <-time.After(patience):
		t.Fatalf("the client has not ended after SIGTERM; it is stuck")
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	if now := s.settings(); now != s.before {
		t.Errorf("the settings are %+v, were %+v", now, s.before)
	}
	s.pause(false)
	s.givenBack()
}

// TestKills ends the client, the supervisor and both with SIGKILL while somebody is attached and the run prints.
func TestKills(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.start("k", "sh", "-c", `i=0; while :; do i=$((i+1)); echo "n $i"; sleep 0.005; done`)
	s := openSeat(t, 80, 24)
	for range rounds(t, 3) {
		begin := len(s.all())
		s.start(h.prepare(t.Context(), "attach", "k"))
		s.await("numbers", func() bool { return strings.Count(string(s.output[begin:]), "n ") > 15 })
		before := len(s.all())
		if !within(patience, func() bool { return h.kill("supervise") > 0 }) {
			t.Fatal("there is no supervisor")
		}
		s.await("the client's word", func() bool { return strings.Contains(string(s.output[before:]), "reconnecting") })
		s.await("numbers again", func() bool {
			_, after, found := strings.Cut(string(s.output[before:]), "reconnecting")
			return found && strings.Count(after, "n ") > 40
		})
		s.minded()
		if err := s.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		h.kill("supervise")
		s.ends(-1)
	}
	h.must("stop", "k")
	checkCounts(t, []byte(h.must("logs", "--raw", "k")))
}

// TestTypedWhileReplaced: what is typed while there is no supervisor reaches the command once.
func TestTypedWhileReplaced(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	s := h.sit(80, 24, "-q", "run", "-it", "--name", "t", "--", "/workspace/actor", "keys")
	s.sees("ready")
	for i := range rounds(t, 3) {
		if !within(patience, func() bool { return h.kill("supervise") > 0 }) {
			t.Fatal("there is no supervisor")
		}
		text := string(rune('a'+i%10)) + "z"
		s.typed(text[:1])
		s.typed(text[1:])
		s.await("what was typed", func() bool {
			return strings.HasSuffix(strings.ReplaceAll(strings.ReplaceAll(s.screenText(), ".", ""), "\n", ""), hex(text))
		})
	}
	s.typed("q")
	s.ends(0)
}
