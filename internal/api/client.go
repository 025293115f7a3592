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
	"time"

	"moat/internal/sock"
)

// answerTimeout bounds calls that a healthy supervisor answers at once.
const answerTimeout = 5 * time.Second

// ErrUnreachable says that no supervisor answers at the run's socket.
var ErrUnreachable = errors.New("supervisor is not reachable")

// A Client speaks with one run's supervisor. Connections are made as calls need them; Close drops idle ones.
type Client struct {
	dir  string // the run's folder
	http *http.Client
}

// NewClient returns a client for the run whose folder is dir.
func NewClient(dir string) *Client {
	return &Client{dir: dir, http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return sock.Dial(ctx, dir, SocketName)
		},
		DisableCompression: true,
	}}}
}

// Close drops the client's idle connections. Streams have their own.
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
	if err := checkAnswer(resp); err != nil {
		resp.Body.Close()
		return nil, err
	}
	return resp, nil
}

// errVersion says that the supervisor is of another moat.
var errVersion = errors.New("use the moat that started the run")

// checkAnswer returns what is wrong with an answer: its version, or that it is a refusal.
func checkAnswer(resp *http.Response) error {
	if v := resp.Header.Get(VersionHeader); v != Version {
		return fmt.Errorf("the run's supervisor speaks version %q of the protocol, this moat speaks %q: %w", v, Version, errVersion)
	}
	if resp.StatusCode < 300 {
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	if err != nil {
		return fmt.Errorf("ask the supervisor: %w", err)
	}
	return &StatusError{Status: resp.StatusCode, Text: strings.TrimSpace(string(text))}
}

// StatusError is the supervisor's refusal of a call.
type StatusError struct {
	Status int // HTTP status
	Text   string
}

func (e *StatusError) Error() string { return e.Text }
