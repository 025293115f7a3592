// Package egress is everything that leaves a sandbox: the one way out.
//
// It promises that a run reaches nothing but through it; that policy is asked before a name is resolved; that the
// address that was judged is the one that is dialled; that a request's name, address, SNI and Host are the same or it is
// refused; that a credential is put in only on the way to its own hosts, over verified TLS, and never comes back; and
// that every connection, request and question is on record, allowed or not, from the first. Requests are parsed,
// checked and written anew, never forwarded blind.
//
// What is allowed is decided by package policy, certificates for the sandbox are made by package ca, records are kept by
// package journal. How descriptors get out of the sandbox, and who is told of a refusal, is left to the supervisor.
//
// # The life of a connection
//
//	app ── connect(name:443) ──▶ nftables in the sandbox ──▶ listener (its descriptor is here)
//	       DNS gave a made-up address for the name, so the name is known (package names)
//	        │
//	        ├─ policy: name, port      ── refused ──▶ 407/403 where it can be said, reset otherwise; recorded
//	        ├─ first bytes: TLS (SNI must be the name), HTTP, or neither
//	        ├─ nothing to look at ─────────────▶ dial (name resolved here, address judged) and copy
//	        └─ HTTP, grant or path rules ──────▶ package intercept: TLS ended, requests checked, credential put in
//
// A connection that is passed through is judged by its name and port alone: what a client says inside of its own TLS,
// also by way of an encrypted ClientHello, is between it and the servers of that name. Where that matters, rules for the
// host have it looked into. Rules are about names: under a policy that allows addresses at large a host can be reached by
// its address, without its name, its rules and its credential.
//
// Protocols in which the server speaks first have no first bytes to look at. There the outside is dialled after a short
// silence and what the server says is passed on, but the client's first bytes are looked at all the same before they
// are: waiting gains nothing. Port 80 carries HTTP, and TCP port 53 is answered by package names.
package egress

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/netip"

	"moat/internal/ca"
	"moat/internal/egress/names"
	"moat/internal/journal"
	"moat/internal/policy"
)

// Door is what the guest has handed out: sockets of the sandbox's own network. Nil ones are not there.
type Door struct {
	TCP   []net.Listener   // every connection that a program makes, wherever to: OriginalDst tells
	DNS   []net.PacketConn // every question over UDP to port 53, wherever to
	Proxy net.Listener     // what HTTP_PROXY and the like name: absolute-form HTTP, CONNECT and SOCKS5
}

// Config is what an Egress is given.
type Config struct {
	Policy    func() *policy.Policy // as it is now: it may change while the run lives
	Authority *ca.Authority         // makes the certificates that the sandbox sees
	Grants    []Grant
	Recorder  Recorder
	Dialer    Dialer // the way out
	// Interceptor serves what has to be looked into. Without one all of that is refused.
	Interceptor Interceptor
	// Upstream is asked for the few records of allowed names that are neither A nor AAAA. Without one they are refused.
	Upstream names.Upstream
	// Names is the table of made-up addresses, which outlives a supervisor. Without one New makes an empty one.
	Names *names.Table
	// Meter counts what the limits of the policy bound; the Interceptor uses the same one. Without one New makes one.
	Meter *Meter
	// OriginalDst says where a program wanted to go with a connection of Door.TCP. Without one the
	// connection is asked (a method OriginalDst), or the kernel.
	OriginalDst func(net.Conn) (netip.AddrPort, error)
	// Connections is how many are served at the same time, all others wait in their listener's backlog; 0 is 2,048.
	Connections int
	Refused     func(Refusal) // told of each refusal, for hints; must not block
	Capture     Capture
	Logger      *slog.Logger
}

// A Recorder keeps the record of everything. It never loses one: when it cannot keep up, it blocks.
type Recorder interface {
	// Begin records that something begins, and returns the ID to end it with.
	Begin(r journal.Request) uint64
	// End records the same thing complete. One that is over at once may be ended without a Begin; its ID is 0 then.
	End(r journal.Request)
}

// Capture says what of requests and responses is recorded beside their lines and sizes.
type Capture int

// Kinds of capture.
const (
	CaptureNone Capture = iota
	CaptureHeaders
	CaptureBodies // headers, and up to 8 KiB of text bodies
)

// Grant is a credential that the run may use at its hosts. It is used over verified TLS on port 443 only.
type Grant struct {
	Name string
	// Hosts are names, normalised (package policy), or "*." and a name for all below it. An exact name goes before.
	Hosts []string
	// Signs says that Inject signs requests and the credential itself is not sent. What clients sign with is left to
	// Inject then, and answers may come in parts and in any coding, since there is nothing to search them for.
	Signs bool

	// Inject puts the credential into a request that is about to leave for one of Hosts. It is called for each
	// request; placeholders that the sandbox sent are already known to be the run's own. It may read the body and replace
	// it by one of known length. An error with a method Unfit() string, which is half a sentence for the client, refuses
	// the request for what it is; any other is about the credential.
	Inject func(ctx context.Context, r *http.Request) error
	// Swap returns what a placeholder stands for, to be put in its place in headers and in the query of requests to
	// Hosts. Nil: placeholders are only recognised, and nothing is put in but by Inject.
	Swap func(ctx context.Context, placeholder string) (string, error)
	// Foreign lets other credentials through to Hosts. Otherwise they are removed.
	Foreign bool
	// Placeholders are what the sandbox holds in the credential's place.
	Placeholders []string
	// Secrets are the values that must not come back: they are taken out of responses and records in every form.
	Secrets func() []string
}

// Refusal is something that policy did not allow; see NewRefusal.
type Refusal struct {
	Host policy.Host
	Port uint16
	Rule string // of policy
	// Reason is for people: half a sentence without the host.
	Reason string
	Line   string // to add to network.allow, if that would help
}

// Rejection is an answer by which a server does not accept the credential that was put in.
type Rejection struct {
	Grant  string
	Host   policy.Host
	Status int // 401 or 403
}

// A Dialer makes the connections to the outside. It resolves a name, judges every address that comes of it, and dials one
// of those that it judged; nothing is looked up twice.
type Dialer interface {
	// Dial returns a *RefusedError if policy allows none of the addresses. The caller has asked policy about the name
	// already, and closes the connection.
	Dial(ctx context.Context, host policy.Host, port uint16) (Conn, error)
	// Pinned reports whether the person wrote down where the host is dialled; with port 0, on any port.
	Pinned(host policy.Host, port uint16) bool
}

// Conn is a connection to the outside, and where it leads.
type Conn struct {
	net.Conn
	Addr netip.AddrPort
}

// RefusedError says that policy does not allow what a name leads to.
type RefusedError struct {
	Addr     netip.Addr
	Decision policy.Decision
}

// Error names the rule and never more of the outside than the address.
func (e *RefusedError) Error() string {
	return "refused: " + e.Decision.Rule + " (" + e.Addr.String() + ")"
}

// An Interceptor serves a connection from the sandbox that carries HTTP: it ends TLS, judges, records, rewrites and
// forwards each request. It returns when the connection is over, or when ctx is done; it may close conn, and the
// caller closes it in any case. Its requests are counted by Config.Meter.
type Interceptor interface {
	Intercept(ctx context.Context, conn net.Conn, t Target)
}

// Target is what policy allowed a connection to be about.
type Target struct {
	// Host and Port are the one authority of every request on the connection. With Proxy they are zero.
	Host policy.Host
	Port uint16
	// TLS says that a ClientHello comes first, of which the SNI is Host, or absent if Host is an address. Otherwise
	// a request in HTTP/1 or the preface of HTTP/2 comes, whatever the port.
	TLS bool
	// Proxy says that the requests are in absolute form for http, each with a host of its own that policy has not been
	// asked about: they are judged one by one.
	Proxy bool
	// Asked is the address that the program connected to, for the record; without a value under Proxy and where a
	// program named Host to the proxy.
	Asked netip.AddrPort
	// Pinned is what Dialer.Pinned says, for policy's questions about the requests.
	Pinned bool
	// Decision is policy's, about Host and Port.
	Decision policy.Decision
}
