package guest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"moat/internal/line"
)

// streams are both sides of a command's standard files.
type streams struct {
	child   [3]uintptr // descriptors for the command
	own     []int      // those of them to close when it was started
	stdin   *os.File   // nil: nobody types
	tty     *os.File
	slave   *os.File
	readers []reader
}

// A reader is a stream of output.
type reader struct {
	file *os.File
	kind line.Stream
}

// openStreams makes pipes or a terminal for a command.
func openStreams(m line.Spawn) (*streams, error) {
	var st streams
	open := st.openPipes
	if m.TTY {
		open = st.openTerminal
	}
	if err := open(m); err != nil {
		st.closeChild()
		st.closeOurs()
		return nil, err
	}
	return &st, nil
}

func (st *streams) openPipes(m line.Spawn) error {
	if m.Stdin {
		r, w, err := pipe()
		if err != nil {
			return err
		}
		if st.stdin, err = st.keep(w, r); err != nil {
			return err
		}
		st.child[0] = uintptr(r)
	} else {
		null, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open %s: %w", os.DevNull, err)
		}
		st.own = append(st.own, null)
		st.child[0] = uintptr(null)
	}
	for _, kind := range []line.Stream{line.Stdout, line.Stderr} {
		r, w, err := pipe()
		if err != nil {
			return err
		}
		f, err := st.keep(r, w)
		if err != nil {
			return err
		}
		st.child[kind] = uintptr(w)
		st.readers = append(st.readers, reader{f, kind})
	}
	return nil
}

func pipe() (r, w int, err error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return 0, 0, fmt.Errorf("make a pipe: %w", err)
	}
	return p[0], p[1], nil
}

// keep makes a file of our end, that waits without a thread, and notes the command's.
func (st *streams) keep(ours, child int) (*os.File, error) {
	st.own = append(st.own, child)
	if err := unix.SetNonblock(ours, true); err != nil {
		_ = unix.Close(ours)
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	return os.NewFile(uintptr(ours), "pipe"), nil
}

// openTerminal makes a terminal in the sandbox's own devpts. Its size is right before the command sees it.
func (st *streams) openTerminal(m line.Spawn) error {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open a terminal: %w", err)
	}
	st.tty = os.NewFile(uintptr(fd), "terminal") // a file that the runtime's poller does not watch; see openReader
	if err := unix.SetNonblock(fd, true); err != nil {
		return fmt.Errorf("open a terminal: %w", err)
	}
	if m.Stdin {
		st.stdin = st.tty
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return fmt.Errorf("unlock a terminal: %w", err)
	}
	// The other end by descriptor and not by name: the name means something else if /dev/pts is not what it seems.
	slave, err := peerOf(fd)
	if err != nil {
		return fmt.Errorf("open a terminal: %w", err)
	}
	st.slave = os.NewFile(uintptr(slave), "terminal's command side")
	rows, cols := m.Rows, m.Cols
	if rows == 0 || cols == 0 {
		rows, cols = 24, 80
	}
	if err := setSize(st.tty, rows, cols); err != nil {
		return fmt.Errorf("set the size of a terminal: %w", err)
	}
	st.child = [3]uintptr{uintptr(slave), uintptr(slave), uintptr(slave)}
	reading, err := openWatched(st.tty)
	if err != nil {
		return err
	}
	st.readers = []reader{{reading, line.Terminal}}
	return nil
}

// openWatched returns a second file of a terminal, to wait for it. The runtime's poller is woken by everything that happens
// to what it watches, so there is one only while somebody here may have to wait.
func openWatched(tty *os.File) (*os.File, error) {
	var other int
	err := control(tty, func(fd int) (err error) {
		other, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open a terminal: %w", err)
	}
	return os.NewFile(uintptr(other), "terminal"), nil
}

// closeChild closes what only the command needs.
func (st *streams) closeChild() {
	for _, fd := range st.own {
		_ = unix.Close(fd)
	}
	st.own = nil
}

// closeOurs closes what the guest would keep.
func (st *streams) closeOurs() {
	for _, r := range st.readers {
		_ = r.file.Close()
	}
	for _, f := range []*os.File{st.stdin, st.tty, st.slave} {
		if f != nil {
			_ = f.Close() // closed twice where two of them are one: harmless
		}
	}
}

// peerOf opens the command's side of the terminal whose master is fd (ioctl_tty(2), Linux 4.13).
func peerOf(fd int) (int, error) {
	r, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		return -1, errno
	}
	return int(r), nil
}

func setSize(tty *os.File, rows, cols uint16) error {
	return control(tty, func(fd int) error {
		return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols})
	})
}

// foreground returns the terminal's foreground process group.
func foreground(tty *os.File) (pgrp int, err error) {
	err = control(tty, func(fd int) (err error) {
		pgrp, err = unix.IoctlGetInt(fd, unix.TIOCGPGRP)
		return err
	})
	return pgrp, err
}

// control calls f with a file's descriptor, which stays open meanwhile.
func control(file *os.File, f func(fd int) error) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var ferr error
	if err := raw.Control(func(fd uintptr) { ferr = f(int(fd)) }); err != nil {
		return err
	}
	return ferr
}

// pump reads a stream to its end.
func (p *process) pump(r reader) {
	cut, lend := p.read(r)
	for lend {
		if r.file = p.lend(r.file); r.file == nil {
			break
		}
		cut, lend = p.read(r)
	}
	drain := p.g.endStream(p, r, cut)
	if r.kind == line.Terminal {
		p.dispose()
	}
	if drain { // whoever still holds the pipe must not get SIGPIPE or wait for ever because its parent has ended
		_ = r.file.SetReadDeadline(time.Time{})
		_, _ = io.Copy(io.Discard, r.file)
	}
	p.g.mu.Lock()
	delete(p.g.streams, r.file)
	p.g.mu.Unlock()
	if r.file != nil {
		_ = r.file.Close()
	}
}

// endStream notes that nothing of a stream will be read any more. drain says whether to throw the rest away
// rather than to close it.
func (g *guest) endStream(p *process, r reader, cut bool) (drain bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p.mu.Lock()
	if p.open = slices.DeleteFunc(p.open, func(f *os.File) bool { return f == r.file }); r.kind == line.Terminal {
		p.open = nil
	}
	if cut && p.exit != nil {
		p.exit.Cut = true
	}
	p.mu.Unlock()
	g.settle(p)
	return cut && r.kind != line.Terminal && !g.stopped && len(g.streams) <= 2*line.MaxProcesses
}

// What came of trying to read.
type progress int

const (
	some  progress = iota // there may be more
	dry                   // nothing now
	ended                 // nothing ever
)

// read puts a stream's bytes into the window. It returns at the stream's end, when the guest ends, if the process has
// expired, when nothing is there at the moment (cut), and when a host wants to read the stream itself (lend).
//
// It waits for readability without holding a buffer, so an idle stream costs neither a thread nor memory, and it
// reads and commits under one lock, so the window has the streams in the order in which they were read.
func (p *process) read(r reader) (cut, lend bool) {
	raw, err := r.file.SyscallConn()
	if err != nil {
		return false, false
	}
	var got progress
	wait := func(fd uintptr) bool { got = p.fill(int(fd), r.kind); return got != dry }
	once := func(fd uintptr) { wait(fd) }
	expired := false
	for p.awaitRoom(r.kind) {
		if expired {
			err = raw.Control(once)
		} else {
			err = raw.Read(wait)
		}
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			if lend, expired = p.interrupted(r); lend {
				return false, true
			}
		case err != nil || got == ended:
			return false, false
		case got == dry:
			return true, false
		}
	}
	return false, false
}

// awaitRoom waits until there is room in the window, or a host wants to read the stream. It reports false when the guest
// ends.
func (p *process) awaitRoom(kind line.Stream) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.out.full() && !p.closed && !p.borrowed(kind) {
		p.room.Wait()
	}
	return !p.closed
}

// fill reads once.
func (p *process) fill(fd int, kind line.Stream) progress {
	p.mu.Lock()
	defer p.mu.Unlock()
	buf := p.out.space()
	if buf == nil {
		return some // the other stream took the room
	}
	n, err := unix.Read(fd, buf)
	switch {
	case n > 0:
		p.out.commit(n, kind, time.Now())
		p.g.moved.Add(int64(n))
		p.g.wake()
		return some
	case err == unix.EINTR:
		return some
	case err == unix.EAGAIN:
		p.out.rest()
		p.g.calm()
		return dry
	}
	p.out.rest()
	p.g.calm()
	return ended // end of file, or EIO from a terminal that nobody holds
}
