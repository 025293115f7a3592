package intercept

import (
	"context"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"golang.org/x/sync/errgroup"
)

// acceptGUID is the constant of RFC 6455 section 1.3.
const acceptGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// checkWebSocket checks the client's part of a WebSocket handshake (RFC 6455 section 4.1).
func checkWebSocket(protocol string, r *http.Request) *flaw {
	if !strings.EqualFold(protocol, "websocket") {
		return nil
	}
	key := r.Header["Sec-Websocket-Key"]
	if r.Method != http.MethodGet || len(key) != 1 {
		return bad("the WebSocket handshake is invalid")
	}
	if raw, err := base64.StdEncoding.DecodeString(key[0]); err != nil || len(raw) != 16 {
		return bad("the WebSocket handshake is invalid")
	}
	return nil
}

// accepted reports whether the server really switched to the protocol.
func accepted(protocol string, r *http.Request, answer *http.Response) error {
	if got := answer.Header.Get("Upgrade"); !strings.EqualFold(got, protocol) {
		return errors.New("the server switched to another protocol")
	}
	if !strings.EqualFold(protocol, "websocket") {
		return nil
	}
	sum := sha1.Sum([]byte(r.Header.Get("Sec-Websocket-Key") + acceptGUID))
	if answer.Header.Get("Sec-Websocket-Accept") != base64.StdEncoding.EncodeToString(sum[:]) {
		return errors.New("the server did not accept the WebSocket")
	}
	return nil
}

// tunnel joins the two connections after an upgrade. Neither carries a request any more.
func (x *exchange) tunnel(ctx context.Context, answer *http.Response, protocol string) {
	server, ok := answer.Body.(io.ReadWriteCloser)
	if err := accepted(protocol, x.r, answer); err != nil || !ok {
		x.status = 0
		x.fail("the upgrade failed", err)
		return
	}
	x.rec.Protocol = strings.ToLower(protocol)
	h := make(http.Header)
	x.copyHeader(h, answer.Header)
	h["Connection"], h["Upgrade"] = []string{"Upgrade"}, []string{protocol}
	client, buffered, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		x.status = 0
		x.fail("the upgrade failed", err)
		return
	}
	defer client.Close()
	var head strings.Builder
	head.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
	_ = h.Write(&head)
	head.WriteString("\r\n")
	if _, err := io.WriteString(client, head.String()); err != nil {
		x.err = fmt.Errorf("pass the answer on: %w", err)
		return
	}
	x.err = x.join(ctx, client, io.MultiReader(io.LimitReader(buffered, int64(buffered.Reader.Buffered())), client), server)
}

// join copies both ways until both are at their end, or one fails.
func (x *exchange) join(ctx context.Context, client net.Conn, fromClient io.Reader, server io.ReadWriteCloser) error {
	g, ctx := errgroup.WithContext(ctx)
	defer context.AfterFunc(ctx, func() {
		client.Close()
		server.Close()
	})()
	g.Go(func() error {
		_, err := io.Copy(server, &counted{x: x, from: fromClient})
		if err != nil {
			return fmt.Errorf("copy to the server: %w", err)
		}
		return closeWrite(server)
	})
	g.Go(func() error {
		if err := x.copyBody(sink{client, func() error { return nil }}, server, -1); err != nil {
			return err
		}
		return closeWrite(client)
	})
	return g.Wait()
}

// closeWrite says that nothing more comes. Where that cannot be said alone, everything is closed.
func closeWrite(conn any) error {
	if c, ok := conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return io.EOF
}

// counted counts what goes out.
type counted struct {
	x    *exchange
	from io.Reader
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	c.x.out.Add(int64(n))
	if n > 0 && !c.x.config.Meter.Bytes(c.x.host, int64(n)).Allow {
		return 0, errLimit
	}
	return n, err
}
