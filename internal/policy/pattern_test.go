package policy

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"
	"testing"
)

func TestParsePattern(t *testing.T) {
	tests := []struct{ in, want string }{
		{"github.com", "github.com"},
		{"GitHub.com.", "github.com"},
		{"*.github.com", "*.github.com"},
		{"*.GITHUB.com:8443", "*.github.com:8443"},
		{"bücher.example", "xn--bcher-kva.example"},
		{"github.com:22", "github.com:22"},
		{"*.com", "*.com"},
		{"db:5432", "db:5432"},
		{"203.0.113.7", "203.0.113.7"},
		{"203.0.113.7:8443", "203.0.113.7:8443"},
		{"2001:DB8::7", "2001:db8::7"},
		{"[2001:db8::7]", "2001:db8::7"},
		{"[2001:db8::7]:8443", "[2001:db8::7]:8443"},
		{"203.0.113.0/24", "203.0.113.0/24"},
		{"203.0.113.0/24:8443", "203.0.113.0/24:8443"},
		{"2001:db8::/32", "2001:db8::/32"},
		{"[2001:db8::]/32:8443", "2001:db8::/32:8443"},
		{"2001:db8::/32:8443", "2001:db8::/32:8443"},
		{"0.0.0.0/0", "0.0.0.0/0"},
		{"github.com:65535", "github.com:65535"},
	}
	for _, test := range tests {
		p, err := ParsePattern(test.in)
		if err != nil || p.String() != test.want {
			t.Errorf("ParsePattern(%q) = %q, %v, want %q", test.in, p, err, test.want)
			continue
		}
		if again, err := ParsePattern(p.String()); err != nil || again != p {
			t.Errorf("ParsePattern(%q) = %q, %v", p, again, err)
		}
	}
}

func TestParsePatternRefuses(t *testing.T) {
	tests := []struct {
		in   string
		at   int
		want string // part of the message or the hint
	}{
		{"", 0, "has no host"},
		{":443", 0, "has no host"},
		{"*", 0, "network.policy to permissive"},
		{"*:443", 0, "network.policy to permissive"},
		{"*.", 2, "is empty"},
		{"**.github.com", 1, `as in "*.github.com"`},
		{"*github.com", 0, `"*.com"`},
		{"a*.github.com", 1, `"*.github.com"`},
		{"api.*.github.com", 4, `"*.github.com"`},
		{"*.*.github.com", 2, `"*.github.com"`},
		{"github.*", 7, "only at the beginning"},
		{".github.com", 0, `write "*.github.com"`},
		{"*..github.com", 2, `write "*.github.com"`},
		{"a..b", 2, "empty label"},
		{"*.a..b", 4, "empty label"},
		{"git hub.com", 3, "character ' '"},
		{"github.com ", 10, "character ' '"},
		{"github.com:", 11, `port ""`},
		{"github.com:0", 11, "1 to 65535"},
		{"github.com:65536", 11, "1 to 65535"},
		{"github.com:080", 11, "1 to 65535"},
		{"github.com:+80", 11, "1 to 65535"},
		{"github.com:http", 11, "1 to 65535"},
		{"github.com:80-90", 11, "1 to 65535"},
		{"github.com:*", 11, "1 to 65535"},
		{"https://api.github.com/repos", 0, `"api.github.com"`},
		{"https://u:p@api.github.com:8443?x", 0, `"api.github.com:8443"`},
		{"https:///", 0, `"example.com"`},
		{"github.com/repos", 10, "network.rules"},
		{"127.1", 0, `write "127.0.0.1"`},
		{"0x7f.0.0.1:80", 0, `write "127.0.0.1"`},
		{"2130706433", 0, `write "127.0.0.1"`},
		{"*.203.0.113.7", 0, "before an address"},
		{"203.0.113.7/24", 0, `write "203.0.113.0/24"`},
		{"203.0.113.0/33", 12, "0 to 32"},
		{"203.0.113.0/024", 12, "0 to 32"},
		{"203.0.113.0/", 12, "0 to 32"},
		{"203.0.113.0/24:0", 15, "1 to 65535"},
		{"2001:db8::1/32", 0, `write "2001:db8::/32"`},
		{"2001:db8::/129", 11, "0 to 128"},
		{"fe80::1%eth0/64", 12, "not a range"},
		{"[2001:db8::/32]", 11, "not a range"},
		{"[2001:db8::/32", 11, "not a range"},
		{"fe80::1%eth0", 7, "zone"},
		{"[::1", 4, "closing bracket"},
		{"[::1]80", 5, "goes on"},
		{"github.com%00", 10, "character '%'"},
		{"!github.com", 0, "character '!'"},
	}
	for _, test := range tests {
		_, err := ParsePattern(test.in)
		var syntax *SyntaxError
		if !errors.As(err, &syntax) {
			t.Errorf("ParsePattern(%q): %v, want a syntax error", test.in, err)
			continue
		}
		if syntax.What != "pattern" || syntax.Input != test.in || syntax.At != test.at || !strings.Contains(err.Error(), test.want) {
			t.Errorf("ParsePattern(%q): %v, at %d, want %q at %d", test.in, err, syntax.At, test.want, test.at)
		}
	}
}

// covers is a second, slow reading of what a pattern in allow means.
func covers(p Pattern, h Host, port uint16) bool {
	addr, isAddr := h.Addr()
	text := strings.TrimSuffix(p.String(), ":"+strconv.Itoa(int(p.port)))
	switch {
	case p.port != 0 && port != p.port, p.port == 0 && port != 80 && port != 443:
		return false
	case strings.HasPrefix(text, "*."):
		return !isAddr && strings.HasSuffix(h.String(), text[1:]) && len(h.String()) > len(text)-1
	case strings.Contains(text, "/"):
		return isAddr && netip.MustParsePrefix(text).Contains(addr)
	}
	return strings.Trim(text, "[]") == h.String()
}

func FuzzPattern(f *testing.F) {
	for _, s := range []string{"github.com", "*.github.com:8443", "[2001:db8::]/32:443", "203.0.113.0/24", "https://x/", "a*.b", "127.1", "[::1]:22", "*.bücher.example"} {
		f.Add(s, "api.github.com", uint16(443))
	}
	f.Fuzz(func(t *testing.T, s, host string, port uint16) {
		p, err := ParsePattern(s)
		if err != nil {
			var syntax *SyntaxError
			if !errors.As(err, &syntax) || syntax.At < 0 || syntax.At > len(s) {
				t.Fatalf("ParsePattern(%q): %#v", s, err)
			}
			return
		}
		if again, err := ParsePattern(p.String()); err != nil || again != p {
			t.Fatalf("ParsePattern(%q) = %q; again %q, %v", s, p, again, err)
		}
		strict, problems := Compile(Config{Mode: Strict, Allow: []string{s}})
		if strict == nil {
			t.Fatalf("Compile: %v", problems)
		}
		h, err := Name(host)
		if err != nil || port == 0 {
			return
		}
		// Pinned keeps special addresses out of the way: this is about the pattern.
		d := strict.Decide(Question{Host: h, Port: port, Pinned: true})
		if d.Allow != (covers(p, h, port) && h.Name() != HostName) {
			t.Fatalf("%q allows %s: %v (%s)", s, h.WithPort(port), d.Allow, d.Rule)
		}
		open, _ := Compile(Config{Deny: []string{s}})
		if p.port != 0 && open.Decide(Question{Host: h, Port: port, Pinned: true}).Allow == covers(p, h, port) && h.Name() != HostName {
			t.Fatalf("deny %q: %s", s, h.WithPort(port))
		}
		if line := SuggestAllow(h, port); line != "" {
			more, err := strict.WithAllow(line)
			if err != nil || !more.Decide(Question{Host: h, Port: port}).Allow {
				t.Fatalf("SuggestAllow(%s) = %q does not help: %v", h.WithPort(port), line, err)
			}
		}
	})
}
