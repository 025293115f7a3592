//go:build unix

package cli

import (
	"fmt"
	"os"
	"os/signal"
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

// watchSize returns a channel that holds a token when the terminal's size changed (SIGWINCH).
func watchSize() (changed <-chan struct{}, stop func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGWINCH)
	tokens, done := make(chan struct{}, 1), make(chan struct{})
	go func() {
		for {
			select {
			case <-signals:
				select {
				case tokens <- struct{}{}:
				default:
				}
			case <-done:
				return
			}
		}
	}()
	return tokens, func() { signal.Stop(signals); close(done) }
}
