//go:build unix

package sandboxtest

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"moat/internal/sandbox"
)

// canary is in the name of everything on the host that must not be found inside.
const canary = "moat-canary"

// furnish puts things on the host and into spec for the tests that share a sandbox.
func (s *suite) furnish(t *testing.T, spec *sandbox.Spec) {
	t.Helper()
	outside := t.TempDir()
	for _, dir := range []string{"ro", "rw", "tool/bin", "tool/secret", canary} {
		check(t, os.MkdirAll(filepath.Join(outside, dir), 0o755))
	}
	for name, content := range map[string]string{
		canary + "/file": "canary", "ro/file": "read-only", "rw/file": "writable", "single": "single",
		"tool/bin/tool": "#!/bin/sh\necho tool\n", "tool/credentials": canary, "tool/secret/key": canary,
		"tool/real": canary, "single-tool": "#!/bin/sh\necho single\n",
	} {
		check(t, os.WriteFile(filepath.Join(outside, name), []byte(content), 0o755))
	}
	check(t, os.Symlink("real", filepath.Join(outside, "tool/link")))
	check(t, os.Symlink(filepath.Join(outside, canary), filepath.Join(spec.Workspace, "dir-link")))
	check(t, os.Symlink(filepath.Join(outside, canary, "file"), filepath.Join(spec.Workspace, "file-link")))
	check(t, os.Symlink("/etc/shadow", filepath.Join(spec.Workspace, "shadow-link")))
	spec.Mounts = []sandbox.Mount{
		{Source: filepath.Join(outside, "ro"), Target: "/mnt/ro", ReadOnly: true},
		{Source: filepath.Join(outside, "rw"), Target: "/srv/deep/rw"},
		{Source: filepath.Join(outside, "single"), Target: "/mnt/single", ReadOnly: true},
		{Source: filepath.Join(outside, "rw"), Target: "/workspace/inner"},
	}
	if s.Tools {
		real, err := filepath.EvalSymlinks(filepath.Join(outside, "tool"))
		check(t, err)
		spec.Tools = []sandbox.Tool{{Path: real, Mask: []string{
			real + "/credentials", real + "/secret", real + "/link", real + "/not-there",
		}}, {Path: filepath.Dir(real) + "/single-tool"}}
	}
}

func (s *suite) testIdentity(t *testing.T, b *box) {
	ids := probe[map[string]int](t, b, "ids")
	want := map[string]int{"uid": s.User.UID, "euid": s.User.UID, "gid": s.User.GID, "egid": s.User.GID}
	for k, v := range want {
		if ids[k] != v {
			t.Errorf("%s is %d, want %d", k, ids[k], v)
		}
	}
	if got := try(t, b, "write", "/workspace/made-inside"); got != "ok" {
		t.Fatalf("write in the workspace: %s", got)
	}
	fi, err := os.Stat(filepath.Join(b.spec.Workspace, "made-inside"))
	check(t, err)
	if st := fi.Sys().(*syscall.Stat_t); int(st.Uid) != os.Getuid() || int(st.Gid) != os.Getgid() {
		t.Errorf("a file made inside belongs to %d:%d outside, want %d:%d", st.Uid, st.Gid, os.Getuid(), os.Getgid())
	}
}

func (s *suite) testStatus(t *testing.T, b *box) {
	status := try(t, b, "read", "/proc/self/status")
	set := func(bits uint64) string { return fmt.Sprintf("\t%016x\n", bits) }
	for _, want := range []string{
		"CapInh:" + set(0), "CapPrm:" + set(s.Caps), "CapEff:" + set(s.Caps), "CapBnd:" + set(s.BoundedCaps), "CapAmb:" + set(0),
		"NoNewPrivs:\t1\n", "Seccomp:\t2\n",
	} {
		if !strings.Contains(status, want) {
			t.Errorf("/proc/self/status does not say %q:\n%s", want, status)
		}
	}
	if got := try(t, b, "read", "/proc/sys/user/max_user_namespaces"); s.NoUserNamespaces && got != "ok 0\n" {
		t.Errorf("max_user_namespaces: %s", got)
	}
	if limits := try(t, b, "read", "/proc/self/limits"); !strings.Contains(limits, "Max core file size        0                    0") {
		t.Errorf("core files are possible:\n%s", limits)
	}
}

func (s *suite) testCalls(t *testing.T, b *box) {
	results := probe[map[string]string](t, b, "calls")
	if len(results) < 40 {
		t.Fatalf("only %d calls were tried", len(results))
	}
	for call, got := range results {
		if slices.Contains(s.MayAllow, call) {
			continue
		}
		wantRefused(t, call, got, "EPERM", "EACCES", "ENOSYS", "EAFNOSUPPORT", "killed")
	}
	if results["i386 getpid"] != "" && results["i386 getpid"] != "killed" && !slices.Contains(s.MayAllow, "i386 getpid") {
		t.Errorf("a 32-bit call was answered: %s", results["i386 getpid"])
	}
}

// testDescriptors relies on the test's process having an inheritable one, which must not arrive.
func (s *suite) testDescriptors(t *testing.T, b *box) {
	got := probe[map[string]string](t, b, "fds")
	for fd, to := range got {
		if fd != "0" && fd != "1" && fd != "2" {
			t.Errorf("descriptor %s reached the command: %s", fd, to)
		}
	}
}

// testFirstProcess tries to look into the guest, and into what was started from outside beside it.
func (s *suite) testFirstProcess(t *testing.T, b *box) {
	for name := range strings.FieldsSeq(try(t, b, "list", "/proc")) {
		_, parent, ok := strings.Cut(try(t, b, "read", "/proc/"+name+"/status"), "\nPPid:\t")
		if strings.Trim(name, "0123456789") != "" || !ok || !strings.HasPrefix(parent, "0\n") {
			continue
		}
		process := "/proc/" + name + "/"
		for _, file := range []string{"environ", "root/etc/passwd", "cwd/.", "fd/0", "fd/3", "mem", "maps", "exe", "auxv", "stack"} {
			wantRefused(t, process+file, try(t, b, "read", process+file), "EACCES", "EPERM", "ENOENT")
		}
		if got := try(t, b, "list", process+"root"); strings.HasPrefix(got, "ok") {
			t.Errorf("%sroot: %s", process, got)
		}
	}
}

func (s *suite) testProc(t *testing.T, b *box) {
	for _, name := range []string{"kcore", "kmsg", "keys", "timer_list", "kallsyms", "slabinfo", "kpagecount", "sysrq-trigger"} {
		if got := try(t, b, "read", "/proc/"+name); got != "ok " && !strings.HasPrefix(got, "E") {
			t.Errorf("/proc/%s can be read: %.100q", name, got)
		}
	}
	for _, name := range []string{
		"sysrq-trigger", "sys/kernel/core_pattern", "sys/kernel/modprobe", "sys/vm/drop_caches", "sys/net/ipv4/ip_forward",
		"irq/default_smp_affinity",
	} {
		wantRefused(t, "write /proc/"+name, try(t, b, "write", "/proc/"+name), "EROFS", "EACCES", "EPERM", "ENOENT")
	}
	pids := 0
	for name := range strings.FieldsSeq(try(t, b, "list", "/proc")) {
		if strings.Trim(name, "0123456789") == "" {
			pids++
		}
	}
	if pids == 0 || pids > 5 {
		t.Errorf("%d processes are visible", pids)
	}
}

func (s *suite) testDevices(t *testing.T, b *box) {
	known := strings.Fields("null zero full random urandom tty ptmx pts shm fd stdin stdout stderr mqueue console core")
	listing, ok := strings.CutPrefix(try(t, b, "list", "/dev"), "ok ")
	if !ok {
		t.Fatalf("list /dev: %s", listing)
	}
	for name := range strings.FieldsSeq(listing) {
		if !slices.Contains(known, name) {
			t.Errorf("/dev/%s exists", name)
		}
	}
	for path, op := range map[string]string{
		"/dev/null": "write", "/dev/full": "open", "/dev/urandom": "open", "/dev/zero": "open", "/dev/shm/x": "write",
	} {
		if got := try(t, b, op, path); got != "ok" {
			t.Errorf("%s %s: %s", op, path, got)
		}
	}
	if got := probe[string](t, b, "pty"); got != "ok" {
		t.Errorf("terminal of its own: %s", got)
	}
}

func (s *suite) testInvisible(t *testing.T, b *box) {
	top := []string{"/bin", "/boot", "/dev", "/etc", "/home", "/media", "/mnt", "/opt", "/root", "/run", "/sbin", "/srv",
		"/sys", "/tmp", "/var", "/workspace"}
	for _, p := range probe[[]string](t, b, append([]string{"walk", canary}, top...)...) {
		t.Errorf("%s is visible", p)
	}
	for _, p := range []string{b.spec.Dir, filepath.Dir(b.spec.Dir), b.spec.Workspace, "/var/run/docker.sock", "/run/docker.sock",
		"/run/dbus/system_bus_socket", "/run/containerd", "/run/podman", "/run/systemd/private", "/run/nscd/socket"} {
		wantRefused(t, p, try(t, b, "stat", p), "ENOENT", "EACCES", "ENOTDIR")
	}
	for dir, allowed := range map[string][]string{
		"/home": {strings.Split(b.spec.User.Home, "/")[2]}, "/root": nil, "/var/lib": nil, "/run": {"lock", "user"},
	} {
		got := try(t, b, "list", dir)
		for name := range strings.FieldsSeq(strings.TrimPrefix(got, "ok")) {
			if s.Image.Ref == "" && !slices.Contains(allowed, name) {
				t.Errorf("%s/%s is visible", dir, name)
			}
		}
	}
}

func (s *suite) testEtc(t *testing.T, b *box) {
	for _, name := range []string{"shadow", "gshadow", "shadow-", "sudoers", "ssh/ssh_host_ed25519_key", "ssl/private"} {
		if got := try(t, b, "read", "/etc/"+name); strings.HasPrefix(got, "ok ") && got != "ok " && s.Image.Ref == "" {
			t.Errorf("/etc/%s can be read", name)
		}
	}
	host, err := os.ReadFile("/etc/machine-id")
	if got := try(t, b, "read", "/etc/machine-id"); err == nil && got == "ok "+string(host) {
		t.Error("the machine's id can be read")
	}
	if got := try(t, b, "read", "/etc/hostname"); strings.TrimSuffix(got, "\n") != "ok "+b.spec.Hostname {
		t.Errorf("/etc/hostname: %q", got)
	}
}

func (s *suite) testReadOnly(t *testing.T, b *box) {
	if s.Image.Ref != "" {
		t.Skip("the system directories of an image are writable copies")
	}
	for _, p := range []string{"/x", "/usr/x", "/usr/bin/env", "/etc/x", "/etc/passwd", "/etc/hosts", "/opt/x", "/bin/x", "/lib/x",
		"/dev/x", "/var/lib/x", "/sys/x", "/root/x", "/home/x"} {
		wantRefused(t, "write "+p, try(t, b, "write", p), "EROFS", "EACCES", "EPERM")
	}
}

func (s *suite) testTemporary(t *testing.T, b *box) {
	for _, dir := range []string{"/tmp", "/var/tmp", b.spec.User.Home} {
		for name := range strings.FieldsSeq(strings.TrimPrefix(try(t, b, "list", dir), "ok ")) {
			if s.Tools && strings.HasPrefix(b.spec.Tools[0].Path, dir+"/"+name+"/") {
				continue // on the way to the tool
			}
			t.Errorf("%s is not empty: %s", dir, name)
		}
		if got := try(t, b, "write", dir+"/x"); got != "ok" {
			t.Errorf("write in %s: %s", dir, got)
		}
		wantRefused(t, "hard link out of "+dir, try(t, b, "link", dir+"/x", "/workspace/x-link"), "EXDEV", "EPERM", "EACCES")
		if got := try(t, b, "remove", dir+"/x"); got != "ok" {
			t.Errorf("remove in %s: %s", dir, got)
		}
	}
}

func (s *suite) testNetwork(t *testing.T, b *box) {
	var d net.ListenConfig
	host, err := d.Listen(ctx(t), "tcp", "127.0.0.1:0")
	check(t, err)
	defer host.Close()
	abstract, err := d.Listen(ctx(t), "unix", "@"+canary+b.spec.ID)
	if err == nil { // Linux only
		defer abstract.Close()
		wantRefused(t, "abstract socket of the host", probe[string](t, b, "connect", "unix", "@"+canary+b.spec.ID),
			"ECONNREFUSED", "EPERM")
	}
	wantRefused(t, "server on the host's loopback", probe[string](t, b, "connect", "tcp", host.Addr().String()), "ECONNREFUSED")
	for _, to := range [][2]string{
		{"tcp", "203.0.113.66:443"}, {"tcp", "[2001:db8::66]:443"}, {"udp", "203.0.113.66:53"}, {"udp", "[2001:db8::66]:53"},
		{"tcp", "169.254.169.254:80"},
	} {
		wantRefused(t, to[0]+" "+to[1], probe[string](t, b, "connect", to[0], to[1]), "ENETUNREACH", "EADDRNOTAVAIL", "EHOSTUNREACH")
	}
	devices := try(t, b, "read", "/proc/net/dev")
	if strings.Count(devices, ":") != 1 || !strings.Contains(devices, "lo:") {
		t.Errorf("interfaces besides lo:\n%s", devices)
	}
	if got := probe[string](t, b, "listen"); got != "ok" {
		t.Errorf("loopback inside: %s", got)
	}
}

func (s *suite) testMounts(t *testing.T, b *box) {
	for path, want := range map[string]string{
		"/mnt/ro/file": "read-only", "/mnt/single": "single", "/srv/deep/rw/file": "writable", "/workspace/inner/file": "writable",
	} {
		if got := try(t, b, "read", path); got != "ok "+want {
			t.Errorf("read %s: %q", path, got)
		}
	}
	for _, path := range []string{"/mnt/ro/new", "/mnt/ro/file", "/mnt/single"} {
		wantRefused(t, "write "+path, try(t, b, "write", path), "EROFS", "EACCES")
	}
	if got := try(t, b, "write", "/srv/deep/rw/new"); got != "ok" {
		t.Errorf("write to a writable mount: %s", got)
	}
	if _, err := os.Stat(filepath.Join(b.spec.Mounts[1].Source, "new")); err != nil {
		t.Errorf("what was written to a mount is not outside: %v", err)
	}
}

func (s *suite) testMountTable(t *testing.T, b *box) {
	if !s.OwnMounts {
		t.Skip("the mounts are an engine's")
	}
	table := try(t, b, "read", "/proc/self/mountinfo")
	for l := range strings.Lines(table) {
		fields := strings.Fields(l)
		if len(fields) > 6 && !strings.Contains(fields[5]+fields[6], "nosuid") { // the first line has an "ok" in front
			t.Errorf("setuid programs would work: %s", l)
		}
	}
	if strings.Contains(table, filepath.Dir(b.spec.Dir)) {
		t.Errorf("the mount table tells where moat's folder is:\n%s", table)
	}
}

func (s *suite) testLinksOut(t *testing.T, b *box) {
	for _, link := range []string{"dir-link/file", "file-link"} {
		wantRefused(t, link, try(t, b, "read", "/workspace/"+link), "ENOENT", "EACCES")
	}
	if got := try(t, b, "read", "/workspace/shadow-link"); strings.HasPrefix(got, "ok ") && got != "ok " && s.Image.Ref == "" {
		t.Error("/etc/shadow can be read by a link")
	}
}

// testSetuid runs a setuid program that belongs to somebody else, where we can make one.
func (s *suite) testSetuid(t *testing.T, b *box) {
	path := filepath.Join(b.spec.Workspace, "setuid")
	program, err := os.ReadFile(s.probe)
	check(t, err)
	check(t, os.WriteFile(path, program, 0o755))
	if os.Getuid() == 0 {
		check(t, os.Chown(path, 12345, 12345))
	}
	check(t, os.Chmod(path, 0o755|os.ModeSetuid|os.ModeSetgid))
	out, _ := b.run(t, "/workspace/setuid", "ids")
	want := probe[map[string]int](t, b, "ids")
	if got := want["euid"]; got != s.User.UID {
		t.Fatalf("euid %d", got)
	}
	if strings.Contains(out, "12345") {
		t.Errorf("the setuid bit worked: %s", out)
	}
}

// testLandlock makes the one thing that the mounts allow to everybody and Landlock does not: an overlay's whiteout.
func (s *suite) testLandlock(t *testing.T, b *box) {
	got := try(t, b, "whiteout", "/workspace/whiteout")
	if s.Landlock {
		wantRefused(t, "make a device 0/0", got, "EACCES")
	}
}

func (s *suite) testTools(t *testing.T, b *box) {
	if !s.Tools {
		t.Skip("this runtime shows no tools")
	}
	tool := b.spec.Tools[0].Path
	if out, code := b.run(t, tool+"/bin/tool"); out != "tool\n" || code != 0 {
		t.Errorf("the tool printed %q, exit code %d", out, code)
	}
	if out, code := b.run(t, b.spec.Tools[1].Path); out != "single\n" || code != 0 {
		t.Errorf("the tool of one file printed %q, exit code %d", out, code)
	}
	wantRefused(t, "write the tool of one file", try(t, b, "write", b.spec.Tools[1].Path), "EROFS", "EACCES")
	for _, name := range []string{"credentials", "secret/key", "link", "real"} {
		if got := try(t, b, "read", tool+"/"+name); strings.Contains(got, canary) {
			t.Errorf("%s is visible", name)
		}
	}
	for _, name := range []string{"new", "bin/tool", "bin/new"} {
		if got := try(t, b, "write", tool+"/"+name); got != "ok" {
			t.Errorf("write %s: %s", name, got)
		}
	}
	if got := try(t, b, "remove", tool+"/bin/tool"); got != "ok" {
		t.Errorf("remove: %s", got)
	}
	entries, err := os.ReadDir(tool + "/bin")
	check(t, err)
	if _, err := os.Stat(tool + "/new"); err == nil || len(entries) != 1 {
		t.Errorf("the host's tool was changed: %v", entries)
	}
	if content, err := os.ReadFile(tool + "/bin/tool"); err != nil || !strings.HasPrefix(string(content), "#!/bin/sh") {
		t.Errorf("the host's tool was changed: %q, %v", content, err)
	}
}

func (s *suite) testDifficultFiles(t *testing.T, b *box) {
	for _, dir := range []string{"/workspace", "/tmp", b.spec.User.Home} {
		for what, got := range probe[map[string]string](t, b, "files", dir) {
			if got != "ok" {
				t.Errorf("%s in %s: %s", what, dir, got)
			}
		}
	}
	entries, err := os.ReadDir(b.spec.Workspace)
	check(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	for _, want := range []string{strings.Repeat("n", 255), "\xff\xfe", "a\nb", "fifo", "socket", "link", "closed"} {
		if !slices.Contains(names, want) {
			t.Errorf("%q is not in the workspace outside", want)
		}
	}
	for _, dir := range []string{"/workspace", b.spec.User.Home} { // for the test's own clean-up
		if got := try(t, b, "chmod", dir+"/closed"); got != "ok" {
			t.Errorf("chmod: %s", got)
		}
	}
}
