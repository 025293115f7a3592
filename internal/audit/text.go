package audit

import (
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

const hexDigits = "0123456789abcdef"

// appendText appends a JSON string of printable ASCII: quotes and backslashes have a backslash before them, everything
// else that is not from U+0020 to U+007E is \u and four lower-case digits, UTF-16 for what lies beyond U+FFFF. What is not
// UTF-8 becomes U+FFFD.
func appendText(dst []byte, s string) []byte {
	dst = append(dst, '"')
	begin := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c < 0x7f && c != '"' && c != '\\' {
			i++
			continue
		}
		dst = append(dst, s[begin:i]...)
		if c == '"' || c == '\\' {
			dst = append(dst, '\\', c)
			i++
		} else {
			r, size := utf8.DecodeRuneInString(s[i:])
			dst = appendEscape(dst, r)
			i += size
		}
		begin = i
	}
	return append(append(dst, s[begin:]...), '"')
}

func appendEscape(dst []byte, r rune) []byte {
	if r > 0xffff {
		high, low := utf16.EncodeRune(r)
		return appendEscape(appendEscape(dst, high), low)
	}
	return append(dst, '\\', 'u', hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
}

// text reads such a string; false if it is not the one that appendText writes.
func (p *parser) text() (string, bool) {
	if !p.take(`"`) {
		return "", false
	}
	end := strings.IndexByte(p.rest, '"')
	if end < 0 {
		return "", false
	}
	if s := p.rest[:end]; plainText(s) {
		p.rest = p.rest[end+1:]
		return s, true
	}
	var out []byte
	for p.rest != "" {
		switch c := p.rest[0]; {
		case c == '"':
			p.rest = p.rest[1:]
			return string(out), true
		case c == '\\':
			r, ok := p.escape()
			if !ok {
				return "", false
			}
			out = utf8.AppendRune(out, r)
		case c < 0x20 || c > 0x7e:
			return "", false
		default:
			out = append(out, c)
			p.rest = p.rest[1:]
		}
	}
	return "", false
}

func plainText(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c > 0x7e || c == '\\' {
			return false
		}
	}
	return true
}

// escape reads what follows a backslash, and the backslash.
func (p *parser) escape() (rune, bool) {
	if p.take(`\"`) {
		return '"', true
	}
	if p.take(`\\`) {
		return '\\', true
	}
	r, ok := p.hex()
	if !ok || r >= 0x20 && r < 0x7f {
		return 0, false
	}
	if !utf16.IsSurrogate(r) {
		return r, true
	}
	low, ok := p.hex()
	r = utf16.DecodeRune(r, low)
	return r, ok && r != utf8.RuneError
}

func (p *parser) hex() (rune, bool) {
	if len(p.rest) < 6 || p.rest[0] != '\\' || p.rest[1] != 'u' {
		return 0, false
	}
	var r rune
	for _, c := range []byte(p.rest[2:6]) {
		digit := strings.IndexByte(hexDigits, c)
		if digit < 0 {
			return 0, false
		}
		r = r<<4 | rune(digit)
	}
	p.rest = p.rest[6:]
	return r, true
}
