package guest

import (
	"errors"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// moreExpendable is how much sooner than the guest a command is killed when memory runs out, in thousandths of it.
const moreExpendable = 100

// A standing is this process's oom_score_adj (proc(5)), which commands inherit. Commands get a higher one, so that
// the kernel ends them before the guest when memory runs out. Without it, many small processes at a memory limit
// would be spared and the guest, and so the sandbox, would end. The nil standing does nothing.
type standing struct {
	file *os.File
	own  int
}

// openStanding leaves this process dumpable, because only then its files in /proc belong to its user. Protect
// comes next, before the first command.
func openStanding() (*standing, error) {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0); err != nil {
		return nil, err
	}
	file, err := os.OpenFile("/proc/self/oom_score_adj", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	var text [16]byte
	n, err := file.Read(text[:])
	if err == nil {
		var own int
		if own, err = strconv.Atoi(strings.TrimSpace(string(text[:n]))); err == nil {
			return &standing{file, own}, nil
		}
	}
	return nil, errors.Join(err, file.Close())
}

// raise is for the time in which a command is started, until the function that it returns is called. Anybody may
// raise the value, and lower it again to what it was.
func (s *standing) raise() (lower func()) {
	if s == nil {
		return func() {}
	}
	s.set(min(s.own+moreExpendable, 1000))
	return func() { s.set(s.own) }
}

// set is best effort: a command without it is no worse off.
func (s *standing) set(v int) { _, _ = s.file.WriteString(strconv.Itoa(v)) }

func (s *standing) close() {
	if s != nil {
		_ = s.file.Close()
	}
}
