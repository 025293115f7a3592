package vt

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReplies(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"DA1", "\x1b[c", "\x1b[?64;6;22;28c"},
		{"DA1 with 0", "\x1b[0c", "\x1b[?64;6;22;28c"},
		{"DA1 with 1", "\x1b[1c", ""},
		{"DECID", "\x1bZ", "\x1b[?64;6;22;28c"},
		{"DA2", "\x1b[>c", "\x1b[>41;400;0c"},
		{"DA3", "\x1b[=c", "\x1bP!|00000000\x1b\\"},
		{"DSR", "\x1b[5n", "\x1b[0n"},
		{"CPR", "\x1b[3;4H\x1b[6n", "\x1b[3;4R"},
		{"CPR at a pending wrap", "0123456789ab\x1b[6n", "\x1b[1;12R"},
		{"CPR in origin mode", "\x1b[2;4r\x1b[?6h\x1b[2;2H\x1b[6n", "\x1b[2;2R"},
		{"DECXCPR", "\x1b[3;4H\x1b[?6n", "\x1b[?3;4;1R"},
		{"printer", "\x1b[?15n", "\x1b[?13n"},
		{"DECRQM set", "\x1b[?25$p", "\x1b[?25;1$y"},
		{"DECRQM reset", "\x1b[?2026$p", "\x1b[?2026;2$y"},
		{"DECRQM of a mouse mode", "\x1b[?1002h\x1b[?1002$p\x1b[?1000$p", "\x1b[?1002;1$y\x1b[?1000;2$y"},
		{"DECRQM of the alternate screen", "\x1b[?1049h\x1b[?1049$p", "\x1b[?1049;1$y"},
		{"DECRQM unknown", "\x1b[?9999$p", "\x1b[?9999;0$y"},
		{"DECRQM ANSI", "\x1b[4h\x1b[4$p\x1b[20$p", "\x1b[4;1$y\x1b[20;2$y"},
		{"DECRQSS SGR", "\x1b[1;4:3;31;48;2;1;2;3;58;5;9m\x1bP$qm\x1b\\", "\x1bP1$r0;1;4:3;31;48;2;1;2;3;58:5:9m\x1b\\"},
		{"DECRQSS DECSTBM", "\x1b[2;4r\x1bP$qr\x1b\\", "\x1bP1$r2;4r\x1b\\"},
		{"DECRQSS DECSCUSR", "\x1b[3 q\x1bP$q q\x1b\\", "\x1bP1$r3 q\x1b\\"},
		{"DECRQSS DECSCA", "\x1b[1\"q\x1bP$q\"q\x1b\\", "\x1bP1$r1\"q\x1b\\"},
		{"DECRQSS unknown", "\x1bP$qzz\x1b\\", "\x1bP0$r\x1b\\"},
		{"XTVERSION", "\x1b[>q", "\x1bP>|moat\x1b\\"},
		{"XTGETTCAP", "\x1bP+q544e;436f\x1b\\", "\x1bP1+r544e=787465726D2D323536636F6C6F72\x1b\\\x1bP1+r436f=323536\x1b\\"},
		{"XTGETTCAP unknown", "\x1bP+q7878\x1b\\", "\x1bP0+r7878\x1b\\"},
		{"OSC 4", "\x1b]4;1;?\a", "\x1b]4;1;rgb:cdcd/0000/0000\x1b\\"},
		{"OSC 4 set", "\x1b]4;1;#123456;300;?;1;?\a", "\x1b]4;1;rgb:1212/3434/5656\x1b\\"},
		{"OSC 10 to 12", "\x1b]10;?;?;?\a", "\x1b]10;rgb:e5e5/e5e5/e5e5\x1b\\\x1b]11;rgb:0000/0000/0000\x1b\\\x1b]12;rgb:e5e5/e5e5/e5e5\x1b\\"},
		{"OSC 11 set", "\x1b]11;rgb:ff/80/0\a\x1b]11;?\a", "\x1b]11;rgb:ffff/8080/0000\x1b\\"},
		{"OSC 111", "\x1b]11;rgb:ff/80/0\a\x1b]111\a\x1b]11;?\a", "\x1b]11;rgb:0000/0000/0000\x1b\\"},
		{"kitty", "\x1b[?u", "\x1b[?0u"},
		{"kitty pushed", "\x1b[>5u\x1b[?u\x1b[<u\x1b[?u", "\x1b[?5u\x1b[?0u"},
		{"kitty set", "\x1b[=3u\x1b[=4;2u\x1b[=1;3u\x1b[?u", "\x1b[?6u"},
		{"kitty of each screen", "\x1b[>1u\x1b[?1049h\x1b[?u\x1b[>2u\x1b[?u\x1b[?1049l\x1b[?u", "\x1b[?0u\x1b[?2u\x1b[?1u"},
		{"kitty stack is bounded", strings.Repeat("\x1b[>1u", 40) + "\x1b[<15u\x1b[?u\x1b[<u\x1b[?u", "\x1b[?1u\x1b[?0u"},
		{"XTWINOPS sizes", "\x1b[18t\x1b[19t\x1b[14t\x1b[16t", "\x1b[8;6;12t\x1b[9;6;12t\x1b[4;96;96t\x1b[6;16;8t"},
		{"XTWINOPS titles are not told", "\x1b]2;rm -rf\a\x1b[20t\x1b[21t", "\x1b]L\x1b\\\x1b]l\x1b\\"},
		{"DECREQTPARM", "\x1b[x", "\x1b[2;1;1;128;128;1;0x"},
		{"DECTABSR", "\x1b[2$w", "\x1bP2$u9\x1b\\"},
		{"DECCIR", "\x1b[2;3H\x1b[1;7m\x1b[1$w", "\x1bP1$u2;3;1;I;@;@;0;2;@;BBBB\x1b\\"},
		{"XTQMODKEYS", "\x1b[>4;2m\x1b[?4m", "\x1b[>4;2m"},
		{"XTSMGRAPHICS", "\x1b[?1;1;0S", "\x1b[?1;1;0S"},
		{"colour scheme", "\x1b[?996n", "\x1b[?997;1n"},
		{"resize report", "\x1b[?2048h", "\x1b[48;6;12;96;96t"},
		{"OSC 52", "\x1b]52;c;?\a", ""},
		{"ENQ", "\x05", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			term := New(12, 6, Options{CellWidth: 8, CellHeight: 16})
			term.Write([]byte(c.in))
			if d := cmp.Diff(c.want, string(term.TakeReplies())); d != "" {
				t.Errorf("%q (-want +got):\n%s", c.in, d)
			}
			if again := term.TakeReplies(); len(again) > 0 {
				t.Errorf("said twice: %q", again)
			}
			term.SetAnswering(false)
			term.Write([]byte(c.in))
			if got := term.TakeReplies(); len(got) > 0 {
				t.Errorf("answers while switched off: %q", got)
			}
		})
	}
}

// TestSnapshotAsksNothing: a snapshot in any state has no question in it but
// what mode 2048 reports by itself.
func TestSnapshotAsksNothing(t *testing.T) {
	for _, c := range readCases(t) {
		term := New(c.cols, c.rows, Options{})
		term.Write(c.data)
		term.setDECMode(2048, false)
		fresh := New(c.cols, c.rows, Options{})
		fresh.Write(term.Snapshot(SnapshotOptions{}))
		if r := fresh.TakeReplies(); len(r) > 0 {
			t.Errorf("%s: the snapshot is answered with %q", c.name, r)
		}
	}
}

func TestEvents(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     []Event
	}{
		{"bells are one", "\a\a\a", []Event{{Kind: Bell}}},
		{"titles", "\x1b]2;one\a\x1b]2;two\a\a", []Event{{Kind: TitleChange, Title: "two"}, {Kind: Bell}}},
		{"the same title", "\x1b]2;one\a\x1b]2;one\a", []Event{{Kind: TitleChange, Title: "one"}}},
		{"controls are taken out", "\x1b]0;a\u009b31mb\tc\xff\a", []Event{{Kind: TitleChange, Title: "a31mbc\ufffd"}}},
		{"OSC 9", "\x1b]9;done; really\a", []Event{{Kind: Notification, Body: "done; really"}}},
		{"OSC 9;4 is progress", "\x1b]9;4;1;50\a", nil},
		{"OSC 777", "\x1b]777;notify;title;body; more\x1b\\", []Event{{Kind: Notification, Title: "title", Body: "body; more"}}},
		{"OSC 99", "\x1b]99;i=1:d=0;Title\x1b\\\x1b]99;i=1:p=body:e=1;Ym9keQ==\x1b\\",
			[]Event{{Kind: Notification, Title: "Title"}, {Kind: Notification, Body: "body"}}},
		{"OSC 99 close", "\x1b]99;i=1:p=close;\x1b\\", nil},
		{"BEL in an OSC is no bell", "\x1b]133;A\a", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			term := New(12, 6, Options{})
			term.Write([]byte(c.in))
			if d := cmp.Diff(c.want, term.TakeEvents()); d != "" {
				t.Errorf("%q (-want +got):\n%s", c.in, d)
			}
		})
	}
}

func TestPending(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"text", ""},
		{"\x1b", "\x1b"},
		{"\x1b(", "\x1b("},
		{"\x1b[", "\x1b["},
		{"\x1b[?12;3:4;", "\x1b[?12;3:4;"},
		{"\x1b[1\n2", "\x1b[12"}, // the line feed was executed
		{"\x1b[4 ", "\x1b[4 "},
		{"\x1b[1?", "\x1b[0$0"},
		{"\x1b]2;tit", "\x1b]2;tit"},
		{"\x1b]2;done\x1b", "\x1b"},
		{"\x1b]52;c;" + strings.Repeat("A", maxString), "\x1b]99999;"},
		{"\x1bP1$qm", "\x1bP1$qm"},
		{"\x1b_Gpay", "\x1b_Gpay"},
		{"\xe6\x97", "\xe6\x97"},
		{"\xf0\x9f\x98", "\xf0\x9f\x98"},
		{"a\xc3", "\xc3"},
		{"\x1b[" + strings.Repeat("1;", 40), "\x1b[" + strings.Repeat("1;", 32)},
	} {
		term := New(12, 6, Options{})
		term.Write([]byte(c.in))
		if got := string(term.Pending()); got != c.want {
			t.Errorf("after %q: pending %q, should be %q", c.in, got, c.want)
		}
		if term.Ground() != (c.want == "") {
			t.Errorf("after %q: ground %v", c.in, term.Ground())
		}
	}
}
