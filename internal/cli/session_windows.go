package cli

import "syscall"

// ownSession detaches a child from this console (DETACHED_PROCESS and CREATE_NEW_PROCESS_GROUP, CreateProcess).
func ownSession() *syscall.SysProcAttr { return &syscall.SysProcAttr{CreationFlags: 0x208} }

// brokenPipeIsAnError does nothing: it always is one here.
func brokenPipeIsAnError() (undo func()) { return func() {} }
