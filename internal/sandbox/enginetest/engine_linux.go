package enginetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// patience bounds how long an engine may take to start or stop.
const patience = 60 * time.Second

// Missing says why no engine can be run here, in one line; empty if one can.
func Missing() string {
	if os.Geteuid() != 0 {
		return "an engine of the test's own needs root"
	}
	for _, program := range []string{"dockerd", "containerd", "runc"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Sprintf("%s is not installed (scripts/install-deps installs it)", program)
		}
	}
	return ""
}

// An Engine is a dockerd of a test's own, or a Podman. Its methods are for one goroutine.
type Engine struct {
	Host string // for DOCKER_HOST

	dir    string
	start  func() (*exec.Cmd, error)
	cmd    *exec.Cmd
	ended  chan struct{} // closed when cmd has been waited for
	watch  *exec.Cmd     // ends the engine if the test's process dies
	client *http.Client
}

// Start starts an engine whose files are in dir, which must be short enough for a socket's address. args are added to
// dockerd's. The caller stops it.
func Start(dir string, args ...string) (*Engine, error) {
	e := newEngine(dir)
	e.start = func() (*exec.Cmd, error) { return e.dockerd(args) }
	return e, e.Begin()
}

func newEngine(dir string) *Engine {
	socket := filepath.Join(dir, "engine.sock")
	e := &Engine{Host: "unix://" + socket, dir: dir}
	e.client = &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
	}}
	return e
}

func (e *Engine) at(name string) string { return filepath.Join(e.dir, name) }

func (e *Engine) dockerd(args []string) (*exec.Cmd, error) {
	return exec.Command("dockerd", append([]string{
		"--host", e.Host, "--data-root", e.at("data"), "--exec-root", e.at("exec"), "--pidfile", e.at("pid"), "--config-file", e.at("none.json"),
		"--bridge", "none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false", "--log-level", "warn",
	}, args...)...), os.WriteFile(e.at("none.json"), []byte("{}"), 0o600)
}

// Begin starts the engine again after Stop or Kill.
func (e *Engine) Begin() error {
	log, err := os.OpenFile(filepath.Join(e.dir, "engine.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	if e.cmd, err = e.start(); err != nil {
		return err
	}
	e.cmd.Stdout, e.cmd.Stderr = log, log
	e.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt of the test must not reach it before the clean-up
	if err := e.cmd.Start(); err != nil {
		return fmt.Errorf("start the engine: %w", err)
	}
	ended := make(chan struct{})
	e.ended = ended
	go func(cmd *exec.Cmd) {
		_ = cmd.Wait() // how it ended is in its log
		close(ended)
	}(e.cmd)
	if err := e.startWatch(); err != nil {
		return errors.Join(err, e.cmd.Process.Kill())
	}
	return e.awaitAnswer()
}

// startWatch starts a process that ends the engine when this one dies, a time-out of the tests for one: the end of its standard
// input tells.
func (e *Engine) startWatch() error {
	e.watch = exec.Command("sh", "-c", `read _; kill -TERM "$0"`, strconv.Itoa(e.cmd.Process.Pid))
	e.watch.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if _, err := e.watch.StdinPipe(); err != nil {
		return err
	}
	if err := e.watch.Start(); err != nil {
		return fmt.Errorf("watch over the engine: %w", err)
	}
	return nil
}

// stopWatch ends that process first, so that it never signals another one.
func (e *Engine) stopWatch() error {
	if err := e.watch.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	_ = e.watch.Wait() // it was killed
	return nil
}

// awaitAnswer waits until the engine answers. It has no other way to say so without systemd.
func (e *Engine) awaitAnswer() error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(patience)
	for {
		if err := e.ask(http.MethodGet, "/_ping", nil, nil); err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-e.ended:
			return fmt.Errorf("the engine ended: %s", e.log())
		case <-limit:
			return fmt.Errorf("the engine does not answer: %s", e.log())
		}
	}
}

// log is the end of what the engine printed.
func (e *Engine) log() string {
	b, _ := os.ReadFile(filepath.Join(e.dir, "engine.log")) // it is only for a message
	return string(b[max(0, len(b)-2000):])
}

// Stop ends the engine in order, as a restart of the machine's would.
func (e *Engine) Stop() error { return e.end(syscall.SIGTERM) }

// Kill ends the engine at once, as a crash would, and its containerd with it. Containers go on.
func (e *Engine) Kill() error { return errors.Join(e.end(syscall.SIGKILL), e.killContainerd()) }

func (e *Engine) end(sig syscall.Signal) error {
	if err := e.stopWatch(); err != nil {
		return err
	}
	if err := e.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-e.ended:
		return nil
	case <-time.After(patience):
		return errors.New("the engine does not end")
	}
}

// Destroy ends the engine with everything in it, and removes its files. It is for after the last test.
func (e *Engine) Destroy() error {
	var list []struct {
		ID string `json:"Id"`
	}
	err := e.ask(http.MethodGet, "/containers/json?all=1", nil, &list)
	for _, c := range list {
		err = errors.Join(err, e.ask(http.MethodDelete, "/containers/"+c.ID+"?force=1&v=1", nil, nil))
	}
	return errors.Join(err, e.Stop(), e.killContainerd(), e.remove())
}

// killContainerd ends the containerd that the engine has started, which may outlive it when it was killed, and lets the next
// engine start one.
func (e *Engine) killContainerd() error {
	file := filepath.Join(e.dir, "exec/containerd/containerd.pid")
	b, err := os.ReadFile(file)
	if err != nil {
		return nil // it ended with the engine
	}
	var pid int
	if _, err := fmt.Sscan(string(b), &pid); err != nil {
		return err
	}
	if name, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil && strings.Contains(string(name), e.dir) {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
	}
	return os.Remove(file) // its number may stay in use until somebody has waited for it
}

// remove removes the engine's files. What an engine has started to clean up after a container may still be at work.
func (e *Engine) remove() error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); ; <-tick.C {
		err := errors.Join(e.unmount(), os.RemoveAll(e.dir))
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

// unmount takes away what the engine has left mounted.
func (e *Engine) unmount() error {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); len(fields) > 4 && strings.HasPrefix(fields[4], e.dir+"/") {
			_ = syscall.Unmount(fields[4], syscall.MNT_DETACH) // one below another goes away with it
		}
	}
	return nil
}

// ask sends a request of the Engine API and decodes the answer into out.
func (e *Engine) ask(method, path string, body io.Reader, out any) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://engine"+path, body)
	if err != nil {
		return err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/x-tar")
	}
	resp, err := e.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode >= http.StatusBadRequest:
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, data)
	case out != nil:
		return json.Unmarshal(data, out)
	}
	return nil
}

// Do sends a request that has no body, such as POST /containers/x/pause.
func (e *Engine) Do(method, path string) error { return e.ask(method, path, nil, nil) }

// Import makes an image of a tree's archive and returns its id. changes are instructions of a Dockerfile.
func (e *Engine) Import(archive io.Reader, tag string, changes ...string) (string, error) {
	query := url.Values{"fromSrc": {"-"}, "repo": {tag}, "changes": changes}
	if err := e.ask(http.MethodPost, "/images/create?"+query.Encode(), archive, nil); err != nil {
		return "", err
	}
	var image struct {
		ID string `json:"Id"`
	}
	err := e.ask(http.MethodGet, "/images/"+tag+"/json", nil, &image)
	return image.ID, err
}
