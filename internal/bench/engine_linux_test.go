package bench

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// engineLimit bounds how long a Docker engine may take to start, and to stop.
const engineLimit = time.Minute

// engine is a Docker engine with an image of busybox.
type engine struct {
	docker string   // the client
	env    []string // its environment
}

const image = "moat-bench"

// startEngine starts a Docker engine of its own, away from any other on the machine: nothing of the network outside
// is touched, all its files are in a scratch folder, and t's end ends it. Nil, with the reason, if there can be none.
func startEngine(t testing.TB) (*engine, string) {
	t.Helper()
	if os.Geteuid() != 0 {
		return nil, "a Docker engine of its own takes root"
	}
	var missing []string
	found := make(map[string]string)
	for _, name := range []string{"dockerd", "docker", "busybox"} {
		path, err := exec.LookPath(name)
		if err != nil {
			missing = append(missing, name)
		}
		found[name] = path
	}
	if len(missing) > 0 {
		return nil, "not installed: " + strings.Join(missing, ", ")
	}
	dir := scratch(t)
	e := &engine{docker: found["docker"], env: append(os.Environ(),
		"DOCKER_HOST=unix://"+filepath.Join(dir, "docker.sock"), "DOCKER_CONFIG="+filepath.Join(dir, "client"), "DOCKER_CONTEXT=")}
	if err := launchEngine(t, found["dockerd"], dir); err != nil {
		return nil, err.Error()
	}
	if err := e.importBusybox(t.Context(), found["busybox"]); err != nil {
		return nil, err.Error()
	}
	return e, ""
}

// scratch is a folder with a path short enough for sockets in it.
func scratch(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "moat-bench-") //nolint:usetesting // t.TempDir is too long for a socket's address
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("clean up: %v", err)
		}
	})
	return dir
}

// launchEngine starts dockerd and returns when it says that it is ready (sd_notify(3)).
func launchEngine(t testing.TB, dockerd, dir string) error {
	t.Helper()
	notify := filepath.Join(dir, "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: notify, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("start dockerd: %w", err)
	}
	defer socket.Close()
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return fmt.Errorf("start dockerd: %w", err)
	}
	defer log.Close()
	cmd := exec.Command(dockerd,
		"--data-root", filepath.Join(dir, "data"), "--exec-root", filepath.Join(dir, "exec"),
		"--host", "unix://"+filepath.Join(dir, "docker.sock"), "--pidfile", filepath.Join(dir, "pid"),
		"--config-file", filepath.Join(dir, "none.json"),
		"--bridge=none", "--iptables=false", "--ip-forward=false", "--ip-masq=false")
	if err := os.WriteFile(filepath.Join(dir, "none.json"), []byte("{}"), 0o600); err != nil {
		return fmt.Errorf("start dockerd: %w", err)
	}
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+notify)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start dockerd: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait(); socket.Close() }()
	t.Cleanup(func() { stopEngine(t, cmd.Process, ended) })
	if err := awaitReady(socket); err != nil {
		text, _ := os.ReadFile(log.Name())
		return fmt.Errorf("dockerd did not start: %w\n%s", err, text[max(0, len(text)-2000):])
	}
	return nil
}

// stopEngine ends dockerd, which ends the containerd that it has started.
func stopEngine(t testing.TB, p *os.Process, ended <-chan error) {
	if err := p.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("stop dockerd: %v", err)
	}
	select {
	case <-ended:
	case <-time.After(engineLimit):
		t.Errorf("dockerd, pid %d, did not end", p.Pid)
	}
}

func awaitReady(socket *net.UnixConn) error {
	if err := socket.SetReadDeadline(time.Now().Add(engineLimit)); err != nil {
		return err
	}
	for buf := make([]byte, 4<<10); ; {
		n, err := socket.Read(buf)
		if err != nil {
			return err
		}
		if bytes.Contains(buf[:n], []byte("READY=1")) {
			return nil
		}
	}
}

// importBusybox makes the image from the machine's static busybox, so that no registry is asked.
func (e *engine) importBusybox(ctx context.Context, busybox string) error {
	program, err := os.ReadFile(busybox)
	if err != nil {
		return fmt.Errorf("make image: %w", err)
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	err = errors.Join(
		w.WriteHeader(&tar.Header{Name: "bin/", Typeflag: tar.TypeDir, Mode: 0o755}),
		w.WriteHeader(&tar.Header{Name: "bin/busybox", Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(program))}),
		writeAll(w, program))
	for _, name := range []string{"sh", "true", "cat", "echo", "yes", "head"} {
		err = errors.Join(err, w.WriteHeader(&tar.Header{Name: "bin/" + name, Typeflag: tar.TypeSymlink, Linkname: "busybox"}))
	}
	if err := errors.Join(err, w.Close()); err != nil {
		return fmt.Errorf("make image: %w", err)
	}
	cmd := exec.CommandContext(ctx, e.docker, "import", "-", image)
	cmd.Env, cmd.Stdin = e.env, &layer
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("docker import: %w\n%s", err, out)
	}
	return nil
}

func writeAll(w *tar.Writer, data []byte) error {
	_, err := w.Write(data)
	return err
}

// run is docker's equivalent of moat run.
func (e *engine) run(args ...string) program { return e.runWith(nil, args...) }

func (e *engine) runWith(flags []string, args ...string) program {
	all := append([]string{e.docker, "run", "--rm", "--network", "none"}, flags...)
	return program{args: append(append(all, image), args...), env: e.env}
}
