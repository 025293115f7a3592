package screens

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
)

// TestRun is what most people see first: a prompt, their size, their exit code.
func TestRun(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	s := h.sit(91, 33, "run", "-it", "-e", "PS1=> ", "--", "sh")
	s.sees(">")
	s.typed("stty size; exit 7\r")
	s.sees("33 91")
	s.ends(7)
}

// TestFirstSize checks that the size is right before the command draws, also for one that asks at once.
func TestFirstSize(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	s := h.sit(132, 50, "run", "-it", "--", "/workspace/actor", "size")
	s.sees("size 132x50;")
	s.resize(70, 20)
	s.sees("winch 70x20;")
	s.typed("x\r")
	s.ends(0)
	if strings.Contains(s.everything(), "winch 132x50") {
		t.Error("there was a SIGWINCH before the size changed")
	}
}

// TestDetach leaves and comes back from another terminal of another size.
func TestDetach(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	first := h.sit(80, 24, "run", "-it", "--name", "d", "-e", "PS1=> ", "--", "sh")
	first.sees(">")
	first.typed("echo one$((1+1))three\r")
	first.sees("one2three")
	first.detach()
	if got := first.text(); strings.Contains(got, "one2three\n>") {
		t.Errorf("the run's screen is still there:\n%s", got)
	}
	second := h.sit(100, 30, "attach", "d")
	second.sees("one2three")
	second.typed("stty size\r")
	second.sees("30 100")
	if n := strings.Count(second.text(), "echo one"); n != 1 {
		t.Errorf("the command line is there %d times:\n%s", n, second.text())
	}
	second.typed("exit 3\r")
	second.ends(3)
	if r := h.command("attach", "d"); r.code == 0 || !strings.Contains(r.err, "exited") {
		t.Errorf("attach to a run that ended: %+v", r)
	}
}

// TestTwoClients: the size follows who typed last, and who only watches changes nothing.
func TestTwoClients(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	a := h.sit(80, 24, "run", "-it", "--name", "two", "-e", "PS1=> ", "--", "sh")
	a.sees(">")
	b := h.sit(100, 40, "attach", "two")
	b.sees(">")
	b.typed("stty size\r")
	b.sees("40 100")
	a.sees("40 100")
	a.typed("\r")
	a.typed("echo; stty size\r")
	b.sees("24 80")
	c := h.sit(60, 10, "attach", "--read-only", "two")
	c.sees("24 80")
	before := a.text()
	c.typed("echo intruder\r")
	c.resize(50, 9)
	if r := h.command("replay", "--cast", "-", "two"); strings.Contains(r.out, "60x10") || strings.Contains(r.out, "50x9") {
		t.Errorf("a watcher changed the size: %s", r.out)
	}
	c.cmd.Process.Signal(syscall.SIGTERM)
	c.ends(0)
	a.typed("clear; stty size; echo mark\r")
	b.sees("24 80\nmark\n>")
	a.sees("24 80\nmark\n>")
	if strings.Contains(a.everything(), "intruder") {
		t.Errorf("a watcher could type; before\n%s\nafter\n%s", before, a.text())
	}
	before = a.text()
	for range 3 {
		d := h.sit(80, 24, "attach", "two")
		d.sees("mark")
		d.detach()
	}
	if got := a.text(); got != before {
		t.Errorf("clients that came and went left a trace: before\n%s\nafter\n%s", before, got)
	}
}

// TestSmallest: whoever wants it so has runs that are as small as the smallest terminal that shows them.
func TestSmallest(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.configure("terminal: {size: smallest}\n")
	a := h.sit(80, 40, "run", "-it", "--name", "small", "-e", "PS1=> ", "--", "sh")
	a.sees(">")
	b := h.sit(100, 24, "attach", "small")
	b.sees(">")
	b.typed("stty size\r")
	b.sees("24 80")
	b.detach()
	a.typed("until stty size | grep '40 80'; do read -t 1 x; done; echo grown\r")
	a.sees("grown\n>")
}

// TestRounds leaves and comes back again and again while the run prints.
func TestRounds(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.start("load", "sh", "-c", `i=0; while :; do i=$((i+1)); echo "n $i"; sleep 0.002; done`)
	n := rounds(t, 12)
	sizes := [][2]int{{80, 24}, {100, 30}, {61, 17}}
	for i := range n {
		size := sizes[i%len(sizes)]
		s := h.sit(size[0], size[1], "-q", "attach", "load")
		s.raw()
		s.await("a full screen", func() bool { return strings.Count(s.screenText(), "n ") >= size[1]-2 })
		s.detach()
		checkCounts(t, s.all())
		if t.Failed() {
			t.Fatalf("in round %d", i)
		}
	}
	if !within(patience, func() bool { return *h.find("load").Clients == 0 }) || h.find("load").State != "running" {
		t.Errorf("after all it is %+v", h.find("load"))
	}
}

// checkCounts checks that in the lines "n 1", "n 2" … none is missing, doubled or out of order. The emulator need not
// know them: each is printed once, in the repaint or live.
func checkCounts(t *testing.T, output []byte) {
	t.Helper()
	last := 0
	for _, field := range strings.FieldsFunc(string(output), func(r rune) bool { return r == '\r' || r == '\n' || r == '\x1b' }) {
		var n int
		if i := strings.Index(field, "n "); i < 0 {
			continue
		} else if _, err := fmt.Sscanf(field[i:], "n %d", &n); err != nil {
			continue
		}
		if last != 0 && n != last+1 {
			t.Errorf("after %d came %d", last, n)
			return
		}
		last = n
	}
	if last == 0 {
		t.Error("nothing was counted")
	}
}
