package term

import (
	"bytes"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// typed feeds the pieces and returns what came out, the commands as <detach> and <stop>.
func typeKeys(prefix string, pieces ...string) string {
	k := NewKeys([]byte(prefix))
	var out strings.Builder
	for _, piece := range pieces {
		rest := []byte(piece)
		for {
			pass, action, more := k.Feed(rest)
			out.Write(pass)
			out.WriteString(map[Action]string{Detach: "<detach>", Stop: "<stop>"}[action])
			if rest = more; action == None {
				break
			}
		}
	}
	out.Write(k.End())
	return out.String()
}

func TestKeys(t *testing.T) {
	tests := []struct{ name, prefix, in, want string }{
		{"text", "\x1f", "hello\r", "hello\r"},
		{"detach", "\x1f", "ab\x1fdcd", "ab<detach>cd"},
		{"stop", "\x1f", "\x1fk", "<stop>"},
		{"several", "\x1f", "a\x1fdb\x1fkc\x1f\x1fd", "a<detach>b<stop>c\x1fd"},
		{"literal", "\x1f", "\x1f\x1f", "\x1f"},
		{"literal then letter", "\x1f", "\x1f\x1fd", "\x1fd"},
		{"three prefixes", "\x1f", "\x1f\x1f\x1fd", "\x1f<detach>"},
		{"other", "\x1f", "\x1fx", "\x1fx"},
		{"upper case", "\x1f", "\x1fD\x1fK", "\x1fD\x1fK"},
		{"end", "\x1f", "a\x1f", "a\x1f"},
		{"escape then prefix", "\x1f", "\x1b\x1fd", "\x1b<detach>"},
		{"alt-[ then prefix", "\x1f", "\x1b[\x1fd", "\x1b[<detach>"},
		{"prefix then escape", "\x1f", "\x1f\x1bd", "\x1f\x1bd"},
		{"prefix then arrow", "\x1f", "\x1f\x1b[Ad", "\x1f\x1b[Ad"},
		{"prefix then function key", "\x1f", "\x1f\x1b[15~d", "\x1f\x1b[15~d"},
		{"prefix then letter beyond ASCII", "\x1f", "\x1fédk", "\x1fédk"},
		{"no prefix", "", "\x1fd\x1b[47;5u", "\x1fd\x1b[47;5u"},

		{"kitty", "\x1f", "\x1b[47;5ud", "<detach>"},
		{"kitty, all of it", "\x1f", "\x1b[47;5:1u\x1b[47;5:3u\x1b[100;1:1u\x1b[100;1:3u", "<detach>\x1b[100;1:3u"},
		{"kitty, modifiers reported", "\x1f", "\x1b[57442;5u\x1b[47;5u\x1b[47;5:3u\x1b[57442;1:3u\x1b[107u", "\x1b[57442;5u\x1b[57442;1:3u<stop>"},
		{"kitty, text and alternates", "\x1f", "\x1b[47:63:47;5:1;47u\x1b[100:68;1;100u", "<detach>"},
		{"kitty, caps and num lock", "\x1f", "\x1b[47;197u\x1b[107;193u", "<stop>"},
		{"kitty, other modifier", "\x1f", "\x1b[47;7ud\x1b[47u", "\x1b[47;7ud\x1b[47u"},
		{"kitty, ctrl-_ with alternates", "\x1f", "\x1b[45:95;6ud", "<detach>"},
		{"kitty, ctrl-_ without", "\x1f", "\x1b[45;6ud", "<detach>"},
		{"kitty, ctrl-minus", "\x1f", "\x1b[45;5ud", "\x1b[45;5ud"},
		{"kitty, German ctrl-/", "\x1f", "\x1b[55:47;6ud", "<detach>"},
		{"kitty, literal", "\x1f", "\x1b[47;5u\x1b[47;5:3u\x1b[47;5ux", "\x1b[47;5u\x1b[47;5:3ux"},
		{"kitty, other", "\x1f", "\x1b[47;5u\x1b[47;5:2u\x1b[47;5:3u\x1b[120u", "\x1b[47;5u\x1b[47;5:2u\x1b[47;5:3u\x1b[120u"},
		{"kitty, upper case", "\x1f", "\x1f\x1b[100;2u\x1f\x1b[100:68;2u", "\x1f\x1b[100;2u\x1f\x1b[100:68;2u"},
		{"kitty, ctrl-d", "\x1f", "\x1f\x1b[100;5u", "\x1f\x1b[100;5u"},
		{"kitty, release first", "\x1f", "\x1b[47;5:3ud", "\x1b[47;5:3ud"},
		{"kitty, end", "\x1f", "\x1b[47;5u\x1b[47;5:3u", "\x1b[47;5u\x1b[47;5:3u"},
		{"kitty, other layout", "\x01", "\x1b[1092::97;5u\x1b[1074::100u", "<detach>"},
		{"kitty, another place", "\x1f", "\x1b[45::47;5ud", "\x1b[45::47;5ud"},
		{"kitty, ctrl-shift-a", "\x01", "\x1b[97;6ud\x1b[97:65;6ud", "\x1b[97;6ud\x1b[97:65;6ud"},
		{"kitty, enter is ctrl-m", "\r", "\x1b[13ud", "<detach>"},
		{"kitty, capital", "A", "\x1b[97;2ud\x1b[97:65;2uk", "<detach><stop>"},
		{"xterm", "\x1f", "\x1b[27;5;47~d", "<detach>"},
		{"xterm, German", "\x1f", "\x1b[27;6;47~d", "<detach>"},
		{"xterm, caps lock", "\x01", "\x1b[27;5;65~d", "<detach>"},
		{"xterm, literal", "\x1f", "\x1b[27;5;47~\x1b[27;5;47~", "\x1b[27;5;47~"},
		{"mixed", "\x1f", "\x1b[27;5;47~\x1b[100u\x1f\x1b[47;5u", "<detach>\x1f"},
		{"numbers that overflow", "\x1f", "\x1b[99999999999999999999947;5ud", "\x1b[99999999999999999999947;5ud"},
		{"too long", "\x1f", "\x1b[" + strings.Repeat("0", 80) + "47;5ud", "\x1b[" + strings.Repeat("0", 80) + "47;5ud"},

		{"mouse between", "\x1f", "\x1f\x1b[<35;10;3Md", "\x1b[<35;10;3M<detach>"},
		{"focus between", "\x1f", "\x1f\x1b[O\x1b[Id", "\x1b[O\x1b[I<detach>"},
		{"answers between", "\x1f", "\x1f\x1b[?62;22c\x1b[12;3R\x1b[?2026;2$yd", "\x1b[?62;22c\x1b[12;3R\x1b[?2026;2$y<detach>"},
		{"release of an arrow between", "\x1f", "\x1f\x1b[1;1:3Ad", "\x1b[1;1:3A<detach>"},

		{"paste", "\x1f", "\x1b[200~\x1fd\x1b[47;5uk\x1b[201~\x1fk", "\x1b[200~\x1fd\x1b[47;5uk\x1b[201~<stop>"},
		{"paste, look-alikes", "\x1f", "\x1b[200~[201~\x1fd\x1b[201;1~\x1fd\x1b[2010~\x1fd\x1b\x1b[201\x1fd\x1b[201~\x1fd",
			"\x1b[200~[201~\x1fd\x1b[201;1~\x1fd\x1b[2010~\x1fd\x1b\x1b[201\x1fd\x1b[201~<detach>"},
		{"paste, its end inside", "\x1f", "\x1b[200~a\x1b[201~\x1fk\x1b[201~", "\x1b[200~a\x1b[201~\x1fk\x1b[201~"},
		{"two pastes", "\x1f", "\x1b[200~a\x1b[201~\x1fk\x1b[200~b\x1b[201~", "\x1b[200~a\x1b[201~<stop>\x1b[200~b\x1b[201~"},
		{"paste while pending", "\x1f", "\x1f\x1b[200~d\x1b[201~d", "\x1f\x1b[200~d\x1b[201~d"},
		{"paste without end", "\x1f", "\x1b[200~\x1fd", "\x1b[200~\x1fd"},

		{"long prefix", "\x10\x11", "a\x10\x11d", "a<detach>"},
		{"long prefix, literal", "\x10\x11", "\x10\x11\x10\x11d", "\x10\x11d"},
		{"long prefix, half", "\x10\x11", "\x10a\x10", "\x10a\x10"},
		{"long prefix, begun twice", "\x10\x11", "\x10\x10\x11k", "\x10<stop>"},
		{"long prefix, half of the second", "\x10\x11", "\x10\x11\x10x", "\x10\x11\x10x"},
		{"long prefix, second begun twice", "\x10\x11", "\x10\x11\x10\x10\x11d", "\x10\x11\x10<detach>"},
		{"long prefix, repeating", "\x01\x01\x02", "\x01\x01\x01\x02d", "\x01<detach>"},
		{"long prefix, kitty", "\x10\x11", "\x1b[112;5u\x1b[112;5:3u\x1b[113;5u\x1b[113;5:3ud", "<detach>"},
		{"long prefix with escape", "\x01\x1b", "\x01\x1bd", "<detach>"},
		{"screen's", "\x01", "\x01\x01\x01d", "\x01<detach>"},
		{"a letter", "~", "a~~~d", "a~<detach>"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, typeKeys(test.prefix, test.in)); diff != "" {
				t.Fatalf("in one piece (-want +got):\n%s", diff)
			}
			for cut := range len(test.in) {
				checkCut(t, test.prefix, test.in, cut)
			}
		})
	}
}

// stray finds two ends of a paste without a beginning between them: which of them ends it depends on the cut.
func stray(in string) bool {
	_, in, found := strings.Cut(in, pasteEnd)
	for found {
		var between string
		between, in, found = strings.Cut(in, pasteEnd)
		if found && !strings.Contains(between, pasteBegin) {
			return true
		}
	}
	return false
}

// checkCut compares the input cut in two with the input in one piece.
func checkCut(t *testing.T, prefix, in string, cut int) {
	t.Helper()
	if stray(in) {
		return
	}
	whole, pieces := typeKeys(prefix, in), typeKeys(prefix, in[:cut], in[cut:])
	if whole == pieces {
		return
	}
	// Only where a sequence is cut after ESC or ESC [ may it pass although it was a command's.
	if head := in[:cut]; !strings.HasSuffix(head, "\x1b") && !strings.HasSuffix(head, "\x1b[") {
		t.Fatalf("%q cut at %d: %q, in one piece %q", in, cut, pieces, whole)
	}
	commands := regexp.MustCompile(`<detach>|<stop>`)
	if a, b := commands.FindAllString(whole, -1), commands.FindAllString(pieces, -1); !cmp.Equal(a, b) {
		t.Fatalf("%q cut at %d: commands %v, in one piece %v", in, cut, b, a)
	}
	if !contains(pieces, whole) {
		t.Fatalf("%q cut at %d lost something: %q, in one piece %q", in, cut, pieces, whole)
	}
}

// contains reports whether all bytes of part are in whole, in any order: what passes while a prefix is pending passes
// before or after it.
func contains(whole, part string) bool {
	for i := range 256 {
		if b := []byte{byte(i)}; bytes.Count([]byte(part), b) > bytes.Count([]byte(whole), b) {
			return false
		}
	}
	return true
}

// TestKeysAtOnce shows what passes before the next byte is typed.
func TestKeysAtOnce(t *testing.T) {
	tests := []struct {
		name   string
		pieces []string
		want   []string
	}{
		{"escape", []string{"\x1b", "x"}, []string{"\x1b", "x"}},
		{"alt-[", []string{"\x1b[", "4", "7"}, []string{"\x1b[", "4", "7"}},
		{"prefix", []string{"\x1f", "x"}, []string{"", "\x1fx"}},
		{"prefix, escape", []string{"\x1f", "\x1b", "x"}, []string{"", "\x1f\x1b", "x"}},
		{"mouse", []string{"\x1b[<0;1", ";1M"}, []string{"\x1b[<0;1", ";1M"}},
		{"mouse while pending", []string{"\x1f", "\x1b[<0;1", ";1Md"}, []string{"", "\x1b[<0;1", ";1M"}},
		{"what may be a prefix", []string{"\x1b[4", "7;5", "u", "x"}, []string{"", "", "", "\x1b[47;5ux"}},
		{"what was not", []string{"\x1b[4", "8;5u"}, []string{"", "\x1b[48;5u"}},
		{"cut after escape, detach", []string{"\x1b", "[47;5u", "d"}, []string{"\x1b", "[47;5u", ""}},
		{"cut after escape, other", []string{"\x1b", "[47;5u", "x"}, []string{"\x1b", "[47;5u", "x"}},
		{"cut after escape, literal", []string{"\x1b[", "47;5u", "\x1b[47;5u"}, []string{"\x1b[", "47;5u", ""}},
		{"paste", []string{"\x1b[200~\x1f", "d\x1b[20", "1", "~", "\x1f"}, []string{"\x1b[200~\x1f", "d\x1b[20", "1", "~", ""}},
		{"a key that repeats for ever", []string{"\x1b[47;5u" + strings.Repeat("\x1b[47;5:2u", 1000), "x"}, []string{"", "\x1b[47;5u" + strings.Repeat("\x1b[47;5:2u", (maxHeld-7)/9) + "x"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			k := NewKeys([]byte{0x1f})
			var got []string
			for _, piece := range test.pieces {
				pass, _, _ := k.Feed([]byte(piece))
				got = append(got, string(pass))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestControlKeys compares all control characters with all keys that kitty's table has for them.
func TestControlKeys(t *testing.T) {
	table := map[byte]string{ // https://sw.kovidgoyal.net/kitty/keyboard-protocol/#legacy-ctrl-mapping-of-ascii-keys
		0: " 2@", 27: "3[", 28: `4\`, 29: "5]", 30: "6^~", 31: "7/_",
	}
	for i := range 26 {
		table[byte(i+1)] = string(rune('a' + i))
	}
	for control, keys := range table {
		for key := rune(' '); key < 0x7f; key++ {
			c := chord{code: key, mods: modCtrl}
			want := strings.ContainsRune(keys, key) || key >= 'A' && key <= 'Z' && strings.ContainsRune(keys, key+32)
			if c.sends(control) != want {
				t.Errorf("ctrl and %q sends %#x: %v, want %v", key, control, !want, want)
			}
		}
	}
}

func FuzzKeys(f *testing.F) {
	for _, seed := range []string{
		"ab\x1fdcd", "\x1b[47;5u\x1b[47;5:3u\x1b[100;1:1u", "\x1b[27;5;47~\x1fk", "\x1b[200~\x1fd\x1b[201~\x1fd", "\x10\x11\x10\x10\x11d",
		"\x1f\x1b[<35;10;3Md", "\x1f\x1b\x1b[\x1b[4", "\x1b[O\x1f\x1f\x1fd",
	} {
		f.Add("\x1f", seed, uint16(3), uint16(7))
		f.Add("\x10\x11", seed, uint16(1), uint16(2))
	}
	f.Fuzz(func(t *testing.T, prefix, in string, a, b uint16) {
		if len(prefix) > 8 || len(in) > 4096 || strings.HasPrefix(prefix, "\x1b") || strings.ContainsAny(in, "<>") {
			return
		}
		i := min(int(a), len(in))
		checkCut(t, prefix, in, i)
		checkBalance(t, prefix, in)
		if prefix == "\x1f" {
			if want, got := reference(in), typeKeys(prefix, in); want != got && !stray(in) {
				t.Fatalf("%q: %q, the reference says %q", in, got, want)
			}
		}
		typeKeys(prefix, in[:i], in[i:min(len(in), i+int(b))], in[min(len(in), i+int(b)):])
	})
}

// checkBalance finds that nothing is lost or doubled: without commands and literals, all passes.
func checkBalance(t *testing.T, prefix, in string) {
	t.Helper()
	if got := typeKeys("", in); got != in {
		t.Fatalf("without a prefix %q became %q", in, got)
	}
	got := regexp.MustCompile(`<detach>|<stop>`).ReplaceAllString(typeKeys(prefix, in), "")
	if len(got) > len(in) {
		t.Fatalf("%q grew to %q", in, got)
	}
}

// reference is another parser, slow and plain: the input in one piece, and the prefix 0x1f.
func reference(in string) string {
	token := regexp.MustCompile(`^(?s:\x1b\[200~.*?(\x1b\[201~|$)|\x1b\[[0-?]*[ -/]*[@-~]|\x1b\[[ -?]*[@-~]|\x1b\[[ -?]*|.)`)
	var out, held strings.Builder
	pending := false
	give := func() { out.WriteString(held.String()); held.Reset(); pending = false }
	for in != "" {
		unit := in[:1]
		if m := token.FindString(in); in[0] == 0x1b && m != "" {
			unit = m
		}
		in = in[len(unit):]
		kind := referenceKind(unit)
		switch {
		case kind == "pass":
			out.WriteString(unit)
		case kind == "prefix" && !pending:
			held.WriteString(unit)
			pending = true
		case kind == "prefix":
			give()
		case kind == "again" && pending && held.Len()+len(unit) <= maxHeld:
			held.WriteString(unit)
		case kind == "again" && !pending:
			out.WriteString(unit)
		case kind == "again":
		case (kind == "d" || kind == "k") && pending:
			held.Reset()
			pending = false
			out.WriteString(map[string]string{"d": "<detach>", "k": "<stop>"}[kind])
		default:
			give()
			out.WriteString(unit)
		}
	}
	give()
	return out.String()
}

// referenceKind judges one unit by expressions for the few keys that matter.
func referenceKind(unit string) string {
	switch {
	case unit == "\x1f":
		return "prefix"
	case unit == "d", unit == "k":
		return unit
	case len(unit) < 3 || !strings.HasPrefix(unit, "\x1b["):
		return "other"
	case strings.HasPrefix(unit, pasteBegin) && len(unit) >= 6:
		return "other"
	}
	number := func(parts []string, i int) int {
		if i >= len(parts) {
			return 0
		}
		n, err := strconv.Atoi("0" + parts[i])
		if err != nil || n > 0x10ffff {
			return 0x110000
		}
		return n
	}
	final := unit[len(unit)-1]
	if final < 0x40 { // unfinished
		if bytes.ContainsAny([]byte(unit[2:]), " !\"#$%&'()*+,-./<=>?") || len(unit) > maxSequence {
			return "pass"
		}
		return "other"
	}
	body := unit[2 : len(unit)-1]
	if strings.ContainsAny(body, " !\"#$%&'()*+,-./<=>?") || len(unit) > maxSequence {
		return "pass"
	}
	params := strings.Split(body, ";")
	for len(params) < 3 {
		params = append(params, "")
	}
	first, second := strings.Split(params[0], ":"), strings.Split(params[1], ":")
	c := chord{code: rune(number(first, 0)), shifted: rune(number(first, 1)), base: rune(number(first, 2)), mods: max(number(second, 0), 1) - 1}
	kind := number(second, 1)
	switch {
	case final == 'u' && modifierKey(number(first, 0)):
		return "pass"
	case final == '~' && number(first, 0) == 200:
		return "other"
	case final == '~' && number(first, 0) == 27:
		c = chord{code: rune(number(strings.Split(params[2], ":"), 0)), mods: c.mods}
		kind = 1
	case final == 'u':
	case len(unit) == 3 && (final == 'I' || final == 'O'), final == 'R' && number(first, 0) > 1, strings.IndexByte("cntxy", final) >= 0:
		return "pass"
	case kind == 3:
		return "pass"
	default:
		return "other"
	}
	switch {
	case kind > 1 && c.sends(0x1f):
		return "again"
	case kind > 1:
		return "pass"
	case c.sends(0x1f):
		return "prefix"
	case c.sends('d'):
		return "d"
	case c.sends('k'):
		return "k"
	}
	return "other"
}

func TestKeysDoNotAllocate(t *testing.T) {
	k := NewKeys([]byte{0x1f})
	inputs := [][]byte{[]byte("a"), []byte("\x1b[A"), []byte("\x1b[97;5:1u"), []byte("\x1f"), []byte("x"), []byte("\x1b[<35;10;3M"), []byte("\x1b[47;5u\x1b[47;5:3u\x1b[47;5u")}
	if n := testing.AllocsPerRun(100, func() {
		for _, in := range inputs {
			k.Feed(in)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkKeys(b *testing.B) {
	for name, in := range map[string]string{"key": "a", "arrow": "\x1b[A", "paste": pasteBegin + strings.Repeat("some text\r", 400) + pasteEnd} {
		b.Run(name, func(b *testing.B) {
			k := NewKeys([]byte{0x1f})
			p := []byte(in)
			b.ReportAllocs()
			b.SetBytes(int64(len(p)))
			for b.Loop() {
				k.Feed(p)
			}
		})
	}
}
