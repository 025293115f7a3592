package names

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

const (
	maxTCP  = 65535
	idleTCP = 10 * time.Second // between questions, and for the rest of one that has begun (RFC 7766 section 6.2.3)
)

// ServePacket answers questions over UDP until ctx is done or the socket is broken, waits for the answers that are on
// their way, and returns why: nil if it was ctx. The caller closes the socket, which also ends a wait in it.
func (r *Responder) ServePacket(ctx context.Context, pc net.PacketConn) error {
	var answers sync.WaitGroup
	defer answers.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	places := make(chan struct{}, maxUpstream)
	buf := make([]byte, maxQuery+1)
	for {
		n, from, err := pc.ReadFrom(buf)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read a question: %w", err)
		}
		if !slow(buf[:n]) {
			r.respondTo(ctx, pc, from, buf[:n])
			continue
		}
		msg := append([]byte(nil), buf[:n]...)
		places <- struct{}{} // each is free again within upstreamTime
		answers.Go(func() {
			defer func() { <-places }()
			r.respondTo(ctx, pc, from, msg)
		})
	}
}

// respondTo sends an answer. One that cannot be sent is asked for again.
func (r *Responder) respondTo(ctx context.Context, pc net.PacketConn, to net.Addr, msg []byte) {
	if reply := r.Respond(ctx, msg, maxUDP, true); reply != nil {
		_, _ = pc.WriteTo(reply, to)
	}
}

// ServeConn answers questions over one TCP connection until the client ends it, is silent for too long or sends what is
// no question. The caller closes it.
func (r *Responder) ServeConn(ctx context.Context, conn net.Conn) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	for ctx.Err() == nil {
		if err := conn.SetDeadline(time.Now().Add(idleTCP)); err != nil {
			return fmt.Errorf("answer over TCP: %w", err)
		}
		msg, err := readMessage(conn)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("answer over TCP: %w", err)
		}
		reply := r.Respond(ctx, msg, maxTCP, false)
		if reply == nil {
			return errNoAnswer
		}
		framed := append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...)
		if _, err := conn.Write(framed); err != nil {
			return fmt.Errorf("answer over TCP: %w", err)
		}
	}
	return nil
}

// readMessage reads a message after its length.
func readMessage(r io.Reader) ([]byte, error) {
	var length [2]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint16(length[:])
	if n > maxQuery {
		return nil, fmt.Errorf("a question of %d bytes", n)
	}
	msg := make([]byte, n)
	_, err := io.ReadFull(r, msg)
	return msg, err
}
