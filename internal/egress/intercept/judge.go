package intercept

import (
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"moat/internal/egress"
	"moat/internal/policy"
)

// judge finds out what the request is about, and whether it may be forwarded.
func (x *exchange) judge() *refusal {
	if x.r.Method == refusedVerb && x.gate != nil && x.gate.flaw != nil {
		return x.malformed(x.gate.flaw)
	}
	if f := x.checkForm(); f != nil {
		return x.malformed(f)
	}
	if f := x.checkAuthority(); f != nil {
		return x.malformed(f)
	}
	if f := x.checkPath(); f != nil {
		return x.malformed(f)
	}
	x.decision = x.config.Policy().Decide(policy.Question{
		Host: x.host, Port: x.port, Pinned: x.pinned, Method: x.r.Method, Path: x.path,
	})
	if !x.decision.Allow {
		return byPolicy(x, x.decision)
	}
	if x.secure() && x.port == 443 {
		x.grant = x.grantOf(x.host)
	}
	if x.r.Method == http.MethodTrace && x.grant != nil {
		return x.malformed(&flaw{http.StatusMethodNotAllowed, "TRACE would send the credential back"})
	}
	return x.leak()
}

// malformed is the refusal of a request that is not what it should be.
func (x *exchange) malformed(f *flaw) *refusal {
	rule := "malformed: " + f.reason
	hint := egress.Refusal{}
	if f.status == http.StatusMisdirectedRequest {
		rule = "conflict: " + f.reason
		hint = egress.Refusal{Host: x.host, Port: x.port, Rule: rule}
	}
	return &refusal{status: f.status, rule: rule, body: "moat: refused: " + f.reason + ".\n", hint: hint}
}

// checkForm checks what is left to check of the head. In HTTP/1 the gate has done most.
func (x *exchange) checkForm() *flaw {
	r := x.r
	switch {
	case r.Method == http.MethodConnect:
		return &flaw{http.StatusMethodNotAllowed, "CONNECT inside of a connection"}
	case r.ProtoMajor == 1:
		return nil
	case len(r.Method) > maxMethod:
		return bad("the method is invalid")
	case len(r.RequestURI) > maxLine:
		return &flaw{http.StatusRequestURITooLong, "the request line is too long"}
	case !strings.HasPrefix(r.RequestURI, "/") && r.RequestURI != "*":
		return bad("the path is invalid") // RFC 9113 section 8.3.1
	}
	if f := (&head{method: r.Method, target: r.RequestURI}).checkTarget(); f != nil {
		return f
	}
	var h head
	for _, value := range r.Header["Content-Length"] {
		h.lengths++
		if f := h.contentLength(value); f != nil {
			return f
		}
	}
	if h.lengths > 1 {
		return bad("the length is said twice")
	}
	for name, values := range r.Header {
		for _, value := range values {
			if !validValue(value) {
				return bad("the value of a header has an invalid character")
			}
			if name == "Host" && !strings.EqualFold(value, r.Host) {
				return conflict(":authority and Host are not the same")
			}
		}
	}
	return nil
}

// checkAuthority compares the authority of the request with that of the connection, or learns it from the request.
func (x *exchange) checkAuthority() *flaw {
	u := x.r.URL
	if x.target.Proxy {
		if u.Scheme != "http" {
			return bad("the target is not an absolute URL of http")
		}
		return x.learnAuthority()
	}
	if u.Scheme != "" && (u.Scheme == "https") != x.secure() {
		return conflict("the scheme is not the connection's")
	}
	if x.r.Host == "" && x.r.ProtoMajor == 1 && !x.r.ProtoAtLeast(1, 1) {
		return nil // HTTP/1.0 need not say it
	}
	if x.secure() == (x.port == 443) && x.secure() != (x.port == 80) && x.host.Name() != "" && strings.EqualFold(x.r.Host, x.host.Name()) {
		return nil
	}
	host, port, f := splitAuthority(x.r.Host, x.secure())
	if f != nil {
		return f
	}
	if port != x.port || !sameHost(host, x.host) {
		return conflict("Host is not the host of the connection")
	}
	return nil
}

// learnAuthority takes the authority of a request to a proxy, which policy has not been asked about yet.
func (x *exchange) learnAuthority() *flaw {
	name, port, f := splitAuthority(x.r.Host, false)
	if f != nil {
		return f
	}
	host, err := policy.Name(name)
	if err != nil {
		return bad("the host is invalid")
	}
	x.host, x.port = host, port
	x.pinned = x.config.Dialer.Pinned(host, port)
	return nil
}

// splitAuthority reads host[:port] (RFC 3986 section 3.2), without an empty port.
func splitAuthority(text string, tls bool) (host string, port uint16, f *flaw) {
	host, port = text, 80
	if tls {
		port = 443
	}
	if at := strings.LastIndexByte(text, ':'); at >= 0 && !strings.HasSuffix(text, "]") {
		n, err := strconv.ParseUint(text[at+1:], 10, 16)
		if err != nil || n == 0 || text[at+1] == '+' {
			return "", 0, bad("the port is invalid")
		}
		host, port = text[:at], uint16(n)
	}
	if strings.HasPrefix(host, "[") != strings.HasSuffix(host, "]") || !strings.HasPrefix(host, "[") && strings.Contains(host, ":") {
		return "", 0, bad("the host is invalid")
	}
	if _, err := policy.Name(host); err != nil {
		return "", 0, bad("the host is invalid")
	}
	return host, port, nil
}

// sameHost reports whether a client wrote the host as it is: names but for case, so that a credential meets no second
// spelling; addresses in any usual form.
func sameHost(written string, host policy.Host) bool {
	addr, isAddr := host.Addr()
	if !isAddr {
		return strings.EqualFold(written, host.Name())
	}
	got, err := netip.ParseAddr(strings.Trim(written, "[]"))
	return err == nil && got == addr
}

// checkPath brings path and query into the spelling in which they are judged and sent.
func (x *exchange) checkPath() *flaw {
	target := x.r.RequestURI
	if _, ok := absolute(target); ok {
		target = target[strings.Index(target, "://")+3:]
		at := strings.IndexAny(target, "/?")
		switch {
		case at < 0:
			target = "/"
		case target[at] == '?':
			target = "/" + target[at:]
		default:
			target = target[at:]
		}
	}
	raw, query, _ := strings.Cut(target, "?")
	if raw == "*" {
		x.path = raw
		return nil
	}
	path, err := policy.NormalizePath(raw)
	if err != nil {
		return bad("the path is invalid")
	}
	x.path, x.query = path, asciiOnly(query)
	return nil
}

// asciiOnly percent-encodes what a query may not have (RFC 3986 section 3.4) and some clients send all the same.
func asciiOnly(query string) string {
	for i := range len(query) {
		if query[i] >= 0x80 {
			return encodeQuery(query)
		}
	}
	return query
}

func encodeQuery(query string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(query) {
		if c := query[i]; c >= 0x80 {
			b.Write([]byte{'%', digits[c>>4], digits[c&15]})
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
