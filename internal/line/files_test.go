//go:build unix

package line

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"syscall"
	"testing"

	"moat/internal/frame"
)

// pipes returns n pipes whose writing ends are closed after having written their number.
func pipes(t *testing.T, n int) (files []*os.File, names []string) {
	t.Helper()
	for i := range n {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		_, _ = w.Write([]byte{byte(i)})
		w.Close()
		t.Cleanup(func() { r.Close() })
		files, names = append(files, r), append(names, string(rune('a'+i)))
	}
	return files, names
}

func descriptors(t *testing.T) int {
	t.Helper()
	runtime.GC()
	list, err := os.ReadDir("/dev/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func TestFilesTravel(t *testing.T) {
	guest, host := opened(t)
	for _, n := range []int{1, 3, MaxFiles} {
		files, names := pipes(t, n)
		big := Output{Stream: Stdout, Data: make([]byte, MaxData)}
		go func() { // in the middle of a busy stream
			_ = guest.Send(big, big)
			_ = guest.Send(Files{Names: names, Files: files})
			_ = guest.Send(big, big)
		}()
		got := 0
		for range 5 {
			m, err := host.Next()
			if err != nil {
				t.Fatal(err)
			}
			f, ok := m.(Files)
			if !ok {
				continue
			}
			for i, file := range f.Files {
				b, err := io.ReadAll(file)
				if err != nil || !bytes.Equal(b, []byte{byte(i)}) || f.Names[i] != names[i] {
					t.Errorf("file %d of %d: %q, %v", i, n, b, err)
				}
				flags, _, _ := syscall.Syscall(syscall.SYS_FCNTL, file.Fd(), syscall.F_GETFD, 0)
				if flags&syscall.FD_CLOEXEC == 0 {
					t.Error("a received descriptor would reach other programs")
				}
				file.Close()
				got++
			}
		}
		if got != n {
			t.Errorf("%d of %d files came", got, n)
		}
	}
}

func TestFilesNobodyAskedFor(t *testing.T) {
	a, b := pair(t)
	host := newConn(b, guestSide)
	defer host.Close()
	files, _ := pipes(t, 3)
	rights := syscall.UnixRights(int(files[0].Fd()), int(files[1].Fd()), int(files[2].Fd()))
	send := func(data []byte) {
		t.Helper()
		if _, _, err := a.WriteMsgUnix(data, rights, nil); err != nil {
			t.Fatal(err)
		}
	}
	before := descriptors(t)
	spawned := frame.Append(nil, KindSpawned, []byte(`{"pid":1}`))
	one := frame.Append(nil, KindFiles, []byte(`{"names":["x"]}`))
	send(spawned)
	send(one)
	if m, err := host.Next(); err != nil || m.Kind() != KindSpawned {
		t.Fatal(m, err)
	}
	m, err := host.Next()
	if err != nil {
		t.Fatal(err)
	}
	if f := m.(Files); len(f.Files) != 1 || descriptors(t) != before+1 {
		t.Fatalf("%d files, %d descriptors more", len(f.Files), descriptors(t)-before)
	} else {
		f.Files[0].Close()
	}
	many := frame.Append(nil, KindOutput, make([]byte, 60000))
	for i := range 10 { // within one frame
		send(many[i*10 : i*10+10])
	}
	if _, err := host.Next(); !errors.Is(err, ErrInvalid) {
		t.Errorf("30 descriptors in one frame: %v", err)
	}
	if n := descriptors(t); n != before {
		t.Errorf("%d descriptors left", n-before)
	}
}

func TestFilesThatDidNotCome(t *testing.T) {
	a, b := pair(t)
	host := newConn(b, guestSide)
	_, _ = a.Write(frame.Append(nil, KindFiles, []byte(`{"names":["x"]}`)))
	if _, err := host.Next(); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
}

func TestFilesOnAnotherStream(t *testing.T) {
	x, y := net.Pipe()
	guest, host := newConn(x, hostSide), newConn(y, guestSide)
	defer guest.Close()
	defer host.Close()
	files, names := pipes(t, 1)
	if err := guest.Send(Files{Names: names, Files: files}); !errors.Is(err, ErrNoFiles) {
		t.Error(err)
	}
	go func() { _, _ = guest.nc.Write(frame.Append(nil, KindFiles, []byte(`{"names":["x"]}`))) }()
	if _, err := host.Next(); !errors.Is(err, ErrNoFiles) {
		t.Error(err)
	}
}
