package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// sshKey is a new key.
func sshKey(t *testing.T) (ssh.Signer, ed25519.PrivateKey) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return signer, private
}

// sshServer lets in who has the key, and says as whom they came. It returns its address.
func sshServer(t *testing.T, host ssh.Signer, key ssh.PublicKey) string {
	t.Helper()
	config := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, got ssh.PublicKey) (*ssh.Permissions, error) {
		if string(got.Marshal()) != string(key.Marshal()) {
			return nil, errors.New("another key")
		}
		return nil, nil
	}}
	config.AddHostKey(host)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer conn.Close()
				serveSSH(conn, config)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		all.Wait()
	})
	return l.Addr().String()
}

// serveSSH answers each command with who asked.
func serveSSH(conn net.Conn, config *ssh.ServerConfig) {
	server, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for c := range channels {
		channel, requests, err := c.Accept()
		if err != nil {
			return
		}
		for r := range requests {
			_ = r.Reply(r.Type == "exec", nil)
			if r.Type == "exec" {
				fmt.Fprintf(channel, "hello %s\n", server.User())
				_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Code uint32 }{0}))
				channel.Close()
			}
		}
	}
}

// TestSSH logs in with OpenSSH inside, with a key that the sandbox does not have: one from a file and one that stays in the
// person's agent, before and after the supervisor was killed.
func TestSSH(t *testing.T) {
	l := newLab(t, "command: [sleep, \"1000\"]\nnetwork: {policy: strict}\n")
	fileKey, filePrivate := sshKey(t)
	agentKey, agentPrivate := sshKey(t)
	gitHost, _ := sshKey(t)
	labHost, _ := sshKey(t)
	liar, _ := sshKey(t)
	home := strings.TrimPrefix(l.env[0], "HOME=")
	pins := fmt.Sprintf("egress:\n  hosts:\n    \"git.example.com:22\": %q\n    \"lab.example.com:22\": %q\n    \"liar.example.com:22\": %q\n",
		sshServer(t, gitHost, fileKey.PublicKey()), sshServer(t, labHost, agentKey.PublicKey()), sshServer(t, liar, fileKey.PublicKey()))
	block, err := ssh.MarshalPrivateKey(filePrivate, "")
	if err != nil {
		t.Fatal(err)
	}
	known := ""
	for name, key := range map[string]ssh.Signer{"git.example.com": gitHost, "lab.example.com": labHost, "liar.example.com": gitHost} {
		known += name + " " + string(ssh.MarshalAuthorizedKey(key.PublicKey()))
	}
	for name, text := range map[string]string{
		filepath.Join(l.home(), "config.yaml"): pins, filepath.Join(home, "key"): string(pem.EncodeToMemory(block)),
		filepath.Join(home, "agent.pub"): string(ssh.MarshalAuthorizedKey(agentKey.PublicKey())), filepath.Join(home, ".ssh", "known_hosts"): known,
	} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	l.env = append(l.env, "SSH_AUTH_SOCK="+personsAgent(t, agentPrivate))
	l.store(t, "", "ssh:git.example.com", "--key", filepath.Join(home, "key"))
	l.store(t, "", "ssh:lab.example.com", "--key", filepath.Join(home, "agent.pub"))
	l.store(t, "", "ssh:liar.example.com", "--key", filepath.Join(home, "key"))
	if out, code := l.moat("run", "--approve", "-d", "-n", "lab", "--grant", "ssh:git.example.com", "--grant", "ssh:lab.example.com", "--grant", "ssh:liar.example.com"); code != 0 {
		t.Fatalf("run: exit code %d, %s", code, out)
	}
	const client = "ssh -o BatchMode=yes -o ConnectTimeout=20 "
	for range 2 {
		for _, c := range []struct{ script, want string }{
			{client + "git@git.example.com who", "hello git\n"},
			{client + "me@lab.example.com who", "hello me\n"},
			{client + "me@liar.example.com who 2>&1", "Host key verification failed"},
			{client + "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o GlobalKnownHostsFile=/dev/null git@liar.example.com who 2>&1", "Permission denied"},
			{"ssh-add -L | wc -l", "2\n"},
			{"ssh-add -D 2>&1", "Failed to remove all identities"},
			{"ssh-keygen -q -N '' -f /tmp/k$$ && ssh-add /tmp/k$$ 2>&1", "agent refused operation"},
			{"ssh-add -L | head -n 1 > /tmp/p.pub; echo x | ssh-keygen -Y sign -n file -f /tmp/p.pub 2>&1", "agent refused operation"},
			{`echo "$SSH_AUTH_SOCK"`, "/tmp/.moat-ssh-agent\n"},
		} {
			if out, _ := l.inside(c.script); !strings.Contains(out, c.want) {
				t.Errorf("%s: %q, want %q", c.script, out, c.want)
			}
		}
		l.killSupervisor(t)
	}
	records, _ := l.moat("trace", "--network", "--json", "lab")
	for _, want := range []string{`"url": "ssh://git@git.example.com/"`, `"rule": "ssh: bound to the host"`, `"rule": "ssh: bound to a host that is not granted"`, `"rule": "ssh: not a request to log in"`, `"grant": "ssh:lab.example.com"`} {
		if !strings.Contains(records, want) {
			t.Errorf("%s is not on record", want)
		}
	}
	l.searchFor(t, strings.Split(string(pem.EncodeToMemory(block)), "\n")[2])
}

// personsAgent is an agent outside, with a key. It returns its socket.
func personsAgent(t *testing.T, key ed25519.PrivateKey) string {
	t.Helper()
	ring := agent.NewKeyring()
	if err := ring.Add(agent.AddedKey{PrivateKey: key, Comment: "mine"}); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "moat-agent-") //nolint:usetesting // t.TempDir is too long for a socket's address
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "agent")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer conn.Close()
				_ = agent.ServeAgent(ring, conn)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		all.Wait()
	})
	return socket
}
