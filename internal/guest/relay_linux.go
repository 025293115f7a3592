package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// relayAddress is where a guest listens for relays: a name of the sandbox's own network namespace and of no file system, so
// that nobody inside can put something else in its place.
const relayAddress = "@moat-guest"

// ListenForRelays opens the socket of a guest with Relayed. The caller closes it.
func ListenForRelays() (net.Listener, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: relayAddress})
	if err != nil {
		return nil, fmt.Errorf("listen for relays: %w", err)
	}
	return l, nil
}

// relayPatience is how long a relay waits for a guest that is not there yet.
const relayPatience = 10 * time.Second

// Relay connects its input and output to the guest of the sandbox that it is started in, and returns when either of them ends:
// the way to a guest where the sandbox's runtime can do no more than run a program in it. It holds no secret; who speaks
// through it proves itself to the guest. Nothing inside can be shown it as the guest: that must be process 1.
func Relay(ctx context.Context, in io.ReadCloser, out io.Writer) error {
	conn, err := dialGuest(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	sent := make(chan error, 1)
	go func() { // ends with the process at the latest
		_, err := io.Copy(conn, in)
		cancel() // nobody speaks any more, so nobody listens
		sent <- err
	}()
	_, err = io.Copy(out, conn)
	if ctx.Err() != nil {
		return <-sent
	}
	return err
}

// dialGuest connects to process 1.
func dialGuest(ctx context.Context) (*net.UnixConn, error) {
	deadline := time.Now().Add(relayPatience)
	for {
		conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Net: "unix", Name: relayAddress})
		switch {
		case err == nil:
			cred, err := peerOfSocket(conn)
			if err == nil && cred.Pid != 1 {
				err = fmt.Errorf("process %d takes the place of the guest", cred.Pid)
			}
			if err != nil {
				return nil, errors.Join(err, conn.Close())
			}
			return conn, nil
		case !errors.Is(err, unix.ECONNREFUSED) || time.Now().After(deadline):
			return nil, fmt.Errorf("connect to the guest: %w", err)
		}
		if !pause(ctx, 2*time.Millisecond) { // sleep: the kernel has no event for a name that somebody listens at
			return nil, context.Cause(ctx)
		}
	}
}

// killPasses is how often killInside looks for processes that were started meanwhile.
const killPasses = 50

// killInside ends every process of this PID namespace but ourselves and those that were started from outside: relays, without
// which nobody would hear how it went. It reports false if that did not succeed, because they multiply. proc is where proc(5) is.
func killInside(proc string) bool {
	killed := make(map[string]bool) // by number and start
	for range killPasses {
		lists, err := filepath.Glob(proc + "/[0-9]*/stat")
		if err != nil || len(lists) == 0 {
			return false
		}
		found := false
		for _, list := range lists {
			pid, start, inside := insider(list)
			if !inside || killed[start] {
				continue
			}
			killed[start], found = true, true
			_ = unix.Kill(pid, unix.SIGKILL) // it may have ended
		}
		if !found {
			return true
		}
	}
	return false
}

// insider reads a process's line (proc_pid_stat(5)): its number, what tells it from others that had that number, and whether it
// lives and was started by another process of this PID namespace.
func insider(list string) (pid int, identity string, inside bool) {
	line, err := os.ReadFile(list)
	name := bytes.LastIndexByte(line, ')') // which may contain anything
	if err != nil || name < 0 {
		return 0, "", false
	}
	number, _, _ := bytes.Cut(line, []byte(" "))
	fields := bytes.Fields(line[name+1:])
	const state, parent, start = 0, 1, 19 // fields 3, 4, 22
	pid, err = strconv.Atoi(string(number))
	if err != nil || pid == os.Getpid() || len(fields) <= start {
		return 0, "", false
	}
	if s := fields[state][0]; s == 'Z' || s == 'X' || string(fields[parent]) == "0" {
		return 0, "", false
	}
	return pid, string(number) + " " + string(fields[start]), true
}
