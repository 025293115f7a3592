package policy

import (
	"errors"
	"net/url"
	"path"
	"strings"
	"testing"
)

func TestNormalizePath(t *testing.T) {
	tests := []struct{ in, want string }{
		{"/", "/"},
		{"/repos/a/b", "/repos/a/b"},
		{"/Repos", "/Repos"},
		{"/%72epos/%41%7e%2D%5f%2E", "/repos/A~-_."},
		{"/a%2fb", "/a%2Fb"},
		{"/@types%2fnode", "/@types%2Fnode"},
		{"/a%25b%e2%82%ac", "/a%25b%E2%82%AC"},
		{"/€", "/%E2%82%AC"},
		{`/a"b<c>{d}|e^f` + "`", "/a%22b%3Cc%3E%7Bd%7D%7Ce%5Ef%60"},
		{"/%20%3F%23%22", "/%20%3F%23%22"},
		{"/[x]", "/%5Bx%5D"},
		{"/a;b=c,d:e@f!$&'()*+", "/a;b=c,d:e@f!$&'()*+"},
		{"/a/./b", "/a/b"}, {"/a/../b", "/b"}, {"/a/b/..", "/a/"}, {"/a/b/.", "/a/b/"}, {"/..", "/"}, {"/../../a", "/a"}, {"/.", "/"},
		{"/%2e%2e/a", "/a"}, {"/pub/%2E%2e/secret", "/secret"}, {"/pub/.%2e/secret", "/secret"}, {"/a/%2e/b", "/a/b"},
		{"/.git/config", "/.git/config"}, {"/...", "/..."}, {"/a/..b", "/a/..b"}, {"/.well-known/x", "/.well-known/x"},
		{"//a", "//a"}, {"/a//../b", "/a/b"}, {"/a//", "/a//"},
	}
	for _, test := range tests {
		got, err := NormalizePath(test.in)
		if err != nil || got != test.want {
			t.Errorf("NormalizePath(%q) = %q, %v, want %q", test.in, got, err, test.want)
		}
	}
	refused := []struct {
		in string
		at int
	}{
		{"", 0}, {"*", 0}, {"a", 0}, {"http://a/", 0}, {"/a b", 2}, {"/a\x00", 2}, {"/a%00b", 2}, {"/%0d%0aX:y", 1}, {"/\r\n", 1}, {"/a%7F", 2}, {"/\x7f", 1}, {"/a\tb", 2}, {"/%09", 1},
		{`/a\b`, 2}, {"/..%5cb", 3}, {"/a%5C", 2}, {"/a?b", 2}, {"/a#b", 2}, {"/%", 1}, {"/%4", 1}, {"/%zz", 1}, {"/%4g", 1}, {"/%u0041", 1},
	}
	for _, test := range refused {
		got, err := NormalizePath(test.in)
		var syntax *SyntaxError
		if !errors.As(err, &syntax) || syntax.At != test.at || got != "" {
			t.Errorf("NormalizePath(%q) = %q, %v, want an error at %d", test.in, got, err, test.at)
		}
	}
	same := strings.Repeat("/repos", 10)
	if n := testing.AllocsPerRun(100, func() { NormalizePath(same) }); n > 0 {
		t.Errorf("%v allocations for a path that is in its one spelling", n)
	}
}

func TestParseRule(t *testing.T) {
	for in, want := range map[string]string{
		"allow GET /repos/**":           "allow GET /repos/**",
		" deny  POST,PUT\t/a/*/b ":      "deny POST,PUT /a/*/b",
		"deny * /**":                    "deny * /**",
		"allow M-SEARCH /":              "allow M-SEARCH /",
		"allow GET /%E2%82%AC/a.b/c;d=": "allow GET /%E2%82%AC/a.b/c;d=",
	} {
		if r, err := ParseRule(in); err != nil || r.String() != want {
			t.Errorf("ParseRule(%q) = %q, %v", in, r, err)
		}
	}
	for _, test := range []struct {
		in   string
		at   int
		want string
	}{
		{"", 0, "write for example"},
		{"GET /repos", 0, "write for example"},
		{"allow GET /a b", 0, "write for example"},
		{"permit GET /", 0, `"allow" or "deny"`},
		{"Allow GET /", 0, `"allow" or "deny"`},
		{"allow get /", 6, "capitals"},
		{"allow GET,post /", 6, `method "post"`},
		{"allow GET, /", 6, `method ""`},
		{"allow G(T /", 6, "capitals"},
		{"allow GET repos/**", 10, `write "/repos/**"`},
		{"allow GET https://a/b", 10, "does not begin"},
		{"allow GET /a*", 11, "whole segment"},
		{"allow GET /a/***", 13, "whole segment"},
		{"allow GET /a/../b", 10, `write "/b"`},
		{"allow GET /%61", 10, `write "/a"`},
		{"allow GET /€", 10, `write "/%E2%82%AC"`},
		{"allow GET /a?b=c", 12, "3F"},
		{"allow GET /a//b", 10, "empty segment"},
		{"allow GET /a%2Fb", 12, "encoded slash"},
		{"allow GET /%zz", 11, "percent sign"},
	} {
		_, err := ParseRule(test.in)
		var syntax *SyntaxError
		if !errors.As(err, &syntax) || syntax.At != test.at || syntax.Input != test.in || !strings.Contains(err.Error(), test.want) {
			t.Errorf("ParseRule(%q): %v, want %q at %d", test.in, err, test.want, test.at)
		}
	}
}

func TestMatchPath(t *testing.T) {
	for _, test := range []struct {
		pattern string
		yes, no string // paths, separated by spaces
	}{
		{"/", "/", "/a //"},
		{"/a", "/a /a/", "/ /b /A /a/b /ab"},
		{"/*", "/a /a/ /a.b", "/ /a/b"},
		{"/**", "/ /a /a/b /a/b/c/", ""},
		{"/a/**", "/a /a/ /a/b /a/b/c", "/ /ab /b/a"},
		{"/a/*/c", "/a/b/c /a/x/c/", "/a/c /a/b/b/c /a/b/c/d"},
		{"/**/c", "/c /a/c /a/b/c", "/ /c/d /cc"},
		{"/a/**/b/**/c", "/a/b/c /a/x/b/y/z/c /a/b/b/c/c", "/a/c /a/b /b/c"},
		{"/**/**/a", "/a /b/a", "/b"},
		{"/a/**/*", "/a/b /a/b/c", "/a"},
	} {
		r, err := parseRule("allow GET " + test.pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range strings.Fields(test.yes) {
			if !r.matches("GET", p) {
				t.Errorf("%s does not match %s", test.pattern, p)
			}
		}
		for _, p := range strings.Fields(test.no) {
			if r.matches("GET", p) {
				t.Errorf("%s matches %s", test.pattern, p)
			}
		}
	}
	// Matching stays quick for patterns that make backtracking matchers explode.
	slow, err := parseRule("allow GET /" + strings.Repeat("**/a/", 50) + "b")
	if err != nil {
		t.Fatal(err)
	}
	if slow.matches("GET", strings.Repeat("/a", 10_000)) {
		t.Error("matched")
	}
}

func FuzzNormalizePath(f *testing.F) {
	for _, s := range []string{"/", "/a/%2e%2E/b", "/a%2fb/..;/c", "//a/./", "/%E2%82%AC€", `/a"|`, "/%252e", "/a/..%2f.."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := NormalizePath(s)
		if err != nil {
			return
		}
		if again, err := NormalizePath(got); err != nil || again != got {
			t.Fatalf("NormalizePath(%q) = %q; again %q, %v", s, got, again, err)
		}
		if strings.Contains(got+"/", "/./") || strings.Contains(got+"/", "/../") || got[0] != '/' {
			t.Fatalf("NormalizePath(%q) = %q", s, got)
		}
		for i := 0; i < len(got); i++ {
			if got[i] != '%' && !pathBytes[got[i]] {
				t.Fatalf("NormalizePath(%q) = %q has %q", s, got, got[i])
			}
		}
		// Go's own reading agrees about what the path says.
		if u, err := url.ParseRequestURI("https://a.example" + got); err != nil || u.EscapedPath() != got || u.RawQuery != "" {
			t.Fatalf("%q is not a path: %v, %+v", got, err, u)
		}
		p, _ := Compile(Config{Rules: []HostRules{{"a.example", []string{"allow GET /pub/**", "deny * /**"}}}})
		ask := func(path string) Decision {
			return p.Decide(Question{Host: Host{name: "a.example"}, Port: 443, Method: "GET", Path: path})
		}
		if ask(s) != ask(got) {
			t.Fatalf("%q is judged differently from %q", s, got)
		}
		// However often a server decodes and cleans, what is allowed stays below /pub.
		if ask(s).Allow {
			seen, err := url.PathUnescape(got)
			if clean := path.Clean(seen); err != nil || clean != "/pub" && !strings.HasPrefix(clean, "/pub/") {
				t.Fatalf("%q is allowed and may be read as %q", s, clean)
			}
		}
	})
}
