package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestRenewedLogin imports the login of Claude Code, whose token is over, and uses it: the supervisor renews it, once for two
// runs, and says so when it cannot.
func TestRenewedLogin(t *testing.T) {
	l := newLab(t, "command: [sleep, \"1000\"]\n")
	var mu sync.Mutex
	given, dead := 0, false
	l.world(t, map[string]http.Handler{
		"console.anthropic.com": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			var q map[string]string
			if json.NewDecoder(r.Body).Decode(&q) != nil || q["refresh_token"] != fmt.Sprintf("real-refresh-%d", given) || dead {
				w.WriteHeader(http.StatusBadRequest)
				fmt.Fprint(w, `{"error":"invalid_grant"}`)
				return
			}
			given++
			fmt.Fprintf(w, `{"access_token":"sk-ant-oat01-real-%d","refresh_token":"real-refresh-%d","expires_in":3600}`, given, given)
		}),
		"api.anthropic.com": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // or else curl 7.88 stumbles over the answer to half of a request
			mu.Lock()
			defer mu.Unlock()
			if r.Header.Get("Authorization") != fmt.Sprintf("Bearer sk-ant-oat01-real-%d", given) || dead {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			fmt.Fprintf(w, "welcome %s", r.Header.Get("X-Api-Key"))
		}),
	})
	login := fmt.Sprintf(`{"claudeAiOauth":{"accessToken":"sk-ant-oat01-real-0","refreshToken":"real-refresh-0","expiresAt":%d,"scopes":["user:inference"]}}`, time.Now().Add(-time.Hour).UnixMilli())
	file := filepath.Join(strings.TrimPrefix(l.env[0], "HOME="), ".claude", ".credentials.json")
	if os.MkdirAll(filepath.Dir(file), 0o700) != nil || os.WriteFile(file, []byte(login), 0o600) != nil {
		t.Fatal("the login cannot be written")
	}
	if out := l.store(t, "", "claude", "--import"); !strings.Contains(out, "runs that use it renew it") || !strings.Contains(out, "may log the other out") {
		t.Errorf("it says %s", out)
	}
	for _, name := range []string{"lab", "other"} {
		if out, code := l.moat("run", "-d", "-n", name, "--grant", "claude"); code != 0 {
			t.Fatalf("run: exit code %d, %s", code, out)
		}
	}
	defer l.moat("destroy", "-f", "other")
	const ask = `curl -sS -m 30 -w " %{http_code}" -H "Authorization: Bearer $CLAUDE_CODE_OAUTH_TOKEN" https://api.anthropic.com/v1/messages -d "{}"`
	for range 2 {
		for _, name := range []string{"lab", "other"} {
			if out, _ := l.moat("exec", name, "--", "sh", "-c", ask); out != "welcome  200" {
				t.Errorf("%s: %q", name, out)
			}
		}
		l.killSupervisorOf(t, "lab")
	}
	mu.Lock()
	if given != 1 {
		t.Errorf("it was renewed %d times", given)
	}
	dead = true
	mu.Unlock()
	for _, want := range []string{" 401", " 401"} { // renewing after the first one fails, and the token is still in time
		if out, _ := l.inside(ask); out != want {
			t.Errorf("revoked: %q, want %q", out, want)
		}
	}
	if out, _ := l.moat("grant", "list", "--json"); !strings.Contains(out, `"renewed": true`) {
		t.Errorf("list: %s", out)
	}
	for _, secret := range []string{"sk-ant-oat01-real", "real-refresh"} {
		l.searchFor(t, secret)
	}
}

// TestDeviceLogin logs in to GitHub with a code.
func TestDeviceLogin(t *testing.T) {
	l := newLab(t, "command: [sleep, \"1000\"]\n")
	var mu sync.Mutex
	asked := ""
	l.world(t, map[string]http.Handler{"github.com": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		_ = r.ParseForm()
		asked += r.URL.Path + " " + r.Form.Get("client_id") + " " + r.Form.Get("scope") + "\n"
		switch {
		case r.URL.Path == "/login/device/code":
			fmt.Fprint(w, `{"device_code":"d","user_code":"WDJB-MJHT","verification_uri":"https://github.com/login/device","expires_in":900,"interval":1}`)
		case strings.Count(asked, "access_token") == 1:
			fmt.Fprint(w, `{"error":"authorization_pending"}`)
		default:
			fmt.Fprint(w, `{"access_token":"gho_real","token_type":"bearer","scope":"repo"}`)
		}
	})})
	l.env = append(l.env, "MOAT_GITHUB_CLIENT_ID=Iv1.lab")
	if out := l.store(t, "", "github:repo"); !strings.Contains(out, "open https://github.com/login/device and type the code WDJB-MJHT") {
		t.Errorf("it says %s", out)
	}
	if want := "/login/device/code Iv1.lab repo\n/login/oauth/access_token Iv1.lab \n/login/oauth/access_token Iv1.lab \n"; asked != want {
		t.Errorf("asked\n%s, want\n%s", asked, want)
	}
	if out, _ := l.moat("grant", "show", "github", "--reveal"); out != "gho_real\n" {
		t.Errorf("stored %q", out)
	}
}
