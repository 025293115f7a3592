package egress

import (
	"bytes"
	"errors"
	"strconv"
	"strings"

	"moat/internal/policy"
)

// errConnect says that a CONNECT request is not exactly one.
var errConnect = errors.New("bad CONNECT request")

// parseConnect reads the head of a CONNECT request (RFC 9110 section 9.3.6), up to and with its empty line. Of what
// other proxies tolerate it takes nothing: no bare line feeds, no folded lines, no user information, no content. Host,
// where it is there, must be the same host.
func parseConnect(head []byte) (host policy.Host, port uint16, err error) {
	text, ok := bytes.CutSuffix(head, []byte("\r\n\r\n"))
	if !ok {
		return host, 0, errConnect
	}
	lines := strings.Split(string(text), "\r\n")
	target, ok := strings.CutPrefix(lines[0], "CONNECT ")
	authority, version, spaced := strings.Cut(target, " ")
	if !ok || !spaced || version != "HTTP/1.1" && version != "HTTP/1.0" {
		return host, 0, errConnect
	}
	if host, port, err = parseAuthority(authority); err != nil {
		return policy.Host{}, 0, err
	}
	hosts := 0
	for _, line := range lines[1:] {
		name, value, ok := parseField(line)
		if !ok {
			return policy.Host{}, 0, errConnect
		}
		switch strings.ToLower(name) {
		case "host":
			if hosts++; hosts > 1 || !sameHost(value, host, port) {
				return policy.Host{}, 0, errConnect
			}
		case "content-length":
			if value != "0" {
				return policy.Host{}, 0, errConnect
			}
		case "transfer-encoding", "upgrade", "expect":
			return policy.Host{}, 0, errConnect
		}
	}
	return host, port, nil
}

// parseField reads a header field (RFC 9112 section 5).
func parseField(line string) (name, value string, ok bool) {
	name, value, ok = strings.Cut(line, ":")
	if !ok || name == "" || !methodLike([]byte(name[:min(len(name), maxMethod)])) || len(name) > 256 {
		return "", "", false
	}
	for i := maxMethod; i < len(name); i++ {
		if !methodLike([]byte{name[i]}) {
			return "", "", false
		}
	}
	for i := 0; i < len(value); i++ {
		if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return "", "", false
		}
	}
	return name, strings.Trim(value, " \t"), true
}

// parseAuthority reads host:port, both of which must be there.
func parseAuthority(s string) (policy.Host, uint16, error) {
	colon := strings.LastIndexByte(s, ':')
	if colon < 0 {
		return policy.Host{}, 0, errConnect
	}
	n, err := strconv.ParseUint(s[colon+1:], 10, 16)
	if err != nil || n == 0 || s[colon+1:] != strconv.FormatUint(n, 10) {
		return policy.Host{}, 0, errConnect
	}
	host, err := parseASCIIHost(s[:colon])
	if err != nil || strings.IndexByte(s[:colon], ':') >= 0 && s[0] != '[' {
		return policy.Host{}, 0, errConnect
	}
	return host, uint16(n), nil
}

// parseASCIIHost is policy.Name for places where nothing but ASCII can be.
func parseASCIIHost(s string) (policy.Host, error) {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return policy.Host{}, errConnect
		}
	}
	return policy.Name(s)
}

// sameHost reports whether the value of a Host field is the authority, with or without the port.
func sameHost(value string, host policy.Host, port uint16) bool {
	if h, p, err := parseAuthority(value); err == nil {
		return h == host && p == port
	}
	h, err := parseASCIIHost(value)
	return err == nil && h == host
}
