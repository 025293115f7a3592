package sock

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// OriginalDst is the address to which a program connected before netfilter redirected it: SO_ORIGINAL_DST of
// linux/netfilter_ipv4.h and IP6T_SO_ORIGINAL_DST of linux/netfilter_ipv6/ip6_tables.h, both 80. Nothing else about a
// connection is trusted.
func OriginalDst(conn net.Conn) (netip.AddrPort, error) {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return netip.AddrPort{}, errors.New("find where a connection wanted to go: it is not a socket")
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("find where a connection wanted to go: %w", err)
	}
	local, err := netip.ParseAddrPort(conn.LocalAddr().String())
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("find where a connection wanted to go: %w", err)
	}
	var dst netip.AddrPort
	var failed error
	ask := askInet4
	if addr := local.Addr(); addr.Is6() && !addr.Is4In6() {
		ask = askInet6
	}
	if err := raw.Control(func(fd uintptr) { dst, failed = ask(int(fd)) }); err != nil {
		return netip.AddrPort{}, fmt.Errorf("find where a connection wanted to go: %w", err)
	}
	if failed != nil {
		return netip.AddrPort{}, fmt.Errorf("find where a connection wanted to go: %w", failed)
	}
	return dst, nil
}

// originalDstOption is the option's number at both levels.
const originalDstOption = 80

// askInet4 borrows a call of package unix that reads 20 bytes; the kernel fills a sockaddr_in of 16.
func askInet4(fd int) (netip.AddrPort, error) {
	v, err := unix.GetsockoptIPv6Mreq(fd, unix.SOL_IP, originalDstOption)
	if err != nil {
		return netip.AddrPort{}, err
	}
	raw := v.Multiaddr
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(raw[4:8])), binary.BigEndian.Uint16(raw[2:4])), nil
}

// askInet6 borrows a call that reads a sockaddr_in6 and four bytes more.
func askInet6(fd int) (netip.AddrPort, error) {
	v, err := unix.GetsockoptIPv6MTUInfo(fd, unix.SOL_IPV6, originalDstOption)
	if err != nil {
		return netip.AddrPort{}, err
	}
	port := binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, v.Addr.Port))
	return netip.AddrPortFrom(netip.AddrFrom16(v.Addr.Addr), port), nil
}
