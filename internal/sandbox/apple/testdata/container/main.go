// Command container stands in for Apple's container command in tests. It takes the verbs and options that Apple's reference and
// source name (version 1.2), refuses all others as that does, and answers with the same exit codes and JSON.
//
// It keeps everything in the folder that it lies in:
//
//	containers/NAME.json   one container
//	images/…               one image: what "image inspect" says of it
//	calls                  a line of JSON for each call: its arguments
//	environ                the environment of the last one
//	version                the version that it says it is; one below 1.0 has the JSON of those versions
//	stopped                if it is there, the system is not started
//	fail-VERB              fails that verb with the text in it, as often as there are lines in it
//	hang-VERB              lets that verb hang until the file is gone
//	say-VERB               is printed in the place of an answer
//	guest                  what "exec" answers to a task (box.Boot), without an engine; then it says what it hears
//	engine                 an engine's DOCKER_HOST: containers run for real, and images are those of the engine
package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	s := standIn{dir: filepath.Dir(os.Args[0])}
	err := s.run(os.Args[1:])
	var code exitCode
	switch {
	case err == nil:
	case errors.As(err, &code):
		os.Exit(int(code))
	case errors.As(err, new(usage)):
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(64) // swift-argument-parser's for a command line that it does not understand
	default:
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(1)
	}
}

// An exitCode ends the process without a word.
type exitCode int

func (c exitCode) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

// A usage is a command line that the command would not take.
type usage string

func (u usage) Error() string { return string(u) }

type standIn struct{ dir string }

func (s standIn) path(parts ...string) string {
	return filepath.Join(append([]string{s.dir}, parts...)...)
}

func (s standIn) read(name string) string {
	b, _ := os.ReadFile(s.path(name))
	return strings.TrimSpace(string(b))
}

// verbs with their options: "=" behind a name says that a value follows.
func options() map[string]string {
	return map[string]string{
		"create": "name= platform= network= dns= dns-option= dns-search= uid= gid= workdir= entrypoint= label= cap-drop= cap-add= env= memory= cpus= mount= volume=",
		"start":  "attach interactive",
		"exec":   "interactive uid= gid= env= workdir= user= tty detach",
		"kill":   "signal= all", "stop": "signal= time= all", "delete": "force all",
		"list": "all format= quiet", "inspect": "", "logs": "boot follow",
		"image inspect": "", "image pull": "platform= progress= scheme= arch= os=",
		"system status": "prefix= format=",
	}
}

// A request is a command line, taken apart.
type request struct {
	verb string
	opts map[string][]string
	args []string
}

func (q request) one(name string) string {
	if v := q.opts[name]; len(v) > 0 {
		return v[len(v)-1]
	}
	return ""
}

func parse(line []string) (request, error) {
	q := request{opts: map[string][]string{}}
	if len(line) == 0 {
		return q, usage("no verb")
	}
	q.verb, line = line[0], line[1:]
	if (q.verb == "image" || q.verb == "system") && len(line) > 0 {
		q.verb, line = q.verb+" "+line[0], line[1:]
	}
	known, ok := options()[q.verb]
	if !ok {
		return q, usage("Unexpected argument '" + q.verb + "'")
	}
	for len(line) > 0 && strings.HasPrefix(line[0], "--") {
		name := line[0][2:]
		line = line[1:]
		switch {
		case slices.Contains(strings.Fields(known), name):
			q.opts[name] = append(q.opts[name], "")
		case slices.Contains(strings.Fields(known), name+"=") && len(line) > 0:
			q.opts[name] = append(q.opts[name], line[0])
			line = line[1:]
		default:
			return q, usage("Unknown option '--" + name + "'")
		}
	}
	q.args = line
	return q, nil
}

func (s standIn) run(line []string) error {
	if err := s.note(line); err != nil {
		return err
	}
	if slices.Equal(line, []string{"--version"}) {
		fmt.Printf("container CLI version %s (build: release, commit: 0000000)\n", s.read("version"))
		return nil
	}
	q, err := parse(line)
	if err != nil {
		return err
	}
	if err := s.misbehave(strings.ReplaceAll(q.verb, " ", "-")); err != nil {
		return err
	}
	if _, err := os.Stat(s.path("stopped")); err == nil {
		if q.verb == "system status" {
			fmt.Println("apiserver is not running and not registered with launchd")
			return exitCode(1)
		}
		return errors.New(`interrupted: "XPC connection error: Connection invalid"`)
	}
	verbs := map[string]func(request) error{
		"create": s.create, "start": s.start, "exec": s.exec, "kill": s.kill, "delete": s.delete, "list": s.list, "logs": s.logs,
		"image inspect": s.inspectImage, "image pull": s.pull,
		"system status": func(request) error { fmt.Println("FIELD  VALUE\nstatus running"); return nil },
	}
	do, ok := verbs[q.verb]
	if !ok {
		return fmt.Errorf("the stand-in does not play %q", q.verb)
	}
	return do(q)
}

// note writes down the call.
func (s standIn) note(line []string) error {
	if err := os.WriteFile(s.path("environ"), []byte(strings.Join(os.Environ(), "\n")), 0o644); err != nil {
		return err
	}
	b, err := json.Marshal(line)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(s.path("calls"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.Write(append(b, '\n'))
	return err
}

// misbehave does what a test wants of a verb.
func (s standIn) misbehave(verb string) error {
	for {
		if _, err := os.Stat(s.path("hang-" + verb)); err != nil {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	if b, err := os.ReadFile(s.path("say-" + verb)); err == nil {
		_, _ = os.Stdout.Write(b)
		return exitCode(0)
	}
	text, err := os.ReadFile(s.path("fail-" + verb))
	if err != nil {
		return nil
	}
	first, rest, _ := strings.Cut(string(text), "\n")
	if rest == "" {
		err = os.Remove(s.path("fail-" + verb))
	} else {
		err = os.WriteFile(s.path("fail-"+verb), []byte(rest), 0o644)
	}
	return errors.Join(errors.New(first), err)
}

// A container as it is kept.
type container struct {
	Name   string
	Image  string
	Digest string
	Labels map[string]string
	State  string
	Opts   map[string][]string
	Args   []string
	Engine string // its id in the engine
}

func (s standIn) container(name string) (container, error) {
	var c container
	b, err := os.ReadFile(s.path("containers", name+".json"))
	if errors.Is(err, fs.ErrNotExist) {
		return c, fmt.Errorf("notFound: \"container with ID %s not found\"", name)
	}
	if err == nil {
		err = json.Unmarshal(b, &c)
	}
	if err == nil && c.Engine != "" {
		c.State = s.engineState(c)
	}
	return c, err
}

func (s standIn) keep(c container) error {
	b, err := json.Marshal(c)
	if err != nil {
		return err
	}
	path := s.path("containers", c.Name+".json")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", b, 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// locked makes changes one after the other, as Apple's server does.
func (s standIn) locked(do func() error) error {
	f, err := os.OpenFile(s.path("lock"), os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	return do()
}

func (s standIn) create(q request) error {
	if len(q.args) == 0 {
		return usage("Missing expected argument '<image>'")
	}
	c := container{Name: q.one("name"), Image: q.args[0], Labels: map[string]string{}, State: "stopped", Opts: q.opts, Args: q.args[1:]}
	var memory int
	if m := q.one("memory"); m != "" {
		if n, err := fmt.Sscanf(m, "%dM", &memory); n != 1 || err != nil || memory < 200 {
			return errors.New(`invalidArgument: "minimum memory amount allowed is 200 MiB"`)
		}
	}
	for _, l := range q.opts["label"] {
		parts := strings.Split(l, "=")
		if len(parts) != 2 {
			return fmt.Errorf("invalidArgument: \"invalid label format %s\"", l)
		}
		c.Labels[parts[0]] = parts[1]
	}
	if _, err := mounts(q); err != nil {
		return err
	}
	image, err := s.image(c.Image)
	if err != nil {
		return err
	}
	c.Digest = image.Index.Digest
	return s.locked(func() error {
		if _, err := s.container(c.Name); err == nil {
			return fmt.Errorf("exists: \"container already exists: %s\"", c.Name)
		}
		if s.read("engine") != "" {
			if c.Engine, err = s.engineCreate(c); err != nil {
				return err
			}
		}
		fmt.Println(c.Name)
		return s.keep(c)
	})
}

// A mount as Apple's parser understands it.
type mount struct {
	source, target string
	readOnly       bool
}

func mounts(q request) ([]mount, error) {
	var out []mount
	for _, v := range q.opts["volume"] {
		parts := strings.Split(v, ":")
		if len(parts) < 2 || len(parts) > 3 {
			return nil, fmt.Errorf("invalidArgument: \"invalid volume format %s\"", v)
		}
		out = append(out, mount{parts[0], parts[1], len(parts) == 3 && parts[2] == "ro"})
	}
	for _, v := range q.opts["mount"] {
		var m mount
		for part := range strings.SplitSeq(v, ",") {
			kv := strings.Split(part, "=")
			switch {
			case kv[0] == "readonly" && len(kv) == 1:
				m.readOnly = true
			case len(kv) != 2:
				return nil, fmt.Errorf("invalidArgument: \"invalid directive format missing value %s in %s\"", part, v)
			case kv[0] == "type" && kv[1] == "bind":
			case kv[0] == "source":
				m.source = kv[1]
			case kv[0] == "target":
				m.target = kv[1]
			default:
				return nil, fmt.Errorf("invalidArgument: \"unknown directive %s when parsing mount %s\"", kv[0], v)
			}
		}
		if fi, err := os.Stat(m.source); err != nil || !fi.IsDir() {
			return nil, fmt.Errorf("invalidArgument: \"path '%s' is not a directory\"", m.source)
		}
		out = append(out, m)
	}
	for _, m := range out {
		if _, err := os.Stat(m.source); err != nil {
			return nil, fmt.Errorf("invalidArgument: \"path '%s' does not exist\"", m.source)
		}
	}
	return out, nil
}

func (s standIn) named(q request) (container, error) {
	if len(q.args) == 0 {
		return container{}, usage("Missing expected argument '<container-id>'")
	}
	return s.container(q.args[0])
}

func (s standIn) start(q request) error {
	return s.locked(func() error {
		c, err := s.named(q)
		if err != nil {
			return err
		}
		if c.Engine != "" {
			if err := s.engineDo("POST", "/containers/"+c.Engine+"/start"); err != nil {
				return err
			}
		}
		c.State = "running"
		fmt.Println(c.Name)
		return s.keep(c)
	})
}

func (s standIn) kill(q request) error {
	return s.locked(func() error {
		c, err := s.named(q)
		if err != nil {
			return err
		}
		if c.State != "running" {
			return errors.New(`invalidState: "no sandbox client exists: container is stopped"`)
		}
		if c.Engine != "" {
			return s.engineDo("POST", "/containers/"+c.Engine+"/kill?signal="+url.QueryEscape(q.one("signal")))
		}
		c.State = "stopped"
		return s.keep(c)
	})
}

func (s standIn) delete(q request) error {
	return s.locked(func() error {
		c, err := s.named(q)
		if err != nil {
			return err
		}
		if _, force := q.opts["force"]; !force && c.State == "running" {
			return errors.New(`invalidState: "container is running"`)
		}
		if c.Engine != "" {
			if err := s.engineDo("DELETE", "/containers/"+c.Engine+"?force=1&v=1"); err != nil {
				return err
			}
		}
		fmt.Println(c.Name)
		return os.Remove(s.path("containers", c.Name+".json"))
	})
}

func (s standIn) list(q request) error {
	if f := q.one("format"); f != "json" {
		return fmt.Errorf("the stand-in does not play the format %q", f)
	}
	files, err := filepath.Glob(s.path("containers", "*.json"))
	if err != nil {
		return err
	}
	all := []any{}
	for _, f := range files {
		c, err := s.container(strings.TrimSuffix(filepath.Base(f), ".json"))
		if err != nil {
			continue // it is gone by now
		}
		_, every := q.opts["all"]
		if c.State != "running" && !every {
			continue
		}
		configuration := map[string]any{
			"id": c.Name, "labels": c.Labels, "networks": []any{}, "publishedPorts": []any{},
			"image":       map[string]any{"reference": c.Image, "descriptor": map[string]any{"digest": c.Digest, "mediaType": "application/vnd.oci.image.index.v1+json", "size": 1}},
			"dns":         map[string]any{"nameservers": c.Opts["dns"], "options": c.Opts["dns-option"], "searchDomains": []string{}},
			"platform":    map[string]any{"os": "linux", "architecture": "arm64"},
			"resources":   map[string]any{"cpus": 4, "memoryInBytes": 1 << 30},
			"initProcess": map[string]any{"executable": c.Opts["entrypoint"], "arguments": c.Args, "environment": c.Opts["env"]},
		}
		entry := map[string]any{"configuration": configuration, "id": c.Name, "status": map[string]any{"state": c.State, "networks": []any{}}}
		if strings.HasPrefix(s.read("version"), "0.") {
			entry = map[string]any{"configuration": configuration, "status": c.State, "networks": []any{}}
		}
		all = append(all, entry)
	}
	return json.NewEncoder(os.Stdout).Encode(all)
}

// exec runs a process in the engine, or plays the guest.
func (s standIn) exec(q request) error {
	c, err := s.named(q)
	if err != nil {
		return err
	}
	if c.State != "running" {
		return fmt.Errorf("invalidState: \"container %s is not running\"", c.Name)
	}
	if c.Engine != "" {
		return s.engineExec(c, q)
	}
	var size [4]byte
	if _, err := io.ReadFull(os.Stdin, size[:]); err != nil {
		return err
	}
	boot, err := io.ReadAll(io.LimitReader(os.Stdin, int64(binary.BigEndian.Uint32(size[:]))))
	if err != nil {
		return err
	}
	if err := os.WriteFile(s.path("boot"), boot, 0o600); err != nil {
		return err
	}
	answer, err := os.ReadFile(s.path("guest"))
	if err != nil {
		return exitCode(3)
	}
	if _, err := os.Stdout.Write(answer); err != nil {
		return err
	}
	_, err = io.Copy(os.Stdout, os.Stdin)
	return err
}

func (s standIn) logs(q request) error {
	c, err := s.named(q)
	if err == nil && c.Engine != "" {
		return s.engineLogs(c)
	}
	fmt.Print(s.read("log"))
	return err
}

// An image as "image inspect" has it.
type image struct {
	Index struct {
		Digest string `json:"digest"`
	} `json:"index"`
	Variants []any `json:"variants"`
}

func (s standIn) image(ref string) (image, error) {
	var i image
	if s.read("engine") != "" {
		return s.engineImage(ref)
	}
	b, err := os.ReadFile(s.path("images", url.PathEscape(ref)))
	if err != nil {
		return i, fmt.Errorf("notFound: \"image with reference %s\"", ref)
	}
	return i, json.Unmarshal(b, &i)
}

func (s standIn) inspectImage(q request) error {
	all := []image{}
	for _, ref := range q.args {
		i, err := s.image(ref)
		if err != nil {
			return err
		}
		all = append(all, i)
	}
	return json.NewEncoder(os.Stdout).Encode(all)
}

// pull finds an image in the folder "registry".
func (s standIn) pull(q request) error {
	if len(q.args) != 1 {
		return usage("Missing expected argument '<reference>'")
	}
	b, err := os.ReadFile(s.path("registry", url.PathEscape(q.args[0])))
	if err != nil {
		return errors.New(`notFound: "HTTP request to https://registry failed with response: 404"`)
	}
	if err := os.MkdirAll(s.path("images"), 0o755); err != nil {
		return err
	}
	return os.WriteFile(s.path("images", url.PathEscape(q.args[0])), b, 0o644)
}
