//go:build unix

package cli

import "syscall"

// ownSession detaches a child from this terminal (setsid(2)).
func ownSession() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
