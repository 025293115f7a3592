// Package socks is the server's side of a SOCKS5 handshake (RFC 1928), as far as it asks for a connection.
//
// It promises to read no byte more than the handshake, to take names as they were sent or not at all, never cut short,
// and to offer no other command. Who is asking is not checked (a user's name and password are read and forgotten): the
// listener stands inside of the sandbox. Whether the connection is allowed, and making it, are left to the caller.
package socks

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
)

// Version is the first byte that a client sends; Version4 is that of the older protocol, which is not spoken.
const (
	Version  = 5
	Version4 = 4
)

// Code is an answer to a request (RFC 1928 section 6).
type Code byte

// The answers that are given.
const (
	Granted     Code = 0
	Failed      Code = 1
	NotAllowed  Code = 2
	BadCommand  Code = 7
	BadAddress  Code = 8
	noMethods        = 0xff
	methodNone       = 0
	methodLogin      = 2
	command          = 1
	addrInet4        = 1
	addrName         = 3
	addrInet6        = 4
)

// ErrRefused says that the handshake was answered with a refusal: the connection is to be closed.
var ErrRefused = errors.New("refused")

// Request is where a client wants to go: Name, in ASCII without control characters but not checked further, or Addr.
type Request struct {
	Name string
	Addr netip.Addr
	Port uint16
}

// Handshake reads a request; the caller answers it with Reply. After an error there is nothing more to be said.
// Deadlines are the caller's.
func Handshake(rw io.ReadWriter) (Request, error) {
	if err := greet(rw); err != nil {
		return Request{}, fmt.Errorf("socks: greeting: %w", err)
	}
	r, err := readRequest(rw)
	if err != nil {
		return Request{}, fmt.Errorf("socks: request: %w", err)
	}
	return r, nil
}

// Reply answers a request. The address in it, which is that of the outer end, is nobody's business.
func Reply(w io.Writer, code Code) error {
	if _, err := w.Write([]byte{Version, byte(code), 0, addrInet4, 0, 0, 0, 0, 0, 0}); err != nil {
		return fmt.Errorf("socks: reply: %w", err)
	}
	return nil
}

// Refuse4 tells a client of SOCKS4 that its request is rejected (91).
func Refuse4(w io.Writer) error {
	if _, err := w.Write([]byte{0, 91, 0, 0, 0, 0, 0, 0}); err != nil {
		return fmt.Errorf("socks: reply: %w", err)
	}
	return nil
}

// greet agrees on a method.
func greet(rw io.ReadWriter) error {
	head, err := read(rw, 2)
	if err != nil {
		return err
	}
	if head[0] != Version || head[1] == 0 {
		return errors.New("it is not of version 5")
	}
	offered, err := read(rw, int(head[1]))
	if err != nil {
		return err
	}
	method := byte(noMethods)
	for _, m := range offered {
		if m == methodNone || m == methodLogin && method == noMethods {
			method = m
		}
	}
	if _, err := rw.Write([]byte{Version, method}); err != nil {
		return err
	}
	switch method {
	case methodNone:
		return nil
	case methodLogin:
		return login(rw)
	}
	return fmt.Errorf("no method that is spoken here: %w", ErrRefused)
}

// login reads a name and a password (RFC 1929).
func login(rw io.ReadWriter) error {
	head, err := read(rw, 2)
	if err != nil {
		return err
	}
	if head[0] != 1 {
		return errors.New("the login is not of version 1")
	}
	rest, err := read(rw, int(head[1])+1)
	if err != nil {
		return err
	}
	if _, err := read(rw, int(rest[head[1]])); err != nil {
		return err
	}
	_, err = rw.Write([]byte{1, 0})
	return err
}

func readRequest(rw io.ReadWriter) (Request, error) {
	head, err := read(rw, 4)
	if err != nil {
		return Request{}, err
	}
	switch {
	case head[0] != Version || head[2] != 0:
		return Request{}, refuse(rw, Failed, "it is not of version 5")
	case head[1] != command:
		return Request{}, refuse(rw, BadCommand, "the command is not CONNECT")
	}
	var r Request
	switch head[3] {
	case addrInet4, addrInet6:
		size := 4
		if head[3] == addrInet6 {
			size = 16
		}
		raw, err := read(rw, size)
		if err != nil {
			return Request{}, err
		}
		r.Addr, _ = netip.AddrFromSlice(raw)
	case addrName:
		size, err := read(rw, 1)
		if err != nil {
			return Request{}, err
		}
		raw, err := read(rw, int(size[0]))
		if err != nil {
			return Request{}, err
		}
		r.Name = string(raw)
	default:
		return Request{}, refuse(rw, BadAddress, "the kind of address is unknown")
	}
	port, err := read(rw, 2)
	if err != nil {
		return Request{}, err
	}
	r.Port = binary.BigEndian.Uint16(port)
	if r.Port == 0 || !r.Addr.IsValid() && !text(r.Name) {
		return Request{}, refuse(rw, BadAddress, "the host or the port is not valid")
	}
	return r, nil
}

// refuse answers with a code and returns the reason.
func refuse(w io.Writer, code Code, reason string) error {
	if err := Reply(w, code); err != nil {
		return err
	}
	return fmt.Errorf("%s: %w", reason, ErrRefused)
}

// text reports whether a name has only printable ASCII, without spaces.
func text(name string) bool {
	for i := 0; i < len(name); i++ {
		if name[i] <= ' ' || name[i] >= 0x7f {
			return false
		}
	}
	return name != ""
}

func read(r io.Reader, n int) ([]byte, error) {
	buf := make([]byte, n)
	_, err := io.ReadFull(r, buf)
	return buf, err
}
