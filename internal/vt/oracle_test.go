package vt

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// step is output, or a new size where data is nil.
type step struct {
	data       []byte
	cols, rows int
}

// oracle is another terminal's idea of the same bytes.
type oracle interface {
	run(cols, rows int, steps ...step) (seen, error)
	name() string
}

const oracleSocket = "MOAT_VT_ORACLE_SOCKET"

// TestMain is also the program inside tmux's pane.
func TestMain(m *testing.M) {
	if path := os.Getenv(oracleSocket); path != "" {
		if err := paneProgram(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// openOracles starts both oracles or skips the test.
func openOracles(t *testing.T) (tmux, xterm oracle) {
	t.Helper()
	if _, err := exec.LookPath("tmux"); err != nil {
		t.Skip("needs tmux")
	}
	if _, err := os.Stat("testdata/oracle/node_modules/@xterm/headless"); err != nil {
		t.Skip("needs xterm.js: make -C internal/vt/testdata/oracle node_modules")
	}
	return startTmux(t), startXterm(t)
}

type xtermOracle struct {
	in  io.Writer
	out *bufio.Reader
}

func startXterm(t *testing.T) *xtermOracle {
	t.Helper()
	cmd := exec.Command("node", "xterm.js")
	cmd.Dir = "testdata/oracle"
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	return &xtermOracle{in, bufio.NewReaderSize(out, 1<<20)}
}

func (x *xtermOracle) name() string { return "xterm.js" }

func (x *xtermOracle) run(cols, rows int, steps ...step) (seen, error) {
	list := []any{}
	for _, s := range steps {
		if s.data == nil {
			list = append(list, []int{s.cols, s.rows})
		} else {
			list = append(list, base64.StdEncoding.EncodeToString(s.data))
		}
	}
	req, err := json.Marshal(map[string]any{"cols": cols, "rows": rows, "steps": list})
	if err != nil {
		return seen{}, err
	}
	if _, err := x.in.Write(append(req, '\n')); err != nil {
		return seen{}, err
	}
	line, err := x.out.ReadBytes('\n')
	if err != nil {
		return seen{}, err
	}
	var s seen
	return s, json.Unmarshal(line, &s)
}

// paneProgram writes to its terminal what comes from the socket, and answers
// when tmux has taken it all: when it has answered a status request. The ST
// before it ends a string that tmux, unlike others, is still in after CAN.
func paneProgram(path string) error {
	raw := exec.Command("stty", "raw", "-echo")
	raw.Stdin = os.Stdin
	if err := raw.Run(); err != nil {
		return err
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		return err
	}
	defer conn.Close()
	var size [4]byte
	in := bufio.NewReader(os.Stdin)
	for {
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			return nil
		}
		data := make([]byte, binary.BigEndian.Uint32(size[:]))
		if _, err := io.ReadFull(conn, data); err != nil {
			return err
		}
		if _, err := os.Stdout.Write(append(data, "\x1b\\\x1b[5n"...)); err != nil {
			return err
		}
		var got []byte
		for !bytes.HasSuffix(got, []byte("\x1b[0n")) {
			c, err := in.ReadByte()
			if err != nil {
				return err
			}
			got = append(got, c)
		}
		if _, err := conn.Write([]byte{1}); err != nil {
			return err
		}
	}
}

// tmuxOracle drives a tmux server of its own in control mode.
type tmuxOracle struct {
	in   io.Writer
	out  *bufio.Reader
	pane net.Conn
}

func startTmux(t *testing.T) *tmuxOracle {
	t.Helper()
	dir := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, "pane"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conf := filepath.Join(dir, "conf")
	os.WriteFile(conf, []byte("set -g status off\nset -g history-limit 2000\n"+
		"set -g default-terminal tmux-256color\nset -g allow-rename off\n"), 0o600)
	cmd := exec.Command("tmux", "-C", "-u", "-S", filepath.Join(dir, "tmux"), "-f", conf,
		"new-session", "-x", "80", "-y", "24", os.Args[0])
	cmd.Env = append(os.Environ(), oracleSocket+"="+l.Addr().String(), "LC_ALL=C.UTF-8", "TMUX=")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	o := &tmuxOracle{in: in, out: bufio.NewReaderSize(out, 1<<20)}
	t.Cleanup(func() {
		o.command("kill-server")
		in.Close()
		cmd.Wait()
	})
	if o.pane, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.pane.Close() })
	if _, err := o.reply(); err != nil { // of new-session
		t.Fatal(err)
	}
	for _, c := range []string{"refresh-client -f no-output", "set -g window-size manual"} { // manual from the start crashes tmux 3.3a
		if _, err := o.command(c); err != nil {
			t.Fatal(err)
		}
	}
	return o
}

func (o *tmuxOracle) name() string { return "tmux" }

func (o *tmuxOracle) command(s string) ([]string, error) {
	if _, err := io.WriteString(o.in, s+"\n"); err != nil {
		return nil, err
	}
	return o.reply()
}

// reply reads one %begin … %end block, past any notification.
func (o *tmuxOracle) reply() ([]string, error) {
	var lines []string
	inside := false
	for {
		line, err := o.out.ReadString('\n')
		if err != nil {
			return nil, err
		}
		line = strings.TrimSuffix(line, "\n")
		switch {
		case !inside && strings.HasPrefix(line, "%begin "):
			inside = true
		case !inside && strings.HasPrefix(line, "%exit"):
			return nil, io.EOF
		case inside && strings.HasPrefix(line, "%end "):
			return lines, nil
		case inside && strings.HasPrefix(line, "%error "):
			return nil, errors.New(strings.Join(lines, "; "))
		case inside:
			lines = append(lines, line)
		}
	}
}

func (o *tmuxOracle) feed(data []byte) error {
	msg := append(binary.BigEndian.AppendUint32(nil, uint32(len(data))), data...)
	if _, err := o.pane.Write(msg); err != nil {
		return err
	}
	var ack [1]byte
	o.pane.SetReadDeadline(time.Now().Add(60 * time.Second))
	_, err := io.ReadFull(o.pane, ack[:])
	return err
}

const tmuxReset = "\x18\x1b\\\x1b[?1049l\x1bc\x1b[0 q\x1b[?2004l\x1b[?1004l\x1b[?1000l\x1b[?1006l\x1b[?1005l\x1b]2;\x1b\\\x1b[H\x1b[2J"

const tmuxFormat = "#{cursor_x} #{cursor_y} #{alternate_on} #{keypad_cursor_flag} #{keypad_flag} #{insert_flag} " +
	"#{origin_flag} #{wrap_flag} #{cursor_flag} #{mouse_standard_flag} #{mouse_button_flag} #{mouse_all_flag} " +
	"#{scroll_region_upper} #{scroll_region_lower} #{history_size} #{pane_title}"

func (o *tmuxOracle) run(cols, rows int, steps ...step) (seen, error) {
	resize := func(c, r int) error {
		_, err := o.command(fmt.Sprintf("resize-window -x %d -y %d", c, r))
		return err
	}
	if err := resize(cols, rows); err != nil {
		return seen{}, err
	}
	if err := o.feed([]byte(tmuxReset)); err != nil {
		return seen{}, err
	}
	if _, err := o.command("clear-history"); err != nil {
		return seen{}, err
	}
	for _, s := range steps {
		if s.data == nil {
			cols, rows = s.cols, s.rows
			if err := resize(cols, rows); err != nil {
				return seen{}, err
			}
		} else if err := o.feed(s.data); err != nil {
			return seen{}, err
		}
	}
	return o.look(cols, rows)
}

func (o *tmuxOracle) look(cols, rows int) (seen, error) {
	facts, err := o.command("display-message -p '" + tmuxFormat + "'")
	if err != nil {
		return seen{}, err
	}
	f := strings.SplitN(facts[0], " ", 16)
	n := func(i int) int { v, _ := strconv.Atoi(f[i]); return v }
	on := func(i int) bool { return f[i] == "1" }
	s := seen{X: min(n(0), cols-1), Pending: n(0) >= cols, Y: n(1), Alt: on(2), Title: f[15]}
	s.Modes = seenModes{AppCursor: on(3), AppKeypad: on(4), Insert: on(5), Origin: on(6), Wrap: on(7),
		Hidden: !on(8), Mouse: "none", Top: n(12), Bottom: n(13)}
	for i, name := range []string{"vt200", "drag", "any"} {
		if on(9 + i) {
			s.Modes.Mouse = name
		}
	}
	history := n(14)
	lines, err := o.command("capture-pane -p -e -N -S - -E -")
	if err != nil {
		return seen{}, err
	}
	joined, err := o.command("capture-pane -p -J -S - -E -")
	if err != nil {
		return seen{}, err
	}
	plain, err := o.command("capture-pane -p -N -S - -E -")
	if err != nil {
		return seen{}, err
	}
	if s.Alt { // the history belongs to the main screen, which is not shown
		history = max(0, len(lines)-rows)
	}
	p := captureParser{cols: cols, probe: New(cols, 1, Options{})}
	s.Wrapped = make([]bool, rows)
	wraps := wrappedRows(plain, joined)
	for i, line := range lines {
		row := p.parse(line)
		if y := i - history; y >= 0 && y < rows {
			s.Rows = append(s.Rows, row)
			s.Wrapped[y] = i < len(wraps) && wraps[i]
		} else if y < 0 {
			s.Scrollback = append(s.Scrollback, strings.TrimRight(plain[i], " "))
		}
	}
	for len(s.Rows) < rows {
		s.Rows = append(s.Rows, p.parse(""))
	}
	return s, nil
}
