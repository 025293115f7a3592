package screens

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
)

// envAgents names a folder in which coding agents were installed with npm. They have no network: their first screens
// are enough to look at.
const envAgents = "MOAT_AGENTS"

// TestAgents leaves and comes back to coding agents twenty times each, in the same pane.
func TestAgents(t *testing.T) {
	dir := os.Getenv(envAgents)
	if dir == "" {
		t.Skip("needs " + envAgents + ", a folder with coding agents from npm")
	}
	h := newHouse(t)
	p := startPanes(h)
	for _, agent := range []string{"claude", "codex", "gemini", "opencode"} {
		if _, err := os.Stat(filepath.Join(dir, "node_modules/.bin", agent)); err != nil {
			t.Logf("there is no %s", agent)
			continue
		}
		t.Run(agent, func(t *testing.T) {
			h, p := *h, *p
			h.t, p.t, p.h = t, t, &h
			p.visit(dir, agent)
		})
	}
}

// visit comes back to an agent as often as an issue was promised.
func (p *panes) visit(dir, agent string) {
	p.t.Helper()
	q := p.open(agent, 100, 30, "env", "PS1=% ", "sh")
	q.sees("%")
	q.keys(p.h.moat+" -q run -it --name "+agent+" -m "+dir+":"+dir+":ro -e HOME=/tmp -e OPENAI_API_KEY=none -e ANTHROPIC_API_KEY=none -e GEMINI_API_KEY=none -- "+
		filepath.Join(dir, "node_modules/.bin", agent), "Enter")
	if !within(patience, func() bool {
		return strings.Count(strings.TrimSpace(q.text()), "\n") > 5 && !strings.Contains(q.text(), "% ")
	}) {
		p.t.Skipf("it shows nothing without a network:\n%s", q.text())
	}
	for range 3 { // some draw their first screen in steps
		q.settled()
	}
	q.keys("hello there")
	within(5*time.Second, func() bool { return strings.Contains(q.text(), "hello there") }) // some take no input yet
	cells, flags := q.settled()
	p.t.Logf("%s\n%s", flags, q.text())
	var history string
	for i := range rounds(p.t, 20) {
		q.keys("C-_", "d")
		q.sees("%")
		q.keys(p.h.moat+" -q attach "+agent, "Enter")
		var now, nowFlags string
		if !within(patience, func() bool { now, nowFlags = q.cells(), q.flags(); return now == cells && nowFlags == flags }) {
			p.t.Fatalf("round %d (-before +after):\n%s%s", i, cmp.Diff(strings.Split(cells, "\n"), strings.Split(now, "\n")), cmp.Diff(flags, nowFlags))
		}
		if text := transcript(q.history()); i == 0 {
			history = text
		} else if text != history {
			p.t.Fatalf("round %d, the transcript (-first +now):\n%s", i, cmp.Diff(strings.Split(history, "\n"), strings.Split(text, "\n")))
		}
	}
	p.h.must("destroy", "-f", agent)
}

// transcript is the words of a history, without the person's own shell, and what turns while one waits.
func transcript(history string) string {
	var kept []string
	for line := range strings.Lines(history) {
		if strings.HasPrefix(line, "%") || strings.Contains(line, "moat -q attach") {
			continue
		}
		words := strings.FieldsFunc(line, func(r rune) bool { return r > 0x7f || !unicode.IsLetter(r) && !unicode.IsDigit(r) })
		if len(words) > 0 {
			kept = append(kept, strings.Join(words, " "))
		}
	}
	return strings.Join(kept, "\n")
}
