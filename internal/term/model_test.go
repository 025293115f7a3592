package term

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// model is a terminal's state outside the screen's cells, kept the plain way: it knows every sequence that may pass, and
// fails on any other. Its stacks are not empty in the beginning: the person has entries on them.
type model struct {
	modes     map[string]bool
	values    map[string]string
	keyboards [2][]string
	titles    []string
	saved     [2]map[string]string
	savedSix  [2]bool
	text      *regexp.Regexp
}

func newModel() *model {
	m := &model{
		modes:  map[string]bool{"?7": true, "?25": true},
		values: map[string]string{"title": "mine", "style": "", "set0": "B", "set1": "B", "shift": "0", "shape": "0", "keypad": ">", "link": "", "region0": "", "region1": ""},
		titles: []string{"older"},
		text:   regexp.MustCompile(`^(?s:\x1b\[([<=>?]?)([0-9;:]*)([ -/]*)([@-~])|\x1b([\]P_])(.*?)(?:\x1b\\|\x07)|\x1b([ -/]*[0-~])|.)`),
	}
	for i := range m.keyboards {
		m.keyboards[i] = []string{"0", "mine"}
		m.saved[i] = map[string]string{"style": "", "set0": "B", "set1": "B", "shift": "0"}
	}
	return m
}

// state is what must be as before.
func (m *model) state() map[string]any {
	modes := []string{}
	for _, name := range slices.Sorted(maps.Keys(m.modes)) {
		if m.modes[name] {
			modes = append(modes, name)
		}
	}
	values := maps.Clone(m.values)
	maps.DeleteFunc(values, func(_, v string) bool { return v == "" })
	return map[string]any{"modes": modes, "values": values, "keyboards": m.keyboards, "titles": m.titles, "saved": m.saved[0], "saved origin": m.savedSix[0]}
}

func (m *model) screen() int {
	if m.modes["alternate"] {
		return 1
	}
	return 0
}

func (m *model) save() {
	for name := range m.saved[0] {
		m.saved[m.screen()][name] = m.values[name]
	}
	m.savedSix[m.screen()] = m.modes["?6"]
}

func (m *model) restore() {
	maps.Copy(m.values, m.saved[m.screen()])
	m.modes["?6"] = m.savedSix[m.screen()]
}

func (m *model) play(t *testing.T, out []byte) {
	t.Helper()
	for len(out) > 0 {
		p := m.text.FindSubmatch(out)
		if p == nil {
			t.Fatalf("not a sequence: %q", out[:min(20, len(out))])
		}
		out = out[len(p[0]):]
		if len(p[0]) == 1 && p[0][0] == 0x1b {
			return // an image that is not whole
		}
		s := func(i int) string { return string(p[i]) }
		switch {
		case len(p[4]) > 0:
			m.csi(t, s(1), s(2), s(3)+s(4))
		case len(p[5]) > 0 && p[5][0] == ']':
			m.osc(s(6))
		case len(p[5]) > 0:
		case len(p[7]) > 0:
			m.esc(s(7))
		case p[0][0] == 0x0e:
			m.values["shift"] = "1"
		case p[0][0] == 0x0f:
			m.values["shift"] = "0"
		}
	}
}

func (m *model) esc(body string) {
	switch {
	case body == "7":
		m.save()
	case body == "8":
		m.restore()
	case body == "=" || body == ">":
		m.values["keypad"] = body
	case body == "H":
		m.values["tabs"] = "set"
	case body == "n" || body == "o":
		m.values["shift"] = body
	case strings.IndexByte("()*+", body[0]) >= 0:
		m.values["set"+strconv.Itoa(int(body[0]-'('))] = body[1:]
		for _, g := range []string{"set2", "set3"} {
			if m.values[g] == "B" {
				delete(m.values, g)
			}
		}
	}
}

func (m *model) csi(t *testing.T, mark, params, final string) {
	t.Helper()
	reset := strings.Trim(params, "0;") == ""
	switch mark + final {
	case "?h", "?l", "h", "l":
		for number := range strings.SplitSeq(params, ";") {
			m.mode(mark+number, final == "h")
		}
	case "m":
		m.values["style"] = strings.Trim(params, "0;")
	case "r":
		m.values["region"+strconv.Itoa(m.screen())] = params
	case " q":
		m.values["shape"] = map[bool]string{true: "0", false: params}[reset]
	case "s":
		m.save()
	case "u":
		m.restore()
	case "g":
		m.values["tabs"] = "cleared"
	case "?W":
		delete(m.values, "tabs")
	case "\"q", "*x", ">m":
		m.values[mark+final] = map[bool]string{true: "", false: params}[reset || mark == ">" && strings.Trim(params, "0;") == "4"]
		if final == "\"q" && params == "2" || final == "*x" && params != "2" || final == "\"q" && params != "1" {
			m.values[mark+final] = ""
		}
	case ">u":
		m.keyboards[m.screen()] = append(m.keyboards[m.screen()], params)
	case "<u":
		n, _ := strconv.Atoi("0" + params)
		k := m.keyboards[m.screen()]
		m.keyboards[m.screen()] = k[:max(0, len(k)-max(n, 1))]
	case "=u":
		k := m.keyboards[m.screen()]
		if n := len(k) - 1; len(k) == 2 {
			k[n] = params
			if params == "0" {
				k[n] = "mine" // the person's shell has none while it runs a program
			}
		}
	case "t":
		if strings.HasPrefix(params, "22") {
			m.titles = append(m.titles, m.values["title"])
		} else if strings.HasPrefix(params, "23") {
			n := len(m.titles) - 1
			m.values["title"], m.titles = m.titles[n], m.titles[:n]
		}
	}
}

func (m *model) mode(name string, on bool) {
	was := m.modes["alternate"]
	switch name {
	case "?12":
		m.values["shape"] = "blinking"
	case "?66":
		m.values["keypad"] = map[bool]string{true: "=", false: ">"}[on]
	case "?1048":
		if on {
			m.save()
		} else {
			m.restore()
		}
	case "?47", "?1047", "?1049":
		if name == "?1049" && on {
			m.save()
		}
		m.modes["alternate"] = on
		if name == "?1049" && !on {
			m.restore()
		}
		_ = was
	default:
		m.modes[name] = on
	}
}

func (m *model) osc(body string) {
	number, rest, _ := strings.Cut(body, ";")
	switch number {
	case "0", "1", "2":
		m.values["title"] = rest
	case "8":
		_, m.values["link"], _ = strings.Cut(rest, ";")
	case "9":
		if p, ok := strings.CutPrefix(rest, "4;"); ok {
			m.values["progress"] = strings.Trim(p, "0;")
		}
	case "4":
		fields := strings.Split(rest, ";")
		for i := 0; i+1 < len(fields); i += 2 {
			if fields[i+1] != "?" {
				m.values["colour"+fields[i]] = fields[i+1]
			}
		}
	case "104":
		for field := range strings.SplitSeq(rest, ";") {
			delete(m.values, "colour"+field)
		}
	case "10", "11", "12":
		if rest != "?" {
			m.values["default"+number] = rest
		}
	case "110", "111", "112":
		delete(m.values, "default1"+number[2:])
	}
}
