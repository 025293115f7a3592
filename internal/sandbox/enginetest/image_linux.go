package enginetest

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Tree returns the archive of a small root file system with programs of this machine and the libraries that they need, and
// with busybox for everything else if that is installed.
func Tree(programs ...string) (io.Reader, error) {
	var b bytes.Buffer
	t := &tree{tar: tar.NewWriter(&b), have: map[string]bool{}}
	for _, dir := range []string{"etc", "root", "home", "var", "run", "proc", "sys", "dev", "usr", "usr/bin", "usr/sbin", "usr/lib", "usr/lib64"} {
		t.add(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755}, nil)
	}
	for _, dir := range []string{"tmp", "var/tmp"} {
		t.add(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o1777}, nil)
	}
	for _, dir := range []string{"bin", "sbin", "lib", "lib64"} {
		t.add(&tar.Header{Typeflag: tar.TypeSymlink, Name: dir, Linkname: "usr/" + dir}, nil)
	}
	for name, text := range map[string]string{
		"etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnode:x:1000:1000::/home/node:/bin/sh\n",
		"etc/group":  "root:x:0:\nnode:x:1000:\naudio:x:29:node\n",
	} {
		t.add(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644}, []byte(text))
	}
	for _, p := range programs {
		t.program(p)
	}
	t.busybox()
	return &b, errors.Join(t.err, t.tar.Close())
}

type tree struct {
	tar  *tar.Writer
	have map[string]bool
	err  error // the first
}

func (t *tree) add(h *tar.Header, content []byte) {
	if t.err != nil || t.have[h.Name] {
		return
	}
	t.have[h.Name] = true
	h.Size = int64(len(content))
	if t.err = t.tar.WriteHeader(h); t.err == nil {
		_, t.err = t.tar.Write(content)
	}
}

// program adds a program that is in the PATH.
func (t *tree) program(name string) {
	path, err := exec.LookPath(name)
	if err != nil {
		t.err = errors.Join(t.err, fmt.Errorf("a test's image needs %s: %w", name, err))
		return
	}
	t.file("usr/bin/"+name, path)
	out, err := exec.Command("ldd", path).Output()
	if err != nil {
		return // static, or a script
	}
	for word := range strings.FieldsSeq(string(out)) {
		if filepath.IsAbs(word) {
			t.file(merged(word), word)
		}
	}
}

// merged is where a library's path leads when the directories of the root are links into usr.
func merged(path string) string {
	path = strings.TrimPrefix(path, "/")
	if !strings.HasPrefix(path, "usr/") {
		path = "usr/" + path
	}
	return path
}

func (t *tree) file(name, from string) {
	content, err := os.ReadFile(from)
	if err != nil {
		t.err = errors.Join(t.err, err)
		return
	}
	if dir := filepath.Dir(name); !t.have[dir+"/"] {
		t.add(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755}, nil)
	}
	t.add(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o755}, content)
}

// busybox adds it with links for all that it can be, if it is there and static.
func (t *tree) busybox() {
	path, err := exec.LookPath("busybox")
	if err != nil {
		return
	}
	if f, err := elf.Open(path); err == nil {
		libs, _ := f.ImportedLibraries()
		f.Close()
		if len(libs) > 0 {
			return
		}
	}
	t.file("usr/bin/busybox", path)
	applets, err := exec.Command(path, "--list").Output()
	if err != nil {
		t.err = errors.Join(t.err, err)
		return
	}
	for name := range strings.FieldsSeq(string(applets)) {
		if !t.have["usr/bin/"+name] {
			t.add(&tar.Header{Typeflag: tar.TypeSymlink, Name: "usr/bin/" + name, Linkname: "busybox"}, nil)
		}
	}
}
