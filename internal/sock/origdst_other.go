//go:build !linux

package sock

import (
	"errors"
	"net"
	"net/netip"
)

// OriginalDst exists where netfilter does.
func OriginalDst(net.Conn) (netip.AddrPort, error) {
	return netip.AddrPort{}, errors.New("find where a connection wanted to go: only Linux can say it")
}
