//go:build unix

package supervisor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log" //nolint:depguard // to silence it
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"moat/internal/api"
	"moat/internal/run"
	"moat/internal/sock"
)

// maxRequest bounds a request, in bytes: command lines and environments are at most 2 MiB together (execve(2)).
const maxRequest = 8 << 20

// Main is what the processes that keep a run know of themselves.
type Main struct {
	Self    string                      // path of the moat program
	Version string                      // of moat
	Env     func(string) (string, bool) // finds environment variables
}

// Launch is the whole life of a run's first supervisor: it makes or adopts the run, starts its guard and supervises it. args
// are what follows api.VerbSupervise. Nil means that the run is over, or that there was nothing to do.
func (m Main) Launch(ctx context.Context, args []string) error {
	answer := os.NewFile(api.FDAnswer, "answer")
	p, err := m.prepare(args)
	if errors.Is(err, errNoRequest) {
		return nil
	}
	if err != nil {
		tell(answer, api.Ready{State: string(run.Failed), Error: err.Error(), Code: readyCode(err)})
		return err
	}
	p.answer = answer
	w := &watched{}
	p.config.Guard = func() (err error) {
		*w, err = m.startGuard(p)
		return err
	}
	if err := m.supervise(ctx, p.config, answer); err != nil {
		return err
	}
	return w.over()
}

// Supervise is the whole life of a later supervisor; args are what follows api.VerbSupervise. Nil means that the run is over.
func (m Main) Supervise(ctx context.Context, args []string) error {
	answer := os.NewFile(fdReady, "answer")
	cfg, err := m.inherit(args)
	if err != nil {
		tell(answer, api.Ready{State: string(run.Failed), Error: err.Error(), Code: 125})
		slog.New(slog.NewTextHandler(os.Stderr, nil)).Error("supervisor cannot begin", "error", err)
		return err
	}
	return m.supervise(ctx, cfg, answer)
}

func (m Main) supervise(ctx context.Context, cfg *Config, answer *os.File) error {
	log.SetOutput(io.Discard) // net/http quotes there what upstreams send, which may be a secret
	defer cfg.Folder.Close()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	cfg.Answer, cfg.Version = answer, m.Version
	cfg.Logger.Info("supervisor begins", "version", m.Version, "pid", os.Getpid(), "state", cfg.Folder.Record().State)
	err := Run(ctx, *cfg)
	cfg.Logger.Info("supervisor ends", "error", err, "state", cfg.Folder.Record().State)
	return err
}

// readyCode is the exit code for a run that could not even be created.
func readyCode(err error) int {
	var name *run.NameError
	if errors.As(err, &name) {
		return 2
	}
	return 125
}

// errNoRequest says that the client found out, after it had started the guard, that it has nothing to ask for.
var errNoRequest = errors.New("there is no request")

// post is what all who keep a run share.
type post struct {
	config *Config
	home   string   // absolute path of $MOAT_HOME
	socket *os.File // the run's, listening
	answer *os.File
	start  []byte   // Start as JSON
	log    *os.File // of the run
}

// prepare reads the request and makes the run's folder, lock and socket.
func (m Main) prepare(args []string) (*post, error) {
	data, err := io.ReadAll(io.LimitReader(os.Stdin, maxRequest))
	if err != nil {
		return nil, fmt.Errorf("read request: %w", err)
	}
	if len(data) == 0 {
		return nil, errNoRequest
	}
	if !run.IsID(args[0]) {
		return nil, fmt.Errorf("%q is not a run's id", args[0])
	}
	var req api.Launch
	if err := json.Unmarshal(data, &req); err != nil {
		return nil, fmt.Errorf("read request: %w", err)
	}
	home, err := run.Open(args[1])
	if err != nil {
		return nil, err
	}
	var folder *run.Folder
	if req.Plan != nil {
		folder, err = home.CreateAs(args[0], *req.Plan, time.Now())
	} else {
		folder, err = home.Adopt(args[0])
	}
	if err != nil {
		return nil, err
	}
	p, err := m.post(args[1], req, folder)
	if err != nil {
		return nil, errors.Join(err, abandon(home, req, folder))
	}
	return p, nil
}

// abandon undoes the creation of a run that cannot be guarded.
func abandon(home *run.Home, req api.Launch, folder *run.Folder) error {
	if req.Plan == nil {
		return folder.Close()
	}
	id := folder.Record().ID
	return errors.Join(folder.Do(run.EventError, time.Now(), nil), folder.Close(), home.Destroy(id))
}

// post makes what those who keep the run share.
func (m Main) post(home string, req api.Launch, folder *run.Folder) (*post, error) {
	log, err := os.OpenFile(filepath.Join(folder.Dir(), run.FileLog), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	if err := redirectErrors(log); err != nil {
		return nil, err
	}
	listener, err := sock.Listen(folder.Dir(), api.SocketName)
	if err != nil {
		return nil, err
	}
	socket, err := sock.Share(listener)
	if err != nil {
		return nil, err
	}
	start, err := json.Marshal(req.Start)
	if err != nil {
		return nil, fmt.Errorf("share start: %w", err)
	}
	memory, err := newMemory()
	if err != nil {
		return nil, err
	}
	runtime, err := NewRuntime(folder.Record().Plan.Runtime, m.Env)
	if err != nil {
		return nil, err
	}
	logger := slog.New(slog.NewTextHandler(log, nil))
	cfg := &Config{Memory: memory, Folder: folder, Runtime: runtime, Listener: listener, Start: req.Start, Logger: logger}
	return &post{config: cfg, home: home, socket: socket, start: start, log: log}, nil
}

// inherit takes over what the guard has passed on.
func (m Main) inherit(args []string) (*Config, error) {
	if len(args) != 2 {
		return nil, fmt.Errorf("%s wants an id and a home", api.VerbSupervise)
	}
	home, err := run.Open(args[1])
	if err != nil {
		return nil, err
	}
	folder, err := home.Inherit(args[0], fdLock)
	if err != nil {
		return nil, err
	}
	socket := os.NewFile(fdListener, "socket")
	listener, err := net.FileListener(socket)
	if err != nil {
		return nil, fmt.Errorf("take over socket: %w", err)
	}
	if err := socket.Close(); err != nil {
		return nil, fmt.Errorf("take over socket: %w", err)
	}
	if l, ok := listener.(*net.UnixListener); ok {
		l.SetUnlinkOnClose(false) // successors need it
	}
	data, err := io.ReadAll(io.LimitReader(os.Stdin, maxRequest))
	if err != nil {
		return nil, fmt.Errorf("read start: %w", err)
	}
	var start *api.Start
	if err := json.Unmarshal(bytes.TrimSpace(data), &start); err != nil {
		return nil, fmt.Errorf("read start: %w", err)
	}
	runtime, err := NewRuntime(folder.Record().Plan.Runtime, m.Env)
	if err != nil {
		return nil, err
	}
	return &Config{Memory: os.NewFile(fdMemory, "memory"), Folder: folder, Runtime: runtime, Listener: listener, Start: start}, nil
}
