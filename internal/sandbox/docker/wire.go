package docker

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
)

// What moat says of a container to be made (POST /containers/create). The names of fields are the API's.
type createRequest struct {
	Hostname    string
	User        string
	Env         []string
	Image       string
	Entrypoint  []string
	WorkingDir  string
	Labels      map[string]string
	StopSignal  string
	Healthcheck healthcheck
	HostConfig  hostConfig
}

type healthcheck struct{ Test []string }

type hostConfig struct {
	NetworkMode  string
	IpcMode      string
	CgroupnsMode string
	UsernsMode   string
	CapAdd       []string
	CapDrop      []string
	SecurityOpt  []string
	MaskedPaths  []string
	Sysctls      map[string]string `json:",omitempty"`
	Memory       int64             // 0: no limit, as for the others
	MemorySwap   int64             // memory and swap together
	NanoCpus     int64
	PidsLimit    int64
	Ulimits      []ulimit
	LogConfig    logConfig
	Dns          []string
	DnsOptions   []string
	DnsSearch    []string
	Mounts       []mount
}

type ulimit struct {
	Name       string
	Soft, Hard int64
}

type logConfig struct{ Type string }

type mount struct {
	Type          string
	Source        string
	Target        string
	ReadOnly      bool
	BindOptions   *bindOptions   `json:",omitempty"` // of type "bind"
	VolumeOptions *volumeOptions `json:",omitempty"` // of type "volume"
}

type bindOptions struct{ Propagation string }

type volumeOptions struct {
	NoCopy bool
	Labels map[string]string
}

// container is what moat reads of one (GET /containers/{id}/json).
type container struct {
	ID    string `json:"Id"`
	Name  string
	State struct {
		Status    string
		Pid       int
		ExitCode  int
		OOMKilled bool
		Error     string
	}
	Config struct{ Labels map[string]string }
}

// listed is a container in a list (GET /containers/json).
type listed struct {
	ID     string `json:"Id"`
	Names  []string
	Image  string
	State  string
	Labels map[string]string
}

// info is what moat reads of an engine (GET /info).
type info struct {
	ServerVersion   string
	KernelVersion   string
	OperatingSystem string
	OSType          string
	Architecture    string
	SecurityOptions []string
	MemoryLimit     bool
	SwapLimit       bool
	CpuCfsQuota     bool
	PidsLimit       bool
	CgroupVersion   string
	Name            string
}

// imageInfo is what moat reads of an image (GET /images/{name}/json).
type imageInfo struct {
	ID           string `json:"Id"`
	Os           string
	Architecture string
	Config       struct {
		User       string
		Env        []string
		Entrypoint []string
		Cmd        []string
		WorkingDir string
	}
}

func (e *engine) info(ctx context.Context) (info, error) {
	var out info
	err := e.do(ctx, call{method: http.MethodGet, path: "/info"}, &out)
	if err != nil {
		return out, err
	}
	if podman, err := e.isPodman(ctx); err != nil || !podman {
		return out, err
	}
	// Podman tells only in its own API whether it runs as root.
	var own struct {
		Host struct{ Security struct{ Rootless bool } }
	}
	resp, err := e.sendRaw(ctx, call{method: http.MethodGet, path: "/v" + e.podman + "/libpod/info"})
	if err != nil {
		return out, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&own); err != nil {
		return out, e.unanswered(ctx, err)
	}
	if own.Host.Security.Rootless && !out.rootless() {
		out.SecurityOptions = append(out.SecurityOptions, nameRootless)
	}
	return out, nil
}

func (e *engine) create(ctx context.Context, name string, req createRequest) (id string, err error) {
	var out struct {
		ID string `json:"Id"`
	}
	err = e.do(ctx, call{method: http.MethodPost, path: "/containers/create", query: url.Values{"name": {name}}, body: req}, &out)
	return out.ID, err
}

func (e *engine) start(ctx context.Context, id string) error {
	return e.do(ctx, call{method: http.MethodPost, path: "/containers/" + url.PathEscape(id) + "/start"}, nil)
}

// wait blocks until nothing of a container runs.
func (e *engine) wait(ctx context.Context, id string) error {
	return e.do(ctx, call{
		method: http.MethodPost, path: "/containers/" + url.PathEscape(id) + "/wait", query: url.Values{"condition": {"not-running"}},
	}, nil)
}

func (e *engine) inspect(ctx context.Context, id string) (container, error) {
	var out container
	err := e.do(ctx, call{method: http.MethodGet, path: "/containers/" + url.PathEscape(id) + "/json"}, &out)
	return out, err
}

// remove ends what runs in a container and removes it with the volumes that were made for it.
func (e *engine) remove(ctx context.Context, id string) error {
	return e.do(ctx, call{
		method: http.MethodDelete, path: "/containers/" + url.PathEscape(id), query: url.Values{"force": {"1"}, "v": {"1"}},
	}, nil)
}

// list returns all containers with a label, in whatever state.
func (e *engine) list(ctx context.Context, label string) ([]listed, error) {
	filters, err := json.Marshal(map[string][]string{"label": {label}})
	if err != nil {
		return nil, err
	}
	var out []listed
	err = e.do(ctx, call{
		method: http.MethodGet, path: "/containers/json", query: url.Values{"all": {"1"}, "filters": {string(filters)}},
	}, &out)
	return out, err
}

func (e *engine) image(ctx context.Context, ref string) (imageInfo, error) {
	var out imageInfo
	err := e.do(ctx, call{method: http.MethodGet, path: "/images/" + ref + "/json"}, &out)
	return out, err
}
