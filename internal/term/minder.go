package term

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// minder is what this process holds of its minder, the process that gives the terminal back when this one cannot:
//
//	this process                     minder
//	     │ begin (settings) ────────▶ ╎ waits in the pipe
//	     │ tell (undo bytes) ───────▶ ╎
//	     │ start ───────────────────▶ │ ignores signals
//	     │ tell ────────────────────▶ │ remembers the last
//	     │ …                          │
//	     │ dismiss ─────────────────▶ │ ends: the terminal was given back
//	     ✗ (end of the pipe) ·······▶ │ gives the terminal back, ends
type minder struct {
	orders *os.File // a pipe; its other end is the minder's standard input
}

// The orders: a byte, the length of what follows in four bytes, and that.
const (
	orderBegin   = 'b' // the settings before and raw, as setBytes writes them
	orderTell    = 't' // the undo bytes
	orderDismiss = 'd' // nothing
)

// The bounds of an order, in bytes; of the wait for a minder that does not take orders; and of the wait for a terminal
// that takes no output.
const (
	maxOrder   = 64 << 10
	orderTime  = time.Second
	minderTime = 10 * time.Second
)

// StartMinder starts a small process that gives the terminal back when this one could not, because it was killed or
// crashed. With these arguments, program, an absolute path, has to call [MindMain]. The terminal must be raw; the minder ends with the next
// Restore. A caller that gets an error can go on without.
//
// The minder shares the terminal but is in a session of its own, where no key and no signal of the terminal reaches it,
// and it never reads from it. It puts the settings back only if they are still the raw ones: a shell that has noticed
// the death first has its own. StartMinder does not wait for it: what it has to know is in the pipe when it comes to it.
// There is none on Windows, where a console's modes are put back by the shell; the error is errors.ErrUnsupported.
func (t *Terminal) StartMinder(program string, args ...string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.raw.Load() {
		return ErrGivenBack
	}
	raw, err := getSettings(t.in, t.out)
	if err != nil {
		return fmt.Errorf("read terminal settings: %w", err)
	}
	brief := func(m *minder) error { return errors.Join(m.begin(t.before, raw), m.tell(t.undo)) }
	m, err := startMinder(t.in, t.out, program, args, brief)
	if err != nil {
		return fmt.Errorf("start the terminal's minder: %w", err)
	}
	t.minder = m
	return nil
}

func (m *minder) begin(before, raw settings) error {
	b, err := binary.Append(nil, binary.NativeEndian, []settings{before, raw})
	if err != nil {
		return err
	}
	return m.order(orderBegin, b)
}

func (m *minder) tell(undo []byte) error { return m.order(orderTell, undo) }

// dismiss lets the minder go.
func (m *minder) dismiss() {
	_ = m.order(orderDismiss, nil) // if it is gone, it need not go
	m.orders.Close()
}

// order sends one order. One that does not go through at once ends the connection, which must not hold up the output.
func (m *minder) order(kind byte, data []byte) error {
	b := binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(data)))
	if err := m.orders.SetWriteDeadline(time.Now().Add(orderTime)); err != nil {
		return err
	}
	_, err := m.orders.Write(append(b, data...))
	return err
}

// mind follows orders until they end, and then gives the terminal back.
func mind(orders io.Reader, in, out *os.File) error {
	var states [2]settings // before, raw
	var undo []byte
	for {
		kind, data, err := readOrder(orders)
		if err != nil {
			break // also in the middle of an order: the one before it holds
		}
		switch kind {
		case orderBegin:
			if _, err := binary.Decode(data, binary.NativeEndian, &states); err != nil {
				return fmt.Errorf("read terminal settings: %w", err)
			}
		case orderTell:
			undo = data
		case orderDismiss:
			return nil
		}
	}
	if states[0] == (settings{}) {
		return nil
	}
	var err error
	if now, e := getSettings(in, out); e == nil && now == states[1] {
		err = setSettings(in, out, states[0])
	}
	if len(undo) == 0 {
		return err
	}
	// What was being written may have ended in the middle of a sequence.
	return errors.Join(err, writeWithin(out, append([]byte(stringEnd), undo...)))
}

func readOrder(r io.Reader) (kind byte, data []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	size := binary.BigEndian.Uint32(head[1:])
	if size > maxOrder {
		return 0, nil, errors.New("too large")
	}
	data = make([]byte, size)
	_, err = io.ReadFull(r, data)
	return head[0], data, err
}

// writeWithin gives up when the terminal takes no output for long. The goroutine ends with the process then.
func writeWithin(out *os.File, b []byte) error {
	written := make(chan error, 1)
	go func() { written <- writeAll(out, bytes.Clone(b)) }()
	timer := time.NewTimer(minderTime)
	defer timer.Stop()
	select {
	case err := <-written:
		return err
	case <-timer.C:
		return ErrStuck
	}
}
