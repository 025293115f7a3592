// Package sshagent is the ssh agent that a sandbox has: it signs with the keys of granted hosts, for logging in to those
// hosts, and does nothing else.
//
// It promises that no key and nothing else of the person's agent is seen: only the public keys of granted hosts are listed;
// that nothing can be added, removed, locked or unlocked; that what is signed is a request to log in, never a file, a commit or
// a certificate; that a client which binds its connection to a session (session-bind@openssh.com, which OpenSSH does since
// 8.9) gets signatures for that session only, and only if the key that the server has proven is known to be the granted host's;
// that a request which names the server's key (publickey-hostbound-v00@openssh.com) names a known one; that a connection
// that was bound to forward the agent elsewhere gets nothing; and that what a client sends is bounded.
//
// A client that does neither cannot be held to a host: what it gets signed may log in wherever the key is accepted. Keys that are
// for one host alone do not have that weakness.
//
// Where keys are from and what is told to people is left to others. Sources: draft-ietf-sshm-ssh-agent; PROTOCOL.agent and
// PROTOCOL of OpenSSH; RFC 4252 section 7.
package sshagent

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// A Key signs. Its methods may be called concurrently.
type Key interface {
	PublicKey() ssh.PublicKey
	// Sign signs data. The flags choose among the algorithms of RSA.
	Sign(ctx context.Context, data []byte, flags agent.SignatureFlags) (*ssh.Signature, error)
}

// Host is one that a key is granted for.
type Host struct {
	Grant string // for the record
	Name  string
	Keys  []ssh.PublicKey // by which it is known
	Key   Key
}

// Event is one request to sign, or to bind the connection to something else than a granted host.
type Event struct {
	Host    Host   // of the key; without a name if the key is not granted
	User    string // as whom to log in
	Allowed bool
	Rule    string // why
}

// RuleStranger refuses a connection that was bound to something else than a granted host.
const RuleStranger = "ssh: bound to a host that is not granted"

// Rules that allow.
const (
	RuleBound     = "ssh: bound to the host"
	RuleHostBound = "ssh: names the host"
	RuleUnbound   = "ssh: not bound"
)

// Bounds of what a client may do.
const (
	maxMessage     = 256 << 10
	maxConnections = 16
	maxBinds       = 16
)

// Server serves clients.
type Server struct {
	Hosts  []Host
	Record func(Event) // told of each request to sign, before the client has its answer; may be nil
}

var (
	errRefused   = errors.New("refused")
	errUnwanted  = errors.New("the agent does not do that")
	errTooLong   = errors.New("a message is too long")
	errMalformed = errors.New("malformed")
)

// Serve serves connections until ctx is done or the listener is broken, and closes it.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	var all sync.WaitGroup
	defer all.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	places := make(chan struct{}, maxConnections)
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			if err == nil {
				_ = conn.Close()
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept a client of the ssh agent: %w", err)
		}
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
			_ = conn.Close()
			return nil
		}
		all.Go(func() {
			defer func() { <-places }()
			s.ServeConn(ctx, conn)
		})
	}
}

// ServeConn serves one client until it is gone or ctx is done, and closes the connection.
func (s *Server) ServeConn(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	stream := struct {
		io.Reader
		io.Writer
	}{&bounded{from: conn}, conn}
	_ = agent.ServeAgent(&client{Server: s, ctx: ctx}, stream) // its end is the client's
}

// bounded reads messages, each of which begins with its length, and fails at one that is too long.
type bounded struct {
	from io.Reader
	head []byte // of the next message, as far as it was read
	left uint32 // of the message
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left == 0 && len(b.head) == 4 {
		b.head = b.head[:0]
	}
	want := b.left
	if len(b.head) < 4 {
		want = uint32(4 - len(b.head))
	}
	n, err := b.from.Read(p[:min(len(p), int(want))])
	if len(b.head) == 4 {
		b.left -= uint32(n)
		return n, err
	}
	if b.head = append(b.head, p[:n]...); len(b.head) == 4 {
		if b.left = binary.BigEndian.Uint32(b.head); b.left > maxMessage {
			return 0, errTooLong
		}
	}
	return n, err
}

// client is one connection. It is an agent.ExtendedAgent, called by one goroutine.
type client struct {
	*Server
	ctx   context.Context
	binds []bind
	shut  bool // it is bound to something that is not granted
}

// bind is a session that the connection is bound to.
type bind struct {
	session []byte
	host    []byte // the server's key
}

// granted are the hosts that the connection may log in to.
func (c *client) granted() []Host {
	if c.shut {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(c.Hosts), func(h Host) bool {
		return slices.ContainsFunc(c.binds, func(b bind) bool { return !h.known(b.host) })
	})
}

// known reports whether the host has that key.
func (h Host) known(key []byte) bool {
	return slices.ContainsFunc(h.Keys, func(k ssh.PublicKey) bool { return bytes.Equal(k.Marshal(), key) })
}

// List lists public keys, with the host as a comment.
func (c *client) List() ([]*agent.Key, error) {
	var keys []*agent.Key
	for _, h := range c.granted() {
		public := h.Key.PublicKey()
		blob := public.Marshal()
		if !slices.ContainsFunc(keys, func(k *agent.Key) bool { return bytes.Equal(k.Blob, blob) }) {
			keys = append(keys, &agent.Key{Format: public.Type(), Blob: blob, Comment: "moat: " + h.Name})
		}
	}
	return keys, nil
}

// Sign is SignWithFlags.
func (c *client) Sign(key ssh.PublicKey, data []byte) (*ssh.Signature, error) {
	return c.SignWithFlags(key, data, 0)
}

// SignWithFlags signs a request to log in to a granted host.
func (c *client) SignWithFlags(key ssh.PublicKey, data []byte, flags agent.SignatureFlags) (*ssh.Signature, error) {
	event, err := c.judge(key, data)
	var signature *ssh.Signature
	if event.Allowed {
		if signature, err = event.Host.Key.Sign(c.ctx, data, flags); err != nil {
			event.Allowed, event.Rule = false, "ssh: the key cannot be used"
		}
	}
	if c.Record != nil {
		c.Record(event)
	}
	return signature, err
}

// judge decides about a request to sign.
func (c *client) judge(key ssh.PublicKey, data []byte) (Event, error) {
	blob := key.Marshal()
	isKey := func(h Host) bool { return bytes.Equal(h.Key.PublicKey().Marshal(), blob) }
	event := Event{Rule: "ssh: the key is not granted"}
	if at := slices.IndexFunc(c.Hosts, isKey); at >= 0 {
		event.Host, event.Rule = c.Hosts[at], RuleStranger
	}
	hosts := slices.DeleteFunc(c.granted(), func(h Host) bool { return !isKey(h) })
	if len(hosts) == 0 {
		return event, errRefused
	}
	event.Host = hosts[0]
	login, err := parseLogin(data)
	if err != nil || !bytes.Equal(login.key, blob) {
		event.Rule = "ssh: not a request to log in"
		return event, errRefused
	}
	event.User = login.user
	if n := len(c.binds); n > 0 && !bytes.Equal(c.binds[n-1].session, login.session) {
		event.Rule = "ssh: another session"
		return event, errRefused
	}
	if login.host != nil {
		at := slices.IndexFunc(hosts, func(h Host) bool { return h.known(login.host) })
		if at < 0 {
			event.Rule = "ssh: names a host that is not granted"
			return event, errRefused
		}
		event.Host = hosts[at]
	}
	switch event.Allowed = true; {
	case len(c.binds) > 0:
		event.Rule = RuleBound
	case login.host != nil:
		event.Rule = RuleHostBound
	default:
		event.Rule = RuleUnbound
	}
	return event, nil
}

// Extension knows one extension: binding the connection to a session.
func (c *client) Extension(name string, contents []byte) ([]byte, error) {
	if name != "session-bind@openssh.com" {
		return nil, agent.ErrExtensionUnsupported
	}
	err := c.bind(contents)
	if err != nil {
		c.shut = true // what was bound to something unknown must not be free of it
		if c.Record != nil {
			c.Record(Event{Rule: RuleStranger})
		}
	}
	return nil, err
}

// bind binds the connection to a session with a server that has proven its key.
func (c *client) bind(contents []byte) error {
	var m struct {
		HostKey, Session, Signature []byte
		Forwarding                  bool
	}
	if err := ssh.Unmarshal(contents, &m); err != nil {
		return fmt.Errorf("%w: session-bind", errMalformed)
	}
	key, err := ssh.ParsePublicKey(m.HostKey)
	if err != nil {
		return fmt.Errorf("%w: the server's key", errMalformed)
	}
	var signature ssh.Signature
	if err := ssh.Unmarshal(m.Signature, &signature); err != nil {
		return fmt.Errorf("%w: the server's signature", errMalformed)
	}
	if err := key.Verify(m.Session, &signature); err != nil {
		return fmt.Errorf("the server has not proven its key: %w", err)
	}
	if m.Forwarding || len(c.binds) >= maxBinds {
		return errRefused
	}
	c.binds = append(c.binds, bind{session: m.Session, host: m.HostKey})
	if len(c.granted()) == 0 {
		return errRefused
	}
	return nil
}

// What follows would change the agent, or show more of it.

func (c *client) Add(agent.AddedKey) error       { return errUnwanted }
func (c *client) Remove(ssh.PublicKey) error     { return errUnwanted }
func (c *client) RemoveAll() error               { return errUnwanted }
func (c *client) Lock([]byte) error              { return errUnwanted }
func (c *client) Unlock([]byte) error            { return errUnwanted }
func (c *client) Signers() ([]ssh.Signer, error) { return nil, errUnwanted }
