package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/cgi"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// clientsAgent has every connection looked into.
const clientsAgent = `command: [sleep, "1000"]
network:
  policy: strict
  allow: [npm.example.com, pypi.example.com, goproxy.example.com, crates.example.com]
  rules:
    npm.example.com: ["allow GET /**"]
    pypi.example.com: ["allow GET /**"]
    goproxy.example.com: ["allow GET /**"]
    crates.example.com: ["allow GET /**"]
`

// TestClients has programs that people use do what they do all day, through the door and its inspection.
func TestClients(t *testing.T) {
	const token = "real-token-7be20b4c4d5f1c"
	agent, path := clientsAgent, "PATH=$PATH"
	if program, err := exec.LookPath("go"); err == nil {
		path += ":" + filepath.Dir(program) // it is seldom where others are
	}
	if out, err := exec.Command("rustc", "--print", "sysroot").Output(); err == nil {
		agent += "mounts: ['" + strings.TrimSpace(string(out)) + ":/mnt/rust:ro']\n" // it is often in the home of who runs the tests
		path += ":/mnt/rust/bin"
	}
	path += "; "
	l := newLab(t, agent)
	l.serve("npm.example.com", npmRegistry(t))
	l.serve("pypi.example.com", pythonIndex(t))
	l.serve("goproxy.example.com", goProxy(t))
	l.serve("crates.example.com", crateRegistry(t))
	l.serve("cred.example.com", gitServer(t, "Bearer "+token))
	l.store(t, token+"\n", "lab", "--token-stdin")
	if out, code := l.moat("run", "-d", "--approve", "-n", "lab", "--grant", "lab"); code != 0 {
		t.Fatalf("run: exit code %d, %s", code, out)
	}
	for _, c := range []struct{ name, program, script, want string }{
		{"curl in HTTP/1.1", "curl", `curl -sS --http1.1 -o /dev/null -w "%{http_code} %{http_version}" https://cred.example.com/repo.git/HEAD`, "200 1.1"},
		{"curl in HTTP/2", "curl", `curl -sS -o /dev/null -w "%{http_code} %{http_version}" https://cred.example.com/repo.git/HEAD`, "200 2"},
		{"git", "git", `set -e; cd /tmp; export GIT_TERMINAL_PROMPT=0
			git clone -q https://cred.example.com/repo.git r; cd r; head -c 3000000 /dev/urandom > large; git add .
			git -c user.name=a -c user.email=a@b commit -q -m more; git push -q origin HEAD:main; git ls-remote -q origin main | cut -f2`, "refs/heads/main\n"},
		{"npm", "npm", `set -e; mkdir /tmp/n; cd /tmp/n; npm install --no-audit --no-fund --silent --registry https://npm.example.com/ leftish >/dev/null
			node -p 'require("leftish")'`, "left of npm\n"},
		{"pip", "pip3", `set -e; pip3 install -q --disable-pip-version-check --no-cache-dir --index-url https://pypi.example.com/simple --target /tmp/p leftish
			PYTHONPATH=/tmp/p python3 -c 'import leftish; print(leftish.WHERE)'`, "left of pypi\n"},
		{"go", "go", `set -e; mkdir /tmp/g; cd /tmp/g; export GOPROXY=https://goproxy.example.com GONOSUMDB='*' GOFLAGS=-mod=mod GOTOOLCHAIN=local
			export HOME=/tmp/g GOCACHE=/tmp/g/c GOPATH=/tmp/g/p; go mod init -C /tmp/g x.example/x 2>/dev/null; go get left.example/leftish 2>/dev/null; go list -m left.example/leftish`, "left.example/leftish v1.0.0\n"},
		{"cargo", "cargo", `set -e; mkdir -p /tmp/c/src; cd /tmp/c; export HOME=/tmp/c CARGO_HOME=/tmp/c CARGO_REGISTRIES_LAB_INDEX=sparse+https://crates.example.com/; echo 'fn main() {}' > src/main.rs
			printf '[package]\nname = "x"\nversion = "0.1.0"\n[dependencies]\nleftish = {version = "1", registry = "lab"}\n' > Cargo.toml
			cargo fetch -q; cargo tree -q --prefix none | tail -1 | cut -d" " -f1,2`, "leftish v1.0.0\n"},
		{"java", "javac", `mkdir /tmp/j; cd /tmp/j
			echo 'class C { public static void main(String[] a) throws Exception {
				System.out.println(((java.net.HttpURLConnection) new java.net.URL("https://cred.example.com/repo.git/HEAD").openConnection()).getResponseCode()); } }' > C.java
			java -XX:TieredStopAtLevel=1 C.java 2>/dev/null`, "200\n"},
		{"python", "python3", `python3 -c 'import urllib.request as u; print(u.urlopen("https://cred.example.com/repo.git/HEAD").status)'`, "200\n"},
		{"node", "node", `node -e 'fetch("https://cred.example.com/repo.git/HEAD").then(r => console.log(r.status))'`, "200\n"},
		{"openssl", "openssl", `openssl s_client -connect cred.example.com:443 -servername cred.example.com -verify_return_error </dev/null 2>/dev/null | grep -o "Verify return code: 0" | head -1`, "Verify return code: 0\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, code := l.inside(path + "command -v " + c.program); code != 0 {
				t.Skip(c.program + " is not installed where the sandbox sees it")
			}
			if got, code := l.inside(path + c.script); got != c.want {
				t.Errorf("exit code %d, %q, want %q", code, got, c.want)
			}
		})
	}
	l.searchFor(t, token)
}

// gitServer is a repository that takes pushes from whoever has the credential.
func gitServer(t *testing.T, auth string) http.Handler {
	t.Helper()
	out, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	for _, line := range []string{
		"git init -q --bare -b main " + root + "/repo.git",
		"git -C " + root + "/repo.git config http.receivepack true",
		"git init -q -b main " + root + "/work",
		"git -C " + root + "/work -c user.name=a -c user.email=a@b commit -q --allow-empty -m first",
		"git -C " + root + "/work push -q " + root + "/repo.git main",
	} {
		if out, err := exec.Command("sh", "-c", line).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
	}
	backend := &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(out)), "git-http-backend"),
		Env:  []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER=lab"},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != auth {
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		r.Header.Del("Authorization") // package cgi passes it on in a variable
		backend.ServeHTTP(w, r)
	})
}

// npmRegistry has one package.
func npmRegistry(t *testing.T) http.Handler {
	t.Helper()
	packed := tarred(t, [][2]string{
		{"package/package.json", `{"name":"leftish","version":"1.0.0","main":"index.js"}`},
		{"package/index.js", `module.exports = "left of npm"`},
	})
	sum := sha512.Sum512([]byte(packed))
	about := fmt.Sprintf(`{"name":"leftish","dist-tags":{"latest":"1.0.0"},"versions":{"1.0.0":{"name":"leftish","version":"1.0.0","main":"index.js",
		"dist":{"tarball":"https://npm.example.com/leftish/-/leftish-1.0.0.tgz","integrity":"sha512-%s"}}}}`, base64.StdEncoding.EncodeToString(sum[:]))
	mux := http.NewServeMux()
	mux.HandleFunc("/leftish", text("application/json", about))
	mux.HandleFunc("/leftish/-/leftish-1.0.0.tgz", text("application/octet-stream", packed))
	return mux
}

// pythonIndex has one wheel (PEP 427, PEP 503).
func pythonIndex(t *testing.T) http.Handler {
	t.Helper()
	const info = "leftish-1.0.0.dist-info/"
	wheel := zipped(t, [][2]string{
		{"leftish.py", "WHERE = 'left of pypi'\n"},
		{info + "METADATA", "Metadata-Version: 2.1\nName: leftish\nVersion: 1.0.0\n"},
		{info + "WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"},
		{info + "RECORD", "leftish.py,,\n" + info + "METADATA,,\n" + info + "WHEEL,,\n" + info + "RECORD,,\n"},
	})
	sum := sha256.Sum256([]byte(wheel))
	const name = "leftish-1.0.0-py3-none-any.whl"
	mux := http.NewServeMux()
	mux.HandleFunc("/simple/leftish/", text("text/html", fmt.Sprintf(`<a href="/files/%s#sha256=%s">%s</a>`, name, hex.EncodeToString(sum[:]), name)))
	mux.HandleFunc("/files/"+name, text("application/octet-stream", wheel))
	return mux
}

// goProxy has one module (https://go.dev/ref/mod#goproxy-protocol).
func goProxy(t *testing.T) http.Handler {
	t.Helper()
	const at = "/left.example/leftish/@v/"
	const mod = "module left.example/leftish\n\ngo 1.20\n"
	const info = `{"Version":"v1.0.0","Time":"2026-01-01T00:00:00Z"}`
	mux := http.NewServeMux()
	mux.HandleFunc(at+"list", text("text/plain", "v1.0.0\n"))
	mux.HandleFunc("/left.example/leftish/@latest", text("application/json", info))
	mux.HandleFunc(at+"v1.0.0.info", text("application/json", info))
	mux.HandleFunc(at+"v1.0.0.mod", text("text/plain", mod))
	mux.HandleFunc(at+"v1.0.0.zip", text("application/zip", zipped(t, [][2]string{
		{"left.example/leftish@v1.0.0/go.mod", mod},
		{"left.example/leftish@v1.0.0/leftish.go", "package leftish\n\nconst Where = \"left\"\n"},
	})))
	return mux
}

// crateRegistry has one crate (https://doc.rust-lang.org/cargo/reference/registry-index.html, sparse protocol).
func crateRegistry(t *testing.T) http.Handler {
	t.Helper()
	crate := tarred(t, [][2]string{
		{"leftish-1.0.0/Cargo.toml", "[package]\nname = \"leftish\"\nversion = \"1.0.0\"\n"},
		{"leftish-1.0.0/src/lib.rs", ""},
	})
	sum := sha256.Sum256([]byte(crate))
	mux := http.NewServeMux()
	mux.HandleFunc("/config.json", text("application/json", `{"dl": "https://crates.example.com/dl"}`))
	mux.HandleFunc("/le/ft/leftish", text("text/plain", fmt.Sprintf(`{"name":"leftish","vers":"1.0.0","deps":[],"cksum":"%x","features":{},"yanked":false}`, sum)))
	mux.HandleFunc("/dl/leftish/1.0.0/download", text("application/octet-stream", crate))
	return mux
}

func tarred(t *testing.T, files [][2]string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, f := range files {
		fine(t, w.WriteHeader(&tar.Header{Name: f[0], Mode: 0o644, Size: int64(len(f[1]))}))
		_, err := w.Write([]byte(f[1]))
		fine(t, err)
	}
	fine(t, w.Close())
	fine(t, z.Close())
	return b.String()
}

func zipped(t *testing.T, files [][2]string) string {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, f := range files {
		w, err := z.Create(f[0])
		fine(t, err)
		_, err = w.Write([]byte(f[1]))
		fine(t, err)
	}
	fine(t, z.Close())
	return b.String()
}

// text answers with the same text always.
func text(contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write([]byte(body))
	}
}

func fine(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
