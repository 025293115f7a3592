package line

import (
	"errors"
	"fmt"
	"net"
	"sync"

	"moat/internal/frame"
)

// ErrNoFiles is returned for Files on a stream that cannot carry descriptors.
var ErrNoFiles = errors.New("line: this stream cannot pass descriptors")

// A Conn is one end of an opened line. Next is for one goroutine at a time, the other methods for any number.
type Conn struct {
	nc      net.Conn
	streams *streams // nc is one of them; nil: descriptors can be passed
	from    side     // who the peer is: only its messages are accepted
	in      source
	r       *frame.Reader
	pos     int64  // bytes of the stream that Next has delivered
	spawn   []byte // parts of a Spawn so far
	proven  bool   // the opening is over
	closed  sync.Once

	mu      sync.Mutex // guards writing
	heads   []byte
	bufs    net.Buffers
	failure error // of an earlier write: what follows it would be read as something else
}

func newConn(nc net.Conn, from side) *Conn {
	c := &Conn{nc: nc, from: from}
	if _, ok := nc.(*net.UnixConn); !ok {
		c.streams = newStreams(nc, from == guestSide)
		c.nc = c.streams.mux.Main()
	}
	c.in = newSource(c.nc)
	c.r = frame.NewReader(c.in)
	return c
}

// Close ends the line. It may be called more than once, and makes Next and Send return.
func (c *Conn) Close() error {
	var err error
	c.closed.Do(func() {
		if c.streams != nil {
			err = c.streams.close()
		} else {
			err = c.nc.Close()
		}
		c.in.Discard()
	})
	return err
}

// PassesFiles reports whether Files can be sent. Otherwise there is Carry.
func (c *Conn) PassesFiles() bool { return c.streams == nil }

// Buffered reports whether Next has a message (or the part of one) without waiting for the peer.
func (c *Conn) Buffered() bool { return c.r.Buffered() }

// Next returns the peer's next message, as a value of one of the message types. Data in it is valid until the next
// call. io.EOF is the end of the line between two messages; after any error the line is of no more use.
func (c *Conn) Next() (Message, error) {
	for {
		kind, payload, err := c.r.Next()
		if err != nil {
			return nil, invalidFiles(err)
		}
		c.pos += 5 + int64(len(payload))
		if from, both := comesFrom(kind); from != c.from && !both {
			return nil, fmt.Errorf("%w: kind %q does not come from that end", ErrInvalid, kind)
		}
		if kind == KindPart {
			if !c.proven {
				return nil, fmt.Errorf("%w: kind %q before the proof", ErrInvalid, kind)
			}
			if len(c.spawn)+len(payload) > MaxSpawn {
				return nil, fmt.Errorf("%w: a spawn of over %d bytes", ErrInvalid, MaxSpawn)
			}
			c.spawn = append(c.spawn, payload...)
			continue
		}
		if c.spawn != nil {
			if kind != KindSpawn || len(c.spawn)+len(payload) > MaxSpawn {
				return nil, fmt.Errorf("%w: kind %q after the parts of a spawn", ErrInvalid, kind)
			}
			payload = append(c.spawn, payload...)
			c.spawn = nil
		}
		m, err := decode(kind, payload)
		if err != nil {
			return nil, err
		}
		return c.attachFiles(m)
	}
}

// Send sends messages, one directly after the other and with one system call where that is possible. An invalid
// message (ErrInvalid) prevents all of them and harms nothing. After any other error the line is closed.
// Data is not used after Send has returned. Files in messages stay the caller's.
func (c *Conn) Send(msgs ...Message) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failure != nil {
		return c.failure
	}
	err := c.send(msgs)
	if err != nil && !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrNoFiles) {
		c.failure = err
		_ = c.Close()
	}
	return err
}

func (c *Conn) send(msgs []Message) error {
	if len(msgs) == 1 {
		if files, ok := msgs[0].(Files); ok {
			return c.sendFiles(files)
		}
	}
	if err := c.gather(msgs); err != nil {
		return err
	}
	bufs := c.bufs // WriteTo consumes the slice that it is called on
	_, err := bufs.WriteTo(c.nc)
	clear(c.bufs)
	if cap(c.heads) > 4*frame.Max {
		c.heads = nil
	}
	return err
}

// small is the size of data under which copying it is cheaper than one more element in a vectored write.
const small = 4 << 10

// gather encodes messages into c.bufs.
func (c *Conn) gather(msgs []Message) error {
	type cut struct {
		at   int
		tail []byte
	}
	var few [16]cut
	cuts, heads := few[:0], c.heads[:0]
	for _, m := range msgs {
		if m.Kind() == KindFiles {
			return fmt.Errorf("%w: files travel alone", ErrInvalid)
		}
		var tail []byte
		var err error
		if heads, tail, err = encode(heads, m); err != nil {
			return err
		}
		if len(tail) < small || c.streams != nil { // which copy in any case
			heads = append(heads, tail...)
		} else {
			cuts = append(cuts, cut{len(heads), tail})
		}
	}
	c.heads, c.bufs = heads, c.bufs[:0]
	from := 0
	for _, k := range cuts {
		c.bufs = append(c.bufs, heads[from:k.at], k.tail)
		from = k.at
	}
	if from < len(heads) {
		c.bufs = append(c.bufs, heads[from:])
	}
	return nil
}

// SendWelcome sends the states of a guest's processes, in as many messages as they need.
func (c *Conn) SendWelcome(states []ProcessState) error {
	var msgs []Message
	for len(states) > welcomeBatch {
		msgs = append(msgs, Welcome{Processes: states[:welcomeBatch], More: true})
		states = states[welcomeBatch:]
	}
	return c.Send(append(msgs, Welcome{Processes: states})...)
}
