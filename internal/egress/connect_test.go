package egress

import (
	"strings"
	"testing"

	"moat/internal/policy"
)

func TestParseConnect(t *testing.T) {
	const end = "\r\n\r\n"
	good := func(authority string) string { return "CONNECT " + authority + " HTTP/1.1" + end }
	with := func(fields string) string { return "CONNECT a.example:443 HTTP/1.1\r\n" + fields + end }
	for _, c := range []struct{ head, want string }{
		{good("a.example:443"), "a.example:443"},
		{"CONNECT a.example:443 HTTP/1.0" + end, "a.example:443"},
		{good("A.Example.:8443"), "a.example:8443"},
		{good("203.0.113.10:443"), "203.0.113.10:443"},
		{good("[2001:db8::1]:443"), "[2001:db8::1]:443"},
		{good("0x7f.1:80"), "127.0.0.1:80"},
		{good("2130706433:80"), "127.0.0.1:80"},
		{good("0:80"), "0.0.0.0:80"},
		{good("[::ffff:127.0.0.1]:80"), "[::ffff:127.0.0.1]:80"},
		{with("Host: a.example:443\r\nUser-Agent: curl/8\r\nProxy-Connection: Keep-Alive"), "a.example:443"},
		{with("host: A.EXAMPLE"), "a.example:443"},
		{with("Content-Length: 0"), "a.example:443"},
		{with("X-Long-Header-Name-That-Is-Longer-Than-A-Method: x"), "a.example:443"},

		{good("a.example"), ""}, {good("a.example:"), ""}, {good(":443"), ""}, {good(""), ""},
		{good("a.example:0"), ""}, {good("a.example:99999"), ""}, {good("a.example:+443"), ""}, {good("a.example:0443"), ""}, {good("a.example:0x1bb"), ""},
		{good("a.example:443,b.example:443"), ""}, {good("a.example,b.example:443"), ""}, {good("a.example:443 b.example:443"), ""},
		{good("user@a.example:443"), ""}, {good(`b.example\@a.example:443`), ""}, {good("b.example#@a.example:443"), ""},
		{good("b.example%2f@a.example:443"), ""}, {good("a.example%00:443"), ""}, {good("a.example/:443"), ""}, {good("http://a.example:443"), ""},
		{good("a.example\x00:443"), ""}, {good("ä.example:443"), ""}, {good("::1:443"), ""}, {good("[::1%25lo]:443"), ""}, {good("[a.example]:443"), ""},
		{good(".a.example:443"), ""}, {good("a..example:443"), ""}, {good("*"), ""}, {good("/"), ""},
		{"CONNECT  a.example:443 HTTP/1.1" + end, ""}, {"CONNECT\ta.example:443 HTTP/1.1" + end, ""}, {"connect a.example:443 HTTP/1.1" + end, ""},
		{"CONNECT a.example:443" + end, ""}, {"CONNECT a.example:443 HTTP/2.0" + end, ""}, {"CONNECT a.example:443 HTTP/1.1 " + end, ""},
		{"CONNECT a.example:443 HTTP/1.1\n\n", ""}, {"CONNECT a.example:443 HTTP/1.1\nHost: a.example" + end, ""}, {"GET a.example:443 HTTP/1.1" + end, ""},
		{"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example\n\r\n\r\n", ""},
		{with("Host: b.example"), ""}, {with("Host: a.example:80"), ""}, {with("Host: a.example\r\nHost: a.example"), ""}, {with("Host:"), ""}, {with("Host: a.example b"), ""},
		{with("Content-Length: 5"), ""}, {with("Content-Length: 0, 0"), ""}, {with("Transfer-Encoding: chunked"), ""}, {with("Upgrade: h2c"), ""},
		{with("X : y"), ""}, {with(" folded: y"), ""}, {with("X: y\r\n folded"), ""}, {with("no colon"), ""}, {with(": empty"), ""}, {with("X: a\x00b"), ""}, {with("X: a\rb"), ""}, {with("Ä: b"), ""},
		{"", ""}, {end, ""},
	} {
		host, port, err := parseConnect([]byte(c.head))
		got := ""
		if err == nil {
			got = host.WithPort(port)
		}
		if got != c.want {
			t.Errorf("%q: %q, %v; want %q", c.head, got, err, c.want)
		}
	}
}

func FuzzParseConnect(f *testing.F) {
	f.Add([]byte("CONNECT a.example:443 HTTP/1.1\r\nHost: a.example\r\n\r\n"))
	f.Add([]byte("CONNECT [::1]:443 HTTP/1.0\r\n\r\n"))
	f.Fuzz(func(t *testing.T, head []byte) {
		host, port, err := parseConnect(head)
		if err != nil {
			return
		}
		line, _, _ := strings.Cut(string(head), "\r\n")
		again, err := policy.Name(host.String())
		if host.IsZero() || port == 0 || err != nil || again != host || strings.ContainsAny(line, "\n\r\x00@\\#/?%") != strings.Contains(line, "HTTP/1") || strings.Count(line, "/") != 1 {
			t.Errorf("%q: %v %d", head, host, port)
		}
	})
}
