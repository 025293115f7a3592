package policy

import "strings"

// NormalizePath returns the one spelling of a request's path, as it was on the wire and without its query. What is
// matched is this spelling, and this spelling must be forwarded.
//
// Percent forms of letters, digits, "-", ".", "_" and "~" are decoded, all others are kept with upper-case digits; bytes
// that a path may not have (RFC 3986 section 3.3) are written as percent forms; dot segments are resolved, never above
// the root. Case, empty segments, "%2F" and ";" are kept: package registries and object stores need them, and rules
// have their own care for them. Refused are: a path that does not begin with "/", control characters and NUL in plain
// and in percent form, spaces, backslashes in both forms, "?" and "#", and a percent sign without two digits.
// A path that is in its one spelling already costs no allocation.
func NormalizePath(raw string) (string, error) {
	path, err := normalizePath(raw)
	if err != nil {
		return "", err
	}
	return path, nil
}

func normalizePath(raw string) (string, *SyntaxError) {
	fail := func(at int, message string) (string, *SyntaxError) {
		return "", &SyntaxError{What: "path", Input: raw, At: at, Message: message}
	}
	if raw == "" || raw[0] != '/' {
		return fail(0, `does not begin with "/"`)
	}
	if firstOdd(raw) == len(raw) {
		return resolveDots(raw), nil
	}
	var out []byte // nil as long as the output is the input's beginning
	for i := 0; i < len(raw); i++ {
		c, size, at := raw[i], 1, i
		if c == '%' {
			high, low, ok := hexDigits(raw[i+1:])
			if !ok {
				return fail(at, "has a percent sign without two hexadecimal digits")
			}
			c, size = high<<4|low, 3
		}
		if c < ' ' || c == 0x7f || c == '\\' || size == 1 && (c == ' ' || c == '?' || c == '#') {
			return fail(at, "has the byte "+percent(c)[1:]+" (hexadecimal)")
		}
		text := raw[at : at+size]
		switch {
		case size == 3 && unreserved(c):
			text = string(rune(c))
		case size == 3 || !pathBytes[c]:
			text = percent(c)
		}
		if out == nil && text != raw[at:at+size] {
			out = append(make([]byte, 0, len(raw)+16), raw[:at]...)
		}
		if out != nil {
			out = append(out, text...)
		}
		i += size - 1
	}
	if out != nil {
		raw = string(out)
	}
	return resolveDots(raw), nil
}

// firstOdd returns the offset of the first byte that needs a closer look.
func firstOdd(path string) int {
	for i := 0; i < len(path); i++ {
		if !pathBytes[path[i]] {
			return i
		}
	}
	return len(path)
}

// resolveDots is remove_dot_segments of RFC 3986 section 5.2.4 for a path that begins with "/".
func resolveDots(path string) string {
	if !strings.Contains(path, "/.") {
		return path
	}
	segments := strings.Split(path[1:], "/")
	kept, dots := segments[:0], false
	for _, s := range segments {
		dots = s == "." || s == ".."
		switch {
		case s == ".." && len(kept) > 0:
			kept = kept[:len(kept)-1]
		case !dots:
			kept = append(kept, s)
		}
	}
	if dots && len(kept) > 0 {
		kept = append(kept, "") // "/a/b/.." is "/a/"
	}
	return "/" + strings.Join(kept, "/")
}

// ambiguous says why servers are known to read a normalised path in different ways, or "" when they do not. Rules
// cannot judge such a path.
func ambiguous(path string) string {
	decoded := slashesDecoded(path) // which has the segments of path, or parts of them
	for start := 1; start <= len(decoded); {
		end := segmentEnd(decoded, start)
		segment := decoded[start:end]
		bare, _, _ := strings.Cut(segment, ";")
		switch {
		case segment == "" && end < len(decoded):
			return "has an empty segment"
		case bare == "." || bare == "..":
			return "has a hidden dot segment"
		case bare == "" && segment != "":
			return "has a segment of parameters only"
		}
		start = end + 1
	}
	for rest := path; ; {
		at := strings.IndexByte(rest, '%')
		if at < 0 {
			return ""
		}
		rest = rest[at+1:]
		switch {
		case strings.HasPrefix(rest, "C0") || strings.HasPrefix(rest, "C1"):
			return "has bytes that are never in UTF-8"
		case strings.HasPrefix(rest, "25"):
			if _, _, ok := hexDigits(rest[2:]); ok {
				return "is encoded twice"
			}
		}
	}
}

// slashesDecoded is the second reading of a normalised path.
func slashesDecoded(path string) string { return strings.ReplaceAll(path, "%2F", "/") }

// segmentEnd returns where the segment that begins at start ends.
func segmentEnd(path string, start int) int {
	if slash := strings.IndexByte(path[start:], '/'); slash >= 0 {
		return start + slash
	}
	return len(path)
}

func unreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}

// pathBytes are the bytes that a path may have as they are (RFC 3986 section 3.3: pchar and "/").
//
//nolint:gochecknoglobals // a read-only table, asked for each byte
var pathBytes = func() (table [256]bool) {
	for c := range table {
		table[c] = unreserved(byte(c)) || strings.IndexByte("/!$&'()*+,;=:@", byte(c)) >= 0
	}
	return table
}()

func percent(c byte) string {
	const digits = "0123456789ABCDEF"
	return string([]byte{'%', digits[c>>4], digits[c&15]})
}

// hexDigits reads the two digits that s begins with.
func hexDigits(s string) (high, low byte, ok bool) {
	if len(s) < 2 {
		return 0, 0, false
	}
	high, ok1 := hexDigit(s[0])
	low, ok2 := hexDigit(s[1])
	return high, low, ok1 && ok2
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}
