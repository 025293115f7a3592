//go:build unix

package docker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"moat/internal/sandbox"
)

// Name is what this runtime is called.
const Name = "docker"

// Check implements sandbox.Runtime: the engine answers, and is one that moat can use.
func (r *Runtime) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	eng, err := r.find(ctx)
	if err != nil {
		return r.diagnose(Endpoint{}, err)
	}
	defer eng.close()
	about, err := eng.info(ctx)
	if err == nil {
		err = about.usable()
	}
	if err != nil {
		return r.diagnose(eng.at, err)
	}
	return nil
}

// errKind is returned for an engine that makes other containers than moat needs.
var errKind = errors.New("the engine makes no Linux containers")

// usable says why an engine that answers cannot be used.
func (i info) usable() error {
	if i.OSType != "" && i.OSType != "linux" {
		return fmt.Errorf("%w but %s ones", errKind, i.OSType)
	}
	return nil
}

// sameKernel says whether containers of the engine cannot have this machine's kernel. That they have the same name for it does
// not prove that it is one: the guest's first connection shows it.
func (i info) sameKernel() error {
	ours, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if release := strings.TrimSpace(string(ours)); err != nil || release != i.KernelVersion {
		return fmt.Errorf("%w: they have Linux %s, this machine has %s", errOtherKernel, i.KernelVersion, release)
	}
	return nil
}

// diagnose finds out what is to blame, and what mends it.
func (r *Runtime) diagnose(at Endpoint, cause error) error {
	if errors.Is(cause, context.Canceled) {
		return cause
	}
	u := &sandbox.Unavailable{Runtime: Name, Reason: cause.Error(), Instead: instead}
	path := strings.TrimPrefix(at.Host, "unix://")
	switch {
	case errors.Is(cause, errScheme):
		u.Fix = "choose an engine that listens on a socket:\n  docker context use default   # and unset DOCKER_HOST"
	case errors.Is(cause, errVersion):
		u.Fix = "install Docker 20.10 or newer; if it is newer than this moat, install a newer moat"
	case errors.Is(cause, errKind):
		u.Fix = "switch the engine to Linux containers"
	case errors.Is(cause, fs.ErrPermission), errors.Is(cause, syscall.EACCES):
		u.Reason = fmt.Sprintf("you may not use the engine at %s", path)
		u.Fix = "sudo usermod -aG docker \"$USER\"   # and log in again; who is in this group can become root\n" +
			"or let the engine run as you: https://docs.docker.com/engine/security/rootless"
	case errors.Is(cause, fs.ErrNotExist):
		u.Reason = fmt.Sprintf("there is no engine: nothing listens at %s (%s)", path, at.From)
		u.Fix = "install Docker (https://docs.docker.com/engine/install) or Podman (podman system service), or say in DOCKER_HOST where it listens"
	case errors.Is(cause, syscall.ECONNREFUSED):
		u.Reason = fmt.Sprintf("the engine does not run: nobody answers at %s (%s)", at.Host, at.From)
		u.Fix = "sudo systemctl start docker"
	case errors.Is(cause, errUnreachable):
		u.Fix = "look at the engine's log: journalctl -u docker"
	default:
		u.Fix = "look at DOCKER_HOST, DOCKER_CONTEXT and the docker command's configuration: docker context ls"
	}
	return u
}
