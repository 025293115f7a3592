package docker

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// exec runs a program in a container, as root, and returns its standard input and output as a connection. Closing that ends the
// program's input. An engine that cannot start the program may say so by ending the connection with a reason.
func (e *engine) exec(ctx context.Context, container string, args ...string) (net.Conn, error) {
	var made struct {
		ID string `json:"Id"`
	}
	err := e.do(ctx, call{
		method: http.MethodPost, path: "/containers/" + url.PathEscape(container) + "/exec",
		body: execRequest{AttachStdin: true, AttachStdout: true, AttachStderr: true, Cmd: args, User: "0:0", WorkingDir: "/"},
	}, &made)
	if err != nil {
		return nil, err
	}
	return e.hijack(ctx, call{method: http.MethodPost, path: "/exec/" + url.PathEscape(made.ID) + "/start", body: execStart{}})
}

// hijack sends a request after whose answer the connection carries a program's streams.
func (e *engine) hijack(ctx context.Context, c call) (net.Conn, error) {
	version, err := e.agree(ctx)
	if err != nil {
		return nil, err
	}
	c.path = "/v" + version + c.path
	req, err := e.request(ctx, c)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "tcp")
	conn, err := e.dial(ctx)
	if err != nil {
		return nil, e.unanswered(ctx, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	r := bufio.NewReader(conn)
	err = req.Write(conn)
	var resp *http.Response
	if err == nil {
		resp, err = http.ReadResponse(r, req) //nolint:bodyclose // it is the connection, which is given away or closed
	}
	switch {
	case err != nil:
		err = e.unanswered(ctx, err)
	case resp.StatusCode >= http.StatusBadRequest:
		err = readError(resp)
	case resp.StatusCode != http.StatusSwitchingProtocols && resp.StatusCode != http.StatusOK: // the latter before there was the former
		err = fmt.Errorf("the engine answered %s where it should give the connection away", resp.Status)
	}
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &program{Conn: conn, r: r}, nil
}

// What moat says of a program that is to run in a container (POST /containers/{id}/exec, POST /exec/{id}/start).
type execRequest struct {
	AttachStdin, AttachStdout, AttachStderr, Tty bool
	Cmd                                          []string
	User, WorkingDir                             string
}

type execStart struct{ Detach, Tty bool }

// A program is the connection to one that runs in a container. What it prints comes in pieces, each after a head: the stream,
// three zero bytes, and the length (docs.docker.com/reference/api/engine, "Attach to a container").
type program struct {
	net.Conn
	r    *bufio.Reader
	left int // of the present piece of standard output

	mu   sync.Mutex // guards said
	said []byte     // the end of standard error
}

const (
	programOut = 1
	programErr = 2

	maxPiece = 64 << 20 // in bytes; engines send some 32 KiB
	maxSaid  = 1 << 10
)

// Read implements net.Conn. At the end of a program that has complained, the error is what it said.
func (p *program) Read(b []byte) (int, error) {
	for p.left == 0 {
		if err := p.next(); err != nil {
			return 0, p.ended(err)
		}
	}
	n, err := p.r.Read(b[:min(len(b), p.left)])
	if p.left -= n; p.left > 0 && errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, p.ended(err)
}

// next begins the next piece, and takes in one of standard error.
func (p *program) next() error {
	var head [8]byte
	if _, err := io.ReadFull(p.r, head[:]); err != nil {
		return err
	}
	size := binary.BigEndian.Uint32(head[4:])
	switch {
	case size > maxPiece || head[1]|head[2]|head[3] != 0:
		return errors.New("the engine sent something else than a program's output")
	case head[0] == programOut:
		p.left = int(size)
		return nil
	case head[0] != programErr:
		return fmt.Errorf("the engine sent output of a stream %d", head[0])
	}
	text, err := io.ReadAll(io.LimitReader(p.r, int64(min(size, maxSaid))))
	if err == nil {
		_, err = io.CopyN(io.Discard, p.r, int64(size)-int64(len(text)))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.said = append(p.said, text...)
	p.said = p.said[max(0, len(p.said)-maxSaid):]
	return err
}

// ended makes the end of a program that has complained an error.
func (p *program) ended(err error) error {
	if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if said := bytes.TrimSpace(p.said); len(said) > 0 {
		return fmt.Errorf("in the container: %s", said)
	}
	return err
}

// put unpacks an archive (tar) in a container's folder.
func (e *engine) put(ctx context.Context, container, folder string, archive io.Reader) error {
	return e.do(ctx, call{
		method: http.MethodPut, path: "/containers/" + url.PathEscape(container) + "/archive", query: url.Values{"path": {folder}},
		header: http.Header{"Content-Type": {"application/x-tar"}}, raw: archive,
	}, nil)
}

// pathStat is what moat reads of a file in a container (HEAD /containers/{id}/archive).
type pathStat struct {
	Size  int64     `json:"size"`
	Mtime time.Time `json:"mtime"`
}

// stat looks at a file in a container, which need not run; errNotFound if there is none.
func (e *engine) stat(ctx context.Context, container, file string) (pathStat, error) {
	var st pathStat
	resp, err := e.send(ctx, call{
		method: http.MethodHead, path: "/containers/" + url.PathEscape(container) + "/archive", query: url.Values{"path": {file}},
	})
	if err != nil {
		return st, err
	}
	defer resp.Body.Close()
	text, err := base64.StdEncoding.DecodeString(resp.Header.Get("X-Docker-Container-Path-Stat"))
	if err == nil {
		err = json.Unmarshal(text, &st)
	}
	if err != nil {
		return st, fmt.Errorf("look at %s in a container: %w", file, err)
	}
	return st, nil
}

// volumes returns the names of all volumes with a label.
func (e *engine) volumes(ctx context.Context, label string) ([]string, error) {
	filters, err := json.Marshal(map[string][]string{"label": {label}})
	if err != nil {
		return nil, err
	}
	var found struct {
		Volumes []struct{ Name string }
	}
	err = e.do(ctx, call{method: http.MethodGet, path: "/volumes", query: url.Values{"filters": {string(filters)}}}, &found)
	names := make([]string, len(found.Volumes))
	for i, v := range found.Volumes {
		names[i] = v.Name
	}
	return names, err
}

// removeVolume removes a volume; errConflict if a container has it.
func (e *engine) removeVolume(ctx context.Context, name string) error {
	return e.do(ctx, call{method: http.MethodDelete, path: "/volumes/" + url.PathEscape(name)}, nil)
}
