package api

import "moat/internal/plan"

// VerbSupervise is the first argument with which the moat program becomes the supervisor of a run, whose id and $MOAT_HOME
// follow. With First behind them it is the run's first: it reads a Launch from its standard input and writes one Ready as a line
// of JSON to descriptor FDAnswer.
const (
	VerbSupervise = "supervise"
	First         = "first"
	FDAnswer      = 3
)

// Launch is what a client wants of a new supervisor: to create the run, or to adopt it because nobody looks after it.
type Launch struct {
	Plan  *plan.Plan `json:"plan,omitempty"`  // of a run to create, with Start; nil: there is one to adopt
	Start *Start     `json:"start,omitempty"` // nil without Plan
}

// Start is what a start needs that no file may hold.
type Start struct {
	Env  []string `json:"env"`           // KEY=value, the command's whole environment
	Size Size     `json:"size,omitzero"` // of the terminal, if the plan wants one

	Watched bool `json:"watched"` // somebody waits to see the run: Ready may come before the record on disk says that it runs

	UpstreamProxy string `json:"upstream_proxy,omitempty"` // the plan's, with its password
	AgentSocket   string `json:"agent_socket,omitempty"`   // where the person's ssh agent is
}

// Ready is the outcome of a start or an adoption.
type Ready struct {
	ID    string `json:"id,omitempty"` // of the run, if there is one
	Name  string `json:"name,omitempty"`
	State string `json:"state"`
	Error string `json:"error,omitempty"`
	Code  int    `json:"code,omitempty"` // exit code to use with Error
	Hint  string `json:"hint,omitempty"` // what would mend it

	Warnings []string `json:"warnings,omitempty"` // what is weaker than was asked for, a sentence each
}
