package supervisor

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"moat/internal/audit"
	"moat/internal/ca"
	"moat/internal/egress"
	"moat/internal/egress/dial"
	"moat/internal/egress/intercept"
	"moat/internal/egress/names"
	"moat/internal/grant"
	"moat/internal/journal"
	"moat/internal/line"
	"moat/internal/plan"
	"moat/internal/policy"
	"moat/internal/run"
	"moat/internal/sandbox"
)

// Files of the way out in the run's folder.
const (
	namesFile = "names.jsonl" // made-up addresses that programs in the sandbox were told
	trustFile = "roots.pem"   // what the sandbox trusts: the host's roots and the run's own
	rootFile  = "root.pem"    // the run's own root alone
)

// network is the run's one way out.
type network struct {
	*egress.Egress
	inside      *intercept.Interceptor
	authority   *ca.Authority
	record      *journal.Network
	names       *os.File
	grants      []grant.Ready
	policy      atomic.Pointer[policy.Policy]
	changing    sync.Mutex // held while policy is replaced
	rejected    sync.Map   // hosts whose rejection of a credential was told
	closing     sync.Once
	agentSocket string // of the sandbox's ssh agent, inside; empty: it has none
}

// openNetwork makes the way out that the plan asks for: nil if it asks for none.
func (s *supervisor) openNetwork(ctx context.Context) (*network, error) {
	rec := s.Folder.Record()
	if rec.Plan.Network == nil {
		return nil, nil
	}
	want := *rec.Plan.Network
	n := &network{}
	var err error
	if n.grants, err = s.loadGrants(ctx, rec.Plan); err != nil {
		return nil, err
	}
	if wantsAgent(rec.Plan) {
		n.agentSocket = sandbox.AgentSocket
	}
	if err := s.writeKnownHosts(sshHosts(n.grants)); err != nil {
		return nil, err
	}
	rules, problems := policy.Compile(want.Config(grantHosts(n.grants)))
	if rules == nil {
		return nil, fmt.Errorf("network policy: %s", problems[0].Message)
	}
	n.policy.Store(rules)
	if n.authority, err = s.authority(rec.Name); err != nil {
		return nil, err
	}
	roots, err := s.writeRoots(n.authority, want.CAFiles)
	if err != nil {
		return nil, err
	}
	if n.record, _, err = journal.OpenNetwork(s.dir, s.networkTrouble); err != nil {
		return nil, fmt.Errorf("open the network record: %w", err)
	}
	n.record.OnWritten(s.audit.network)
	if err := n.assemble(s, want, roots); err != nil {
		return nil, errors.Join(err, n.record.Close())
	}
	return n, nil
}

// assemble puts the parts together.
func (n *network) assemble(s *supervisor, want plan.Network, roots *x509.CertPool) error {
	pins, err := dial.ParsePins(want.Hosts)
	if err != nil {
		return fmt.Errorf("egress.hosts: %w", err)
	}
	way := dial.Config{Policy: n.policy.Load, Pins: pins}
	servers := dial.SystemServers("/etc/resolv.conf")
	if len(want.DNS) > 0 {
		if servers, err = dial.NewServers(want.DNS); err != nil {
			return fmt.Errorf("network.dns: %w", err)
		}
		way.Resolver = servers.Resolver()
	}
	if want.UpstreamProxy, err = s.upstreamProxy(want.UpstreamProxy); err != nil {
		return err
	}
	if want.UpstreamProxy != "" {
		if way.Proxy, err = url.Parse(want.UpstreamProxy); err != nil {
			return errors.New("egress.upstream_proxy is not a URL")
		}
	}
	dialer, err := dial.New(way)
	if err != nil {
		return err
	}
	table, err := n.openNames(s)
	if err != nil {
		return err
	}
	capture := map[string]egress.Capture{"headers": egress.CaptureHeaders, "bodies": egress.CaptureBodies}[want.Capture]
	meter := egress.NewMeter(n.policy.Load)
	if s.Memory != nil {
		if err := meter.Keep(s.memory(memoryMeter)); err != nil {
			return err
		}
	}
	n.inside = intercept.New(intercept.Config{
		Policy: n.policy.Load, Authority: n.authority, Grants: egressGrants(n.grants, want.Foreign), Recorder: n.record, Dialer: dialer, Meter: meter,
		Refused: s.refused, Rejected: s.rejected, Capture: capture, Roots: roots, Logger: s.Logger,
	})
	n.Egress = egress.New(egress.Config{
		Policy: n.policy.Load, Authority: n.authority, Grants: egressGrants(n.grants, want.Foreign), Recorder: n.record, Dialer: dialer, Interceptor: n.inside,
		Upstream: servers, Names: table, Meter: meter, Refused: s.refused, Capture: capture, Logger: s.Logger,
	})
	return nil
}

// openNames reads the addresses that a predecessor made up, and keeps those that are made up from now on.
func (n *network) openNames(s *supervisor) (*names.Table, error) {
	table := names.NewTable()
	if old, err := s.dir.Open(namesFile); err == nil {
		err := table.Load(old)
		if err := errors.Join(err, old.Close()); err != nil {
			s.Logger.Warn("addresses of names were lost", "error", err)
		}
	}
	f, err := s.dir.OpenFile(namesFile, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("keep the addresses of names: %w", err)
	}
	n.names = f
	if err := table.Log(f); err != nil { // no room: a successor will not know the names of open connections
		s.Logger.Warn("addresses of names are not kept", "error", err)
	}
	return table, nil
}

// hostRoots are where systems keep the roots that they trust (Go's crypto/x509, root_linux.go).
func hostRoots() []byte {
	for _, file := range []string{"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"} {
		if data, err := os.ReadFile(file); err == nil {
			return data
		}
	}
	return nil
}

// writeRoots writes what the sandbox trusts, and returns what is trusted outside: both know the person's own authorities,
// because connections that are not looked into show the sandbox the upstream's certificate.
func (s *supervisor) writeRoots(a *ca.Authority, caFiles []string) (*x509.CertPool, error) {
	trusted := hostRoots()
	var outside *x509.CertPool
	if len(caFiles) > 0 {
		var err error
		if outside, err = x509.SystemCertPool(); err != nil {
			outside = x509.NewCertPool()
		}
	}
	for _, file := range caFiles {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("egress.ca_files: %w", err)
		}
		if !outside.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("egress.ca_files: there is no certificate in %s", file)
		}
		trusted = append(append(trusted, '\n'), data...)
	}
	if state := s.state(); state != run.Created && state != run.Starting {
		return outside, nil // the sandbox has them, and there may be no room to write them again
	}
	// Nobody needs them after a crash of the machine, so nothing waits for the disk.
	for name, data := range map[string][]byte{trustFile: a.Bundle(trusted), rootFile: a.RootPEM()} {
		if err := s.dir.WriteFile(name, data, 0o600); err != nil {
			return nil, fmt.Errorf("write the roots that the sandbox trusts: %w", err)
		}
	}
	return outside, nil
}

// refused tells the clients of something that policy did not allow, once for each rule and host.
func (s *supervisor) refused(r egress.Refusal) {
	key := r.Host.String() + " " + r.Rule
	if _, told := s.told.LoadOrStore(key, true); told {
		return
	}
	text := fmt.Sprintf("the network policy refused %s: %s", r.Host.WithPort(r.Port), r.Reason)
	if r.Line != "" {
		text += fmt.Sprintf(". To allow it: moat policy allow %s %s (with --save also for later runs)", s.Folder.Record().Name, r.Line)
	}
	s.warn(text)
}

// rejected enters that a server does not accept a credential, and tells the clients, once for each host.
func (s *supervisor) rejected(r egress.Rejection) {
	s.audit.event("credential", audit.Text("grant", r.Grant), audit.Text("host", r.Host.String()), audit.Text("result", "rejected"), audit.Number("status", r.Status))
	renewing := func(g grant.Ready) bool {
		return g.Name == r.Grant && r.Status == http.StatusUnauthorized && g.Rejected()
	}
	if slices.ContainsFunc(s.network.grants, renewing) {
		return // a new one will be tried
	}
	if _, told := s.network.rejected.LoadOrStore(r.Host, true); told {
		return
	}
	s.warn(rejection(r, s.Folder.Record().Plan.Grants))
}

// rejection says how to mend it. Grants are as they were asked for.
func rejection(r egress.Rejection, grants []string) string {
	name := r.Grant
	for _, g := range grants {
		if g == name || strings.HasPrefix(g, name+":") {
			name = g
		}
	}
	why := "it may be revoked or expired"
	if r.Status == http.StatusForbidden {
		why = "it may lack a right that this request needs"
	}
	return fmt.Sprintf("%s answered %d to the credential of the grant %s: %s. To store another one, for runs that start later: moat grant %s",
		r.Host, r.Status, r.Grant, why, name)
}

// networkTrouble tells the clients that requests wait, because they cannot be recorded, or that they go on.
func (s *supervisor) networkTrouble(err error) {
	if err != nil {
		s.warn(fmt.Sprintf("requests wait, because they cannot be recorded: %v", err))
		return
	}
	s.warn("requests are recorded again")
}

// openDoor serves the sandbox's door until the line breaks or the run ends.
func (s *supervisor) openDoor(ctx context.Context, sockets line.DoorSockets) {
	defer sockets.Close()
	door, agent := doorOf(sockets)
	if s.network == nil {
		door.TCP = append(door.TCP, agent)
		refuseAll(ctx, door)
		return
	}
	if agent != nil {
		var served sync.WaitGroup
		defer served.Wait()
		served.Go(func() { s.serveAgent(ctx, agent) })
	}
	if err := s.network.Serve(ctx, door); err != nil && ctx.Err() == nil {
		s.Logger.Warn("the door was closed", "error", err)
	}
}

// refuseAll stands at a door that leads nowhere.
func refuseAll(ctx context.Context, door egress.Door) {
	var all sync.WaitGroup
	for _, l := range append(door.TCP, door.Proxy) {
		if l == nil {
			continue
		}
		all.Go(func() {
			defer context.AfterFunc(ctx, func() { _ = l.Close() })()
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_ = c.Close()
			}
		})
	}
	for _, c := range door.DNS {
		_ = c.Close()
	}
	all.Wait()
}

// doorOf sorts the sockets of a door. agent is nil if there is none.
func doorOf(sockets line.DoorSockets) (door egress.Door, agent net.Listener) {
	for name, l := range sockets.Listeners {
		switch name {
		case line.DoorProxy:
			door.Proxy = l
		case line.DoorAgent:
			agent = l
		default:
			door.TCP = append(door.TCP, l)
		}
	}
	for _, p := range sockets.Packets {
		door.DNS = append(door.DNS, p)
	}
	return door, agent
}

// close ends what still goes on and completes the record. Nothing waits for room on a full disk any more. Only its first
// call does anything.
func (n *network) close() (err error) {
	n.closing.Do(func() {
		n.record.Hurry()
		err = errors.Join(n.Egress.Close(), n.inside.Close(), n.record.Close(), n.names.Close())
	})
	return err
}

// gap says what is missing from the record, if anything is.
func (n *network) gap(folder string) string {
	if lost := n.record.Lost(); lost > 0 {
		return fmt.Sprintf("%d records of its network are missing: there was no room for them in %s", lost, folder)
	}
	return ""
}

// environment is what the way out adds to the command's: where the proxy is, for programs that want one, and what
// to trust, for those that do not ask the system.
func (n *network) environment(env []string) []string {
	proxy := "http://" + proxyAddress
	bundle, root := trustPath, rootPath
	ours := map[string]string{
		"HTTP_PROXY": proxy, "HTTPS_PROXY": proxy, "ALL_PROXY": proxy, "NO_PROXY": "localhost,127.0.0.1,::1",
		"SSL_CERT_FILE": bundle, "REQUESTS_CA_BUNDLE": bundle, "CURL_CA_BUNDLE": bundle, "GIT_SSL_CAINFO": bundle, "PIP_CERT": bundle, "AWS_CA_BUNDLE": bundle,
		"CARGO_HTTP_CAINFO": bundle, "NODE_EXTRA_CA_CERTS": root, "DENO_TLS_CA_STORE": "system",
	}
	for _, g := range n.grants {
		maps.Copy(ours, g.Env)
	}
	const java = "JAVA_TOOL_OPTIONS"
	ours[java] = "-Djavax.net.ssl.trustStore=" + keyStorePath
	for _, kv := range env {
		if name, theirs, _ := strings.Cut(kv, "="); name == java && theirs != "" {
			ours[java] += " " + theirs // what is last holds
		}
	}
	if agent := n.agentSocket; agent != "" {
		ours["SSH_AUTH_SOCK"] = agent
	}
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"} {
		ours[strings.ToLower(name)] = ours[name]
	}
	env = slices.DeleteFunc(slices.Clone(env), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		_, replaced := ours[name]
		return replaced
	})
	for name, value := range ours {
		env = append(env, name+"="+value)
	}
	slices.Sort(env)
	return env
}

// Paths and addresses inside.
const (
	proxyAddress = "127.0.0.1:15080" // guest.ProxyAddress
	trustPath    = "/etc/ssl/certs/ca-certificates.crt"
	rootPath     = "/etc/moat/root.pem"
	keyStorePath = "/etc/moat/roots.jks"
)

// trust is the host path of what the sandbox trusts, for its spec; empty if there is no way out.
func (s *supervisor) trust(p plan.Plan) string {
	if p.Network == nil {
		return ""
	}
	return filepath.Join(s.Folder.Dir(), trustFile)
}
