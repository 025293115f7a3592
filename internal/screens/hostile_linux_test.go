package screens

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestSlowViewer: one that takes nothing slows neither the run nor another viewer, and is let go; when it reads again
// it comes back by itself.
func TestSlowViewer(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.start("slow", "sh", "-c", "read x; yes some text that is said again and again | head -c 50000000; echo; echo all is said; read x")
	deaf := h.sit(80, 24, "attach", "slow")
	deaf.raw()
	deaf.pause(true)
	good := h.sit(80, 24, "-q", "attach", "slow")
	good.raw()
	good.typed("\r")
	good.sees("all is said")
	if n := *h.find("slow").Clients; n != 2 {
		t.Errorf("there are %d clients", n)
	}
	if !within(2*patience, func() bool { return *h.find("slow").Clients == 1 }) {
		t.Error("the one that reads nothing was not let go")
	}
	deaf.pause(false)
	deaf.sees("all is said")
	if !bytes.Contains(deaf.all(), []byte("reconnecting")) {
		t.Error("nothing was said of the lost connection")
	}
	deaf.detach()
	good.typed("\r")
	good.ends(0)
}

// TestLeaveFlood: one leaves at once whatever is being printed.
func TestLeaveFlood(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.start("flood", "sh", "-c", "yes some text that is said again and again")
	const atOnce = 500 * time.Millisecond // it takes a tenth of a second at most where nobody else works; here somebody does
	var took []time.Duration
	for n := 0; n < rounds(t, 5) || n < 40 && slices.Min(took) > atOnce; n++ {
		s := h.sit(80, 24, "-q", "attach", "flood")
		s.await("output", func() bool { return len(s.output) > 1<<18 })
		start := time.Now()
		s.typed("\x1fd")
		<-s.done
		took = append(took, time.Since(start))
		s.ends(0)
	}
	if slices.Min(took) > atOnce {
		t.Errorf("leaving took %v", took)
	}
	t.Log(took)
}

// TestHostileOutput: what a command prints does no harm to who looks.
func TestHostileOutput(t *testing.T) {
	t.Parallel()
	for name, attack := range map[string]string{
		"clipboard":              "\x1b]52;c;bW9hdA==\x07",
		"clipboard, read":        "\x1b]52;c;?\x1b\\",
		"title and its report":   "\x1b]2;rm -rf ~\r\x07\x1b[21t",
		"icon's report":          "\x1b[20t",
		"answerback":             "\x05",
		"keys redefined":         "\x1bP0;1|17/17;15/15\x1b\\",
		"through tmux":           "\x1bPtmux;\x1b\x1b]52;c;bW9hdA==\x07\x1b\\",
		"through screen":         "\x1bP\x1b]52;c;bW9hdA==\x07\x1b\\",
		"file transfer":          "\x1b]1337;File=name=eA==;inline=0:eA==\x07",
		"window moved":           "\x1b[3;0;0t\x1b[8;5;5t\x1b[9;1t",
		"eight bits":             "\xc2\x9d52;c;bW9hdA==\xc2\x9c",
		"hidden in a long title": "\x1b]2;" + strings.Repeat("x", 100_000) + "\x1b]52;c;bW9hdA==\x07",
		"endless string":         "\x1bP" + strings.Repeat("q", 200_000),
		"many parameters":        "\x1b[" + strings.Repeat("1;", 100_000) + "m",
		"scrolled far":           "\x1b[999999999S\x1b[999999999T\x1b[999999999L\x1b[999999999@\x1b[999999999b",
		"printer":                "\x1b[5i",
		"reset":                  "\x1bc\x1b[!p\x1b[3J",
		"link to a file":         "\x1b]8;;file:///etc/passwd\x1b\\x\x1b]8;;\x1b\\",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			if err := h.put("attack", attack); err != nil {
				t.Fatal(err)
			}
			s := h.sit(80, 24, "-q", "run", "-it", "--name", "x", "--", "sh", "-c", "read x; cat attack; printf '\\033\\\\'; stty raw; printf 'after '; exec cat -v")
			s.drawn()
			s.typed("\r")
			s.sees("after")
			for _, bad := range []string{"]52;c", "\u009d", "]1337", "\x1b[21t", "\x1b[20t", "\x05", "0;1|17", "Ptmux", "\x1b[3;0;0t", "\x1b[8;5;5t", "\x1b[5i", "\x1bc", "\x1b[3J", "file://"} {
				if bytes.Contains(s.all(), []byte(bad)) {
					t.Errorf("%q reached the terminal", bad)
				}
			}
			if sent := len(s.all()); sent > 64<<10 {
				t.Errorf("%d bytes reached the terminal", sent)
			}
			s.detach()
			again := h.sit(80, 24, "-q", "attach", "x")
			again.sees("after")
			if text := again.text(); strings.Contains(text, "rm -rf") || strings.Contains(text, "^[") {
				t.Errorf("something was typed by itself:\n%s", text)
			}
			again.detach()
			if r := h.command("replay", "--speed", "1000", "x"); r.code != 0 || strings.Contains(r.out, "]52;c") || strings.Contains(r.out, "\x1b[21t") {
				t.Errorf("the replay is %s", strconv.Quote(r.out[:min(len(r.out), 400)]))
			}
		})
	}
}

// TestAllowed: what the person allows programs reaches the terminal, and nothing else does.
func TestAllowed(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.configure("terminal: {allow: [clipboard, notifications]}\n")
	s := h.sit(80, 24, "-q", "run", "-it", "--", "sh", "-c", `read x; printf '\033]52;c;bW9hdA==\a\033]52;c;?\a\033]9;done\a\033]4;1;#123456\aafter'; read x`)
	s.drawn()
	s.typed("\r")
	s.sees("after")
	for text, allowed := range map[string]bool{"]52;c;bW9hdA==": true, "]52;c;?": false, "]9;done": true, "]4;1": false} {
		if bytes.Contains(s.all(), []byte(text)) != allowed {
			t.Errorf("%q reached the terminal: %v, want %v", text, !allowed, allowed)
		}
	}
	s.typed("\r")
	s.ends(0)
}
