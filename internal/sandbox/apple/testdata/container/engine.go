package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
)

// engineAsk asks the engine, and decodes what it answers.
func (s standIn) engineAsk(method, path string, body, answer any) error {
	host := s.read("engine")
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", strings.TrimPrefix(host, "unix://"))
		},
	}}
	var send io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		send = bytes.NewReader(b)
	}
	req, err := http.NewRequest(method, "http://engine"+path, send)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode >= 300 && resp.StatusCode != http.StatusNotModified:
		return fmt.Errorf("engine: %s: %s", resp.Status, bytes.TrimSpace(b))
	case answer != nil:
		return json.Unmarshal(b, answer)
	}
	return nil
}

func (s standIn) engineDo(method, path string) error { return s.engineAsk(method, path, nil, nil) }

// engineCreate makes a container that has of a machine of Apple's what a test can see: its mounts, its user, its capabilities,
// and no network. The walls are the engine's.
func (s standIn) engineCreate(c container) (string, error) {
	list, err := mounts(request{opts: c.Opts})
	if err != nil {
		return "", err
	}
	binds := []any{}
	for _, m := range list {
		binds = append(binds, map[string]any{
			"Type": "bind", "Source": m.source, "Target": m.target, "ReadOnly": m.readOnly, "BindOptions": map[string]any{"Propagation": "rprivate"},
		})
	}
	first := func(name string) string { return strings.Join(c.Opts[name], " ") }
	if first("network") != "none" {
		return "", errors.New("the stand-in plays no network")
	}
	masked := []string{}
	for _, name := range strings.Fields("acpi asound interrupts kallsyms kcore key-users keys kmsg kpagecgroup kpagecount kpageflags latency_stats modules mtrr pagetypeinfo sched_debug scsi slabinfo timer_list timer_stats vmallocinfo") {
		masked = append(masked, "/proc/"+name)
	}
	host, _, _ := strings.Cut(c.Name, ".")
	request := map[string]any{
		"Hostname": host, "User": first("uid") + ":" + first("gid"), "WorkingDir": first("workdir"), "Image": c.Digest, "Env": c.Opts["env"],
		"Entrypoint": append([]string{first("entrypoint")}, c.Args...), "Labels": c.Labels, "Healthcheck": map[string]any{"Test": []string{"NONE"}},
		"HostConfig": map[string]any{
			"NetworkMode": "none", "Mounts": binds, "CapDrop": c.Opts["cap-drop"], "CapAdd": c.Opts["cap-add"], "MaskedPaths": masked,
			"Dns": c.Opts["dns"], "DnsOptions": c.Opts["dns-option"], "DnsSearch": []string{"."}, "CgroupnsMode": "private", "IpcMode": "private",
			"Sysctls": map[string]string{"net.ipv6.conf.all.disable_ipv6": "0", "net.ipv6.conf.lo.disable_ipv6": "0"},
			"Ulimits": []any{map[string]any{"Name": "core", "Soft": 0, "Hard": 0}},
		},
	}
	if m := first("memory"); m != "" {
		var n int64
		fmt.Sscanf(m, "%dM", &n)
		request["HostConfig"].(map[string]any)["Memory"] = n << 20
		request["HostConfig"].(map[string]any)["MemorySwap"] = n << 20
	}
	var made struct{ Id string }
	err = s.engineAsk("POST", "/containers/create", request, &made)
	return made.Id, err
}

// engineImage says of an image of the engine's what Apple's command would.
func (s standIn) engineImage(ref string) (image, error) {
	var got struct {
		Id, Architecture, Os string
		Config               map[string]any
	}
	if err := s.engineAsk("GET", "/images/"+ref+"/json", nil, &got); err != nil {
		return image{}, fmt.Errorf("notFound: \"image with reference %s\"", ref)
	}
	var i image
	i.Index.Digest = got.Id
	i.Variants = []any{map[string]any{
		"platform": map[string]any{"os": got.Os, "architecture": got.Architecture}, "size": 1, "config": map[string]any{"config": got.Config},
	}}
	return i, nil
}

// engineState is Apple's word for what the engine says.
func (s standIn) engineState(c container) string {
	var got struct{ State struct{ Status string } }
	if err := s.engineAsk("GET", "/containers/"+c.Engine+"/json", nil, &got); err != nil {
		return "unknown"
	}
	switch got.State.Status {
	case "running":
		return "running"
	case "created", "exited":
		return "stopped"
	}
	return "stopping"
}

// engineExec runs a process with this one's input and output.
func (s standIn) engineExec(c container, q request) error {
	host := s.read("engine")
	args := []string{"-H", host, "exec", "-i", "-u", q.one("uid") + ":" + q.one("gid"), c.Engine}
	cmd := exec.Command("docker", append(args, q.args[1:]...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exitCode(exit.ExitCode())
	}
	return err
}

func (s standIn) engineLogs(c container) error {
	host := s.read("engine")
	cmd := exec.Command("docker", "-H", host, "logs", c.Engine)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stdout
	return cmd.Run()
}
