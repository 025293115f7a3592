package screens

import (
	"fmt"
	"strings"
	"testing"
)

func hex(text string) string { return fmt.Sprintf("%x", text) }

// read is what the actor has said that it read, without where each read ended.
func (s *seat) keys() string {
	_, keys, _ := strings.Cut(strings.ReplaceAll(s.screenText(), "\n", ""), "ready ")
	return strings.ReplaceAll(keys, ".", "")
}

// prefixes are how terminals send Ctrl-/.
func prefixes() []string {
	return []string{"\x1f", "\x1b[47;5u", "\x1b[47;5:1u", "\x1b[47:95:47;5:1;47u", "\x1b[27;5;47~"}
}

// letters are how they send a letter.
func letters(b byte) []string {
	return []string{string(b), fmt.Sprintf("\x1b[%du", b), fmt.Sprintf("\x1b[%d;1:1u", b)}
}

// TestDetachKeys tries every encoding at once and byte by byte.
func TestDetachKeys(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.start("keys", "/workspace/actor", "keys")
	s := openSeat(t, 80, 24)
	for i, prefix := range prefixes() {
		for j, letter := range letters('d') {
			s.start(h.prepare(t.Context(), "-q", "attach", "keys"))
			s.raw()
			if (i+j)%2 == 0 {
				s.typed(prefix + letter)
			} else {
				for _, b := range []byte(prefix + letter) {
					s.typed(string([]byte{b}))
				}
			}
			s.ends(0)
		}
	}
}

// TestOtherKeys: what is no command reaches the command whole and at once.
func TestOtherKeys(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	s := h.sit(80, 24, "-q", "run", "-it", "--name", "other", "--", "/workspace/actor", "keys")
	s.sees("ready")
	want := ""
	for _, test := range []struct{ typed, want string }{
		{"\x1b", "\x1b"},
		{"\x03", "\x03"},
		{"\x1c\x1a", "\x1c\x1a"},
		{"\x1f\x1f", "\x1f"},
		{"\x1fx", "\x1fx"},
		{"\x1b[A\x1bOP", "\x1b[A\x1bOP"},
		{"\x1b[200~a\x1fdb\x1b[201~", "\x1b[200~a\x1fdb\x1b[201~"},
		{"\x1b[200~\x1fk", "\x1b[200~\x1fk"},
		{"\x1fd\x1b[201~", "\x1fd\x1b[201~"},
		{"ä\xff日", "ä\xff日"},
	} {
		s.typed(test.typed)
		want += hex(test.want)
		s.await(fmt.Sprintf("%q as %q", test.typed, test.want), func() bool { return s.keys() == want })
	}
	s.typed("w\x1fd")
	s.ends(0)
	s.start(h.prepare(t.Context(), "-q", "attach", "other"))
	want += hex("w")
	s.await("what was typed before the command", func() bool { return s.keys() == want })
	s.detach()
}

// TestOwnPrefix is about MOAT_DETACH_KEYS.
func TestOwnPrefix(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.env = append(h.env, "MOAT_DETACH_KEYS=ctrl-x,ctrl-y")
	s := h.sit(80, 24, "run", "-it", "--", "/workspace/actor", "keys")
	s.got("ctrl-x,ctrl-y d detaches")
	s.sees("ready")
	s.typed("\x1fd\x18z")
	s.await("other keys", func() bool { return s.keys() == hex("\x1fd\x18z") })
	s.typed("\x18\x19d")
	s.ends(0)
	h.env = append(h.env, "MOAT_DETACH_KEYS=nonsense")
	if r := h.command("run", "--", "true"); r.code != 2 || !strings.Contains(r.err, "MOAT_DETACH_KEYS") {
		t.Errorf("a prefix that is none: %+v", r)
	}
}
