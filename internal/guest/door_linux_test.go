package guest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"moat/internal/line"
)

// doorChild is set in the process that the door is tested in: one with namespaces of its own.
const doorChild = "MOAT_DOOR_CHILD"

// TestDoor opens the door in a network namespace of its own, as root and not, and knocks at it in every way.
func TestDoor(t *testing.T) {
	if os.Getenv(doorChild) != "" {
		tryDoor(t)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestDoor$", "-test.v")
	cmd.Env = append(os.Environ(), doorChild+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
}

// tryDoor knocks at the door with a supervisor who has its sockets, and with one to whom visitors are carried.
func tryDoor(t *testing.T) {
	files, err := OpenDoor()
	if err != nil {
		t.Fatal(err)
	}
	arrived := make(chan string, 100)
	again := make([]*os.File, len(files))
	for i, f := range files {
		fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		again[i] = os.NewFile(uintptr(fd), f.Name())
	}
	had, err := line.Files{Names: line.DoorNames()[:len(files)], Files: files}.DoorSockets()
	if err != nil {
		t.Fatal(err)
	}
	stand(t, had, arrived)
	knockEverywhere(t, arrived)
	if err := had.Close(); err != nil {
		t.Fatal(err)
	}
	t.Run("carried", func(t *testing.T) {
		secret := make([]byte, 32)
		l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- Serve(ctx, Config{Listener: l, Secret: secret, Relayed: true, Door: again}) }()
		nc, err := net.Dial("unix", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conn, _, err := line.Open(ctx, line.Relayed(nc), secret)
		if err != nil {
			t.Fatal(err)
		}
		m, err := conn.Next()
		if err != nil {
			t.Fatal(err)
		}
		carried, err := conn.DoorSockets(m.(line.Door))
		if err != nil {
			t.Fatal(err)
		}
		stand(t, carried, arrived)
		knockEverywhere(t, arrived)
		cancel()
		conn.Close()
		<-ended
	})
}

// stand says of each that comes to a door where it wanted to go.
func stand(t *testing.T, door line.DoorSockets, arrived chan<- string) {
	for name, c := range door.Packets {
		go func() {
			buf := make([]byte, 100)
			for {
				n, from, err := c.ReadFrom(buf)
				if err != nil {
					return
				}
				arrived <- name + " " + string(buf[:n])
				c.WriteTo([]byte("answer"), from)
			}
		}()
	}
	for name, l := range door.Listeners {
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				arrived <- fmt.Sprintf("%s %v", name, wantedBy(t, c))
				c.Write([]byte("hello"))
				c.Close()
			}
		}()
	}
}

// wantedBy is where a connection wanted to go.
func wantedBy(t *testing.T, c net.Conn) string {
	if said, ok := c.(interface {
		OriginalDst() (netip.AddrPort, error)
	}); ok {
		to, err := said.OriginalDst()
		if err != nil {
			return c.LocalAddr().String()
		}
		return to.String()
	}
	return originalDst(t, c)
}

// knockEverywhere knocks in every way.
func knockEverywhere(t *testing.T, arrived <-chan string) {
	own, err := net.Listen("tcp", "127.0.0.1:0") // a program's own service stays its own
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := own.Accept()
			if err != nil {
				return
			}
			c.Write([]byte("own"))
			c.Close()
		}
	}()

	for _, c := range []struct{ network, to, want, arrives string }{
		{"tcp", "203.0.113.7:443", "hello", "tcp4 203.0.113.7:443"},
		{"tcp", "169.254.169.254:80", "hello", "tcp4 169.254.169.254:80"},
		{"tcp", "[2001:db8::66]:9", "hello", "tcp6 [2001:db8::66]:9"},
		{"tcp", "198.51.100.1:53", "hello", "tcp4 198.51.100.1:53"},
		{"tcp", "127.0.0.1:53", "hello", "tcp4 127.0.0.1:53"},
		{"tcp", ProxyAddress, "hello", "proxy 127.0.0.1:15080"},
		{"tcp", own.Addr().String(), "own", ""},
		{"udp", "8.8.8.8:53", "answer", "dns4 q"},
		{"udp", "127.0.0.1:53", "answer", "dns4 q"},
		{"udp", "[2001:db8::1]:53", "answer", "dns6 q"},
	} {
		got, err := knock(c.network, c.to)
		if err != nil || got != c.want {
			t.Errorf("%s %s: %q, %v; want %q", c.network, c.to, got, err, c.want)
			continue
		}
		if c.arrives != "" {
			if at := <-arrived; at != c.arrives {
				t.Errorf("%s %s arrived as %q, want %q", c.network, c.to, at, c.arrives)
			}
		}
	}
	for _, to := range []string{"203.0.113.7:123", "[2001:db8::66]:443", "255.255.255.255:67", "224.0.0.251:5353"} {
		start := time.Now()
		if _, err := knock("udp", to); err == nil || time.Since(start) > knockTime/2 {
			t.Errorf("udp %s: %v after %v, want a quick refusal", to, err, time.Since(start))
		}
	}
	if fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP); err == nil {
		err := unix.Sendto(fd, []byte{8, 0, 0xf7, 0xff, 0, 0, 0, 0}, 0, &unix.SockaddrInet4{Addr: [4]byte{203, 0, 113, 7}})
		if err == nil {
			t.Error("an ICMP packet left")
		}
	}
}

// knockTime is for an answer, which comes at once.
const knockTime = 30 * time.Second

// knock connects, sends a question and returns the answer.
func knock(network, to string) (string, error) {
	c, err := net.DialTimeout(network, to, knockTime)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(knockTime)); err != nil {
		return "", err
	}
	if network == "udp" {
		if _, err := c.Write([]byte("q")); err != nil {
			return "", err
		}
	}
	buf := make([]byte, 100)
	n, err := c.Read(buf)
	return string(buf[:n]), err
}

// originalDst is where a connection wanted to go.
func originalDst(t *testing.T, c net.Conn) string {
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Error(err)
		return ""
	}
	var dst netip.AddrPort
	raw.Control(func(fd uintptr) {
		var buf [28]byte
		size := uint32(len(buf))
		level, option := unix.SOL_IP, 80 // SO_ORIGINAL_DST, IP6T_SO_ORIGINAL_DST
		if c.LocalAddr().(*net.TCPAddr).IP.To4() == nil {
			level = unix.SOL_IPV6
		}
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, uintptr(level), uintptr(option), uintptr(unsafe.Pointer(&buf)), uintptr(unsafe.Pointer(&size)), 0)
		if errno != 0 {
			err = errno
			return
		}
		port := uint16(buf[2])<<8 | uint16(buf[3])
		if level == unix.SOL_IP {
			dst = netip.AddrPortFrom(netip.AddrFrom4([4]byte(buf[4:8])), port)
		} else {
			dst = netip.AddrPortFrom(netip.AddrFrom16([16]byte(buf[8:24])), port)
		}
	})
	if errors.Is(err, unix.ENOENT) || err != nil {
		return c.LocalAddr().String() // it was not redirected
	}
	return dst.String()
}
