package egress

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"time"

	"moat/internal/policy"
)

const (
	idleLimit   = time.Hour       // a connection on which nothing moved in either direction
	lingerLimit = 5 * time.Minute // the same, after one side has said all that it has to say
	bulkChunk   = 16 << 20        // how much is copied between two looks at the limits
	bulkTime    = time.Second     // and for how long
	bufferSize  = 64 << 10
)

var (
	errIdle  = errors.New("nothing moved for too long")
	errLimit = errors.New("the limit of bytes is reached")
	errHalt  = errors.New("halted")
)

// relay copies between the two sides of a connection that is passed through. An end of stream is passed on as one, a
// failure of one side as a reset of the other; nothing is buffered while nobody sends.
type relay struct {
	client, server net.Conn
	meter          *Meter
	host           policy.Host  // whose bytes are counted
	in, out        atomic.Int64 // bytes to the client, to the server
	moved          atomic.Int64 // when something did, in Unix nanoseconds
	half           atomic.Bool  // one side has finished
	stop           atomic.Bool  // see halt
}

// run returns when both directions have ended, with the first thing that went wrong. Both connections are of no use
// afterwards; they are still to be closed.
func (r *relay) run(ctx context.Context) error {
	r.moved.Store(time.Now().UnixNano())
	defer context.AfterFunc(ctx, r.abort)()
	up := make(chan error, 1)
	go func() { up <- r.direction(r.server, r.client, &r.out) }()
	down := r.direction(r.client, r.server, &r.in)
	return r.verdict(ctx, down, <-up)
}

// verdict is the error for the record. What follows from an abort of ours is not worth one.
func (r *relay) verdict(ctx context.Context, errs ...error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	for _, err := range errs {
		if err != nil && !errors.Is(err, net.ErrClosed) {
			return err
		}
	}
	return nil
}

func (r *relay) abort() {
	abort(r.client)
	abort(r.server)
}

// direction copies one way and passes its end on.
func (r *relay) direction(dst, src net.Conn, total *atomic.Int64) error {
	if err := r.copy(dst, src, total); err != nil {
		if !errors.Is(err, errHalt) {
			r.abort()
		}
		return err
	}
	r.half.Store(true)
	// The wait of the other direction is as long as it was when it began: shorten it.
	_ = dst.SetReadDeadline(time.Now().Add(lingerLimit))
	if err := closeWrite(dst); err != nil && !errors.Is(err, net.ErrClosed) && !notConnected(err) {
		r.abort()
		return err
	}
	return nil
}

// copy copies until the end of src. Small pieces go through a buffer that is taken only when there is something to read;
// where much comes at once the kernel does it (splice(2)), which needs a pipe for as long as it goes on.
func (r *relay) copy(dst, src net.Conn, total *atomic.Int64) error {
	var source reader
	for bulk := false; ; {
		var n int64
		var err error
		if bulk {
			n, err = splice(dst, src, min(bulkChunk, r.meter.left(r.host)))
		} else if err = src.SetReadDeadline(time.Now().Add(r.patience())); err == nil && !r.stop.Load() {
			n, err = source.pass(dst, src)
		}
		if n == 0 && r.stop.Load() {
			return errHalt
		}
		if n > 0 {
			total.Add(n)
			r.moved.Store(time.Now().UnixNano())
			if !r.meter.Bytes(r.host, n).Allow {
				return errLimit
			}
		}
		switch {
		case err == nil:
			bulk = bulk || n == bufferSize
		case errors.Is(err, io.EOF):
			return nil
		case !timeout(err):
			return err
		case bulk:
			bulk = n > 0
		case time.Since(time.Unix(0, r.moved.Load())) >= r.patience():
			return errIdle
		}
	}
}

// halt ends the one direction that runs, which reads from src, if nothing came that way; otherwise it goes on.
func (r *relay) halt(src net.Conn, ended <-chan error) bool {
	if r.in.Load() > 0 {
		return false
	}
	r.stop.Store(true)
	_ = src.SetReadDeadline(time.Unix(1, 0))
	return errors.Is(<-ended, errHalt) && r.in.Load() == 0
}

func (r *relay) patience() time.Duration {
	if r.half.Load() {
		return lingerLimit
	}
	return idleLimit
}

// splice copies one chunk. The error is io.EOF at the end, and a timeout when nothing more came in time.
func splice(dst, src net.Conn, chunk int64) (int64, error) {
	if err := src.SetReadDeadline(time.Now().Add(bulkTime)); err != nil {
		return 0, err
	}
	n, err := io.Copy(dst, &io.LimitedReader{R: src, N: chunk})
	if err == nil && n < chunk {
		err = io.EOF
	}
	return n, err
}

// closeWrite sends an end of stream. A connection that cannot do that stays open.
func closeWrite(conn net.Conn) error {
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// passPlain is reader.pass for what is no socket: it holds a buffer while it waits.
func passPlain(dst, src net.Conn) (int64, error) {
	buf := make([]byte, 4<<10)
	n, err := src.Read(buf)
	if n == 0 {
		return 0, err
	}
	written, err := dst.Write(buf[:n])
	return int64(written), err
}
