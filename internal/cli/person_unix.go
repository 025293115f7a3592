//go:build unix

package cli

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// terminalKey names a terminal as long as it is open: its device, and the session that it controls.
func terminalKey(tty *os.File) string {
	info, err := tty.Stat()
	if err != nil {
		return ""
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	sid, err := unix.Getsid(0)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%d/%d", st.Rdev, sid)
}
