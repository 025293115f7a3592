package policy

import (
	"net/netip"
	"strconv"
	"strings"
)

// Pattern is one entry of network.allow or network.deny: a host, all names below one, or a range of addresses, each
// with or without a port. Patterns are equal if and only if == says so.
type Pattern struct {
	host  Host
	below bool         // "*.name": host stands for the names below it, at any depth, and not for itself
	net   netip.Prefix // "address/bits", instead of host
	port  uint16       // 0: none was given
}

// ParsePattern reads host, *.host, an address, a range address/bits, each optionally followed by :port; IPv6 addresses
// with a port are in brackets. Errors are of type [*SyntaxError] and say what to write instead.
func ParsePattern(s string) (Pattern, error) {
	p, err := parsePattern(s)
	if err != nil {
		return Pattern{}, err
	}
	return p, nil
}

// String is the pattern in its one spelling, which ParsePattern reads.
func (p Pattern) String() string {
	text := p.host.String()
	switch {
	case p.net.IsValid():
		text = p.net.String()
	case p.below:
		text = "*." + text
	case p.port != 0:
		text = p.host.bracketed()
	}
	if p.port != 0 {
		text += ":" + strconv.Itoa(int(p.port))
	}
	return text
}

func parsePattern(s string) (Pattern, *SyntaxError) {
	fail := func(at int, message, hint string) (Pattern, *SyntaxError) {
		return Pattern{}, &SyntaxError{What: "pattern", Input: s, At: at, Message: message, Hint: hint}
	}
	if at := strings.Index(s, "://"); at >= 0 {
		return fail(0, "has a scheme", "write the host only, such as "+quote(bareHost(s[at+3:])))
	}
	if slash := strings.IndexByte(s, '/'); slash >= 0 {
		return parseRange(s, slash)
	}
	host, port, at := splitPort(s)
	if host == "" {
		return fail(0, "has no host", `write a name, such as "example.com"`)
	}
	var p Pattern
	if at >= 0 {
		n, ok := parsePort(port)
		if !ok {
			return fail(at, "has the port "+quote(port), "a port is a number from 1 to 65535")
		}
		p.port = n
	}
	if host == "*" {
		return fail(0, "matches everything", "name the hosts, or set network.policy to permissive")
	}
	name, below := strings.CutPrefix(host, "*.")
	if star := strings.LastIndexByte(name, '*'); star >= 0 {
		return fail(len(host)-len(name)+star, "has a * inside", "a * stands only at the beginning, as in "+quote("*."+lastLabels(name)))
	}
	if strings.HasPrefix(name, ".") {
		return fail(len(host)-len(name), "begins with a dot", "write "+quote("*."+strings.TrimLeft(name, "."))+" for all names below it")
	}
	h, err := parseHost(name)
	if err != nil {
		return Pattern{}, err.within("pattern", s, len(host)-len(name))
	}
	if h.addr.IsValid() && below {
		return fail(0, "has a * before an address", `write a range, such as "203.0.113.0/24"`)
	}
	if h.addr.Is4() && h.addr.String() != name {
		return fail(0, "is an address in an unusual form", "write "+quote(h.addr.String()))
	}
	p.host, p.below = h, below
	return p, nil
}

// parseRange reads address/bits[:port].
func parseRange(s string, slash int) (Pattern, *SyntaxError) {
	fail := func(at int, message, hint string) (Pattern, *SyntaxError) {
		return Pattern{}, &SyntaxError{What: "pattern", Input: s, At: at, Message: message, Hint: hint}
	}
	bits, port, hasPort := strings.Cut(s[slash+1:], ":")
	base := strings.TrimSuffix(strings.TrimPrefix(s[:slash], "["), "]")
	addr, err := netip.ParseAddr(base)
	if err != nil || addr.Zone() != "" || len(base) != slash && "["+base+"]" != s[:slash] {
		return fail(slash, "has a path or is not a range of addresses",
			`write the host only; paths belong in network.rules; a range is "203.0.113.0/24"`)
	}
	n, err := strconv.ParseUint(bits, 10, 8)
	if err != nil || int(n) > addr.BitLen() || bits != strconv.Itoa(int(n)) {
		return fail(slash+1, "has the prefix length "+quote(bits), "write a number from 0 to "+strconv.Itoa(addr.BitLen()))
	}
	p := Pattern{net: netip.PrefixFrom(addr, int(n))}
	if whole := p.net.Masked(); whole != p.net {
		return fail(0, "has bits after its prefix", "write "+quote(whole.String()))
	}
	if hasPort {
		var ok bool
		if p.port, ok = parsePort(port); !ok {
			return fail(slash+len(bits)+2, "has the port "+quote(port), "a port is a number from 1 to 65535")
		}
	}
	return p, nil
}

// splitPort cuts a port off; at is its offset, or -1 when there is none. What has several colons and no brackets is
// an IPv6 address.
func splitPort(s string) (host, port string, at int) {
	colon := strings.IndexByte(s, ':')
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 0 || end+1 >= len(s) || s[end+1] != ':' {
			return s, "", -1
		}
		colon = end + 1
	} else if colon < 0 || strings.IndexByte(s[colon+1:], ':') >= 0 {
		return s, "", -1
	}
	return s[:colon], s[colon+1:], colon + 1
}

// parsePort reads 1 to 65535 in plain digits.
func parsePort(s string) (uint16, bool) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 || s != strconv.FormatUint(n, 10) {
		return 0, false
	}
	return uint16(n), true
}

// bareHost is the host and port of what follows a scheme.
func bareHost(s string) string {
	host := s[strings.LastIndexByte(s[:authorityEnd(s)], '@')+1 : authorityEnd(s)]
	if host == "" {
		return "example.com"
	}
	return host
}

func authorityEnd(s string) int {
	if end := strings.IndexAny(s, `/\?#`); end >= 0 {
		return end
	}
	return len(s)
}

// lastLabels is the part of a name with a misplaced * that can follow "*.".
func lastLabels(name string) string {
	rest := name[strings.LastIndexByte(name, '*')+1:]
	if _, after, ok := strings.Cut(rest, "."); ok && after != "" {
		return after
	}
	return "example.com"
}
