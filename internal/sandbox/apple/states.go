package apple

import (
	"fmt"

	"moat/internal/sandbox"
)

// The words that the command has for the state of a container (Sources/ContainerResource/Container/RuntimeStatus.swift), and two that
// others of its kind have, which a later version might take over.
const (
	stateStopped      = "stopped" // also one that was made and never started
	stateBootstrapped = "bootstrapped"
	stateRunning      = "running"
	stateStopping     = "stopping"
	stateUnknown      = "unknown"

	stateCreated = "created"
	stateExited  = "exited"
)

// life translates the command's word. What is on its way is unknown: whoever asks again will learn how it ended.
func life(word string) (sandbox.State, error) {
	switch word {
	case stateRunning:
		return sandbox.Running, nil
	case stateStopped, stateCreated, stateExited: // nothing of it runs, and nobody but its Start would change that
		return sandbox.Gone, nil
	case stateBootstrapped, stateStopping, stateUnknown:
		return sandbox.Unknown, fmt.Errorf("the container is %s", word)
	default:
		return sandbox.Unknown, fmt.Errorf("the container is %q, which moat does not know", word)
	}
}
