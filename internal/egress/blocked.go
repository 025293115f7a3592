package egress

import (
	"strconv"

	"moat/internal/policy"
)

// The header by which clients and scripts tell our refusals from those of servers.
const (
	BlockedHeader = "X-Moat-Blocked"
	BlockedValue  = "network-policy"
)

// BlockedStatus is the status of a refusal: 407 for plain HTTP, which a proxy would say, and 403 inside TLS.
func BlockedStatus(tls bool) int {
	if tls {
		return 403
	}
	return 407
}

// NewRefusal says that policy refused something on a host and port, and what would help: the entry for network.allow
// with which the same policy would allow a connection there, if there is one.
func NewRefusal(p *policy.Policy, host policy.Host, port uint16, d policy.Decision) Refusal {
	r := Refusal{Host: host, Port: port, Rule: d.Rule, Reason: d.Reason}
	line := policy.SuggestAllow(host, port)
	if line == "" {
		return r
	}
	q := policy.Question{Host: host, Port: port}
	if wider, err := p.WithAllow(line); err == nil && !p.Decide(q).Allow && wider.Decide(q).Allow {
		r.Line = line
	}
	return r
}

// BlockedBody is the text (text/plain) that tells a client why policy refused it, and what to do about it.
func (r Refusal) BlockedBody() string {
	text := "moat: blocked by network policy: " + strconv.Quote(r.Host.String()) + " port " + strconv.Itoa(int(r.Port)) + ": " +
		r.Reason + ".\n"
	if r.Line == "" {
		return text + "No entry in network.allow can open it.\n"
	}
	return text + "To allow it, add " + strconv.Quote(r.Line) + " to network.allow in agent.yaml, or type: moat policy allow <run> " + r.Line + "\n"
}
