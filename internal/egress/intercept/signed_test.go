package intercept

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"moat/internal/egress"
)

// unfitError is what a grant says of a request that it is not used for.
type unfitError struct{}

func (unfitError) Error() string { return "unfit" }
func (unfitError) Unfit() string { return "it is signed with " + token }

// signingGrant signs by putting the hash of nothing into a header; requests that ask for it are unfit.
func signingGrant() egress.Grant {
	return egress.Grant{
		Name: "signing", Hosts: []string{"*.cloud.lab.test"}, Placeholders: []string{placeholder}, Signs: true,
		Secrets: func() []string { return []string{token} },
		Inject: func(_ context.Context, r *http.Request) error {
			if r.Header.Get("X-Unfit") != "" {
				return unfitError{}
			}
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return errors.Join(unfitError{}, err)
			}
			r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(bytes.ToUpper(body))), int64(len(body))
			r.Header.Set("Authorization", "signed, was "+r.Header.Get("Authorization"))
			return nil
		},
	}
}

// A grant that signs covers all names below its domain, decides about the client's signature, and leaves parts and codings
// of answers alone.
func TestSigningGrant(t *testing.T) {
	inBoth(t, func(t *testing.T, two bool) {
		l := newLab(t, labOptions{grants: []egress.Grant{signingGrant()}})
		for _, host := range []string{"a.cloud.lab.test:443", "a.b.cloud.lab.test:443", "cloud.lab.test:443"} {
			var seen *http.Request
			var sent []byte
			l.outside(host, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				seen = r
				sent, _ = io.ReadAll(r.Body)
				w.Header().Set("Content-Encoding", "br")
				w.WriteHeader(http.StatusPartialContent)
				io.WriteString(w, "part")
			}))
			client := l.client(host, two)
			r, err := http.NewRequest("POST", "https://"+host+"/?X-Amz-Signature=1&token=foreign", strings.NewReader("body"))
			if err != nil {
				t.Fatal(err)
			}
			r.Header = http.Header{"Authorization": {"AWS4 " + placeholder}, "Range": {"bytes=0-3"}, "Accept-Encoding": {"br"}, "Cookie": {"foreign=1"}}
			answer, err := client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(answer.Body)
			answer.Body.Close()
			if host == "cloud.lab.test:443" {
				if answer.StatusCode != 403 { // it is not below itself, and the placeholder is not for it
					t.Errorf("%s: %d", host, answer.StatusCode)
				}
				continue
			}
			if err != nil || answer.StatusCode != 206 || string(body) != "part" || string(sent) != "BODY" {
				t.Errorf("%s: %d %q %v, sent %q", host, answer.StatusCode, body, err, sent)
			}
			h := seen.Header
			if h.Get("Authorization") != "signed, was AWS4 "+placeholder || h.Get("Range") == "" || h.Get("Accept-Encoding") != "br" || h.Get("Cookie") != "" || seen.URL.RawQuery != "X-Amz-Signature=1" {
				t.Errorf("%s: %v %s", host, h, seen.URL)
			}
		}
	})
}

// A request that a grant does not fit is refused with the reason, which holds no secret.
func TestUnfit(t *testing.T) {
	l := newLab(t, labOptions{grants: []egress.Grant{signingGrant()}})
	l.outside("a.cloud.lab.test:443", http.HandlerFunc(echo))
	answer, body := get(t, l.client("a.cloud.lab.test:443", false), "https://a.cloud.lab.test/", func(r *http.Request) { r.Header.Set("X-Unfit", "1") })
	if answer.StatusCode != 403 || answer.Header.Get(egress.BlockedHeader) != "credential" || !strings.Contains(body, "it is signed with") || strings.Contains(body, token) || len(l.dialled()) > 0 {
		t.Errorf("%d %q, dialled %v", answer.StatusCode, body, l.dialled())
	}
	if text := l.records.text(t); !strings.Contains(text, `"decision":"deny"`) || !strings.Contains(text, "grant signing: it is signed with") || strings.Contains(text, token) {
		t.Errorf("recorded %s", text)
	}
}
