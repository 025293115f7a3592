package dial

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"moat/internal/policy"
)

// Pins say where names are dialled instead of what DNS says. They never change; nil has none.
type Pins struct {
	exact map[pin]netip.AddrPort
	any   map[policy.Host]netip.AddrPort
	names map[policy.Host]bool // of either kind
}

// pin is a name with a port.
type pin struct {
	host policy.Host
	port uint16
}

// ParsePins reads egress.hosts: from name[:port] to address[:port]. Without a port on the left an entry is for every port
// that has no entry of its own; without one on the right the port is the one that was asked for.
func ParsePins(entries map[string]string) (*Pins, error) {
	p := &Pins{exact: make(map[pin]netip.AddrPort), any: make(map[policy.Host]netip.AddrPort), names: make(map[policy.Host]bool)}
	for from, to := range entries {
		name, port, err := splitPin(from)
		if err != nil {
			return nil, fmt.Errorf("egress.hosts: %q: %w", from, err)
		}
		target, err := parseTarget(to)
		if err != nil {
			return nil, fmt.Errorf("egress.hosts: %q: %w", from, err)
		}
		_, twice := p.exact[pin{name, port}]
		if _, again := p.any[name]; twice || port == 0 && again {
			return nil, fmt.Errorf("egress.hosts: %q: it is there twice", from)
		}
		if p.names[name] = true; port == 0 {
			p.any[name] = target
		} else {
			p.exact[pin{name, port}] = target
		}
	}
	return p, nil
}

func splitPin(s string) (policy.Host, uint16, error) {
	text, port := s, uint64(0)
	if colon := strings.LastIndexByte(s, ':'); colon >= 0 {
		var err error
		if port, err = strconv.ParseUint(s[colon+1:], 10, 16); err != nil || port == 0 {
			return policy.Host{}, 0, fmt.Errorf("the port %q is not a number from 1 to 65535", s[colon+1:])
		}
		text = s[:colon]
	}
	host, err := policy.Name(text)
	if err != nil {
		return policy.Host{}, 0, err
	}
	if host.Name() == "" {
		return policy.Host{}, 0, fmt.Errorf("%q is an address: only names are looked up", text)
	}
	return host, uint16(port), nil
}

func parseTarget(s string) (netip.AddrPort, error) {
	if addr, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil && addr.Zone() == "" {
		return netip.AddrPortFrom(addr, 0), nil
	}
	target, err := netip.ParseAddrPort(s)
	if err != nil || target.Port() == 0 || target.Addr().Zone() != "" {
		return netip.AddrPort{}, fmt.Errorf("%q is not address:port", s)
	}
	return target, nil
}

func (p *Pins) find(host policy.Host, port uint16) (netip.AddrPort, bool) {
	if p == nil {
		return netip.AddrPort{}, false
	}
	target, ok := p.exact[pin{host, port}]
	if !ok {
		target, ok = p.any[host]
	}
	if ok && target.Port() == 0 {
		target = netip.AddrPortFrom(target.Addr(), port)
	}
	return target, ok
}

func (p *Pins) has(host policy.Host, port uint16) bool {
	if p != nil && port == 0 {
		return p.names[host]
	}
	_, ok := p.find(host, port)
	return ok
}
