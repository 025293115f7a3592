package intercept

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"moat/internal/egress"
	"moat/internal/journal"
	"moat/internal/policy"
)

func get(t testing.TB, c *http.Client, url string, edit ...func(*http.Request)) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequest("GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range edit {
		e(r)
	}
	return do(t, c, r)
}

func do(t testing.TB, c *http.Client, r *http.Request) (*http.Response, string) {
	t.Helper()
	answer, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatalf("%v after %q", err, body)
	}
	return answer, string(body)
}

func TestCredential(t *testing.T) {
	for _, two := range []bool{false, true} {
		t.Run(fmt.Sprintf("two=%v", two), func(t *testing.T) {
			l := newLab(t, labOptions{grants: []egress.Grant{labGrant()}, capture: egress.CaptureBodies})
			var seen []string
			l.outside("cred.lab.test:443", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				seen = append(seen, r.Proto+" "+r.Header.Get("Authorization"))
				echo(w, r)
			}))
			c := l.client("cred.lab.test:443", two)
			answer, body := get(t, c, "https://cred.lab.test/a%62?x=1", func(r *http.Request) { r.Header.Set("Authorization", "Bearer foreign") })
			want := "HTTP/1.1"
			if two {
				want = "HTTP/2.0"
			}
			if answer.StatusCode != 200 || len(seen) != 1 || seen[0] != want+" Bearer "+token {
				t.Fatalf("%d, the server saw %q", answer.StatusCode, seen)
			}
			if strings.Contains(body, token) || !strings.Contains(body, strings.Repeat("*", len(token))) || !strings.Contains(body, `"/ab?x=1"`) {
				t.Errorf("the sandbox got %s", body)
			}
			if got := answer.Header.Get("X-Seen-Authorization"); got != "Bearer "+strings.Repeat("*", len(token)) {
				t.Errorf("the sandbox got the header %q", got)
			}
			rec := l.records.wait(t, 1)[0]
			if rec.Kind != journal.KindHTTP || rec.URL != "https://cred.lab.test/ab?x=1" || *rec.Status != 200 || rec.Grant == nil || *rec.Grant != "lab" ||
				rec.Decision != journal.Allowed || !strings.Contains(rec.Rule, "removed foreign Authorization") || rec.BytesIn != int64(len(body)) ||
				rec.Error != nil || rec.Truncated || !strings.HasPrefix(rec.Address, "127.0.0.1:") {
				t.Errorf("%+v", rec)
			}
			if text := l.records.text(t); strings.Contains(text, token) || strings.Contains(text, "foreign\"") {
				t.Errorf("recorded: %s", text)
			}
		})
	}
}

func TestPolicy(t *testing.T) {
	l := newLab(t, labOptions{policy: policy.Config{Rules: []policy.HostRules{{Host: "ro.lab.test", Rules: []string{"allow GET /pub/**"}}}}})
	l.outside("ro.lab.test:443", http.HandlerFunc(echo))
	l.outside("ro.lab.test:80", http.HandlerFunc(echo))
	c := l.client("ro.lab.test:443", false)
	if answer, _ := get(t, c, "https://ro.lab.test/pub/x"); answer.StatusCode != 200 {
		t.Errorf("allowed: %d", answer.StatusCode)
	}
	answer, body := get(t, c, "https://ro.lab.test/x")
	if answer.StatusCode != 403 || answer.Header.Get(egress.BlockedHeader) != egress.BlockedValue || !strings.Contains(body, "blocked by network policy") {
		t.Errorf("refused inside TLS: %d %v %s", answer.StatusCode, answer.Header, body)
	}
	answer, _ = get(t, l.client("ro.lab.test:80", false), "http://ro.lab.test/pub/../x")
	if answer.StatusCode != 407 {
		t.Errorf("refused in plain HTTP: %d", answer.StatusCode)
	}
	if r := <-l.refusals; r.Host.String() != "ro.lab.test" || r.Rule == "" {
		t.Errorf("%+v", r)
	}
}
