package supervisor

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"moat/internal/grant"
	"moat/internal/grant/sshagent"
	"moat/internal/journal"
	"moat/internal/plan"
	"moat/internal/run"
)

// sshHosts are the hosts that the run has keys for.
func sshHosts(grants []grant.Ready) []sshagent.Host {
	var hosts []sshagent.Host
	for _, g := range grants {
		if g.SSH != nil {
			hosts = append(hosts, *g.SSH)
		}
	}
	return hosts
}

// knownFile is what ssh inside knows of the hosts that there are keys for, in the run's folder.
const knownFile = "ssh_known_hosts"

// wantsAgent reports whether a run has keys for hosts, before they are read.
func wantsAgent(p plan.Plan) bool {
	return p.Network != nil && slices.ContainsFunc(p.Grants, func(name string) bool { return strings.HasPrefix(name, "ssh:") })
}

// writeKnownHosts writes what a sandbox that is being made has to know of hosts. As with the roots, nothing waits for the disk.
func (s *supervisor) writeKnownHosts(hosts []sshagent.Host) error {
	if state := s.state(); len(hosts) == 0 || state != run.Created && state != run.Starting {
		return nil
	}
	var lines strings.Builder
	for _, host := range hosts {
		for _, key := range host.Keys {
			lines.WriteString(host.Name + " " + grant.Authorized(key) + "\n")
		}
	}
	if err := s.dir.WriteFile(knownFile, []byte(lines.String()), 0o600); err != nil {
		return fmt.Errorf("write the hosts that ssh knows: %w", err)
	}
	return nil
}

// serveAgent serves the sandbox's ssh agent until the line breaks or the run ends.
func (s *supervisor) serveAgent(ctx context.Context, l net.Listener) {
	server := &sshagent.Server{Hosts: sshHosts(s.network.grants), Record: s.recordSignature}
	if err := server.Serve(ctx, l); err != nil {
		s.Logger.Warn("the ssh agent was closed", "error", err)
	}
}

// recordSignature puts a request to sign on record, among the connections for which it is.
func (s *supervisor) recordSignature(e sshagent.Event) {
	took := 0.0
	rec := journal.Request{
		T: time.Now().UTC(), Kind: journal.KindTCP, Method: "SIGN", Host: e.Host.Name, Protocol: "ssh-agent", Rule: e.Rule,
		DurationMS: &took, Decision: journal.Denied,
	}
	if e.Host.Name != "" {
		rec.URL, rec.Grant = "ssh://"+e.Host.Name+"/", &e.Host.Grant
	}
	if e.User != "" && rec.URL != "" {
		rec.URL = "ssh://" + plainUser(e.User) + "@" + e.Host.Name + "/"
	}
	if e.Allowed {
		rec.Decision = journal.Allowed
		for _, g := range s.network.grants {
			if g.Name == e.Host.Grant {
				g.Used()
			}
		}
	}
	s.network.record.End(rec)
}

// plainUser is a user's name as far as it can be part of a URL.
func plainUser(name string) string {
	return strings.Map(func(r rune) rune {
		if r > ' ' && r < 0x7f && !strings.ContainsRune("@/:?#%", r) {
			return r
		}
		return '_'
	}, name[:min(len(name), 64)])
}
