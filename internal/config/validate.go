package config

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"moat/internal/policy"
)

// Validate is a request that tells whether a credential is good. It is made when the credential is stored.
type Validate struct {
	URL    string // https, at one of the provider's hosts; empty: there is no such request
	Method string // empty: GET
	Status int    // that a good credential is answered with; 0: any of 200 to 299
}

func validateSchema() schema[Validate] {
	return schema[Validate]{fields: []field[Validate]{
		{"url", func(d *decoder, at item, v *Validate) { readValue(d, at, parseValidateURL, &v.URL) }},
		{"method", func(d *decoder, at item, v *Validate) { readValue(d, at, parseValidateMethod, &v.Method) }},
		{"status", func(d *decoder, at item, v *Validate) { readValue(d, at, parseStatus, &v.Status) }},
	}}
}

func parseValidateURL(text string) (string, error) {
	const hint = `write for example "https://api.example.com/user"`
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return "", badValue(hint, "%s is not a URL", shorten(text))
	case u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.Fragment != "":
		return "", badValue(hint, "%s is not an https URL with a host", shorten(text))
	case u.Port() != "":
		return "", badValue(hint, "%s has a port: a credential is used on port 443 only", shorten(text))
	}
	host, err := policy.Name(u.Hostname())
	if err != nil {
		return "", badValue(hint, "%s is not a URL with a host", shorten(text))
	}
	u.Host = host.Name()
	return u.String(), nil
}

func parseValidateMethod(text string) (string, error) {
	if methods := []string{http.MethodGet, http.MethodHead, http.MethodPost}; !slices.Contains(methods, text) {
		return "", badValue("write GET, HEAD or POST", "%s cannot be used here", shorten(text))
	}
	return text, nil
}

func parseStatus(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 200 || n > 599 {
		return 0, badValue("write the status of the answer to a good credential, such as 200", "%s is not a status", shorten(text))
	}
	return n, nil
}

// checkValidate reports a request that goes elsewhere than the credential.
func (d *decoder) checkValidate(p *Provider) {
	at, asked := p.Positions["validate"]
	if !asked {
		return
	}
	u, err := url.Parse(p.Validate.URL)
	switch {
	case p.Validate.URL == "":
		d.add(d.source.problem(at.Line, at.Column, `write validate: {url: "https://…"}`, "validate.url is missing"))
	case err != nil || !slices.Contains(p.Hosts, u.Host):
		d.add(d.source.problem(at.Line, at.Column, "name one of hosts", "validate.url: "+shorten(u.Host)+" is not a host of the provider"))
	}
}
