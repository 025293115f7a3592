package policy

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"unicode"

	"golang.org/x/net/idna"
)

func mustHost(t testing.TB, s string) Host {
	t.Helper()
	h, err := Name(s)
	if err != nil {
		t.Fatalf("Name(%q): %v", s, err)
	}
	return h
}

func TestName(t *testing.T) {
	label63 := strings.Repeat("a", 63)
	name253 := strings.Repeat(label63+".", 3) + strings.Repeat("b", 61)
	tests := []struct{ in, want string }{
		{"github.com", "github.com"},
		{"GITHUB.COM", "github.com"},
		{"github.com.", "github.com"},
		{"GitHub.Com.", "github.com"},
		{"ｇithub.com", "github.com"}, // full width
		{"GITHUB。COM", "github.com"}, // ideographic full stop
		{"gıthub.com", "xn--gthub-n4a.com"},
		{"gіthub.com", "xn--gthub-n2e.com"}, // Cyrillic i
		{"straße.de", "xn--strae-oqa.de"},
		{"BÜCHER.example", "xn--bcher-kva.example"},
		{"xn--bcher-kva.example", "xn--bcher-kva.example"},
		{"XN--BCHER-KVA.example", "xn--bcher-kva.example"},
		{"xn--mgba3gch31f060k.com", "xn--mgba3gch31f060k.com"}, // with a joiner that its script needs
		{"a_b.example.com", "a_b.example.com"},
		{"_dmarc.bücher.example", "_dmarc.xn--bcher-kva.example"},
		{"r3---sn-abc.googlevideo.com", "r3---sn-abc.googlevideo.com"},
		{"localhost", "localhost"},
		{"1password.com", "1password.com"},
		{"127.0.0.1.nip.io", "127.0.0.1.nip.io"},
		{"0x7f.example", "0x7f.example"},
		{label63 + ".com", label63 + ".com"},
		{name253, name253},
		{name253 + ".", name253},

		{"127.0.0.1", "127.0.0.1"},
		{"127.0.0.1.", "127.0.0.1"},
		{"127.1", "127.0.0.1"},
		{"127.0.1", "127.0.0.1"},
		{"0", "0.0.0.0"},
		{"2130706433", "127.0.0.1"},
		{"017700000001", "127.0.0.1"},
		{"0x7f000001", "127.0.0.1"},
		{"0X7F.0.0.1", "127.0.0.1"},
		{"0177.0.0.1", "127.0.0.1"},
		{"0x7f.1", "127.0.0.1"},
		{"１２７.０.０.１", "127.0.0.1"},
		{"127。0。0。1", "127.0.0.1"},
		{"①②⑦.0.0.①", "127.0.0.1"},
		{"203.0.16962", "203.0.66.66"},
		{"4294967295", "255.255.255.255"},
		{"::1", "::1"},
		{"[::1]", "::1"},
		{"[0:0:0:0:0:0:0:1]", "::1"},
		{"[2001:DB8::66]", "2001:db8::66"},
		{"::ffff:127.0.0.1", "::ffff:127.0.0.1"},
		{"[::ffff:7f00:1]", "::ffff:127.0.0.1"},
	}
	for _, test := range tests {
		got, err := Name(test.in)
		if err != nil || got.String() != test.want {
			t.Errorf("Name(%q) = %q, %v, want %q", test.in, got, err, test.want)
		}
		_, isAddr := got.Addr()
		if _, err := netip.ParseAddr(test.want); isAddr != (err == nil) {
			t.Errorf("Name(%q) is an address: %v", test.in, isAddr)
		}
	}
}

func TestNameRefuses(t *testing.T) {
	tests := []struct {
		in string
		at int
	}{
		{"", 0},
		{".", 0}, {"..", 0}, {".github.com", 0}, {"a..b", 2}, {"github.com..", 11},
		{" github.com", 0}, {"github.com ", 10}, {"git hub.com", 3}, {"github.com\t", 10}, {"github.com\n", 10},
		{"github.com\x00", 10}, {"github.com\x00.evil", 10}, {"gith\x7fub.com", 4}, {"a\xffb.com", 1}, {"\xc3\x28.com", 1},
		{"github.com%00", 10}, {"github%2ecom", 6}, {"127%2e0.0.1", 3}, {"%31.0.0.1", 0},
		{"github.com/", 10}, {"github.com\\evil", 10}, {"evil@github.com", 4}, {"a#b", 1}, {"a?b", 1}, {"a,b", 1}, {"a;b", 1},
		{"*", 0}, {"*.github.com", 0}, {"a=b", 1}, {"a|b", 1}, {"{a}", 0}, {"a'b", 1}, {`a"b`, 1}, {"$(id)", 0},
		{"-a.com", 0}, {"a-.com", 1}, {"a.-b.com", 2}, {"a.b-", 3},
		{"a℀b.com", 0}, {"a／b.com", 0}, {"a：80.com", 0}, {"a＠b.com", 0}, {"a％00.com", 0}, // mapped to / : @ %
		{"git\u00adhub.com", 3}, {"git\u200bhub.com", 3}, {"git\u200dhub.com", 3}, {"git\u202ehub.com", 3}, {"\ufeffgithub.com", 0},
		{"git\u2060hub.com", 3}, {"git\ufe0fhub.com", 3}, {"git\u3000hub.com", 3}, {"git\u034fhub.com", 3},
		{"xn--", 0}, {"xn--a", 0}, {"xn--github-.com", 0}, {"xn--gthub-n4a-.com", 0}, {"xn--\u00fc.com", 0},
		{"256.0.0.1", 0}, {"1.2.3.256", 0}, {"1.2.3.4.5", 0}, {"1.2.65536", 0}, {"4294967296", 0}, {"0x100000000", 0},
		{"08.0.0.1", 0}, {"0x", 0}, {"0xg", 0x100}, {"1..1", 2}, {"foo.1", 0}, {"a.0x7f", 0}, {"1.2.3.4a.5", 0}, {"0_1", 0x100},
		{"github.com:443", 0}, {"[::1]:443", 5}, {"[::1", 4}, {"::1]", 0}, {"[127.0.0.1]", 0}, {"[github.com]", 0}, {"[]", 0}, {":", 0},
		{"fe80::1%eth0", 7}, {"[fe80::1%25eth0]", 8}, {"::1%0", 3}, {"1::2::3", 0}, {"::ffff:1.2.3", 0}, {"::ffff:0x7f.0.0.1", 0},
		{strings.Repeat("a", 64) + ".com", 63}, {strings.Repeat("a.", 127) + "a", 253}, {strings.Repeat("ü", 600), 1024},
		{strings.Repeat("a", 64<<10), 1024},
	}
	for _, test := range tests {
		got, err := Name(test.in)
		if test.at == 0x100 { // not an address, but a name like any other
			if err != nil || got.Name() != test.in {
				t.Errorf("Name(%q) = %v, %v", test.in, got, err)
			}
			continue
		}
		var syntax *SyntaxError
		if !errors.As(err, &syntax) {
			t.Errorf("Name(%.80q) = %v, %v, want a syntax error", test.in, got, err)
			continue
		}
		if syntax.At != test.at || !got.IsZero() {
			t.Errorf("Name(%.80q): %v at %d, want %d", test.in, err, syntax.At, test.at)
		}
		if strings.ContainsFunc(err.Error(), func(r rune) bool { return !unicode.IsPrint(r) }) || len(err.Error()) > 600 {
			t.Errorf("message is not fit for a terminal: %q", err)
		}
	}
}

func TestSpecial(t *testing.T) {
	tests := []struct{ addr, class string }{
		{"127.0.0.1", "loopback"}, {"127.255.255.255", "loopback"}, {"::1", "loopback"},
		{"0.0.0.0", "unspecified"}, {"0.1.2.3", "this network"}, {"::", "unspecified"},
		{"10.0.0.1", "private"}, {"172.16.0.1", "private"}, {"172.31.255.255", "private"}, {"192.168.1.1", "private"},
		{"100.64.0.1", "carrier NAT"}, {"100.127.255.255", "carrier NAT"}, {"100.100.100.200", "metadata"},
		{"169.254.169.254", "metadata"}, {"169.254.170.2", "metadata"}, {"169.254.1.1", "link-local"}, {"168.63.129.16", "metadata"},
		{"fd00:ec2::254", "metadata"}, {"fd20:ce::254", "metadata"}, {"fe80::a9fe:a9fe", "metadata"},
		{"224.0.0.251", "multicast"}, {"239.1.1.1", "multicast"}, {"ff02::1", "multicast"}, {"255.255.255.255", "broadcast"}, {"250.1.1.1", "reserved"},
		{"198.18.0.1", "benchmarking"}, {"198.19.255.255", "benchmarking"}, {"192.0.0.170", "protocol assignment"}, {"192.88.99.1", "6to4"},
		{"fc00::1", "unique-local"}, {"fdff::1", "unique-local"}, {"fe80::1", "link-local"}, {"febf::1", "link-local"}, {"fec0::1", "site-local"},
		{"::ffff:127.0.0.1", "v4-mapped"}, {"::ffff:8.8.8.8", "v4-mapped"}, {"::ffff:0:127.0.0.1", "v4-translated"}, {"::127.0.0.1", "v4-compatible"}, {"::2", "v4-compatible"},
		{"64:ff9b::7f00:1", "NAT64"}, {"64:ff9b::808:808", "NAT64"}, {"64:ff9b:1::a00:1", "NAT64"}, {"64:ff9b:1:ffff::1", "NAT64"},
		{"2002:7f00:1::", "6to4"}, {"2002:808:808::1", "6to4"}, {"2001:0:1::1", "Teredo"}, {"2001:2::1", "benchmarking"}, {"2001:20::1", "protocol assignment"},
		{"2001:4860::5efe:7f00:1", "ISATAP"}, {"2a00:1::200:5efe:a00:1", "ISATAP"},
		{"100::1", "discard"}, {"5f00::1", "segment routing"}, {"1::1", "reserved"}, {"4000::1", "reserved"}, {"8000::1", "reserved"}, {"f000::1", "reserved"},

		{"8.8.8.8", ""}, {"1.1.1.1", ""}, {"126.255.255.255", ""}, {"128.0.0.1", ""}, {"11.0.0.0", ""}, {"172.32.0.0", ""}, {"172.15.255.255", ""},
		{"100.63.255.255", ""}, {"100.128.0.0", ""}, {"169.253.255.255", ""}, {"192.167.255.255", ""}, {"192.169.0.0", ""}, {"223.255.255.255", ""},
		{"198.17.255.255", ""}, {"198.20.0.0", ""}, {"168.63.129.17", ""},
		{"203.0.113.66", ""}, {"2001:db8::66", ""}, {"2606:4700::1111", ""}, {"2001:4860:4860::8888", ""}, {"2001:200::1", ""}, {"3fff::1", ""}, {"2003::1", ""},
	}
	for _, test := range tests {
		class, ok := Special(netip.MustParseAddr(test.addr))
		if class != test.class || ok != (test.class != "") {
			t.Errorf("Special(%s) = %q, %v, want %q", test.addr, class, ok, test.class)
		}
	}
	if class, ok := Special(netip.Addr{}); !ok || class != "invalid" {
		t.Errorf("Special of nothing = %q, %v", class, ok)
	}
	if class, _ := Special(netip.MustParseAddr("fe80::1%eth0")); class != "link-local" {
		t.Errorf("a zone hides the class: %q", class)
	}
}

func FuzzName(f *testing.F) {
	for _, s := range []string{"github.com", "GITHUB。COM.", "xn--bcher-kva.example", "0x7f.1", "[::ffff:7f00:1]", "fe80::1%1", "①.②", "a_b", "gıthub.com", "017700000001", "１２７.１"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		h, err := Name(s)
		if err != nil {
			var syntax *SyntaxError
			if !errors.As(err, &syntax) || syntax.At < 0 || syntax.At > len(s) || !h.IsZero() {
				t.Fatalf("Name(%q) = %v, %v", s, h, err)
			}
			return
		}
		if again, err := Name(h.String()); err != nil || again != h {
			t.Fatalf("Name(%q) = %q; again %q, %v", s, h, again, err)
		}
		name := h.Name()
		if name == "" {
			if addr, ok := h.Addr(); !ok || addr.Zone() != "" || AddrHost(addr) != h {
				t.Fatalf("Name(%q) = %#v", s, h)
			}
			return
		}
		if len(name) > 253 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" || strings.Contains("."+name+".", "..") {
			t.Fatalf("Name(%q) = %q", s, name)
		}
		if _, err := netip.ParseAddr(name); err == nil {
			t.Fatalf("Name(%q) takes an address for a name", s)
		}
		shown, err := idna.Lookup.ToUnicode(name)
		if again, err2 := Name(shown); err == nil && (err2 != nil || again != h) {
			t.Fatalf("%q is shown as %q, which is %q, %v", name, shown, again, err2)
		}
		if upper, err := Name(strings.ToUpper(name) + "."); err != nil || upper != h {
			t.Fatalf("the case or the dot of %q makes a difference: %q, %v", name, upper, err)
		}
	})
}
