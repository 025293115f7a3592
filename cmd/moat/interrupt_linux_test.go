package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestInterruptAtAnyMoment presses Ctrl+C at every moment of a start. Either moat ends as interrupted, and there is no
// run; or it says that the run goes on, and it does. Nothing in between.
func TestInterruptAtAnyMoment(t *testing.T) {
	bin, _ := prepare(t)
	home := filepath.Join(t.TempDir(), "moat")
	moat := func(args ...string) *exec.Cmd {
		cmd := exec.Command(filepath.Join(bin, "moat"), args...)
		cmd.Env = []string{"MOAT_HOME=" + home, "HOME=" + t.TempDir(), "PATH=/usr/bin:/bin", "MOAT_STOP_WINDOW=100ms"}
		return cmd
	}
	t.Cleanup(func() { settle(home) })
	interrupted, detached := 0, 0
	for delay := time.Duration(0); delay < 120*time.Millisecond; delay += 5 * time.Millisecond {
		name := fmt.Sprintf("after-%d", delay.Milliseconds())
		cmd := moat("run", "--name", name, t.TempDir(), "--", "sleep", "100")
		var stderr strings.Builder
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		<-time.After(delay)
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		err := cmd.Wait()
		live, listErr := moat("list", "-q").Output()
		if listErr != nil {
			t.Fatal(listErr)
		}
		var exit *exec.ExitError
		switch status := cmd.ProcessState.Sys().(syscall.WaitStatus); {
		case err != nil && !errors.As(err, &exit):
			t.Fatal(err)
		case status.Signaled() && status.Signal() == syscall.SIGINT, status.ExitStatus() == 130:
			interrupted++
			if len(live) > 0 {
				t.Errorf("%s: interrupted, and yet there is a run", name)
			}
		case status.ExitStatus() == 0:
			detached++
			if len(live) == 0 {
				t.Errorf("%s: detached, and yet there is no run", name)
			}
			if out, err := moat("destroy", "-f", name).CombinedOutput(); err != nil {
				t.Errorf("%s: %v: %s", name, err, out)
			}
		default:
			t.Errorf("%s: %v: %s", name, err, stderr.String())
		}
	}
	if interrupted == 0 {
		t.Error("no start was interrupted")
	}
	t.Logf("%d interrupted, %d detached", interrupted, detached)
	if out, err := moat("list", "-aq").Output(); err != nil || len(out) > 0 {
		t.Errorf("there are runs left: %v: %s", err, out)
	}
}
