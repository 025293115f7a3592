package line

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// rawTerminal makes a terminal that changes nothing, and returns both sides of it.
func rawTerminal(t *testing.T) (master int, slave *os.File) {
	t.Helper()
	master, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(master) })
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	fd, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		t.Fatal(errno)
	}
	settings, err := unix.IoctlGetTermios(int(fd), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	settings.Oflag &^= unix.OPOST
	if err := unix.IoctlSetTermios(int(fd), unix.TCSETS, settings); err != nil {
		t.Fatal(err)
	}
	slave = os.NewFile(fd, "slave")
	t.Cleanup(func() { slave.Close() })
	return master, slave
}

func awaitInput(t *testing.T, fd int) {
	t.Helper()
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 10_000)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if n != 1 || err != nil {
			t.Fatalf("nothing to read: %v", err)
		}
		return
	}
}

// TestSlate reads a terminal and looks after each step at what a death would leave. A second mapping is the other side's.
func TestSlate(t *testing.T) {
	ours, file, err := NewSlate()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	defer ours.Close()
	s, err := OpenSlate(file)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	left := func(at uint64, data string) {
		t.Helper()
		if gotAt, got := ours.Recover(); gotAt != at || string(got) != data {
			t.Fatalf("what is left: %.40q from %d, want %.40q from %d", got, gotAt, data, at)
		}
	}
	master, slave := rawTerminal(t)
	ours.Begin(100)
	left(100, "")
	if data, err := s.Read(master); !errors.Is(err, unix.EAGAIN) {
		t.Fatalf("read %q, %v", data, err)
	}
	left(100, "")
	all := strings.Repeat("0123456789", 5000)
	written := make(chan struct{})
	go func() {
		slave.WriteString(all) // as much as a terminal does not take at once
		close(written)
	}()
	var recorded strings.Builder
	for recorded.Len() < len(all) {
		awaitInput(t, master)
		data, err := s.Read(master)
		if err != nil {
			t.Fatal(err)
		}
		at := uint64(100 + recorded.Len())
		left(at, string(data))
		if len(data)%2 == 0 && len(data) < MaxData/2 && recorded.Len()+len(data) < len(all) {
			awaitInput(t, master)
			if data, err = s.Read(master); err != nil {
				t.Fatal(err)
			}
			left(at, string(data))
		}
		recorded.Write(data)
		s.Recorded(len(data))
		left(100+uint64(recorded.Len()), "")
	}
	if recorded.String() != all {
		t.Error("not what was written")
	}
	<-written // until then it keeps the terminal open
	slave.Close()
	if data, err := s.Read(master); !errors.Is(err, unix.EIO) {
		t.Errorf("at the end: %q, %v", data, err)
	}
	left(100+uint64(len(all)), "")
}

// TestSlateHalfRead recovers a slate as a death within a read leaves it, and as nobody ever does.
func TestSlateHalfRead(t *testing.T) {
	s, file, err := NewSlate()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	defer s.Close()
	for name, c := range map[string]struct {
		have uint64
		data string
		want string
	}{
		"before the read":             {2<<32 | 5, "ab\xfe\xfe\xfe", "ab"},
		"after the read":              {2<<32 | 5, "abcde", "abcde"},
		"it ended with the blank":     {2<<32 | 5, "abc\xfe\xfe", "abc\xfe\xfe"},
		"nothing was being read":      {3<<32 | 3, "abcde", "abc"},
		"it is said to end earlier":   {3<<32 | 1, "abcde", "abc"},
		"nothing was read":            {0, "abcde", ""},
		"more than there is room for": {1<<63 | 1<<31, "", ""},
	} {
		s.Begin(7)
		_, have := s.note()
		clear(s.data)
		copy(s.data, c.data)
		have.Store(c.have)
		at, data := s.Recover()
		if c.have>>32 > MaxData {
			if len(data) > MaxData {
				t.Errorf("%s: %d bytes", name, len(data))
			}
			if _, err := s.Read(-1); err == nil {
				t.Errorf("%s: it was read into", name)
			}
			continue
		}
		if at != 7 || !bytes.Equal(data, []byte(c.want)) {
			t.Errorf("%s: %q from %d, want %q", name, data, at, c.want)
		}
	}
}

// TestOpenSlate refuses memory that could be taken away while it is used.
func TestOpenSlate(t *testing.T) {
	for name, c := range map[string]struct {
		size  int64
		seals int
	}{
		"not sealed":          {slateSize, 0},
		"sealed against more": {slateSize, unix.F_SEAL_GROW},
		"too small":           {slateSize - 1, slateSeals},
		"too large":           {slateSize + 1, slateSeals},
	} {
		fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
		if err != nil {
			t.Fatal(err)
		}
		f := os.NewFile(uintptr(fd), "test")
		if err := f.Truncate(c.size); err != nil {
			t.Fatal(err)
		}
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, c.seals); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenSlate(f); err == nil {
			t.Errorf("%s: it was opened", name)
		}
		f.Close()
	}
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := OpenSlate(f); err == nil {
		t.Error("a file was opened")
	}
}
