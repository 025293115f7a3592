package ca

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// server serves HTTPS as host on loopback and returns its port.
func server(t *testing.T, a *Authority, host string) (port string) {
	t.Helper()
	config, err := a.ServerConfig(host)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{
		Handler:  http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello over "+r.Proto) }),
		ErrorLog: log.New(io.Discard, "", 0),
	}
	s.Protocols = new(http.Protocols)
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetHTTP2(true)
	done := make(chan struct{})
	go func() {
		s.Serve(tls.NewListener(l, config))
		close(done)
	}()
	t.Cleanup(func() {
		s.Close()
		<-done
	})
	_, port, err = net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// client runs a program in dir. It skips the test where the program is not installed.
func client(t *testing.T, dir string, env []string, command ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath(command[0])
	if err != nil {
		t.Skipf("%s is not installed", command[0])
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, command[1:]...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func write(t *testing.T, dir, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const (
	nodeClient = `const [port, host] = process.argv.slice(1);
require('https').get({host: '127.0.0.1', port, servername: host, headers: {host}}, r => r.pipe(process.stdout))
  .on('error', e => { console.log(e.code); process.exit(1); });`

	pythonClient = `import socket, ssl, sys
port, host, roots = sys.argv[1:]
c = ssl.create_default_context(cafile=roots)
c.verify_flags |= ssl.VERIFY_X509_STRICT
s = c.wrap_socket(socket.create_connection(('127.0.0.1', int(port))), server_hostname=host)
s.sendall(b'GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n' % host.encode())
while data := s.recv(4096): sys.stdout.write(data.decode())`

	javaClient = `import java.net.*; import javax.net.ssl.*;
class Client { public static void main(String[] a) throws Exception {
  var plain = new Socket("127.0.0.1", Integer.parseInt(a[0]));
  var s = (SSLSocket) ((SSLSocketFactory) SSLSocketFactory.getDefault()).createSocket(plain, a[1], plain.getPort(), true);
  var p = s.getSSLParameters(); p.setEndpointIdentificationAlgorithm("HTTPS"); s.setSSLParameters(p);
  s.getOutputStream().write(("GET / HTTP/1.1\r\nHost: " + a[1] + "\r\nConnection: close\r\n\r\n").getBytes());
  s.getInputStream().transferTo(System.out);
}}`
)

// Every client gets an answer with the run's root, and refuses the server with the root of another run.
func TestClients(t *testing.T) {
	const host = "api.example.com"
	a, other := newAuthority(t), newAuthority(t)
	port := server(t, a, host)
	clients := []struct {
		name    string
		command func(dir, roots string) (env, command []string) // roots is a file that Bundle made
	}{
		{"curl h2", func(dir, roots string) (env, command []string) {
			return nil, []string{"curl", "-sS", "--http2", "--cacert", roots, "--noproxy", "*", "--connect-to", "::127.0.0.1:" + port, "https://" + host + "/"}
		}},
		{"curl h1 by environment", func(dir, roots string) (env, command []string) {
			return []string{"CURL_CA_BUNDLE=" + roots}, []string{"curl", "-sS", "--http1.1", "--noproxy", "*", "--connect-to", "::127.0.0.1:" + port, "https://" + host + "/"}
		}},
		{"openssl", func(dir, roots string) (env, command []string) {
			return nil, []string{"sh", "-c", `printf 'GET / HTTP/1.0\r\n\r\n' | openssl s_client -quiet -verify_return_error -x509_strict -no-CApath -no-CAstore -CAfile "$1" -connect 127.0.0.1:"$2" -servername "$3" -verify_hostname "$3"`, "sh", roots, port, host}
		}},
		{"node", func(dir, roots string) (env, command []string) {
			return []string{"NODE_EXTRA_CA_CERTS=" + roots}, []string{"node", "-e", nodeClient, "--", port, host}
		}},
		{"python", func(dir, roots string) (env, command []string) {
			return nil, []string{"python3", "-c", pythonClient, port, host, roots}
		}},
		{"java", func(dir, roots string) (env, command []string) {
			pem, err := os.ReadFile(roots)
			if err != nil {
				t.Fatal(err)
			}
			store := write(t, dir, "roots.jks", KeyStore(pem))
			return []string{"JAVA_TOOL_OPTIONS=-Djavax.net.ssl.trustStore=" + store}, []string{"java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC",
				write(t, dir, "Client.java", []byte(javaClient)), port, host}
		}},
	}
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			for _, trusted := range []*Authority{a, other} {
				dir := t.TempDir()
				env, command := c.command(dir, write(t, dir, "roots.pem", trusted.Bundle(nil)))
				out, err := client(t, dir, env, command...)
				answered := err == nil && strings.Contains(out, "hello over HTTP/")
				if answered != (trusted == a) {
					t.Errorf("answered: %v, with the run's own root: %v\n%s", answered, trusted == a, out)
				}
				if strings.HasSuffix(c.name, "h2") && answered && !strings.Contains(out, "HTTP/2") {
					t.Errorf("not HTTP/2: %s", out)
				}
			}
		})
	}
}

// OpenSSL's strictest reading of RFC 5280 finds nothing to complain about, and obeys the constraints.
func TestOpenSSLVerify(t *testing.T) {
	a := newAuthority(t)
	dir := t.TempDir()
	roots := write(t, dir, "root.pem", a.RootPEM())
	for _, test := range []struct {
		host, by string
		ok       bool
	}{
		{"api.example.com", "-verify_hostname", true},
		{strings.Repeat("a", 60) + ".example.com", "-verify_hostname", true},
		{"203.0.113.7", "-verify_ip", true},
		{"10.1.2.3", "-verify_ip", true},
		{"2001:db8::7", "-verify_ip", true},
		{"127.0.0.1", "-verify_ip", false},
		{"169.254.169.254", "-verify_ip", false},
		{"::1", "-verify_ip", false},
		{"x.localhost", "-verify_hostname", false},
	} {
		cert := write(t, dir, "leaf.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf(t, a, test.host).Raw}))
		out, err := client(t, dir, nil, "openssl", "verify", "-x509_strict", "-check_ss_sig", "-purpose", "sslserver",
			"-no-CApath", "-no-CAstore", "-CAfile", roots, test.by, test.host, cert)
		if (err == nil) != test.ok {
			t.Errorf("%s: %v, want success: %v\n%s", test.host, err, test.ok, out)
		}
		if !test.ok && !strings.Contains(out, "excluded subtree violation") {
			t.Errorf("%s is refused for another reason: %s", test.host, out)
		}
	}
}
