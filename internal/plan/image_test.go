package plan

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"moat/internal/config"
	"moat/internal/sandbox"
)

// hostFacts is a host with an own PATH, a home and a tool.
func hostFacts() Facts {
	return Facts{
		Env:      map[string]string{"PATH": "/home/me/.cargo/bin:/bin", "HOME": "/home/me", "LANG": "de_DE.UTF-8"},
		ImageEnv: map[string]string{"PATH": "/bin", "LANG": "C.UTF-8"},
		Tools:    []sandbox.Tool{{Path: "/home/me/.cargo"}},
		Runtime:  "native",
	}
}

func TestImageSaysWhatRuns(t *testing.T) {
	for _, test := range []struct {
		name                     string
		asked, agent, entry, cmd []string
		want                     []string
	}{
		{name: "its own", entry: []string{"/init", "--"}, cmd: []string{"serve"}, want: []string{"/init", "--", "serve"}},
		{name: "entrypoint only", entry: []string{"/init"}, want: []string{"/init"}},
		{name: "asked in the place of cmd", entry: []string{"/init"}, cmd: []string{"serve"}, asked: []string{"sh"}, want: []string{"/init", "sh"}},
		{name: "agent.yaml in the place of cmd", cmd: []string{"serve"}, agent: []string{"make"}, want: []string{"make"}},
		{name: "asked wins", cmd: []string{"serve"}, agent: []string{"make"}, asked: []string{"sh"}, want: []string{"sh"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			facts := hostFacts()
			facts.Image = &Image{Entrypoint: test.entry, Cmd: test.cmd}
			p, _, err := Make(Asked{Command: test.asked, Image: "x"}, &config.Agent{Command: test.agent}, config.DefaultGlobal(), facts)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, p.Command); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestImageTakesThePlaceOfTheHost(t *testing.T) {
	facts := hostFacts()
	facts.Image = &Image{
		Digest: "sha256:ab", User: "node", WorkDir: "/srv", Cmd: []string{"x"},
		Env: []string{"PATH=/opt/bin:/bin", "A=1", "B=2", "nonsense", "=x", "A=3"},
	}
	agent := &config.Agent{Image: "debian", Env: []config.Var{{Name: "B", Value: "mine"}}}
	p, env, err := Make(Asked{}, agent, config.DefaultGlobal(), facts)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"A=3", "B=mine", "HOME=", "LANG=C.UTF-8", "PATH=/opt/bin:/bin"}, env); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
	got := []string{p.Image, p.ImageDigest, p.ImageUser, p.WorkDir}
	if diff := cmp.Diff([]string{"debian", "sha256:ab", "node", "/srv"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	agent.WorkDir = "/mine"
	if p, _, err := Make(Asked{}, agent, config.DefaultGlobal(), facts); err != nil || p.WorkDir != "/mine" {
		t.Errorf("the directory of agent.yaml: %q, %v", p.WorkDir, err)
	}
	if p, _, err := Make(Asked{WorkDir: "/typed"}, agent, config.DefaultGlobal(), facts); err != nil || p.WorkDir != "/typed" {
		t.Errorf("the directory that was typed: %q, %v", p.WorkDir, err)
	}
	if len(p.Tools) > 0 {
		t.Errorf("tools of the host in an image: %v", p.Tools)
	}
}

func TestImageThatNobodyLookedAt(t *testing.T) {
	p, _, err := Make(Asked{Image: "debian"}, nil, config.DefaultGlobal(), hostFacts())
	if err != nil || p.Image != "debian" || p.ImageDigest != "" || p.WorkDir != "/workspace" {
		t.Errorf("%+v, %v", p, err)
	}
	facts := hostFacts()
	facts.Image = &Image{}
	if _, _, err := Make(Asked{Image: "scratch"}, nil, config.DefaultGlobal(), facts); !errors.Is(err, ErrNoCommand) {
		t.Errorf("an image without a command: %v", err)
	}
}

func TestImageOfRuntimesThatNeedOne(t *testing.T) {
	for runtime, want := range map[string]string{"native": "", "docker": UsualImage, "apple": UsualImage} {
		p, _, err := Make(Asked{Runtime: runtime, Command: []string{"x"}}, nil, config.DefaultGlobal(), hostFacts())
		if err != nil || p.Image != want {
			t.Errorf("%s: image %q, %v, want %q", runtime, p.Image, err, want)
		}
		if p, _, err = Make(Asked{Runtime: runtime, Image: "own", Command: []string{"x"}}, nil, config.DefaultGlobal(), hostFacts()); p.Image != "own" || err != nil {
			t.Errorf("%s: image %q, %v, want the one that was asked for", runtime, p.Image, err)
		}
	}
}
