package intercept

import (
	"context"
	"net"
	"sync"
)

// oneConn is a listener with one connection: Accept gives it out, and then waits for its end.
type oneConn struct {
	ctx    context.Context
	conn   net.Conn
	closed <-chan struct{}
	given  bool
}

func (l *oneConn) Accept() (net.Conn, error) {
	if l.given {
		<-l.closed
		return nil, net.ErrClosed
	}
	l.given = true
	return l.conn, nil
}

func (l *oneConn) Close() error   { return nil }
func (l *oneConn) Addr() net.Addr { return l.conn.LocalAddr() }

// watched is a connection that tells when it is closed.
type watched struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

func (w *watched) Close() error {
	err := net.ErrClosed
	w.once.Do(func() {
		err = w.Conn.Close()
		close(w.closed)
	})
	return err
}

// CloseWrite says that nothing more will be sent, where the connection can do that.
func (w *watched) CloseWrite() error {
	if c, ok := w.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return net.ErrClosed
}

// group counts what is going on, until somebody waits for its end; then nothing new may begin.
type group struct {
	mu    sync.Mutex
	n     int
	over  bool
	ended chan struct{} // made by wait
}

// enter reports whether something may begin; if so leave must be called.
func (g *group) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.over {
		return false
	}
	g.n++
	return true
}

func (g *group) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.n--; g.n == 0 && g.over {
		close(g.ended)
	}
}

// wait returns when everything that has entered has left. It is called once.
func (g *group) wait() {
	g.mu.Lock()
	g.over, g.ended = true, make(chan struct{})
	if g.n == 0 {
		close(g.ended)
	}
	g.mu.Unlock()
	<-g.ended
}
