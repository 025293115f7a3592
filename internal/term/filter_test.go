package term

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// everything is all options but the one that takes away.
func everything() Options {
	return Options{Queries: true, Colours: true, Clipboard: true, Notifications: true, Images: true}
}

// sharedRules saves the tests the time to make them each time.
var sharedRules = newRules()

func newTestFilter(o Options) *Filter { return &Filter{options: o, rules: sharedRules} }

func filtered(o Options, pieces ...string) string {
	f := newTestFilter(o)
	var out []byte
	for _, p := range pieces {
		out = f.Append(out, []byte(p))
	}
	return string(out)
}

const st = "\x1b\\"

// TestFilter has what may be sent, what passes of it without options, and what with all; "=" is all of it.
func TestFilter(t *testing.T) {
	long := strings.Repeat("x", 10<<10)
	tests := []struct{ name, in, plain, all string }{
		{"text", "hello, wörld 你好 🙂\r\n\tx\b", "=", "="},
		{"control characters", "a\x00b\x05c\x11\x7fd\x07", "abcd\x07", "abcd\x07"},
		{"C1 characters", "a\u009b31mb\u009d0;x\u009cc\u0085", "a31mb0;xc", "a31mb0;xc"},
		{"C1 bytes", "a\x9b31mb", "a\ufffd31mb", "a\ufffd31mb"},
		{"not UTF-8", "\xe2\x82a\xf0\x80\xc0\xff\xed\xa0\x80", "\ufffda\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd", "\ufffda\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd"},
		{"character broken off", "\xe2\x82\x1b[1m", "\ufffd\x1b[1m", "\ufffd\x1b[1m"},

		{"styles", "\x1b[1;38;2;1;2;3m\x1b[4:3;58:2::1:2:3mx\x1b[m", "=", "="},
		{"movement", "\x1b[2;3H\x1b[A\x1b[12G\x1bM\x1b7\x1b8\x1b[s\x1b[u", "=", "="},
		{"erasing", "\x1b[J\x1b[2K\x1b[3J\x1b[5X\x1b[3P\x1b[@\x1b[2L\x1b[M\x1b[S\x1b[2T\x1b[10b", "=", "="},
		{"control inside", "\x1b[3\n1mx", "\n\x1b[31mx", "\n\x1b[31mx"},
		{"broken off", "\x1b[3\x18x\x1b[3\x1b[1mx", "x\x1b[1mx", "x\x1b[1mx"},
		{"large numbers", "\x1b[1000000b\x1b[99999b\x1b[1;123456H\x1b[38;2;9999999;1;1m", "\x1b[99999b", "\x1b[99999b"},
		{"too long", "\x1b[" + strings.Repeat("1;", 400) + "mx", "x", "x"},
		{"not ASCII inside", "\x1b[3éx", "éx", "éx"},
		{"unknown", "\x1b[5y\x1b[>1;2;3%m\x1b[12z\x1b[=5h\x1bZ\x1b%Gx", "x", "x"},
		{"full reset", "\x1b[?1049h\x1b[1m\x1bc", "\x1b[?1049h\x1b[1m\x1b[?1049l\x1b[m\x1b[!p\x1b[2J\x1b[H", "\x1b[?1049h\x1b[1m\x1b[?1049l\x1b[m\x1b[!p\x1b[2J\x1b[H"},

		{"modes", "\x1b[?1049h\x1b[?25l\x1b[?1002;1006h\x1b[?2004h\x1b[4h\x1b=", "=", "="},
		{"some of the modes", "\x1b[?3;25;1007;2004h\x1b[2;4h\x1b[?2h\x1b[?9001h\x1b[?h", "\x1b[?25;2004h\x1b[4h", "\x1b[?25;2004h\x1b[4h"},
		{"saved modes", "\x1b[?1000s\x1b[?1000r", "", ""},
		{"keyboard", "\x1b[>1u\x1b[=5;1u\x1b[<u\x1b[<9u\x1b[>4;2m\x1b[>1;2m", "\x1b[>1u\x1b[=5;1u\x1b[<1u\x1b[>4;2m", "\x1b[>1u\x1b[=5;1u\x1b[<1u\x1b[>4;2m"},
		{"keyboard, deep", strings.Repeat("\x1b[>3u", 7) + "\x1b[<99u", strings.Repeat("\x1b[>3u", 5) + "\x1b[=3u\x1b[=3u\x1b[<5u", strings.Repeat("\x1b[>3u", 5) + "\x1b[=3u\x1b[=3u\x1b[<5u"},

		{"queries", "\x1b[c\x1b[>c\x1b[6n\x1b[?6n\x1b[?2026$p\x1b[4$p\x1b[>0q\x1b[?u\x1b[14t\x1b]11;?\x1b\\\x1bP$qm\x1b\\\x1bP+q544e\x1b\\\x1b]4;1;?\a", "", "="},
		{"queries that nobody needs", "\x1b[20t\x1b[21t\x1b[11t\x1b[?26n\x1b[x\x1bP$qdanger\n\x1b\\\x1bP+qzz\x1b\\\x1b[1;1;1;1;1;1*y", "", ""},
		{"window", "\x1b[8;10;10t\x1b[1t\x1b[9;1t\x1b[22t\x1b[23t\x1b[23t", "\x1b[22;0t\x1b[22;0t\x1b[23;0t", "\x1b[22;0t\x1b[22;0t\x1b[23;0t"},

		{"title", "\x1b]0;a\x01b\u202ec\u0090é\a\x1b]2;d\x1b\\", "\x1b[22;0t\x1b]0;abcé\a\x1b]2;d\x1b\\", "\x1b[22;0t\x1b]0;abcé\a\x1b]2;d\x1b\\"},
		{"long title", "\x1b]2;" + long[:300] + "\a\x1b]2;" + long + "\ax", "\x1b[22;0t\x1b]2;" + long[:256] + "\ax", "\x1b[22;0t\x1b]2;" + long[:256] + "\ax"},
		{"links", "\x1b]8;id=1:x=y;https://a.test/\x1b\\a\x1b]8;;\x1b\\", "\x1b]8;id=1;https://a.test/\x1b\\a\x1b]8;;\x1b\\", "\x1b]8;id=1;https://a.test/\x1b\\a\x1b]8;;\x1b\\"},
		{"other links", "\x1b]8;;file:///etc/passwd\aa\x1b]8;;javascript:x\ab\x1b]8;;http://a/\u009c\ac", "\x1b]8;;\aa\x1b]8;;\ab\x1b]8;;\ac", "\x1b]8;;\aa\x1b]8;;\ab\x1b]8;;\ac"},
		{"long links", "\x1b]8;;http://" + long[:8<<10] + "\aa\x1b]8;;http://" + long[:3000] + "\ab", "\x1b]8;;\aa\x1b]8;;\ab", "\x1b]8;;\aa\x1b]8;;\ab"},
		{"colours", "\x1b]4;1;#fff;300;red;2;rgb:1/2/3\a\x1b]10;red;blue\a\x1b]12;x\a", "", "\x1b]4;1;#fff;2;rgb:1/2/3\a\x1b]10;red\a\x1b]11;blue\a\x1b]12;x\a"},
		{"colours reset", "\x1b]104\a\x1b]110\a\x1b]4;7;red\a\x1b]4;8;red\a\x1b]104;7;9\a\x1b]104\a", "", "\x1b]4;7;red\a\x1b]4;8;red\a\x1b]104;7\x1b\\\x1b]104;8\x1b\\"},
		{"clipboard", "\x1b]52;c;aGk=\a", "", "="},
		{"clipboard, bad", "\x1b]52;c;?\a\x1b]52;c;!!\a\x1b]52;c\a\x1b]52;q;aGk=\a", "", ""},
		{"large clipboard", "\x1b]52;c;" + strings.Repeat("QUJD", 20<<10) + "\ax", "x", "="},
		{"too large clipboard", "\x1b]52;c;" + strings.Repeat("QUJD", 40<<10) + "\ax", "x", "x"},
		{"progress", "\x1b]9;4;1;50\a\x1b]9;4;0;0\a", "=", "="},
		{"notifications", "\x1b]9;hi\a\x1b]777;notify;a;b\a\x1b]99;i=1:d=0;hi\x1b\\", "", "="},
		{"notifications that do more", "\x1b]9;2;x\a\x1b]99;a=report;x\x1b\\\x1b]99;p=?;\a\x1b]777;run;x\a", "", ""},
		{"prompts and folders", "\x1b]133;A\a\x1b]7;file://h/p\a\x1b]633;E;x\a", "\x1b]133;A\a", "\x1b]133;A\a"},
		{"dangerous commands", "\x1b]1337;File=inline=1:aGk=\a\x1b]5113;ac=send\a\x1b]50;font\a\x1b]46;log\a\x1b]999;x\a\x1b]x\ay", "y", "y"},

		{"sixel", "\x1bP0;1q\"1;1;9;9#0;2;0;0;0#0~~\x1b\\x", "x", "="},
		{"sixel, huge", "\x1bPq!9999999~~\x1b\\x", "x", "\x1bPq!99999\x1b\\x"},
		{"sixel, broken off", "\x1bPq~~\x1b[1mx", "\x1b[1mx", "\x1bPq~~\x1b\\\x1b[1mx"},
		{"kitty image", "\x1b_Ga=T,f=100;QUJD\x1b\\x\x1b_Ga=d\x1b\\", "x", "="},
		{"kitty image from a file", "\x1b_Ga=T,t=f;L2V0Yy9wYXNzd2Q=\x1b\\\x1b_Gt=t;x\x1b\\\x1b_Gt=s;x\x1b\\x", "x", "x"},
		{"keys", "\x1bP1;1|17/72\x1b\\x", "x", "x"},
		{"strings of no use", "\x1b^a\x1b\\\x1bXb\x1b\\\x1b_c\x1b\\\x1bkd\x1b\\\x1bP+p41\x1b\\\x1bP1$tx\x1b\\x", "x", "x"},
		{"pass-through", "\x1bPtmux;\x1b\x1b]52;c;aGk=\a\x1b\\x", "x", "\x1b]52;c;aGk=\ax"},
		{"pass-through, screen", "\x1bP\x1b]0;t\a\x1b\\x", "\x1b[22;0t\x1b]0;t\ax", "\x1b[22;0t\x1b]0;t\ax"},
		{"string without end", "\x1b]0;abc\x1b[1mx", "\x1b[1mx", "\x1b[1mx"},
		{"string cancelled", "\x1b]0;abc\x18x", "x", "x"},
		{"string without any end", "\x1b]0;" + strings.Repeat("a", maxStream) + "bc", "abc", "abc"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for _, o := range []struct {
				options Options
				want    string
			}{{Options{}, test.plain}, {everything(), test.all}} {
				if o.want == "=" {
					o.want = test.in
				}
				if got := filtered(o.options, test.in); got != o.want {
					t.Fatalf("%+v\ngot  %.300q\nwant %.300q", o.options, got, o.want)
				}
				for cut := range min(len(test.in), 100, 20<<20/len(test.in)) {
					if got := filtered(o.options, test.in[:cut], test.in[cut:]); got != o.want {
						t.Fatalf("cut at %d\ngot  %.300q\nwant %.300q", cut, got, o.want)
					}
				}
			}
		})
	}
	if got := filtered(Options{KeepScrollback: true}, "\x1b[3J\x1b[2J"); got != "\x1b[2J" {
		t.Errorf("with KeepScrollback: %q", got)
	}
}

func TestUndo(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"nothing", "text\r\n\x1b[2J\x1b[3;4H\x1b[K", ""},
		{"what was given back already", "\x1b[1mx\x1b[0m\x1b[?25l\x1b[?25h\x1b[?1049h\x1b[>1u\x1b[<u\x1b[?1049l\x1b[4 q\x1b[0 q\x1b[2;5r\x1b[r", ""},
		{"style", "\x1b[1m", "\x1b[m"},
		{"style restored with the cursor", "\x1b[1m\x1b7\x1b[m\x1b8", "\x1b[m\x1b7"},
		{"colour 0", "\x1b[38;5;0m", "\x1b[m"},
		{"cursor", "\x1b[?25l\x1b[5 q", "\x1b[0 q\x1b[?25h"},
		{"alternate screen", "\x1b[?1049h", "\x1b[?1049l"},
		{"old alternate screen", "\x1b[?47h", "\x1b[?47l"},
		{"keyboards of both screens", "\x1b[>1u\x1b[>3u\x1b[?1049h\x1b[>5u\x1b[=1u", "\x1b[<1u\x1b[?1049l\x1b[<2u"},
		{"keyboard of the hidden screen", "\x1b[?1049h\x1b[>1u\x1b[?1049l", "\x1b[?1049h\x1b[<1u\x1b[?1049l"},
		{"keyboard without push", "\x1b[=5;1u", "\x1b[=0u"},
		{"region", "\x1b[2;5r", "\x1b7\x1b[r\x1b8"},
		{"region of the alternate screen", "\x1b[?1049h\x1b[2;5r", "\x1b[r\x1b[?1049l\x1b7\x1b[r\x1b8"},
		{"origin", "\x1b[?6h", "\x1b[?6l\x1b[9999H"},
		{"mouse, paste, focus", "\x1b[?1000;1006h\x1b[?2004;1004h", "\x1b[?1000l\x1b[?1006l\x1b[?1004l\x1b[?2004l"},
		{"wrap, insert, reverse video", "\x1b[?7l\x1b[4h\x1b[?5h", "\x1b[?5l\x1b[?7h\x1b[4l"},
		{"keypad", "\x1b=\x1b[?1h", "\x1b>\x1b[?1l"},
		{"keypad as a mode", "\x1b[?66h\x1b>", ""},
		{"keypad as a mode, on", "\x1b=\x1b[?66l", "\x1b>"},
		{"character sets", "\x1b(0\x1b)0\x0e", "\x1b(B\x1b)B\x0f"},
		{"title", "\x1b]0;x\a\x1b[22;2t\x1b]2;y\a", "\x1b[23;0t\x1b[23;0t"},
		{"link", "\x1b]8;;http://a\a", "\x1b]8;;\x1b\\"},
		{"progress", "\x1b]9;4;3\a", "\x1b]9;4;0\x1b\\"},
		{"colours", "\x1b]4;3;red;200;blue\a\x1b]11;red\a", "\x1b]111\x1b\\\x1b]104;3;200\x1b\\"},
		{"image", "\x1bPq~~", "\x1b\\"},
		{"image, half of its end", "\x1bPq~~\x1b", "\x1b\\"},
		{"other keys", "\x1b[>4;2m", "\x1b[>4m"},
		{"tab stops", "\x1b[3g\x1bH", "\x1b[?5W"},
		{"full reset", "\x1b[?1000h\x1b[1m\x1b]0;x\a\x1bc", ""},
		{"synchronized output, margins", "\x1b[?2026h\x1b[?69h\x1b[2;9s", "\x1b[?2026l\x1b[?69l"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := newTestFilter(everything())
			f.Append(nil, []byte(test.in))
			if got := string(f.Undo()); got != test.want {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
			if f.Changed() {
				t.Error("changed after Undo")
			}
		})
	}
}

func TestChanged(t *testing.T) {
	f := NewFilter(Options{})
	f.Append(nil, []byte("text\x1b[2J"))
	if f.Changed() {
		t.Error("text is no change")
	}
	f.Append(nil, []byte("\x1b[?1049h"))
	if !f.Changed() {
		t.Error("the alternate screen is a change")
	}
}

// randomOutput is a mixture of sequences that matter to a terminal's state, pieces of them, and text.
func randomOutput(r *rand.Rand) string {
	modes := []int{1, 2, 3, 5, 6, 7, 9, 12, 25, 45, 47, 66, 69, 1000, 1002, 1003, 1004, 1006, 1007, 1047, 1048, 1049, 2004, 2026, 2027, 9001}
	others := []string{
		"\x1b[m", "\x1b[1m", "\x1b[38;5;0m", "\x1b[2;10r", "\x1b[r", "\x1b7", "\x1b8", "\x1b[s", "\x1b[u", "\x1b=", "\x1b>", "\x1b(0", "\x1b(B", "\x1b)0", "\x0e", "\x0f",
		"\x1b[>1u", "\x1b[>3u", "\x1b[<u", "\x1b[<3u", "\x1b[=5u", "\x1b[>4;2m", "\x1b[>4m", "\x1b[4 q", "\x1b[0 q", "\x1b[4h", "\x1b[4l", "\x1b[20h",
		"\x1b]0;t\a", "\x1b[22;0t", "\x1b[23;0t", "\x1b[22t", "\x1b[23;2t", "\x1b]8;;http://a\a", "\x1b]8;;\a", "\x1b]4;5;red\a", "\x1b]104\a", "\x1b]104;5\a", "\x1b]10;red\a", "\x1b]110\a",
		"\x1b[!p", "\x1bc", "\x1b[1\"q", "\x1b[0\"q", "\x1bH", "\x1b[3g", "text", "\r\n", "\x1b[", "\x1b", "é", "\x1b]", "\x1bP", "\x1b\\", "\x1b[2*x", "\x1b]9;4;1\a", "\x1b]9;4;0\a",
	}
	var b strings.Builder
	for range r.IntN(60) {
		if r.IntN(3) == 0 {
			fmt.Fprintf(&b, "\x1b[?%d%c", modes[r.IntN(len(modes))], "hl"[r.IntN(2)])
		} else {
			b.WriteString(others[r.IntN(len(others))])
		}
	}
	return b.String()
}

// TestUndoGivesBack plays random output to a terminal, then what undoes it, and finds the terminal as it was.
func TestUndoGivesBack(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		in := randomOutput(r)
		f := newTestFilter(everything())
		out := f.Append(nil, []byte(in))
		model := newModel()
		model.play(t, out)
		model.play(t, f.Undo())
		if diff := cmp.Diff(newModel().state(), model.state()); diff != "" {
			t.Fatalf("after %q\npassed %q\nundo %q\n(-before +after):\n%s", in, out, f.Undo(), diff)
		}
	}
}

func FuzzFilter(f *testing.F) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 8 {
		f.Add([]byte(randomOutput(r)), uint16(3), uint8(0xff))
	}
	f.Add([]byte("\x1bP0;1q\"1;1;9;9#0~~\x1b\\\x1b_Ga=T;QUJD\x1b\\\x1b]52;c;aGk=\a\xe2\x82\x9b\x1b]4;1;?\a"), uint16(9), uint8(0xff))
	f.Fuzz(func(t *testing.T, in []byte, cut uint16, bits uint8) {
		o := Options{Queries: bits&1 != 0, Colours: bits&2 != 0, Clipboard: bits&4 != 0, Notifications: bits&8 != 0, Images: bits&16 != 0, KeepScrollback: bits&32 != 0}
		filter := newTestFilter(o)
		whole := filter.Append(nil, in)
		i := min(int(cut), len(in))
		if cut := filtered(o, string(in[:i]), string(in[i:])); cut != string(whole) {
			t.Fatalf("cut at %d: %q, in one piece %q", i, cut, whole)
		}
		if bytes.ContainsFunc(whole, func(r rune) bool { return r >= 0x80 && r < 0xa0 }) || bytes.ContainsAny(whole, "\x00\x05\x18\x1a\x7f") {
			t.Fatalf("%q passes control characters", whole)
		}
		undo := filter.Undo()
		model := newModel()
		model.play(t, whole)
		model.play(t, undo)
		if diff := cmp.Diff(newModel().state(), model.state()); diff != "" {
			t.Fatalf("after %q, passed %q, undo %q (-before +after):\n%s", in, whole, undo, diff)
		}
		// What passes passes again: the filter understands its own output.
		if again := filtered(everything(), string(whole)); !bytes.Contains(in, []byte("\x1bc")) && !strings.Contains(again, "\x1b[22;0t") && o.KeepScrollback == false && again != string(whole) && !filter.modes.streaming {
			t.Fatalf("%q passes as %q, and that as %q", in, whole, again)
		}
	})
}

// TestFilterMemory finds that endless sequences cost no memory.
func TestFilterMemory(t *testing.T) {
	for _, begin := range []string{"\x1b[", "\x1b]0;", "\x1bP", "\x1bPq", "\x1b_G", "\x1b(", "\x1b]52;c;", "\x1b]8;;"} {
		f := newTestFilter(everything())
		out := f.Append(nil, []byte(begin))
		piece := []byte(strings.Repeat("1", 1<<10))
		for range 2 << 10 {
			out = f.Append(out[:0], piece)
		}
		if cap(f.seq) > 2*maxClipboard || cap(out) > 4<<10 {
			t.Errorf("%q: keeps %d bytes, passes %d at once", begin, cap(f.seq), cap(out))
		}
	}
}

func BenchmarkFilter(b *testing.B) {
	for name, in := range map[string]string{
		"plain":    strings.Repeat("drwxr-xr-x 2 user user 4096 Jan  1 00:00 a-folder-with-a-name\r\n", 1000),
		"coloured": strings.Repeat("\x1b[1;32mdrwxr-xr-x\x1b[0m 2 user \x1b[38;5;12muser\x1b[m 4096\x1b[K\r\n", 1000),
		"wide":     strings.Repeat("你好，世界 wörld\r\n", 3000),
	} {
		b.Run(name, func(b *testing.B) {
			f := NewFilter(Options{})
			p, out := []byte(in), make([]byte, 0, 2*len(in))
			b.ReportAllocs()
			b.SetBytes(int64(len(p)))
			for b.Loop() {
				out = f.Append(out[:0], p)
			}
		})
	}
}
