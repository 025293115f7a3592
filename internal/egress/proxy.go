package egress

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"moat/internal/egress/socks"
	"moat/internal/journal"
	"moat/internal/policy"
)

// maxHead is how long the head of a CONNECT request may be, and the request line of any other.
const maxHead = 64 << 10

var errHead = errors.New("the head of the request is too long")

// throughProxy serves a connection to the address that HTTP_PROXY and the like name. It speaks absolute-form HTTP,
// CONNECT and SOCKS5; it has no pages of its own. A tunnel is served as if the program had connected to that host.
func (e *Egress) throughProxy(ctx context.Context, conn net.Conn) {
	v := &visit{Egress: e, conn: &peeked{Conn: conn}, began: time.Now()}
	defer context.AfterFunc(ctx, func() { abort(conn) })()
	deadline := time.Now().Add(openingLimit)
	if err := v.conn.more(deadline); err != nil {
		abort(conn) // nobody asked for anything
		return
	}
	_ = conn.SetDeadline(deadline)
	switch first := v.conn.head[0]; {
	case first == socks.Version:
		v.serveSOCKS(ctx)
	case first == socks.Version4:
		_ = socks.Refuse4(conn)
		v.denyProxy("proxy: SOCKS4", "SOCKS4 is not spoken here", nil)
	case first < ' ' && first != '\r' && first != '\n' || first >= 0x7f:
		v.denyProxy("proxy: not HTTP", "the proxy speaks HTTP and SOCKS5", nil)
	default:
		v.serveProxyHTTP(ctx, deadline)
	}
}

// denyProxy records a request from which no host could be learned, and closes.
func (v *visit) denyProxy(rule, reason string, status *int) {
	v.decision = policy.Decision{Rule: rule, Reason: reason}
	rec := v.record(journal.KindTCP)
	if status != nil {
		rec = v.record(journal.KindHTTP)
		rec.Protocol = "HTTP/1.1"
	}
	rec.URL, rec.Status = "", status
	hangUp(v.conn)
	v.finish(rec, nil)
}

func (v *visit) serveSOCKS(ctx context.Context) {
	r, err := socks.Handshake(struct {
		io.Reader
		io.Writer
	}{v.conn, v.conn.Conn})
	if err != nil {
		v.denyProxy("proxy: bad SOCKS request", err.Error(), nil)
		return
	}
	host := policy.AddrHost(r.Addr)
	if r.Name != "" {
		if host, err = policy.Name(r.Name); err != nil {
			_ = socks.Reply(v.conn.Conn, socks.BadAddress)
			v.denyProxy("proxy: invalid host", err.Error(), nil)
			return
		}
	}
	v.tunnel(ctx, host, r.Port, tunnelReplies{
		granted: func() error { return socks.Reply(v.conn.Conn, socks.Granted) },
		refused: func() { _ = socks.Reply(v.conn.Conn, socks.NotAllowed) },
	})
}

// serveProxyHTTP serves a CONNECT request, or hands requests in absolute form over.
func (v *visit) serveProxyHTTP(ctx context.Context, deadline time.Time) {
	line, err := v.readUntil([]byte("\n"), deadline)
	if err != nil {
		v.badRequest("the request line is too long or not complete")
		return
	}
	method, target, _ := strings.Cut(strings.TrimSuffix(string(line), "\r\n"), " ")
	switch {
	case method == http.MethodConnect:
		v.serveConnect(ctx, deadline)
	case hasScheme(target, "http://"):
		if v.config.Interceptor == nil {
			v.badRequest("it cannot be looked into")
			return
		}
		_ = v.conn.SetDeadline(time.Time{})
		v.config.Interceptor.Intercept(ctx, v.conn, Target{Proxy: true})
	case hasScheme(target, "https://"):
		v.badRequest("https through this proxy begins with CONNECT")
	default:
		v.badRequest("this is a proxy: the request has to name a host")
	}
}

func hasScheme(target, scheme string) bool {
	return len(target) > len(scheme) && strings.EqualFold(target[:len(scheme)], scheme)
}

func (v *visit) serveConnect(ctx context.Context, deadline time.Time) {
	head, err := v.readUntil([]byte("\r\n\r\n"), deadline)
	if err != nil {
		v.badRequest("the head is too long or not complete")
		return
	}
	host, port, err := parseConnect(head)
	if err != nil {
		v.badRequest(err.Error())
		return
	}
	v.conn.head = v.conn.head[len(head):]
	v.tunnel(ctx, host, port, tunnelReplies{
		granted: func() error {
			_, err := io.WriteString(v.conn.Conn, "HTTP/1.1 200 Connection established\r\n\r\n")
			return err
		},
	})
}

// readUntil reads until an end is there and returns everything up to and with it; it stays unread.
func (v *visit) readUntil(end []byte, deadline time.Time) ([]byte, error) {
	for {
		if at := bytes.Index(v.conn.head, end); at >= 0 {
			return v.conn.head[:at+len(end)], nil
		}
		if len(v.conn.head) > maxHead {
			return nil, errHead
		}
		if err := v.conn.more(deadline); err != nil {
			return nil, err
		}
	}
}

// badRequest answers 400.
func (v *visit) badRequest(reason string) {
	_, _ = io.WriteString(v.conn.Conn, "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\nmoat: "+reason+"\n")
	status := http.StatusBadRequest
	v.denyProxy("proxy: bad request", reason, &status)
}

// tunnelReplies say yes and no in the protocol in which a tunnel was asked for. Without a refused the no is HTTP's.
type tunnelReplies struct {
	granted func() error
	refused func()
}

// tunnel serves a connection to a host that was asked for by name. What is refused is so before anything is granted.
func (v *visit) tunnel(ctx context.Context, host policy.Host, port uint16, reply tunnelReplies) {
	v.port = port
	v.host = host
	release := v.identify(host)
	defer release()
	if v.judge(); port != dnsPort && !v.decision.Allow {
		v.refuseWith(v.decision)
		v.refuseTunnel(reply)
		return
	}
	if reply.granted() != nil {
		return
	}
	_ = v.conn.SetDeadline(time.Time{})
	v.visit(ctx)
}

// refuseTunnel says no and records it.
func (v *visit) refuseTunnel(reply tunnelReplies) {
	rec := v.record(journal.KindConnect)
	rec.Protocol = "tcp"
	if reply.refused != nil {
		reply.refused()
		hangUp(v.conn)
		v.finish(rec, nil)
		return
	}
	status := BlockedStatus(false)
	rec.Status = &status
	_, _ = io.WriteString(v.conn.Conn, answer(status, v.refusal.BlockedBody(), false))
	hangUp(v.conn)
	v.finish(rec, nil)
}
