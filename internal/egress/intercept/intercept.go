// Package intercept serves the connections of a sandbox that have to be looked into: it ends TLS, reads each request,
// judges it, puts the credential in, and writes it anew to the outside.
//
// It promises that nothing is forwarded blind: a request has one reading (in HTTP/1 the bytes are checked before net/http
// sees them, see gate), one authority, which is the connection's, and one path, which is judged in the spelling that is
// sent. A credential is put in only over verified TLS on port 443 of its own hosts, and neither it nor any other secret of
// the run comes back, in bodies, headers, trailers, upgraded streams or records. Each request is recorded, refused or
// not. Bodies of any size are streamed in bounded memory and passed on as they come; a client that goes away ends its
// request outside, and an answer that breaks off outside breaks off inside.
//
// What a run may reach is decided by package policy, where names lead by the egress.Dialer, and what a
// credential looks like by its egress.Grant. Bodies of requests are not searched: a placeholder in them is worth nothing.
//
// # Limits of the scrubbing
//
// Forms are those of package scrub. From hosts of a grant answers are asked for as they are (identity) and whole
// (without Range); gzip and deflate that come all the same are unpacked, other codings are refused. A host that
// transforms a secret in a way of its own, or spreads it over several answers, cannot be caught: it is trusted with it.
package intercept

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"moat/internal/ca"
	"moat/internal/egress"
	"moat/internal/egress/scrub"
	"moat/internal/journal"
	"moat/internal/policy"
)

// Config is what an Interceptor is given. All of it but Roots, Refused, Rejected and Logger is needed; an egress.Config has most.
type Config struct {
	Policy    func() *policy.Policy
	Authority *ca.Authority
	Grants    []egress.Grant
	Recorder  egress.Recorder
	Dialer    egress.Dialer
	Meter     Meter
	Refused   func(egress.Refusal)
	Rejected  func(egress.Rejection) // may be nil; must not block
	Capture   egress.Capture
	Roots     *x509.CertPool // trusted outside; nil: the system's
	Logger    *slog.Logger
}

// A Meter is asked for each request and told of each piece of a body; see egress.Meter.
type Meter interface {
	Request(host policy.Host) policy.Decision
	Bytes(host policy.Host, n int64) policy.Decision
}

// Interceptor is an egress.Interceptor. Connections to the outside are kept and shared between its connections.
type Interceptor struct {
	config  Config
	server  *http.Server
	outside outside
	patrol  patrol
	grants  map[policy.Host]*credential
	below   map[string]*credential // for all names below the key
	all     []*credential
	marks   *scrub.Set                // all placeholders
	secrets atomic.Pointer[scrub.Set] // all secrets as they are now
	hidden  atomic.Pointer[scrub.Set] // secrets and placeholders: what records must not have
	readers *sync.Pool                // of *bufio.Reader
	buffers *sync.Pool                // bulkSize long
	pieces  *sync.Pool                // smallSize long
}

var (
	errHandshake = errors.New("the client did not finish the TLS handshake")
	errLimit     = errors.New("a limit of the network policy is reached")
)

const (
	handshakeLimit = 10 * time.Second
	headLimit      = 30 * time.Second // for the head of a request, once it has begun
	idleLimit      = 5 * time.Minute  // between requests
)

// New makes an Interceptor, which Close ends.
func New(c Config) *Interceptor {
	if c.Refused == nil {
		c.Refused = func(egress.Refusal) {}
	}
	if c.Rejected == nil {
		c.Rejected = func(egress.Rejection) {}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	i := &Interceptor{config: c}
	i.readers = &sync.Pool{New: func() any { return bufio.NewReaderSize(nil, readerSize) }}
	i.buffers, i.pieces = newPool(bulkSize), newPool(smallSize)
	i.loadGrants()
	i.outside = newOutside(c, i.buffers)
	i.server = &http.Server{
		Handler:                      http.HandlerFunc(serveRequest),
		BaseContext:                  func(l net.Listener) context.Context { return l.(*oneConn).ctx },
		ReadHeaderTimeout:            headLimit,
		IdleTimeout:                  idleLimit,
		MaxHeaderBytes:               maxHead,
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(c.Logger.Handler(), slog.LevelDebug),
	}
	return i
}

// Close ends all connections, inside and outside. Intercept has to have returned, or its context has to be done.
func (i *Interceptor) Close() error {
	err := i.server.Close()
	i.outside.close()
	return err
}

// Intercept serves one connection; see egress.Interceptor.
func (i *Interceptor) Intercept(ctx context.Context, conn net.Conn, t egress.Target) {
	v := &visit{Interceptor: i, target: t, began: time.Now()}
	raw := &watched{Conn: conn, closed: make(chan struct{})}
	defer raw.Close()
	defer context.AfterFunc(ctx, func() { raw.Close() })()
	served, err := v.open(ctx, raw)
	if err != nil {
		v.unopened(err)
		return
	}
	i.outside.enter()
	defer i.outside.leave()
	if v.gate != nil {
		if v.serveOne(ctx, served) {
			_ = served.Close() // in TLS: says so
		}
		return
	}
	ctx, cancel := context.WithCancel(context.WithValue(ctx, visitKey{}, v))
	defer cancel()
	_ = i.server.Serve(&oneConn{ctx: ctx, conn: served, closed: raw.closed})
	cancel()
	v.requests.wait()
}

// visit is one connection from the sandbox.
type visit struct {
	*Interceptor
	target   egress.Target
	began    time.Time
	sni      string
	gate     *gate // nil in HTTP/2
	requests group
}

type visitKey struct{}

// open ends TLS, if it is TLS, and puts a gate in front of HTTP/1; the connection that it returns is where to write.
func (v *visit) open(ctx context.Context, raw net.Conn) (net.Conn, error) {
	conn := raw
	if v.target.TLS {
		config, err := v.config.Authority.ServerConfig(v.target.Host.String())
		if err != nil {
			return nil, err
		}
		later := newBehind(raw, v.buffers)
		below := &bulk{Conn: later, buffers: v.buffers}
		secure := tls.Server(below, config)
		limited, cancel := context.WithTimeout(ctx, handshakeLimit)
		defer cancel()
		if err := secure.HandshakeContext(limited); err != nil {
			return nil, fmt.Errorf("%w: %w", errHandshake, err)
		}
		state := secure.ConnectionState()
		v.sni = state.ServerName
		if state.NegotiatedProtocol == "h2" {
			later.begin()
			return secure, nil
		}
		conn = &corking{Conn: secure, below: below}
	}
	v.gate = &gate{Conn: conn, patience: headLimit}
	return conn, nil
}

// unopened records a connection that ended before its first request: the client asked for another name, or does not
// trust the run's authority, or is gone.
func (v *visit) unopened(err error) {
	took := float64(time.Since(v.began)) / float64(time.Millisecond)
	text := err.Error()
	rec := journal.Request{
		T: v.began.UTC(), Kind: journal.KindConnect, Method: http.MethodConnect, Protocol: "tls",
		URL: "https://" + authority(v.target.Host, v.target.Port, true) + "/", Host: v.target.Host.String(), Address: v.asked(),
		DurationMS: &took, Decision: journal.Allowed, Rule: v.target.Decision.Rule, Error: &text,
	}
	var theirs *net.OpError // how package tls tells an alert of the other end
	if !errors.As(err, &theirs) && !errors.Is(err, io.EOF) {
		rec.Decision, rec.Rule = journal.Denied, "conflict: TLS handshake"
	}
	v.config.Recorder.End(rec)
}

// asked is the address that the program connected to, "" if it named a host.
func (v *visit) asked() string {
	if v.target.Asked.IsValid() {
		return v.target.Asked.String()
	}
	return ""
}
