package config

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"moat/internal/policy"
)

// ProvidersDir is the folder in $MOAT_HOME with a person's own providers of credentials, one file each: <name>.yaml.
const ProvidersDir = "providers"

// EnvPlaceholder is the value of a variable in whose place moat puts a made-up one.
const EnvPlaceholder = "placeholder"

// Provider says where a credential is used, and how. It is complete and consistent.
type Provider struct {
	// File is the file as it is named in messages.
	File string

	Name   string   // valid for [CheckProviderName]
	Hosts  []string // exact names in their one spelling (package policy), at least one, each once
	Inject Inject
	Env    []Var // in the order of the file; a value may be [EnvPlaceholder]

	Validate Validate

	Positions Positions
}

// Inject is the header that carries a credential.
type Inject struct {
	Header string // as written
	// Format has {token} or {basic} once: the token, and base64 of User:token.
	Format string
	User   string
}

// CheckProviderName reports whether a provider may have this name. It is a file name on every system.
func CheckProviderName(name string) error {
	if !regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`).MatchString(name) {
		return badValue("use 1 to 63 of a-z, 0-9, - and _, with a letter or digit first", "%s is not a name for a provider", shorten(name))
	}
	if name == "list" || name == "show" {
		return badValue("choose another name", "%q is a command: moat grant %s", name, name)
	}
	if name == "ssh" {
		return badValue("choose another name", "ssh is what keys for hosts are called: moat grant ssh:HOST")
	}
	return nil
}

// LoadProvider reads the file of a provider in the folder home, which is $MOAT_HOME. Without one it returns nil and no
// error. Errors are as for [Load]; the folder is the person's own, so links are followed.
func LoadProvider(home, name string) (*Provider, error) {
	if err := CheckProviderName(name); err != nil {
		return nil, err
	}
	dir := ownFolder(filepath.Join(home, ProvidersDir))
	file := name + ".yaml"
	if _, err := dir.Lstat(file); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	data, err := readRegular(dir, file)
	if err != nil {
		return nil, err
	}
	return ParseProvider(dir.join(file), data)
}

// ParseProvider is [Parse] for the text of a provider's file, whose name without its ending is the provider's.
func ParseProvider(name string, data []byte) (*Provider, error) {
	provider := &Provider{File: name, Positions: Positions{}}
	d := newDecoder(name, data, provider.Positions)
	decode(d, providerSchema(), provider)
	if d.count() == 0 {
		d.checkProvider(provider)
	}
	if err := d.err(); err != nil {
		return nil, err
	}
	return provider, nil
}

func providerSchema() schema[Provider] {
	return schema[Provider]{
		elsewhere: func(key string) string {
			if slices.Contains(injectSchema().keys(), key) {
				return "write it in inject"
			}
			return ""
		},
		fields: []field[Provider]{
			{"name", func(d *decoder, at item, p *Provider) { p.Name = d.providerName(at) }},
			{"hosts", func(d *decoder, at item, p *Provider) { p.Hosts = d.exactHosts(at) }},
			{"inject", func(d *decoder, at item, p *Provider) { readMapping(d, injectSchema(), at, &p.Inject) }},
			{"env", func(d *decoder, at item, p *Provider) { p.Env = d.env(at) }},
			{"validate", func(d *decoder, at item, p *Provider) { readMapping(d, validateSchema(), at, &p.Validate) }},
		},
	}
}

func injectSchema() schema[Inject] {
	return schema[Inject]{fields: []field[Inject]{
		{"header", func(d *decoder, at item, in *Inject) { readValue(d, at, parseHeaderName, &in.Header) }},
		{"format", func(d *decoder, at item, in *Inject) { readValue(d, at, parseFormat, &in.Format) }},
		{"user", func(d *decoder, at item, in *Inject) { in.User = d.basicUser(at) }},
	}}
}

// checkProvider reports what is missing, and what does not fit together.
func (d *decoder) checkProvider(p *Provider) {
	missing := func(key, hint string) {
		d.add(Problem{Message: key + " is missing", Hint: hint})
	}
	base := strings.TrimSuffix(filepath.Base(p.File), ".yaml")
	if p.Name == "" {
		missing("name", "write name: "+base)
	} else if at := p.Positions["name"]; p.Name != base {
		d.add(d.source.problem(at.Line, at.Column, "rename one of them", fmt.Sprintf("name: %s is not the name of the file", shorten(p.Name))))
	}
	if p.Hosts == nil {
		missing("hosts", "write hosts: [api.example.com]")
	}
	if p.Inject.Header == "" {
		missing("inject.header", "write inject: {header: Authorization, format: \"Bearer {token}\"}")
	}
	if p.Inject.Format == "" {
		missing("inject.format", `write format: "Bearer {token}", or only "{token}"`)
	}
	if at, ok := p.Positions["inject.user"]; ok && p.Inject.Format != "" && !strings.Contains(p.Inject.Format, "{basic}") {
		d.add(d.source.problem(at.Line, at.Column, "remove it, or use {basic} in the format", "inject.user: the format does not use it"))
	}
	d.checkValidate(p)
}

func (d *decoder) providerName(at item) string {
	name, ok := d.word(at)
	if !ok {
		return ""
	}
	if err := CheckProviderName(name); err != nil {
		d.failErr(at, err)
	}
	return name
}

// exactHosts reads a list of host names, each in its one spelling.
func (d *decoder) exactHosts(at item) []string {
	hosts := []string{}
	for element := range d.elements(at, "write a list, such as [api.example.com]") {
		text, ok := d.word(element)
		if !ok {
			continue
		}
		host, err := exactHost(text)
		switch {
		case err != nil:
			d.failErr(element, err)
		case slices.Contains(hosts, host):
			d.fail(element.node, "keep one of them", "%s: %s is listed twice", element.path, shorten(host))
		default:
			hosts = append(hosts, host)
		}
	}
	if len(at.node.Content) == 0 {
		d.fail(at.node, "name the hosts at which the credential is used", "hosts is empty")
	}
	return hosts
}

func exactHost(text string) (string, error) {
	switch {
	case strings.Contains(text, "://"), strings.Contains(text, "/"):
		return "", badValue("write the name only", "%s is not a host", shorten(text))
	case strings.Contains(text, "*"):
		return "", badValue("write each name out", "%s: a credential is used at exact names only", shorten(text))
	}
	host, err := policy.Name(text)
	if name, port, found := strings.Cut(text, ":"); err != nil && found && !strings.Contains(port, ":") {
		return "", badValue(fmt.Sprintf("write %q", name), "%s: a credential is used on port 443 only", shorten(text))
	}
	if err != nil {
		return "", badValue("", "%s is not a host name: %v", shorten(text), err)
	}
	if host.Name() == "" {
		return "", badValue("write a name, for which a certificate can speak", "%s is an address", shorten(text))
	}
	return host.Name(), nil
}

// parseHeaderName accepts names of headers that say who asks. Those that say what is asked, and of whom, belong to the
// request and the connection (RFC 9110 section 7.2 and 7.6.1, RFC 9112 section 6).
func parseHeaderName(text string) (string, error) {
	taken := []string{"host", "content-length", "content-type", "content-encoding", "transfer-encoding", "connection", "proxy-connection", "keep-alive", "upgrade",
		"te", "trailer", "expect", "via", "forwarded", "range", "proxy-authorization", "proxy-authenticate"}
	switch {
	case !httpguts.ValidHeaderFieldName(text) || len(text) > 64:
		return "", badValue("write a name such as Authorization or X-Api-Key", "%s is not the name of a header", shorten(text))
	case slices.Contains(taken, strings.ToLower(text)):
		return "", badValue("use another header", "%s is not for credentials", shorten(text))
	}
	return text, nil
}

// parseFormat accepts the value of a header with a place for the credential.
func parseFormat(text string) (string, error) {
	const hint = `write for example "Bearer {token}" or "Basic {basic}"`
	rest, places := text, 0
	for _, place := range []string{"{token}", "{basic}"} {
		places += strings.Count(text, place)
		rest = strings.ReplaceAll(rest, place, "")
	}
	switch {
	case places != 1:
		return "", badValue(hint, "%s must have {token} or {basic} once", shorten(text))
	case strings.ContainsAny(rest, "{}"):
		return "", badValue(hint, "%s has something else in braces", shorten(text))
	case strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }), strings.TrimSpace(text) != text, len(text) > 256:
		return "", badValue(hint, "%s cannot be the value of a header", shorten(text))
	}
	return text, nil
}

func (d *decoder) basicUser(at item) string {
	user, ok := d.text(at)
	if ok && strings.ContainsFunc(user, func(r rune) bool { return r < ' ' || r > '~' || r == ':' }) {
		// A colon ends the user (RFC 7617 section 2).
		d.fail(at.node, "", "%s: %s cannot be the user of Basic authentication", at.path, shorten(user))
	}
	return user
}
