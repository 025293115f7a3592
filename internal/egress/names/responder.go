package names

import (
	"context"
	"errors"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"moat/internal/journal"
	"moat/internal/policy"
)

const (
	ttl          = 60 // seconds: short, since an answer is as cheap as a look into a cache
	upstreamTime = 5 * time.Second
	maxUpstream  = 64 // questions that wait for upstream at the same time; more are SERVFAIL
)

// Upstream asks the DNS outside. The name is absolute, without a trailing dot; the answer's records may be of any type.
type Upstream interface {
	Ask(ctx context.Context, name string, t dnsmessage.Type) ([]dnsmessage.Resource, dnsmessage.RCode, error)
}

// Config is what a Responder is given.
type Config struct {
	Table  *Table
	Policy func() *policy.Policy // as it is now
	// Pinned reports whether the person wrote down where a name is dialled. Nil: for none.
	Pinned func(policy.Host) bool
	// Upstream is asked for MX, SRV, SVCB and HTTPS of allowed names. Nil: they are refused.
	Upstream Upstream
	// Record is given every question, answered.
	Record func(journal.Request)
}

// Responder answers the sandbox's questions.
type Responder struct {
	config  Config
	waiting chan struct{} // a place for each question that waits for upstream
}

// NewResponder returns a Responder, which has nothing to be closed.
func NewResponder(c Config) *Responder {
	if c.Pinned == nil {
		c.Pinned = func(policy.Host) bool { return false }
	}
	return &Responder{config: c, waiting: make(chan struct{}, maxUpstream)}
}

// answer is what a question gets, and why.
type answer struct {
	code     dnsmessage.RCode
	records  []dnsmessage.Resource
	decision policy.Decision
	err      error
}

// Respond answers one message in at most limit bytes; over UDP the client's own limit counts too. It returns nil for
// what must not be answered. It waits for upstream, and for the record.
func (r *Responder) Respond(ctx context.Context, msg []byte, limit int, udp bool) []byte {
	began := time.Now()
	q, code, err := parseQuery(msg)
	if err != nil {
		return nil
	}
	if udp {
		limit = min(limit, q.udpSize)
	}
	a := answer{code: code, decision: policy.Decision{Rule: "malformed question", Reason: "it is not a question that DNS knows"}}
	if code == dnsmessage.RCodeSuccess {
		a = r.resolve(ctx, q.question)
	}
	reply := q.reply(a.code, a.records, limit)
	r.record(q, a, began)
	return reply
}

// slow reports whether an answer has to wait for upstream.
func slow(msg []byte) bool {
	q, code, err := parseQuery(msg)
	return err == nil && code == dnsmessage.RCodeSuccess && upstreamTypes(q.question.Type)
}

func upstreamTypes(t dnsmessage.Type) bool {
	switch t {
	case dnsmessage.TypeMX, dnsmessage.TypeSRV, dnsmessage.TypeSVCB, dnsmessage.TypeHTTPS:
		return true
	}
	return false
}

func (r *Responder) resolve(ctx context.Context, q dnsmessage.Question) answer {
	if q.Type == dnsmessage.TypePTR {
		return r.reverse(q)
	}
	host, err := nameOf(q.Name)
	if err != nil {
		return answer{code: dnsmessage.RCodeRefused, decision: policy.Decision{Rule: "invalid name", Reason: "it is not a valid name"}}
	}
	if own := localhost(q, host); own != nil {
		return *own
	}
	if reserved(host) {
		return answer{code: dnsmessage.RCodeNameError, decision: policy.Decision{Rule: "reserved name", Reason: "the name exists nowhere"}}
	}
	d := r.config.Policy().Decide(policy.Question{Host: host, Lookup: true, Pinned: r.config.Pinned(host)})
	switch {
	case q.Type == dnsmessage.TypeA || q.Type == dnsmessage.TypeAAAA:
		return r.madeUp(q, host, d)
	case !d.Allow:
		return answer{code: dnsmessage.RCodeRefused, decision: d}
	case upstreamTypes(q.Type) && r.config.Upstream != nil && !r.config.Pinned(host) && host.Name() != policy.HostName:
		return r.ask(ctx, q, host, d)
	}
	return answer{code: dnsmessage.RCodeRefused, decision: policy.Decision{
		Rule: "dns type " + typeName(q.Type), Reason: "records of this type are not asked for"}}
}

// nameOf is the one spelling of a question's name.
func nameOf(n dnsmessage.Name) (policy.Host, error) {
	text := strings.TrimSuffix(n.String(), ".")
	for i := 0; i < len(text); i++ {
		if text[i] >= 0x80 {
			return policy.Host{}, errors.New("the name is not in ASCII")
		}
	}
	host, err := policy.Name(text)
	if err != nil {
		return policy.Host{}, err
	}
	if _, ok := host.Addr(); ok {
		return policy.Host{}, errors.New("the name is an address")
	}
	return host, nil
}

// localhost answers for the sandbox's own loopback, or returns nil.
func localhost(q dnsmessage.Question, host policy.Host) *answer {
	if name := host.Name(); name != "localhost" && !strings.HasSuffix(name, ".localhost") {
		return nil
	}
	a := &answer{decision: policy.Decision{Allow: true, Rule: "localhost", Reason: "it is the sandbox itself"}}
	switch q.Type {
	case dnsmessage.TypeA:
		a.records = []dnsmessage.Resource{resource(q, &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}})}
	case dnsmessage.TypeAAAA:
		a.records = []dnsmessage.Resource{resource(q, &dnsmessage.AAAAResource{AAAA: netip.IPv6Loopback().As16()})}
	}
	return a
}

// reserved knows names that exist in no DNS.
func reserved(host policy.Host) bool {
	name := host.Name()
	if name != policy.HostName && strings.HasSuffix("."+name, ".moat.internal") {
		return true
	}
	last := name[strings.LastIndexByte(name, '.')+1:]
	return last == "onion" || last == "invalid" || last == "arpa"
}

func (r *Responder) madeUp(q dnsmessage.Question, host policy.Host, d policy.Decision) answer {
	v4, v6, err := r.config.Table.Addresses(host)
	if err != nil {
		return answer{code: dnsmessage.RCodeServerFailure, decision: d, err: err}
	}
	var body dnsmessage.ResourceBody = &dnsmessage.AResource{A: v4.As4()}
	if q.Type == dnsmessage.TypeAAAA {
		body = &dnsmessage.AAAAResource{AAAA: v6.As16()}
	}
	return answer{records: []dnsmessage.Resource{resource(q, body)}, decision: d}
}

func resource(q dnsmessage.Question, body dnsmessage.ResourceBody) dnsmessage.Resource {
	return dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: ttl}, Body: body}
}

// reverse answers for addresses that have a name here.
func (r *Responder) reverse(q dnsmessage.Question) answer {
	a := answer{code: dnsmessage.RCodeNameError, decision: policy.Decision{Rule: "reverse lookup", Reason: "the address has no name here"}}
	addr, ok := reverseAddr(strings.ToLower(q.Name.String()))
	if !ok {
		return a
	}
	host, ok := r.config.Table.Name(addr)
	text := host.Name()
	if addr.IsLoopback() {
		text, ok = "localhost", true
	}
	if !ok {
		return a
	}
	name, err := dnsmessage.NewName(text + ".")
	if err != nil {
		return a
	}
	return answer{records: []dnsmessage.Resource{resource(q, &dnsmessage.PTRResource{PTR: name})},
		decision: policy.Decision{Allow: true, Rule: "reverse lookup", Reason: "the address is made up here"}}
}

// reverseAddr reads the names of RFC 1035 section 3.5 and RFC 3596 section 2.5.
func reverseAddr(name string) (netip.Addr, bool) {
	if digits, ok := strings.CutSuffix(name, ".in-addr.arpa."); ok {
		parts := strings.Split(digits, ".")
		if len(parts) != 4 {
			return netip.Addr{}, false
		}
		addr, err := netip.ParseAddr(parts[3] + "." + parts[2] + "." + parts[1] + "." + parts[0])
		return addr, err == nil
	}
	digits, ok := strings.CutSuffix(name, ".ip6.arpa.")
	if !ok || len(digits) != 63 {
		return netip.Addr{}, false
	}
	var a [16]byte
	for i := range 32 {
		nibble, err := strconv.ParseUint(digits[2*i:2*i+1], 16, 8)
		if err != nil || i < 31 && digits[2*i+1] != '.' {
			return netip.Addr{}, false
		}
		a[15-i/2] |= byte(nibble) << (4 * (i % 2))
	}
	return netip.AddrFrom16(a), true
}

func (r *Responder) record(q query, a answer, began time.Time) {
	name := strings.TrimSuffix(q.question.Name.String(), ".")
	if host, err := nameOf(q.question.Name); err == nil {
		name = host.Name()
	}
	status, took := int(a.code), float64(time.Since(began))/float64(time.Millisecond)
	rec := journal.Request{
		T: began.UTC(), Kind: journal.KindDNS, Method: typeName(q.question.Type), Host: name, Protocol: "dns",
		URL:    "dns:" + name + "?type=" + typeName(q.question.Type), // RFC 4501
		Status: &status, DurationMS: &took, Decision: journal.Denied, Rule: a.decision.Rule,
	}
	if a.decision.Allow {
		rec.Decision = journal.Allowed
	}
	if a.err != nil {
		text := a.err.Error()
		rec.Error = &text
	}
	r.config.Record(rec)
}

func typeName(t dnsmessage.Type) string {
	name := strings.TrimPrefix(t.String(), "Type")
	if name == "" || name[0] >= '0' && name[0] <= '9' {
		return "TYPE" + strconv.Itoa(int(t)) // RFC 3597 section 5
	}
	if t == dnsmessage.TypeALL {
		return "ANY"
	}
	return name
}
