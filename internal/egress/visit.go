package egress

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"

	"moat/internal/egress/hello"
	"moat/internal/journal"
	"moat/internal/policy"
)

const (
	dnsPort      = 53                     // over TCP too: answered here, whatever the address
	openingLimit = 10 * time.Second       // for the first bytes, once they come, and where the client has to begin
	silence      = 150 * time.Millisecond // after which a server is given the first word
	refusalLimit = 300 * time.Millisecond // for first bytes of somebody who is refused
)

// visit is one connection from the sandbox, on its way out.
type visit struct {
	*Egress
	conn     *peeked
	host     policy.Host
	port     uint16
	asked    netip.AddrPort // what the program connected to, if it named no name
	pinned   bool
	decision policy.Decision
	refusal  Refusal // see refuseWith
	sni      string
	began    time.Time
	id       uint64 // of the record that was begun
}

// throughDoor serves a connection that was redirected.
func (e *Egress) throughDoor(ctx context.Context, conn net.Conn) {
	began := time.Now()
	asked, err := e.config.OriginalDst(conn)
	if err != nil {
		e.config.Logger.Error("a connection came from nowhere", "err", err)
		abort(conn)
		return
	}
	asked = netip.AddrPortFrom(asked.Addr().Unmap(), asked.Port())
	v := &visit{Egress: e, conn: &peeked{Conn: conn}, asked: asked, port: asked.Port(), began: began}
	if asked.String() == conn.LocalAddr().String() {
		v.host = policy.AddrHost(asked.Addr())
		v.decision = policy.Decision{Rule: "loop", Reason: "it is the way out itself"}
		v.deny(journal.KindTCP, nil)
		return
	}
	defer context.AfterFunc(ctx, func() { abort(conn) })()
	release := v.identify(policy.AddrHost(asked.Addr()))
	defer release()
	v.judge()
	v.visit(ctx)
}

// identify finds out what a connection is to: a made-up address stands for its name, which is kept until release.
func (v *visit) identify(asked policy.Host) (release func()) {
	v.host = asked
	if addr, ok := asked.Addr(); ok {
		if name, release, ok := v.names.Hold(addr); ok {
			v.host = name
			return release
		}
	}
	return func() {}
}

// visit serves a connection that was judged.
func (v *visit) visit(ctx context.Context) {
	switch {
	case v.port == dnsPort:
		if err := v.dns.ServeConn(ctx, v.conn); err != nil {
			abort(v.conn.Conn)
		}
	case v.decision.Allow:
		v.serve(ctx)
	default:
		v.refuse(ctx)
	}
}

// judge asks policy about the connection.
func (v *visit) judge() {
	addr, isAddr := v.host.Addr()
	if isAddr && v.names.Contains(addr) {
		v.decision = policy.Decision{Rule: "made-up address", Reason: "no name has this address any more"}
		return
	}
	v.pinned = v.config.Dialer.Pinned(v.host, v.port)
	v.decision = v.config.Policy().Decide(policy.Question{Host: v.host, Port: v.port, Pinned: v.pinned})
}

// serve looks at the first bytes and lets the connection out.
func (v *visit) serve(ctx context.Context) {
	clientFirst := v.decision.Inspect || v.port == 80 || v.port == 443
	first := silence
	if clientFirst {
		first = openingLimit
	}
	o, err := v.conn.peek(time.Now().Add(first), openingLimit)
	switch {
	case errors.Is(err, errSilent) && !clientFirst:
		v.passServerFirst(ctx)
	case errors.Is(err, io.EOF) && !clientFirst:
		v.pass(ctx, journal.KindTCP) // it only listens
	case err != nil:
		v.unread(err)
	case o.kind == kindTLS:
		if v.admit(ctx, o.hello) {
			v.serveTLS(ctx)
		}
	case o.kind == kindHTTP || v.port == 80:
		v.intercept(ctx, false)
	case v.decision.Inspect:
		v.refuseWith(policy.Decision{Rule: "not HTTP: " + v.decision.Rule, Reason: "the host has rules or a grant, and this is no HTTP"})
		v.deny(journal.KindTCP, nil)
	default:
		v.pass(ctx, journal.KindTCP)
	}
}

// unread records a connection that ended before it was clear what it carries.
func (v *visit) unread(err error) {
	if errors.Is(err, hello.ErrMalformed) || errors.Is(err, errStall) {
		v.refuseWith(policy.Decision{Rule: "first bytes: " + err.Error(), Reason: err.Error()})
		v.deny(journal.KindTCP, nil)
		return
	}
	v.finish(v.record(journal.KindTCP), err)
	abort(v.conn.Conn)
}

// admit reports whether a ClientHello is about the host that policy was asked about; if not it has been answered.
func (v *visit) admit(ctx context.Context, h hello.Hello) bool {
	v.sni = h.ServerName
	d := v.judgeSNI(h)
	if d.Allow {
		return true
	}
	if name, err := policy.Name(h.ServerName); err == nil && v.host.Name() == "" && name.Name() != "" && !isConflict(d) {
		v.host = name // it is the name that would have to be allowed
	}
	v.refuseWith(d)
	v.refuseTLS(ctx)
	return false
}

// judgeSNI compares the name in a ClientHello with the host. For a connection to an address the name has to be allowed
// too, as long as nobody needs to look inside: then the two would be different authorities.
func (v *visit) judgeSNI(h hello.Hello) policy.Decision {
	_, isAddr := v.host.Addr()
	if !h.HasServerName {
		if isAddr {
			return v.decision
		}
		return policy.Decision{Rule: "conflict: no SNI", Reason: "the client did not say the name in its TLS handshake"}
	}
	name, err := policy.Name(h.ServerName)
	if err != nil || name.Name() == "" {
		return policy.Decision{Rule: "conflict: invalid SNI", Reason: "the name in the TLS handshake is not a name"}
	}
	if !isAddr {
		if name == v.host {
			return v.decision
		}
		return policy.Decision{Rule: "conflict: SNI", Reason: "the name in the TLS handshake is another one"}
	}
	d := v.config.Policy().Decide(policy.Question{Host: name, Port: v.port})
	if d.Allow && (d.Inspect || v.decision.Inspect) {
		return policy.Decision{Rule: "conflict: SNI for an address", Reason: "the host has rules or a grant, and must be reached by its name"}
	}
	return d
}

func isConflict(d policy.Decision) bool { return strings.HasPrefix(d.Rule, "conflict: ") }

func (v *visit) serveTLS(ctx context.Context) {
	if v.decision.Inspect {
		v.intercept(ctx, true)
		return
	}
	v.pass(ctx, journal.KindConnect)
}

// intercept hands the connection over.
func (v *visit) intercept(ctx context.Context, tls bool) {
	if v.config.Interceptor == nil {
		v.refuseWith(policy.Decision{Rule: "no interceptor", Reason: "it cannot be looked into"})
		v.deny(journal.KindTCP, nil)
		return
	}
	v.config.Interceptor.Intercept(ctx, v.conn, Target{
		Host: v.host, Port: v.port, TLS: tls, Asked: v.asked, Pinned: v.pinned, Decision: v.decision,
	})
}

// pass dials and copies.
func (v *visit) pass(ctx context.Context, kind string) {
	server, rec, ok := v.dial(ctx, kind)
	if !ok {
		return
	}
	defer server.Close()
	r := v.relay(server.Conn)
	if kind == journal.KindConnect {
		r.search = nil // TLS, of which nobody here sees anything
	}
	if err := r.sendHead(v.conn); err != nil {
		r.abort()
		v.finishRelay(rec, r, err)
		return
	}
	v.finishRelay(rec, r, r.run(ctx))
}

// sendHead sends what was looked at to the server.
func (r *relay) sendHead(p *peeked) error {
	head := p.head
	p.head = nil
	if err := r.search.look(head); err != nil {
		return err
	}
	if err := r.server.SetWriteDeadline(time.Now().Add(openingLimit)); err != nil {
		return err
	}
	n, err := r.server.Write(head)
	r.out.Add(int64(n))
	if err == nil {
		err = r.server.SetWriteDeadline(time.Time{})
	}
	if err == nil && !r.meter.Bytes(r.host, int64(n)).Allow {
		err = errLimit
	}
	return err
}

// dial makes the connection to the outside and begins its record. If it is not ok everything has been said.
func (v *visit) dial(ctx context.Context, kind string) (Conn, journal.Request, bool) {
	if d := v.meter.Request(v.host); !d.Allow {
		v.refuseWith(d)
		v.deny(kind, nil)
		return Conn{}, journal.Request{}, false
	}
	rec := v.record(kind)
	v.id = v.config.Recorder.Begin(rec)
	rec.ID = v.id
	server, err := v.config.Dialer.Dial(ctx, v.host, v.port)
	var refused *RefusedError
	switch {
	case errors.As(err, &refused):
		v.refuseWith(refused.Decision)
		v.asked = netip.AddrPortFrom(refused.Addr, v.port)
		if kind == journal.KindConnect {
			v.refuseTLS(ctx)
			return Conn{}, rec, false
		}
		v.deny(kind, nil)
	case err != nil:
		abort(v.conn.Conn)
		v.finish(rec, err)
	default:
		rec.Address = server.Addr.String()
	}
	return server, rec, err == nil
}
