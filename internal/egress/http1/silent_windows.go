package http1

import "syscall"

// silent cannot tell: a connection that its server has closed is found when it is used.
func silent(syscall.RawConn) bool { return true }
