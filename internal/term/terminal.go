package term

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/term"
)

var (
	// ErrNotTerminal says that the input or the output is no terminal.
	ErrNotTerminal = errors.New("not a terminal")
	// ErrGivenBack says that the terminal is not in raw mode (any more).
	ErrGivenBack = errors.New("the terminal was given back")
	// ErrStuck says that the terminal takes no output: somebody pressed Ctrl-S, or the connection to it hangs.
	ErrStuck = errors.New("the terminal takes no output")
)

// restoreTime is how long a restoration waits for a terminal that takes no output.
const restoreTime = time.Second

// Size is a terminal's size in characters. Both are 0 where the terminal does not know it.
type Size struct{ Columns, Rows int }

// Terminal is the person's terminal. Its methods may be called from any goroutine; Read from one at a time.
//
// Whoever makes it raw must see to it that Restore is called: deferred by the one who made it raw, by the owner of the
// signals, and by [Terminal.RestoreOnPanic] in every goroutine of the session. For what runs no deferred function
// (SIGKILL, a fatal error of the Go runtime, a goroutine of somebody else) there is [Terminal.StartMinder].
type Terminal struct {
	in, out *os.File
	wake    *waker
	writing chan struct{} // holds a value while somebody writes

	raw atomic.Bool // between MakeRaw and Restore

	mu     sync.Mutex // for the fields below, and held for as long as a restoration takes
	before settings
	undo   []byte
	minder *minder
}

// Open takes the terminal whose input is in and whose output is out; both stay the caller's, and are not changed until
// MakeRaw. Whoever opens closes.
func Open(in, out *os.File) (*Terminal, error) {
	for _, f := range []*os.File{in, out} {
		if !term.IsTerminal(int(f.Fd())) {
			return nil, fmt.Errorf("open %s: %w", f.Name(), ErrNotTerminal)
		}
	}
	wake, err := newWaker()
	if err != nil {
		return nil, fmt.Errorf("open terminal: %w", err)
	}
	return &Terminal{in: in, out: out, wake: wake, writing: make(chan struct{}, 1)}, nil
}

// Close gives the terminal back and frees what Open took. No Read may run.
func (t *Terminal) Close() error {
	return errors.Join(t.Restore(), t.wake.close())
}

// MakeRaw puts the terminal in raw mode: every key comes as it is typed, Ctrl-C too. It does nothing if it is raw. After
// Restore it may be made raw again.
func (t *Terminal) MakeRaw() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.raw.Load() {
		return nil
	}
	before, err := getSettings(t.in, t.out)
	if err != nil {
		return fmt.Errorf("read terminal settings: %w", err)
	}
	t.wake.drain()
	if err := makeRaw(t.in, t.out); err != nil {
		return fmt.Errorf("make terminal raw: %w", errors.Join(err, setSettings(t.in, t.out, before)))
	}
	t.before, t.undo = before, nil
	t.raw.Store(true)
	return nil
}

// SetUndo says which bytes Restore, or the minder, must write, instead of those of the last call ([Filter.Undo]). It is
// called before the output that makes them necessary is written, so that there is no moment without.
func (t *Terminal) SetUndo(undo []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.undo = append(t.undo[:0], undo...)
	if t.minder != nil && t.minder.tell(undo) != nil {
		t.minder = nil // it is gone; Restore remains
	}
}

// Restore gives the terminal back: the settings that it had, and the bytes of SetUndo. It does nothing if the terminal
// is not raw, and when it returns the terminal is given back, no matter who began. A Read that runs returns
// ErrGivenBack, a Write that comes later too.
//
// The settings come back at once. A terminal that takes no output is waited for one second; then the error is ErrStuck,
// and the rest is done as soon as it takes output again, by the minder if this process has ended. What was typed and
// not read stays for whoever reads next.
func (t *Terminal) Restore() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.raw.Swap(false) {
		return nil
	}
	t.wake.wake()
	err := setSettings(t.in, t.out, t.before)
	if err != nil {
		err = fmt.Errorf("restore terminal settings: %w", err)
	}
	undo, minder := append([]byte(nil), t.undo...), t.minder
	t.minder = nil
	written := make(chan error, 1)
	go func() { // ends when the terminal takes output, or with the process
		t.writing <- struct{}{}
		defer func() { <-t.writing }()
		err := writeAll(t.out, undo)
		if minder != nil {
			minder.dismiss()
		}
		written <- err
	}()
	timer := time.NewTimer(restoreTime)
	defer timer.Stop()
	select {
	case e := <-written:
		return errors.Join(err, e)
	case <-timer.C:
		return errors.Join(err, ErrStuck)
	}
}

// RestoreOnPanic is to be deferred, directly, in every goroutine of a session: when it panics, the terminal is given
// back before the panic goes on and is printed.
func (t *Terminal) RestoreOnPanic() {
	if cause := recover(); cause != nil {
		_ = t.Restore() // the panic says more
		panic(cause)
	}
}

// Read reads what is typed while the terminal is raw. Restore ends it, and nothing that is typed afterwards is read. A
// terminal that is gone is the end of the input.
func (t *Terminal) Read(p []byte) (int, error) {
	for t.raw.Load() {
		ready, err := t.wake.wait(t.in)
		if err != nil {
			return 0, fmt.Errorf("wait for a key: %w", err)
		}
		if ready && t.raw.Load() {
			n, err := t.in.Read(p)
			if errors.Is(err, syscall.EIO) {
				err = io.EOF
			}
			return n, err
		}
	}
	return 0, ErrGivenBack
}

// Write writes output while the terminal is raw. It may wait for the terminal for as long as that takes.
func (t *Terminal) Write(p []byte) (int, error) {
	t.writing <- struct{}{}
	defer func() { <-t.writing }()
	if !t.raw.Load() {
		return 0, ErrGivenBack
	}
	return t.out.Write(p)
}

// Size is the terminal's size now.
func (t *Terminal) Size() (Size, error) {
	columns, rows, err := term.GetSize(int(t.out.Fd()))
	if err != nil {
		return Size{}, fmt.Errorf("read terminal size: %w", err)
	}
	return Size{columns, rows}, nil
}

// Sizes yields the size now, and then whenever it is another one, until ctx is done. A size that was not taken before
// the next one came is left out.
func (t *Terminal) Sizes(ctx context.Context) iter.Seq[Size] {
	return func(yield func(Size) bool) {
		changes, stop := resizes()
		defer stop()
		last := Size{-1, -1}
		for {
			if size, err := t.Size(); err == nil && size != last {
				if last = size; !yield(size) {
					return
				}
			}
			select {
			case <-ctx.Done():
				return
			case <-changes:
			}
		}
	}
}

// writeAll writes b if it is not empty.
func writeAll(w io.Writer, b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if _, err := w.Write(b); err != nil {
		return fmt.Errorf("write to the terminal: %w", err)
	}
	return nil
}
