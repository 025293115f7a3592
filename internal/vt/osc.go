package vt

import (
	"bytes"
	"encoding/base64"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	maxTitle      = 1024 // bytes
	maxTitleStack = 10
	maxNotice     = 4096 // bytes of a notification's title or body
)

type titlePair struct{ icon, title string }

// oscDispatch executes an operating system command. What is not listed here
// (clipboard, working directory, semantic prompts, images …) does not change
// the screen.
func (t *Terminal) oscDispatch(b []byte) {
	num, rest, _ := bytes.Cut(b, []byte{';'})
	n, err := strconv.Atoi(string(num))
	if err != nil {
		return
	}
	switch n {
	case 0:
		t.setTitles(cleanText(rest, maxTitle), cleanText(rest, maxTitle))
	case 1:
		t.setTitles(cleanText(rest, maxTitle), t.title)
	case 2:
		t.setTitles(t.icon, cleanText(rest, maxTitle))
	case 4:
		t.setPalette(string(rest))
	case 8:
		t.setLink(rest)
	case 9:
		t.notifyITerm(rest)
	case 99:
		t.notifyKitty(rest)
	case 777:
		t.notifyRxvt(rest)
	case 10, 11, 12, 13, 14, 15, 16, 17, 18, 19:
		t.setDynamicColors(n, string(rest))
	case 104:
		t.resetPalette(string(rest))
	case 110, 111, 112, 113, 114, 115, 116, 117, 118, 119:
		t.colors.dynamic[n-110] = ""
	}
}

// cleanText is b as valid UTF-8 without controls, cut to max bytes.
func cleanText(b []byte, max int) string {
	s := strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f && r < 0xa0 {
			return -1
		}
		return r
	}, strings.ToValidUTF8(string(b), string(utf8.RuneError)))
	if len(s) > max {
		s = strings.ToValidUTF8(s[:max], "")
	}
	return s
}

func (t *Terminal) setTitles(icon, title string) {
	t.icon = icon
	if t.title != title {
		t.title = title
		t.event(Event{Kind: TitleChange, Title: title})
	}
}

// pushTitle and popTitle are XTWINOPS 22 and 23. which is 0 for both titles,
// 1 the icon's, 2 the window's.
func (t *Terminal) pushTitle() {
	if len(t.titleStack) == maxTitleStack {
		t.titleStack = append(t.titleStack[:0], t.titleStack[1:]...)
	}
	t.titleStack = append(t.titleStack, titlePair{t.icon, t.title})
}

func (t *Terminal) popTitle(which int) {
	n := len(t.titleStack)
	if n == 0 {
		return
	}
	p := t.titleStack[n-1]
	t.titleStack = t.titleStack[:n-1]
	switch which {
	case 0:
		t.setTitles(p.icon, p.title)
	case 1:
		t.setTitles(p.icon, t.title)
	case 2:
		t.setTitles(t.icon, p.title)
	}
}

// setLink is OSC 8 ; params ; URI
// (https://gist.github.com/egmontkob/eb114294efbcd5adb1944c9f3cb5feda).
func (t *Terminal) setLink(b []byte) {
	args, uri, ok := bytes.Cut(b, []byte{';'})
	if !ok {
		return
	}
	t.link = link{}
	if len(uri) > 0 && len(b) <= maxLinkLen {
		t.link.uri = cleanText(uri, maxLinkLen)
		for kv := range bytes.SplitSeq(args, []byte{':'}) {
			if id, ok := bytes.CutPrefix(kv, []byte("id=")); ok {
				t.link.id = cleanText(id, maxLinkLen)
			}
		}
	}
	t.setPenExt(t.exts.get(t.pen.ext).underline)
}

// notifyITerm is OSC 9 ; text. OSC 9 ; n ; … are ConEmu's, of which 4 is a
// progress bar: no notifications.
func (t *Terminal) notifyITerm(b []byte) {
	if head, _, ok := bytes.Cut(b, []byte{';'}); ok || len(head) <= 2 {
		if _, err := strconv.Atoi(string(head)); err == nil {
			return
		}
	}
	t.event(Event{Kind: Notification, Body: cleanText(b, maxNotice)})
}

// notifyRxvt is OSC 777 ; notify ; title ; body.
func (t *Terminal) notifyRxvt(b []byte) {
	rest, ok := bytes.CutPrefix(b, []byte("notify;"))
	if !ok {
		return
	}
	title, body, _ := bytes.Cut(rest, []byte{';'})
	t.event(Event{Kind: Notification, Title: cleanText(title, maxNotice), Body: cleanText(body, maxNotice)})
}

// notifyKitty is OSC 99 ; key=value:… ; payload. Each part of a notification
// in several parts is an event of its own
// (https://sw.kovidgoyal.net/kitty/desktop-notifications).
func (t *Terminal) notifyKitty(b []byte) {
	meta, payload, ok := bytes.Cut(b, []byte{';'})
	if !ok {
		return
	}
	kind := "title"
	for kv := range strings.SplitSeq(string(meta), ":") {
		switch k, v, _ := strings.Cut(kv, "="); {
		case k == "p":
			kind = v
		case k == "e" && v == "1":
			raw, err := base64.StdEncoding.DecodeString(string(payload))
			if err != nil {
				return
			}
			payload = raw
		}
	}
	e := Event{Kind: Notification}
	switch text := cleanText(payload, maxNotice); kind {
	case "title":
		e.Title = text
	case "body":
		e.Body = text
	default:
		return
	}
	t.event(e)
}
