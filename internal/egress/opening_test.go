package egress

import (
	"strings"
	"testing"
)

func TestClassify(t *testing.T) {
	long := strings.Repeat("a", maxLine)
	for _, c := range []struct {
		head string
		want kind
	}{
		{"", kindUnknown}, {"G", kindUnknown}, {"GET", kindUnknown}, {"GET ", kindUnknown}, {"GET /", kindHTTP}, {"GET  /", kindHTTP}, {"GET\t/", kindHTTP},
		{"get / HTTP/1.1\r\n", kindHTTP}, {"FOO /x HTTP/1.1\r\n", kindHTTP}, {"FOO /x", kindUnknown}, {"\r\n\r\nGET / HTTP/1.1\r\n", kindHTTP}, {" GET / HTTP/1.1\n", kindHTTP},
		{"\r\n\r\n", kindUnknown}, {"GET x http/1.0\n", kindHTTP}, {"GET\vx\vHTTP/1.1\n", kindHTTP}, {"GET \x00 HTTP/1.1\n", kindHTTP}, {"G\x80T / HTTP/1.1\n", kindOther},
		{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", kindHTTP}, {"CONNECT a:443 HTTP/1.1\r\n", kindHTTP}, {"GET /\r\n", kindHTTP}, {"GET http://a/ HTTP/1.1\r\n", kindHTTP},
		{"GET " + long, kindHTTP}, {"EHLO " + long, kindHTTP}, {strings.Repeat("\n", maxOpening), kindHTTP},
		{"EHLO a.example\r\n", kindOther}, {"SSH-2.0-OpenSSH_9.2\r\n", kindOther}, {"NICK a\r\n", kindOther}, {"*1\r\n$4\r\nPING\r\n", kindOther}, {"PING\r\n", kindOther},
		{"\x00\x00\x00\x08\x04\xd2\x16\x2f", kindOther}, {"\x00", kindOther}, {"AMQP\x00\x00\x09\x01", kindOther}, {strings.Repeat("a", maxMethod+1), kindOther},
		{"\x80\x00\x00\x01\x00", kindOther}, {"\xff", kindUnknown}, {"{\"id\":1}", kindOther}, {"(x)", kindOther}, {"\x16", kindUnknown}, {"\x16\x03", kindUnknown},
	} {
		o, err := classify([]byte(c.head))
		if err != nil || o.kind != c.want {
			t.Errorf("%.40q: %v, %v; want %v", c.head, o.kind, err, c.want)
		}
	}
	for _, head := range []string{"\x80\x2e\x01\x03\x01", "\x16\x02\x00", "\x16\x03\x01\x00\x00"} {
		if o, err := classify([]byte(head)); err == nil {
			t.Errorf("%q: %v", head, o)
		}
	}
}
