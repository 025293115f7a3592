package term

import (
	"bytes"
	"encoding/base64"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The bounds of what passes in strings, in characters and bytes.
const (
	maxTitle = 256
	maxURL   = 2 << 10
	maxText  = 256
)

// command judges an OSC. end is how it ended.
func (f *Filter) command(body []byte, end string) {
	code, rest, _ := bytes.Cut(body, []byte(";"))
	number, err := strconv.Atoi(string(code))
	r := f.rules.osc[number]
	if err != nil || r == nil {
		return
	}
	// Who may do what is decided here, because some of them are queries as well.
	r.do(f, sequence{body: []byte(strconv.Itoa(number)), params: rest, final: end[0]})
}

// passCommand passes an OSC with the given text.
func (f *Filter) passCommand(s sequence, text string) {
	end := stringEnd
	if s.final == bell {
		end = "\a"
	}
	f.pass("\x1b]", string(s.body), ";", text, end)
}

// printable reports whether text is printable ASCII.
func printable(text []byte) bool {
	return !bytes.ContainsFunc(text, func(r rune) bool { return r < 0x20 || r > 0x7e })
}

func printableOnly(f *Filter, s sequence) {
	if printable(s.params) && len(s.params) <= maxText {
		f.passCommand(s, string(s.params))
	}
}

// plainText is text of at most limit characters without what is not seen or turns the order of others around.
func plainText(text []byte, limit int) string {
	var b strings.Builder
	for _, r := range string(text) {
		if limit == 0 {
			break
		}
		if r != utf8.RuneError && (unicode.IsGraphic(r) || r == '\u200d' || r == '\ufe0f') {
			b.WriteRune(r)
			limit--
		}
	}
	return b.String()
}

func title(f *Filter, s sequence) {
	f.saveTitle()
	f.passCommand(s, plainText(s.params, maxTitle))
}

// hyperlink passes OSC 8. A link that may not pass ends the one before it.
func hyperlink(f *Filter, s sequence) {
	options, url, _ := bytes.Cut(s.params, []byte(";"))
	if !printable(url) || bytes.IndexByte(url, ' ') >= 0 || len(url) > maxURL || !linkable(url) {
		url = nil
	}
	text := ";"
	if len(url) > 0 {
		for option := range bytes.SplitSeq(options, []byte(":")) {
			if bytes.HasPrefix(option, []byte("id=")) && printable(option) && len(option) <= maxText {
				text = string(option) + ";"
			}
		}
	}
	f.modes.link = len(url) > 0
	f.passCommand(s, text+string(url))
}

func linkable(url []byte) bool {
	scheme, _, _ := bytes.Cut(url, []byte(":"))
	switch strings.ToLower(string(scheme)) {
	case "http", "https", "mailto":
		return true
	}
	return false
}

// colour reports whether text is a colour in one of X's forms.
func colour(text []byte) bool {
	return len(text) > 0 && len(text) <= 64 && printable(text)
}

// mayColour reports whether a colour may be set, or asked for.
func (f *Filter) mayColour(value []byte) bool {
	if string(value) == "?" {
		return f.options.Queries
	}
	return f.options.Colours && colour(value)
}

// palette passes the pairs of OSC 4 that may pass.
func palette(f *Filter, s sequence) {
	var passed []string
	fields := strings.Split(string(s.params), ";")
	for i := 0; i+1 < len(fields); i += 2 {
		n, err := strconv.Atoi(fields[i])
		if value := fields[i+1]; err == nil && n >= 0 && n < 256 && f.mayColour([]byte(value)) {
			passed = append(passed, strconv.Itoa(n), value)
			if value != "?" {
				f.modes.palette[n/64] |= 1 << (n % 64)
			}
		}
	}
	if passed != nil {
		f.passCommand(s, strings.Join(passed, ";"))
	}
}

// defaultColours passes OSC 10-12, of which one may give several in a row.
func defaultColours(f *Filter, s sequence) {
	number, _ := strconv.Atoi(string(s.body))
	for value := range bytes.SplitSeq(s.params, []byte(";")) {
		if number > 12 {
			return
		}
		if f.mayColour(value) {
			one := sequence{body: strconv.AppendInt(nil, int64(number), 10), final: s.final}
			f.passCommand(one, string(value))
			if string(value) != "?" {
				f.modes.colours[number-10] = true
			}
		}
		number++
	}
}

// resetColours passes OSC 104 and 110-112, as far as it is the program's colours that are reset.
func resetColours(f *Filter, s sequence) {
	number, _ := strconv.Atoi(string(s.body))
	if number != 104 {
		if f.modes.colours[number-110] {
			f.modes.colours[number-110] = false
			f.pass("\x1b]", string(s.body), stringEnd)
		}
		return
	}
	reset := f.modes
	if len(s.params) > 0 {
		reset.palette = [4]uint64{}
		for field := range bytes.SplitSeq(s.params, []byte(";")) {
			if n, err := strconv.Atoi(string(field)); err == nil && n >= 0 && n < 256 {
				reset.palette[n/64] |= f.modes.palette[n/64] & (1 << (n % 64))
			}
		}
	}
	f.out = reset.resetPalette(f.out)
	for i, bits := range reset.palette {
		f.modes.palette[i] &^= bits
	}
}

// setClipboard passes OSC 52 with a value, which is checked: some terminals take what is not base64 for a query.
func setClipboard(f *Filter, s sequence) {
	where, value, ok := bytes.Cut(s.params, []byte(";"))
	if _, err := base64.StdEncoding.DecodeString(string(value)); !ok || err != nil || !f.options.Clipboard {
		return
	}
	if len(bytes.Trim(where, "cps01234567")) == 0 && !bytes.ContainsAny(value, "\r\n") && len(where) <= 16 {
		f.passCommand(s, string(s.params))
	}
}

// notify passes progress, and notifications.
func notify(f *Filter, s sequence) {
	number := string(s.body)
	command, rest, _ := bytes.Cut(s.params, []byte(";"))
	_, err := strconv.Atoi(string(command))
	switch {
	case number == "9" && string(command) == "4" && numeric(rest):
		f.modes.progress = !zero(rest)
		f.passCommand(s, string(s.params))
	case !f.options.Notifications, number == "9" && err == nil: // ConEmu's other commands
	case number == "9":
		f.passCommand(s, plainText(s.params, maxText))
	case number == "777" && string(command) == "notify":
		f.passCommand(s, "notify;"+plainText(rest, maxText))
	case number == "99" && harmlessNotification(command):
		f.passCommand(s, string(command)+";"+plainText(rest, maxText))
	}
}

// harmlessNotification reports whether the head of kitty's notifications (k=v:…) asks for a text only: no answers, no
// buttons, no icons that are files.
func harmlessNotification(head []byte) bool {
	if len(head) == 0 {
		return true
	}
	for pair := range bytes.SplitSeq(head, []byte(":")) {
		key, value, _ := bytes.Cut(pair, []byte("="))
		switch string(key) {
		case "i", "d", "e", "u", "o":
		case "p":
			if string(value) != "title" && string(value) != "body" {
				return false
			}
		default:
			return false
		}
		if !printable(value) || len(value) > 64 {
			return false
		}
	}
	return true
}

// deviceControl judges a DCS that was not streamed.
func (f *Filter) deviceControl(body []byte, _ string) {
	for i, b := range body {
		if b >= 0x40 && b < 0x7f {
			r := f.rules.dcs[string(bytes.TrimLeft(body[:i+1], "0123456789;"))]
			if r != nil && r.do != nil && r.permit.granted(f.options) {
				r.do(f, sequence{body: body, params: body[i+1:], final: b})
			}
			return
		}
	}
}

// settingQuery passes DECRQSS for settings that exist.
func settingQuery(f *Filter, s sequence) {
	switch string(s.params) {
	case "m", "r", "s", "t", " q", `"p`, `"q`, "*x", "$|", "*|", ">4m":
		f.pass("\x1bP", string(s.body), stringEnd)
	}
}

// capabilityQuery passes XTGETTCAP: names in hexadecimal.
func capabilityQuery(f *Filter, s sequence) {
	if len(s.params) <= 1024 && len(bytes.Trim(s.params, "0123456789abcdefABCDEF;")) == 0 {
		f.pass("\x1bP", string(s.body), stringEnd)
	}
}

// imageQuery passes XTSMGRAPHICS where it only asks.
func imageQuery(f *Filter, s sequence) {
	fields := bytes.Split(s.params, []byte(";"))
	if f.options.Queries && len(fields) > 1 && (string(fields[1]) == "1" || string(fields[1]) == "4") {
		f.passControl(s)
	}
}
