package http1

import "net"

// silent cannot tell: a connection that its server has closed is found when it is used.
func silent(net.Conn) bool { return true }
