package vt

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
)

// numbered is n bytes of format with counting numbers.
func numbered(n int, format string) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, format, i, i>>8&0xff, i&0xff)
	}
	return b.Bytes()
}

// TestHostile: whatever a program writes costs bounded memory, and time in
// proportion to the screen and the bytes.
func TestHostile(t *testing.T) {
	const size = 128 << 10
	repeat := func(s string) []byte { return []byte(strings.Repeat(s, size/len(s)+1)) }
	for name, data := range map[string][]byte{
		"a million parameters": append(append([]byte("\x1b["), repeat("1;")...), 'm'),
		"endless OSC":          append([]byte("\x1b]0;"), repeat("endless ")...),
		"endless DCS":          append([]byte("\x1bPq"), repeat("endless ")...),
		"endless number":       append([]byte("\x1b["), repeat("9")...),
		"scroll up":            repeat("\x1b[999999999S"),
		"scroll down":          repeat("\x1b[999999999T"),
		"insert lines":         repeat("\x1b[999999999L"),
		"insert characters":    repeat("\x1b[999999999@"),
		"repeat":               repeat("x\x1b[999999999b"),
		"tabs":                 repeat("\x1b[999999999I\x1b[999999999Z"),
		"backwards":            repeat("\x1b[?45h\x1b[?1045h\x1b[999999999D"),
		"marks":                append([]byte("e"), repeat("\u0301")...),
		"clusters":             numbered(size, "e\u0301%c\u0302%[2]c\u0303%[3]c\u0304"),
		"links":                numbered(size, "\x1b]8;;http://%d.test/%d/%d\x1b\\x"),
		"link ids":             numbered(size, "\x1b]8;id=%d-%d-%d;http://x.test\x1b\\x\n"),
		"underline colours":    numbered(size, "\x1b[4;58:2::%[2]d:%[3]d:7mx\n"),
		"colours":              numbered(size, "\x1b[38;2;1;%[2]d;%[3]dmx"),
		"titles":               numbered(size, "\x1b]0;%d\a\x1b[22;0t"),
		"palette":              numbered(size, "\x1b]4;%[3]d;rgb:%02[2]x/00/00\a"),
		"notifications":        numbered(size, "\x1b]9;note %d\a"),
		"questions":            repeat("\x1b[c\x1b[6n\x1b]11;?\a"),
		"keyboard stack":       repeat("\x1b[>1u"),
		"pushed pens":          repeat("\x1b[#{"),
		"screens":              repeat("\x1b[?1049h\x1b[?1049l"),
		"erase with colour":    repeat("\x1b[41m\x1b[2J"),
		"rectangles":           repeat("\x1b[1;1;999;999;1;2;2;1$v\x1b[88;1;1;999;999$x"),
		"resets":               repeat("\x1bc"),
		"malformed UTF-8":      repeat("\xf0\x9f\xe2\x82\xff\xc0"),
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			term := New(80, 24, Options{})
			start := time.Now()
			term.Write(data)
			snapshot := term.Snapshot(SnapshotOptions{})
			took := time.Since(start)
			checkInvariants(t, term)
			runtime.GC()
			runtime.ReadMemStats(&after)
			used := int64(after.HeapAlloc) - int64(before.HeapAlloc)
			t.Logf("%v, %.1f MB in use, snapshot %d bytes", took, float64(used)/1e6, len(snapshot))
			if used > 20e6 {
				t.Errorf("%d bytes in use", used)
			}
			if took > 20*time.Second {
				t.Errorf("took %v", took)
			}
			if len(term.Pending()) > maxString+100 {
				t.Errorf("%d bytes pending", len(term.Pending()))
			}
			runtime.KeepAlive(term)
			runtime.KeepAlive(snapshot)
			runtime.KeepAlive(data)
		})
	}
}
