package docker

import (
	"fmt"

	"moat/internal/sandbox"
)

// The words that engines have for the state of a container: Docker's (api/types/container, "ContainerState") and those
// that Podman has besides (libpod/define, "ContainerStatus").
const (
	stateCreated    = "created"
	stateRunning    = "running"
	statePaused     = "paused"
	stateRestarting = "restarting"
	stateRemoving   = "removing"
	stateExited     = "exited"
	stateDead       = "dead"

	stateConfigured  = "configured"
	stateInitialized = "initialized"
	stateStopping    = "stopping"
	stateStopped     = "stopped"
	stateUnknown     = "unknown"
)

// life translates an engine's word. What is on its way is unknown: whoever asks again will learn how it ended.
func life(word string) (sandbox.State, error) {
	switch word {
	case stateRunning, statePaused: // all processes of a paused one are there, and go on when somebody says so
		return sandbox.Running, nil
	case stateCreated, stateConfigured, stateInitialized, // nothing of it runs, and nobody but its Start would change that
		stateExited, stateStopped, stateDead:
		return sandbox.Gone, nil
	case stateRestarting, stateRemoving, stateStopping, stateUnknown:
		return sandbox.Unknown, fmt.Errorf("the container is %s", word)
	default:
		return sandbox.Unknown, fmt.Errorf("the engine says that the container is %q, which moat does not know", word)
	}
}
