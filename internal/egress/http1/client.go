// Package http1 is HTTP/1.1 on the wire, for an intermediary that serves many requests at once with little memory: a client
// that keeps connections, and a writer of answers.
//
// It promises that a message is written as it was given, in one unambiguous framing, or not at all; that an answer which
// breaks off is an error; and that a connection is used again only when both messages on it were whole and nothing came
// that nobody asked for. An exchange takes place on the goroutine of who wants it: package net/http hands each request to
// one goroutine and each answer to another, which for small messages costs more than the messages do. Only a body that is
// sent has a goroutine of its own, because a server may answer before it has read everything.
//
// Answers are parsed by net/http. Redirects, cookies, proxies, compression and what a message is about are left to the
// caller, who also judges the requests of its own clients before (package intercept).
package http1

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// Config is what a Client is given. Limits of 0 are none.
type Config struct {
	// Dial connects to host:port.
	Dial func(ctx context.Context, address string) (net.Conn, error)
	// TLS is how to do TLS on top of what Dial returns, for https. ServerName and NextProtos are set for each connection.
	TLS *tls.Config
	// Wrap, if it is not nil, is applied to a connection before requests are written to it.
	Wrap func(net.Conn) net.Conn

	Handshake time.Duration // limit for the TLS handshake
	Answer    time.Duration // limit from the end of a request to the head of its answer
	Continue  time.Duration // how long a body waits for 100 (Continue) where its head asks for it
	Idle      time.Duration // how long a connection is kept
	MaxIdle   int           // connections that are kept, all hosts
	MaxHead   int64         // bytes of the head of an answer, informational ones before it included
}

// Client makes requests. It may be used by any number of goroutines.
type Client struct {
	config Config
	pool   pool
	past   time.Time // a deadline that is over
}

// Watch is told of what happens before there is an answer. Its functions may be nil.
type Watch struct {
	Conn  func(net.Conn)                             // the connection on which the request is about to be sent
	Early func(status int, header http.Header) error // an informational answer but 100; an error ends the exchange
}

// Errors of a Client.
var (
	ErrMalformed = errors.New("the message is malformed")
	errIdleEnd   = errors.New("the server closed a connection that was kept")
	errShort     = errors.New("the body is shorter than it says")
	errLong      = errors.New("the body is longer than it says")
)

// NewClient returns a Client.
func NewClient(c Config) *Client {
	if c.TLS == nil {
		c.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	return &Client{config: c, pool: newPool(c.MaxIdle, c.Idle), past: time.Unix(1, 0)}
}

// Do sends a request and returns its answer. As in net/http, a body whose length is said to be 0 has an unknown one, unless it
// is http.NoBody. The request's context ends the exchange, also while the body of the answer is
// read. The body of the request is closed in any case, before the body of the answer is at its end; the caller closes the
// latter. That of a 101 (Switching Protocols) is an io.ReadWriteCloser: the connection.
//
// A request without a body whose method is safe is sent again on another connection if a kept one turns out to be closed.
func (c *Client) Do(r *http.Request, w Watch) (*http.Response, error) {
	head, err := appendHead(takeBuffer(), r)
	defer giveBuffer(head)
	if err != nil {
		closeBody(r)
		return nil, err
	}
	for {
		conn, err := c.connect(r.Context(), r.URL)
		if err != nil {
			closeBody(r)
			return nil, err
		}
		answer, err := conn.exchange(r, head.b, w)
		if err == nil {
			return answer, nil
		}
		if !errors.Is(err, errIdleEnd) || !repeatable(r) || r.Context().Err() != nil {
			return nil, err
		}
	}
}

// CloseIdle closes the connections that are kept.
func (c *Client) CloseIdle() { c.pool.closeAll() }

// repeatable reports whether a request may be sent twice (RFC 9110 section 9.2.2).
func repeatable(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return bodyless(r)
	}
	return false
}

func bodyless(r *http.Request) bool { return r.Body == nil || r.Body == http.NoBody }

func closeBody(r *http.Request) {
	if r.Body != nil {
		_ = r.Body.Close()
	}
}

// connect returns a connection that is kept, or a new one.
func (c *Client) connect(ctx context.Context, u *url.URL) (*conn, error) {
	key := u.Scheme + "://" + u.Host
	for kept := c.pool.get(key); kept != nil; kept = c.pool.get(key) {
		if kept.quiet() {
			return kept, nil
		}
		kept.close()
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	below, err := c.config.Dial(ctx, net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return nil, err
	}
	conn := below
	if u.Scheme == "https" {
		if conn, err = c.secure(ctx, below, u.Hostname()); err != nil {
			_ = below.Close()
			return nil, err
		}
	}
	if c.config.Wrap != nil {
		conn = c.config.Wrap(conn)
	}
	return newConn(c, key, conn, below), nil
}

// secure makes the handshake.
func (c *Client) secure(ctx context.Context, below net.Conn, host string) (net.Conn, error) {
	config := c.config.TLS.Clone()
	config.ServerName, config.NextProtos = host, []string{"http/1.1"}
	if c.config.Handshake > 0 {
		limited, cancel := context.WithTimeout(ctx, c.config.Handshake)
		defer cancel()
		ctx = limited
	}
	secure := tls.Client(below, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("TLS handshake: %w", err)
	}
	return secure, nil
}

// buffer is memory that is borrowed.
type buffer struct{ b []byte }

const bufferSize = 4 << 10

//nolint:gochecknoglobals // a pool is of use only if everybody shares it
var spare = sync.Pool{New: func() any { return &buffer{make([]byte, 0, bufferSize)} }}

func takeBuffer() *buffer { return spare.Get().(*buffer) }

func giveBuffer(b *buffer) {
	if b == nil || cap(b.b) > 64<<10 {
		return
	}
	b.b = b.b[:0]
	spare.Put(b)
}
