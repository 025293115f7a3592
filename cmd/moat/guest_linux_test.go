package main

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"moat/internal/frame"
)

// asGuest is the name by which the test binary plays moat guest.
const asGuest = "moat-test-guest"

func TestMain(m *testing.M) {
	if os.Args[0] == asGuest {
		os.Exit(run(context.Background(), []string{"guest"}))
	}
	if filepath.Base(os.Args[0]) == forgerName {
		os.Exit(forge())
	}
	os.Exit(m.Run())
}

// TestGuestReportsWhatIsWrong: a runtime must learn from the status pipe why a guest does not come up.
func TestGuestReportsWhatIsWrong(t *testing.T) {
	for name, boot := range map[string][]byte{
		"nothing":  nil,
		"torn":     []byte("\x00\x00\x01\x00b{"),
		"no JSON":  frame.Append(nil, 'b', []byte("{")),
		"no frame": []byte("\x00\x00\x00\x00"),
	} {
		t.Run(name, func(t *testing.T) {
			bootR, bootW := pipe(t)
			sockR, sockW := pipe(t) // no socket, which is not looked at before the boot record
			statusR, statusW := pipe(t)
			exe, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			cmd := &exec.Cmd{Path: exe, Args: []string{asGuest}, ExtraFiles: []*os.File{bootR, sockR, statusW}}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			_, _ = bootW.Write(boot)
			for _, f := range []*os.File{bootR, bootW, sockR, sockW, statusW} {
				f.Close()
			}
			status, err := io.ReadAll(statusR)
			if err != nil || !strings.HasPrefix(string(status), "boot record: ") {
				t.Errorf("%q, %v", status, err)
			}
			if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 1 {
				t.Error(err)
			}
		})
	}
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}
