package supervisor

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"

	"golang.org/x/sync/errgroup"

	"moat/internal/api"
	"moat/internal/line"
)

// exec starts a further command in the sandbox for one client and serves it until either ends. A client that goes
// away hangs its command up.
func (srv *server) exec(w http.ResponseWriter, r *http.Request) {
	defer srv.begin()()
	s := srv.s
	st, first := openStream(w, r, api.KindExec)
	if st == nil {
		return
	}
	defer st.Close()
	req, err := api.Decode[api.Exec](first)
	var p *process
	if err == nil {
		p, err = s.startExec(r.Context(), req)
	}
	if err != nil {
		if r.Context().Err() == nil {
			s.endStream(st.Send(api.KindFailed, api.Encode(api.Failed{Code: 125, Error: err.Error()})))
		}
		return
	}
	defer s.link.forget(p)
	var done func()
	st.typed, done = s.audit.exec(uidOf(r.Context()), req, p)
	defer done()
	group, ctx := errgroup.WithContext(r.Context())
	defer context.AfterFunc(ctx, st.Close)() // ends a read that waits
	group.Go(func() error { return s.forwardExecInput(st, p, req.Source) })
	group.Go(func() error { return s.sendExecOutput(ctx, st, p) })
	s.endStream(group.Wait())
}

func (s *supervisor) startExec(ctx context.Context, req api.Exec) (*process, error) {
	if err := s.waitUp(ctx); err != nil {
		return nil, err
	}
	if s.isEnded() {
		return nil, errors.New("the run has ended")
	}
	if len(req.Args) == 0 {
		return nil, errors.New("no command was given")
	}
	plan := s.Folder.Record().Plan
	dir := req.Dir
	if dir == "" {
		dir = plan.WorkDir
	}
	return s.link.exec(line.Spawn{
		Process: newProcessNumber(), Args: req.Args, Env: req.Env, Inherit: true, Dir: dir, Stdin: req.Stdin, TTY: req.TTY,
		Rows: req.Size.Rows, Cols: req.Size.Cols,
	})
}

// newProcessNumber makes a number that no other supervisor of the run has given to a process.
func newProcessNumber() uint32 {
	var b [4]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	return max(binary.BigEndian.Uint32(b[:]), line.Main+1)
}

// sendExecOutput sends what the guest says about a process until its end. Output is acknowledged to the guest when
// the client has taken it, so a client that is slow slows its own command only.
func (s *supervisor) sendExecOutput(ctx context.Context, st *stream, p *process) error {
	for {
		select {
		case <-p.wake:
		case <-s.ended:
			if err := s.sendExecMessages(st, p); err != nil { // of what had ended before
				return err
			}
			return errors.Join(st.Send(api.KindGone, api.Encode(api.Gone{Reason: "the run has ended"})), errSent)
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := s.sendExecMessages(st, p); err != nil {
			return err
		}
	}
}

// sendExecMessages sends what is there.
func (s *supervisor) sendExecMessages(st *stream, p *process) error {
	for _, msg := range p.take() {
		s.audit.execEnd(p, msg)
		if err := s.sendExecMessage(st, msg); err != nil {
			return err
		}
	}
	return nil
}

func (s *supervisor) sendExecMessage(st *stream, msg line.Message) error {
	switch m := msg.(type) {
	case line.Spawned:
		return st.Send(api.KindStarted, api.Encode(api.Started{PID: m.PID}))
	case line.Output:
		var head [32]byte
		if err := st.Send(api.KindOutput, api.AppendOutputHeader(head[:0], m.Stream, int64(m.Offset), m.Time), m.Data); err != nil {
			return err
		}
		err := s.link.send(line.Ack{Process: m.Process, Offset: m.Offset + uint64(len(m.Data))})
		if errors.Is(err, errNoLine) {
			return nil // see link.adopt
		}
		return err
	case line.InputDone:
		return st.Send(api.KindInputDone, api.AppendInputDone(nil, m.Offset))
	case line.Exit:
		return errors.Join(st.Send(api.KindExit, api.Encode(api.Exit{Code: m.Code, Signal: m.Signal})), errSent)
	case line.Failed:
		return errors.Join(st.Send(api.KindFailed, api.Encode(api.Failed{Code: m.Code, Error: m.Error})), errSent)
	default:
		return fmt.Errorf("unexpected %T", msg)
	}
}

// forwardExecInput passes on what the client types, its terminal's size and its signals.
func (s *supervisor) forwardExecInput(st *stream, p *process, source uint64) error {
	conn := s.link.current() // input that was under way on another one is lost
	for {
		kind, payload, err := st.Next()
		if err != nil {
			return err
		}
		var msg line.Message
		switch kind {
		case api.KindInput:
			in, parseErr := api.ParseInput(payload)
			msg, err = line.Input{Process: p.spawn.Process, Source: source, Offset: in.Offset, EOF: in.EOF, Data: in.Data}, parseErr
			if err == nil {
				err = s.audit.took(st.typed, in.Offset, in.Data, in.EOF)
			}
		case api.KindResize:
			size, parseErr := api.Decode[api.Size](payload)
			msg, err = line.Resize{Process: p.spawn.Process, Rows: size.Rows, Cols: size.Cols}, parseErr
		case api.KindSignal:
			sig, parseErr := api.Decode[api.Signal](payload)
			msg, err = line.Signal{Process: p.spawn.Process, Signal: sig.Signal}, parseErr
		default:
			err = fmt.Errorf("unexpected frame %q", kind)
		}
		if err != nil {
			return err
		}
		if err := s.link.sendOn(conn, msg); err != nil {
			return err
		}
	}
}
