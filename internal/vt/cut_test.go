package vt

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func checkCuts(t *testing.T, cols, rows int, data []byte, step int) {
	t.Helper()
	whole := New(cols, rows, Options{})
	whole.Write(data)
	want := dump(whole)
	for cut := 0; cut <= len(data); cut += step {
		a := New(cols, rows, Options{})
		a.Write(data[:cut])
		b := restored(a)
		if d := cmp.Diff(dump(a), dump(b)); d != "" {
			t.Errorf("snapshot after %q (%d of %d) differs (-want +got):\n%s", tail(data[:cut]), cut, len(data), d)
			return
		}
		b.Write(data[cut:])
		if d := cmp.Diff(want, dump(b)); d != "" {
			t.Errorf("cut after %q, then %q (-want +got):\n%s", tail(data[:cut]), data[cut:min(cut+60, len(data))], d)
			return
		}
	}
}

func tail(b []byte) []byte { return b[max(0, len(b)-60):] }

func TestCutSmoke(t *testing.T) {
	for _, s := range []string{
		"hello\r\nworld", "0123456789abcdef\r\nxx", "\x1b[1;31mred\x1b[0m plain \x1b[4:3;58:2::1:2:3mcurl",
		"日本語日本語", "a日本語日本語", "e\u0301e\u0301e\u0301", "\x1b[41m\x1b[2J\x1b[3;3Hx", "\x1b[?1049hfoo\x1b[2;2Hbar\x1b[?1049l",
		"1\n2\n3\n4\n5\n6\n7\n8\n", "\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "\x1b[2;3r\x1b[?6h\x1b[2;1Hx\x1b[4hyyy\x1b7",
		"\x1b(0qqq\x1b7\x0e\x1b)Axx#", "👨‍👩‍👧x👍🏽", "aaaaaaaaaa\x1b[2Kb", "A\x1b[5b\x1b[3bB",
		"\x1b[?69h\x1b[3;6sabcdefghijklmnop\x1b[2;2r\n\n", "\x1b[>1u\x1b[>5u\x1b[?1049h\x1b[>3u\x1b[=7;2u",
		"aaaaaaaaaaaaaaaaa\x1b[3D\x1b[Kbbbbbbbbbbbb\x1b[1;1H\x1b[2K", "\x1b[44maaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\x1b[K\n\n\n",
	} {
		checkCuts(t, 10, 5, []byte(s), 1)
	}
}
