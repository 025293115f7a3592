package dial

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"moat/internal/egress"
	"moat/internal/policy"
)

// maxReply is how long the head of a proxy's answer may be.
const maxReply = 64 << 10

// throughProxy asks the upstream proxy for a tunnel. The address of the result is the proxy's.
func (d *Dialer) throughProxy(ctx context.Context, host policy.Host, port uint16) (egress.Conn, error) {
	conn, err := d.tcp.DialContext(ctx, "tcp", d.config.Proxy.Host)
	if err != nil {
		return egress.Conn{}, fmt.Errorf("upstream proxy: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	rest, err := askTunnel(conn, host.WithPort(port), d.config.Proxy.User)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = conn.Close()
		return egress.Conn{}, fmt.Errorf("upstream proxy: %w", err)
	}
	addr, _ := netip.ParseAddrPort(conn.RemoteAddr().String())
	if len(rest) > 0 {
		conn = &early{Conn: conn, rest: rest}
	}
	return egress.Conn{Conn: conn, Addr: addr}, nil
}

// askTunnel sends CONNECT and returns what came after the answer.
func askTunnel(conn net.Conn, authority string, user *url.Userinfo) ([]byte, error) {
	request := "CONNECT " + authority + " HTTP/1.1\r\nHost: " + authority + "\r\n"
	if user != nil {
		password, _ := user.Password()
		request += "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password)) + "\r\n"
	}
	if _, err := io.WriteString(conn, request+"\r\n"); err != nil {
		return nil, err
	}
	limited := &io.LimitedReader{R: conn, N: maxReply}
	r := bufio.NewReader(limited)
	resp, err := http.ReadResponse(r, &http.Request{Method: http.MethodConnect})
	if err != nil {
		return nil, errors.New("its answer cannot be understood")
	}
	if resp.StatusCode/100 != 2 {
		_ = resp.Body.Close()
		return nil, fmt.Errorf("it answered %d", resp.StatusCode)
	}
	rest, _ := r.Peek(r.Buffered())
	return append([]byte(nil), rest...), nil
}

// early is a connection of which the first bytes came with the proxy's answer.
type early struct {
	net.Conn
	rest []byte
}

// Read gives the early bytes first.
func (e *early) Read(b []byte) (int, error) {
	if len(e.rest) > 0 {
		n := copy(b, e.rest)
		e.rest = e.rest[n:]
		return n, nil
	}
	return e.Conn.Read(b)
}

// CloseWrite says that nothing more will be sent.
func (e *early) CloseWrite() error {
	if half, ok := e.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
