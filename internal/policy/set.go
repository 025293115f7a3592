package policy

import (
	"net/netip"
	"slices"
	"strings"
)

// ports says to which ports an entry applies. The zero value is every port.
type ports struct{ a, b uint16 }

// webPorts is what an entry of network.allow without a port is about.
func webPorts() ports { return ports{80, 443} }

func (p ports) every() bool { return p == ports{} }

func (p ports) has(port uint16) bool { return p.every() || port == p.a || port == p.b }

// set maps patterns to values. It finds the most specific entry for a host and port: a name before the names below
// one, a long name before a short one, a narrow range before a wide one, an entry with a port before one without.
type set[T any] struct {
	names  map[string][]entry[T]
	below  map[string][]entry[T]
	labels int // the most labels that a key of below has
	nets   map[netip.Prefix][]entry[T]
	bits   [2][]int // prefix lengths in nets, longest first; IPv4, IPv6
}

type entry[T any] struct {
	ports ports
	value T
}

func newSet[T any]() set[T] {
	return set[T]{
		names: make(map[string][]entry[T]),
		below: make(map[string][]entry[T]),
		nets:  make(map[netip.Prefix][]entry[T]),
	}
}

// add adds an entry; p.port decides when it is given, whenNone otherwise. Of equal patterns the first one counts, and
// added is false for the others.
func (s *set[T]) add(p Pattern, whenNone ports, value T) (added bool) {
	e := entry[T]{whenNone, value}
	if p.port != 0 {
		e.ports = ports{p.port, p.port}
	}
	switch {
	case p.below:
		s.labels = max(s.labels, strings.Count(p.host.name, ".")+1)
		return insert(s.below, p.host.name, e)
	case p.host.name != "":
		return insert(s.names, p.host.name, e)
	}
	prefix := p.net
	if !prefix.IsValid() {
		prefix = netip.PrefixFrom(p.host.addr, p.host.addr.BitLen())
	}
	bits := &s.bits[family(prefix.Addr())]
	if at, found := slices.BinarySearchFunc(*bits, prefix.Bits(), func(have, want int) int { return want - have }); !found {
		*bits = slices.Insert(*bits, at, prefix.Bits())
	}
	return insert(s.nets, prefix, e)
}

func insert[K comparable, T any](m map[K][]entry[T], key K, e entry[T]) bool {
	list := m[key]
	if slices.ContainsFunc(list, func(have entry[T]) bool { return have.ports == e.ports }) {
		return false
	}
	at := len(list)
	if e.ports.a == e.ports.b && !e.ports.every() {
		at = 0
	}
	m[key] = slices.Insert(list, at, e)
	return true
}

// find returns the value of the most specific entry for which ok says yes.
func (s *set[T]) find(h Host, ok func(ports) bool) (value T, found bool) {
	if h.addr.IsValid() {
		return s.findAddr(h.addr, ok)
	}
	if value, found = pick(s.names[h.name], ok); found {
		return value, true
	}
	for rest := s.longest(h.name); rest != ""; {
		if value, found = pick(s.below[rest], ok); found {
			return value, true
		}
		_, rest, _ = strings.Cut(rest, ".")
	}
	return value, false
}

// longest is the longest proper suffix of a name that may be a key of below, or "". Names have up to 127 labels, and
// whoever is asked about has chosen them.
func (s *set[T]) longest(name string) string {
	at := len(name)
	for range s.labels {
		dot := strings.LastIndexByte(name[:at], '.')
		if dot < 0 {
			break
		}
		at = dot
	}
	if at == len(name) {
		return ""
	}
	return name[at+1:]
}

func (s *set[T]) findAddr(addr netip.Addr, ok func(ports) bool) (value T, found bool) {
	for _, bits := range s.bits[family(addr)] {
		prefix, err := addr.Prefix(bits)
		if err != nil {
			continue
		}
		if value, found = pick(s.nets[prefix], ok); found {
			return value, true
		}
	}
	return value, false
}

func pick[T any](list []entry[T], ok func(ports) bool) (value T, found bool) {
	for _, e := range list {
		if ok(e.ports) {
			return e.value, true
		}
	}
	return value, false
}

// family is 0 for IPv4 and 1 for IPv6.
func family(addr netip.Addr) int {
	if addr.Is4() {
		return 0
	}
	return 1
}
