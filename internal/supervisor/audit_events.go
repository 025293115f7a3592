package supervisor

import (
	"errors"
	"strings"

	"moat/internal/api"
	"moat/internal/audit"
	"moat/internal/journal/ledger"
	"moat/internal/line"
	"moat/internal/sandbox"
)

// startedFields say what holds the sandbox.
func startedFields(r sandbox.Report) []audit.Field {
	return []audit.Field{
		audit.Text("memory", holdText(r.Memory)), audit.Text("cpus", holdText(r.CPUs)), audit.Text("pids", holdText(r.PIDs)),
		audit.List("warnings", r.Warnings), audit.List("walls", r.Walls),
	}
}

func holdText(h sandbox.Hold) string {
	switch h {
	case sandbox.Held:
		return "held"
	case sandbox.HeldPartly:
		return "partly"
	}
	return "no"
}

// attached enters that a client is there, and returns its input and what to call when it is not there any more.
func (a *auditor) attached(uid int, req api.Attach) (in *typed, left func(error)) {
	mode := "watch"
	terminal := ""
	if req.Terminal != nil {
		terminal = req.Terminal.Key
	}
	switch {
	case sourceOf(req) == 0:
	case req.Terminal != nil:
		mode = "terminal"
	default:
		mode = "input"
	}
	who := []audit.Field{audit.Number("uid", uid), audit.Text("terminal", terminal), audit.Text("mode", mode)}
	a.event("attach", who...)
	a.sign()
	in, done := a.listen(sourceOf(req), audit.Number("uid", uid), audit.Text("terminal", terminal))
	return in, func(err error) {
		done()
		why := "it left"
		if errors.Is(err, errSent) {
			why = ledger.RunEnded
		}
		a.event("detach", append(who[:3:3], audit.Text("reason", why))...)
		a.sign()
	}
}

// sourceOf names the input of a client; 0: it sends none.
func sourceOf(req api.Attach) uint64 {
	if req.ReadOnly {
		return 0
	}
	return req.Source
}

// exec enters that a further command is started, and returns its client's input and what to call when that is over.
func (a *auditor) exec(uid int, req api.Exec, p *process) (in *typed, done func()) {
	var env []string
	for _, kv := range req.Env {
		name, _, _ := strings.Cut(kv, "=")
		env = append(env, name)
	}
	a.event("exec", audit.Number("uid", uid), audit.List("args", req.Args), audit.Text("dir", req.Dir), audit.List("env", env),
		audit.Flag("tty", req.TTY), audit.Number("number", int64(p.spawn.Process)))
	return a.listen(req.Source, audit.Number("uid", uid), audit.Number("number", int64(p.spawn.Process)))
}

// execEnd enters how it ended, and what was typed until then.
func (a *auditor) execEnd(p *process, msg line.Message) {
	number := audit.Number("number", int64(p.spawn.Process))
	switch m := msg.(type) {
	case line.Exit:
		a.enterTyped()
		a.event("exec_end", number, audit.Number("code", m.Code), audit.Number("signal", m.Signal))
	case line.Failed:
		a.event("exec_end", number, audit.Number("code", m.Code), audit.Text("error", m.Error))
	}
}
