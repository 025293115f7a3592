package config

import (
	"net/netip"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"

	"moat/internal/policy"
)

// Egress says how the person's machine reaches the outside. It never says what is allowed.
type Egress struct {
	// Hosts says where names are dialled: from name[:port] to address[:port].
	Hosts map[string]string
	// CAFiles are files with certificates that upstreams may be verified with, besides the system's: absolute, or
	// beginning with "~/".
	CAFiles []string
	// UpstreamProxy is an http URL with a host and a port; nil if there is none.
	UpstreamProxy *url.URL
}

func egressSchema() schema[Egress] {
	return schema[Egress]{fields: []field[Egress]{
		{"hosts", func(d *decoder, at item, e *Egress) { e.Hosts = d.pins(at) }},
		{"ca_files", func(d *decoder, at item, e *Egress) { e.CAFiles = d.caFiles(at) }},
		{"upstream_proxy", func(d *decoder, at item, e *Egress) { e.UpstreamProxy = d.upstreamProxy(at) }},
	}}
}

// pins reads egress.hosts. No two entries may mean the same name and port.
func (d *decoder) pins(at item) map[string]string {
	pins := map[string]string{}
	lines := map[policy.Pattern]int{}
	for key, value := range d.pairs(at) {
		name, err := parsePinned(key.Value)
		if err != nil {
			d.failErr(item{node: key, path: at.path}, err)
			continue
		}
		if line, twice := lines[name]; twice {
			d.fail(key, "keep one of them", "%s: %s is listed twice, first on line %d", at.path, shorten(key.Value), line)
			continue
		}
		lines[name] = key.Line
		target := ""
		readValue(d, value, parsePinTarget, &target)
		pins[key.Value] = target
	}
	return pins
}

// parsePinned reads the left side of egress.hosts: a name, with or without a port.
func parsePinned(text string) (policy.Pattern, error) {
	p, err := policy.ParsePattern(text)
	if err != nil {
		return p, err
	}
	host := text
	if i := strings.LastIndexByte(text, ':'); i >= 0 {
		host = text[:i]
	}
	name, err := policy.Name(host)
	if err != nil || name.Name() == "" {
		return p, badValue(`write a name with or without a port, such as "example.com" or "example.com:443"`,
			"%s is not the name of one host", shorten(text))
	}
	return p, nil
}

// parsePinTarget reads the right side of egress.hosts.
func parsePinTarget(text string) (string, error) {
	if addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]")); err == nil && addr.Zone() == "" {
		return text, nil
	}
	target, err := netip.ParseAddrPort(text)
	if err != nil || target.Port() == 0 || target.Addr().Zone() != "" {
		return "", badValue(`write an address with or without a port, such as "127.0.0.1:9443" or "[::1]:9443"`,
			"%s is not an address", shorten(text))
	}
	return text, nil
}

func (d *decoder) caFiles(at item) []string {
	files := []string{}
	for element := range d.elements(at, "write a list of files") {
		text, ok := d.word(element)
		if !ok {
			continue
		}
		err := checkHostPath("path", text)
		if err == nil && !filepath.IsAbs(text) && !strings.HasPrefix(text, "~/") && text[0] != '/' {
			err = badValue(`write an absolute path or one that begins with "~/"`, "the path %s is relative", shorten(text))
		}
		if err != nil {
			d.failErr(element, err)
			continue
		}
		files = append(files, text)
	}
	return files
}

// upstreamProxy reads the URL without showing its line when it is wrong: it may have a password.
func (d *decoder) upstreamProxy(at item) (proxy *url.URL) {
	before := len(d.problems)
	readValue(d, at, parseUpstreamProxy, &proxy)
	for i := before; i < len(d.problems); i++ {
		d.problems[i].Source = ""
	}
	return proxy
}

// parseUpstreamProxy reads the URL of a company's proxy. A password in it is not repeated in messages.
func parseUpstreamProxy(text string) (*url.URL, error) {
	const hint = "write http://host:port"
	u, err := url.Parse(text)
	if err != nil {
		return nil, badValue(hint, "this is not a URL")
	}
	port, _ := strconv.ParseUint(u.Port(), 10, 16)
	switch {
	case u.Scheme != "http":
		return nil, badValue(hint, "the scheme %s is not supported", shorten(u.Scheme))
	case u.Hostname() == "" || port == 0:
		return nil, badValue(hint, "%s has no host or no port", shorten(u.Redacted()))
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		return nil, badValue(hint, "%s has more than a host and a port", shorten(u.Redacted()))
	}
	return u, nil
}
