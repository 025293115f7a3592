package vt

import (
	"encoding/json"
	"fmt"
	"strings"
)

// seen is what can be observed of a terminal, in ours and in both oracles.
type seen struct {
	X          int       `json:"x"`
	Y          int       `json:"y"`
	Pending    bool      `json:"pending"`
	Alt        bool      `json:"alt"`
	Title      string    `json:"title"`
	Replies    string    `json:"replies"`
	Rows       []seenRow `json:"rows"`
	Wrapped    []bool    `json:"wrapped"`
	Scrollback []string  `json:"scrollback"`
	Modes      seenModes `json:"modes"`
}

type seenModes struct {
	AppCursor bool   `json:"appCursor"`
	AppKeypad bool   `json:"appKeypad"`
	Insert    bool   `json:"insert"`
	Origin    bool   `json:"origin"`
	Wrap      bool   `json:"wrap"`
	Paste     bool   `json:"paste"`
	Focus     bool   `json:"focus"`
	Mouse     string `json:"mouse"`
	Hidden    bool   `json:"hidden"`
	Top       int    `json:"top"`
	Bottom    int    `json:"bottom"`
}

// seenCell is a cell's text ("" the right half of a wide one) and SGR style.
type seenCell struct{ Text, Style string }

// seenRow is encoded as style, [texts], style, [texts] …
type seenRow []seenCell

func (r seenRow) MarshalJSON() ([]byte, error) {
	var out []any
	var texts []string
	for i, c := range r {
		if i == 0 || c.Style != r[i-1].Style {
			if texts != nil {
				out = append(out, texts)
			}
			out = append(out, c.Style)
			texts = nil
		}
		texts = append(texts, c.Text)
	}
	return json.Marshal(append(out, texts))
}

func (r *seenRow) UnmarshalJSON(b []byte) error {
	var parts []json.RawMessage
	if err := json.Unmarshal(b, &parts); err != nil {
		return err
	}
	for i := 0; i+1 < len(parts); i += 2 {
		var style string
		var texts []string
		if err := json.Unmarshal(parts[i], &style); err != nil {
			return err
		}
		if err := json.Unmarshal(parts[i+1], &texts); err != nil {
			return err
		}
		for _, s := range texts {
			*r = append(*r, seenCell{s, style})
		}
	}
	return nil
}

func (r seenRow) String() string {
	var b strings.Builder
	for i, c := range r {
		if i == 0 || c.Style != r[i-1].Style {
			fmt.Fprintf(&b, "{%s}", c.Style)
		}
		b.WriteString(c.Text)
	}
	return b.String()
}

// observe is what can be seen of our own terminal.
func observe(t *Terminal) seen {
	s := seen{
		X: t.x, Y: t.y, Pending: t.pending, Alt: t.AltScreen(), Title: t.title,
		Replies: string(t.TakeReplies()), Wrapped: make([]bool, t.rows), Scrollback: []string{},
	}
	for y := range t.rows {
		row := make(seenRow, t.cols)
		for x := range row {
			c := t.At(x, y)
			row[x] = seenCell{c.Text, c.Style}
			if c.Text == "" && c.Width > 0 {
				row[x].Text = " "
			}
		}
		s.Rows = append(s.Rows, row)
		s.Wrapped[y] = t.Wrapped(y)
	}
	for i := range t.hist.n {
		text, _ := t.AppendScrollback(nil, i)
		s.Scrollback = append(s.Scrollback, strings.TrimRight(string(text), " "))
	}
	has := t.modes.has
	s.Modes = seenModes{
		AppCursor: has(modeCursorKeys), AppKeypad: has(modeKeypad), Insert: has(modeInsert),
		Origin: has(modeOrigin), Wrap: has(modeAutowrap), Paste: has(modePaste), Focus: has(modeFocus),
		Mouse:  map[int]string{0: "none", 9: "x10", 1000: "vt200", 1002: "drag", 1003: "any"}[t.mouse],
		Hidden: !has(modeCursor), Top: t.top, Bottom: t.bottom,
	}
	return s
}

// disagreement is where a terminal differs from what both oracles say.
func disagreement(ours, tmux, xterm seen) []string {
	var out []string
	check := func(what string, o, a, b any) {
		if a == b && o != a {
			out = append(out, fmt.Sprintf("%s: %v, oracles say %v", what, o, a))
		}
	}
	for y := range ours.Rows {
		for x := range ours.Rows[y] {
			if x < len(tmux.Rows[y]) {
				a, b := tmux.Rows[y][x], xterm.Rows[y][x]
				if a.Style == styleUnknown && b.Text == " " {
					a.Style = b.Style
				}
				check(fmt.Sprintf("cell %d,%d", x, y), ours.Rows[y][x], a, b)
			}
		}
		if y+1 < len(ours.Rows) {
			check(fmt.Sprintf("row %d wrapped", y), ours.Wrapped[y], tmux.Wrapped[y], xterm.Wrapped[y])
		}
	}
	check("cursor x", ours.X, tmux.X, xterm.X)
	check("cursor y", ours.Y, tmux.Y, xterm.Y)
	check("pending", ours.Pending, tmux.Pending, xterm.Pending)
	check("alternate", ours.Alt, tmux.Alt, xterm.Alt)
	check("title", ours.Title, tmux.Title, xterm.Title)
	o, a, b := ours.Modes, tmux.Modes, xterm.Modes
	check("application cursor", o.AppCursor, a.AppCursor, b.AppCursor)
	check("application keypad", o.AppKeypad, a.AppKeypad, b.AppKeypad)
	check("insert", o.Insert, a.Insert, b.Insert)
	check("origin", o.Origin, a.Origin, b.Origin)
	check("wrap", o.Wrap, a.Wrap, b.Wrap)
	check("mouse", o.Mouse, a.Mouse, b.Mouse)
	check("hidden", o.Hidden, a.Hidden, b.Hidden)
	check("top", o.Top, a.Top, b.Top)
	check("bottom", o.Bottom, a.Bottom, b.Bottom)
	check("paste (xterm.js)", o.Paste, b.Paste, b.Paste)
	check("focus (xterm.js)", o.Focus, b.Focus, b.Focus)
	if len(tmux.Scrollback) == len(xterm.Scrollback) {
		check("scrollback", strings.Join(ours.Scrollback, "\n"), strings.Join(tmux.Scrollback, "\n"), strings.Join(xterm.Scrollback, "\n"))
	}
	return out
}

// between lists where two states of the same kind of terminal differ.
func between(a, b seen) []string {
	for _, s := range []seen{a, b} {
		for _, row := range s.Rows {
			for x := range row {
				if row[x].Style == styleUnknown { // both are tmux, which leaves out the same
					row[x].Style = "0"
				}
			}
		}
	}
	out := disagreement(a, b, b)
	if x, y := strings.Join(a.Scrollback, "\n"), strings.Join(b.Scrollback, "\n"); x != y {
		out = append(out, fmt.Sprintf("scrollback: %q, should be %q", x, y))
	}
	return out
}
