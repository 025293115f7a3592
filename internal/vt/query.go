package vt

import (
	"encoding/hex"
	"fmt"
	"strings"
)

// maxReply bounds what waits for TakeReplies; more is dropped.
const maxReply = 64 << 10

// SetAnswering switches answers to the program's questions on or off. They are
// on at first; switch them off while a real terminal is attached that answers.
func (t *Terminal) SetAnswering(on bool) {
	t.mute = !on
	if !on {
		t.reply = nil
	}
}

// TakeReplies returns what the terminal has to say to the program since the
// last call: input that nobody typed.
func (t *Terminal) TakeReplies() []byte {
	r := t.reply
	t.reply = nil
	return r
}

func (t *Terminal) replyf(before, format, after string, a ...any) {
	if t.mute || len(t.reply) > maxReply {
		return
	}
	t.reply = append(t.reply, before...)
	t.reply = fmt.Appendf(t.reply, format, a...)
	t.reply = append(t.reply, after...)
}

func (t *Terminal) replyCSI(format string, a ...any) { t.replyf("\x1b[", format, "", a...) }
func (t *Terminal) replyOSC(format string, a ...any) { t.replyf("\x1b]", format, "\x1b\\", a...) }

func (t *Terminal) replyDCS(s string) { t.replyf("\x1bP", "%s", "\x1b\\", s) }

// reportDA1 says: a VT420 with selective erase (6), ANSI colour (22) and
// rectangular editing (28).
func (t *Terminal) reportDA1() { t.replyCSI("?64;6;22;28c") }

// reportDA2 is what an xterm of patch level 400 says, so that programs use the
// mouse and key encodings that came since.
func (t *Terminal) reportDA2() { t.replyCSI(">41;400;0c") }

func (t *Terminal) reportVersion() { t.replyDCS(">|" + t.opts.Name) }

// reportStatus is DSR.
func (t *Terminal) reportStatus(n int) {
	switch n {
	case 5:
		t.replyCSI("0n")
	case 6:
		x, y := t.reportedPosition()
		t.replyCSI("%d;%dR", y, x)
	}
}

// reportedPosition is the cursor from 1, relative to the margins in origin mode.
func (t *Terminal) reportedPosition() (x, y int) {
	x, y = t.x+1, t.y+1
	if t.modes.has(modeOrigin) {
		x, y = x-t.left, y-t.top
	}
	return x, y
}

// reportPrivateStatus is DSR with ?, as xterm answers it without a printer,
// a locator or macros.
func (t *Terminal) reportPrivateStatus(n int) {
	switch n {
	case 6:
		x, y := t.reportedPosition()
		t.replyCSI("?%d;%d;1R", y, x)
	case 15:
		t.replyCSI("?13n")
	case 25:
		t.replyCSI("?20n")
	case 26:
		t.replyCSI("?27;1;0;0n")
	case 53, 55:
		t.replyCSI("?50n")
	case 56:
		t.replyCSI("?57;0n")
	case 62:
		t.replyCSI("0*{")
	case 75:
		t.replyCSI("?70n")
	case 85:
		t.replyCSI("?83n")
	case 996:
		scheme := 1 // dark
		if b := t.opts.Background; b>>16&255+b>>8&255+b&255 > 3*128 {
			scheme = 2
		}
		t.replyCSI("?997;%dn", scheme)
	}
}

// reportParameters is DECREQTPARM.
func (t *Terminal) reportParameters(n int) {
	if n <= 1 {
		t.replyCSI("%d;1;1;128;128;1;0x", n+2)
	}
}

// reportMode is DECRQM.
func (t *Terminal) reportMode(n int, dec bool) {
	mark := ""
	if dec {
		mark = "?"
	}
	t.replyCSI("%s%d;%d$y", mark, n, t.modeValue(n, dec))
}

// reportModifyKeys is XTQMODKEYS.
func (t *Terminal) reportModifyKeys(n int) {
	if n < modifyKeyResources {
		t.replyCSI(">%d;%dm", n, max(t.modifyKeys[n], 0))
	}
}

// reportGraphics refuses XTSMGRAPHICS: there are no sixels here.
func (t *Terminal) reportGraphics(item int) { t.replyCSI("?%d;1;0S", item) }

// reportPresentation is DECRQPSR: 1 asks for the cursor (DECCIR), 2 for the
// tab stops (DECTABSR).
func (t *Terminal) reportPresentation(n int) {
	switch n {
	case 1:
		t.replyDCS(t.cursorInformation())
	case 2:
		var stops []string
		for i, set := range t.tabs {
			if set {
				stops = append(stops, fmt.Sprint(i+1))
			}
		}
		t.replyDCS("2$u" + strings.Join(stops, "/"))
	}
}

// cursorInformation is a DECCIR report (VT420 manual; bit 7 is always set).
func (t *Terminal) cursorInformation() string {
	bit := func(on bool, n int) int {
		if on {
			return n
		}
		return 0
	}
	a := t.pen.attr
	rendition := 0x40 | bit(a&attrBold != 0, 1) | bit(a&attrUnderline != 0, 2) |
		bit(a&attrBlink != 0, 4) | bit(a&attrInverse != 0, 8)
	protection := 0x40 | bit(a&attrProtected != 0, 1)
	flags := 0x40 | bit(t.modes.has(modeOrigin), 1) | bit(t.charsets.single == 2, 2) |
		bit(t.charsets.single == 3, 4) | bit(t.pending, 8)
	return fmt.Sprintf("1$u%d;%d;1;%c;%c;%c;%d;2;@;%s", t.y+1, t.x+1,
		rendition, protection, flags, t.charsets.gl, t.charsets.g[:])
}

// reportResize is the in-band resize notification of mode 2048.
func (t *Terminal) reportResize() {
	if t.modes.has(modeResizeReport) {
		t.replyCSI("48;%d;%d;%d;%dt", t.rows, t.cols, t.rows*t.opts.CellHeight, t.cols*t.opts.CellWidth)
	}
}

// window is XTWINOPS: only what reports a size, or keeps titles. A question
// for a title is answered with an empty one, since a program could have put
// anything there for itself to be typed.
func (t *Terminal) window(p *params) {
	w, h := t.opts.CellWidth, t.opts.CellHeight
	switch p.get(0, 0) {
	case 11:
		t.replyCSI("1t")
	case 13:
		t.replyCSI("3;0;0t")
	case 14:
		if w > 0 && h > 0 {
			t.replyCSI("4;%d;%dt", h*t.rows, w*t.cols)
		}
	case 16:
		if w > 0 && h > 0 {
			t.replyCSI("6;%d;%dt", h, w)
		}
	case 18:
		t.replyCSI("8;%d;%dt", t.rows, t.cols)
	case 19:
		t.replyCSI("9;%d;%dt", t.rows, t.cols)
	case 20:
		t.replyOSC("L")
	case 21:
		t.replyOSC("l")
	case 22:
		t.pushTitle()
	case 23:
		t.popTitle(p.get(1, 0))
	}
}

// dcsDispatch executes a device control string: DECRQSS and XTGETTCAP.
func (t *Terminal) dcsDispatch(b []byte) {
	p := &t.parser
	if p.final != 'q' || p.ninter != 1 || p.prefix != 0 {
		return
	}
	switch p.inter[0] {
	case '$':
		if s, ok := t.setting(string(b)); ok {
			t.replyDCS("1$r" + s)
		} else {
			t.replyDCS("0$r")
		}
	case '+':
		for name := range strings.SplitSeq(string(b), ";") {
			t.reportCapability(name)
		}
	}
}

// setting is the answer to DECRQSS for the control function s.
func (t *Terminal) setting(s string) (string, bool) {
	switch s {
	case "m":
		return string(appendSGR(nil, t.pen, t.exts.get(t.pen.ext).underline)) + "m", true
	case "r":
		return fmt.Sprintf("%d;%dr", t.top+1, t.bottom+1), true
	case "s":
		return fmt.Sprintf("%d;%ds", t.left+1, t.right+1), true
	case "t":
		return fmt.Sprintf("%dt", t.rows), true
	case "$|":
		return fmt.Sprintf("%d$|", t.cols), true
	case "*|":
		return fmt.Sprintf("%d*|", t.rows), true
	case " q":
		return fmt.Sprintf("%d q", t.cursorStyle), true
	case "\"q":
		n := 0
		if t.pen.attr&attrProtected != 0 {
			n = 1
		}
		return fmt.Sprintf("%d\"q", n), true
	case "\"p":
		return "64;1\"p", true
	}
	return "", false
}

// reportCapability answers XTGETTCAP for one hex-encoded name.
func (t *Terminal) reportCapability(name string) {
	raw, err := hex.DecodeString(name)
	value := ""
	if err == nil {
		switch string(raw) {
		case "TN", "name":
			value = "xterm-256color"
		case "Co", "colors":
			value = "256"
		case "RGB":
			value = "8/8/8"
		}
	}
	if value == "" {
		t.replyDCS("0+r" + cleanText([]byte(name), 64))
		return
	}
	t.replyDCS(fmt.Sprintf("1+r%s=%X", name, value))
}
