package egress_test

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"moat/internal/egress"
	"moat/internal/journal"
)

// A placeholder that a program sends on a connection that is neither HTTP nor TLS does not arrive, however it is cut.
func TestLeakOverTCP(t *testing.T) {
	const placeholder = "moat-placeholder-4f1d2c3b5a69"
	arrived := make(chan string, 10)
	server := listen(t, "203.0.113.10:9000", func(conn *net.TCPConn) {
		all, _ := io.ReadAll(conn)
		arrived <- string(all)
	})
	l := newLab(t, labConfig{policy: strict("203.0.113.10:9000"), grants: []egress.Grant{{Name: "lab", Placeholders: []string{placeholder}}}})
	for name, pieces := range map[string][]string{
		"at once":  {"AUTH " + placeholder + "\r\n"},
		"in two":   {"AUTH " + placeholder[:12], placeholder[12:] + "\r\n"},
		"later on": {"HELO\r\n", strings.Repeat("x", 20<<10), placeholder},
		"nothing":  {"AUTH something else\r\n", "and more"},
	} {
		conn := l.dial(t, "tcp", server).(*net.TCPConn)
		_ = conn.SetDeadline(time.Now().Add(patience))
		for _, piece := range pieces {
			if _, err := io.WriteString(conn, piece); err != nil {
				break // it was closed already
			}
		}
		_ = conn.CloseWrite()
		_, _ = io.ReadAll(conn)
		_ = conn.Close()
		got := <-arrived
		if strings.Contains(got, placeholder) || name == "nothing" && got != strings.Join(pieces, "") {
			t.Errorf("%s: there arrived %q", name, got)
		}
		if name != "nothing" {
			l.records.wait(t, "the leak", func(r journal.Request) bool {
				return r.Decision == "deny" && r.Rule == "leak: placeholder of lab" && r.Error != nil
			})
			l.records.forget()
		}
	}
}
