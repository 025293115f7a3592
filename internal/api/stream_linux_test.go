package api_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"moat/internal/api"
	"moat/internal/sock"
)

// serve answers calls in a folder, each with a handler of its own.
func serve(t *testing.T, handle http.HandlerFunc) (dir string) {
	t.Helper()
	dir = t.TempDir()
	l, err := sock.Listen(dir, api.SocketName)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: handle}
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close() })
	return dir
}

// TestStream sends frames and a file both ways at once with the answer, which must not get lost in it.
func TestStream(t *testing.T) {
	dir := serve(t, func(w http.ResponseWriter, r *http.Request) {
		s, err := api.AcceptStream(w, r)
		if err != nil {
			t.Error(err)
			return
		}
		defer s.Close()
		kind, first, err := s.Next()
		if err != nil || kind != api.KindAttach {
			t.Errorf("the first frame: %q, %v", kind, err)
		}
		file, err := os.CreateTemp(t.TempDir(), "")
		if err != nil {
			t.Error(err)
			return
		}
		defer file.Close()
		s.Put(api.KindStarted, first)
		if err := s.SendFiles(api.KindKeyboard, nil, file); err != nil {
			t.Error(err)
		}
		if err := s.Send(api.KindNotice, []byte("after it")); err != nil {
			t.Error(err)
		}
		if _, payload, err := s.Next(); err != nil || string(payload) != "typed" {
			t.Errorf("%q, %v", payload, err)
		}
		if _, err := file.Seek(0, 0); err != nil {
			t.Error(err)
		}
		if data, err := os.ReadFile(file.Name()); err != nil || string(data) != "written" {
			t.Errorf("the file holds %q, %v", data, err)
		}
	})
	for range 20 {
		c := api.NewClient(dir)
		s, err := c.Attach(t.Context(), api.Attach{From: 42})
		if err != nil {
			t.Fatal(err)
		}
		if kind, payload, err := s.Next(); err != nil || kind != api.KindStarted || !bytes.Contains(payload, []byte("42")) {
			t.Fatalf("%q %q, %v", kind, payload, err)
		}
		if kind, _, err := s.Next(); err != nil || kind != api.KindKeyboard {
			t.Fatalf("%q, %v", kind, err)
		}
		files, err := s.Descriptors(1)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := files[0].WriteNow([]byte("written")); n != 7 || err != nil {
			t.Error(n, err)
		}
		if err := files[0].Close(); err != nil {
			t.Error(err)
		}
		if kind, payload, err := s.Next(); err != nil || kind != api.KindNotice || string(payload) != "after it" {
			t.Fatalf("%q %q, %v", kind, payload, err)
		}
		if err := s.Send(api.KindInput, []byte("typed")); err != nil {
			t.Error(err)
		}
		if _, _, err := s.Next(); err == nil {
			t.Error("it goes on after its end")
		}
		s.Close()
	}
}

// TestStreamRefused tells refusals, and supervisors that are not there, apart.
func TestStreamRefused(t *testing.T) {
	refuse := func(version string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set(api.VersionHeader, version)
			http.Error(w, "not today", http.StatusForbidden)
		}
	}
	var refused *api.StatusError
	_, err := api.NewClient(serve(t, refuse(api.Version))).Attach(t.Context(), api.Attach{})
	if !errors.As(err, &refused) || refused.Text != "not today" {
		t.Errorf("refused: %v", err)
	}
	_, err = api.NewClient(serve(t, refuse("0"))).Attach(t.Context(), api.Attach{})
	if err == nil || errors.Is(err, api.ErrUnreachable) || !strings.Contains(err.Error(), `version "0"`) {
		t.Errorf("another version: %v", err)
	}
	if _, err = api.NewClient(t.TempDir()).Attach(t.Context(), api.Attach{}); !errors.Is(err, api.ErrUnreachable) {
		t.Errorf("nobody there: %v", err)
	}
	hangUp := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	if _, err = api.NewClient(serve(t, hangUp)).Attach(t.Context(), api.Attach{}); !errors.Is(err, api.ErrUnreachable) {
		t.Errorf("hung up: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	waits := func(_ http.ResponseWriter, r *http.Request) { cancel(); <-r.Context().Done() }
	if _, err = api.NewClient(serve(t, waits)).Attach(ctx, api.Attach{}); !errors.Is(err, context.Canceled) {
		t.Errorf("left: %v", err)
	}
}

// TestOffer offers frames to one who does not read, and to one who was sent something with a limit that is over.
func TestOffer(t *testing.T) {
	offered := make(chan error, 1)
	dir := serve(t, func(w http.ResponseWriter, r *http.Request) {
		s, err := api.AcceptStream(w, r)
		if err != nil {
			offered <- err
			return
		}
		defer s.Close()
		s.SetStall(time.Millisecond)
		err = s.Send(api.KindNotice, []byte("with a limit"))
		<-time.After(5 * time.Millisecond)
		n := 0
		for all := true; all && err == nil; n++ {
			if _, all = s.Offer(api.KindOutput, make([]byte, 1000)); n == 0 && !all {
				err = errors.New("the first offer was not taken")
			}
		}
		s.SetStall(10 * time.Second)
		offered <- errors.Join(err, s.Send(api.KindExit, []byte{byte(n), byte(n >> 8)}))
	})
	s, err := api.NewClient(dir).Attach(t.Context(), api.Attach{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for n := 0; ; n++ {
		kind, payload, err := s.Next()
		if err != nil {
			t.Fatal(err, <-offered)
		}
		if kind == api.KindExit {
			if want := int(payload[0]) + int(payload[1])<<8; n != want+1 {
				t.Errorf("%d frames came, %d were offered", n, want)
			}
			break
		}
		if kind == api.KindOutput && len(payload) != 1000 {
			t.Fatalf("%d bytes", len(payload))
		}
		if n == 0 {
			<-time.After(50 * time.Millisecond) // meanwhile the socket fills
		}
	}
	if err := <-offered; err != nil {
		t.Error(err)
	}
}
