//go:build linux

package native

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"moat/internal/sandbox"
)

func TestEtcFiles(t *testing.T) {
	spec := sandbox.Spec{
		Ref:      sandbox.Ref{ID: "run-0123456789ab"},
		Hostname: "web",
		User:     sandbox.User{UID: 1000, GID: 1000, Name: "alice", Home: "/home/alice"},
	}
	got := etcFiles(spec)
	sh := shell()
	want := map[string]string{
		"passwd": "root:x:0:0:root:/root:" + sh + "\n" +
			"nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n" +
			"alice:x:1000:1000::/home/alice:" + sh + "\n",
		"group":       "root:x:0:\ntty:x:5:\nnogroup:x:65534:\nalice:x:1000:\n",
		"hosts":       "127.0.0.1\tlocalhost web\n::1\tlocalhost ip6-localhost ip6-loopback\n",
		"hostname":    "web\n",
		"resolv.conf": "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
	}
	for name, content := range want {
		if diff := cmp.Diff(content, string(got[name])); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	for name := range got {
		if !etcMade(name) {
			t.Errorf("%s is made, but could be hidden", name)
		}
	}
	id := strings.TrimSuffix(string(got["machine-id"]), "\n")
	if len(id) != 32 || strings.Trim(id, "0123456789abcdef") != "" || id[12] != '4' {
		t.Errorf("machine-id %q is not one (machine-id(5))", id)
	}
	if host, err := os.ReadFile("/etc/machine-id"); err == nil && string(host) == string(got["machine-id"]) {
		t.Error("the machine-id is the host's")
	}
	if machineID("run-0123456789ab") == machineID("run-0123456789ac") {
		t.Error("two runs share a machine-id")
	}
}

// Every line must parse, ids and names must be unique, and nothing of a hostile field may make a line of its own.
func TestEtcFilesHostile(t *testing.T) {
	users := map[string]struct {
		user  sandbox.User
		name  string // that the uid must have
		group string // that the gid must have
	}{
		"root":          {sandbox.User{UID: 0, GID: 0, Name: "root", Home: "/root"}, "root", "root"},
		"false root":    {sandbox.User{UID: 7, GID: 7, Name: "root", Home: "/h"}, "user", "user"},
		"renamed root":  {sandbox.User{UID: 0, GID: 0, Name: "toor", Home: "/h"}, "root", "root"},
		"nobody":        {sandbox.User{UID: 65534, GID: 65534, Name: "nobody", Home: "/h"}, "nobody", "nogroup"},
		"takes nobody":  {sandbox.User{UID: 12, GID: 12, Name: "nobody", Home: "/h"}, "nobody", "nobody"},
		"group tty":     {sandbox.User{UID: 1000, GID: 5, Name: "al", Home: "/h"}, "al", "tty"},
		"named tty":     {sandbox.User{UID: 1000, GID: 1000, Name: "tty", Home: "/h"}, "tty", "tty"},
		"new line":      {sandbox.User{UID: 1, GID: 1, Name: "a\nb:x:0:0::/:/bin/sh", Home: "/h\nx:x:0:0"}, "user", "user"},
		"colon":         {sandbox.User{UID: 1, GID: 1, Name: "a:b", Home: "/a:b"}, "user", "user"},
		"empty":         {sandbox.User{UID: 1, GID: 1}, "user", "user"},
		"domain":        {sandbox.User{UID: 1, GID: 1, Name: `EX\bob`, Home: "/h"}, "user", "user"},
		"dotted":        {sandbox.User{UID: 1, GID: 1, Name: "Bob.B-1", Home: "/h"}, "Bob.B-1", "Bob.B-1"},
		"long":          {sandbox.User{UID: 1, GID: 1, Name: strings.Repeat("a", 33), Home: "/h"}, "user", "user"},
		"root with gid": {sandbox.User{UID: 0, GID: 1000, Name: "root", Home: "/h"}, "root", ""},
	}
	for name, tt := range users {
		t.Run(name, func(t *testing.T) {
			files := etcFiles(sandbox.Spec{User: tt.user, Hostname: "x\n127.0.0.1 evil"})
			if got := nameOf(t, files["passwd"], 7, tt.user.UID); got != tt.name {
				t.Errorf("uid %d is %q, want %q", tt.user.UID, got, tt.name)
			}
			if got := nameOf(t, files["group"], 4, tt.user.GID); tt.group != "" && got != tt.group {
				t.Errorf("gid %d is %q, want %q", tt.user.GID, got, tt.group)
			}
			if n := strings.Count(string(files["hosts"]), "\n"); n != 2 {
				t.Errorf("hosts has %d lines:\n%s", n, files["hosts"])
			}
		})
	}
}

// nameOf checks the lines of passwd or group and returns the name of an id.
func nameOf(t *testing.T, file []byte, fields, id int) string {
	t.Helper()
	found := ""
	names, ids := map[string]bool{}, map[string]bool{}
	for _, line := range strings.Split(strings.TrimSuffix(string(file), "\n"), "\n") {
		parts := strings.Split(line, ":")
		if len(parts) != fields {
			t.Fatalf("line %q has %d fields, want %d", line, len(parts), fields)
		}
		if names[parts[0]] || ids[parts[2]] || parts[0] == "" {
			t.Errorf("line %q repeats a name or an id", line)
		}
		names[parts[0]], ids[parts[2]] = true, true
		if parts[2] == fmt.Sprint(id) {
			found = parts[0]
		}
	}
	return found
}

func TestHostname(t *testing.T) {
	for in, want := range map[string]string{
		"web": "web", "": "moat", "--": "moat", "a b\nc": "abc", "-x.": "x", strings.Repeat("a", 70): strings.Repeat("a", 64),
	} {
		if got := hostname(in); got != want {
			t.Errorf("hostname(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestEtcMasks(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir, map[string]string{
		"passwd": "x", "passwd-": "x", "group": "x", "hosts": "x", "ld.so.cache": "x", "profile": "x",
		"shadow": "640", "shadow-": "644", "gshadow": "644", "sudoers": "644", "sudoers.d/alice": "644",
		"ssl/private/a.key": "644", "ssl/certs/root.pem": "x", "ssl/openssl.cnf": "x",
		"ssl/certs/ca-certificates.crt":     "x",
		"ssh/ssh_config":                    "x",
		"ssh/ssh_host_rsa_key":              "644",
		"ssh/ssh_host_rsa_key.pub":          "644",
		"wireguard/wg0.conf":                "644",
		"NetworkManager/system-connections": "dir",
		"kubernetes/pki/ca.crt":             "644",
		"docker/key.json":                   "644",
		"app/group-only.conf":               "640",
		"app/public.conf":                   "644",
		"app/closed/inner":                  "644",
		"app/tls.pem":                       "644 -----BEGIN RSA PRIVATE KEY-----",
		"app/ca.pem":                        "644 -----BEGIN CERTIFICATE-----",
		"app/tls.key":                       "644",
		"apt/auth.conf.d/x.conf":            "644",
		"apt/keyrings/docker.key":           "644",
		"apt/sources.list":                  "644",
		"machine-id":                        "640",
		"resolv.conf":                       "600",
		"mtab":                              "644",
		"fstab":                             "644",
		"letsencrypt/live/x/privkey.pem":    "644",
		"mysql/debian.cnf":                  "600",
		"security/opasswd":                  "600",
		"security/limits.conf":              "644",
		"shadowed-name-of-nothing":          "644",
		"deep/a/b/c/id_rsa":                 "644",
	})
	okay(t, os.Chmod(filepath.Join(dir, "app/closed"), 0o750))
	okay(t, os.Symlink("shadow", filepath.Join(dir, "to-shadow")))
	okay(t, os.Symlink("/root/.ssh/id_rsa", filepath.Join(dir, "out")))
	okay(t, os.Symlink("loop", filepath.Join(dir, "loop")))
	okay(t, os.Symlink(".", filepath.Join(dir, "self")))
	okay(t, os.Symlink("/opt/keytab", filepath.Join(dir, "krb5.keytab")))
	mkfifo(t, filepath.Join(dir, "app/fifo"))

	got, err := etcMasks(dir)
	okay(t, err)
	want := []string{
		"NetworkManager", "app/closed", "app/fifo", "app/group-only.conf", "app/tls.key", "app/tls.pem", "apt/auth.conf.d",
		"deep/a/b/c/id_rsa", "docker/key.json", "fstab", "gshadow", "krb5.keytab", "kubernetes", "letsencrypt", "mtab", "mysql", "passwd-",
		"security/opasswd", "shadow", "shadow-", "shadowed-name-of-nothing", "ssh/ssh_host_rsa_key", "ssh/ssh_host_rsa_key.pub",
		"ssl/private", "sudoers", "sudoers.d", "wireguard",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("masks (-want +got):\n%s", diff)
	}
	if _, err := etcMasks(filepath.Join(dir, "absent")); err == nil {
		t.Error("no error for a directory that is not there")
	}
}

// On this machine, whoever the test runs as: what is not hidden must be what everybody may read.
func TestEtcMasksOfThisMachine(t *testing.T) {
	start := time.Now()
	masks, err := etcMasks("/etc")
	okay(t, err)
	t.Logf("%d masks in %v", len(masks), time.Since(start))
	hidden := func(name string) bool {
		return slices.ContainsFunc(masks, func(m string) bool { return under("/"+m, "/"+name) })
	}
	for _, name := range []string{"passwd", "group", "ssl/certs", "ssl/certs/ca-certificates.crt", "ld.so.conf", "hosts", "profile", "alternatives", "nsswitch.conf"} {
		if hidden(name) {
			t.Errorf("/etc/%s is hidden", name)
		}
	}
	for _, name := range []string{"shadow", "gshadow", "sudoers", "ssl/private"} {
		if _, err := os.Lstat("/etc/" + name); err == nil && !hidden(name) {
			t.Errorf("/etc/%s is not hidden", name)
		}
	}
	err = fs.WalkDir(os.DirFS("/etc"), ".", func(name string, d fs.DirEntry, err error) error {
		if hidden(name) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if info, err := d.Info(); err == nil && info.Mode().IsRegular() && info.Mode()&0o004 == 0 {
			t.Errorf("/etc/%s has mode %v and is not hidden", name, info.Mode())
		}
		return err
	})
	okay(t, err)
}

func BenchmarkEtcMasks(b *testing.B) {
	for b.Loop() {
		if _, err := etcMasks("/etc"); err != nil {
			b.Fatal(err)
		}
	}
}
