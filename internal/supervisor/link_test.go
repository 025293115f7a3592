package supervisor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"moat/internal/line"
	"moat/internal/sandbox"
)

// sink is a run's command as the link knows it.
type sink struct {
	data []byte
	done []line.InputDone
}

func (s *sink) offset() uint64                             { return uint64(len(s.data)) }
func (s *sink) wanted(first uint64) uint64                 { return max(first, s.offset()) }
func (s *sink) openDoor(context.Context, line.DoorSockets) {}

func (s *sink) inputDone(d line.InputDone) { s.done = append(s.done, d) }
func (s *sink) store(_ context.Context, out line.Output) error {
	if out.Offset != s.offset() {
		return fmt.Errorf("output begins at %d, want %d", out.Offset, s.offset())
	}
	s.data = append(s.data, out.Data...)
	return nil
}

// guestScript is what a guest does on its nth connection, counted from 0, after it was opened and welcomed. The
// connection is closed when it returns.
type guestScript func(t *testing.T, n int, c *line.Conn)

var testSecret = bytes.Repeat([]byte("k"), 32)

// welcome is the guest's state at the beginning of each connection.
type welcome func(n int) []line.ProcessState

func onlyMain(int) []line.ProcessState { return []line.ProcessState{{Process: line.Main, PID: 2}} }

// scripted is a link to a guest that follows a script. The guest is gone after its last connection.
func scripted(t *testing.T, connections int, hello welcome, script guestScript) (*link, *sink) {
	t.Helper()
	s := &sink{}
	n := 0
	dial := func(ctx context.Context) (net.Conn, error) {
		if n == connections {
			return nil, sandbox.ErrGone
		}
		i := n
		n++
		host, guest := net.Pipe()
		go func() {
			c, err := line.Accept(ctx, guest, testSecret)
			if err != nil {
				t.Errorf("guest: %v", err)
				return
			}
			defer c.Close()
			if err := c.SendWelcome(hello(i)); err != nil {
				t.Errorf("guest: %v", err)
				return
			}
			script(t, i, c)
		}()
		return host, nil
	}
	l := &link{
		dial: dial, secret: testSecret, main: s, logger: slog.New(slog.DiscardHandler),
		processes: make(map[uint32]*process),
	}
	t.Cleanup(l.drop)
	return l, s
}

// drained lets a guest read whatever comes, as every guest does, until the line ends.
func drained(c *line.Conn) (ended chan struct{}) {
	ended = make(chan struct{})
	go func() {
		defer close(ended)
		for {
			if _, err := c.Next(); err != nil {
				return
			}
		}
	}()
	return ended
}

func output(process uint32, offset uint64, text string) line.Output {
	return line.Output{Process: process, Stream: line.Stdout, Offset: offset, Time: time.Unix(1, 0), Data: []byte(text)}
}

const execed uint32 = 7

// TestLies gives the link what no honest guest sends: the line must end, and with it what the lie was about.
func TestLies(t *testing.T) {
	many := func(n int, msg func(i int) line.Message) (all []line.Message) {
		for i := range n {
			all = append(all, msg(i))
		}
		return all
	}
	tests := map[string]struct {
		say  []line.Message
		want string
	}{
		"output with a gap":            {[]line.Message{output(line.Main, 0, "abc"), output(line.Main, 4, "e")}, "begins at 4, want 3"},
		"output again":                 {[]line.Message{output(line.Main, 0, "abc"), output(line.Main, 0, "abc")}, "begins at 0, want 3"},
		"exec's output with a gap":     {[]line.Message{output(execed, 1, "abc")}, "of process 7 begins at 1, want 0"},
		"exec's output again":          {[]line.Message{output(execed, 0, "abc"), output(execed, 0, "abc")}, "begins at 0, want 3"},
		"too much output of exec":      {many(40, func(i int) line.Message { return output(execed, uint64(i)<<15, strings.Repeat("x", 1<<15)) }), "unacknowledged"},
		"many small pieces of output":  {many(20_000, func(i int) line.Message { return output(execed, uint64(i), "x") }), "unacknowledged"},
		"what only a supervisor says":  {[]line.Message{line.Shutdown{}}, "does not come from that end"},
		"what belongs to the opening":  {[]line.Message{line.Hello{Version: line.Version, Nonce: make([]byte, 32)}}, "unexpected"},
		"a second welcome":             {[]line.Message{line.Welcome{}}, "unexpected"},
		"nothing, and then the end":    {nil, "EOF"},
		"an end of somebody's process": {[]line.Message{line.Exit{Process: 99}}, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			l, _ := scripted(t, 1, onlyMain, func(t *testing.T, _ int, c *line.Conn) {
				for range 2 { // Resume and Spawn
					if _, err := c.Next(); err != nil {
						t.Errorf("guest: %v", err)
					}
				}
				ended := drained(c)
				for _, m := range test.say {
					if c.Send(m) != nil {
						return // it was caught
					}
				}
				if test.want != "" && test.want != "EOF" {
					<-ended // it is about to be caught: an end of ours would be one, too
				}
			})
			if err := l.connect(t.Context()); err != nil {
				t.Fatal(err)
			}
			p, err := l.exec(line.Spawn{Process: execed, Args: []string{"true"}})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := l.receive(t.Context()); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("the line ended with %v, want %q", err, test.want)
			}
			if p.cost > line.Window+line.MaxData {
				t.Errorf("%d bytes are queued", p.cost)
			}
		})
	}
}

// TestRepetitions has the guest repeat what it may repeat: the queue of a client that does not read stays small.
func TestRepetitions(t *testing.T) {
	l, _ := scripted(t, 1, onlyMain, func(t *testing.T, _ int, c *line.Conn) {
		drained(c)
		for i := range 1000 {
			for _, m := range []line.Message{
				line.Spawned{Process: execed, PID: 3},
				line.InputDone{Process: execed, Source: 1, Offset: uint64(i)},
			} {
				if err := c.Send(m); err != nil {
					t.Errorf("guest: %v", err)
				}
			}
		}
		for range 1000 {
			if err := c.Send(line.Exit{Process: execed, Code: 5}, line.Failed{Process: execed, Code: 127, Error: "lie"}, output(execed, 9, "lie")); err != nil {
				t.Errorf("guest: %v", err)
			}
		}
	})
	if err := l.connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	p, err := l.exec(line.Spawn{Process: execed, Args: []string{"true"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.receive(t.Context()); !errors.Is(err, io.EOF) {
		t.Errorf("the line ended with %v", err)
	}
	queue := p.take()
	if len(queue) != 3 {
		t.Fatalf("%d messages are queued: %.300v", len(queue), queue)
	}
	if done, ok := queue[1].(line.InputDone); !ok || done.Offset != 999 {
		t.Errorf("the newest progress is %v", queue[1])
	}
	if exit, ok := queue[2].(line.Exit); !ok || exit.Code != 5 {
		t.Errorf("the end is %v", queue[2])
	}
}

// TestDeafGuest has a guest that does not read any more. Whoever sends to it must get away.
func TestDeafGuest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := scripted(t, 1, onlyMain, func(t *testing.T, _ int, c *line.Conn) {
			if _, err := c.Next(); err != nil { // the Resume
				t.Errorf("guest: %v", err)
			}
			<-t.Context().Done()
		})
		if err := l.connect(t.Context()); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := l.send(line.Input{Process: line.Main, Data: make([]byte, line.MaxData)}); err == nil { // more than is kept on the way
			t.Error("input was sent to a guest that does not read")
		}
		if took := time.Since(began); took != sendTimeout {
			t.Errorf("it took %v", took)
		}
		if _, err := l.receive(t.Context()); err == nil {
			t.Error("the line lives on")
		}
	})
}

// TestReconnect breaks the line while output, input and an exec'ed command are on their way.
func TestReconnect(t *testing.T) {
	heard := make(chan line.Message, 10)
	hello := func(n int) []line.ProcessState {
		main := line.ProcessState{Process: line.Main, PID: 2, End: 6, Input: map[uint64]uint64{5: uint64(10 * n)}}
		if n == 0 {
			return []line.ProcessState{main}
		}
		return []line.ProcessState{main, {Process: execed, PID: 3, End: 4}, {Process: 99, PID: 4}}
	}
	l, s := scripted(t, 2, hello, func(t *testing.T, n int, c *line.Conn) {
		for {
			m, err := c.Next()
			if err != nil {
				t.Errorf("guest: %v", err)
				return
			}
			heard <- m
			spawn, isSpawn := m.(line.Spawn)
			if isSpawn && n == 0 {
				if err := c.Send(line.Spawned{Process: spawn.Process, PID: 3}, output(line.Main, 0, "abc"), output(execed, 0, "xy")); err != nil {
					t.Errorf("guest: %v", err)
				}
				return
			}
			if r, ok := m.(line.Release); ok && r.Process == 99 {
				if err := c.Send(output(line.Main, 3, "def"), output(execed, 2, "zz"), line.Exit{Process: line.Main, Code: 3}); err != nil {
					t.Errorf("guest: %v", err)
				}
				drained(c)
				<-t.Context().Done()
				return
			}
		}
	})
	if err := l.connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	first := l.current()
	p, err := l.exec(line.Spawn{Process: execed, Args: []string{"true"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.receive(t.Context()); err == nil {
		t.Fatal("the line did not break")
	}
	if err := l.connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := l.sendOn(first, line.Input{Process: line.Main, Source: 5, Offset: 20}); !errors.Is(err, errNoLine) {
		t.Errorf("input for a line that broke: %v", err)
	}
	if got := l.inputTaken(5); got != 10 {
		t.Errorf("input that was taken: %d, want 10", got)
	}
	exit, err := l.receive(t.Context())
	if err != nil || exit.Code != 3 {
		t.Errorf("the end: %v, %v", exit, err)
	}
	if string(s.data) != "abcdef" || p.queued() != 4 {
		t.Errorf("recorded %q, and %d bytes of the exec'ed command", s.data, p.queued())
	}
	close(heard)
	var resumes []line.Message
	for m := range heard {
		if m.Kind() == line.KindResume {
			resumes = append(resumes, m)
		}
	}
	want := fmt.Sprint([]line.Message{line.Resume{Process: line.Main}, line.Resume{Process: line.Main, Offset: 3}, line.Resume{Process: execed, Offset: 2}})
	if fmt.Sprint(resumes) != want {
		t.Errorf("the guest was asked to resume %v, want %v", resumes, want)
	}
}

// TestAwait waits for a line that comes, for one that never comes, and for longer than anybody wants to.
func TestAwait(t *testing.T) {
	l, _ := scripted(t, 1, onlyMain, func(t *testing.T, _ int, c *line.Conn) {
		drained(c)
		<-t.Context().Done()
	})
	never, over := make(chan struct{}), make(chan struct{})
	got := make(chan *line.Conn)
	go func() {
		c, err := l.await(t.Context(), never)
		if err != nil {
			t.Error(err)
		}
		got <- c
	}()
	close(over)
	if c, err := l.await(t.Context(), over); c != nil || err != nil {
		t.Errorf("a run that is over: %v, %v", c, err)
	}
	short, cancel := context.WithCancel(t.Context())
	cancel()
	if c, err := l.await(short, never); c != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("a client that left: %v, %v", c, err)
	}
	if err := l.connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c := <-got; c == nil || c != l.current() {
		t.Error("whoever waited got another connection")
	}
}
