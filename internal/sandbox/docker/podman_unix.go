//go:build unix

package docker

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"moat/internal/sandbox"
)

//go:generate go run gen_profile.go
//go:embed profile.json
var profile []byte

// profileName is the filter's file in Ref.Dir.
const profileName = "seccomp.json"

// forPodman says what Podman's service understands in another way than Docker, or not at all:
//
//   - Its own system call filter allows user namespaces, keys and 32-bit calls that Docker's does not. A filter is named by a file.
//   - Paths to be masked are an option of security.
//   - A mount passes through a line with commas, in which not every path can be written.
func (req *createRequest) forPodman(dir string) error {
	for _, m := range req.HostConfig.Mounts {
		for _, p := range []string{m.Source, m.Target} {
			if strings.ContainsAny(p, ",\"\n") {
				return fmt.Errorf("%w: Podman cannot mount %q: there is a comma, a quotation mark or a line break in it", sandbox.ErrSpec, p)
			}
		}
	}
	file := filepath.Join(dir, profileName)
	if err := os.WriteFile(file, profile, 0o600); err != nil {
		return fmt.Errorf("write the filter of system calls: %w", err)
	}
	h := &req.HostConfig
	h.SecurityOpt = append(h.SecurityOpt, "seccomp="+file, "mask="+strings.Join(h.MaskedPaths, ":"))
	return nil
}
