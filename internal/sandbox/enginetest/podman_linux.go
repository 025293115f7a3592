package enginetest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
)

// MissingPodman says why no Podman can be run here, in one line; empty if one can.
func MissingPodman() string {
	if os.Geteuid() != 0 {
		return "a Podman of the test's own needs root"
	}
	for _, program := range []string{"podman", "conmon", "runc"} {
		if _, err := exec.LookPath(program); err != nil {
			return program + " is not installed (apt-get install podman)"
		}
	}
	return ""
}

// withoutLimits is an OCI runtime that leaves a process's limits as they are. Podman raises them to more than a root without
// CAP_SYS_RESOURCE may have, such as in a container or a virtual machine in which tests run.
const withoutLimits = `#!/bin/sh
for arg; do
	case $before in
	--bundle | -b) file=$arg/config.json ;;
	--process | -p) file=$arg ;;
	esac
	before=$arg
done
[ -z "$file" ] || sed -i 's/{"type":"RLIMIT_N[OP][A-Z]*","hard":[0-9]*,"soft":[0-9]*},\{0,1\}//g; s/},]/}]/' "$file"
exec runc "$@"
`

// StartPodman starts Podman's service for Docker's clients, as Start does an engine.
func StartPodman(dir string) (*Engine, error) {
	e := newEngine(dir)
	e.start = func() (*exec.Cmd, error) {
		cmd := exec.Command("podman", "--root", e.at("data"), "--runroot", e.at("exec"), "--tmpdir", e.at("tmp"), "--cgroup-manager", "cgroupfs",
			"--events-backend", "file", "--runtime", e.at("runc"), "system", "service", "--time", "0", e.Host)
		if err := os.WriteFile(e.at("runc"), []byte(withoutLimits), 0o755); err != nil {
			return nil, fmt.Errorf("write a runtime: %w", err)
		}
		err := os.Remove(e.at("engine.sock")) // Podman takes no other's place
		if errors.Is(err, os.ErrNotExist) {
			err = nil
		}
		return cmd, err
	}
	return e, e.Begin()
}
