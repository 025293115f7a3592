package intercept

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"moat/internal/egress"
)

// Programs that people use, as they are: they find cred.lab.test in /etc/hosts of a mount namespace, and trust the run's
// authority by their usual variables.
func TestClients(t *testing.T) {
	const address = "127.77.4.1:443"
	l := newLab(t, labOptions{grants: []egress.Grant{labGrant()}})
	arrived := make(chan string, 100)
	l.outside("cred.lab.test:443", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		arrived <- r.Proto + " " + r.Method + " " + r.Header.Get("Authorization")
		echo(w, r)
	}))
	listener, err := net.Listen("tcp", address)
	if err != nil || exec.Command("unshare", "-m", "true").Run() != nil {
		t.Skip("needs root: a port below 1024 and a mount namespace")
	}
	l.doorOn(listener, l.target("cred.lab.test:443", true))
	dir := t.TempDir()
	bundle, hosts := filepath.Join(dir, "roots.pem"), filepath.Join(dir, "hosts")
	os.WriteFile(bundle, l.authority.RootPEM(), 0o644)
	os.WriteFile(hosts, []byte("127.77.4.1 cred.lab.test\n"), 0o644)
	for _, p := range []struct {
		name, protocol string
		command        []string
	}{
		{"curl, HTTP/1.1", "HTTP/1.1 POST", []string{"curl", "-sS", "--http1.1", "-d", "x=1", "https://cred.lab.test/a"}},
		{"curl, HTTP/2", "HTTP/2.0 POST", []string{"curl", "-sS", "--http2", "-d", "x=1", "https://cred.lab.test/a"}},
		{"curl, Expect", "HTTP/1.1 POST", []string{"curl", "-sS", "--http1.1", "-H", "Expect: 100-continue", "-d", "x=1", "https://cred.lab.test/a"}},
		{"python", "HTTP/1.1 POST", []string{"python3", "-c", `import urllib.request as u; print(u.urlopen("https://cred.lab.test/a", data=b"x=1").read().decode())`}},
		{"node", "HTTP/1.1 POST", []string{"node", "-e", `fetch("https://cred.lab.test/a", {method: "POST", body: "x=1"}).then(r => r.text()).then(console.log)`}},
	} {
		t.Run(p.name, func(t *testing.T) {
			if _, err := exec.LookPath(p.command[0]); err != nil {
				t.Skip(p.command[0] + " is not installed")
			}
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
			defer cancel()
			c := exec.CommandContext(ctx, "unshare", append([]string{"-m", "sh", "-c", `mount --bind "$0" /etc/hosts && exec "$@"`, hosts}, p.command...)...)
			c.Env = append(os.Environ(), "SSL_CERT_FILE="+bundle, "CURL_CA_BUNDLE="+bundle, "NODE_EXTRA_CA_CERTS="+bundle)
			var errors bytes.Buffer
			c.Stderr = &errors
			out, err := c.Output()
			if err != nil || !strings.Contains(string(out), `"body":"x=1"`) || strings.Contains(string(out), token) {
				t.Errorf("%v: %s %s", err, out, errors.String())
			}
			if len(arrived) != 1 {
				t.Fatalf("outside arrived %d requests", len(arrived))
			}
			if got := <-arrived; got != p.protocol+" Bearer "+token {
				t.Errorf("outside arrived %q", got)
			}
		})
	}
}
