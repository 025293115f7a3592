package image

import (
	"io"
)

// aheadBytes is the size of one of the pieces that are read ahead.
const aheadBytes = 256 << 10

// ahead reads from a source in a goroutine of its own, some pieces before they are wanted: decompressing and writing files go on
// at the same time. Its methods are for one goroutine.
type ahead struct {
	full, free chan []byte
	quit       chan struct{}
	ended      chan struct{}
	err        error // of the source; to be read when full is closed

	piece, rest []byte
}

func newAhead(source io.Reader) *ahead {
	a := &ahead{full: make(chan []byte, 4), free: make(chan []byte, 4), quit: make(chan struct{}), ended: make(chan struct{})}
	for range cap(a.free) {
		a.free <- make([]byte, aheadBytes)
	}
	go func() {
		defer close(a.ended)
		defer close(a.full)
		a.err = a.pump(source)
	}()
	return a
}

// pump reads until the source has no more or nobody wants more.
func (a *ahead) pump(source io.Reader) error {
	for {
		var piece []byte
		select {
		case piece = <-a.free:
		case <-a.quit:
			return io.ErrClosedPipe
		}
		var n int
		var err error
		for n < len(piece) && err == nil { // not io.ReadFull: it hides what kind of end it was
			var m int
			m, err = source.Read(piece[n:])
			n += m
		}
		a.full <- piece[:n] // there is room for all that exist
		if err != nil {
			return err
		}
	}
}

func (a *ahead) Read(p []byte) (int, error) {
	for len(a.rest) == 0 {
		if a.piece != nil {
			a.free <- a.piece[:cap(a.piece)]
			a.piece = nil
		}
		piece, ok := <-a.full
		if !ok {
			return 0, a.err
		}
		a.piece, a.rest = piece, piece
	}
	n := copy(p, a.rest)
	a.rest = a.rest[n:]
	return n, nil
}

// stop ends the reading and waits until nobody uses the source any more.
func (a *ahead) stop() {
	close(a.quit)
	<-a.ended
}
