package screens

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// put writes a file of the workspace.
func (h *house) put(name, text string) error {
	return os.WriteFile(filepath.Join(h.workspace, name), []byte(text), 0o644)
}

// TestPipes: a terminal inside and none outside, and the other way round.
func TestPipes(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for _, test := range []struct {
		name string
		in   string
		args []string
		code int
		out  string
	}{
		{"piped in", "one\ntwo\n", []string{"run", "-i", "--", "cat"}, 0, "one\ntwo\n"},
		{"piped in, no terminal asked for", "x\n", []string{"run", "-i", "--", "sh", "-c", "test -t 0 || echo no; cat"}, 0, "no\nx\n"},
		{"a terminal, piped in", "exit 7\n", []string{"run", "-it", "-e", "PS1=", "--", "sh"}, 7, "exit 7"},
		{"a terminal, nothing in", "", []string{"run", "-t", "--", "sh", "-c", "test -t 1 && stty size; exit 9"}, 9, "24 80"},
		{"a code", "", []string{"run", "--", "sh", "-c", "exit 3"}, 3, ""},
	} {
		r := h.piped(test.in, append([]string{"-q"}, test.args...)...)
		if r.code != test.code || !strings.Contains(r.out, test.out) {
			t.Errorf("%s: %+v, want %d and %q", test.name, r, test.code, test.out)
		}
	}
}

// TestBackground is moat run -it -d, and then everything that one may do with it.
func TestBackground(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	id := strings.TrimSpace(h.must("run", "-it", "-d", "-e", "PS1=> ", "--", "sh"))
	s := h.sit(90, 30, "attach", id[:8])
	s.sees(">")
	s.typed("stty size\r")
	s.sees("30 90")
	e := h.sit(70, 20, "exec", "-it", id, "--", "sh", "-c", "stty size; read x; exit 5")
	e.sees("20 70")
	e.typed("\r")
	e.ends(5)
	out := h.sit(80, 24, "attach", "-i=false", id)
	out.sees("30 90")
	out.typed("\x03")
	out.ends(0)
	s.typed("exit\r")
	s.ends(0)
	if text := h.must("logs", id); !strings.Contains(text, "30 90") || strings.Contains(text, "\x1b") {
		t.Errorf("the log is %q", text)
	}
}

// TestHintForShells: who starts a bare shell without a terminal is told how to get one.
func TestHintForShells(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	s := h.sit(140, 24, "run", "--", "sh")
	s.ends(0)
	if !strings.Contains(s.text(), "moat run -it -- sh") {
		t.Errorf("there is no hint:\n%s", s.text())
	}
}

// TestAttention: who waits for somebody is in the listing, and is what "moat attach" without an argument finds.
func TestAttention(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.start("bell", "sh", "-c", `sleep 0.2; printf 'choose \a'; read x; printf '\033]9;come \302\23331mhere\007'; read x; read x`)
	h.start("busy", "sleep", "1000")
	if !within(patience, func() bool { a := h.find("bell").Attention; return a != nil && *a == "bell" }) {
		t.Fatalf("no bell was heard: %+v", h.find("bell"))
	}
	if table := h.must("list"); !strings.Contains(table, "waiting: bell") {
		t.Errorf("the list is\n%s", table)
	}
	s := h.sit(80, 24, "attach")
	s.sees("choose")
	s.typed("\r")
	if !within(patience, func() bool { a := h.find("bell").Attention; return a != nil && strings.HasPrefix(*a, "come") }) {
		t.Errorf("no notification was heard: %+v", h.find("bell"))
	}
	if table := h.must("list"); strings.ContainsAny(table, "\x1b\u009b") {
		t.Errorf("the list is %q", table)
	}
	s.typed("\r")
	if !within(patience, func() bool { return h.find("bell").Attention == nil }) {
		t.Errorf("it still waits: %+v", h.find("bell"))
	}
	if h.find("bell").LastOutputAt == nil {
		t.Error("nobody knows when it printed")
	}
	s.detach()
}

// TestReplay plays a recording, here and in asciinema.
func TestReplay(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	s := h.sit(80, 24, "-q", "run", "-it", "--name", "rec", "--", "sh", "-c", `stty -echo; printf '\033[31mred\033[m ä日\r\n'; read x; printf '\033[?1049hsecond\033[2;3Hscreen'; read x; printf '\033[?1049l'; echo end; exit 4`)
	s.sees("red")
	s.typed("\r")
	s.sees("screen")
	s.resize(90, 30)
	s.typed("\r")
	s.ends(4)
	player := h.sit(90, 30, "-q", "replay", "--speed", "100", "--idle-limit", "0.1", "rec")
	player.ends(0)
	if text := player.text(); text != "red ä日\nend" {
		t.Errorf("in the end the replay shows %q", text)
	}
	for _, version := range []string{"2", "3"} {
		file := filepath.Join(h.workspace, version+".cast")
		h.must(append([]string{"replay", "--cast", file, "rec"}, map[string][]string{"3": {"--v3"}}[version]...)...)
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		checkCast(t, version, string(text))
	}
	if _, err := exec.LookPath("asciinema"); err != nil {
		t.Log("there is no asciinema to play it with")
		return
	}
	a := openSeat(t, 90, 30)
	cmd := h.prepare(t.Context())
	cmd.Path, _ = exec.LookPath("asciinema")
	cmd.Args = []string{"asciinema", "play", "-s", "50", "-i", "0.1", filepath.Join(h.workspace, "2.cast")}
	a.start(cmd)
	a.ends(0)
	if text := a.text(); text != "red ä日\nend" {
		t.Errorf("asciinema shows %q", text)
	}
}

// checkCast looks at a recording: a header, and then output, a resize and the exit.
func checkCast(t *testing.T, version, text string) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(text), "\n")
	var head map[string]any
	if err := json.Unmarshal([]byte(lines[0]), &head); err != nil || head["version"] == nil {
		t.Fatalf("the header is %q: %v", lines[0], err)
	}
	kinds := map[string]string{}
	for _, line := range lines[1:] {
		var event []any
		if err := json.Unmarshal([]byte(line), &event); err != nil || len(event) != 3 {
			t.Fatalf("an event is %q: %v", line, err)
		}
		kinds[event[1].(string)] += event[2].(string)
	}
	exit := map[string]string{"2": kinds["m"], "3": kinds["x"]}[version]
	if !strings.Contains(kinds["o"], "\x1b[31mred") || kinds["r"] != "90x30" || !strings.Contains(exit, "4") || kinds["i"] != "" {
		t.Errorf("version %s records %q", version, kinds)
	}
}
