package policy

import (
	"net/netip"
	"slices"
	"strconv"
)

// Question is one thing that the sandbox wants to do. A caller asks up to three times: about the name before anything
// is resolved (Lookup for a question of DNS, else Port), about each address before it is dialled (Addr), and about each
// request on the connection (Method, Path).
type Question struct {
	// Host is what was asked for: the name, or the address if there was no name.
	Host Host
	// Addr is the address that would be dialled for a name. It may be without a value as long as it is not known.
	Addr netip.Addr
	// Port is 1 to 65535; it is not looked at for a Lookup.
	Port uint16
	// Lookup marks a question about a name with no port: it is allowed if some port is.
	Lookup bool
	// Pinned says that the person wrote down where this host is dialled (egress.hosts). Special addresses pass then,
	// and ranges in deny are not compared with Addr.
	Pinned bool
	// Method and Path are those of a request, as they were on the wire; Path is without its query. Both are empty
	// for a connection. Rules compare the path in the spelling of [NormalizePath], which must be what is forwarded.
	Method, Path string
}

// Decision is the answer to a Question.
type Decision struct {
	Allow bool
	// Inspect says that the connection must be looked into: its requests have rules, or a grant is used. If it turns
	// out to carry no HTTP it must be closed.
	Inspect bool
	// Rule is for the record: it contains the pattern or the rule that decided.
	Rule string
	// Reason is for people: half a sentence without the host.
	Reason string
}

// Decide answers a question. Answers that allow cost no allocation, except for a path that has to be respelled.
func (p *Policy) Decide(q Question) Decision {
	switch {
	case q.Host.IsZero():
		return refused("invalid host", "it is neither a name nor an address")
	case q.Port == 0 && !q.Lookup:
		return refused("invalid port", "the port is 0")
	}
	if d := p.denied(q); d != nil {
		return refused(d.rule, d.reason)
	}
	if q.Host.name == HostName {
		return p.ownMachine(q)
	}
	if class := specialClass(q); class != "" {
		return refused("special address: "+class, class+" addresses are refused under every policy")
	}
	d := p.byHost(q)
	if !d.Allow {
		return d
	}
	return p.inside(q, d)
}

func refused(rule, reason string) Decision { return Decision{Rule: rule, Reason: reason} }

// covers reports whether an entry that opens something is about the question.
func (q Question) covers(have ports) bool { return q.Lookup || have.has(q.Port) }

// shuts reports whether an entry that shuts something is about the question. A name of which one port is shut can
// still be looked up.
func (q Question) shuts(have ports) bool {
	if q.Lookup {
		return have.every()
	}
	return have.has(q.Port)
}

func (p *Policy) denied(q Question) *verdict {
	if v, found := p.deny.find(q.Host, q.shuts); found {
		return v
	}
	if q.Addr.IsValid() && !q.Pinned {
		if v, found := p.deny.findAddr(q.Addr, q.shuts); found {
			return v
		}
	}
	return nil
}

// ownMachine answers for HostName, whatever its address is.
func (p *Policy) ownMachine(q Question) Decision {
	open := slices.Contains(p.hostPorts, q.Port)
	if q.Lookup {
		open = len(p.hostPorts) > 0
	}
	if !open {
		port := strconv.Itoa(int(q.Port))
		if q.Lookup {
			return refused("host: no port is open", "network.host opens no port of this machine")
		}
		return refused("host: port "+port+" is not in network.host", "port "+port+" of this machine is not in network.host")
	}
	return p.inside(q, Decision{Allow: true, Rule: "host " + HostName, Reason: "network.host opens the port"})
}

// specialClass returns the class of what the question would reach, "" when it is ordinary.
func specialClass(q Question) string {
	if q.Pinned {
		return ""
	}
	if class, ok := specialName(q.Host.name); ok {
		return class
	}
	for _, addr := range [...]netip.Addr{q.Host.addr, q.Addr} {
		if !addr.IsValid() {
			continue
		}
		if class, ok := Special(addr); ok {
			return class
		}
	}
	return ""
}

func (p *Policy) byHost(q Question) Decision {
	if v, found := p.allow.find(q.Host, q.covers); found {
		return Decision{Allow: true, Rule: v.rule, Reason: v.reason}
	}
	if p.config.Mode == Strict {
		return refused("strict: not in network.allow", "it is not in network.allow")
	}
	return Decision{Allow: true, Rule: "permissive", Reason: "permissive allows what is not denied"}
}

// inside applies the rules of an allowed host.
func (p *Policy) inside(q Question, d Decision) Decision {
	list, ruled := p.rules.find(q.Host, q.covers)
	_, granted := p.grants.find(q.Host, q.covers)
	d.Inspect = ruled || granted
	if !ruled || q.Method == "" && q.Path == "" {
		return d
	}
	path, err := normalizePath(q.Path)
	if err != nil {
		return refused("rules "+list.host+": path", "the path "+err.Message)
	}
	if why := ambiguous(path); why != "" {
		return refused("rules "+list.host+": path", "the path "+why)
	}
	allow, by := list.judge(q.Method, path)
	if decoded := slashesDecoded(path); allow && decoded != path {
		allow, by = list.judge(q.Method, decoded) // both readings must be allowed
	}
	switch {
	case by == nil && !allow:
		return refused("rules "+list.host+": no rule matches", "no rule of "+quote(list.host)+" in network.rules allows it")
	case !allow:
		return refused(by.rule, by.reason)
	case by != nil:
		d.Rule, d.Reason = by.rule, by.reason
	}
	return d
}

// SuggestAllow returns the entry for network.allow that lets a sandbox reach the host on the port, or "" when no
// entry would.
func SuggestAllow(host Host, port uint16) string {
	pattern := Pattern{host: host, port: port}
	if host.IsZero() || port == 0 || pattern.pointless() != "" {
		return ""
	}
	if webPorts().has(port) {
		pattern.port = 0
	}
	return pattern.String()
}
