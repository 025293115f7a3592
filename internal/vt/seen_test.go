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
	var cl clusterTable
	w := rewrapper{cols: t.cols, emit: func(r row) { // as it shows at this width
		s.Scrollback = append(s.Scrollback, strings.TrimRight(string(appendCells(nil, r.cells, &cl)), " "))
	}}
	for i := range t.hist.n {
		rec := t.hist.at(i)
		w.add(rec.unpack(nil, &cl))
		if !rec.wrapped || i == t.hist.n-1 {
			w.end(false)
		}
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

// eachFact calls f for every fact of a and b, which have the same size. A style
// that tmux does not tell is taken from the other, if nothing is printed there.
func eachFact(a, b seen, f func(what string, a, b any)) {
	for y := range a.Rows {
		for x := range min(len(a.Rows[y]), len(b.Rows[y])) {
			p, q := a.Rows[y][x], b.Rows[y][x]
			switch {
			case p.Style == styleUnknown && q.Text == " ":
				p.Style = q.Style
			case q.Style == styleUnknown && p.Text == " ":
				q.Style = p.Style
			}
			f(fmt.Sprintf("cell %d,%d", x, y), p, q)
		}
		if y+1 < len(a.Rows) {
			f(fmt.Sprintf("row %d wrapped", y), a.Wrapped[y], b.Wrapped[y])
		}
	}
	f("cursor x", a.X, b.X)
	f("cursor y", a.Y, b.Y)
	f("pending", a.Pending, b.Pending)
	f("alternate", a.Alt, b.Alt)
	f("title", a.Title, b.Title)
	m, n := a.Modes, b.Modes
	f("application cursor", m.AppCursor, n.AppCursor)
	f("application keypad", m.AppKeypad, n.AppKeypad)
	f("insert", m.Insert, n.Insert)
	f("origin", m.Origin, n.Origin)
	f("wrap", m.Wrap, n.Wrap)
	f("mouse", m.Mouse, n.Mouse)
	f("hidden", m.Hidden, n.Hidden)
	f("top", m.Top, n.Top)
	f("bottom", m.Bottom, n.Bottom)
	f("scrollback", strings.Join(a.Scrollback, "\n"), strings.Join(b.Scrollback, "\n"))
}

// between lists where a differs from b.
func between(a, b seen) []string {
	var out []string
	eachFact(a, b, func(what string, p, q any) {
		if p != q {
			out = append(out, fmt.Sprintf("%s: %v, should be %v", what, p, q))
		}
	})
	return out
}

// disagreement is where ours differs from what both oracles say.
func disagreement(ours, tmux, xterm seen) []string {
	for y, row := range tmux.Rows {
		for x := range min(len(row), len(ours.Rows[y])) {
			if row[x].Style == styleUnknown && ours.Rows[y][x].Text == " " {
				row[x].Style = ours.Rows[y][x].Style // it has no say
			}
		}
	}
	differ := map[string]bool{}
	eachFact(tmux, xterm, func(what string, a, b any) { differ[what] = a != b })
	var out []string
	eachFact(ours, xterm, func(what string, a, b any) {
		if a != b && !differ[what] {
			out = append(out, fmt.Sprintf("%s: %v, both oracles say %v", what, a, b))
		}
	})
	if o, x := ours.Modes, xterm.Modes; o.Paste != x.Paste || o.Focus != x.Focus { // not in tmux 3.3a
		out = append(out, "bracketed paste or focus mode")
	}
	return out
}
