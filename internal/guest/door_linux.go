package guest

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Where the sockets are, inside. ProxyAddress is what HTTP_PROXY and its relatives name.
const (
	doorPort     = 15001
	dnsPort      = 15053
	proxyPort    = 15080
	ProxyAddress = "127.0.0.1:15080"
)

// Addresses that the interface lo gets besides its own, as sources of what goes to the door: 127.0.0.1 cannot be the
// source of a packet to another network (RFC 1122, 3.2.1.3 g).
const (
	source4 = "10.83.0.2/32"
	source6 = "fd83::2/128"
)

// OpenDoor makes the one way out of the network namespace that it is called in: every address is routed to lo, where
// nftables hands each connection and each question to a socket of ours, and refuses everything else at once. No
// address outside exists there, so there is nothing that could be opened by taking the rules away. It needs
// CAP_NET_ADMIN, and must be called before the first command is started. The sockets are returned in the order of
// line.DoorNames, without the agent's; the caller closes them.
func OpenDoor() ([]*os.File, error) {
	if err := routeToLoopback(); err != nil {
		return nil, fmt.Errorf("route everything to lo: %w", err)
	}
	sockets, err := openSockets()
	if err != nil {
		return nil, err
	}
	if err := installRules(); err != nil {
		return nil, errors.Join(fmt.Errorf("nftables: %w", err), closeAll(sockets))
	}
	return sockets, nil
}

// OpenAgent opens the socket of the ssh agent at a path inside, in the place of one that another run has left there. It must be
// called before the first command is started. The caller closes the file.
func OpenAgent(path string) (*os.File, error) {
	if fi, err := os.Lstat(path); err == nil && fi.Mode().Type() == os.ModeSocket {
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("replace the socket of the ssh agent: %w", err)
		}
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("open the socket of the ssh agent: %w", err)
	}
	defer l.Close() // the file is a duplicate
	l.SetUnlinkOnClose(false)
	return l.File()
}

func closeAll(files []*os.File) error {
	var errs []error
	for _, f := range files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// routeToLoopback makes lo the way to everywhere.
func routeToLoopback() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return err
	}
	for _, source := range []string{source4, source6} {
		addr, err := netlink.ParseAddr(source)
		if err != nil {
			return err
		}
		addr.Flags = unix.IFA_F_NODAD // nobody else is there
		if err := netlink.AddrAdd(lo, addr); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("address %s: %w", source, err)
		}
		route := &netlink.Route{LinkIndex: lo.Attrs().Index, Src: addr.IP, Scope: netlink.Scope(unix.RT_SCOPE_UNIVERSE)}
		route.Dst = &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}
		if addr.IP.To4() == nil {
			route.Dst = &net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}
		}
		if err := netlink.RouteAdd(route); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("route from %s: %w", source, err)
		}
	}
	return nil
}

// openSockets opens the sockets at which everything arrives.
func openSockets() ([]*os.File, error) {
	var files []*os.File
	for _, s := range []struct {
		network, address string
	}{
		{"tcp4", fmt.Sprintf("127.0.0.1:%d", doorPort)},
		{"tcp6", fmt.Sprintf("[::1]:%d", doorPort)},
		{"udp4", fmt.Sprintf("127.0.0.1:%d", dnsPort)},
		{"udp6", fmt.Sprintf("[::1]:%d", dnsPort)},
		{"tcp4", fmt.Sprintf("127.0.0.1:%d", proxyPort)},
	} {
		f, err := openSocket(s.network, s.address)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("listen on %s %s: %w", s.network, s.address, err), closeAll(files))
		}
		files = append(files, f)
	}
	return files, nil
}

func openSocket(network, address string) (*os.File, error) {
	if network == "udp4" || network == "udp6" {
		addr, err := net.ResolveUDPAddr(network, address)
		if err != nil {
			return nil, err
		}
		c, err := net.ListenUDP(network, addr)
		if err != nil {
			return nil, err
		}
		defer c.Close() // the file is a duplicate
		return c.File()
	}
	addr, err := net.ResolveTCPAddr(network, address)
	if err != nil {
		return nil, err
	}
	l, err := net.ListenTCP(network, addr)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	return l.File()
}

// installRules hands what leaves to the sockets, and refuses what is neither TCP nor a question.
//
//	nat output:     udp 53, tcp 53 and all other tcp, but not within the loopback network, are redirected
//	filter output:  answers and the loopback network are accepted, all else is refused at once
func installRules() error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "moat"})
	nat := c.AddChain(&nftables.Chain{
		Name: "door", Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityNATDest,
	})
	// Questions go to us wherever they are sent, to 127.0.0.1 as well: that is what resolv.conf says.
	add := func(chain *nftables.Chain, exprs ...[]expr.Any) {
		var all []expr.Any
		for _, e := range exprs {
			all = append(all, e...)
		}
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: all})
	}
	add(nat, isProtocol(unix.IPPROTO_UDP), toPort(53), redirectTo(dnsPort))
	add(nat, isProtocol(unix.IPPROTO_TCP), toPort(53), redirectTo(doorPort))
	add(nat, toLoopback4(), accept())
	add(nat, toLoopback6(), accept())
	add(nat, isProtocol(unix.IPPROTO_TCP), redirectTo(doorPort))

	filter := c.AddChain(&nftables.Chain{
		Name: "wall", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityFilter,
	})
	add(filter, isAnswer(), accept())
	add(filter, toLoopback4(), accept())
	add(filter, toLoopback6(), accept())
	add(filter, isProtocol(unix.IPPROTO_TCP), refuse(unix.NFT_REJECT_TCP_RST, 0))
	add(filter, refuse(unix.NFT_REJECT_ICMPX_UNREACH, unix.NFT_REJECT_ICMPX_ADMIN_PROHIBITED))
	return c.Flush()
}

func isProtocol(number byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{number}},
	}
}

func toPort(port uint16) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{byte(port >> 8), byte(port)}},
	}
}

// toLoopback4 matches packets to 127.0.0.0/8 and to our source address.
func toLoopback4() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.NFPROTO_IPV4}},
		&expr.Fib{Register: 1, ResultADDRTYPE: true, FlagDADDR: true},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.RTN_LOCAL, 0, 0, 0}},
	}
}

// toLoopback6 matches packets to ::1 and to our source address.
func toLoopback6() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.NFPROTO_IPV6}},
		&expr.Fib{Register: 1, ResultADDRTYPE: true, FlagDADDR: true},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.RTN_LOCAL, 0, 0, 0}},
	}
}

func isAnswer() []expr.Any {
	states := expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: []byte{byte(states), 0, 0, 0}, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
}

func redirectTo(port uint16) []expr.Any {
	return []expr.Any{
		&expr.Immediate{Register: 1, Data: []byte{byte(port >> 8), byte(port)}},
		&expr.Redir{RegisterProtoMin: 1},
	}
}

func accept() []expr.Any { return []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}} }

func refuse(kind uint32, code uint8) []expr.Any {
	return []expr.Any{&expr.Reject{Type: kind, Code: code}}
}
