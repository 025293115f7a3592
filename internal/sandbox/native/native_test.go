//go:build linux

package native_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"moat/internal/frame"
	"moat/internal/sandbox"
	"moat/internal/sandbox/native"
)

// TestMain lets the test binary be the guest of the sandboxes that it starts.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[0] == "moat" && os.Args[1] == "guest" {
		if err := guest(); err != nil {
			fmt.Fprintln(os.NewFile(5, "status"), "error:", err)
		}
		return
	}
	os.Exit(m.Run())
}

// guest runs, for each connection, the command that it reads from it.
func guest() error {
	_, msg, err := frame.NewReader(os.NewFile(3, "boot")).Next()
	if err != nil {
		return err
	}
	var boot native.Boot
	if err := json.Unmarshal(msg, &boot); err != nil {
		return err
	}
	if err := boot.Enter(); err != nil {
		return err
	}
	l, err := net.FileListener(os.NewFile(4, "listener"))
	if err != nil {
		return err
	}
	fmt.Fprintln(os.NewFile(5, "status"), "ok")
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			var args []string
			if line, err := bufio.NewReader(c).ReadBytes('\n'); err != nil || json.Unmarshal(line, &args) != nil {
				return
			}
			cmd := exec.Command(args[0], args[1:]...)
			cmd.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME=" + boot.Spec.User.Home}
			cmd.Dir = "/workspace"
			out, err := cmd.CombinedOutput()
			c.Write(out)
			if err != nil {
				fmt.Fprintln(c, "error:", err)
			}
		}()
	}
}

func testSpec(t testing.TB) sandbox.Spec {
	dir := t.TempDir()
	ws := filepath.Join(dir, "workspace")
	if err := os.Mkdir(ws, 0o755); err != nil {
		t.Fatal(err)
	}
	return sandbox.Spec{
		Ref:      sandbox.Ref{ID: fmt.Sprintf("t%d-%d", os.Getpid(), time.Now().UnixNano()), Dir: filepath.Join(dir, "sandbox")},
		Hostname: "moat", Workspace: ws,
		User:   sandbox.User{UID: os.Getuid(), GID: os.Getgid(), Name: "agent", Home: "/home/agent"},
		Secret: make([]byte, 32),
	}
}

func run(t testing.TB, r *native.Runtime, ref sandbox.Ref, args ...string) string {
	t.Helper()
	c, err := r.Dial(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b, _ := json.Marshal(args)
	fmt.Fprintf(c, "%s\n", b)
	out, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestTry(t *testing.T) {
	r := &native.Runtime{}
	spec := testSpec(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := r.Start(ctx, spec); err != nil {
		t.Fatal(err)
	}
	defer r.Remove(context.Background(), spec.Ref)
	t.Log(run(t, r, spec.Ref, "/bin/sh", "-c", os.Getenv("TRY")))
}

func BenchmarkStart(b *testing.B) {
	r := &native.Runtime{}
	spec := testSpec(b)
	for b.Loop() {
		if err := r.Start(b.Context(), spec); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := r.Remove(b.Context(), spec.Ref); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

func TestStamp(t *testing.T) {
	r := &native.Runtime{}
	for range 5 {
		spec := testSpec(t)
		t0 := time.Now()
		if err := r.Start(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
		t.Log(time.Since(t0))
		b, _ := os.ReadFile(spec.Dir + "/guest.log")
		t.Log("\n" + string(b))
		r.Remove(context.Background(), spec.Ref)
	}
}
