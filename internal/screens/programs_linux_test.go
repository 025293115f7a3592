package screens

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// program is something with a screen of its own, and what to type until that is worth comparing.
type program struct {
	name    string
	needs   string // a program; "": the first of command
	command []string
	shows   string // when it is ready
	types   [][]string
	changes bool // its screen is another one in a sandbox, as it shows paths or processes: compare only before and after
}

func programs() []program {
	return []program{
		{name: "vim", command: []string{"vim", "-u", "NONE", "-N", "+set number hlsearch laststatus=2 noswapfile t_TI= t_TE=", "+syntax on", "text.go"}, shows: "package",
			types: [][]string{{"/func", "Enter"}, {"n"}, {":split", "Enter"}, {"G"}, {"i", "new text"}}},
		{name: "less", command: []string{"less", "-R", "-N", "text.go"}, shows: "package", types: [][]string{{"Space"}, {"/return", "Enter"}}},
		{name: "nano", command: []string{"nano", "-I", "text.go"}, shows: "GNU nano", types: [][]string{{"Down", "Down"}, {"typed"}, {"C-w"}}},
		{name: "mc", command: []string{"mc", "-d", "-u", "--skin=default", "dir", "dir"}, shows: "Quit", types: [][]string{{"Down", "Down"}, {"F9"}}, changes: true},
		{name: "fzf", command: []string{"sh", "-c", "seq 100000 | fzf --multi --no-mouse --reverse"}, needs: "fzf", shows: "100000/100000", types: [][]string{{"77"}, {"Tab"}, {"Down"}}},
		{name: "fzf inline", command: []string{"sh", "-c", "echo before; seq 1000 | fzf --height 40%"}, needs: "fzf", shows: "1000/1000", types: [][]string{{"9"}, {"Up"}}},
		{name: "python", command: []string{"python3", "-q"}, shows: ">>>", types: [][]string{{"for i in range(60): print(i, 'ä日' * (i % 9))", "Enter", "Enter"}, {"{'a': [1, 2"}}},
		{name: "bash", command: []string{"bash", "--norc", "--noprofile"}, shows: "$", types: [][]string{
			{`PS1='\[\e[1;32m\]\u@moat\[\e[0m\]:\[\e[38;5;39;4:3m\]wörk 日本\[\e[0m\] \$ '`, "Enter"}, {"seq 40", "Enter"}, {"printf '\\e[7mreversed\\e[m no newline'", "Enter"}, {"a line that is longer than eighty columns and so it goes on in the next row, where it ends"}}},
		{name: "node", command: []string{"node", "--no-warnings", "-e", nodeTUI}, shows: "node tui", types: [][]string{{"Down"}, {"x"}}},
		{name: "htop", command: []string{"htop", "-d", "1000"}, shows: "Help", types: [][]string{{"F5"}, {"Down"}}, changes: true},
	}
}

// nodeTUI draws with what libraries for terminals in JavaScript use: synchronized output, 24-bit colours, a frame of
// lines, wide and combining characters, a hidden cursor, bracketed paste, kitty's keys.
const nodeTUI = `
const w = s => process.stdout.write(s); let n = 0;
process.stdin.setRawMode(true);
w('\x1b[?2004h\x1b[>1u\x1b[?25l\x1b[?1004h');
const draw = () => { w('\x1b[?2026h'); if (n) w('\x1b[6A\r'); for (let r = 0; r < 6; r++) w('\x1b[2K\x1b[38;2;' + (40*r) + ';200;' + (255-40*r) + 'm' + (r ? '│ node tui 日本 🦀 é row ' + r + ' of ' + n : '╭' + '─'.repeat(60) + '╮') + '\x1b[0m\r\n'); w('\x1b[?2026l'); n++ };
draw(); process.stdin.on('data', draw);`

// TestPrograms compares real programs in a pane with the same in a pane through moat, after leaving and coming back.
func TestPrograms(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	p := startPanes(h)
	h.files()
	for _, prog := range programs() {
		t.Run(prog.name, func(t *testing.T) {
			t.Parallel()
			need := prog.needs
			if need == "" {
				need = prog.command[0]
			}
			if _, err := exec.LookPath(need); err != nil {
				t.Skip("needs " + need)
			}
			h, p := *h, *p
			h.t, p.t, p.h = t, t, &h
			p.compare(prog)
		})
	}
}

// files makes what the programs show.
func (h *house) files() {
	h.t.Helper()
	var text strings.Builder
	text.WriteString("package text\n\n")
	for i := range 200 {
		fmt.Fprintf(&text, "// f%d is über-long: %s\nfunc f%d() (int, string) {\n\treturn %d, \"日本語 %d\"\n}\n\n", i, strings.Repeat("word ", i%30), i, i, i)
	}
	if err := os.WriteFile(filepath.Join(h.workspace, "text.go"), []byte(text.String()), 0o644); err != nil {
		h.t.Fatal(err)
	}
	when := time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)
	for i := range 40 {
		name := filepath.Join(h.workspace, "dir", fmt.Sprintf("file %02d", i))
		err := os.MkdirAll(filepath.Dir(name), 0o755)
		if err == nil {
			err = os.WriteFile(name, make([]byte, i*100), 0o644)
		}
		if err == nil {
			err = os.Chtimes(name, when, when)
		}
		if err != nil {
			h.t.Fatal(err)
		}
	}
	if err := os.Chtimes(filepath.Join(h.workspace, "dir"), when, when); err != nil {
		h.t.Fatal(err)
	}
}

// compare types the same into both, leaves moat's, comes back from a pane that is new, and looks.
func (p *panes) compare(prog program) {
	p.t.Helper()
	name := strings.ReplaceAll(prog.name, " ", "-")
	env := []string{"-e", "HOME=/tmp", "-e", "PS1=$ ", "-e", "PYTHONSTARTUP="}
	direct := p.open("d-"+name, 80, 24, slices.Concat([]string{"env", "HOME=" + p.h.home}, prog.command)...)
	moat := p.person("m-"+name, slices.Concat([]string{"-q", "run", "-it", "--name", name}, env, []string{"--"}, prog.command)...)
	for _, q := range []pane{direct, moat} {
		q.sees(prog.shows)
		for _, keys := range prog.types {
			q.settled()
			q.keys(keys...)
		}
	}
	want := func() (cells, flags string) { return direct.cells(), direct.flags() } // it may still draw
	if prog.changes {
		var cells, flags string
		for range 3 { // some draw in steps
			cells, flags = moat.settled()
		}
		want = func() (string, string) { return cells, flags }
	}
	p.same(prog, "attached from the beginning", moat, want)
	moat.keys("C-_", "d")
	moat.left(0)
	for i := range 2 {
		again := p.person(fmt.Sprintf("a%d-%s", i, name), "-q", "attach", name)
		p.same(prog, fmt.Sprintf("after coming back %d times", i+1), again, want)
		again.keys("C-_", "d")
		again.left(0)
	}
	p.h.must("destroy", "-f", name)
}

// same compares a pane with what is wanted, until it is that.
func (p *panes) same(prog program, when string, q pane, want func() (cells, flags string)) {
	p.t.Helper()
	var wantCells, wantFlags, cells, flags string
	if !within(patience, func() bool {
		wantCells, wantFlags = want()
		cells, flags = q.cells(), q.flags()
		return cells == wantCells && flags == wantFlags
	}) {
		p.t.Errorf("%s, %s (-want +through moat):\n%s", prog.name, when, cmp.Diff(strings.Split(wantCells, "\n"), strings.Split(cells, "\n"))+cmp.Diff(wantFlags, flags))
	}
}
