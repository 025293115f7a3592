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
	maxBulk     = 64 // directions that hold a pipe at the same time: more descriptors, no more speed
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
	host           policy.Host   // whose bytes are counted
	pipes          chan struct{} // a place for each pipe of all relays
	search         *search       // what goes to the server; nil: nothing is to be found
	in, out        atomic.Int64  // bytes to the client, to the server
	moved          atomic.Int64  // when something did, in Unix nanoseconds
	half           atomic.Bool   // one side has finished
	stop           atomic.Bool   // see halt
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
	source := newReader(src)
	bulk := false
	defer func() { r.setBulk(bulk, false) }()
	for {
		if r.stop.Load() {
			return errHalt
		}
		n, err := 0, error(nil)
		if bulk {
			n, err = r.bulk(dst, src, total)
		} else {
			n, err = r.piece(dst, source, total)
		}
		switch {
		case err == nil:
			bulk = r.setBulk(bulk, bulk || n == bufferSize)
		case errors.Is(err, io.EOF):
			return nil
		case !timeout(err):
			return err
		case bulk:
			bulk = r.setBulk(bulk, n > 0)
		case !r.stop.Load() && time.Since(time.Unix(0, r.moved.Load())) >= r.patience():
			return errIdle
		}
	}
}

// setBulk takes or gives back a place for a pipe, and says whether there is one now.
func (r *relay) setBulk(have, want bool) bool {
	switch {
	case have && !want:
		<-r.pipes
	case want && !have:
		select {
		case r.pipes <- struct{}{}:
		default:
			return false
		}
	}
	return want
}

// piece copies what comes next. It is counted before it is sent: who sees it can rely on that.
func (r *relay) piece(dst net.Conn, source *reader, total *atomic.Int64) (int, error) {
	if err := source.conn.SetReadDeadline(time.Now().Add(r.patience())); err != nil || r.stop.Load() {
		return 0, err
	}
	buf, err := source.read()
	if len(buf) == 0 {
		return 0, err
	}
	defer source.release()
	if total == &r.out {
		if err := r.search.look(buf); err != nil {
			return 0, err
		}
	}
	if err := r.moves(int64(len(buf)), total); err != nil {
		return 0, err
	}
	return dst.Write(buf)
}

// bulk copies one chunk. The error is io.EOF at the end, and a timeout when nothing more came in time.
func (r *relay) bulk(dst, src net.Conn, total *atomic.Int64) (int, error) {
	if err := src.SetReadDeadline(time.Now().Add(bulkTime)); err != nil {
		return 0, err
	}
	chunk := min(bulkChunk, r.meter.left(r.host))
	n, err := io.Copy(dst, &io.LimitedReader{R: src, N: chunk})
	if err == nil && n < chunk {
		err = io.EOF
	}
	if limit := r.moves(n, total); limit != nil && !errors.Is(err, io.EOF) {
		err = limit
	}
	return int(n), err
}

// moves counts bytes.
func (r *relay) moves(n int64, total *atomic.Int64) error {
	if n == 0 {
		return nil
	}
	total.Add(n)
	r.moved.Store(time.Now().UnixNano())
	if !r.meter.Bytes(r.host, n).Allow {
		return errLimit
	}
	return nil
}

// listen starts the direction from the server alone.
func (r *relay) listen() <-chan error {
	ended := make(chan error, 1)
	go func() { ended <- r.direction(r.client, r.server, &r.in) }()
	return ended
}

// halt ends the direction that listen started if nothing came that way. Otherwise it goes on; its end comes by the
// channel that is returned.
func (r *relay) halt(ended <-chan error) (<-chan error, bool) {
	r.stop.Store(true)
	_ = r.server.SetReadDeadline(time.Unix(1, 0))
	err := <-ended
	halted := errors.Is(err, errHalt)
	if halted && r.in.Load() == 0 {
		return nil, true
	}
	r.stop.Store(false)
	if halted {
		return r.listen(), false
	}
	again := make(chan error, 1)
	again <- err
	return again, false
}

func (r *relay) patience() time.Duration {
	if r.half.Load() {
		return lingerLimit
	}
	return idleLimit
}

// closeWrite sends an end of stream. A connection that cannot do that stays open.
func closeWrite(conn net.Conn) error {
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
