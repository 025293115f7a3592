package box

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"moat/internal/sandbox"
)

// ends returns two ends of a connection.
func ends(t *testing.T) (host, guest net.Conn) {
	host, guest = net.Pipe()
	t.Cleanup(func() { host.Close(); guest.Close() })
	return host, guest
}

func TestHandOver(t *testing.T) {
	for name, failure := range map[string]error{
		"": nil, "warned": nil, "two lines": errors.New("two\nlines"), "long": errors.New(strings.Repeat("x", 2*maxAnswer)),
	} {
		warning := ""
		if name == "warned" {
			warning = "it is weaker"
		}
		host, guest := ends(t)
		want := Boot{Secret: []byte{1, 2}, ID: "run-1", User: sandbox.User{UID: 7, Home: "/h"}, Network: true, Roots: make([]byte, 500_000)}
		learned := make(chan Boot, 1)
		go func() {
			b, err := Learn(guest)
			if err != nil {
				t.Error(err)
			}
			learned <- b
			if err := Answer(guest, warning, failure); err != nil {
				t.Error(err)
			}
		}()
		warned, err := want.HandOver(t.Context(), host)
		if d := cmp.Diff(want, <-learned); d != "" {
			t.Error(d)
		}
		if failure == nil {
			if err != nil || warned != warning {
				t.Fatalf("%q, %v", warned, err)
			}
			go MakeLine(host)
			if _, err := io.ReadFull(guest, make([]byte, 1)); err != nil {
				t.Errorf("the line: %v", err)
			}
			continue
		}
		want2 := strings.ReplaceAll(failure.Error(), "\n", " ")
		if err == nil || err.Error() != want2[:min(len(want2), maxAnswer-1)] {
			t.Errorf("%s: %.60v", name, err)
		}
	}
}

// TestHandOverToNobody ends the connection, or gives up waiting.
func TestHandOverToNobody(t *testing.T) {
	host, guest := ends(t)
	go func() { _, _ = Learn(guest); guest.Close() }()
	if _, err := (Boot{}).HandOver(t.Context(), host); !errors.Is(err, io.EOF) {
		t.Errorf("a guest that ended: %v", err)
	}
	_, guest = ends(t)
	go guest.Close()
	if _, err := Learn(guest); err == nil {
		t.Error("a host that ended taught something")
	}
	host, guest = ends(t)
	go host.Write([]byte{0xff, 0, 0, 0})
	if _, err := Learn(guest); err == nil || !strings.Contains(err.Error(), "bytes") {
		t.Errorf("a task of 4 GB: %v", err)
	}
}

// TestHere tells folders of this machine from those of another one.
func TestHere(t *testing.T) {
	file := filepath.Join(t.TempDir(), "here")
	if err := os.WriteFile(file, []byte("these"), 0o600); err != nil {
		t.Fatal(err)
	}
	for here, want := range map[Here]error{
		{}: nil, {file, "these"}: nil, {file, "others"}: ErrNotHere, {file + "-not", "these"}: ErrNotHere,
	} {
		if err := here.Check(); !errors.Is(err, want) {
			t.Errorf("%+v: %v", here, err)
		}
	}
	host, guest := ends(t)
	go func() { _, _ = Learn(guest); _ = Answer(guest, "", ErrNotHere) }()
	if _, err := (Boot{}).HandOver(t.Context(), host); !errors.Is(err, ErrNotHere) {
		t.Errorf("a guest that is elsewhere: %v", err)
	}
}
