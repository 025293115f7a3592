package names

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"

	"moat/internal/journal"
	"moat/internal/policy"
)

// outside is the DNS that a Responder may ask. It remembers what it was asked.
type outside struct {
	mu      sync.Mutex
	asked   []string
	records []dnsmessage.ResourceBody
	err     error
}

func (o *outside) Ask(_ context.Context, name string, t dnsmessage.Type) ([]dnsmessage.Resource, dnsmessage.RCode, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.asked = append(o.asked, name+" "+typeName(t))
	var answers []dnsmessage.Resource
	for _, body := range o.records {
		answers = append(answers, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName("elsewhere.example."), Type: typeOf(body), Class: dnsmessage.ClassINET, TTL: 86400},
			Body:   body,
		})
	}
	return answers, dnsmessage.RCodeSuccess, o.err
}

func (o *outside) add(body dnsmessage.ResourceBody) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.records = append(o.records, body)
}

func typeOf(body dnsmessage.ResourceBody) dnsmessage.Type {
	switch body.(type) {
	case *dnsmessage.MXResource:
		return dnsmessage.TypeMX
	case *dnsmessage.SRVResource:
		return dnsmessage.TypeSRV
	case *dnsmessage.HTTPSResource:
		return dnsmessage.TypeHTTPS
	case *dnsmessage.TXTResource:
		return dnsmessage.TypeTXT
	}
	return dnsmessage.TypeCNAME
}

// desk is a Responder and what it recorded.
type desk struct {
	*Responder
	outside *outside
	mu      sync.Mutex
	records []journal.Request
}

func newDesk(t testing.TB) *desk {
	t.Helper()
	p, problems := policy.Compile(policy.Config{Mode: policy.Strict, Allow: []string{"ok.example", "*.wild.example"}, HostPorts: []int{8080}})
	if p == nil {
		t.Fatal(problems)
	}
	d := &desk{outside: &outside{}}
	d.Responder = NewResponder(Config{
		Table: NewTable(), Policy: func() *policy.Policy { return p }, Upstream: d.outside,
		Pinned: func(h policy.Host) bool { return h.Name() == "pinned.example" },
		Record: func(r journal.Request) {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.records = append(d.records, r)
		},
	})
	return d
}

// ask sends a question and unpacks the answer.
func (d *desk) ask(t testing.TB, name string, q dnsmessage.Type) dnsmessage.Message {
	t.Helper()
	msg := dnsmessage.Message{Header: dnsmessage.Header{ID: 7, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: q, Class: dnsmessage.ClassINET}}}
	packed, err := msg.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return unpack(t, d.Respond(t.Context(), packed, maxUDP, true))
}

func unpack(t testing.TB, reply []byte) (m dnsmessage.Message) {
	t.Helper()
	if err := m.Unpack(reply); err != nil {
		t.Fatalf("the answer is no message: %v", err)
	}
	if !m.Response {
		t.Fatal("the answer is a question")
	}
	return m
}

func TestAnswers(t *testing.T) {
	const (
		made     = "made up"
		nothing  = "no error"
		refused  = "refused"
		unknown  = "no such name"
		loopback = "loopback"
	)
	long := strings.Repeat("a", 63)
	for _, c := range []struct {
		name  string
		q     dnsmessage.Type
		want  string
		allow bool
		rule  string
		asked bool
	}{
		{"ok.example.", dnsmessage.TypeA, made, true, "allow ok.example", false},
		{"OK.Example.", dnsmessage.TypeAAAA, made, true, "allow ok.example", false},
		{"pinned.example.", dnsmessage.TypeA, made, false, "strict: not in network.allow", false},
		{"deny.example.", dnsmessage.TypeA, made, false, "strict: not in network.allow", false},
		{"secret-data." + long + ".deny.example.", dnsmessage.TypeAAAA, made, false, "strict: not in network.allow", false},
		{"_srv._tcp.deny.example.", dnsmessage.TypeA, made, false, "strict: not in network.allow", false},
		{"db.", dnsmessage.TypeA, made, false, "strict: not in network.allow", false},
		{"printer.local.", dnsmessage.TypeA, made, false, "strict: not in network.allow", false},
		{"host.moat.internal.", dnsmessage.TypeA, made, true, "host host.moat.internal", false},
		{"localhost.", dnsmessage.TypeA, loopback, true, "localhost", false},
		{"a.localhost.", dnsmessage.TypeAAAA, loopback, true, "localhost", false},
		{"localhost.", dnsmessage.TypeMX, nothing, true, "localhost", false},
		{"other.moat.internal.", dnsmessage.TypeA, unknown, false, "reserved name", false},
		{"abc.onion.", dnsmessage.TypeA, unknown, false, "reserved name", false},
		{"x.arpa.", dnsmessage.TypeA, unknown, false, "reserved name", false},
		{"metadata.google.internal.", dnsmessage.TypeA, made, false, "special address: metadata", false},
		{"1.2.3.4.", dnsmessage.TypeA, refused, false, "invalid name", false},
		{"0x7f.1.", dnsmessage.TypeA, refused, false, "invalid name", false},
		{"2130706433.", dnsmessage.TypeA, refused, false, "invalid name", false},
		{"a b.example.", dnsmessage.TypeA, refused, false, "invalid name", false},
		{"a\tb.example.", dnsmessage.TypeA, refused, false, "invalid name", false},
		{"a\x00.example.", dnsmessage.TypeA, refused, false, "invalid name", false},
		{"ä.example.", dnsmessage.TypeA, refused, false, "invalid name", false},
		{"-a.example.", dnsmessage.TypeA, refused, false, "invalid name", false},
		{"a@b.example.", dnsmessage.TypeA, refused, false, "invalid name", false},
		{".", dnsmessage.TypeA, refused, false, "invalid name", false},
		{".", dnsmessage.TypeNS, refused, false, "invalid name", false},
		{"ok.example.", dnsmessage.TypeTXT, refused, false, "dns type TXT", false},
		{"x.wild.example.", dnsmessage.TypeTXT, refused, false, "dns type TXT", false},
		{"ok.example.", dnsmessage.Type(10), refused, false, "dns type TYPE10", false},
		{"ok.example.", dnsmessage.TypeALL, refused, false, "dns type ANY", false},
		{"ok.example.", dnsmessage.TypeCNAME, refused, false, "dns type CNAME", false},
		{"ok.example.", dnsmessage.TypeAXFR, refused, false, "dns type AXFR", false},
		{"ok.example.", dnsmessage.Type(65280), refused, false, "dns type TYPE65280", false},
		{"ok.example.", dnsmessage.TypeMX, nothing, true, "allow ok.example", true},
		{"x.wild.example.", dnsmessage.TypeHTTPS, nothing, true, "allow *.wild.example", true},
		{"host.moat.internal.", dnsmessage.TypeMX, refused, false, "dns type MX", false},
		{"deny.example.", dnsmessage.TypeMX, refused, false, "strict: not in network.allow", false},
		{"deny.example.", dnsmessage.TypeHTTPS, refused, false, "strict: not in network.allow", false},
		{"deny.example.", dnsmessage.TypeSVCB, refused, false, "strict: not in network.allow", false},
		{"deny.example.", dnsmessage.TypeTXT, refused, false, "strict: not in network.allow", false},
		{"9.9.9.9.in-addr.arpa.", dnsmessage.TypePTR, unknown, false, "reverse lookup", false},
		{"secret.in-addr.arpa.", dnsmessage.TypePTR, unknown, false, "reverse lookup", false},
		{"1.0.0.127.in-addr.arpa.", dnsmessage.TypePTR, nothing, true, "reverse lookup", false},
	} {
		d := newDesk(t)
		m := d.ask(t, c.name, c.q)
		got := nothing
		switch {
		case m.RCode == dnsmessage.RCodeRefused:
			got = refused
		case m.RCode == dnsmessage.RCodeNameError:
			got = unknown
		case len(m.Answers) == 1 && m.Answers[0].Header.Type == c.q && c.q != dnsmessage.TypePTR:
			got = made
			if strings.HasSuffix(strings.ToLower(c.name), "localhost.") {
				got = loopback
			}
		}
		if got != c.want || m.RCode != dnsmessage.RCodeSuccess && len(m.Answers) > 0 {
			t.Errorf("%s %v: %s, want %s", c.name, c.q, m.GoString(), c.want)
		}
		if m.ID != 7 || len(m.Questions) != 1 || m.Questions[0].Name.String() != c.name {
			t.Errorf("%s %v: the question is not repeated: %s", c.name, c.q, m.GoString())
		}
		if asked := len(d.outside.asked) > 0; asked != c.asked {
			t.Errorf("%s %v: asked outside: %v", c.name, c.q, d.outside.asked)
		}
		if len(d.records) != 1 || (d.records[0].Decision == journal.Allowed) != c.allow || d.records[0].Rule != c.rule ||
			*d.records[0].Status != int(m.RCode) || d.records[0].Kind != journal.KindDNS {
			t.Errorf("%s %v: recorded %+v, want %v by %s", c.name, c.q, d.records, c.allow, c.rule)
		}
	}
}

func TestReverse(t *testing.T) {
	d := newDesk(t)
	v4, v6 := assign(t, d.config.Table, "deny.example")
	a := v4.As4()
	question := ""
	for _, b := range a {
		question = strings.Join([]string{itoa(b), question}, ".")
	}
	check := func(question string) {
		t.Helper()
		m := d.ask(t, question, dnsmessage.TypePTR)
		if len(m.Answers) != 1 || m.Answers[0].Body.(*dnsmessage.PTRResource).PTR.String() != "deny.example." {
			t.Errorf("%s: %s", question, m.GoString())
		}
	}
	check(question + "in-addr.arpa.")
	question = ""
	for _, b := range v6.As16() {
		question = string("0123456789abcdef"[b&15]) + "." + string("0123456789ABCDEF"[b>>4]) + "." + question
	}
	check(question + "ip6.arpa.")
}

func itoa(b byte) string {
	text := []byte{}
	for {
		text = append([]byte{'0' + b%10}, text...)
		if b /= 10; b == 0 {
			return string(text)
		}
	}
}

func TestUpstreamIsFiltered(t *testing.T) {
	name := dnsmessage.MustNewName
	alpn := func(ids ...string) (value []byte) {
		for _, id := range ids {
			value = append(append(value, byte(len(id))), id...)
		}
		return value
	}
	https := func(priority uint16, target string, params ...dnsmessage.SVCParam) *dnsmessage.HTTPSResource {
		return &dnsmessage.HTTPSResource{SVCBResource: dnsmessage.SVCBResource{Priority: priority, Target: name(target), Params: params}}
	}
	param := func(k dnsmessage.SVCParamKey, v []byte) dnsmessage.SVCParam {
		return dnsmessage.SVCParam{Key: k, Value: v}
	}
	for _, c := range []struct {
		what string
		q    dnsmessage.Type
		in   dnsmessage.ResourceBody
		want dnsmessage.ResourceBody
	}{
		{"a mail server", dnsmessage.TypeMX, &dnsmessage.MXResource{Pref: 5, MX: name("mx.example.")}, &dnsmessage.MXResource{Pref: 5, MX: name("mx.example.")}},
		{"no mail", dnsmessage.TypeMX, &dnsmessage.MXResource{MX: name(".")}, &dnsmessage.MXResource{MX: name(".")}},
		{"data in a name", dnsmessage.TypeMX, &dnsmessage.MXResource{MX: name("a b.example.")}, nil},
		{"another type", dnsmessage.TypeMX, &dnsmessage.TXTResource{TXT: []string{"data"}}, nil},
		{"an alias", dnsmessage.TypeMX, &dnsmessage.CNAMEResource{CNAME: name("x.example.")}, nil},
		{"ech, hints and h3", dnsmessage.TypeHTTPS, https(1, ".", param(dnsmessage.SVCParamALPN, alpn("h3", "h2", "h3-29")),
			param(dnsmessage.SVCParamIPv4Hint, []byte{1, 2, 3, 4}), param(dnsmessage.SVCParamECH, []byte("ech")), param(dnsmessage.SVCParamIPv6Hint, make([]byte, 16))),
			https(1, ".", param(dnsmessage.SVCParamALPN, alpn("h2")))},
		{"only h3", dnsmessage.TypeHTTPS, https(1, ".", param(dnsmessage.SVCParamALPN, alpn("h3"))), nil},
		{"its own name and a port", dnsmessage.TypeHTTPS, https(2, "OK.example.", param(dnsmessage.SVCParamPort, []byte{1, 187})),
			https(2, ".", param(dnsmessage.SVCParamPort, []byte{1, 187}))},
		{"a service elsewhere", dnsmessage.TypeHTTPS, https(1, "cdn.example."), nil},
		{"an alias form", dnsmessage.TypeHTTPS, https(0, "cdn.example."), nil},
		{"mandatory keys", dnsmessage.TypeHTTPS, https(1, ".", param(dnsmessage.SVCParamMandatory, []byte{0, 5})), nil},
		{"alpn that does not fit", dnsmessage.TypeHTTPS, https(1, ".", param(dnsmessage.SVCParamALPN, []byte{9, 'h', '2'})), nil},
	} {
		d := newDesk(t)
		d.outside.records = []dnsmessage.ResourceBody{c.in}
		m := d.ask(t, "ok.example.", c.q)
		var got dnsmessage.ResourceBody
		if len(m.Answers) > 0 {
			got = m.Answers[0].Body
			if h := m.Answers[0].Header; h.TTL > ttl || h.Name.String() != "ok.example." {
				t.Errorf("%s: %s", c.what, m.GoString())
			}
		}
		text := func(b dnsmessage.ResourceBody) string {
			if b == nil {
				return ""
			}
			return b.GoString()
		}
		if diff := cmp.Diff(text(c.want), text(got)); diff != "" {
			t.Errorf("%s: %s", c.what, diff)
		}
	}
	d := newDesk(t)
	d.outside.err = errors.New("unreachable")
	if m := d.ask(t, "ok.example.", dnsmessage.TypeMX); m.RCode != dnsmessage.RCodeServerFailure || d.records[0].Error == nil {
		t.Errorf("%s, %+v", m.GoString(), d.records)
	}
}

// raw is a question in bytes: header with counts, then body.
func raw(flags uint16, counts [4]uint16, body string) []byte {
	msg := []byte{0, 7, byte(flags >> 8), byte(flags)}
	for _, n := range counts {
		msg = append(msg, byte(n>>8), byte(n))
	}
	return append(msg, body...)
}

func TestMalformed(t *testing.T) {
	const okA = "\x02ok\x07example\x00\x00\x01\x00\x01"
	opt := func(version byte) string {
		return "\x00\x00\x29\x10\x00\x00" + string(rune(version)) + "\x00\x00\x00\x00"
	}
	loop := "\xc0\x0c\x00\x01\x00\x01"
	one := [4]uint16{1, 0, 0, 0}
	for _, c := range []struct {
		what string
		msg  []byte
		want dnsmessage.RCode // 255: no answer
	}{
		{"a question", raw(0x0100, one, okA), 0},
		{"nothing", nil, 255},
		{"half a header", []byte{0, 7, 1, 0}, 255},
		{"an answer", raw(0x8180, one, okA), 255},
		{"an inverse question", raw(0x0900, one, okA), dnsmessage.RCodeNotImplemented},
		{"an update", raw(0x2800, one, okA), dnsmessage.RCodeNotImplemented},
		{"a notification", raw(0x2000, one, okA), dnsmessage.RCodeNotImplemented},
		{"a cut question", raw(0x0300, one, okA), dnsmessage.RCodeFormatError},
		{"no question", raw(0x0100, [4]uint16{}, ""), dnsmessage.RCodeFormatError},
		{"two questions", raw(0x0100, [4]uint16{2, 0, 0, 0}, okA+okA), dnsmessage.RCodeFormatError},
		{"65535 questions", raw(0x0100, [4]uint16{65535, 0, 0, 0}, okA), dnsmessage.RCodeFormatError},
		{"a name that points to itself", raw(0x0100, one, loop), dnsmessage.RCodeFormatError},
		{"a name that points ahead", raw(0x0100, one, "\xc0\xff\x00\x01\x00\x01"), dnsmessage.RCodeFormatError},
		{"a name without an end", raw(0x0100, one, "\x3fabc"), dnsmessage.RCodeFormatError},
		{"a label of a kind that never was", raw(0x0100, one, "\x80abc\x00\x00\x01\x00\x01"), dnsmessage.RCodeFormatError},
		{"a long name", raw(0x0100, one, strings.Repeat("\x3f"+strings.Repeat("a", 63), 5)+"\x00\x00\x01\x00\x01"), dnsmessage.RCodeFormatError},
		{"an answer in the question", raw(0x0100, [4]uint16{1, 1, 0, 0}, okA+"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x00\x00\x04abcd"), dnsmessage.RCodeFormatError},
		{"an authority in the question", raw(0x0100, [4]uint16{1, 0, 1, 0}, okA+"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x00\x00\x04abcd"), dnsmessage.RCodeFormatError},
		{"something else beside it", raw(0x0100, [4]uint16{1, 0, 0, 1}, okA+"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x00\x00\x04abcd"), dnsmessage.RCodeFormatError},
		{"EDNS", raw(0x0100, [4]uint16{1, 0, 0, 1}, okA+opt(0)), 0},
		{"EDNS of another version", raw(0x0100, [4]uint16{1, 0, 0, 1}, okA+opt(1)), 0}, // BADVERS is in the OPT
		{"EDNS twice", raw(0x0100, [4]uint16{1, 0, 0, 2}, okA+opt(0)+opt(0)), dnsmessage.RCodeFormatError},
		{"EDNS that is cut", raw(0x0100, [4]uint16{1, 0, 0, 1}, okA+"\x00\x00\x29\x10\x00\x00\x00\x00\x00\x00\x09a"), dnsmessage.RCodeFormatError},
		{"class CHAOS", raw(0x0100, one, "\x02ok\x07example\x00\x00\x01\x00\x03"), dnsmessage.RCodeRefused},
		{"class ANY", raw(0x0100, one, "\x02ok\x07example\x00\x00\x01\x00\xff"), dnsmessage.RCodeRefused},
		{"class NONE", raw(0x0100, one, "\x02ok\x07example\x00\x00\x01\x00\xfe"), dnsmessage.RCodeRefused},
		{"4 kB", append(raw(0x0100, one, okA), make([]byte, maxQuery)...), dnsmessage.RCodeFormatError},
	} {
		d := newDesk(t)
		reply := d.Respond(t.Context(), c.msg, maxUDP, true)
		if c.want == 255 {
			if reply != nil {
				t.Errorf("%s was answered: %x", c.what, reply)
			}
			continue
		}
		m := unpack(t, reply)
		if m.RCode != c.want || m.ID != 7 || len(reply) > minUDP {
			t.Errorf("%s: %s", c.what, m.GoString())
		}
		if len(d.records) != 1 || len(d.outside.asked) > 0 {
			t.Errorf("%s: recorded %+v, asked %v", c.what, d.records, d.outside.asked)
		}
	}
}

func TestBadVersion(t *testing.T) {
	d := newDesk(t)
	m := unpack(t, d.Respond(t.Context(), raw(0x0100, [4]uint16{1, 0, 0, 1}, "\x02ok\x07example\x00\x00\x01\x00\x01\x00\x00\x29\x10\x00\x00\x01\x00\x00\x00\x00"), maxUDP, true))
	if len(m.Additionals) != 1 || m.Additionals[0].Header.ExtendedRCode(m.RCode) != badVers || len(m.Answers) > 0 {
		t.Error(m.GoString())
	}
}

func TestLongAnswersAreCut(t *testing.T) {
	d := newDesk(t)
	for range maxRecords {
		d.outside.records = append(d.outside.records, &dnsmessage.MXResource{MX: dnsmessage.MustNewName(strings.Repeat("a", 60) + ".example.")})
	}
	m := d.ask(t, "ok.example.", dnsmessage.TypeMX)
	if !m.Truncated || len(m.Answers) > 0 {
		t.Error(m.GoString())
	}
}

func TestServe(t *testing.T) {
	d := newDesk(t)
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- d.ServePacket(ctx, pc) }()
	resolver := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var dialer net.Dialer
		if network == "udp" {
			return dialer.DialContext(ctx, network, pc.LocalAddr().String())
		}
		here, there := net.Pipe()
		go func() {
			defer there.Close()
			_ = d.ServeConn(ctx, there)
		}()
		return here, nil
	}}
	addrs, err := resolver.LookupNetIP(t.Context(), "ip", "ok.example.")
	if err != nil || len(addrs) != 2 {
		t.Fatalf("%v, %v", addrs, err)
	}
	d.outside.add(&dnsmessage.MXResource{MX: dnsmessage.MustNewName("mx.example.")})
	if mx, err := resolver.LookupMX(t.Context(), "ok.example."); err != nil || len(mx) != 1 || mx[0].Host != "mx.example." {
		t.Errorf("%v, %v", mx, err)
	}
	for range 30 { // too much for a datagram: asked again over TCP
		d.outside.add(&dnsmessage.MXResource{MX: dnsmessage.MustNewName(strings.Repeat("a", 60) + ".example.")})
	}
	if mx, err := resolver.LookupMX(t.Context(), "ok.example."); err != nil || len(mx) != 31 {
		t.Errorf("%v, %v", mx, err)
	}
	cancel()
	pc.Close()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func FuzzRespond(f *testing.F) {
	f.Add(raw(0x0100, [4]uint16{1, 0, 0, 0}, "\x02ok\x07example\x00\x00\x01\x00\x01"))
	f.Add(raw(0x0100, [4]uint16{1, 0, 0, 1}, "\x02ok\x07example\x00\x00\x0f\x00\x01\x00\x00\x29\x10\x00\x00\x00\x00\x00\x00\x00"))
	f.Add(raw(0x0100, [4]uint16{1, 0, 0, 0}, "\xc0\x0c\x00\x01\x00\x01"))
	f.Fuzz(func(t *testing.T, msg []byte) {
		d := newDesk(t)
		reply := d.Respond(t.Context(), msg, maxUDP, true)
		if reply == nil {
			return
		}
		m := unpack(t, reply)
		if len(reply) > maxUDP || m.ID != uint16(msg[0])<<8|uint16(msg[1]) || len(d.records) != 1 {
			t.Errorf("%x: %s", msg, m.GoString())
		}
		for _, name := range d.outside.asked {
			if !strings.HasPrefix(name, "ok.example ") && !strings.Contains(name, ".wild.example ") {
				t.Errorf("asked for %q", name)
			}
		}
	})
}
