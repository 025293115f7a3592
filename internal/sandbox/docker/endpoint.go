package docker

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// An Endpoint is where an engine listens.
type Endpoint struct {
	Host string `json:"host"`           // unix:///path or tcp://host:port, as in DOCKER_HOST
	TLS  string `json:"tls,omitempty"`  // folder with ca.pem, cert.pem and key.pem; empty: no TLS
	From string `json:"from,omitempty"` // what named it, for people
}

// Lookup finds an environment variable.
type Lookup func(name string) (value string, ok bool)

// fromDefault says in Endpoint.From that nobody named it.
const fromDefault = "default"

// defaultSocket is where Docker listens on Linux if nobody said otherwise.
const defaultSocket = "/var/run/docker.sock"

// FindEndpoint returns the endpoint that the docker command would use: that of DOCKER_HOST, or of the context that
// DOCKER_CONTEXT or its configuration names. If neither does, the first at which somebody answers of those where Docker,
// rootless Docker, Docker Desktop and Podman listen.
func FindEndpoint(ctx context.Context, env Lookup) (Endpoint, error) {
	get := func(name string) string {
		if v, ok := env(name); ok {
			return v
		}
		return ""
	}
	if host := get("DOCKER_HOST"); host != "" {
		at := Endpoint{Host: host, From: "DOCKER_HOST"}
		if get("DOCKER_TLS_VERIFY") != "" {
			at.TLS = cmp.Or(get("DOCKER_CERT_PATH"), configFolder(get))
		}
		return at, nil
	}
	name, err := contextName(get)
	if err != nil {
		return Endpoint{}, err
	}
	if name != "" && name != "default" {
		return contextEndpoint(configFolder(get), name)
	}
	return firstAnswering(ctx, usualSockets(get)), nil
}

// configFolder is where the docker command keeps its configuration.
func configFolder(get func(string) string) string {
	return cmp.Or(get("DOCKER_CONFIG"), filepath.Join(get("HOME"), ".docker"))
}

// contextName is the context in use; empty if there is none.
func contextName(get func(string) string) (string, error) {
	if name := get("DOCKER_CONTEXT"); name != "" {
		return name, nil
	}
	path := filepath.Join(configFolder(get), "config.json")
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	var config struct {
		CurrentContext string `json:"currentContext"`
	}
	if err == nil {
		err = json.Unmarshal(data, &config)
	}
	if err != nil {
		return "", fmt.Errorf("docker's configuration %s: %w", path, err)
	}
	return config.CurrentContext, nil
}

// contextEndpoint reads where a context's engine is. Contexts are kept in folders that are named after the SHA-256 of
// their names (docker/cli, cli/context/store).
func contextEndpoint(folder, name string) (Endpoint, error) {
	sum := sha256.Sum256([]byte(name))
	id := hex.EncodeToString(sum[:])
	path := filepath.Join(folder, "contexts", "meta", id, "meta.json")
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Endpoint{}, fmt.Errorf("there is no docker context %q (%s)", name, folder)
	}
	var meta struct {
		Endpoints map[string]struct{ Host string }
	}
	if err == nil {
		err = json.Unmarshal(data, &meta)
	}
	if err != nil {
		return Endpoint{}, fmt.Errorf("docker context %q: %w", name, err)
	}
	at := Endpoint{Host: meta.Endpoints["docker"].Host, From: fmt.Sprintf("context %q", name)}
	if at.Host == "" {
		return Endpoint{}, fmt.Errorf("docker context %q has no docker endpoint", name)
	}
	keys := filepath.Join(folder, "contexts", "tls", id, "docker")
	if _, err := os.Stat(keys); err == nil {
		at.TLS = keys
	}
	return at, nil
}

// usualSockets are those that engines have without being told, the machine's own first.
func usualSockets(get func(string) string) []string {
	paths := []string{defaultSocket}
	if dir := get("XDG_RUNTIME_DIR"); dir != "" {
		paths = append(paths, filepath.Join(dir, "docker.sock"))
	}
	if home := get("HOME"); home != "" {
		paths = append(paths, filepath.Join(home, ".docker/run/docker.sock"), filepath.Join(home, ".docker/desktop/docker.sock"))
	}
	if dir := get("XDG_RUNTIME_DIR"); dir != "" {
		paths = append(paths, filepath.Join(dir, "podman/podman.sock"))
	}
	return append(paths, "/run/podman/podman.sock")
}

// answerTime is how long a socket may take to accept a connection.
const answerTime = 2 * time.Second

// firstAnswering returns the first socket at which somebody accepts, or the first of all.
func firstAnswering(ctx context.Context, paths []string) Endpoint {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	var d net.Dialer
	for i, path := range paths {
		c, err := d.DialContext(ctx, "unix", path)
		if err != nil {
			continue
		}
		_ = c.Close()
		at := Endpoint{Host: "unix://" + path, From: fromDefault}
		if i > 0 {
			at.From = "found"
		}
		return at
	}
	return Endpoint{Host: "unix://" + paths[0], From: fromDefault}
}

// errScheme is returned for an engine that is reached in a way that moat does not know.
var errScheme = errors.New("moat does not know this way to an engine")

// dialer returns the network and address of an endpoint.
func (e Endpoint) dialer() (network, address string, err error) {
	u, err := url.Parse(e.Host)
	if err != nil {
		return "", "", fmt.Errorf("address of the engine %q: %w", e.Host, err)
	}
	switch u.Scheme {
	case "unix":
		return "unix", u.Host + u.Path, nil
	case "tcp", "http", "https":
		return "tcp", u.Host, nil
	default:
		return "", "", fmt.Errorf("%w: %q is neither unix:// nor tcp://", errScheme, e.Host)
	}
}

// errOtherKernel is returned for an engine whose containers no socket reaches into.
var errOtherKernel = errors.New("the engine runs its containers on another kernel")

// elsewhere reports whether an endpoint is certainly that of an engine with another kernel: one on another machine, or of Docker
// Desktop, Rancher Desktop, Colima and Lima, by where they listen.
func (e Endpoint) elsewhere() bool {
	for _, part := range []string{"/.docker/desktop/", "/.docker/run/", "/.rd/", "/.colima/", "/.lima/"} {
		if strings.Contains(e.Host, part) {
			return true
		}
	}
	return e.away()
}

// away reports whether the way to the engine crosses a network.
func (e Endpoint) away() bool {
	u, err := url.Parse(e.Host)
	if err != nil || u.Scheme == "unix" {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback())
}

// open reports whether that network sees everything.
func (e Endpoint) open() bool { return e.away() && e.TLS == "" }
