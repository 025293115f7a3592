package docker

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// How an engine's answer, or its lack, is to be taken. Whoever acts on an error asks for these and for nothing else.
var (
	errNotFound    = errors.New("the engine has no such object")
	errConflict    = errors.New("the engine has something in the way")
	errUnreachable = errors.New("the engine does not answer")
)

// An engineError is an answer that says no.
type engineError struct {
	status  int // HTTP's
	message string
}

func (e *engineError) Error() string { return e.message }

// Is makes a class of the status.
func (e *engineError) Is(target error) bool {
	switch target {
	case errNotFound:
		return e.status == http.StatusNotFound
	case errConflict:
		return e.status == http.StatusConflict
	}
	return false
}

// An engine speaks the Engine API (docs.docker.com/reference/api/engine) with what listens at an endpoint.
//
// It is ours because of what moat uses of the API, a dozen calls, and because of when: every moat process, the guest too,
// would pay for what a general client and its tracing set up when a program starts (2 ms and 0.5 MB were measured).
type engine struct {
	at   Endpoint
	http *http.Client
	dial func(context.Context) (net.Conn, error)

	mu      sync.Mutex // guards:
	version string     // of the API, as in "1.41"; empty: not agreed yet
	podman  string     // version of Podman's own API, if it is Podman's service; known when version is
}

// The versions of the API that moat speaks: 1.41 is Docker 20.10's. All that it uses is the same in them.
const (
	apiMajor    = 1
	apiMinMinor = 41
	apiMaxMinor = 56
)

// newEngine prepares to speak with the engine at an endpoint. It does nothing yet.
func newEngine(at Endpoint) (*engine, error) {
	network, address, err := at.dialer()
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{DisableCompression: true}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, address)
	}
	transport.DialContext = dial
	if at.TLS != "" {
		config, err := clientTLS(at.TLS)
		if err != nil {
			return nil, fmt.Errorf("keys for the engine: %w", err)
		}
		config.ServerName, _, _ = net.SplitHostPort(address)
		transport.TLSClientConfig = config
		plain := dial
		dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
			conn, err := plain(ctx, "", "")
			if err != nil {
				return nil, err
			}
			secure := tls.Client(conn, config)
			if err := secure.HandshakeContext(ctx); err != nil {
				return nil, errors.Join(err, conn.Close())
			}
			return secure, nil
		}
	}
	return &engine{
		at: at, http: &http.Client{Transport: transport},
		dial: func(ctx context.Context) (net.Conn, error) { return dial(ctx, "", "") },
	}, nil
}

// clientTLS reads the keys in a folder (docs.docker.com/engine/security/protect-access).
func clientTLS(folder string) (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(filepath.Join(folder, "cert.pem"), filepath.Join(folder, "key.pem"))
	if err != nil {
		return nil, err
	}
	root, err := os.ReadFile(filepath.Join(folder, "ca.pem"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(root) {
		return nil, fmt.Errorf("there is no certificate in %s", filepath.Join(folder, "ca.pem"))
	}
	return &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: roots, MinVersion: tls.VersionTLS12}, nil
}

// close gives up the connections that wait to be used again.
func (e *engine) close() { e.http.CloseIdleConnections() }

// A call is one request.
type call struct {
	method, path string
	query        url.Values
	header       http.Header
	body         any       // JSON; nil: none
	raw          io.Reader // in its place
}

// do sends a request and decodes the answer into out, unless that is nil.
func (e *engine) do(ctx context.Context, c call, out any) error {
	resp, err := e.send(ctx, c)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil {
		_, err = io.Copy(io.Discard, resp.Body) // so that the connection can be used again
	} else {
		err = json.NewDecoder(resp.Body).Decode(out)
	}
	if err != nil {
		return e.unanswered(ctx, err)
	}
	return nil
}

// send sends a request; the caller closes the answer's body. An answer that says no is an *engineError, and none is
// errUnreachable.
func (e *engine) send(ctx context.Context, c call) (*http.Response, error) {
	version, err := e.agree(ctx)
	if err != nil {
		return nil, err
	}
	c.path = "/v" + version + c.path
	return e.sendRaw(ctx, c)
}

func (e *engine) sendRaw(ctx context.Context, c call) (*http.Response, error) {
	req, err := e.request(ctx, c)
	if err != nil {
		return nil, err
	}
	resp, err := e.http.Do(req)
	if err != nil {
		return nil, e.unanswered(ctx, err)
	}
	if resp.StatusCode < http.StatusBadRequest {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, readError(resp)
}

func (e *engine) request(ctx context.Context, c call) (*http.Request, error) {
	body := c.raw
	if c.body != nil {
		data, err := json.Marshal(c.body)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(data)
	}
	scheme := "http"
	if e.at.TLS != "" {
		scheme = "https"
	}
	req, err := http.NewRequestWithContext(ctx, c.method, scheme+"://engine"+c.path+"?"+c.query.Encode(), body)
	if err != nil {
		return nil, err
	}
	for name, values := range c.header {
		req.Header[name] = values
	}
	if c.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req, nil
}

// unanswered classifies an error of the way to the engine. What the caller gave up is the caller's error.
func (e *engine) unanswered(ctx context.Context, err error) error {
	if ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return ctx.Err()
	}
	var urlErr *url.Error
	if errors.As(err, &urlErr) {
		err = urlErr.Err // the URL is made up
	}
	return fmt.Errorf("%w at %s: %w", errUnreachable, e.at.Host, err)
}

// maxError bounds what is read of a message.
const maxError = 64 << 10

func readError(resp *http.Response) error {
	data, _ := io.ReadAll(io.LimitReader(resp.Body, maxError)) // half a message says more than none
	var said struct {
		Message string `json:"message"`
	}
	_ = json.Unmarshal(data, &said) // engines behind a proxy may answer in plain text
	return &engineError{status: resp.StatusCode, message: cmp.Or(said.Message, strings.TrimSpace(string(data)), resp.Status)}
}

// errVersion is returned for an engine that speaks no version of the API that moat does.
var errVersion = errors.New("the engine is too old or too new for this moat")

// agree finds the version that both speak, once.
func (e *engine) agree(ctx context.Context) (string, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.version != "" {
		return e.version, nil
	}
	resp, err := e.sendRaw(ctx, call{method: http.MethodGet, path: "/_ping"})
	if err != nil {
		return "", err
	}
	resp.Body.Close()
	version, newest, err := pickVersion(resp.Header.Get("Api-Version"))
	if err == nil && newest {
		err = e.accepts(ctx, version)
	}
	if err != nil {
		return "", err
	}
	e.version, e.podman = version, resp.Header.Get("Libpod-Api-Version")
	return version, nil
}

// isPodman reports whether the engine is Podman's service.
func (e *engine) isPodman(ctx context.Context) (bool, error) {
	if _, err := e.agree(ctx); err != nil {
		return false, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.podman != "", nil
}

// pickVersion returns the newest version that both speak, given the engine's newest, and whether that is moat's newest.
func pickVersion(theirs string) (version string, newest bool, err error) {
	n, err := minor(theirs)
	if err != nil || n < apiMinMinor {
		return "", false, fmt.Errorf("%w: it speaks version %q of the API, moat speaks %d.%d to %d.%d", errVersion, theirs, apiMajor, apiMinMinor, apiMajor, apiMaxMinor)
	}
	return fmt.Sprintf("%d.%d", apiMajor, min(n, apiMaxMinor)), n > apiMaxMinor, nil
}

// minor is the second number of a version of the API.
func minor(version string) (int, error) {
	major, rest, _ := strings.Cut(version, ".")
	if major != strconv.Itoa(apiMajor) {
		return 0, errVersion
	}
	return strconv.Atoi(rest)
}

// accepts asks an engine that is newer than moat whether it still speaks a version.
func (e *engine) accepts(ctx context.Context, version string) error {
	resp, err := e.sendRaw(ctx, call{method: http.MethodGet, path: "/version"})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var about struct {
		MinAPIVersion string
	}
	if err := json.NewDecoder(resp.Body).Decode(&about); err != nil {
		return e.unanswered(ctx, err)
	}
	if n, err := minor(about.MinAPIVersion); err == nil && n > apiMaxMinor {
		return fmt.Errorf("%w: it speaks no older version of the API than %q, moat speaks %d.%d to %s", errVersion, about.MinAPIVersion, apiMajor, apiMinMinor, version)
	}
	return nil
}
