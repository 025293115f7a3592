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

// BlockedBody is the text (text/plain) that tells a client why policy refused it, and what to do about it.
func BlockedBody(host policy.Host, port uint16, d policy.Decision) string {
	text := "moat: blocked by network policy: " + strconv.Quote(host.String()) + " port " + strconv.Itoa(int(port)) + ": " +
		d.Reason + ".\n"
	if line := policy.SuggestAllow(host, port); line != "" {
		return text + "To allow it, add " + strconv.Quote(line) + " to network.allow in agent.yaml, or type: moat policy allow <run> " + line + "\n"
	}
	return text + "No entry in network.allow can open it.\n"
}
