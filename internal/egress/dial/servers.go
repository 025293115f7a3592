package dial

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	serverTime = 2 * time.Second // for one server to answer
	maxServers = 4
	maxAnswer  = 4096
)

// Servers asks resolvers directly. It implements names.Upstream, and Resolver returns one for Config.
type Servers struct {
	list func() ([]string, error)
	turn atomic.Uint32
}

// NewServers asks those of network.dns: addresses, with a port if it is not 53.
func NewServers(servers []string) (*Servers, error) {
	var list []string
	for _, s := range servers {
		target, err := parseTarget(s)
		if err != nil {
			return nil, fmt.Errorf("network.dns: %w", err)
		}
		if target.Port() == 0 {
			target = netip.AddrPortFrom(target.Addr(), 53)
		}
		list = append(list, target.String())
	}
	if len(list) == 0 {
		return nil, errors.New("network.dns: no server")
	}
	return &Servers{list: func() ([]string, error) { return list, nil }}, nil
}

// SystemServers asks those of a file in the form of resolv.conf(5), which is read for each question.
func SystemServers(path string) *Servers {
	return &Servers{list: func() ([]string, error) { return readServers(path) }}
}

func readServers(path string) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the resolvers of this machine: %w", err)
	}
	defer f.Close()
	var list []string
	for lines := bufio.NewScanner(f); lines.Scan() && len(list) < maxServers; {
		if words := strings.Fields(lines.Text()); len(words) > 1 && words[0] == "nameserver" {
			list = append(list, net.JoinHostPort(words[1], "53"))
		}
	}
	if len(list) == 0 {
		return nil, errors.New("read the resolvers of this machine: there are none")
	}
	return list, nil
}

// Resolver looks addresses up with these servers.
func (s *Servers) Resolver() *net.Resolver {
	var d net.Dialer
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		list, err := s.list()
		if err != nil {
			return nil, err
		}
		return d.DialContext(ctx, network, list[int(s.turn.Add(1)-1)%len(list)])
	}}
}

// Ask implements names.Upstream.
func (s *Servers) Ask(ctx context.Context, name string, t dnsmessage.Type) ([]dnsmessage.Resource, dnsmessage.RCode, error) {
	list, err := s.list()
	if err != nil {
		return nil, 0, err
	}
	owner, err := dnsmessage.NewName(name + ".")
	if err != nil {
		return nil, 0, fmt.Errorf("ask for %s: %w", name, err)
	}
	q := dnsmessage.Question{Name: owner, Type: t, Class: dnsmessage.ClassINET}
	var failed error
	for _, server := range list {
		m, err := exchange(ctx, server, q)
		if err == nil && m.RCode != dnsmessage.RCodeServerFailure && m.RCode != dnsmessage.RCodeRefused {
			return m.Answers, m.RCode, nil
		}
		if err == nil {
			err = errors.New("the resolver failed")
		}
		failed = err
	}
	return nil, 0, fmt.Errorf("ask for %s: %w", name, failed)
}

// exchange asks one server over UDP, and over TCP if the answer is too long for that.
func exchange(ctx context.Context, server string, q dnsmessage.Question) (dnsmessage.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, serverTime)
	defer cancel()
	m, err := roundTrip(ctx, "udp", server, q)
	if err == nil && m.Truncated {
		return roundTrip(ctx, "tcp", server, q)
	}
	return m, err
}

func roundTrip(ctx context.Context, network, server string, q dnsmessage.Question) (m dnsmessage.Message, err error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, server)
	if err != nil {
		return m, err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return m, err
		}
	}
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	var id [2]byte
	_, _ = rand.Read(id[:]) // never fails
	msg, err := packQuestion(binary.BigEndian.Uint16(id[:]), q)
	if err != nil {
		return m, err
	}
	stream := network == "tcp"
	if stream {
		msg = append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...)
	}
	if _, err := conn.Write(msg); err != nil {
		return m, err
	}
	for {
		answer, err := readAnswer(conn, stream)
		if err != nil {
			return m, err
		}
		// A datagram that is no answer to this question was sent by somebody else.
		if err := m.Unpack(answer); err == nil && answers(m, binary.BigEndian.Uint16(id[:]), q) {
			return m, nil
		}
		if stream {
			return m, errors.New("the resolver answered another question")
		}
	}
}

func packQuestion(id uint16, q dnsmessage.Question) ([]byte, error) {
	var h dnsmessage.ResourceHeader
	if err := h.SetEDNS0(1232, dnsmessage.RCodeSuccess, false); err != nil {
		return nil, err
	}
	m := dnsmessage.Message{
		Header:      dnsmessage.Header{ID: id, RecursionDesired: true},
		Questions:   []dnsmessage.Question{q},
		Additionals: []dnsmessage.Resource{{Header: h, Body: &dnsmessage.OPTResource{}}},
	}
	return m.Pack()
}

func readAnswer(r io.Reader, stream bool) ([]byte, error) {
	if !stream {
		buf := make([]byte, maxAnswer)
		n, err := r.Read(buf)
		return buf[:n], err
	}
	var length [2]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	buf := make([]byte, binary.BigEndian.Uint16(length[:]))
	_, err := io.ReadFull(r, buf)
	return buf, err
}

// answers reports whether a message is the answer to a question.
func answers(m dnsmessage.Message, id uint16, q dnsmessage.Question) bool {
	return m.Response && m.ID == id && len(m.Questions) == 1 && m.Questions[0].Type == q.Type &&
		m.Questions[0].Class == q.Class && strings.EqualFold(m.Questions[0].Name.String(), q.Name.String())
}
