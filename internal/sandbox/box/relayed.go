package box

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
)

// Where no socket reaches into a container, its guest learns by way of a relay (package guest) what to do, and is spoken to by
// the same connection afterwards:
//
//	host  ── length u32, Boot as JSON ──▶ guest
//	host  ◀── "ok", perhaps a blank and a warning, or what went wrong; newline
//	host  ── 1 byte ──▶ guest                      from here on it is a line (package line)
//
// Until that byte, the end of the connection tells the guest that whoever made its container is gone.

// maxBoot bounds a Boot, in bytes.
const maxBoot = 16 << 20

// bootReady is the guest's answer when it can be dialled.
const bootReady = "ok"

// maxAnswer bounds what else it may answer, in bytes.
const maxAnswer = 4 << 10

// HandOver tells a guest by way of a relay what to do, and returns when it has done it: with a warning if something is weaker than
// it should be. What the guest says went wrong is the error. The caller closes conn.
func (b Boot) HandOver(ctx context.Context, conn net.Conn) (warning string, err error) {
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	task, err := json.Marshal(b)
	if err != nil {
		return "", err
	}
	if len(task) > maxBoot {
		return "", fmt.Errorf("the guest's task has %d bytes", len(task))
	}
	_, sendErr := conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(task))), task...))
	answer, err := readAnswer(conn) // which says more than that the guest is not there any more
	ready, warned := strings.CutPrefix(answer, bootReady+" ")
	switch {
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case err == nil && answer == bootReady:
		return "", nil
	case err == nil && warned:
		return ready, nil
	case err == nil && answer == ErrNotHere.Error():
		return "", ErrNotHere
	case err == nil:
		return "", refusal(answer)
	}
	return "", fmt.Errorf("the guest did not answer: %w", errors.Join(err, sendErr))
}

// ErrDoor is returned for a guest that cannot open the sandbox's door.
var ErrDoor = errors.New("open the door")

// refusal is the error that a guest means.
func refusal(answer string) error {
	if rest, ok := strings.CutPrefix(answer, ErrDoor.Error()); ok {
		return fmt.Errorf("%w%s", ErrDoor, rest)
	}
	return errors.New(answer)
}

// readAnswer reads a line, and nothing that follows it.
func readAnswer(r io.Reader) (string, error) {
	var line []byte
	for b := make([]byte, 1); len(line) < maxAnswer; line = append(line, b...) {
		if _, err := io.ReadFull(r, b); err != nil {
			return "", err
		}
		if b[0] == '\n' {
			break
		}
	}
	return string(line), nil
}

// MakeLine makes a line of the connection on which a guest was told what to do.
func MakeLine(conn net.Conn) error {
	_, err := conn.Write([]byte{1})
	return err
}

// Learn reads at the guest's end what to do.
func Learn(conn net.Conn) (Boot, error) {
	var b Boot
	var size [4]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return b, fmt.Errorf("learn what to do: %w", err)
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > maxBoot {
		return b, fmt.Errorf("learn what to do: %d bytes", n)
	}
	var task bytes.Buffer
	if _, err := io.CopyN(&task, conn, int64(n)); err != nil {
		return b, fmt.Errorf("learn what to do: %w", err)
	}
	if err := json.Unmarshal(task.Bytes(), &b); err != nil {
		return b, fmt.Errorf("learn what to do: %w", err)
	}
	return b, nil
}

// Answer tells the HandOver that waits how it went. A warning says in a sentence what is weaker than it should be; empty: nothing is.
func Answer(conn net.Conn, warning string, failure error) error {
	said := bootReady
	switch {
	case failure != nil:
		said = failure.Error()
	case warning != "":
		said += " " + warning
	}
	said = strings.ReplaceAll(said, "\n", " ")
	_, err := io.WriteString(conn, said[:min(len(said), maxAnswer-1)]+"\n")
	return err
}
