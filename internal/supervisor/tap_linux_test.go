package supervisor

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"moat/internal/line"
)

// TestOpenTap is lent what is no terminal, or what could hold the supervisor up or take memory away under it.
func TestOpenTap(t *testing.T) {
	terminal := func(flags int) *os.File {
		fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|flags, 0)
		if err != nil {
			t.Fatal(err)
		}
		return os.NewFile(uintptr(fd), "terminal")
	}
	slate := func() *os.File {
		s, f, err := line.NewSlate()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return f
	}
	memory := func() *os.File {
		fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		return os.NewFile(uintptr(fd), "memory")
	}
	pipe := func() *os.File {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close() })
		return w
	}
	for name, c := range map[string]struct {
		tty, slate *os.File
		want       string // in the error
	}{
		"a terminal":                {terminal(unix.O_NONBLOCK), slate(), ""},
		"a pipe":                    {pipe(), slate(), "look at the terminal"},
		"one that blocks":           {terminal(0), slate(), "may block"},
		"memory that may go away":   {terminal(unix.O_NONBLOCK), memory(), "slate"},
		"a pipe in place of memory": {terminal(unix.O_NONBLOCK), pipe(), "slate"},
	} {
		loan := pipe()
		tap, err := openTap(line.Files{Names: line.LoanNames(), Files: []*os.File{c.tty, c.slate, loan}})
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.want == "":
			if err := tap.close(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		case err == nil || !strings.Contains(err.Error(), c.want):
			t.Errorf("%s: %v", name, err)
		}
		for _, f := range []*os.File{c.tty, c.slate, loan} {
			if f.Close() == nil {
				t.Errorf("%s: %s is still open", name, f.Name())
			}
		}
	}
}
