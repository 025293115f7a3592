package config

import (
	"strings"
)

// maxKeys bounds a key sequence; nobody types a longer prefix.
const maxKeys = 8

// Keys is a sequence of keys, as the bytes that a terminal sends for them in its
// oldest encoding.
type Keys []byte

// ParseKeys reads keys in Docker's syntax: a single character, or ctrl- and one
// of a-z @ [ \ ] ^ _, several divided by commas; and also ctrl-/, which is the
// same byte as ctrl-_. The escape key cannot be the first: every arrow and
// function key would begin with it.
func ParseKeys(text string) (Keys, error) {
	const hint = `write keys such as "ctrl-/", "ctrl-x" or "ctrl-p,ctrl-q"`
	names := strings.Split(text, ",")
	if len(names) > maxKeys {
		return nil, badValue("", "%s is more than %d keys", shorten(text), maxKeys)
	}
	keys := make(Keys, 0, len(names))
	for _, name := range names {
		key, ok := parseKey(name)
		if !ok {
			return nil, badValue(hint, "%s is not a key", shorten(name))
		}
		keys = append(keys, key)
	}
	if keys[0] == 0x1b {
		return nil, badValue("choose another first key",
			"%s is the escape key, with which arrow and function keys begin", shorten(names[0]))
	}
	return keys, nil
}

func parseKey(name string) (byte, bool) {
	if len(name) == 1 {
		return name[0], name[0] >= 0x20 && name[0] < 0x7f
	}
	letter, ok := strings.CutPrefix(strings.ToLower(name), "ctrl-")
	if !ok || len(letter) != 1 {
		return 0, false
	}
	switch c := letter[0]; {
	case c == '/':
		return 0x1f, true
	case c >= 'a' && c <= 'z', strings.IndexByte(`@[\]^_`, c) >= 0:
		return c & 0x1f, true
	}
	return 0, false
}

// String writes the keys the way that [ParseKeys] reads them.
func (k Keys) String() string {
	names := make([]string, len(k))
	for i, b := range k {
		switch {
		case b == 0x1f:
			names[i] = "ctrl-/"
		case b >= 0x20:
			names[i] = string(rune(b))
		case b >= 1 && b <= 26:
			names[i] = "ctrl-" + string(rune('a'+b-1))
		default:
			names[i] = "ctrl-" + string(rune('@'+b))
		}
	}
	return strings.Join(names, ",")
}
