//go:build unix

package apple

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"time"
)

// farewell is how long a process of the command has to end by itself when its stream is closed. It hears of that, as what it runs
// inside does; killed, it may leave Apple's system with a process that it does not know the end of.
const farewell = 2 * time.Second

// A stream is the standard input and output of a process of the command, as a connection. It ends when the process does, whose
// input ends with this one.
type stream struct {
	cmd     *exec.Cmd
	in, out *os.File // ends of pipes
	said    *output  // may be read when ended is closed
	ended   chan struct{}
	closing sync.Once
	failure error // how the process ended; set when ended is closed
}

// open starts the command with a stream to it. The caller closes it.
func (c command) open(args ...string) (*stream, error) {
	s := &stream{cmd: exec.Command(c.path, args...), said: &output{max: maxSaid, cut: true}, ended: make(chan struct{})}
	theirIn, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	out, theirOut, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, theirIn.Close(), in.Close())
	}
	s.in, s.out = in, out
	c.prepare(s.cmd)
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = theirIn, theirOut, s.said
	s.cmd.WaitDelay = time.Second // for what it started, which may have its standard error
	err = s.cmd.Start()
	_, _ = theirIn.Close(), theirOut.Close()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("container %s: %w", args[0], err), in.Close(), out.Close())
	}
	go func() { // Close waits for it
		s.failure = s.cmd.Wait()
		close(s.ended)
	}()
	return s, nil
}

func (s *stream) Read(p []byte) (int, error)  { return s.out.Read(p) }
func (s *stream) Write(p []byte) (int, error) { return s.in.Write(p) }

// Close ends the process, and returns when it has ended. It may be called more than once.
func (s *stream) Close() error {
	s.closing.Do(func() {
		_, _ = s.in.Close(), s.out.Close() // of pipes
		late := time.AfterFunc(farewell, func() { _ = s.cmd.Process.Kill() })
		<-s.ended
		late.Stop()
	})
	return nil
}

// end says how the process ended, which it has done by itself or is about to.
func (s *stream) end(ctx context.Context) error {
	select {
	case <-s.ended:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	var exit *exec.ExitError
	if errors.As(s.failure, &exit) {
		return &commandError{Verb: s.cmd.Args[1], Code: exit.ExitCode(), Said: s.said.text()}
	}
	return s.failure
}

func (s *stream) SetDeadline(t time.Time) error {
	return errors.Join(s.out.SetReadDeadline(t), s.in.SetWriteDeadline(t))
}
func (s *stream) SetReadDeadline(t time.Time) error  { return s.out.SetReadDeadline(t) }
func (s *stream) SetWriteDeadline(t time.Time) error { return s.in.SetWriteDeadline(t) }
func (s *stream) LocalAddr() net.Addr                { return address{} }
func (s *stream) RemoteAddr() net.Addr               { return address{} }

// address is that of a stream, which has none.
type address struct{}

func (address) Network() string { return "pipe" }
func (address) String() string  { return "container exec" }
