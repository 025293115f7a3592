package policy

import (
	"fmt"
	"slices"
	"strconv"
)

// HostName is the name by which a sandbox reaches services on the person's own machine, on the ports of
// [Config.HostPorts]. Names below hostDomain are never asked of anybody.
const (
	HostName   = "host." + hostDomain
	hostDomain = "moat.internal"
)

// Mode says what happens to hosts that nothing is written about.
type Mode string

// The two policies. Under both, what is denied and special addresses are refused.
const (
	Permissive Mode = "permissive" // they are allowed
	Strict     Mode = "strict"     // they are refused
)

// Config is what people and grants say about the network.
type Config struct {
	// Mode is Strict or Permissive; "" is Permissive.
	Mode Mode
	// Allow and Deny are patterns; see [ParsePattern]. In Allow a pattern without a port means ports 80 and 443, in
	// Deny every port. Deny wins.
	Allow, Deny []string
	// Rules say which requests may be made to hosts that are allowed.
	Rules []HostRules
	// HostPorts are the ports of this machine that are open to the sandbox under [HostName].
	HostPorts []int
	// Grants are allowed like Allow, and looked inside.
	Grants []GrantHosts
	// Limits bound the traffic with each host.
	Limits Limits
}

// HostRules are the rules of one pattern, which is about every port unless it names one. The first rule that matches
// a request decides. If none does, it is refused, unless all rules are deny rules. Of several patterns that match a
// host the most specific one counts alone.
type HostRules struct {
	Host  string
	Rules []string
}

// GrantHosts are the hosts at which a stored credential is used.
type GrantHosts struct {
	Name  string
	Hosts []string
	// Through are hosts that are allowed like those, and not looked into. They carry no HTTP.
	Through []string
}

// Limits bound what a run exchanges with each host. Zero is no limit.
type Limits struct {
	// Bytes counts both directions.
	Bytes int64
	// Requests counts HTTP requests, and connections that carry something else.
	Requests int64
}

// Problem is one thing in a Config that is wrong, or that has no effect.
type Problem struct {
	// Field is "policy", "allow", "deny", "rules", "host", "grants" or "limits".
	Field string
	// Index is the position in that list, and Rule the position among the rules of one host, or the hosts of one
	// grant; -1 when it is about the entry itself.
	Index, Rule int
	// At is the offset in bytes in the value.
	At int
	// Message says what is wrong and quotes the value; Hint, which may be empty, says what to write.
	Message, Hint string
	// Warning is set when the rest means what it says all the same.
	Warning bool
}

// Policy answers questions. It never changes, and may be used by any number of goroutines.
type Policy struct {
	config    Config
	deny      set[*verdict]
	allow     set[*verdict]
	grants    set[bool]
	rules     set[*ruleList]
	hostPorts []uint16
}

// verdict is an answer that is written down when a policy is compiled.
type verdict struct{ rule, reason string }

// Compile checks a configuration and makes a Policy of it. With a problem that is not a warning there is no policy.
func Compile(c Config) (*Policy, []Problem) {
	m := compiler{policy: &Policy{
		config: c.clone(),
		deny:   newSet[*verdict](), allow: newSet[*verdict](), grants: newSet[bool](), rules: newSet[*ruleList](),
	}}
	switch c.Mode {
	case "", Permissive, Strict:
	default:
		m.report(Problem{Field: "policy", Rule: -1, Message: "policy " + quote(string(c.Mode)) + " is unknown",
			Hint: `write "strict" or "permissive"`})
	}
	m.deniedHosts()
	m.allowedHosts()
	m.grantHosts()
	m.hostRules()
	m.ports()
	if c.Limits.Bytes < 0 || c.Limits.Requests < 0 {
		m.report(Problem{Field: "limits", Rule: -1, Message: "a limit is negative", Hint: "write 0 for no limit"})
	}
	if m.failed {
		return nil, m.problems
	}
	return m.policy, m.problems
}

// WithAllow returns the policy with one more entry in allow. Live connections and requests that are asked about later
// see it when the caller asks the new policy. Deny and special addresses stay as they are.
func (p *Policy) WithAllow(pattern string) (*Policy, error) {
	if _, err := ParsePattern(pattern); err != nil {
		return nil, fmt.Errorf("allow a host: %w", err)
	}
	c := p.config.clone()
	c.Allow = append(c.Allow, pattern)
	next, _ := Compile(c)
	return next, nil
}

// Config is what the policy was made from, with what was added since. The caller may keep and change it.
func (p *Policy) Config() Config { return p.config.clone() }

// clone copies the lists, so that a policy cannot be changed from outside.
func (c Config) clone() Config {
	c.Allow, c.Deny, c.HostPorts = slices.Clone(c.Allow), slices.Clone(c.Deny), slices.Clone(c.HostPorts)
	c.Rules, c.Grants = slices.Clone(c.Rules), slices.Clone(c.Grants)
	for i := range c.Rules {
		c.Rules[i].Rules = slices.Clone(c.Rules[i].Rules)
	}
	for i := range c.Grants {
		c.Grants[i].Hosts, c.Grants[i].Through = slices.Clone(c.Grants[i].Hosts), slices.Clone(c.Grants[i].Through)
	}
	return c
}

// compiler fills a policy and collects problems.
type compiler struct {
	policy   *Policy
	problems []Problem
	failed   bool
}

func (m *compiler) report(p Problem) {
	m.problems = append(m.problems, p)
	m.failed = m.failed || !p.Warning
}

func (m *compiler) syntax(field string, index, rule int, err *SyntaxError) {
	m.report(Problem{Field: field, Index: index, Rule: rule, At: err.At,
		Message: err.What + " " + quote(err.Input) + " " + err.Message, Hint: err.Hint})
}

func (m *compiler) deniedHosts() {
	for i, text := range m.policy.config.Deny {
		p, err := parsePattern(text)
		if err != nil {
			m.syntax("deny", i, -1, err)
			continue
		}
		m.policy.deny.add(p, ports{}, &verdict{"deny " + text, "network.deny has " + quote(text)})
	}
}

func (m *compiler) allowedHosts() {
	for i, text := range m.policy.config.Allow {
		p, err := parsePattern(text)
		if err != nil {
			m.syntax("allow", i, -1, err)
			continue
		}
		if why := p.pointless(); why != "" {
			m.report(Problem{Field: "allow", Index: i, Rule: -1, Warning: true,
				Message: "pattern " + quote(text) + " has no effect: " + why,
				Hint:    "network.host opens a port of this machine; egress.hosts in the global file says where a name is dialled"})
		}
		m.policy.allow.add(p, webPorts(), &verdict{"allow " + text, "network.allow has " + quote(text)})
	}
}

// pointless says why allowing the pattern allows nothing.
func (p Pattern) pointless() string {
	addr := p.host.addr
	if p.net.IsValid() {
		addr = p.net.Addr()
		if !withinSpecial(p.net) {
			return ""
		}
	}
	if addr.IsValid() {
		if class, ok := Special(addr); ok {
			return class + " addresses are refused under every policy"
		}
		return ""
	}
	if class, ok := specialName(p.host.name); ok {
		return "it stands for a " + class + " address"
	}
	if p.host.name == HostName && !p.below {
		return "network.host opens it"
	}
	return ""
}

func (m *compiler) grantHosts() {
	for i, grant := range m.policy.config.Grants {
		for j, text := range slices.Concat(grant.Hosts, grant.Through) {
			p, err := parsePattern(text)
			if err != nil {
				m.syntax("grants", i, j, err)
				continue
			}
			if j < len(grant.Hosts) {
				m.policy.grants.add(p, webPorts(), true)
			}
			m.policy.allow.add(p, webPorts(), &verdict{"grant " + grant.Name + ": " + text, "the grant " + quote(grant.Name) + " is used there"})
		}
	}
}

func (m *compiler) hostRules() {
	for i, host := range m.policy.config.Rules {
		p, err := parsePattern(host.Host)
		if err != nil {
			m.syntax("rules", i, -1, err)
			continue
		}
		var rules []Rule
		for j, text := range host.Rules {
			r, err := parseRule(text)
			if err != nil {
				m.syntax("rules", i, j, err)
				continue
			}
			rules = append(rules, r)
		}
		problem := Problem{Field: "rules", Index: i, Rule: -1, Message: "host " + quote(host.Host) + " has no rules",
			Hint: `write for example ["allow GET /**"]`}
		switch {
		case len(host.Rules) == 0:
			m.report(problem)
		case !m.policy.rules.add(p, ports{}, newRuleList(host.Host, rules)):
			problem.Message, problem.Hint = "host "+quote(host.Host)+" has rules already", "put them in one list"
			m.report(problem)
		case !m.reachable(p):
			problem.Message = "rules for " + quote(host.Host) + " have no effect: strict does not allow it"
			problem.Hint, problem.Warning = "add it to network.allow", true
			m.report(problem)
		}
	}
}

// reachable reports whether something that the pattern is about may be allowed. It errs on the side of yes.
func (m *compiler) reachable(p Pattern) bool {
	if m.policy.config.Mode != Strict || p.below || p.net.IsValid() || p.host.name == HostName {
		return true
	}
	_, found := m.policy.allow.find(p.host, func(have ports) bool { return p.port == 0 || have.has(p.port) })
	return found
}

func (m *compiler) ports() {
	for i, port := range m.policy.config.HostPorts {
		n, ok := parsePort(strconv.Itoa(port))
		if !ok {
			m.report(Problem{Field: "host", Index: i, Rule: -1, Message: "port " + strconv.Itoa(port) + " is out of range",
				Hint: "a port is a number from 1 to 65535"})
			continue
		}
		m.policy.hostPorts = append(m.policy.hostPorts, n)
	}
}
