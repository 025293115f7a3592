//go:build !linux

package egress

import (
	"errors"
	"net"
	"net/netip"
)

// originalDst exists where netfilter does; elsewhere Config.OriginalDst is given.
func originalDst(net.Conn) (netip.AddrPort, error) {
	return netip.AddrPort{}, errors.New("find where a connection wanted to go: only Linux can say it")
}
