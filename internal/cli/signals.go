package cli

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// ownSignals takes over every signal by which a person or a terminal tells a client to end. Whoever calls it answers
// them, and gives them back with release.
func ownSignals() (signals chan os.Signal, release func()) {
	signals = make(chan os.Signal, 8)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	return signals, func() { signal.Stop(signals) }
}

// leftError ends a session because of a signal; the run goes on.
type leftError struct{ sig os.Signal }

func (e *leftError) Error() string { return fmt.Sprintf("left on %v", e.sig) }

// code is the exit code that shells give to a process which a signal ended: 128 and its number.
func (e *leftError) code() int {
	if n, ok := e.sig.(syscall.Signal); ok {
		return 128 + int(n)
	}
	return codeInterrupted
}
