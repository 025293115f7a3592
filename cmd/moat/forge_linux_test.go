package main

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"moat/internal/audit"
	"moat/internal/frame"
	"moat/internal/line"
)

// forgerName is the name by which the test binary, in a sandbox, tries to get something into the record.
const forgerName = "moat-test-forger"

// forgedMark is in all that it tries.
const forgedMark = "forged-7f31c2"

// TestForgedEntries has a program in the sandbox say to each socket that it can find what an entry, a client, a guest and a
// collector of events would say. Nothing of it is in the record but what it really did.
func TestForgedEntries(t *testing.T) {
	l := newLab(t, grantAgent)
	l.store(t, "real-token-11aa\n", "lab", "--token-stdin")
	fine(t, copyProgram(filepath.Join(l.project, forgerName)))
	if out, code := l.moat("run", "-d", "--approve", "-n", "lab", "--grant", "lab"); code != 0 {
		t.Fatalf("run: %d, %s", code, out)
	}
	out, code := l.moat("exec", "lab", "--", "/workspace/"+forgerName)
	if code != 0 || !strings.Contains(out, "127.0.0.1:15080") {
		t.Fatalf("the forger has not reached the proxy (%d): %s", code, out)
	}
	t.Logf("reached: %s", strings.Join(strings.Fields(out), " "))
	if out, code := l.moat("stop", "lab"); code != 0 {
		t.Fatalf("stop: %d, %s", code, out)
	}
	real := []string{"created", "supervisor", "started", "anchor", "exec", "exec_end", "output", "network", "stop", "ended", "closed", "warning"}
	commands := 0
	for _, e := range l.entries(t) {
		text := string(e.Append(nil))
		switch {
		case !slices.Contains(real, e.Kind):
			t.Errorf("an entry that nobody made: %s", text)
		case e.Kind == "exec":
			commands++
		case strings.Contains(text, forgedMark):
			t.Errorf("an entry has what was forged: %s", text)
		}
	}
	if commands != 1 {
		t.Errorf("%d commands are in the record, want the one", commands)
	}
}

// forge says everything to everybody, and prints who has listened.
func forge() int {
	for _, where := range sockets() {
		heard := false
		for _, what := range forgeries() {
			network := "unix"
			if strings.Contains(where, ":") {
				network = "tcp"
			}
			c, err := net.DialTimeout(network, where, 2*time.Second)
			if err != nil {
				continue
			}
			heard = true
			_ = c.SetDeadline(time.Now().Add(300 * time.Millisecond))
			_, _ = c.Write(what)
			_, _ = c.Read(make([]byte, 512))
			_ = c.Close()
		}
		if heard {
			fmt.Println(where)
		}
	}
	return 0
}

// sockets are those that listen inside, those that have a name (proc_net(5), unix(7)), and the ways out.
func sockets() []string {
	all := []string{"127.0.0.1:15080", "/tmp/.moat-ssh-agent", "192.0.2.1:80", "192.0.2.1:443", "192.0.2.1:22"}
	for _, file := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		data, _ := os.ReadFile(file)
		for row := range strings.Lines(string(data)) {
			fields := strings.Fields(row)
			if len(fields) < 4 || fields[3] != "0A" { // listening
				continue
			}
			_, port, _ := strings.Cut(fields[1], ":")
			if n, err := hex.DecodeString(port); err == nil && len(n) == 2 {
				all = append(all, fmt.Sprintf("127.0.0.1:%d", int(n[0])<<8|int(n[1])))
			}
		}
	}
	data, _ := os.ReadFile("/proc/net/unix")
	for row := range strings.Lines(string(data)) {
		if fields := strings.Fields(row); len(fields) == 8 && fields[0] != "Num" {
			all = append(all, fields[7]) // @… is an abstract one, for package net as well
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// forgeries are what could be taken for something.
func forgeries() [][]byte {
	entry := audit.Entry{Seq: 99, Time: time.Now(), Kind: "policy", Fields: []audit.Field{audit.Text("allow", forgedMark)}}.Append(nil)
	request := func(path, body string) []byte {
		return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: moat\r\nMoat-Version: 2\r\nUpgrade: moat-frames\r\nConnection: Upgrade\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
	}
	var guest bytes.Buffer
	guest.Write(frame.Append(nil, line.KindOutput, append(make([]byte, 32), forgedMark...)))
	guest.Write(frame.Append(nil, line.KindExit, []byte(`{"process":0,"code":0}`)))
	return [][]byte{
		[]byte(`{"type":"credential","data":{"name":"` + forgedMark + `","action":"used","host":"example.com"}}` + "\n"),
		append(entry, '\n'),
		audit.AppendFrame([]byte(audit.Magic), audit.FrameEntry, entry),
		request("/v1/policy/allow", `{"pattern":"`+forgedMark+`.example"}`),
		append(request("/v1/exec", ""), frame.Append(nil, 'E', []byte(`{"args":["`+forgedMark+`"]}`))...),
		append(request("/v1/attach", ""), frame.Append(nil, 'A', []byte(`{"source":1}`))...),
		guest.Bytes(),
		[]byte("SSH-2.0-" + forgedMark + "\r\n"),
		bytes.Repeat([]byte{0xff}, 64),
	}
}

// TestBundlesElsewhere has the bundles of a real run, and of this machine's record, verified by a program that shares
// no code with moat, and by moat on a machine that knows nothing.
func TestBundlesElsewhere(t *testing.T) {
	l := newLab(t, "command: [sh, -c, 'echo hello; exit 3']\n")
	if _, code := l.moat("run", "-n", "lab"); code != 3 {
		t.Fatalf("run: exit code %d", code)
	}
	verifier := filepath.Join(t.TempDir(), "verifier")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", verifier, "../../internal/audit/testdata/verifier/main.go")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	dir := t.TempDir()
	keys, _ := l.moat("audit", "key")
	log := strings.Fields(keys)[1]
	var bundles []string
	for name, args := range map[string][]string{"whole": {"lab"}, "part": {"--entries", "2-5", "lab"}, "machine": {"--all"}} {
		file := filepath.Join(dir, name)
		bundles = append(bundles, file)
		if out, code := l.moat(append([]string{"audit", "--export", file}, args...)...); code != 0 {
			t.Fatalf("export %s: %d, %s", name, code, out)
		}
		elsewhere := exec.Command(l.bin, "verify-bundle", "--key", log, file)
		elsewhere.Env = []string{"HOME=" + dir, "MOAT_HOME=" + filepath.Join(dir, "nowhere")}
		if out, err := elsewhere.CombinedOutput(); err != nil {
			t.Errorf("%s: %v, %s", name, err, out)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "nowhere")); err == nil {
		t.Error("verifying a bundle has made a home")
	}
	out, err := exec.Command(verifier, append([]string{log, "-"}, bundles...)...).CombinedOutput()
	if err != nil || strings.Count(string(out), "good ") != len(bundles) {
		t.Errorf("%v, %s", err, out)
	}
}
