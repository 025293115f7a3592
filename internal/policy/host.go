package policy

import (
	"net/netip"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// Limits of a name in its ASCII form (RFC 1035 section 2.3.4), and of what is looked at at all.
const (
	maxName  = 253
	maxLabel = 63
	maxInput = 1024
)

// Host is a name or an address in its one spelling. The zero value is neither. Hosts are equal if and only if ==
// says so.
type Host struct {
	name string
	addr netip.Addr
}

// AddrHost is the host of an address. An address with a zone or without a value gives the zero Host.
func AddrHost(addr netip.Addr) Host {
	if !addr.IsValid() || addr.Zone() != "" {
		return Host{}
	}
	return Host{addr: addr}
}

// IsZero reports whether h is neither a name nor an address.
func (h Host) IsZero() bool { return h == Host{} }

// Name is the name in lower-case ASCII without a trailing dot, or "" for an address.
func (h Host) Name() string { return h.name }

// Addr is the address, and whether the host is one.
func (h Host) Addr() (addr netip.Addr, ok bool) { return h.addr, h.addr.IsValid() }

// String is the name, or the address without brackets; "" for the zero Host.
func (h Host) String() string {
	if h.addr.IsValid() {
		return h.addr.String()
	}
	return h.name
}

// WithPort is host:port, with brackets around an IPv6 address.
func (h Host) WithPort(port uint16) string {
	return h.bracketed() + ":" + strconv.Itoa(int(port))
}

func (h Host) bracketed() string {
	if h.addr.Is6() {
		return "[" + h.addr.String() + "]"
	}
	return h.String()
}

// Name reads a host as a client wrote it, without a port, and returns its one spelling: names by UTS 46 and IDNA 2008
// in lower-case ASCII, with one trailing dot dropped; addresses in every form that a C library reads (dotted, decimal,
// octal, hexadecimal, short: inet_aton(3)), IPv6 with or without brackets. An IPv4-mapped address stays mapped.
//
// Everything else is a [*SyntaxError]: spaces, control characters, percent signs, invisible characters, zones, names
// that end in a number and are no address, labels that are empty, over 63 bytes or begin or end with a hyphen.
// A successful answer for plain lower-case ASCII allocates nothing.
func Name(s string) (Host, error) {
	host, err := parseHost(s)
	if err != nil {
		return Host{}, err
	}
	return host, nil
}

func parseHost(s string) (Host, *SyntaxError) {
	fail := func(at int, message string) (Host, *SyntaxError) {
		return Host{}, &SyntaxError{What: "host", Input: s, At: at, Message: message}
	}
	if s == "" {
		return fail(0, "is empty")
	}
	if len(s) > maxInput {
		return fail(maxInput, "is too long")
	}
	if s[0] == '[' || strings.IndexByte(s, ':') >= 0 {
		return parseIPv6(s)
	}
	ascii, at, problem := toASCII(s)
	if problem != "" {
		return fail(at, problem)
	}
	ascii = strings.TrimSuffix(ascii, ".")
	if at, problem := checkName(ascii); problem != "" {
		return fail(min(at, len(s)), problem)
	}
	last := ascii[strings.LastIndexByte(ascii, '.')+1:]
	if !numeric(last) {
		return Host{name: ascii}, nil
	}
	addr, ok := parseIPv4(ascii)
	if !ok {
		return fail(0, "ends in a number and is no address")
	}
	return Host{addr: addr}, nil
}

// parseIPv6 reads an address of which a bracket or a colon says that it can be nothing else.
func parseIPv6(s string) (Host, *SyntaxError) {
	inner := s
	if s[0] == '[' {
		end := strings.IndexByte(s, ']')
		switch {
		case end < 0:
			return Host{}, &SyntaxError{What: "host", Input: s, At: len(s), Message: "has no closing bracket"}
		case end != len(s)-1:
			return Host{}, &SyntaxError{What: "host", Input: s, At: end + 1, Message: "goes on after its closing bracket"}
		}
		inner = s[1:end]
	}
	if at := strings.IndexByte(s, '%'); at >= 0 {
		return Host{}, &SyntaxError{What: "host", Input: s, At: at, Message: "has a zone or a percent sign"}
	}
	addr, err := netip.ParseAddr(inner)
	if err != nil || !addr.Is6() {
		return Host{}, &SyntaxError{What: "host", Input: s, Message: "is not an IPv6 address"}
	}
	return Host{addr: addr}, nil
}

// toASCII returns the lower-case ASCII form of a name. Where it fails, at and problem say why.
func toASCII(s string) (ascii string, at int, problem string) {
	upper, special := false, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c >= utf8.RuneSelf:
			special = true
		case c >= 'A' && c <= 'Z':
			upper = true
		case !plain(c):
			return "", i, "has the character " + strconv.QuoteRuneToASCII(rune(c))
		}
	}
	if upper && !special {
		s = strings.ToLower(s)
	}
	if !special && !strings.HasPrefix(s, "xn--") && !strings.Contains(s, ".xn--") {
		return s, 0, ""
	}
	return fromUnicode(s)
}

// fromUnicode is toASCII for names with labels in Unicode or in Punycode.
func fromUnicode(s string) (ascii string, at int, problem string) {
	for i, r := range s {
		if r == utf8.RuneError || invisible(r) {
			return "", i, "has the invisible or invalid character " + strconv.QuoteRuneToASCII(r)
		}
	}
	// UTS 46 without transitional processing, as browsers do it. StrictDomainName would refuse underscores; which
	// characters the result may have is checked below.
	profile := idna.New(idna.MapForLookup(), idna.BidiRule(), idna.CheckHyphens(true), idna.CheckJoiners(true),
		idna.Transitional(false), idna.StrictDomainName(false))
	ascii, err := profile.ToASCII(s)
	if err != nil {
		return "", 0, "is not a valid international name"
	}
	for i := 0; i < len(ascii); i++ {
		if c := ascii[i]; !plain(c) || c >= 'A' && c <= 'Z' {
			return "", 0, "stands for a name with the character " + strconv.QuoteRuneToASCII(rune(c))
		}
	}
	return ascii, 0, ""
}

// invisible finds characters that UTS 46 ignores or that change how the rest is shown.
func invisible(r rune) bool {
	return unicode.In(r, unicode.Cf, unicode.Cc, unicode.Zs, unicode.Zl, unicode.Zp,
		unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point)
}

// plain reports whether c may be in a name before its case is dropped. Underscores are in names of services and
// buckets.
func plain(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_'
}

// checkName checks the lengths and the labels of a name whose characters are right.
func checkName(name string) (at int, problem string) {
	if len(name) > maxName {
		return maxName, "is longer than 253 characters"
	}
	for start := 0; start <= len(name); {
		end := len(name)
		if dot := strings.IndexByte(name[start:], '.'); dot >= 0 {
			end = start + dot
		}
		switch label := name[start:end]; {
		case label == "":
			return start, "has an empty label"
		case len(label) > maxLabel:
			return start + maxLabel, "has a label longer than 63 characters"
		case label[0] == '-':
			return start, "has a label that begins with a hyphen"
		case label[len(label)-1] == '-':
			return end - 1, "has a label that ends with a hyphen"
		}
		start = end + 1
	}
	return 0, ""
}

// numeric reports whether the label would make a URL parser or a C library take the name for an IPv4 address
// (WHATWG URL, "ends in a number").
func numeric(label string) bool {
	if rest, ok := strings.CutPrefix(label, "0x"); ok {
		return strings.Trim(rest, "0123456789abcdef") == ""
	}
	return strings.Trim(label, "0123456789") == ""
}

// parseIPv4 reads one to four numbers as inet_aton(3) does: the last fills what the others leave.
func parseIPv4(s string) (netip.Addr, bool) {
	if strings.Count(s, ".") > 3 {
		return netip.Addr{}, false
	}
	var value uint64
	for shift := 32; ; {
		part, rest, more := strings.Cut(s, ".")
		n, ok := number(part)
		if !ok {
			return netip.Addr{}, false
		}
		if !more {
			if n >= 1<<shift {
				return netip.Addr{}, false
			}
			value |= n
			break
		}
		shift -= 8
		if n > 0xff {
			return netip.Addr{}, false
		}
		value |= n << shift
		s = rest
	}
	return netip.AddrFrom4([4]byte{byte(value >> 24), byte(value >> 16), byte(value >> 8), byte(value)}), true
}

// number reads a decimal, octal (0…) or hexadecimal (0x…) number below 2^32.
func number(s string) (uint64, bool) {
	base := 10
	switch {
	case strings.HasPrefix(s, "0x"):
		s, base = s[2:], 16
	case len(s) > 1 && s[0] == '0':
		s, base = s[1:], 8
	}
	if s == "" || s[0] == '+' || s[0] == '-' || strings.IndexByte(s, '_') >= 0 {
		return 0, false
	}
	n, err := strconv.ParseUint(s, base, 32)
	return n, err == nil
}
