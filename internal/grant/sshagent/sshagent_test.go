package sshagent

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

func newSigner(t testing.TB) ssh.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// lab is two granted hosts, with a key and a host key each, and a stranger's host key.
type lab struct {
	server            *Server
	one, two          ssh.Signer // keys of the person
	oneHost, twoHost  ssh.Signer
	stranger, foreign ssh.Signer // a host and a key that are not granted
	events            []Event
}

func newLab(t testing.TB) *lab {
	l := &lab{one: newSigner(t), two: newSigner(t), oneHost: newSigner(t), twoHost: newSigner(t), stranger: newSigner(t), foreign: newSigner(t)}
	l.server = &Server{
		Hosts: []Host{
			{Grant: "ssh:one.test", Name: "one.test", Keys: []ssh.PublicKey{l.oneHost.PublicKey()}, Key: NewKey(l.one)},
			{Grant: "ssh:two.test", Name: "two.test", Keys: []ssh.PublicKey{l.twoHost.PublicKey()}, Key: NewKey(l.two)},
		},
		Record: func(e Event) { l.events = append(l.events, e) },
	}
	return l
}

// connect is a client with a connection of its own.
func (l *lab) connect(t testing.TB) agent.ExtendedAgent {
	t.Helper()
	here, there := net.Pipe()
	served := make(chan struct{})
	go func() {
		defer close(served)
		l.server.ServeConn(t.Context(), there)
	}()
	t.Cleanup(func() {
		here.Close()
		<-served
	})
	return agent.NewClient(here)
}

// bindTo is what a client says about a session with a server.
func bindTo(t testing.TB, host ssh.Signer, session string, forwarding bool) []byte {
	t.Helper()
	signature, err := host.Sign(rand.Reader, []byte(session))
	if err != nil {
		t.Fatal(err)
	}
	return ssh.Marshal(struct {
		HostKey, Session, Signature []byte
		Forwarding                  bool
	}{host.PublicKey().Marshal(), []byte(session), ssh.Marshal(signature), forwarding})
}

// loginData is a request to log in with a key. With a host it names that host's key.
func loginData(session string, key ssh.PublicKey, host ssh.PublicKey) []byte {
	method, tail := methodKey, []byte{}
	if host != nil {
		method, tail = methodHostBound, ssh.Marshal(struct{ Host []byte }{host.Marshal()})
	}
	return ssh.Marshal(struct {
		Session               []byte
		Kind                  byte
		User, Service, Method string
		Signed                bool
		Algorithm             string
		Key                   []byte
		Rest                  []byte `ssh:"rest"`
	}{[]byte(session), 50, "git", "ssh-connection", method, true, key.Type(), key.Marshal(), tail})
}

// Who may have what signed, by what the connection is bound to and what the request says.
func TestSign(t *testing.T) {
	l := newLab(t)
	file := append([]byte("SSHSIG"), ssh.Marshal(struct{ Namespace, Reserved, Hash, Sum string }{"git", "", "sha512", "x"})...)
	for name, v := range map[string]struct {
		bind    []byte
		key     ssh.Signer
		data    []byte
		allowed bool
		rule    string
	}{
		"bound":                 {bindTo(t, l.oneHost, "s", false), l.one, loginData("s", l.one.PublicKey(), nil), true, RuleBound},
		"bound, names it":       {bindTo(t, l.oneHost, "s", false), l.one, loginData("s", l.one.PublicKey(), l.oneHost.PublicKey()), true, RuleBound},
		"names it":              {nil, l.two, loginData("s", l.two.PublicKey(), l.twoHost.PublicKey()), true, RuleHostBound},
		"neither":               {nil, l.one, loginData("s", l.one.PublicKey(), nil), true, RuleUnbound},
		"another session":       {bindTo(t, l.oneHost, "s", false), l.one, loginData("other", l.one.PublicKey(), nil), false, "ssh: another session"},
		"another's key":         {bindTo(t, l.oneHost, "s", false), l.two, loginData("s", l.two.PublicKey(), nil), false, "ssh: bound to a host that is not granted"},
		"stranger":              {bindTo(t, l.stranger, "s", false), l.one, loginData("s", l.one.PublicKey(), nil), false, "ssh: bound to a host that is not granted"},
		"forwarding":            {bindTo(t, l.oneHost, "s", true), l.one, loginData("s", l.one.PublicKey(), nil), false, "ssh: bound to a host that is not granted"},
		"names a stranger":      {nil, l.one, loginData("s", l.one.PublicKey(), l.stranger.PublicKey()), false, "ssh: names a host that is not granted"},
		"names the other":       {bindTo(t, l.oneHost, "s", false), l.one, loginData("s", l.one.PublicKey(), l.twoHost.PublicKey()), false, "ssh: names a host that is not granted"},
		"foreign key":           {nil, l.foreign, loginData("s", l.foreign.PublicKey(), nil), false, "ssh: the key is not granted"},
		"a file":                {nil, l.one, file, false, "ssh: not a request to log in"},
		"another key inside":    {nil, l.one, loginData("s", l.two.PublicKey(), nil), false, "ssh: not a request to log in"},
		"something":             {nil, l.one, []byte("something"), false, "ssh: not a request to log in"},
		"a login and more":      {nil, l.one, append(loginData("s", l.one.PublicKey(), nil), 0), false, "ssh: not a request to log in"},
		"not proven":            {append(bindTo(t, l.oneHost, "s", false)[:100], bindTo(t, l.stranger, "s", false)[100:]...), l.one, loginData("s", l.one.PublicKey(), nil), false, "ssh: bound to a host that is not granted"},
		"a malformed binding":   {[]byte("x"), l.one, loginData("s", l.one.PublicKey(), nil), false, "ssh: bound to a host that is not granted"},
		"bound, without a user": {bindTo(t, l.twoHost, "s", false), l.two, nil, false, "ssh: not a request to log in"},
	} {
		l.events = nil
		c := l.connect(t)
		if v.bind != nil {
			_, err := c.Extension("session-bind@openssh.com", v.bind)
			if bound := err == nil || err.Error() == "agent: failure"; v.allowed && !bound {
				t.Errorf("%s: bind: %v", name, err)
			}
		}
		signature, err := c.SignWithFlags(v.key.PublicKey(), v.data, 0)
		if (err == nil) != v.allowed || v.allowed && v.key.PublicKey().Verify(v.data, signature) != nil {
			t.Errorf("%s: %v", name, err)
		}
		last := l.events[len(l.events)-1]
		if last.Allowed != v.allowed || last.Rule != v.rule || v.allowed && last.User != "git" || len(l.events) > 1 && l.events[0].Rule != RuleStranger {
			t.Errorf("%s: %+v", name, l.events)
		}
	}
}

// Only granted keys are seen, and of a bound connection only those of its host.
func TestList(t *testing.T) {
	l := newLab(t)
	names := func(c agent.ExtendedAgent) (text string) {
		keys, err := c.List()
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range keys {
			text += k.Comment + "\n"
		}
		return text
	}
	if got := names(l.connect(t)); got != "moat: one.test\nmoat: two.test\n" {
		t.Errorf("unbound: %q", got)
	}
	c := l.connect(t)
	_, _ = c.Extension("session-bind@openssh.com", bindTo(t, l.twoHost, "s", false))
	if got := names(c); got != "moat: two.test\n" {
		t.Errorf("bound: %q", got)
	}
	_, _ = c.Extension("session-bind@openssh.com", bindTo(t, l.stranger, "t", false))
	if got := names(c); got != "" {
		t.Errorf("bound to a stranger too: %q", got)
	}
}

// Nothing else is done.
func TestRefusals(t *testing.T) {
	l := newLab(t)
	c := l.connect(t)
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"add": c.Add(agent.AddedKey{PrivateKey: private}), "remove": c.Remove(l.one.PublicKey()), "remove all": c.RemoveAll(),
		"lock": c.Lock([]byte("x")), "unlock": c.Unlock([]byte("x")),
	} {
		if err == nil {
			t.Errorf("%s was done", name)
		}
	}
	if _, err := c.Extension("query", nil); err == nil {
		t.Error("an extension was known")
	}
	if keys, err := c.List(); err != nil || len(keys) != 2 {
		t.Errorf("afterwards: %v, %v", keys, err)
	}
}

// The algorithms of RSA, from memory and by way of the person's own agent.
func TestKeys(t *testing.T) {
	pem, err := os.ReadFile("testdata/rsa") // making one takes long
	if err != nil {
		t.Fatal(err)
	}
	private, err := ssh.ParseRawPrivateKey(pem)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	ring := agent.NewKeyring()
	if err := ring.Add(agent.AddedKey{PrivateKey: private, Comment: "mine"}); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "agent")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_ = agent.ServeAgent(ring, conn)
			conn.Close()
		}
	}()
	for name, key := range map[string]Key{"memory": NewKey(s), "agent": InAgent(socket, s.PublicKey())} {
		for flags, format := range map[agent.SignatureFlags]string{0: "ssh-rsa", agent.SignatureFlagRsaSha256: "rsa-sha2-256", agent.SignatureFlagRsaSha512: "rsa-sha2-512"} {
			got, err := key.Sign(t.Context(), []byte("x"), flags)
			if err != nil || got.Format != format || s.PublicKey().Verify([]byte("x"), got) != nil {
				t.Errorf("%s, %d: %v, %v", name, flags, got, err)
			}
		}
	}
	if keys, err := AgentKeys(t.Context(), socket); err != nil || !Has(keys, s.PublicKey()) || Has(keys, newSigner(t).PublicKey()) {
		t.Errorf("%v, %v", keys, err)
	}
	if _, err := InAgent(filepath.Join(t.TempDir(), "none"), s.PublicKey()).Sign(t.Context(), nil, 0); err == nil {
		t.Error("an agent that is not there has signed")
	}
}

// Messages that are too long end the connection before they are held.
func TestBounded(t *testing.T) {
	var message bytes.Buffer
	message.Write([]byte{0, 0, 0, 1, 11, 0, 0, 0, 0, 0, 0, 0, 2, 1, 2, 0, 4, 0, 1}) // the last one is longer than 256 KiB
	got, err := io.ReadAll(&bounded{from: &message})
	if !errors.Is(err, errTooLong) || !bytes.Equal(got, []byte{0, 0, 0, 1, 11, 0, 0, 0, 0, 0, 0, 0, 2, 1, 2}) {
		t.Errorf("%v, %v", got, err)
	}
}

// Serve ends with its context, whatever its clients do.
func TestServeEnds(t *testing.T) {
	lab := newLab(t)
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "agent"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- lab.server.Serve(ctx, l) }()
	for range maxConnections + 2 { // more than there are places
		conn, err := net.Dial("unix", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func FuzzAgent(f *testing.F) {
	l := newLab(f)
	frame := func(kind byte, payload ...[]byte) []byte {
		body := append([]byte{kind}, bytes.Join(payload, nil)...)
		return append([]byte{0, 0, byte(len(body) >> 8), byte(len(body))}, body...)
	}
	text := func(b []byte) []byte { return ssh.Marshal(struct{ B []byte }{b}) }
	f.Add(append(frame(11), frame(27, text([]byte("session-bind@openssh.com")), bindTo(f, l.oneHost, "s", false))...))
	f.Add(frame(13, text(l.one.PublicKey().Marshal()), text(loginData("s", l.one.PublicKey(), nil)), []byte{0, 0, 0, 0}))
	f.Fuzz(func(t *testing.T, data []byte) {
		here, there := net.Pipe()
		go func() {
			_, _ = here.Write(data)
			here.Close()
		}()
		go func() { _, _ = io.Copy(io.Discard, here) }()
		newLab(t).server.ServeConn(t.Context(), there)
	})
}

func FuzzLogin(f *testing.F) {
	l := newLab(f)
	f.Add(loginData("s", l.one.PublicKey(), l.oneHost.PublicKey()))
	f.Add(loginData("s", l.one.PublicKey(), nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		if got, err := parseLogin(data); err == nil && (len(got.session) == 0 || bytes.HasPrefix(data, []byte("SSHSIG"))) {
			t.Errorf("%+v", got)
		}
	})
}
