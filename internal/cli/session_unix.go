//go:build unix

package cli

import (
	"os/signal"
	"syscall"
)

// ownSession detaches a child from this terminal (setsid(2)).
func ownSession() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// brokenPipeIsAnError makes a write to a stdout that nobody reads any more return an error (EPIPE), until the returned
// function is called. By default it ends the process (package os/signal), before it can say that the run goes on.
func brokenPipeIsAnError() (undo func()) {
	signal.Ignore(syscall.SIGPIPE)
	return func() { signal.Reset(syscall.SIGPIPE) }
}
