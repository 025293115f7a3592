package egress

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"moat/internal/journal"
)

const (
	answerLimit = 500 * time.Millisecond // for a handshake, for a request, and for the client to hang up
	maxRequest  = 64 << 10               // of a request that is refused anyway
)

// speaksFirst knows the ports of protocols that have no place for an explanation: whoever is refused there is refused at
// once, without a look at what it wants to say.
func speaksFirst(port uint16) bool {
	switch port {
	case 21, 22, 23, 25, 110, 111, 119, 135, 139, 143, 179, 389, 445, 465, 514, 515, 587, 636, 873, 993, 995,
		1433, 1521, 1723, 2049, 3306, 3389, 5432, 5672, 5900, 6379, 6667, 11211, 27017:
		return true
	}
	return false
}

// refuse answers somebody who may not go where it wants, in its own protocol if that has a way to say why.
func (v *visit) refuse(ctx context.Context) {
	v.refuseWith(v.decision)
	if speaksFirst(v.port) {
		v.deny(journal.KindTCP, nil)
		return
	}
	o, err := v.conn.peek(time.Now().Add(refusalLimit), refusalLimit)
	switch {
	case err == nil && o.kind == kindTLS:
		v.sni = o.hello.ServerName
		v.refuseTLS(ctx)
	case err == nil && o.kind == kindHTTP:
		v.refuseHTTP(v.conn, false)
	default:
		v.deny(journal.KindTCP, nil)
	}
}

// refuseTLS ends TLS with a certificate of ours to say why. Who asks for another name, or for none, is told so by the
// handshake.
func (v *visit) refuseTLS(ctx context.Context) {
	shared, err := v.config.Authority.ServerConfig(v.host.String())
	if err != nil {
		v.deny(journal.KindConnect, nil)
		return
	}
	config := shared.Clone()
	config.NextProtos = []string{"http/1.1"}
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	conn := tls.Server(v.conn, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		hangUp(v.conn) // the client learns the alert, which a reset could overtake
		v.finish(v.record(journal.KindConnect), nil)
		return
	}
	v.refuseHTTP(conn, true)
}

// refuseHTTP answers the first request with the reason.
func (v *visit) refuseHTTP(conn net.Conn, inTLS bool) {
	_ = conn.SetDeadline(time.Now().Add(answerLimit))
	status := BlockedStatus(inTLS)
	rec := v.record(journal.KindHTTP)
	rec.Protocol, rec.Status = "HTTP/1.1", &status
	scheme, usual, path := "http://", uint16(80), "/"
	if inTLS {
		scheme, usual = "https://", 443
	}
	req, err := http.ReadRequest(bufio.NewReader(io.LimitReader(conn, maxRequest)))
	if err == nil {
		rec.Method, path = req.Method, req.URL.RequestURI()
		if req.URL.Host != "" || path == "*" || path == "" || path[0] != '/' {
			path = "/" // of a request in another form: who is refused need not be understood
		}
	}
	rec.URL = scheme + authority(v.host, v.port, usual) + path
	head := err == nil && req.Method == http.MethodHead
	_, _ = io.WriteString(conn, answer(status, v.refusal.BlockedBody(), head))
	hangUp(conn)
	v.finish(rec, nil)
}

// answer is a whole response that ends the connection. To HEAD there is no body.
func answer(status int, body string, head bool) string {
	text := "HTTP/1.1 " + strconv.Itoa(status) + " " + http.StatusText(status) + "\r\n" +
		BlockedHeader + ": " + BlockedValue + "\r\n" +
		"Content-Type: text/plain\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\nConnection: close\r\n\r\n"
	if head {
		return text
	}
	return text + body
}

// hangUp ends a connection after an answer: a bit of what the client still sends is read, since otherwise its kernel
// would drop the answer for a reset.
func hangUp(conn net.Conn) {
	_ = conn.SetDeadline(time.Now().Add(answerLimit))
	if closeWrite(conn) == nil {
		_, _ = io.CopyN(io.Discard, conn, 4*maxRequest)
	}
	_ = conn.Close()
}
