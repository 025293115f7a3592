package intercept

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"moat/internal/egress"
	"moat/internal/egress/http1"
	"moat/internal/policy"
)

const (
	dialLimit      = 30 * time.Second
	answerLimit    = 15 * time.Minute // until the head of an answer; models think for long
	continueLimit  = time.Second      // until a body is sent although the server has not said that it wants it
	idleOutside    = 30 * time.Second // a kept connection
	linger         = 3 * time.Second  // kept connections, after the last connection of the sandbox is gone
	maxAnswerHead  = 256 << 10
	maxIdle        = 128 // kept connections, all hosts
	maxIdlePerHost = 64
)

// outside makes the requests. Each protocol has a client of its own, so that a request goes out in the version in which it
// came: what is sent in HTTP/1 may mean something that HTTP/2 cannot say.
type outside struct {
	one *http1.Client
	two *http.Transport

	*presence
}

// presence counts connections of the sandbox, so that none to the outside stays when all are gone.
type presence struct {
	mu    sync.Mutex
	n     int
	timer *time.Timer
	quit  func()
}

func newOutside(c Config, pool *sync.Pool) outside {
	dial := dialer{c.Dialer, pool}.dial
	secure := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: c.Roots, ClientSessionCache: tls.NewLRUClientSessionCache(64), DynamicRecordSizingDisabled: true}
	o := outside{
		one: http1.NewClient(http1.Config{
			Dial: dial, TLS: secure, Wrap: corked,
			Handshake: handshakeLimit, Answer: answerLimit, Continue: continueLimit, Idle: idleOutside, MaxIdle: maxIdle, MaxHead: maxAnswerHead,
		}),
		two: &http.Transport{
			DialContext:            func(ctx context.Context, _, address string) (net.Conn, error) { return dial(ctx, address) },
			TLSClientConfig:        secure.Clone(),
			TLSHandshakeTimeout:    handshakeLimit,
			DisableCompression:     true,
			MaxIdleConns:           maxIdle,
			MaxIdleConnsPerHost:    maxIdlePerHost,
			IdleConnTimeout:        idleOutside,
			ResponseHeaderTimeout:  answerLimit,
			ExpectContinueTimeout:  continueLimit,
			MaxResponseHeaderBytes: maxAnswerHead,
			Protocols:              new(http.Protocols),
			HTTP2:                  &http.HTTP2Config{MaxReadFrameSize: pieceSize},
		},
	}
	o.two.Protocols.SetHTTP1(true)
	o.two.Protocols.SetHTTP2(true)
	o.presence = &presence{quit: o.closeIdle}
	return o
}

// corked has large writes to a server reach the socket as one.
func corked(conn net.Conn) net.Conn {
	if b := below(conn); b != nil && conn != net.Conn(b) {
		return &corking{Conn: conn, below: b}
	}
	return conn
}

func (o outside) closeIdle() {
	o.one.CloseIdle()
	o.two.CloseIdleConnections()
}

func (o outside) close() {
	o.mu.Lock()
	if o.timer != nil {
		o.timer.Stop()
	}
	o.mu.Unlock()
	o.closeIdle()
}

func (p *presence) enter() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.n++; p.timer != nil {
		p.timer.Stop()
	}
}

func (p *presence) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.n--; p.n > 0 {
		return
	}
	if p.timer == nil {
		p.timer = time.AfterFunc(linger, p.quit)
		return
	}
	p.timer.Reset(linger)
}

// dialer makes connections by way of the egress, which judges the address.
type dialer struct {
	out  egress.Dialer
	pool *sync.Pool
}

func (d dialer) dial(ctx context.Context, address string) (net.Conn, error) {
	name, digits, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	host, err := policy.Name(name)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(digits, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("dial port %q: %w", digits, err)
	}
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	conn, err := d.out.Dial(ctx, host, uint16(port))
	if err != nil {
		return nil, err
	}
	return &bulk{Conn: conn.Conn, addr: conn.Addr.String(), buffers: d.pool}, nil
}
