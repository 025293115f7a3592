package docker

import "net"

// peerPID would be a process of this system; containers have none here.
func peerPID(*net.UnixConn) (int, error) { return 0, nil }
