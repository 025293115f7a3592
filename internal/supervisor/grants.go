package supervisor

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path/filepath"
	"slices"

	"moat/internal/atomicfile"
	"moat/internal/egress"
	"moat/internal/egress/dial"
	"moat/internal/grant"
	"moat/internal/plan"
	"moat/internal/policy"
	"moat/internal/secret"
)

// seedFile keeps what the run's placeholders are made from, so that those which programs in the sandbox hold are a
// successor's too. It is worth nothing without the credentials.
const seedFile = "placeholders.seed"

// loadGrants reads the credentials that the run may use. They stay in this process's memory.
func (s *supervisor) loadGrants(ctx context.Context, p plan.Plan) ([]grant.Ready, error) {
	names := p.Grants
	if len(names) == 0 {
		return nil, nil
	}
	seed, err := s.dir.ReadFile(seedFile)
	first := errors.Is(err, fs.ErrNotExist)
	if first {
		seed = make([]byte, grant.SeedSize)
		rand.Read(seed) // never fails (crypto/rand)
		err = atomicfile.Write(s.dir, seedFile, seed, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("keep the seed of placeholders: %w", err)
	}
	book, err := s.book(p)
	if err != nil {
		return nil, err
	}
	if first {
		return book.Load(ctx, names, seed)
	}
	grants, err := book.Resume(ctx, names, seed)
	if err != nil {
		s.Logger.Warn("a grant cannot be used any more", "error", err)
	}
	return grants, nil
}

// book opens the person's credentials for a run.
func (s *supervisor) book(p plan.Plan) (*grant.Book, error) {
	own := dial.Own{Hosts: p.Network.Hosts, CAFiles: p.Network.CAFiles}
	proxy := p.Network.UpstreamProxy
	home := filepath.Dir(filepath.Dir(s.Folder.Dir()))
	book := &grant.Book{Home: home, Store: secret.Open(home, secret.SystemKeyring()), UserHome: p.User.Home, Trouble: s.grantTrouble}
	if s.Start != nil {
		book.AgentSocket = s.Start.AgentSocket
		proxy = cmp.Or(s.Start.UpstreamProxy, proxy)
	}
	var err error
	if proxy != "" {
		if own.Proxy, err = url.Parse(proxy); err != nil {
			return nil, errors.New("egress.upstream_proxy is not a URL")
		}
	}
	book.HTTP, err = own.Client()
	return book, err
}

// grantTrouble tells that a credential could not be renewed.
func (s *supervisor) grantTrouble(err error) {
	s.Logger.Warn("a credential could not be renewed", "error", err)
	s.tellOnce(err.Error())
}

// tellOnce tells the clients something that they have not been told yet, and enters it.
func (s *supervisor) tellOnce(text string) {
	if _, told := s.told.LoadOrStore("grant: "+text, true); !told {
		s.warn(text)
	}
}

// grantHosts is what policy must know of grants: where they reach.
func grantHosts(grants []grant.Ready) []policy.GrantHosts {
	var hosts []policy.GrantHosts
	for _, g := range grants {
		hosts = append(hosts, policy.GrantHosts{Name: g.Name, Hosts: slices.Concat(g.Hosts, g.Reach), Through: g.Through})
	}
	return hosts
}

// egressGrants is what the way out must know of them.
func egressGrants(grants []grant.Ready, foreign bool) []egress.Grant {
	var out []egress.Grant
	for _, g := range grants {
		if g.Inject == nil {
			continue
		}
		out = append(out, egress.Grant{
			Name: g.Name, Hosts: g.Hosts, Inject: g.Inject, Swap: g.Swap, Placeholders: g.Placeholders, Secrets: g.Secrets, Signs: g.Signs, Foreign: foreign,
		})
	}
	return out
}
