package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"moat/internal/api"
	"moat/internal/audit"
	"moat/internal/sock"
)

// server answers the run's clients.
type server struct {
	s       *supervisor
	http    *http.Server
	streams sync.WaitGroup // attach and exec calls
}

// headerTimeout bounds how long a client may take to say what it wants.
const headerTimeout = 10 * time.Second

type peerKey struct{}

func newServer(s *supervisor) *server {
	srv := &server{s: s}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/run", srv.info)
	mux.HandleFunc("POST /v1/stop", srv.stop)
	mux.HandleFunc("POST /v1/policy/allow", srv.allow)
	mux.HandleFunc("POST /v1/attach", srv.attach)
	mux.HandleFunc("POST /v1/exec", srv.exec)
	srv.http = &http.Server{
		Handler:           srv.checked(mux),
		ReadHeaderTimeout: headerTimeout,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, peerKey{}, peerOf(c))
		},
	}
	return srv
}

// serve answers until drain or the end of ctx, which cuts the streams as well.
func (srv *server) serve(ctx context.Context, l net.Listener) error {
	defer context.AfterFunc(ctx, func() { srv.http.Close() })()
	srv.http.BaseContext = func(net.Listener) context.Context { return ctx }
	if err := srv.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve clients: %w", err)
	}
	return nil
}

// begin counts a stream until the returned function is called. The connection must still be the HTTP server's, which
// waits for those in use before drain waits for the streams.
func (srv *server) begin() (end func()) {
	srv.streams.Add(1)
	return srv.streams.Done
}

// drain lets the clients that are there finish what they read, and takes no others.
func (srv *server) drain(ctx context.Context, limit time.Duration) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	err := srv.http.Shutdown(ctx)
	done := make(chan struct{})
	go func() { // ends with the streams, which end with the caller's context
		srv.streams.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		srv.s.Logger.Warn("clients were cut off", "error", err)
		srv.http.Close()
	}
}

// peer is who is on the other side, as the kernel says.
type peer struct {
	uid int
	err error // why it may not speak
}

// peerOf says who the peer is. It may speak if it is this user, or root.
func peerOf(c net.Conn) peer {
	uc, ok := c.(*net.UnixConn)
	if !ok {
		return peer{-1, fmt.Errorf("a %T is no unix socket", c)}
	}
	uid, err := sock.PeerUID(uc)
	if err == nil && uid != os.Getuid() && uid != 0 {
		err = fmt.Errorf("the run belongs to another user (uid %d)", os.Getuid())
	}
	return peer{uid, err}
}

// uidOf is the uid of whoever makes a call; -1 if nobody knows.
func uidOf(ctx context.Context) int {
	p, ok := ctx.Value(peerKey{}).(peer)
	if !ok {
		return -1
	}
	return p.uid
}

// checked refuses strangers and other versions of the protocol.
func (srv *server) checked(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(api.VersionHeader, api.Version)
		if p, ok := r.Context().Value(peerKey{}).(peer); ok && p.err != nil {
			http.Error(w, p.err.Error(), http.StatusForbidden)
			return
		}
		if v := r.Header.Get(api.VersionHeader); v != api.Version {
			http.Error(w, fmt.Sprintf("protocol version %q is not spoken here, only %q", v, api.Version), http.StatusBadRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (srv *server) info(w http.ResponseWriter, _ *http.Request) {
	s := srv.s
	rec := s.Folder.Record()
	info := api.Info{ID: rec.ID, PID: os.Getpid(), State: string(rec.State), Clients: s.clients.count(), OutputBytes: s.output.Offset(), Version: s.Version}
	if t := s.output.LastTime(); !t.IsZero() {
		info.LastOutputAt = &t
	}
	if s.terminal != nil {
		if a := s.terminal.Attention(time.Now()); !a.Since.IsZero() {
			info.Attention, info.AttentionSince = &a.Why, &a.Since
		}
	}
	w.Header().Set("Content-Type", "application/json")
	if _, err := w.Write(api.Encode(info)); err != nil {
		s.Logger.Debug("client left", "error", err)
	}
}

func (srv *server) stop(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 4<<10))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	req, err := api.Decode[api.Stop](body)
	if err != nil || req.GraceMS < 0 {
		http.Error(w, fmt.Sprintf("bad stop request: %s", body), http.StatusBadRequest)
		return
	}
	if err := srv.s.waitStoppable(r.Context()); err != nil { // what is being started cannot be signalled yet
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	srv.s.audit.event("stop", audit.Number("grace_ms", req.GraceMS), audit.Number("uid", uidOf(r.Context())))
	if err := srv.s.requestStop(time.Duration(req.GraceMS) * time.Millisecond); err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	select {
	case <-srv.s.ended:
		w.WriteHeader(http.StatusNoContent)
	case <-r.Context().Done():
	}
}
