package plan

import "moat/internal/policy"

// Network is what was decided about the way out. Without one there is none.
type Network struct {
	Policy    string             `json:"policy"` // strict or permissive
	Allow     []string           `json:"allow"`
	Deny      []string           `json:"deny"`
	Rules     []policy.HostRules `json:"rules"`
	HostPorts []int              `json:"host"`
	Limits    policy.Limits      `json:"limits"`
	DNS       []string           `json:"dns"`               // resolvers; empty: the system's
	Capture   string             `json:"capture"`           // none, headers or bodies
	Foreign   bool               `json:"foreign,omitempty"` // other credentials than those of grants reach the hosts of grants

	Hosts         map[string]string `json:"hosts"`                    // where names are dialled: name[:port] → address:port
	CAFiles       []string          `json:"ca_files"`                 // trusted for upstreams besides the system's roots
	UpstreamProxy string            `json:"upstream_proxy,omitempty"` // without its password
}

// Config is the policy that the plan asks for, with the hosts of grants.
func (n Network) Config(grants []policy.GrantHosts) policy.Config {
	return policy.Config{
		Mode: policy.Mode(n.Policy), Allow: n.Allow, Deny: n.Deny, Rules: n.Rules, HostPorts: n.HostPorts, Grants: grants, Limits: n.Limits,
	}
}
