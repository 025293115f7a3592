package guest_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"moat/internal/guest"
	"moat/internal/line"
)

func TestCommands(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("plain", "x", 0o644)
	write("nointerp", "#!/no/such/thing\n", 0o755)
	write("noformat", "echo hi\n", 0o755)
	write("good", "#!/bin/sh\necho good \"$PWD\" $K\n", 0o755)
	env := []string{"PATH=/nonexistent::" + dir + ":/usr/bin:/bin", "K=\xff"}

	for _, c := range []struct {
		name   string
		spawn  line.Spawn
		out    string
		errout string
		code   int
		fail   string // part of Failed's text
	}{
		{"both streams", sh(1, "echo out; echo err >&2; exit 3"), "out\n", "err\n", 3, ""},
		{"signal", sh(1, "kill -9 $$"), "", "", 137, ""},
		{"no stdin", sh(1, "cat; echo $?"), "0\n", "", 0, ""},
		{"binary", sh(1, `printf '\000\377\n'`), "\x00\xff\n", "", 0, ""},
		{"own group", sh(1, `cut -d' ' -f1,5,6 /proc/$$/stat | tr ' ' '\n' | uniq | wc -l`), "1\n", "", 0, ""},
		{"no other descriptors", line.Spawn{Args: []string{"ls", "/proc/self/fd"}}, "0\n1\n2\n3\n", "", 0, ""},
		{"no ignored or blocked signals", line.Spawn{Args: []string{"grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"}},
			"SigBlk:\t0000000000000000\n" + ignored(t), "", 0, ""},
		{"PATH and directory", line.Spawn{Args: []string{"good"}, Env: env, Dir: dir}, "good " + dir + " \xff\n", "", 0, ""},
		{"relative", line.Spawn{Args: []string{"./good"}, Env: env, Dir: dir}, "good " + dir + " \xff\n", "", 0, ""},
		{"not found", line.Spawn{Args: []string{"nonesuch"}, Env: env}, "", "", 127, "nonesuch: command not found in PATH (/non"},
		{"no such file", line.Spawn{Args: []string{"/no/such"}}, "", "", 127, "/no/such: no such file"},
		{"not executable", line.Spawn{Args: []string{"plain"}, Env: env}, "", "", 126, "permission denied"},
		{"no interpreter", line.Spawn{Args: []string{"nointerp"}, Env: env}, "", "", 126, "interpreter"},
		{"no format", line.Spawn{Args: []string{"noformat"}, Env: env}, "", "", 126, "#!"},
		{"directory", line.Spawn{Args: []string{"/etc"}}, "", "", 126, "is a directory"},
		{"too long", line.Spawn{Args: []string{"true", strings.Repeat("x", 1<<18)}}, "", "", 126, "argument list too long"},
		{"no directory", line.Spawn{Args: []string{"true"}, Dir: "/no"}, "", "", 125, "working directory /no: no such file"},
		{"long arguments", line.Spawn{Args: []string{"sh", "-c", `echo $#`, "sh", strings.Repeat("x", 120_000), strings.Repeat("y", 120_000)}}, "2\n", "", 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := serve(t, nil)
			h := r.dial()
			c.spawn.Process = line.Main
			rec := h.run(c.spawn)
			if c.fail != "" {
				if rec.fail == nil || rec.fail.Code != c.code || !strings.Contains(rec.fail.Error, c.fail) {
					t.Fatalf("%+v", rec.fail)
				}
				return
			}
			if rec.fail != nil {
				t.Fatalf("%+v", rec.fail)
			}
			if got := rec.out[line.Stdout].String(); got != c.out {
				t.Errorf("stdout %q", got)
			}
			if got := rec.out[line.Stderr].String(); got != c.errout {
				t.Errorf("stderr %q", got)
			}
			if rec.exit.Code != c.code || rec.exit.Signal != max(0, c.code-128) || rec.exit.Cut {
				t.Errorf("%+v", rec.exit)
			}
			h.send(line.Release{Process: line.Main})
			if err := r.end(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestOrderOfStreams(t *testing.T) {
	h := serve(t, nil).dial()
	// Each line waits for the one before to be read: FIFO order can only be seen if the writer pauses.
	rec := h.run(sh(1, `for i in 1 2 3 4 5; do echo $i; sleep 0.02; echo $i >&2; sleep 0.02; done`))
	if got := strings.ReplaceAll(rec.all.String(), "\n", ""); got != "1122334455" {
		t.Errorf("%q", got)
	}
}

func TestTerminal(t *testing.T) {
	for _, c := range []struct{ name, script, want string }{
		{"is one", `test -t 0 && test -t 1 && test -t 2 && tty | sed 's/[0-9]*$//'`, "/dev/pts/\r\n"},
		{"size before the first byte", "stty size", "33 111\r\n"},
		{"controlling", "echo hi >/dev/tty", "hi\r\n"},
		{"closed and opened again", "exec </dev/null >/dev/null 2>&1; sleep 0.3; echo back >/dev/tty", "back\r\n"},
		{"last words", "seq 1 20000 | tail -n 1; seq 1 20000", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := serve(t, nil).dial()
			m := sh(1, c.script)
			m.TTY, m.Rows, m.Cols = true, 33, 111
			rec := h.run(m)
			got := rec.out[line.Terminal].String()
			if c.want == "" {
				var b strings.Builder
				b.WriteString("20000\r\n")
				for i := range 20000 {
					fmt.Fprintf(&b, "%d\r\n", i+1)
				}
				c.want = b.String()
			}
			if got != c.want || rec.exit.Code != 0 {
				t.Errorf("%d bytes, %.80q, %+v, %+v", len(got), got, rec.exit, rec.fail)
			}
		})
	}
}

func TestTerminalInput(t *testing.T) {
	h := serve(t, nil).dial()
	m := sh(1, `stty -echo; echo ready; while read l; do echo "[$l]"; stty size; done; echo end`)
	m.TTY, m.Stdin = true, true
	h.send(m)
	rec := newRecord()
	h.until(1, rec, "ready")
	h.send(line.Resize{Process: 1, Rows: 0, Cols: 0}, line.Resize{Process: 1, Rows: 65535, Cols: 65535}, line.Input{Process: 1, Source: 1, Data: []byte("a\n")})
	h.until(1, rec, "[a]\r\n65535 65535\r\n")
	h.send(line.Input{Process: 1, Source: 1, Offset: 2, EOF: true, Data: []byte("unfinished")})
	h.follow(1, rec, func() bool { return rec.exit != nil })
	if s := rec.all.String(); !strings.HasSuffix(s, "65535\r\nend\r\n") || rec.exit.Code != 0 {
		t.Errorf("%q %+v", s, rec.exit)
	}
}

func TestSignals(t *testing.T) {
	h := serve(t, nil).dial()
	h.send(sh(2, `trap 'echo term; exit 5' TERM; echo ready; while :; do sleep 0.05; done`))
	rec := newRecord()
	h.until(2, rec, "ready")
	h.send(line.Signal{Process: 99, Signal: 9}, line.Signal{Process: 2, Signal: 15})
	h.follow(2, rec, func() bool { return rec.exit != nil })
	if rec.exit.Code != 5 || !strings.Contains(rec.all.String(), "term\n") {
		t.Errorf("%+v %q", rec.exit, rec.all.String())
	}
	h.send(line.Signal{Process: 2, Signal: 9}) // after its end
	if rec := h.run(sh(3, "exit 0")); rec.exit.Code != 0 {
		t.Errorf("%+v", rec.exit)
	}
}

func TestSpawnIsIdempotent(t *testing.T) {
	r := serve(t, nil)
	h := r.dial()
	file := filepath.Join(t.TempDir(), "n")
	m := sh(1, "echo x >>"+file)
	h.send(m, m, m)
	if rec := h.finish(1); rec.exit.Code != 0 {
		t.Fatal(rec.exit)
	}
	h2 := r.dial()
	h2.send(m, line.Resume{Process: 1})
	var pid int
	for pid == 0 {
		if s, ok := h2.next().(line.Spawned); ok {
			pid = s.PID
		}
	}
	if b, _ := os.ReadFile(file); string(b) != "x\n" || pid != h2.state(1).PID {
		t.Errorf("%q, pid %d, %+v", b, pid, h2.state(1))
	}
	if rec := h2.finish(1); rec.exit.Code != 0 {
		t.Error(rec.exit)
	}
}

func TestMainEndsTheOthers(t *testing.T) {
	r := serve(t, nil)
	h := r.dial()
	h.send(sh(1, "echo a; sleep 1000 & echo $!; exit 4"))
	rec := h.finish(1)
	var pid int
	if _, err := fmt.Sscanf(rec.all.String(), "a\n%d\n", &pid); err != nil || rec.exit.Code != 4 || rec.exit.Cut {
		t.Fatalf("%q %+v %v", rec.all.String(), rec.exit, err)
	}
	gone(t, pid)
	if rec := h.run(sh(5, "echo late")); rec.fail == nil || rec.fail.Code != 125 {
		t.Errorf("started after the end: %+v", rec)
	}
}

// TestEndsBeforeMain hears of a command that had ended before the run's, and not of one that was ended with it.
func TestEndsBeforeMain(t *testing.T) {
	const before, with = 2, 3
	waits := func(process uint32, file string) line.Spawn {
		return sh(process, "until [ -e "+file+" ]; do sleep 0.01; done; echo out; exit "+strconv.Itoa(int(process)))
	}
	for range 8 {
		r := serve(t, nil)
		h := r.dial()
		dir := t.TempDir()
		h.send(waits(line.Main, dir+"/main"), waits(before, dir+"/before"), sh(with, "sleep 1000"))
		pids := map[uint32]int{}
		for len(pids) < 3 {
			if s, ok := h.next().(line.Spawned); ok {
				pids[s.Process] = s.PID
			}
		}
		h.Close() // so that everything is to be told at once
		for _, p := range []struct {
			file string
			pid  int
		}{{"/before", pids[before]}, {"/main", pids[line.Main]}} {
			if err := os.WriteFile(dir+p.file, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			gone(t, p.pid)
		}
		gone(t, pids[with])
		h = r.dial()
		for h.state(line.Main).Exit == nil { // it is still about to notice
			h = r.dial()
		}
		if h.state(before).Exit == nil || h.state(with).Exit != nil {
			t.Fatalf("%+v", h.welcome)
		}
		h.send(line.Resume{Process: before}, line.Resume{Process: with}, line.Resume{Process: line.Main})
		var ended []uint32
		for len(ended) == 0 || ended[len(ended)-1] != line.Main {
			if m, ok := h.next().(line.Exit); ok {
				ended = append(ended, m.Process)
			}
		}
		if d := cmp.Diff([]uint32{before, line.Main}, ended); d != "" {
			t.Fatal(d)
		}
	}
}

func TestMainsLastWords(t *testing.T) {
	h := serve(t, nil).dial()
	// The other one speaks as soon as the guest has waited for the first.
	rec := h.run(sh(1, "(while kill -0 $$; do :; done 2>/dev/null; echo last words) & exit 0"))
	if rec.all.String() != "last words\n" {
		t.Errorf("%q", rec.all.String())
	}
}

func TestOtherCommandsMayLeaveServersBehind(t *testing.T) {
	for _, tty := range []bool{false, true} {
		h := serve(t, nil).dial()
		h.send(sh(1, "sleep 1000"))
		m := sh(2, `trap '' HUP; (while sleep 0.1; do echo alive; done) & echo $!; exit 0`)
		m.TTY = tty
		rec := h.run(m)
		var pid int
		if _, err := fmt.Sscan(rec.all.String(), &pid); err != nil || !rec.exit.Cut || rec.exit.Code != 0 {
			t.Fatalf("%q %+v", rec.all.String(), rec.exit)
		}
		h.send(line.Release{Process: 2})
		if rec := h.run(sh(3, "sleep 0.4; kill "+strconv.Itoa(pid))); !tty && rec.exit.Code != 0 {
			t.Errorf("the server did not go on: %+v %q", rec.exit, rec.all.String())
		}
		gone(t, pid)
	}
}

func TestReleaseOfARunningProcess(t *testing.T) {
	r := serve(t, nil)
	h := r.dial()
	pids := map[uint32]int{}
	start := func(m line.Spawn) {
		for h.send(m); pids[m.Process] == 0; {
			if s, ok := h.next().(line.Spawned); ok {
				pids[s.Process] = s.PID
			}
		}
	}
	start(sh(1, "sleep 1000"))
	start(sh(2, "trap 'exit 0' HUP; while :; do echo noise; sleep 0.01; done"))
	h.until(2, newRecord(), "noise") // the trap is set
	start(sh(3, "trap '' HUP; yes"))
	for { // until that trap is set too
		if o, ok := h.next().(line.Output); ok && o.Process == 3 {
			break
		}
	}
	h.send(line.Release{Process: 2}, line.Release{Process: 3})
	gone(t, pids[2])
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", pids[3])); err != nil {
		t.Error("a process that ignores SIGHUP did not go on")
	}
	h.send(line.Release{Process: 1})
	if err := r.end(); err != nil {
		t.Error(err)
	}
	for _, pid := range pids {
		gone(t, pid)
	}
}

func TestShutdown(t *testing.T) {
	r := serve(t, nil)
	h := r.dial()
	h.send(sh(1, "sleep 1000"))
	pid := h.next().(line.Spawned).PID
	h.send(line.Shutdown{})
	if err := r.end(); err != nil {
		t.Error(err)
	}
	gone(t, pid)
}

func TestNobodyStartedACommand(t *testing.T) {
	t.Run("lifeline", func(t *testing.T) {
		rd, wr := io.Pipe()
		r := serve(t, func(c *guest.Config) { c.Lifeline = rd })
		wr.Close()
		if err := r.end(); !errors.Is(err, guest.ErrNoSupervisor) {
			t.Error(err)
		}
	})
	t.Run("line", func(t *testing.T) {
		r := serve(t, nil)
		h := r.dial()
		h2 := r.dial() // takes over, which is no end
		if _, err := h.Next(); err == nil {
			t.Error("the older connection is still open")
		}
		if rec := h2.run(line.Spawn{Process: 1, Args: []string{"/no/such"}}); rec.fail == nil {
			t.Error("started")
		}
		h2.Close()
		if err := r.end(); !errors.Is(err, guest.ErrNoSupervisor) {
			t.Error(err)
		}
	})
	t.Run("started", func(t *testing.T) {
		rd, wr := io.Pipe()
		r := serve(t, func(c *guest.Config) { c.Lifeline = rd })
		h := r.dial()
		h.send(sh(1, "echo kept"))
		_ = h.next()
		h.Close()
		wr.Close()
		h = r.dial()
		h.send(line.Resume{Process: 1})
		if rec := h.finish(1); rec.all.String() != "kept\n" {
			t.Errorf("%q", rec.all.String())
		}
	})
}

func TestStrangers(t *testing.T) {
	t.Run("inside", func(t *testing.T) {
		r := serve(t, func(c *guest.Config) { c.Peer = nil }) // this process is in the same namespace
		nc, err := net.Dial("unix", r.socket)
		if err != nil {
			t.Fatal(err)
		}
		if b, _ := io.ReadAll(nc); len(b) > 0 {
			t.Errorf("the guest spoke: %q", b)
		}
	})
	t.Run("without the secret", func(t *testing.T) {
		r := serve(t, nil)
		h := r.dial()
		h.send(sh(1, "sleep 1000"))
		for range 20 {
			nc, err := net.Dial("unix", r.socket)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := line.Open(t.Context(), nc, bytes.Repeat([]byte{8}, 32)); !errors.Is(err, line.ErrProof) {
				t.Fatal(err)
			}
		}
		if rec := h.run(sh(2, "echo still here")); rec.exit.Code != 0 {
			t.Error("the line suffered")
		}
	})
}

// TestBrokenProtocol sends what no host may send: the line ends, the guest and its commands go on.
func TestBrokenProtocol(t *testing.T) {
	r := serve(t, nil)
	h := r.dial()
	h.send(line.Spawn{Process: 1, Args: []string{"sleep", "1000"}, Env: os.Environ(), Stdin: true})
	for _, m := range []line.Message{
		line.Ack{Process: 1, Offset: 1},
		line.Resume{Process: 1, Offset: 1},
		line.Input{Process: 1, Offset: line.InputWindow, Data: []byte("x")},
		line.Files{Names: []string{"x"}, Files: []*os.File{os.Stdin}},
	} {
		h.send(m)
		for {
			if _, err := h.Next(); err != nil {
				break
			}
		}
		h = r.dial()
		h.send(line.Input{Process: 1, Source: 0, Data: []byte("y")})
	}
	if h.state(1).PID == 0 {
		t.Error("the command is gone")
	}
}

func TestManyProcesses(t *testing.T) {
	h := serve(t, nil).dial()
	h.send(sh(1, "sleep 1000"))
	const n = line.MaxProcesses + 20
	for i := range n {
		h.send(line.Spawn{Process: uint32(10 + i), Args: []string{"echo", strconv.Itoa(i)}, Env: os.Environ()})
	}
	exits, fails := 0, 0
	for exits+fails < n {
		switch m := h.next().(type) {
		case line.Output:
			if string(m.Data) != fmt.Sprintln(m.Process-10) {
				t.Errorf("%d: %q", m.Process, m.Data)
			}
		case line.Exit:
			exits++
		case line.Failed:
			fails++
		}
	}
	if exits != line.MaxProcesses-1 || fails != 21 {
		t.Errorf("%d ended, %d failed", exits, fails)
	}
	for i := range 30 { // released ones make room
		h.send(line.Release{Process: uint32(10 + i)})
	}
	for i := range 30 {
		if rec := h.run(sh(uint32(1000+i), "exit 7")); rec.exit == nil || rec.exit.Code != 7 {
			t.Fatalf("%+v", rec)
		}
	}
}

func TestUnreadOutputWaits(t *testing.T) {
	r := serve(t, nil)
	h := r.dial()
	h.send(sh(1, "head -c 10000000 /dev/zero | tee /dev/stderr; echo end"))
	size := uint64(0)
	limit := patience // for the first piece, and then for one that should not come
	for {
		_ = h.nc.SetReadDeadline(time.Now().Add(limit))
		m, err := h.Next()
		if err != nil {
			break
		}
		if o, ok := m.(line.Output); ok {
			size, limit = o.Offset+uint64(len(o.Data)), time.Second
		}
	}
	if size == 0 || size > line.Window {
		t.Errorf("%d bytes came without an acknowledgement", size)
	}
	h = r.dial()
	if st := h.state(1); st.First != 0 || st.End > line.Window {
		t.Errorf("%+v", st)
	}
	h.send(line.Resume{Process: 1})
	if rec := h.finish(1); rec.all.Len() != 20000004 || rec.exit.Code != 0 {
		t.Errorf("%d bytes, %+v", rec.all.Len(), rec.exit)
	}
}

// ignored is the line of this process's status about the signals that it ignores: whoever started the tests may have
// ignored some, and only PID 1 of a sandbox sets them all right.
func ignored(t *testing.T) string {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for l := range strings.Lines(string(status)) {
		if strings.HasPrefix(l, "SigIgn:") {
			return l
		}
	}
	t.Fatalf("no SigIgn in %s", status)
	return ""
}
