package screens

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// panes is a private tmux server.
type panes struct {
	t      *testing.T
	h      *house
	socket string
}

// startPanes starts a server that ends with the test. Every pane is a terminal of 80 columns and 24 rows.
func startPanes(h *house) *panes {
	h.t.Helper()
	if _, err := exec.LookPath("tmux"); err != nil {
		h.t.Skip("needs tmux")
	}
	p := &panes{t: h.t, h: h, socket: filepath.Join(h.home+"-tmux", "s")}
	conf := filepath.Join(h.home+"-tmux", "conf")
	text := "set -g status off\nset -g history-limit 20000\nset -g default-terminal tmux-256color\nset -s escape-time 20\nset -g allow-rename off\n"
	if err := os.Mkdir(filepath.Dir(p.socket), 0o700); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
	p.run("-f", conf, "new-session", "-d", "-x", "80", "-y", "24", "-s", "idle", "cat")
	h.t.Cleanup(func() { p.run("kill-server") })
	return p
}

// run is a tmux command.
func (p *panes) run(args ...string) string {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "tmux", append([]string{"-S", p.socket}, args...)...)
	cmd.Dir = p.h.workspace
	for _, kv := range p.h.env {
		if !strings.HasPrefix(kv, "TERM=") {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	cmd.Env = append(cmd.Env, "TERM=xterm-256color")
	out, err := cmd.CombinedOutput()
	if err != nil {
		p.t.Fatalf("tmux %q: %v: %s", args, err, out)
	}
	return string(out)
}

// pane is a shell in a pane of its own session.
type pane struct {
	p    *panes
	name string
}

// open opens a pane of that size with a program in it.
func (p *panes) open(name string, cols, rows int, command ...string) pane {
	p.t.Helper()
	p.run(append([]string{"new-session", "-d", "-x", fmt.Sprint(cols), "-y", fmt.Sprint(rows), "-s", name, "--"}, command...)...)
	return pane{p, name}
}

// keys sends keys, in tmux's names.
func (q pane) keys(keys ...string) {
	q.p.t.Helper()
	q.p.run(append([]string{"send-keys", "-t", q.name}, keys...)...)
}

// cells is the screen with all attributes, a line for each row; a cell that has others than the one before comes after
// "{attributes}". Of a blank cell only those count that can be seen, and not whether it was written or erased.
func (q pane) cells() string {
	var b strings.Builder
	now := map[string]string{}
	for line := range strings.Lines(q.p.run("capture-pane", "-e", "-p", "-N", "-t", q.name)) {
		b.WriteString(strings.TrimRight(renditions(strings.TrimSuffix(line, "\n"), now), " ") + "\n")
	}
	return b.String()
}

// renditions writes SGR sequences, of which there are many for the same, in one way. now goes on from line to line.
func renditions(line string, now map[string]string) string {
	var b strings.Builder
	shown := ""
	for line != "" {
		if params, rest, ok := cutSGR(line); ok {
			line = rest
			apply(now, params)
			continue
		}
		r, n := utf8.DecodeRuneInString(line)
		line = line[n:]
		text := ""
		for _, name := range slices.Sorted(maps.Keys(now)) {
			if r != ' ' || slices.Contains([]string{"bg", "line", "4", "7", "9", "53"}, name) {
				text += " " + name + ":" + now[name]
			}
		}
		if text != shown {
			b.WriteString("{" + strings.TrimPrefix(text, " ") + "}")
			shown = text
		}
		b.WriteRune(r)
	}
	return strings.TrimSuffix(strings.TrimRight(b.String(), " "), "{}")
}

func cutSGR(s string) (params, rest string, ok bool) {
	rest, ok = strings.CutPrefix(s, "\x1b[")
	if !ok {
		return "", s, false
	}
	return strings.Cut(rest, "m")
}

// apply changes the rendition as one SGR sequence of tmux's, which has one colour at most.
func apply(now map[string]string, params string) {
	first, _, _ := strings.Cut(params, ";")
	number, _ := strconv.Atoi(first)
	if plain, ok := strings.CutPrefix(params, "38;5;"); ok {
		// There are two ways to say each of these.
		if n, _ := strconv.Atoi(plain); n < 8 {
			params = fmt.Sprint(30 + n)
		} else if n < 16 {
			params = fmt.Sprint(90 + n - 8)
		}
	}
	switch {
	case number >= 30 && number <= 38 || number >= 90 && number <= 97:
		now["fg"] = params
	case number >= 40 && number <= 48 || number >= 100:
		now["bg"] = params
	case number == 39:
		delete(now, "fg")
	case number == 49:
		delete(now, "bg")
	case number == 58:
		now["line"] = params
	case number == 59:
		delete(now, "line")
	default:
		for p := range strings.SplitSeq(params, ";") {
			if p == "0" || p == "" {
				clear(now)
			} else {
				now[p] = "on"
			}
		}
	}
}

// text is the screen without them.
func (q pane) text() string { return q.p.run("capture-pane", "-p", "-t", q.name) }

// history is all that has scrolled off, and the screen, with wrapped lines joined.
func (q pane) history() string { return q.p.run("capture-pane", "-p", "-J", "-S", "-", "-t", q.name) }

// flags are what tmux knows of the terminal's state.
func (q pane) flags() string {
	return q.p.run("display-message", "-p", "-t", q.name, "alternate=#{alternate_on} cursor=#{cursor_x},#{cursor_y} visible=#{cursor_flag} insert=#{insert_flag} "+
		"keys=#{keypad_cursor_flag} keypad=#{keypad_flag} mouse=#{mouse_standard_flag}#{mouse_button_flag}#{mouse_all_flag}#{mouse_sgr_flag} origin=#{origin_flag} "+
		"wrap=#{wrap_flag} region=#{scroll_region_upper}-#{scroll_region_lower}")
}

// sees waits for text on the screen.
func (q pane) sees(text string) {
	q.p.t.Helper()
	if !within(patience, func() bool { return strings.Contains(q.text(), text) }) {
		q.p.t.Fatalf("%q did not come to the pane %s:\n%s", text, q.name, q.text())
	}
}

// settled waits until the screen does not change any more, and returns it with the flags.
func (q pane) settled() (cells, flags string) {
	q.p.t.Helper()
	const calm = 4 // looks in a row at which it was the same
	same := 0
	within(patience, func() bool {
		c, f := q.cells(), q.flags()
		if c == cells && f == flags {
			same++
		} else {
			same = 0
		}
		cells, flags = c, f
		wait := time.NewTimer(40 * time.Millisecond)
		<-wait.C
		return same >= calm
	})
	return cells, flags
}

// person opens a pane with a shell in which a moat command is typed. The shell stays.
func (p *panes) person(name string, args ...string) pane {
	p.t.Helper()
	script := `stty -a >"$0.before"; "$@"; code=$?; stty -a >"$0.after"; cmp "$0.before" "$0.after" && echo "[left with $code]"; exec cat`
	return p.open(name, 80, 24, append([]string{"sh", "-c", script, filepath.Join(filepath.Dir(p.socket), name), p.h.moat}, args...)...)
}

// left waits for the end of a person's command, and checks that the terminal is as before.
func (q pane) left(code int) {
	q.p.t.Helper()
	q.sees(fmt.Sprintf("[left with %d]", code))
	_, flags := q.settled()
	for _, want := range []string{"alternate=0", "visible=1 insert=0 keys=0 keypad=0 mouse=0000 origin=0 wrap=1 region=0-23"} {
		if !strings.Contains(flags, want) {
			q.p.t.Errorf("after leaving, pane %s has %s, want %s", q.name, flags, want)
		}
	}
}
