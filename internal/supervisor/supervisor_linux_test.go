package supervisor

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"moat/internal/api"
	"moat/internal/frame"
	"moat/internal/journal"
	"moat/internal/line"
	"moat/internal/plan"
	"moat/internal/run"
	"moat/internal/sandbox"
	"moat/internal/sock"
)

// box is a runtime whose only sandbox is a link's script.
type box struct {
	sandbox.Runtime // nil: what is not defined here is not called
	mu              sync.Mutex
	removals        []time.Time
	refuse          int // so many removals fail
}

func (b *box) Remove(context.Context, sandbox.Ref) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.removals = append(b.removals, time.Now())
	if len(b.removals) <= b.refuse {
		return errors.New("it is busy")
	}
	return nil
}

// Report: nothing ran out of memory.
func (b *box) Report(context.Context, sandbox.Ref) (sandbox.Report, error) {
	return sandbox.Report{}, nil
}

// running is a supervisor of a run whose command runs, with a line to a scripted guest.
func running(t *testing.T, connections int, hello welcome, script guestScript) (*supervisor, *box) {
	t.Helper()
	home, err := run.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	folder, err := home.Create(plan.Plan{Runtime: "native", Command: []string{"true"}}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { folder.Close() })
	for _, event := range []run.Event{run.EventStart, run.EventUp} {
		if err := folder.Do(event, time.Now(), nil); err != nil {
			t.Fatal(err)
		}
	}
	b := &box{}
	s := &supervisor{
		Config: Config{Folder: folder, Runtime: b, Logger: slog.New(slog.DiscardHandler)},
		up:     make(chan struct{}), resumed: make(chan struct{}), ended: make(chan struct{}),
	}
	s.stop.news, s.stop.forced = make(chan struct{}, 1), make(chan struct{})
	if err := s.open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	s.link, _ = scripted(t, connections, hello, script)
	s.link.main = s
	if err := s.link.connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s, b
}

// quiet is a guest that says nothing and reads everything.
func quiet(t *testing.T, _ int, c *line.Conn) {
	drained(c)
	<-t.Context().Done()
}

func TestStopperOnlyShortens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := stopper{news: make(chan struct{}, 1)}
		if _, wanted := st.due(); wanted {
			t.Error("a stop that nobody wanted")
		}
		for i, step := range []struct{ ask, due time.Duration }{{10, 10}, {20, 10}, {3, 3}, {5, 3}, {0, 0}} {
			st.by(time.Now().Add(step.ask * time.Second))
			if due, wanted := st.due(); due != step.due*time.Second || !wanted {
				t.Errorf("wish %d: due in %v, want %v s", i, due, int(step.due))
			}
		}
		if len(st.news) != 1 {
			t.Error("nobody is told")
		}
	})
}

// TestResumedStop goes on with the stop of a predecessor, whatever the clock says.
func TestResumedStop(t *testing.T) {
	for name, test := range map[string]struct{ ago, want time.Duration }{
		"in its grace":       {4 * time.Second, 6 * time.Second},
		"after its grace":    {time.Hour, -time.Hour + 10*time.Second},
		"clock was set back": {-time.Hour, 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, _ := running(t, 1, onlyMain, quiet)
				wish := &run.Stop{At: time.Now().Add(-test.ago), Grace: 10_000}
				if err := s.Folder.Do(run.EventStop, time.Now(), func(r *run.Record) { r.Stop = wish }); err != nil {
					t.Fatal(err)
				}
				s.resumeStop()
				if due, _ := s.stop.due(); due != test.want {
					t.Errorf("due in %v, want %v", due, test.want)
				}
				s.link.drop()
			})
		})
	}
}

// TestEnforceStop stops a command that ignores everything, in a sandbox that cannot be removed at first.
func TestEnforceStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		signals := make(chan line.Signal, 4)
		s, b := running(t, 1, onlyMain, func(t *testing.T, _ int, c *line.Conn) {
			for {
				m, err := c.Next()
				if err != nil {
					return
				}
				if sig, ok := m.(line.Signal); ok {
					signals <- sig
				}
			}
		})
		b.refuse = 2
		began := time.Now()
		if err := s.requestStop(3 * time.Second); err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() { done <- s.enforceStop(t.Context()) }()
		time.Sleep(20 * time.Second) // sleep: the bubble's clock, which is what is tested
		if err := s.requestStop(time.Hour); err != nil {
			t.Errorf("a second wish: %v", err)
		}
		close(s.ended)
		if err := <-done; err != nil {
			t.Error(err)
		}
		if a, b := <-signals, <-signals; a.Signal != sigTERM || b.Signal != sigKILL || len(signals) > 0 {
			t.Errorf("the command was sent %v and %v and %d more", a, b, len(signals))
		}
		var after []time.Duration
		for _, at := range b.removals {
			after = append(after, at.Sub(began))
		}
		if len(after) < 3 || after[0] != 3*time.Second+killPatience || after[2]-after[1] != killPatience {
			t.Errorf("the sandbox was removed after %v", after)
		}
		s.link.drop()
	})
}

// TestStopWithoutLine stops a command while its guest cannot be reached: it hears of it as soon as it can.
func TestStopWithoutLine(t *testing.T) {
	signals := make(chan line.Signal, 4)
	s, _ := running(t, 2, onlyMain, func(_ *testing.T, _ int, c *line.Conn) {
		for {
			m, err := c.Next()
			if err != nil {
				return
			}
			if sig, ok := m.(line.Signal); ok {
				signals <- sig
			}
		}
	})
	s.link.drop()
	if err := s.requestStop(time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := s.link.connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		s.askToEnd()
	}
	if sig := <-signals; sig.Signal != sigTERM {
		t.Errorf("the command was sent %d", sig.Signal)
	}
	s.link.drop()
	if len(signals) > 0 {
		t.Error("the command was sent more than one signal")
	}
}

// TestStopAtOnce kills a command without a grace: that it is a stop is known before.
func TestStopAtOnce(t *testing.T) {
	var s *supervisor
	ready := make(chan struct{})
	s, _ = running(t, 1, onlyMain, func(t *testing.T, _ int, c *line.Conn) {
		if _, err := c.Next(); err != nil { // the Resume
			t.Errorf("guest: %v", err)
		}
		<-ready // s is set
		for {
			m, err := c.Next()
			if err != nil {
				return
			}
			if sig, ok := m.(line.Signal); ok && s.state() != run.Stopping {
				t.Errorf("the command was sent signal %d while the run was %s", sig.Signal, s.state())
			}
			if sig, ok := m.(line.Signal); ok && sig.Signal == sigKILL {
				if err := c.Send(line.Exit{Process: line.Main, Code: 137, Signal: 9}); err != nil {
					t.Errorf("guest: %v", err)
				}
			}
		}
	})
	close(ready)
	enforced := make(chan error)
	go func() { enforced <- s.enforceStop(t.Context()) }()
	if err := s.requestStop(0); err != nil {
		t.Fatal(err)
	}
	if err := s.pump(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-enforced; err != nil {
		t.Error(err)
	}
	if err := s.requestStop(0); err != nil {
		t.Errorf("a stop after the end: %v", err)
	}
	if rec := s.Folder.Record(); rec.State != run.Stopped || *rec.ExitCode != 137 {
		t.Errorf("%+v", rec)
	}
}

// TestForcedEnd is the record of a run whose sandbox had to be removed.
func TestForcedEnd(t *testing.T) {
	s, _ := running(t, 1, onlyMain, quiet)
	if err := s.requestStop(0); err != nil {
		t.Fatal(err)
	}
	s.force(t.Context())
	if err := s.vanished(t.Context()); err != nil {
		t.Fatal(err)
	}
	rec := s.Folder.Record()
	if rec.State != run.Stopped || rec.ExitCode == nil || *rec.ExitCode != 137 || rec.Signal != sigKILL || rec.Reason == "" {
		t.Errorf("%+v", rec)
	}
	if !s.isEnded() || s.final.Code != 137 {
		t.Errorf("clients are told %+v", s.final)
	}
}

// TestHostileReconnects has a guest that lies on every connection: it is asked ever more seldom.
func TestHostileReconnects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		connections := 0
		s, _ := running(t, 1000, onlyMain, func(t *testing.T, n int, c *line.Conn) {
			connections = n + 1
			drained(c)
			_ = c.Send(output(line.Main, 77, "lie"))
			<-t.Context().Done()
		})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		if err := s.pump(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("pump ended with %v", err)
		}
		if connections < 100 || connections > 150 {
			t.Errorf("%d connections in 10 minutes, want one every 5 s and some more at first", connections)
		}
		s.link.drop()
	})
}

// TestMissing gives a successor a guest that does not have any more what is not recorded.
func TestMissing(t *testing.T) {
	late := func(int) []line.ProcessState {
		return []line.ProcessState{{Process: line.Main, PID: 2, First: 100, End: 106}}
	}
	s, _ := running(t, 1, late, func(t *testing.T, _ int, c *line.Conn) {
		m, err := c.Next()
		if r, ok := m.(line.Resume); err != nil || !ok || r.Offset != 100 {
			t.Errorf("the guest heard %v, %v", m, err)
		}
		drained(c)
		if err := c.Send(output(line.Main, 100, "abc"), output(line.Main, 103, "def"), line.Exit{Process: line.Main, Code: 4}); err != nil {
			t.Errorf("guest: %v", err)
		}
		<-t.Context().Done()
	})
	if err := s.pump(t.Context()); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(s.Folder.Dir(), journal.LogName))
	if err != nil || string(data) != "abcdef" {
		t.Errorf("recorded %q, %v", data, err)
	}
	rec := s.Folder.Record()
	if rec.State != run.Exited || *rec.ExitCode != 4 || !strings.Contains(rec.Reason, "100 bytes of its output are missing") {
		t.Errorf("%+v", rec)
	}
}

// connected returns two ends of a unix socket.
func connected(t *testing.T) (a, b *net.UnixConn) {
	t.Helper()
	dir := t.TempDir()
	l, err := sock.Listen(dir, "s")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if a, err = sock.Dial(t.Context(), dir, "s"); err != nil {
		t.Fatal(err)
	}
	if b, err = l.AcceptUnix(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// TestMailbox tells a client more than it takes: what it is told is bounded and nobody waits for it.
func TestMailbox(t *testing.T) {
	var cs clients
	reading, writing := connected(t)
	c := &client{source: 5, Stream: api.NewStream(writing, nil)}
	box := cs.add(c)
	other := cs.add(&client{source: 6})
	for i := range uint64(1000) {
		cs.inputDone(5, i)
	}
	for i := range 20 {
		cs.notice(strings.Repeat("n", i+1))
	}
	if other.inputDone != nil || len(other.notices) != maxNotices {
		t.Errorf("the other client was told %v and %d notices", other.inputDone, len(other.notices))
	}
	<-box.news
	delivered := make(chan error)
	go func() {
		err := cs.deliver(c, box)
		delivered <- errors.Join(err, writing.Close())
	}()
	cs.notice("while it does not read") // must not wait
	in := frame.NewReader(reading)
	var kinds []byte
	var last []byte
	for {
		kind, payload, err := in.Next()
		if err != nil {
			break
		}
		if kind == api.KindInputDone {
			if done, err := api.ParseInputDone(payload); err != nil || done != 999 {
				t.Errorf("progress: %d, %v", done, err)
			}
		}
		kinds, last = append(kinds, kind), bytes.Clone(payload)
	}
	if err := <-delivered; err != nil {
		t.Error(err)
	}
	want := append([]byte{api.KindInputDone}, bytes.Repeat([]byte{api.KindNotice}, len(kinds)-1)...)
	if !bytes.Equal(kinds, want) || len(kinds) < 1+maxNotices {
		t.Errorf("delivered %q", kinds)
	}
	if notice, err := api.Decode[api.Notice](last); err != nil || !strings.HasPrefix(notice.Text, "nnn") && notice.Text != "while it does not read" {
		t.Errorf("the last notice: %v, %v", notice, err)
	}
	cs.remove(c)
	if cs.count() != 1 {
		t.Errorf("%d clients are left", cs.count())
	}
}
