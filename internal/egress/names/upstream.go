package names

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"golang.org/x/net/dns/dnsmessage"

	"moat/internal/policy"
)

const maxRecords = 32 // of an upstream's answer that are passed on

// ask gets an answer from outside and passes on what is of use.
func (r *Responder) ask(ctx context.Context, q dnsmessage.Question, host policy.Host, d policy.Decision) answer {
	select {
	case r.waiting <- struct{}{}:
		defer func() { <-r.waiting }()
	default:
		return answer{code: dnsmessage.RCodeServerFailure, decision: d, err: fmt.Errorf("more than %d questions wait", maxUpstream)}
	}
	ctx, cancel := context.WithTimeout(ctx, upstreamTime)
	defer cancel()
	records, code, err := r.config.Upstream.Ask(ctx, host.Name(), q.Type)
	if err != nil {
		return answer{code: dnsmessage.RCodeServerFailure, decision: d, err: err}
	}
	a := answer{code: code, decision: d}
	for _, rec := range records {
		if body := passOn(rec, q, host); body != nil && len(a.records) < maxRecords {
			a.records = append(a.records, resource(q, body))
		}
	}
	return a
}

// passOn returns what of an upstream's record is passed on, or nil. Owners are dropped with the aliases between them:
// where they lead is the business of who dials.
func passOn(rec dnsmessage.Resource, q dnsmessage.Question, host policy.Host) dnsmessage.ResourceBody {
	if rec.Header.Class != dnsmessage.ClassINET || rec.Header.Type != q.Type {
		return nil
	}
	switch body := rec.Body.(type) {
	case *dnsmessage.MXResource:
		if validTarget(body.MX) {
			return body
		}
	case *dnsmessage.SRVResource:
		if validTarget(body.Target) {
			return body
		}
	case *dnsmessage.SVCBResource:
		if kept := service(*body, host); kept != nil {
			return kept
		}
	case *dnsmessage.HTTPSResource:
		if kept := service(body.SVCBResource, host); kept != nil {
			return &dnsmessage.HTTPSResource{SVCBResource: *kept}
		}
	}
	return nil
}

// validTarget reports whether a record may point there: to a name, or to nothing (RFC 2782, RFC 7505).
func validTarget(n dnsmessage.Name) bool {
	_, err := nameOf(n)
	return err == nil || n.String() == "."
}

// service keeps of a service binding (RFC 9460) what is true inside: a client that followed an alias would come with a
// name that it is not allowed to mean, hints are real addresses, ech hides the name, and HTTP/3 is not spoken here.
func service(r dnsmessage.SVCBResource, host policy.Host) *dnsmessage.SVCBResource {
	target, err := nameOf(r.Target)
	if own := r.Target.String() == "." || err == nil && target == host; r.Priority == 0 || !own {
		return nil
	}
	kept := &dnsmessage.SVCBResource{Priority: r.Priority, Target: dnsmessage.MustNewName(".")}
	for _, p := range r.Params {
		switch p.Key {
		case dnsmessage.SVCParamMandatory:
			return nil // names keys, of which some may not be kept
		case dnsmessage.SVCParamALPN:
			value, ok := withoutHTTP3(p.Value)
			if !ok {
				return nil
			}
			kept.Params = append(kept.Params, dnsmessage.SVCParam{Key: p.Key, Value: value})
		case dnsmessage.SVCParamNoDefaultALPN, dnsmessage.SVCParamPort:
			kept.Params = append(kept.Params, p)
		}
	}
	return kept
}

// withoutHTTP3 filters a list of protocols, each after its length. It is not ok if nothing is left.
func withoutHTTP3(list []byte) ([]byte, bool) {
	var kept []byte
	for len(list) > 0 {
		n := int(list[0])
		if n == 0 || len(list) < 1+n {
			return nil, false
		}
		if id := list[1 : 1+n]; !bytes.HasPrefix(id, []byte("h3")) && !strings.Contains(string(id), "quic") {
			kept = append(kept, list[:1+n]...)
		}
		list = list[1+n:]
	}
	return kept, len(kept) > 0
}
