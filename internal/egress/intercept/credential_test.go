package intercept

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"encoding/base64"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"moat/internal/egress"
)

func pack(coding string, text []byte) []byte {
	var b bytes.Buffer
	switch coding {
	case "gzip":
		w := gzip.NewWriter(&b)
		w.Write(text)
		w.Close()
	case "deflate":
		w := zlib.NewWriter(&b)
		w.Write(text)
		w.Close()
	default:
		b.Write(text)
	}
	return b.Bytes()
}

func TestPlaceholders(t *testing.T) {
	grant := labGrant()
	grant.Inject = func(context.Context, *http.Request) error { return nil }
	other := egress.Grant{Name: "other", Hosts: []string{"other.lab.test"}, Placeholders: []string{"moat-other-0123456789"}, Inject: grant.Inject}
	basic := func(user string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte("user:"+user)) }
	encoded := strings.ReplaceAll(placeholder, "-", "%2D")
	for _, p := range []struct {
		name, host, uri string
		header, value   string
		status          int
		uriSeen         string
		valueSeen       string
	}{
		{"header", "cred.lab.test:443", "/", "X-Lab-Token", placeholder, 200, "/", token},
		{"inside a header", "cred.lab.test:443", "/", "Authorization", "token " + placeholder, 200, "/", "token " + token},
		{"twice (C17)", "cred.lab.test:443", "/", "X-Lab-Token", placeholder + placeholder, 200, "/", token + token},
		{"in Basic", "cred.lab.test:443", "/", "Authorization", basic(placeholder), 200, "/", basic(token)},
		{"half (C17)", "cred.lab.test:443", "/", "X-Lab-Token", placeholder[:20], 200, "/", placeholder[:20]},
		{"query", "cred.lab.test:443", "/?a=1&key=" + placeholder + "&b=" + encoded, "X", "1", 200, "/?a=1&key=" + url.QueryEscape(token) + "&b=" + url.QueryEscape(token), "1"},
		{"path (C19)", "cred.lab.test:443", "/" + placeholder, "X", "1", 200, "/" + placeholder, "1"},
		{"foreign", "cred.lab.test:443", "/?access_token=x&q=1", "Authorization", "Bearer foreign", 200, "/?q=1", ""},
		{"foreign cookie (C15)", "cred.lab.test:443", "/", "Cookie", "session=1", 200, "/", ""},
		{"foreign elsewhere", "plain.lab.test:443", "/?access_token=x", "Authorization", "Bearer foreign", 200, "/?access_token=x", "Bearer foreign"},

		{"another grant's", "cred.lab.test:443", "/", "X", "moat-other-0123456789", 403, "", ""},
		{"another host", "plain.lab.test:443", "/", "X", placeholder, 403, "", ""},
		{"another host, Basic", "plain.lab.test:443", "/", "Authorization", basic(placeholder), 403, "", ""},
		{"another host, query", "plain.lab.test:443", "/?x=" + encoded, "X", "1", 403, "", ""},
		{"another host, path", "plain.lab.test:443", "/x/" + encoded, "X", "1", 403, "", ""},
		{"another host, hex", "plain.lab.test:443", "/", "X", hexOf(placeholder), 403, "", ""},
		{"plain http", "cred.lab.test:80", "/", "X", placeholder, 403, "", ""},
		{"another port (C11)", "cred.lab.test:9443", "/", "X", placeholder, 403, "", ""},
	} {
		inBoth(t, func(t *testing.T, two bool) {
			if two && strings.HasSuffix(p.host, ":80") {
				return
			}
			l := newLab(t, labOptions{grants: []egress.Grant{grant, other}, capture: egress.CaptureHeaders})
			uri, value := "", ""
			h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { uri, value = r.RequestURI, r.Header.Get(p.header) })
			l.outside(p.host, h)
			scheme := "https://"
			if strings.HasSuffix(p.host, ":80") {
				scheme = "http://"
			}
			answer, body := get(t, l.client(p.host, two), scheme+p.host+p.uri, func(r *http.Request) { r.Header.Set(p.header, p.value) })
			if answer.StatusCode != p.status || uri != p.uriSeen || value != p.valueSeen {
				t.Errorf("%s: %d, outside arrived %q, %q", p.name, answer.StatusCode, uri, value)
			}
			rec := l.records.wait(t, 1)[0]
			if refused := p.status == 403; refused != (rec.Decision == "deny") || refused != strings.HasPrefix(rec.Rule, "leak: placeholder of ") || refused == (body == "") {
				t.Errorf("%s: recorded %+v, body %q", p.name, rec, body)
			}
			if text := l.records.text(t); strings.Contains(text, placeholder) || strings.Contains(text, token) || strings.Contains(text, "foreign\"") {
				t.Errorf("%s: recorded %s", p.name, text)
			}
		})
	}
}

// TestForeignAllowed: what else a program sends to the grant's host arrives, and the grant's header is the grant's.
func TestForeignAllowed(t *testing.T) {
	grant := labGrant()
	grant.Foreign = true
	inBoth(t, func(t *testing.T, two bool) {
		l := newLab(t, labOptions{grants: []egress.Grant{grant}})
		var uri string
		var header http.Header
		l.outside("cred.lab.test:443", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { uri, header = r.RequestURI, r.Header }))
		answer, _ := get(t, l.client("cred.lab.test:443", two), "https://cred.lab.test/?access_token=x&q=1", func(r *http.Request) {
			r.Header.Set("Authorization", "Bearer foreign")
			r.Header.Set("X-Api-Key", "foreign")
			r.Header.Set("Cookie", "session=1")
		})
		if answer.StatusCode != 200 || uri != "/?access_token=x&q=1" || header.Get("X-Api-Key") != "foreign" || header.Get("Cookie") != "session=1" {
			t.Errorf("%d, outside arrived %q, %v", answer.StatusCode, uri, header)
		}
		if got := header.Get("Authorization"); got != "Bearer "+token {
			t.Errorf("the grant's header is %q", got)
		}
		if rec := l.records.wait(t, 1)[0]; strings.Contains(rec.Rule, "removed") {
			t.Errorf("recorded %+v", rec)
		}
	})
}

func hexOf(s string) string {
	const digits = "0123456789abcdef"
	var b strings.Builder
	for i := range len(s) {
		b.WriteByte(digits[s[i]>>4])
		b.WriteByte(digits[s[i]&15])
	}
	return b.String()
}

// Nothing is put in on port 80 or on another port (C11), with HTTP/1.1 or 2.
func TestOnlyOverTLSOn443(t *testing.T) {
	l := newLab(t, labOptions{grants: []egress.Grant{labGrant()}})
	for _, host := range []string{"cred.lab.test:80", "cred.lab.test:9443", "cred.lab.test:8080"} {
		seen := "nothing"
		l.outside(host, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { seen = r.Header.Get("Authorization") }))
		scheme := "http://"
		if strings.HasSuffix(host, "443") {
			scheme = "https://"
		}
		if answer, _ := get(t, l.client(host, false), scheme+host+"/"); answer.StatusCode != 200 || seen != "" {
			t.Errorf("%s: %d, %q", host, answer.StatusCode, seen)
		}
	}
}

// A grant whose credential cannot be used, or that would lead elsewhere, sends nothing, and says nothing secret.
func TestInjectFails(t *testing.T) {
	for name, inject := range map[string]func(context.Context, *http.Request) error{
		"error":    func(context.Context, *http.Request) error { return errTest },
		"redirect": func(_ context.Context, r *http.Request) error { r.URL.Host = "deny.lab.test"; return nil },
		"host":     func(_ context.Context, r *http.Request) error { r.Host = "deny.lab.test"; return nil },
	} {
		grant := labGrant()
		grant.Inject = inject
		l := newLab(t, labOptions{grants: []egress.Grant{grant}})
		l.outside("cred.lab.test:443", http.HandlerFunc(echo))
		answer, body := get(t, l.client("cred.lab.test:443", false), "https://cred.lab.test/")
		if answer.StatusCode != 502 || strings.Contains(body, token) || len(l.dialled()) > 0 {
			t.Errorf("%s: %d %q, dialled %v", name, answer.StatusCode, body, l.dialled())
		}
		if text := l.records.text(t); strings.Contains(text, token) {
			t.Errorf("%s: recorded %s", name, text)
		}
	}
}

// A secret that a grant has got anew is scrubbed from the first answer on, and the former one still is.
func TestRenewedSecret(t *testing.T) {
	grant, current := labGrant(), token
	grant.Secrets = func() []string { return []string{current} }
	grant.Inject = func(_ context.Context, r *http.Request) error {
		current = token + "-renewed"
		r.Header.Set("Authorization", "Bearer "+current)
		return nil
	}
	l := newLab(t, labOptions{grants: []egress.Grant{grant}})
	l.outside("cred.lab.test:443", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Write([]byte(r.Header.Get("Authorization") + " " + token))
	}))
	_, body := get(t, l.client("cred.lab.test:443", false), "https://cred.lab.test/")
	if want := "Bearer " + strings.Repeat("*", len(current)) + " " + strings.Repeat("*", len(token)); body != want {
		t.Errorf("%q, want %q", body, want)
	}
}

// Redirects are the client's business: the credential does not follow (C09).
func TestRedirect(t *testing.T) {
	l := newLab(t, labOptions{grants: []egress.Grant{labGrant()}})
	l.outside("cred.lab.test:443", http.RedirectHandler("https://plain.lab.test/", http.StatusFound))
	answer, _ := get(t, l.client("cred.lab.test:443", false), "https://cred.lab.test/")
	if answer.StatusCode != 302 || answer.Header.Get("Location") != "https://plain.lab.test/" || len(l.dialled()) != 1 {
		t.Errorf("%d %v, dialled %v", answer.StatusCode, answer.Header, l.dialled())
	}
}

// Who looks after the run is told of a credential that a server does not accept, and of nothing else.
func TestRejected(t *testing.T) {
	inBoth(t, func(t *testing.T, two bool) {
		l := newLab(t, labOptions{grants: []egress.Grant{labGrant()}})
		var told []egress.Rejection
		l.interceptor.config.Rejected = func(r egress.Rejection) { told = append(told, r) }
		answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			status, _ := strconv.Atoi(r.URL.Path[1:])
			w.WriteHeader(status)
		})
		l.outside("cred.lab.test:443", answer)
		l.outside("plain.lab.test:443", answer)
		for _, url := range []string{"https://cred.lab.test/200", "https://cred.lab.test/404", "https://plain.lab.test/401", "https://cred.lab.test/401", "https://cred.lab.test/403"} {
			get(t, l.client(strings.Split(url, "/")[2]+":443", two), url)
		}
		if len(told) != 2 || told[0].Status != 401 || told[1].Status != 403 || told[0].Grant != "lab" || told[0].Host.String() != "cred.lab.test" {
			t.Errorf("%+v", told)
		}
	})
}
