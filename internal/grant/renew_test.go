package grant

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"moat/internal/secret"
)

// tokenServer is an authorisation server that takes each refresh token once.
type tokenServer struct {
	*httptest.Server
	mu      sync.Mutex
	n       int    // tokens given
	refresh string // that is good now
	asked   []string
	fail    int // status to answer with instead
}

func newTokenServer(t *testing.T) *tokenServer {
	s := &tokenServer{refresh: "refresh-0"}
	s.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		var q map[string]string
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
			t.Error(err)
		}
		s.asked = append(s.asked, r.Host+r.URL.Path+" "+q["grant_type"]+" "+q["client_id"])
		if s.fail != 0 || q["refresh_token"] != s.refresh {
			w.WriteHeader(max(s.fail, 400))
			fmt.Fprintf(w, `{"error": {"type": "invalid_grant", "message": "about %s"}}`, q["refresh_token"])
			return
		}
		s.n++
		s.refresh = fmt.Sprintf("refresh-%d", s.n)
		fmt.Fprintf(w, `{"access_token": "sk-ant-oat01-new-%d", "refresh_token": %q, "expires_in": 28800}`, s.n, s.refresh)
	}))
	t.Cleanup(s.Close)
	return s
}

// client reaches the server by any name.
func (s *tokenServer) client() *http.Client {
	c := s.Client()
	transport := c.Transport.(*http.Transport).Clone()
	transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, s.Listener.Addr().String())
	}
	transport.TLSClientConfig.ServerName = "example.com"
	return &http.Client{Transport: transport}
}

func (s *tokenServer) given() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n
}

// claudeBook has a token that ends at noon and can be renewed once it is nearly that.
func claudeBook(t *testing.T, s *tokenServer) (*Book, *time.Time) {
	t.Helper()
	b := newBook(t)
	now := time.Date(2026, 6, 1, 10, 0, 0, 0, time.UTC)
	var mu sync.Mutex
	b.Now = func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return now
	}
	b.UserHome, b.HTTP = t.TempDir(), s.client()
	save(t, b, Credential{Provider: "claude", Token: secret.New("sk-ant-oat01-old"), Refresh: secret.New("refresh-0"), ExpiresAt: now.Add(2 * time.Hour), Source: "~/.claude/.credentials.json"})
	return b, &now
}

func bearer(g Ready) (string, error) {
	r, err := http.NewRequest("POST", "https://api.anthropic.com/v1/messages", nil)
	if err != nil {
		return "", err
	}
	err = g.Inject(context.Background(), r)
	return r.Header.Get("Authorization"), err
}

// A token is renewed shortly before its end, once for all runs, in the header in which it always was, and kept.
func TestRenew(t *testing.T) {
	s := newTokenServer(t)
	b, now := claudeBook(t, s)
	other := &Book{Home: b.Home, Store: secret.Open(b.Home, nil), Now: b.Now, HTTP: b.HTTP, UserHome: b.UserHome}
	runs := []Ready{load(t, b, "claude")[0], load(t, b, "claude")[0], load(t, other, "claude")[0]}
	for _, g := range runs {
		if got, err := bearer(g); got != "Bearer sk-ant-oat01-old" || err != nil {
			t.Errorf("in time: %q, %v", got, err)
		}
	}
	*now = now.Add(2*time.Hour - time.Minute)
	var all sync.WaitGroup
	for _, g := range runs {
		for range 10 {
			all.Go(func() {
				if got, err := bearer(g); got != "Bearer sk-ant-oat01-new-1" || err != nil {
					t.Errorf("renewed: %q, %v", got, err)
				}
			})
		}
	}
	all.Wait()
	if s.given() != 1 || s.asked[0] != "console.anthropic.com/v1/oauth/token refresh_token 9d1c250a-e61b-44d9-88ed-5944d1962f5e" {
		t.Errorf("%d tokens were given for %q", s.given(), s.asked)
	}
	c, err := b.Read(t.Context(), Ref{Provider: "claude"})
	if err != nil || c.Token.Expose() != "sk-ant-oat01-new-1" || c.Refresh.Expose() != "refresh-1" || !c.ExpiresAt.Equal(now.Add(8*time.Hour)) || c.CreatedAt.Equal(*now) {
		t.Errorf("stored: %+v, %v", c, err)
	}
	if secrets := strings.Join(runs[0].Secrets(), " "); !strings.Contains(secrets, "new-1") || !strings.Contains(secrets, "refresh-1") {
		t.Error("the new token is not among the secrets")
	}
	if runs[0].Rejected() {
		t.Error("a token that is new is renewed because of a 401")
	}
	*now = now.Add(10 * time.Minute)
	if !runs[0].Rejected() || runs[0].Rejected() {
		t.Error("a rejected token is not renewed, or twice")
	}
	if got, err := bearer(runs[0]); got != "Bearer sk-ant-oat01-new-2" || err != nil {
		t.Errorf("after it was rejected: %q, %v", got, err)
	}
}

// A client that goes away does not end a renewal, whose result would be lost.
func TestRenewOutlivesItsRequest(t *testing.T) {
	s := newTokenServer(t)
	b, now := claudeBook(t, s)
	g := load(t, b, "claude")[0]
	*now = now.Add(3 * time.Hour)
	r, err := http.NewRequest("POST", "https://api.anthropic.com/", nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 3 { // select may also see the end of the request first
		_ = g.Inject(ctx, r)
	}
	if got, err := bearer(g); got != "Bearer sk-ant-oat01-new-1" || err != nil || s.given() != 1 {
		t.Errorf("%q, %v, %d", got, err, s.given())
	}
}

// What cannot be renewed is used as long as it is good, and afterwards is an error that says why and what to type.
func TestRenewFails(t *testing.T) {
	s := newTokenServer(t)
	b, now := claudeBook(t, s)
	var told []error
	b.Trouble = func(err error) { told = append(told, err) }
	g := load(t, b, "claude")[0]
	s.mu.Lock()
	s.fail = 503
	s.mu.Unlock()
	*now = now.Add(2*time.Hour - time.Minute)
	for range 3 { // one question, then a pause
		if got, err := bearer(g); got != "Bearer sk-ant-oat01-old" || err != nil {
			t.Errorf("still good: %q, %v", got, err)
		}
	}
	if len(told) != 1 || len(s.asked) != 1 || !errors.Is(told[0], ErrRenew) {
		t.Errorf("%v, asked %v", told, s.asked)
	}
	*now = now.Add(time.Hour)
	_, err := bearer(g)
	if !errors.Is(err, ErrExpired) || !errors.Is(err, ErrRenew) || !strings.Contains(err.Error(), "moat grant claude") || strings.Contains(err.Error(), "refresh-0") {
		t.Errorf("over: %v", err)
	}
	if _, err := b.Load(t.Context(), []string{"claude"}, seed(1)); !errors.Is(err, ErrExpired) {
		t.Errorf("a new run: %v", err)
	}
	if err := b.Store.Remove("claude"); err != nil {
		t.Fatal(err)
	}
	*now = now.Add(time.Hour)
	asked := len(s.asked)
	if _, err := bearer(g); !errors.Is(err, secret.ErrNotFound) || len(s.asked) != asked {
		t.Errorf("revoked: %v", err)
	}
}

// What Claude Code has renewed by itself is taken instead of logging it out.
func TestRenewFromLogin(t *testing.T) {
	s := newTokenServer(t)
	b, now := claudeBook(t, s)
	g := load(t, b, "claude")[0]
	*now = now.Add(2 * time.Hour)
	login := fmt.Sprintf(`{"claudeAiOauth":{"accessToken":"sk-ant-oat01-theirs","refreshToken":"refresh-theirs","expiresAt":%d}}`, now.Add(time.Hour).UnixMilli())
	if err := errors.Join(os.Mkdir(filepath.Join(b.UserHome, ".claude"), 0o700), os.WriteFile(filepath.Join(b.UserHome, ".claude", ".credentials.json"), []byte(login), 0o600)); err != nil {
		t.Fatal(err)
	}
	if got, err := bearer(g); got != "Bearer sk-ant-oat01-theirs" || err != nil || s.given() != 0 {
		t.Errorf("%q, %v, %d", got, err, s.given())
	}
}
