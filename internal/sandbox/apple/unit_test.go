//go:build unix

package apple

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"moat/internal/sandbox"
	"moat/internal/sandbox/box"
)

func TestLife(t *testing.T) {
	for word, want := range map[string]sandbox.State{
		"running": sandbox.Running, "stopped": sandbox.Gone, "created": sandbox.Gone, "exited": sandbox.Gone,
		"bootstrapped": sandbox.Unknown, "stopping": sandbox.Unknown, "unknown": sandbox.Unknown,
		"": sandbox.Unknown, "Running": sandbox.Unknown, "paused": sandbox.Unknown,
	} {
		got, err := life(word)
		if got != want || (err != nil) != (want == sandbox.Unknown) {
			t.Errorf("%q: %v, %v, want %v", word, got, err, want)
		}
	}
}

func TestParseList(t *testing.T) {
	for name, test := range map[string]struct {
		text string
		want string // ids with their states; empty: an error
	}{
		"1.x":            {`[{"id":"a","configuration":{"id":"a","labels":{}},"status":{"state":"running","networks":[]}}]`, "a running"},
		"0.x":            {`[{"configuration":{"id":"a"},"status":"stopped","networks":[]}]`, "a stopped"},
		"several":        {`[{"configuration":{"id":"a"},"status":"x"},{"configuration":{"id":"b"},"status":{"state":"y"}}]`, "a x b y"},
		"no status":      {`[{"configuration":{"id":"a"}}]`, "a "},
		"no id":          {`[{"id":"a","status":"running"}]`, ""},
		"other status":   {`[{"configuration":{"id":"a"},"status":{"phase":"running"}}]`, ""},
		"number":         {`[{"configuration":{"id":"a"},"status":7}]`, ""},
		"an object":      {`{"containers":[]}`, ""},
		"null":           {`null`, ""},
		"nothing":        {``, ""},
		"cut off":        {`[{"configuration":{"id":"a"}`, ""},
		"warning before": {"Warning!\n[]", ""},
	} {
		list, err := parseList([]byte(test.text))
		var got []string
		for _, l := range list {
			got = append(got, l.Configuration.ID, string(l.Status))
		}
		if strings.Join(got, " ") != test.want || (err != nil) != (test.want == "") {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		if err != nil && !errors.Is(err, errFormat) {
			t.Errorf("%s: %v is of another class", name, err)
		}
	}
	if list, err := parseList([]byte("[]")); len(list) != 0 || err != nil {
		t.Errorf("none: %v, %v", list, err)
	}
}

// FuzzParseList reads what a command, or what is in its place, may print. Only lists of named containers may come out.
func FuzzParseList(f *testing.F) {
	f.Add(`[{"configuration":{"id":"a","labels":{"moat.run":"run-1","moat.dir":"L3g"}},"status":{"state":"running"}}]`)
	f.Add(`[{"configuration":{"id":"a"},"status":"stopped"}]`)
	f.Fuzz(func(t *testing.T, text string) {
		list, err := parseList([]byte(text))
		if err != nil {
			return
		}
		for _, l := range list {
			if l.Configuration.ID == "" {
				t.Errorf("a container without a name in %q", text)
			}
			if ref, ours := refOf(l.Configuration.Labels); ours && ref.Check() != nil {
				t.Errorf("a sandbox that there cannot be: %+v", ref)
			}
		}
	})
}

func FuzzParseImage(f *testing.F) {
	f.Add(`[{"index":{"digest":"sha256:1"},"variants":[{"platform":{"os":"linux","architecture":"arm64"},"config":{"config":{"Env":["A=b"]}}}]}]`)
	f.Fuzz(func(t *testing.T, text string) {
		if i, err := parseImage([]byte(text)); err == nil && i.Index.Digest == "" {
			t.Errorf("an image that nothing identifies in %q", text)
		}
	})
}

func TestParseVersion(t *testing.T) {
	for text, want := range map[string]string{
		"container CLI version 1.2.0 (build: release, commit: 6e65319)\n": "1.2.0",
		"container CLI version 0.12.3 (build: debug, commit: unspeci)":    "0.12.3",
		"container version 26.0-beta":                                     "26.0-beta", "container CLI version v2.1": "v2.1",
		"container CLI version": "", "": "", "version 99999999999999999999.1": "",
	} {
		_, got, err := parseVersion(text)
		if got != want || (err != nil) != (want == "") {
			t.Errorf("%q: %q, %v, want %q", text, got, err, want)
		}
	}
}

// TestCreateArgs holds what the command is asked for to what must never change by accident.
func TestCreateArgs(t *testing.T) {
	spec := sandbox.Spec{
		Ref: sandbox.Ref{ID: "run-1", Dir: "/moat/a=b/sandbox"}, Hostname: "-my.ho$t", Image: sandbox.Image{Ref: "debian:12", Digest: "sha256:ab"},
		Mounts: []sandbox.Mount{{Source: "/l", Target: "/data", ReadOnly: true}}, User: sandbox.User{UID: 501, Home: "/Users/me"},
		Limits: sandbox.Limits{MemoryBytes: 3<<30 + 1, CPUs: 1.5},
	}
	args, err := createArgs(spec, box.Sources{Workspace: "/real:x", Mounts: []string{"/else,where"}}, "arm64")
	if err != nil {
		t.Fatal(err)
	}
	var rest []string
	for _, a := range args {
		if strings.HasPrefix(a, "SYS_") && a != "SYS_CHROOT" || strings.HasPrefix(a, "NET_") && a != "NET_ADMIN" {
			t.Errorf("capability %s", a)
		}
	}
	for i := 0; i < len(args); i++ {
		if a := args[i]; a == "--cap-add" || a == "--env" {
			i++
			continue
		}
		rest = append(rest, args[i])
	}
	want := strings.Fields(`create --name my-ho-t.moat-run-1 --platform linux/arm64 --network none --dns 127.0.0.1 --dns-option timeout:1
		--dns-option attempts:1 --uid 0 --gid 0 --workdir / --entrypoint /.moat/moat --label moat.run=run-1
		--label moat.dir=L21vYXQvYT1iL3NhbmRib3g --cap-drop ALL --memory 3073M --cpus 2 --volume /moat/a=b/sandbox/program:/.moat:ro
		--volume /moat/a=b/sandbox/home:/Users/me --mount type=bind,source=/real:x,target=/workspace --volume /else,where:/data:ro
		debian:12 guest await`)
	if d := cmp.Diff(want, rest); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if ref, ours := refOf(labels(spec.Ref)); ref != spec.Ref || !ours {
		t.Errorf("from its labels: %+v, %v", ref, ours)
	}
	if _, ours := refOf(map[string]string{labelRun: "run-1"}); ours {
		t.Error("a container without a folder is ours")
	}
}

func TestReport(t *testing.T) {
	for name, test := range map[string]struct {
		limits sandbox.Limits
		uid    int
		want   sandbox.Report
	}{
		"none":   {sandbox.Limits{}, 501, sandbox.Report{PIDs: sandbox.Held}},
		"whole":  {sandbox.Limits{MemoryBytes: 1 << 30, CPUs: 2}, 501, sandbox.Report{Memory: sandbox.Held, CPUs: sandbox.Held, PIDs: sandbox.Held}},
		"root":   {sandbox.Limits{}, 0, sandbox.Report{}},
		"little": {sandbox.Limits{MemoryBytes: 1 << 20, CPUs: 0.5, PIDs: 10}, 0, sandbox.Report{Memory: sandbox.HeldPartly, CPUs: sandbox.HeldPartly}},
	} {
		got := report(sandbox.Spec{Limits: test.limits}, sandbox.User{UID: test.uid})
		warnings := len(got.Warnings)
		got.Warnings = nil
		if d := cmp.Diff(test.want, got); d != "" || (warnings == 3) != (name == "little") {
			t.Errorf("%s: %d warnings (-want +got):\n%s", name, warnings, d)
		}
	}
}

// TestFind looks for the command where it may be, and not where a sandbox could have put one.
func TestFind(t *testing.T) {
	dir := t.TempDir()
	for _, sub := range []string{"none", "notes", "right", "rel"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for name, mode := range map[string]os.FileMode{"notes": 0o600, "right": 0o700, "rel": 0o700} {
		if err := os.WriteFile(filepath.Join(dir, name, "container"), nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	path := strings.Join([]string{"", "rel", ".", dir + "/none", dir + "/notes", dir + "/right"}, ":")
	c, err := find(func(name string) (string, bool) { return map[string]string{"PATH": path}[name], name == "PATH" })
	if want := dir + "/right/container"; c.path != want || err != nil {
		t.Errorf("%q, %v, want %q", c.path, err, want)
	}
}

// TestStream holds a stream to what a connection must do.
func TestStream(t *testing.T) {
	sh := func(script string) *stream {
		t.Helper()
		s, err := command{path: "/bin/sh"}.open("-c", script)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	t.Run("both ways", func(t *testing.T) {
		s := sh("cat")
		if _, err := io.WriteString(s, "hello"); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 5)
		if _, err := io.ReadFull(s, b); string(b) != "hello" || err != nil {
			t.Errorf("%q, %v", b, err)
		}
	})
	t.Run("deadlines", func(t *testing.T) {
		s := sh("sleep 60")
		if err := s.SetDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read: %v", err)
		}
		if _, err := s.Write(make([]byte, 1<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("write: %v", err)
		}
	})
	t.Run("it ends", func(t *testing.T) {
		s := sh("echo Error: no such container >&2; exit 7")
		if _, err := s.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("read: %v", err)
		}
		var e *commandError
		if err := s.end(t.Context()); !errors.As(err, &e) || e.Code != 7 || e.Said != "no such container" {
			t.Errorf("%+v", err)
		}
	})
	t.Run("it hears of the end", func(t *testing.T) {
		s := sh("cat >/dev/null; exit 5")
		if err := errors.Join(s.Close(), s.Close()); err != nil {
			t.Fatal(err)
		}
		var e *commandError
		if err := s.end(t.Context()); !errors.As(err, &e) || e.Code != 5 {
			t.Errorf("%+v: it did not end by itself", err)
		}
	})
	t.Run("it does not", func(t *testing.T) {
		s := sh("trap '' TERM HUP INT; while :; do sleep 1; done")
		began := time.Now()
		if err := s.Close(); err != nil || time.Since(began) > farewell+5*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

func TestOutputIsBounded(t *testing.T) {
	sh := command{path: "/bin/sh"}
	out, err := sh.run(t.Context(), call{args: []string{"-c", "yes no | head -c 100000 >&2; exit 1"}})
	var e *commandError
	if !errors.As(err, &e) || len(e.Said) > maxSaid || !strings.HasPrefix(e.Said, "no no no") {
		t.Errorf("%d bytes, %.100v", len(out), err)
	}
	small := &output{max: 10}
	if n, err := small.Write(make([]byte, 11)); n != 0 || !errors.Is(err, errFormat) {
		t.Errorf("%d, %v", n, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := sh.run(ctx, call{args: []string{"-c", "sleep 60"}}); !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
	if _, err := sh.run(t.Context(), call{args: []string{"-c", "sleep 60"}, time: 20 * time.Millisecond}); !errors.Is(err, errSilent) {
		t.Errorf("too slow: %v", err)
	}
}
