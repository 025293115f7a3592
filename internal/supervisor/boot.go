//go:build unix

package supervisor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"moat/internal/api"
	"moat/internal/run"
	"moat/internal/sock"
)

// VerbSupervise is the first argument with which the moat program becomes a supervisor; the run's id and $MOAT_HOME follow.
const VerbSupervise = "supervise"

// maxRequest bounds a request, in bytes: command lines and environments are at most 2 MiB together (execve(2)).
const maxRequest = 8 << 20

// GuardMain is a guard's whole life: it makes or adopts the run and keeps a supervisor running for it. self is the
// moat program. The caller has no other goroutines and no other children.
func GuardMain(ctx context.Context, self, version string) error {
	answer := os.NewFile(api.FDAnswer, "answer")
	c, err := prepare(self)
	if errors.Is(err, errNoRequest) {
		return nil
	}
	if err != nil {
		tell(answer, api.Ready{State: string(run.Failed), Error: err.Error(), Code: readyCode(err)})
		return err
	}
	defer c.folder.Close()
	g := c.guard
	g.Answer = answer
	g.Logger.Info("guard begins", "version", version, "pid", os.Getpid())
	if err := g.Run(ctx); err != nil {
		g.Logger.Error("guard ends", "error", err)
		return err
	}
	// What killed commands have left does not have to wait until somebody cleans.
	if swept, err := c.home.Sweep(); err != nil || len(swept) > 0 {
		g.Logger.Info("leftovers were removed", "runs", swept, "error", err)
	}
	g.Logger.Info("guard ends: the run is over")
	return nil
}

// readyCode is the exit code for a run that could not even be created.
func readyCode(err error) int {
	var name *run.NameError
	if errors.As(err, &name) {
		return 2
	}
	return 125
}

// charge is a run in the hands of its guard.
type charge struct {
	guard  *Guard
	home   *run.Home
	folder *run.Folder
}

// errNoRequest says that the client found out, after it had started the guard, that it has nothing to ask for.
var errNoRequest = errors.New("there is no request")

// prepare reads the request and makes the run's folder, lock and socket.
func prepare(self string) (*charge, error) {
	data, err := io.ReadAll(io.LimitReader(os.Stdin, maxRequest))
	if err != nil {
		return nil, fmt.Errorf("read request: %w", err)
	}
	if len(data) == 0 {
		return nil, errNoRequest
	}
	var req api.Launch
	if err := json.Unmarshal(data, &req); err != nil {
		return nil, fmt.Errorf("read request: %w", err)
	}
	home, err := run.Open(req.Home)
	if err != nil {
		return nil, err
	}
	var folder *run.Folder
	if req.Plan != nil {
		folder, err = home.Create(*req.Plan, time.Now())
	} else {
		folder, err = home.Adopt(req.Adopt)
	}
	if err != nil {
		return nil, err
	}
	g, err := newGuard(self, req, folder)
	if err != nil {
		return nil, errors.Join(err, abandon(home, req, folder))
	}
	return &charge{g, home, folder}, nil
}

// abandon undoes the creation of a run that cannot be guarded.
func abandon(home *run.Home, req api.Launch, folder *run.Folder) error {
	if req.Plan == nil {
		return folder.Close()
	}
	id := folder.Record().ID
	return errors.Join(folder.Do(run.EventError, time.Now(), nil), folder.Close(), home.Destroy(id))
}

func newGuard(self string, req api.Launch, folder *run.Folder) (*Guard, error) {
	log, err := os.OpenFile(filepath.Join(folder.Dir(), run.FileLog), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	listener, err := sock.Listen(folder.Dir(), api.SocketName)
	if err != nil {
		return nil, err
	}
	socket, err := listener.File()
	if err != nil {
		return nil, fmt.Errorf("pass on socket: %w", err)
	}
	if err := listener.Close(); err != nil { // the duplicate goes on listening
		return nil, fmt.Errorf("pass on socket: %w", err)
	}
	start, err := json.Marshal(req.Start)
	if err != nil {
		return nil, fmt.Errorf("pass on start: %w", err)
	}
	memory, err := newMemory()
	if err != nil {
		return nil, err
	}
	return &Guard{
		Memory:   memory,
		Program:  []string{self, VerbSupervise, folder.Record().ID, req.Home},
		Lock:     folder.Lock(),
		Listener: socket,
		Start:    start,
		Log:      log,
		Logger:   slog.New(slog.NewTextHandler(log, nil)),
	}, nil
}

// SuperviseMain is a supervisor's whole life; args are what follows VerbSupervise, and env finds environment variables. Nil
// means that the run is over.
func SuperviseMain(ctx context.Context, args []string, version string, env func(string) (string, bool)) error {
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	log.SetOutput(io.Discard) // net/http quotes there what upstreams send, which may be a secret
	answer := os.NewFile(fdReady, "answer")
	cfg, err := inherit(args, env)
	if err != nil {
		tell(answer, api.Ready{State: string(run.Failed), Error: err.Error(), Code: 125})
		logger.Error("supervisor cannot begin", "error", err)
		return err
	}
	defer cfg.Folder.Close()
	cfg.Answer, cfg.Version, cfg.Logger = answer, version, logger
	logger.Info("supervisor begins", "version", version, "pid", os.Getpid(), "state", cfg.Folder.Record().State)
	err = Run(ctx, *cfg)
	logger.Info("supervisor ends", "error", err, "state", cfg.Folder.Record().State)
	return err
}

// inherit takes over what the guard has passed on.
func inherit(args []string, env func(string) (string, bool)) (*Config, error) {
	if len(args) != 2 {
		return nil, fmt.Errorf("%s wants an id and a home", VerbSupervise)
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
	runtime, err := NewRuntime(folder.Record().Plan.Runtime, env)
	if err != nil {
		return nil, err
	}
	return &Config{Memory: os.NewFile(fdMemory, "memory"), Folder: folder, Runtime: runtime, Listener: listener, Start: start}, nil
}
