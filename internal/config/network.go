package config

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"moat/internal/policy"
)

// What of requests and responses is recorded beside their lines and sizes.
const (
	CaptureNone    = "none"
	CaptureHeaders = "headers"
	CaptureBodies  = "bodies" // headers, and the beginning of text bodies
)

// What becomes of credentials that programs send to the hosts of a grant besides the grant's.
const (
	ForeignRemove = "remove"
	ForeignAllow  = "allow"
)

// MaxRequests is the largest limit on a number of requests.
const MaxRequests = 1_000_000_000_000

// Network is what a workspace asks for of the network. Package policy has accepted all of it.
type Network struct {
	// Policy is empty where the file does not say.
	Policy policy.Mode
	// Allow and Deny are patterns, as written.
	Allow, Deny []string
	Rules       []policy.HostRules // in the order of the file
	// Host are ports of the person's own machine, 1 to 65535.
	Host   []int
	Limits policy.Limits
	// DNS are the resolvers that are asked, with their ports; none means the host's.
	DNS []netip.AddrPort
	// Capture is one of the Capture constants, or empty.
	Capture string
	// Foreign is one of the Foreign constants, or empty.
	Foreign string
}

// PolicyConfig returns what policy is made from. mode applies where the file does not choose one, grants are those of
// the run.
func (n *Network) PolicyConfig(mode policy.Mode, grants []policy.GrantHosts) policy.Config {
	if n.Policy != "" {
		mode = n.Policy
	}
	return policy.Config{
		Mode: mode, Allow: n.Allow, Deny: n.Deny, Rules: n.Rules, HostPorts: n.Host, Grants: grants, Limits: n.Limits,
	}
}

// networkDraft collects a network mapping, and where its values are, for policy to judge as a whole.
type networkDraft struct {
	out    Network
	places map[place]item
}

// place is a value as policy names it in a [policy.Problem].
type place struct {
	field       string
	index, rule int
}

func networkSchema() schema[networkDraft] {
	return schema[networkDraft]{
		elsewhere: elsewhereThanNetwork,
		fields: []field[networkDraft]{
			{"policy", func(d *decoder, at item, n *networkDraft) {
				text, ok := d.word(at)
				n.out.Policy, n.places[place{"policy", 0, -1}] = policy.Mode(text), at
				if near := closest(text, []string{string(policy.Strict), string(policy.Permissive)}); ok && near != "" && near != text {
					d.fail(at.node, "did you mean "+shorten(near)+"?", "%s: policy %s is unknown", at.path, shorten(text))
					n.out.Policy = ""
				}
			}},
			{"allow", func(d *decoder, at item, n *networkDraft) { n.out.Allow = n.patterns(d, at, "allow") }},
			{"deny", func(d *decoder, at item, n *networkDraft) { n.out.Deny = n.patterns(d, at, "deny") }},
			{"rules", func(d *decoder, at item, n *networkDraft) { n.rules(d, at) }},
			{"host", func(d *decoder, at item, n *networkDraft) { n.host(d, at) }},
			{"limits", func(d *decoder, at item, n *networkDraft) { readMapping(d, networkLimitsSchema(), at, &n.out.Limits) }},
			{"dns", func(d *decoder, at item, n *networkDraft) { n.dns(d, at) }},
			{"capture", func(d *decoder, at item, n *networkDraft) {
				readValue(d, at, parseWord("capture", CaptureNone, CaptureHeaders, CaptureBodies), &n.out.Capture)
			}},
			{"foreign", func(d *decoder, at item, n *networkDraft) {
				readValue(d, at, parseWord("foreign", ForeignRemove, ForeignAllow), &n.out.Foreign)
			}},
		},
	}
}

func networkLimitsSchema() schema[policy.Limits] {
	return schema[policy.Limits]{fields: []field[policy.Limits]{
		{"bytes", func(d *decoder, at item, l *policy.Limits) { readValue(d, at, parseTraffic, &l.Bytes) }},
		{"requests", func(d *decoder, at item, l *policy.Limits) { readValue(d, at, parseRequests, &l.Requests) }},
	}}
}

// globalNetworkSchema is the part of network that a person may set for all runs.
func globalNetworkSchema() schema[networkDraft] {
	s := networkSchema()
	return schema[networkDraft]{
		fields: s.fields[:1],
		elsewhere: func(key string) string {
			for _, known := range s.keys() {
				if key == known {
					return "it belongs in the " + AgentFile + " of a workspace"
				}
			}
			return elsewhereThanNetwork(key)
		},
	}
}

func elsewhereThanNetwork(key string) string {
	switch key {
	case "hosts", "ca_files", "upstream_proxy", "egress":
		return "it belongs in egress, in " + GlobalFile + " of moat's home"
	case "grants":
		return "write it beside network"
	case "ports":
		return "ports of this machine are in network.host"
	}
	return ""
}

// network reads a network mapping and has policy judge it. Warnings are left to who knows the grants of the run.
func (d *decoder) network(at item, s schema[networkDraft]) Network {
	n := networkDraft{places: map[place]item{}}
	readMapping(d, s, at, &n)
	_, problems := policy.Compile(n.out.PolicyConfig("", nil))
	for _, p := range problems {
		if !p.Warning {
			where, ok := n.places[place{p.Field, p.Index, p.Rule}]
			if !ok {
				where = at
			}
			d.failWithin(where, p.At, p.Hint, p.Message)
		}
	}
	return n.out
}

// failWithin reports a problem in the value of a scalar, from an offset in bytes on.
func (d *decoder) failWithin(at item, offset int, hint, message string) {
	if d.full() {
		d.dropped++ // without the work of finding the place
		return
	}
	d.fail(d.source.within(at.node, offset), hint, "%s: %s", at.path, message)
}

// within returns a node at the place of a part of a scalar, or n where the text has escapes or several lines.
func (s source) within(n *yaml.Node, offset int) *yaml.Node {
	line := []rune(s.line(n.Line))
	if n.Column < 1 || n.Column > len(line) || offset <= 0 || offset > len(n.Value) {
		return n
	}
	rest, column := string(line[n.Column-1:]), n.Column
	if quoted := strings.TrimLeft(rest, `"'`); len(rest)-len(quoted) == 1 {
		rest, column = quoted, column+1
	}
	if !strings.HasPrefix(rest, n.Value) {
		return n
	}
	moved := *n
	moved.Column = column + len([]rune(n.Value[:offset]))
	return &moved
}

func (n *networkDraft) patterns(d *decoder, at item, field string) []string {
	patterns := []string{}
	for element := range d.elements(at, "write each host as - host") {
		if text, ok := d.word(element); ok {
			n.places[place{field, len(patterns), -1}] = element
			patterns = append(patterns, text)
		}
	}
	return patterns
}

func (n *networkDraft) rules(d *decoder, at item) {
	if at.node.Kind == yaml.SequenceNode {
		d.mismatch(at, "write host: [rule, …], without - before the host", "a mapping of hosts to lists of rules")
		return
	}
	for key, value := range d.pairs(at) {
		host := policy.HostRules{Host: key.Value, Rules: []string{}}
		index := len(n.out.Rules)
		n.places[place{"rules", index, -1}] = item{node: key, path: at.path}
		before := d.count()
		for element := range d.elements(value, `write a list, such as ["allow GET /**"]`) {
			if text, ok := d.word(element); ok {
				n.places[place{"rules", index, len(host.Rules)}] = element
				host.Rules = append(host.Rules, text)
			}
		}
		if d.count() == before {
			n.out.Rules = append(n.out.Rules, host)
		}
	}
}

func (n *networkDraft) host(d *decoder, at item) {
	for element := range d.elements(at, "write a list of ports, such as [5432]") {
		port := 0
		before := d.count()
		readValue(d, element, parsePort, &port)
		if d.count() == before {
			n.places[place{"host", len(n.out.Host), -1}] = element
			n.out.Host = append(n.out.Host, port)
		}
	}
}

func (n *networkDraft) dns(d *decoder, at item) {
	for element := range d.elements(at, "write a list of addresses, such as [9.9.9.9]") {
		var server netip.AddrPort
		before := d.count()
		readValue(d, element, parseDNS, &server)
		if d.count() == before {
			n.out.DNS = append(n.out.DNS, server)
		}
	}
}

// parsePort reads a port of this machine.
func parsePort(text string) (int, error) {
	const hint = "a port is a number from 1 to 65535"
	if strings.Trim(strings.TrimPrefix(text, "-"), "0123456789") != "" {
		return 0, badValue(hint, "%s is not a port", shorten(text))
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 {
		return 0, badValue(hint, "port %s is out of range", shorten(text))
	}
	return int(port), nil
}

// parseDNS reads the address of a resolver, by default with port 53.
func parseDNS(text string) (netip.AddrPort, error) {
	const hint = "write an address with or without a port, such as 9.9.9.9 or 127.0.0.1:5353"
	if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" {
		return netip.AddrPortFrom(addr, 53), nil
	}
	server, err := netip.ParseAddrPort(text)
	if err != nil || server.Port() == 0 || server.Addr().Zone() != "" {
		return netip.AddrPort{}, badValue(hint, "%s is not the address of a resolver", shorten(text))
	}
	return server, nil
}

// parseWord accepts one of the known words for a key.
func parseWord(key string, known ...string) func(text string) (string, error) {
	return func(text string) (string, error) {
		if slices.Contains(known, text) {
			return text, nil
		}
		hint := "known are " + strings.Join(known, ", ")
		if near := closest(text, known); near != "" {
			hint = "did you mean " + shorten(near) + "?"
		}
		return "", badValue(hint, "%s %s is unknown", key, shorten(text))
	}
}

func parseTraffic(text string) (int64, error) {
	size, err := ParseSize(text)
	if err == nil && size == 0 {
		err = badValue("remove the key for no limit", "%s would let nothing pass", shorten(text))
	}
	return size, err
}

func parseRequests(text string) (int64, error) {
	count, err := strconv.ParseInt(text, 10, 64)
	if err != nil || count < 1 || count > MaxRequests {
		return 0, badValue("", "%s is not a number from 1 to %d", shorten(text), int64(MaxRequests))
	}
	return count, nil
}

// grants reads the names of the credentials that a run is to use.
func (d *decoder) grants(at item) []string {
	grants := []string{}
	lines := map[string]int{}
	for element := range d.elements(at, "write a list of names, such as [github]") {
		name := ""
		before := d.count()
		readValue(d, element, ParseGrant, &name)
		if d.count() != before {
			continue
		}
		if line, twice := lines[name]; twice {
			d.fail(element.node, "keep one of them", "%s: %s is listed twice, first on line %d", element.path, shorten(name), line)
			continue
		}
		lines[name] = element.node.Line
		grants = append(grants, name)
	}
	return grants
}

const (
	small  = "abcdefghijklmnopqrstuvwxyz"
	digits = "0123456789"
	large  = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
)

// ParseGrant accepts what can be the name of a grant: a provider, perhaps with what it is for, as in ssh:host, and with a
// profile, as in github@work. Whether there is such a provider is not looked at.
func ParseGrant(text string) (string, error) {
	rest, profile, hasProfile := text, "", false
	if at := strings.LastIndexByte(text, '@'); at >= 0 {
		rest, profile, hasProfile = text[:at], text[at+1:], true
	}
	provider, about, hasAbout := strings.Cut(rest, ":")
	if !word(provider, small+digits, "_-", 63) || hasAbout && !word(about, small+digits+large, "._:,/-", 255) || hasProfile && !IsProfile(profile) {
		return "", badValue(`write a name such as "github", "github@work" or "ssh:example.com"`, "%s is not the name of a grant", shorten(text))
	}
	return text, nil
}

// IsProfile reports whether text can be the name of a profile: one of several credentials for a provider.
func IsProfile(text string) bool { return word(text, small+digits, "_-", 63) }

// word reports whether text has 1 to most bytes out of letters and, but for the first, others.
func word(text, letters, others string, most int) bool {
	return text != "" && len(text) <= most && strings.IndexByte(letters, text[0]) >= 0 && strings.Trim(text, letters+others) == ""
}
