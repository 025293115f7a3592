package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"moat/internal/frame"
	"moat/internal/sock"
)

// answerTimeout bounds calls that a healthy supervisor answers at once.
const answerTimeout = 5 * time.Second

// ErrUnreachable says that no supervisor answers at the run's socket.
var ErrUnreachable = errors.New("supervisor is not reachable")

// A Client speaks with one run's supervisor. Connections are made as calls need them; Close drops idle ones.
type Client struct {
	http *http.Client
}

// NewClient returns a client for the run whose folder is dir.
func NewClient(dir string) *Client {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	t := &http.Transport{
		Protocols: protocols,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return sock.Dial(ctx, dir, SocketName)
		},
		DisableCompression: true,
	}
	return &Client{http: &http.Client{Transport: t}}
}

// Close drops the client's connections. Streams that are open are cut.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Info asks for what only the supervisor knows.
func (c *Client) Info(ctx context.Context) (Info, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	resp, err := c.do(ctx, http.MethodGet, "/v1/run", nil)
	if err != nil {
		return Info{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return Info{}, fmt.Errorf("ask the supervisor: %w", err)
	}
	return Decode[Info](body)
}

// Stop ends the run and returns when it has ended.
func (c *Client) Stop(ctx context.Context, s Stop) error {
	resp, err := c.do(ctx, http.MethodPost, "/v1/stop", bytes.NewReader(Encode(s)))
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// Allow adds to what the run may reach.
func (c *Client) Allow(ctx context.Context, a Allow) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	resp, err := c.do(ctx, http.MethodPost, "/v1/policy/allow", bytes.NewReader(Encode(a)))
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// do makes a call and checks the answer's status and version.
func (c *Client) do(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://moat"+path, body)
	if err != nil {
		return nil, fmt.Errorf("ask the supervisor: %w", err)
	}
	req.Header.Set(VersionHeader, Version)
	resp, err := c.http.Do(req)
	if err != nil {
		if cause := ctx.Err(); cause != nil {
			return nil, cause
		}
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	if v := resp.Header.Get(VersionHeader); v != Version {
		resp.Body.Close()
		return nil, fmt.Errorf("the run's supervisor speaks version %q of the protocol, this moat speaks %q: use the moat that started the run", v, Version)
	}
	if resp.StatusCode >= 300 {
		defer resp.Body.Close()
		text, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
		if err != nil {
			return nil, fmt.Errorf("ask the supervisor: %w", err)
		}
		return nil, &StatusError{Status: resp.StatusCode, Text: strings.TrimSpace(string(text))}
	}
	return resp, nil
}

// StatusError is the supervisor's refusal of a call.
type StatusError struct {
	Status int // HTTP status
	Text   string
}

func (e *StatusError) Error() string { return e.Text }

// A Stream is one attach or exec stream. One goroutine may receive while others send; Close may be called by any.
type Stream struct {
	in     *frame.Reader
	body   io.ReadCloser
	out    *io.PipeWriter
	cancel context.CancelFunc

	sending sync.Mutex // one frame at a time
	w       *frame.Writer
}

// Attach opens an attach stream. The caller closes it. Cancelling ctx cuts it.
func (c *Client) Attach(ctx context.Context, a Attach) (*Stream, error) {
	return c.stream(ctx, "/v1/attach", KindAttach, Encode(a))
}

// Exec starts a command in the sandbox. The caller closes the stream, which hangs the command up if it still runs.
func (c *Client) Exec(ctx context.Context, e Exec) (*Stream, error) {
	return c.stream(ctx, "/v1/exec", KindExec, Encode(e))
}

func (c *Client) stream(ctx context.Context, path string, kind byte, first []byte) (*Stream, error) {
	ctx, cancel := context.WithCancel(ctx)
	pr, pw := io.Pipe()
	// While the transport reads the request's body it does not look at the context.
	context.AfterFunc(ctx, func() { pr.CloseWithError(context.Cause(ctx)) })
	s := &Stream{out: pw, cancel: cancel, w: frame.NewWriter(pw)}
	opened := make(chan error, 1)
	go func() { opened <- s.Send(kind, first) }()
	resp, err := c.do(ctx, http.MethodPost, path, pr)
	if err != nil {
		cancel()
		pr.CloseWithError(err)
		<-opened
		return nil, err
	}
	s.body, s.in = resp.Body, frame.NewReader(resp.Body)
	if err := <-opened; err != nil {
		s.Close()
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	return s, nil
}

// Send sends one frame.
func (s *Stream) Send(kind byte, payload []byte) error {
	s.sending.Lock()
	defer s.sending.Unlock()
	return s.w.Write(kind, payload)
}

// Next returns the next frame; its payload is valid until the next call. Any error means that the connection broke.
func (s *Stream) Next() (byte, []byte, error) { return s.in.Next() }

// Close ends the stream. The request body is closed before the context is cancelled: a server that waits for
// input does not notice a cancelled context alone.
func (s *Stream) Close() {
	s.out.Close()
	s.cancel()
	if s.body != nil {
		s.body.Close()
	}
}
