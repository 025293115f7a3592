package term

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/windows"
	"golang.org/x/term"
)

// settings are the modes of the console's input and output.
type settings struct{ In, Out uint32 }

func getSettings(in, out *os.File) (s settings, err error) {
	return s, errors.Join(
		windows.GetConsoleMode(windows.Handle(in.Fd()), &s.In),
		windows.GetConsoleMode(windows.Handle(out.Fd()), &s.Out))
}

func setSettings(in, out *os.File, s settings) error {
	return errors.Join(
		windows.SetConsoleMode(windows.Handle(in.Fd()), s.In),
		windows.SetConsoleMode(windows.Handle(out.Fd()), s.Out))
}

// makeRaw makes keys come as the sequences of a terminal, and lets sequences do on the screen what they do there.
func makeRaw(in, out *os.File) error {
	if _, err := term.MakeRaw(int(in.Fd())); err != nil {
		return err
	}
	var mode uint32
	if err := windows.GetConsoleMode(windows.Handle(out.Fd()), &mode); err != nil {
		return err
	}
	mode |= windows.ENABLE_PROCESSED_OUTPUT | windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING | windows.DISABLE_NEWLINE_AUTO_RETURN
	return windows.SetConsoleMode(windows.Handle(out.Fd()), mode)
}

// sizePeriod is how often the size is looked at: a console tells of its size only among the records of its input, which
// cannot be read as text at the same time.
const sizePeriod = 250 * time.Millisecond

func resizes() (changes <-chan time.Time, stop func()) {
	ticker := time.NewTicker(sizePeriod)
	return ticker.C, ticker.Stop
}

// waker waits for input and can be woken from it.
type waker struct{ event windows.Handle }

func newWaker() (*waker, error) {
	event, err := windows.CreateEvent(nil, 1, 0, nil)
	return &waker{event}, err
}

func (w *waker) wake()  { _ = windows.SetEvent(w.event) }
func (w *waker) drain() { _ = windows.ResetEvent(w.event) }

func (w *waker) close() error { return windows.CloseHandle(w.event) }

// wait returns true when there is a record of input, false when it was woken. Where the record is no key (the window
// got the focus), the read that follows waits for one, and cannot be woken.
func (w *waker) wait(in *os.File) (bool, error) {
	n, err := windows.WaitForMultipleObjects([]windows.Handle{w.event, windows.Handle(in.Fd())}, false, windows.INFINITE)
	return n != windows.WAIT_OBJECT_0, err
}
