package egress

import (
	"math"
	"strconv"
	"sync"

	"moat/internal/policy"
)

// maxMetered bounds the hosts that are counted: who asks for more of them under limits is refused.
const maxMetered = 1 << 16

// Meter counts what a run exchanges with each host and compares it with the limits of the policy as it is now. While
// there are no limits it counts nothing. It may be used by any number of goroutines.
type Meter struct {
	limits func() policy.Limits

	mu   sync.Mutex
	used map[policy.Host]*policy.Limits
}

// NewMeter counts for one run.
func NewMeter(current func() *policy.Policy) *Meter {
	return &Meter{limits: limitsOf(current), used: make(map[policy.Host]*policy.Limits)}
}

// limitsOf reads the limits of each new policy once: Policy.Config copies all of its lists.
func limitsOf(current func() *policy.Policy) func() policy.Limits {
	var (
		mu     sync.Mutex
		seen   *policy.Policy
		limits policy.Limits
	)
	return func() policy.Limits {
		p := current()
		mu.Lock()
		defer mu.Unlock()
		if p != seen {
			seen, limits = p, p.Config().Limits
		}
		return limits
	}
}

// Request counts one HTTP request, or one connection that carries something else. The answer refuses it if the limit is
// reached; nothing is counted then.
func (m *Meter) Request(host policy.Host) policy.Decision { return m.add(host, 0, 1) }

// Bytes counts bytes in either direction. They were exchanged already; the answer says whether there may be more.
func (m *Meter) Bytes(host policy.Host, n int64) policy.Decision { return m.add(host, n, 0) }

// left is how many bytes may be exchanged yet, at least 1.
func (m *Meter) left(host policy.Host) int64 {
	limit := m.limits().Bytes
	if limit == 0 {
		return math.MaxInt64
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if used := m.used[host]; used != nil {
		limit -= used.Bytes
	}
	return max(limit, 1)
}

func (m *Meter) add(host policy.Host, bytes, requests int64) policy.Decision {
	limits := m.limits()
	if limits == (policy.Limits{}) {
		return policy.Decision{Allow: true}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	used := m.used[host]
	if used == nil {
		if len(m.used) >= maxMetered {
			return over("hosts", maxMetered)
		}
		used = new(policy.Limits)
		m.used[host] = used
	}
	used.Bytes += bytes
	if limits.Bytes > 0 && used.Bytes >= limits.Bytes {
		return over("bytes", limits.Bytes)
	}
	if limits.Requests > 0 && used.Requests+requests > limits.Requests {
		return over("requests", limits.Requests)
	}
	used.Requests += requests
	return policy.Decision{Allow: true}
}

func over(what string, limit int64) policy.Decision {
	n := strconv.FormatInt(limit, 10)
	return policy.Decision{Rule: "limits " + what + ": " + n, Reason: "this run has used its " + n + " " + what + " (network.limits)"}
}
