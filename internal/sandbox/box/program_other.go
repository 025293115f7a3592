//go:build !linux

package box

import (
	"fmt"
	"os"
)

// Program returns the file that is moat for Linux on a processor (as GOARCH), which lies beside this program, or a GuestError.
func Program(arch, _ string) (string, error) {
	path, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find moat's own program: %w", err)
	}
	return beside(path, arch, guestPackage)
}
