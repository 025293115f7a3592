package guest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"moat/internal/guest"
	"moat/internal/line"
)

const patience = 60 * time.Second // for anything that a test waits for

var secret = bytes.Repeat([]byte{7}, 32)

func anyone(net.Conn) error { return nil }

// A rig is a guest that a test speaks to.
type rig struct {
	t       testing.TB
	socket  string
	relayed bool
	ended   chan error // the result of Serve
}

// serve runs a guest in this process.
func serve(t testing.TB, change func(*guest.Config)) *rig {
	t.Helper()
	r := &rig{t: t, socket: filepath.Join(t.TempDir(), "s"), ended: make(chan error, 1)}
	l, err := net.Listen("unix", r.socket)
	if err != nil {
		t.Fatal(err)
	}
	cfg := guest.Config{Listener: l, Secret: secret, Peer: anyone}
	if change != nil {
		change(&cfg)
	}
	r.relayed = cfg.Relayed
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() { r.ended <- guest.Serve(ctx, cfg) })
	t.Cleanup(func() { cancel(); done.Wait() })
	return r
}

// end waits for the end of Serve.
func (r *rig) end() error {
	r.t.Helper()
	select {
	case err := <-r.ended:
		return err
	case <-time.After(patience):
		r.t.Fatal("the guest does not end")
		return nil
	}
}

// A host is the test's end of a line.
type host struct {
	*line.Conn
	t       testing.TB
	nc      net.Conn
	welcome line.Welcome
}

func (r *rig) dial() *host {
	r.t.Helper()
	h, err := r.tryDial()
	if err != nil {
		r.t.Fatal(err)
	}
	return h
}

func (r *rig) tryDial() (*host, error) {
	nc, err := net.Dial("unix", r.socket)
	if err != nil {
		return nil, err
	}
	if r.relayed {
		nc = line.Relayed(nc)
	}
	c, w, err := line.Open(context.Background(), nc, secret)
	if err != nil {
		return nil, err
	}
	r.t.Cleanup(func() { c.Close() })
	return &host{c, r.t, nc, w}, nil
}

func (h *host) send(msgs ...line.Message) {
	h.t.Helper()
	if err := h.Send(msgs...); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) next() line.Message {
	h.t.Helper()
	_ = h.nc.SetReadDeadline(time.Now().Add(patience))
	m, err := h.Next()
	if err != nil {
		h.t.Fatal(err)
	}
	return m
}

// state returns what Welcome said of a process.
func (h *host) state(process uint32) line.ProcessState {
	for _, p := range h.welcome.Processes {
		if p.Process == process {
			return p
		}
	}
	return line.ProcessState{}
}

// A record is what a host has of a process.
type record struct {
	out  map[line.Stream]*bytes.Buffer
	all  bytes.Buffer
	exit *line.Exit
	fail *line.Failed
}

func newRecord() *record {
	return &record{out: map[line.Stream]*bytes.Buffer{line.Stdout: {}, line.Stderr: {}, line.Terminal: {}}}
}

// add notes output, which must go on where the last one ended.
func (r *record) add(o line.Output) error {
	if o.Offset != uint64(r.all.Len()) {
		return fmt.Errorf("output goes on at byte %d instead of %d", o.Offset, r.all.Len())
	}
	if age := time.Since(o.Time); age < -time.Second || age > time.Hour {
		return fmt.Errorf("output was read at %v", o.Time)
	}
	r.all.Write(o.Data)
	r.out[o.Stream].Write(o.Data)
	return nil
}

// follow takes what comes for a process, acknowledging it, until done says so.
func (h *host) follow(process uint32, rec *record, done func() bool) {
	h.t.Helper()
	for !done() {
		switch m := h.next().(type) {
		case line.Output:
			if m.Process != process {
				continue
			}
			if err := rec.add(m); err != nil {
				h.t.Fatal(err)
			}
			h.send(line.Ack{Process: process, Offset: uint64(rec.all.Len())})
		case line.Exit:
			if m.Process == process {
				rec.exit = &m
			}
		case line.Failed:
			if m.Process == process {
				rec.fail = &m
			}
		}
	}
}

// run starts a command and follows it to its end.
func (h *host) run(m line.Spawn) *record {
	h.t.Helper()
	if m.Env == nil {
		m.Env = os.Environ()
	}
	h.send(m)
	return h.finish(m.Process)
}

func (h *host) finish(process uint32) *record {
	h.t.Helper()
	rec := newRecord()
	h.follow(process, rec, func() bool { return rec.exit != nil || rec.fail != nil })
	return rec
}

func sh(process uint32, script string) line.Spawn {
	return line.Spawn{Process: process, Args: []string{"sh", "-c", script}, Env: os.Environ()}
}

// until follows a process until its output contains text.
func (h *host) until(process uint32, rec *record, text string) {
	h.t.Helper()
	h.follow(process, rec, func() bool {
		if rec.exit != nil && !strings.Contains(rec.all.String(), text) {
			h.t.Fatalf("ended with %+v, printed %q", rec.exit, rec.all.String())
		}
		return strings.Contains(rec.all.String(), text)
	})
}

// gone waits until a process (of this PID namespace) does not exist or is a zombie.
func gone(t testing.TB, pid int) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if errors.Is(err, os.ErrNotExist) || strings.Contains(string(b), ") Z ") {
			return
		}
		<-time.After(5 * time.Millisecond)
	}
	t.Fatalf("process %d still lives", pid)
}
