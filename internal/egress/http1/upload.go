package http1

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"golang.org/x/net/http/httpguts"
)

const (
	pieceSize = 32 << 10
	chunkRoom = 10 // before a piece, for its size: eight digits, CR LF
	chunkEnd  = 2  // behind it
	// lastWord is how long a server that takes no more of a request has for its answer.
	lastWord = 5 * time.Second
)

var errUnwanted = errors.New("the server did not want the body")

// Ready may be implemented by the body of a request: it reports whether Read would not wait, so that the head of the
// request can wait for the beginning of its body.
type Ready interface{ Ready() bool }

// upload sends a request with a body, while the answer may already come.
type upload struct {
	conn *conn
	r    *http.Request
	head []byte
	done chan struct{} // closed when run has returned
	want chan struct{} // closed when the server wants the body, or has answered

	mu       sync.Mutex
	wanted   bool // want is closed
	answered bool // the head of the answer is here
	err      error
}

func newUpload(c *conn, r *http.Request, head []byte) *upload {
	return &upload{conn: c, r: r, head: append([]byte(nil), head...), done: make(chan struct{}), want: make(chan struct{})}
}

// bodyError is that of a body that cannot be read: half a request must not be answered.
type bodyError struct{ error }

func (e bodyError) Unwrap() error { return e.error }

// run sends the request, and closes its body.
func (u *upload) run() {
	defer close(u.done)
	defer closeBody(u.r)
	err := u.send()
	u.mu.Lock()
	defer u.mu.Unlock()
	u.err = err
	var broken bodyError
	switch {
	case errors.As(err, &broken):
		u.conn.close()
	case u.answered || errors.Is(err, errUnwanted):
	case err != nil:
		_ = u.conn.SetReadDeadline(time.Now().Add(lastWord))
	default:
		_ = u.conn.wait()
	}
}

func (u *upload) send() error {
	expects := u.expects()
	head := u.head
	if ready, ok := u.r.Body.(Ready); expects || !ok || !ready.Ready() {
		if _, err := u.conn.Write(head); err != nil {
			return fmt.Errorf("send the request: %w", err)
		}
		head = nil
	}
	if expects && !u.waitWanted() {
		return errUnwanted
	}
	if u.r.ContentLength > 0 && len(u.r.Trailer) == 0 {
		return u.plain(head)
	}
	return u.chunks(head)
}

func (u *upload) expects() bool {
	return httpguts.HeaderValuesContainsToken(u.r.Header["Expect"], "100-continue")
}

// waitWanted waits until the server wants the body, or has had time to say that it does not.
func (u *upload) waitWanted() bool {
	timer := time.NewTimer(u.conn.client.config.Continue)
	defer timer.Stop()
	select {
	case <-u.want:
	case <-timer.C:
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return !u.answered
}

// proceed is called when the server wants the body.
func (u *upload) proceed() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.proceedLocked()
}

func (u *upload) proceedLocked() {
	if !u.wanted {
		u.wanted = true
		close(u.want)
	}
}

// answer is called when the head of the answer is here, which may then take as long as it likes.
func (u *upload) answer() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.answered = true
	u.proceedLocked()
	return u.conn.SetReadDeadline(time.Time{})
}

// cause is why the body was not sent, if that is the client's fault.
func (u *upload) cause() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	var broken bodyError
	if errors.As(u.err, &broken) {
		return broken.error
	}
	return nil
}

// finish returns when nobody reads the body any more, and says whether it was sent.
func (u *upload) finish(keep bool) bool {
	if keep = keep && u.ends(); !keep {
		u.proceed()
		u.conn.close()
		closeBody(u.r)
		<-u.done
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return keep && u.err == nil
}

// ends reports whether everything is sent, or is so soon.
func (u *upload) ends() bool {
	select {
	case <-u.done: // most often; and then without a timer
		return true
	default:
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-u.done:
		return true
	case <-timer.C:
		return false
	}
}

// plain sends a body whose length was said.
func (u *upload) plain(head []byte) error {
	piece := takePiece()
	defer pieces.Put(piece)
	left := u.r.ContentLength
	for {
		n, err := u.r.Body.Read((*piece)[:pieceSize])
		if left -= int64(n); left < 0 {
			return bodyError{errLong}
		}
		if failed := u.write(head, (*piece)[:n]); failed != nil {
			return failed
		}
		head = nil
		switch {
		case errors.Is(err, io.EOF) && left > 0:
			return bodyError{errShort}
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return bodyError{err}
		}
	}
}

// write sends a piece, and the head in front of it if there is one.
func (u *upload) write(head, piece []byte) (err error) {
	switch {
	case len(head)+len(piece) == 0:
		return nil
	case len(head) > 0 && len(piece) <= pieceSize:
		_, err = u.conn.Write(append(head, piece...))
	default:
		_, err = u.conn.Write(piece)
	}
	if err != nil {
		return fmt.Errorf("send the request: %w", err)
	}
	return nil
}

// chunks sends a body whose length nobody knows, and its trailer.
func (u *upload) chunks(head []byte) error {
	piece := takePiece()
	defer pieces.Put(piece)
	buf := *piece
	for {
		n, err := u.r.Body.Read(buf[chunkRoom : chunkRoom+pieceSize])
		if n > 0 {
			if failed := u.write(head, chunk(buf, n)); failed != nil {
				return failed
			}
			head = nil
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return bodyError{err}
		}
	}
	end, ok := appendFields([]byte("0\r\n"), u.r.Trailer)
	if !ok {
		return bodyError{fmt.Errorf("%w: its trailer", ErrMalformed)}
	}
	return u.write(head, append(end, "\r\n"...))
}

// chunk makes a chunk of n bytes that are in buf behind chunkRoom.
func chunk(buf []byte, n int) []byte {
	var room [chunkRoom]byte
	size := append(strconv.AppendInt(room[:0], int64(n), 16), "\r\n"...)
	from := chunkRoom - len(size)
	copy(buf[from:], size)
	return append(buf[from:chunkRoom+n], "\r\n"...)
}

//nolint:gochecknoglobals // a pool is of use only if everybody shares it
var pieces = sync.Pool{New: func() any { b := make([]byte, chunkRoom+pieceSize+chunkEnd); return &b }}

func takePiece() *[]byte { return pieces.Get().(*[]byte) }
