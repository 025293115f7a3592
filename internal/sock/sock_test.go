package sock_test

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"moat/internal/sock"
)

func TestListenDial(t *testing.T) {
	for name, sub := range map[string]string{"short": "s", "long": strings.Repeat("d", 120) + "/" + strings.Repeat("e", 120)} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), sub)
			if err := os.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			for range 2 { // the second time the file of the first is in the way
				l, err := sock.Listen(dir, "sock")
				if err != nil {
					t.Fatal(err)
				}
				fi, err := os.Lstat(filepath.Join(dir, "sock"))
				if err != nil || fi.Mode() != os.ModeSocket|0o600 {
					t.Fatalf("socket file: %v, %v", fi, err)
				}
				c, err := sock.Dial(t.Context(), dir, "sock")
				if err != nil {
					t.Fatal(err)
				}
				s, err := l.AcceptUnix()
				if err != nil {
					t.Fatal(err)
				}
				if uid, err := sock.PeerUID(s); err != nil || uid != os.Getuid() {
					t.Fatalf("peer is %d, %v; want %d", uid, err, os.Getuid())
				}
				if _, err := c.Write([]byte("hello")); err != nil {
					t.Fatal(err)
				}
				c.Close()
				if got, err := io.ReadAll(s); err != nil || string(got) != "hello" {
					t.Fatalf("read %q, %v", got, err)
				}
				s.Close()
				l.Close()
			}
			if _, err := sock.Dial(t.Context(), dir, "sock"); err == nil {
				t.Fatal("a socket that nobody listens on was reached")
			}
		})
	}
}
