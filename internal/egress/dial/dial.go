// Package dial makes the connections to the outside.
//
// It promises that every address that a name leads to is judged by policy, that one of the judged addresses is the one
// that is dialled, with no second look-up between, and that the result says which one it was. A name that the person
// pinned is dialled where they said. Names that mean something on this machine or its links only are never asked of a
// resolver, and search domains are never tried. Whether the name and port are allowed was asked before; TLS and what
// is said on the connection are left to the caller. Behind an upstream proxy the address is chosen by that proxy: what
// the name leads to here, if anything, is judged all the same.
package dial

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"moat/internal/egress"
	"moat/internal/policy"
)

const (
	lookupLimit  = 5 * time.Second
	attemptLimit = 10 * time.Second       // for one address
	dialLimit    = 20 * time.Second       // for all of it
	stagger      = 250 * time.Millisecond // RFC 8305 section 5: the next address is tried beside a slow one
	maxAddresses = 16
)

// ErrNoAddress says that a name leads nowhere, or is not asked for.
var ErrNoAddress = errors.New("the name has no address")

// Resolver finds the addresses of an absolute name, which ends in a dot.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Config is what a Dialer is given.
type Config struct {
	Policy func() *policy.Policy // as it is now
	Pins   *Pins                 // may be nil
	// Resolver is asked for the addresses of names. Nil: the system's configuration.
	Resolver Resolver
	// Proxy, if there is one, is an http URL with a host and a port, and a user if it needs one. Pinned names and
	// services of this machine are dialled without it.
	Proxy *url.URL
}

// Dialer implements egress.Dialer. It may be used by any number of goroutines.
type Dialer struct {
	config Config
	tcp    net.Dialer
}

// New returns a Dialer.
func New(c Config) (*Dialer, error) {
	if c.Resolver == nil {
		c.Resolver = &net.Resolver{PreferGo: true}
	}
	if p := c.Proxy; p != nil && (p.Scheme != "http" || p.Hostname() == "" || p.Port() == "") {
		return nil, fmt.Errorf("upstream proxy %q is not http://host:port", p.Redacted())
	}
	return &Dialer{config: c, tcp: net.Dialer{Timeout: attemptLimit, KeepAlive: 30 * time.Second}}, nil
}

// Pinned implements egress.Dialer.
func (d *Dialer) Pinned(host policy.Host, port uint16) bool { return d.config.Pins.has(host, port) }

// Dial implements egress.Dialer.
func (d *Dialer) Dial(ctx context.Context, host policy.Host, port uint16) (egress.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	conn, err := d.dial(ctx, host, port)
	if err != nil {
		return egress.Conn{}, fmt.Errorf("dial %s: %w", host.WithPort(port), err)
	}
	return conn, nil
}

func (d *Dialer) dial(ctx context.Context, host policy.Host, port uint16) (egress.Conn, error) {
	if pin, ok := d.config.Pins.find(host, port); ok {
		return d.first(ctx, []netip.AddrPort{pin})
	}
	if host.Name() == policy.HostName {
		return d.ownMachine(ctx, host, port)
	}
	if d.config.Proxy != nil {
		if err := d.judgeIfKnown(ctx, host, port); err != nil {
			return egress.Conn{}, err
		}
		return d.throughProxy(ctx, host, port)
	}
	addrs, err := d.addresses(ctx, host)
	if err != nil {
		return egress.Conn{}, err
	}
	judged, err := d.judge(host, port, addrs)
	if err != nil {
		return egress.Conn{}, err
	}
	return d.first(ctx, judged)
}

// ownMachine dials a service of this machine. Policy answers for its ports, whatever the address.
func (d *Dialer) ownMachine(ctx context.Context, host policy.Host, port uint16) (egress.Conn, error) {
	judged, err := d.judge(host, port, []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()})
	if err != nil {
		return egress.Conn{}, err
	}
	return d.first(ctx, judged)
}

// addresses are all that the host leads to, IPv6 and IPv4 in turn.
func (d *Dialer) addresses(ctx context.Context, host policy.Host) ([]netip.Addr, error) {
	if addr, ok := host.Addr(); ok {
		return []netip.Addr{addr}, nil
	}
	if localOnly(host.Name()) {
		return nil, fmt.Errorf("%w: it means something on this machine or its links only", ErrNoAddress)
	}
	ctx, cancel := context.WithTimeout(ctx, lookupLimit)
	defer cancel()
	found, err := d.config.Resolver.LookupNetIP(ctx, "ip", host.Name()+".")
	if err != nil {
		return nil, lookupError(err)
	}
	var v4, v6, mixed []netip.Addr
	for _, addr := range found {
		if addr = addr.Unmap(); addr.Is4() {
			v4 = append(v4, addr)
		} else {
			v6 = append(v6, addr)
		}
	}
	for i := range max(len(v4), len(v6)) {
		if i < len(v6) {
			mixed = append(mixed, v6[i])
		}
		if i < len(v4) {
			mixed = append(mixed, v4[i])
		}
	}
	if len(mixed) == 0 {
		return nil, ErrNoAddress
	}
	return mixed[:min(len(mixed), maxAddresses)], nil
}

// lookupError says what went wrong without the address of the resolver.
func lookupError(err error) error {
	var dns *net.DNSError
	if !errors.As(err, &dns) {
		return fmt.Errorf("look up: %w", err)
	}
	if dns.IsNotFound {
		return ErrNoAddress
	}
	return fmt.Errorf("look up: %s", dns.Err)
}

// localOnly knows names that DNS has no answer for (RFC 6761, RFC 6762, RFC 7686, RFC 8375).
func localOnly(name string) bool {
	for _, suffix := range []string{"localhost", "local", "onion", "invalid", "home.arpa", "moat.internal"} {
		if name == suffix || strings.HasSuffix(name, "."+suffix) {
			return true
		}
	}
	return false
}

// judge returns those of the addresses that policy allows. If there are none the error is a RefusedError.
func (d *Dialer) judge(host policy.Host, port uint16, addrs []netip.Addr) ([]netip.AddrPort, error) {
	var judged []netip.AddrPort
	var refused *egress.RefusedError
	now := d.config.Policy()
	for _, addr := range addrs {
		decision := now.Decide(policy.Question{Host: host, Addr: addr, Port: port})
		if decision.Allow {
			judged = append(judged, netip.AddrPortFrom(addr, port))
		} else if refused == nil {
			refused = &egress.RefusedError{Addr: addr, Decision: decision}
		}
	}
	if len(judged) == 0 && refused != nil {
		return nil, refused
	}
	return judged, nil
}

// judgeIfKnown refuses a name of which it is known here that it leads to nothing allowed.
func (d *Dialer) judgeIfKnown(ctx context.Context, host policy.Host, port uint16) error {
	addrs, err := d.addresses(ctx, host)
	if err != nil {
		return nil // only the proxy can know it
	}
	_, err = d.judge(host, port, addrs)
	return err
}

// attempt is the outcome of one address.
type attempt struct {
	conn net.Conn
	addr netip.AddrPort
	err  error
}

// first dials the addresses in turn, the next one as soon as the one before has failed or is slow, and returns the
// first connection; all others are closed.
func (d *Dialer) first(ctx context.Context, addrs []netip.AddrPort) (egress.Conn, error) {
	if len(addrs) == 1 { // nobody to race
		conn, err := d.tcp.DialContext(ctx, "tcp", addrs[0].String())
		return egress.Conn{Conn: conn, Addr: addrs[0]}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan attempt)
	next := time.NewTimer(0)
	defer next.Stop()
	var failed error
	for started, ended := 0, 0; ended < len(addrs); {
		select {
		case <-next.C:
			if started < len(addrs) {
				addr := addrs[started]
				started++
				go d.try(ctx, addr, results)
				next.Reset(stagger)
			}
		case a := <-results:
			ended++
			if a.err == nil {
				cancel()
				drain(results, started-ended)
				return egress.Conn{Conn: a.conn, Addr: a.addr}, nil
			}
			if failed == nil {
				failed = a.err
			}
			next.Reset(0)
		}
	}
	return egress.Conn{}, failed
}

// try dials one address. Somebody always takes the result.
func (d *Dialer) try(ctx context.Context, addr netip.AddrPort, results chan<- attempt) {
	conn, err := d.tcp.DialContext(ctx, "tcp", addr.String())
	results <- attempt{conn, addr, err}
}

// drain waits for the attempts that lost: they were cancelled, and end at once.
func drain(results <-chan attempt, n int) {
	for range n {
		if a := <-results; a.err == nil {
			_ = a.conn.Close()
		}
	}
}
