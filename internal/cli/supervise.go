package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"moat/internal/api"
	"moat/internal/run"
)

// errNoAnswer says that a supervisor was killed before it could tell how it went.
var errNoAnswer = errors.New("the supervisor ended without an answer")

// launcher is a run's first supervisor while it waits for its request. It has its own session and none of this process's
// descriptors: nothing that happens to this terminal concerns it.
type launcher struct {
	request io.WriteCloser // its standard input
	answer  *os.File
}

// prepareLaunch starts a supervisor that does nothing until launch tells it what to do, so that it can start while that is
// being found out. id is the run's. The caller closes it; a supervisor that was told nothing then exits.
func (app *App) prepareLaunch(home *run.Home, id string) (*launcher, error) {
	answer, theirs, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start a supervisor: %w", err)
	}
	defer theirs.Close()
	cmd := exec.Command(app.Self, api.VerbSupervise, id, home.Path(), api.First)
	cmd.Args[0] = "moat" // what ps shows
	cmd.Dir = "/"
	cmd.Env = app.supervisorEnv()
	cmd.ExtraFiles = []*os.File{api.FDAnswer - 3: theirs}
	cmd.SysProcAttr = ownSession()
	request, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		answer.Close()
		return nil, fmt.Errorf("start a supervisor: %w", err)
	}
	return &launcher{request: request, answer: answer}, nil
}

// close lets go of the supervisor, which goes on with what it was told.
func (l *launcher) close() {
	l.request.Close()
	l.answer.Close()
}

// launch tells the supervisor what to do and waits for its answer.
func (l *launcher) launch(ctx context.Context, launch api.Launch) (api.Ready, error) {
	// If this fails the supervisor has ended, and its answer says why.
	_ = errors.Join(json.NewEncoder(l.request).Encode(launch), l.request.Close())
	defer context.AfterFunc(ctx, func() { l.answer.Close() })()
	text, err := bufio.NewReader(l.answer).ReadBytes('\n')
	if err != nil {
		if ctx.Err() != nil {
			return api.Ready{}, ctx.Err()
		}
		return api.Ready{}, &exitError{code: codeNotStarted, err: errNoAnswer}
	}
	ready, err := api.Decode[api.Ready](text)
	if err != nil {
		return api.Ready{}, fmt.Errorf("start a supervisor: %w", err)
	}
	if ready.Error != "" {
		return ready, &exitError{code: ready.Code, err: errors.New(ready.Error), hint: ready.Hint}
	}
	return ready, nil
}

// supervisorEnv is what supervisors may see of the environment: where things are, and no credentials.
func (app *App) supervisorEnv() []string {
	var env []string
	for _, kv := range app.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		// MOAT_DOCKER_LINE is for tests.
		if slices.Contains([]string{"MOAT_DOCKER_LINE", "PATH", "HOME", "USER", "LANG", "TMPDIR", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS", "GORACE", "GOCOVERDIR"}, name) || strings.HasPrefix(name, "DOCKER_") {
			env = append(env, kv)
		}
	}
	return env
}

// settled returns a run's record as it is true now: a run that nobody looks after is adopted first.
func (app *App) settled(ctx context.Context, home *run.Home, ref string) (run.Record, error) {
	entry, err := home.Get(ref)
	if err != nil || !entry.Unattended() {
		return entry.Record, err
	}
	if err := app.adopt(ctx, home, entry.ID); err != nil {
		return entry.Record, err
	}
	entry, err = home.Get(entry.ID)
	return entry.Record, err
}

// adopt gives a run a new supervisor. That somebody else was faster is fine.
func (app *App) adopt(ctx context.Context, home *run.Home, id string) error {
	for try := 1; ; try++ {
		err := app.adoptOnce(ctx, home, id)
		if err == nil {
			return nil
		}
		entry, getErr := home.Get(id)
		if getErr != nil || !entry.Unattended() {
			return getErr
		}
		if !errors.Is(err, errNoAnswer) || try == adoptTries {
			return fmt.Errorf("take over %s: %w", id, err)
		}
	}
}

// adoptTries is how many supervisors may be killed while they take over a run.
const adoptTries = 5

func (app *App) adoptOnce(ctx context.Context, home *run.Home, id string) error {
	l, err := app.prepareLaunch(home, id)
	if err != nil {
		return err
	}
	defer l.close()
	_, err = l.launch(ctx, api.Launch{})
	return err
}

// retries paces those who cannot reach a supervisor that is there or is being replaced: whoever takes a run over holds its
// lock for a moment before there is a socket, and no file tells when there is. The zero value begins.
type retries struct{ wait time.Duration }

func (r *retries) pause(ctx context.Context) error {
	r.wait = min(max(2*r.wait, time.Millisecond), releasePoll)
	select {
	case <-time.After(r.wait):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// waitReleased waits until the supervisor of a run that has ended has taken everything down and let go of the run.
func (app *App) waitReleased(ctx context.Context, home *run.Home, id string) error {
	return waitReleased(ctx, home, id)
}

func waitReleased(ctx context.Context, home *run.Home, id string) error {
	for wait := time.Millisecond; ; wait = min(2*wait, releasePoll) {
		locked, err := run.Locked(filepath.Join(home.Dir(id), run.FileLock))
		if err != nil || !locked {
			return err
		}
		select { // no file tells when a lock is let go of, short of taking it
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// releasePoll is the longest pause between two looks at a lock.
const releasePoll = 50 * time.Millisecond
