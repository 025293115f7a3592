package egress

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"moat/internal/journal"
)

// passServerFirst serves a client that waits for the server to begin. The server is dialled and heard; the client's
// first bytes are looked at whenever they come, and only before the server has said a word can they be HTTP or TLS,
// because in those the client begins.
func (v *visit) passServerFirst(ctx context.Context) {
	server, rec, ok := v.dial(ctx, journal.KindTCP)
	if !ok {
		return
	}
	defer server.Close()
	r := v.relay(server.Conn)
	r.moved.Store(time.Now().UnixNano())
	defer context.AfterFunc(ctx, r.abort)()
	down := r.listen()
	o, err := v.conn.peek(time.Now().Add(idleLimit), openingLimit)
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		r.abort()
	case r.in.Load() > 0:
	case o.kind == kindTLS:
		r.search = nil
		v.sni = o.hello.ServerName
		if d := v.judgeSNI(o.hello); !d.Allow {
			v.refuseWith(d)
			r.abort()
			v.finish(v.record(journal.KindConnect), r.verdict(ctx, <-down))
			return
		}
		address := rec.Address
		rec = v.record(journal.KindConnect)
		rec.Address = address
	case o.kind == kindHTTP:
		var halted bool
		if down, halted = r.halt(down); halted {
			_ = server.Close()
			v.finishRelay(rec, r, nil)
			v.id = 0
			v.intercept(ctx, false)
			return
		}
	}
	if err == nil {
		err = r.sendHead(v.conn)
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = r.direction(r.server, r.client, &r.out)
	} else {
		r.abort()
	}
	v.finishRelay(rec, r, r.verdict(ctx, err, <-down))
}

// relay joins the connection with its other side.
func (v *visit) relay(server net.Conn) *relay {
	return &relay{client: v.conn.Conn, server: server, meter: v.meter, host: v.host, pipes: v.pipes, search: newSearch(v.marks)}
}
