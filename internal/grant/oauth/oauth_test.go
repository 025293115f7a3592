package oauth

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"moat/internal/secret"
)

// A person types the code after a while; the server asks to be slower once.
func TestDevice(t *testing.T) {
	answers := []string{`{"error":"authorization_pending"}`, `{"error":"authorization_pending"}`, `{"access_token":"gho_x","token_type":"bearer","scope":"repo,read:org"}`}
	var asked []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		asked = append(asked, r.URL.Path+" "+r.Form.Encode()+" "+r.Header.Get("Accept"))
		if r.URL.Path == "/code" {
			fmt.Fprint(w, `{"device_code":"dev","user_code":"ABCD-1234","verification_uri":"https://github.test/login/device","expires_in":60,"interval":1}`)
			return
		}
		fmt.Fprint(w, answers[0])
		answers = answers[1:]
	}))
	defer s.Close()
	e := Endpoint{DeviceURL: s.URL + "/code", TokenURL: s.URL + "/token", Client: "app"}
	d, err := e.Device(t.Context(), s.Client(), []string{"repo", "read:org"}, time.Now())
	if err != nil || d.UserCode != "ABCD-1234" || d.URL != "https://github.test/login/device" || d.interval != time.Second {
		t.Fatalf("%+v, %v", d, err)
	}
	d.interval = time.Millisecond
	token, err := e.Await(t.Context(), s.Client(), d)
	if err != nil || token.Access.Expose() != "gho_x" || !slices.Equal(token.Scopes, []string{"repo", "read:org"}) || !token.ExpiresAt.IsZero() {
		t.Errorf("%+v, %v", token, err)
	}
	want := []string{"/code client_id=app&scope=repo+read%3Aorg application/json", "/token client_id=app&device_code=dev&grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code application/json"}
	if len(asked) != 4 || asked[0] != want[0] || asked[1] != want[1] {
		t.Errorf("asked %q", asked)
	}
}

func TestDeviceEnds(t *testing.T) {
	var answer atomic.Value // a request that was given up may still be being answered
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, answer.Load()) }))
	defer s.Close()
	e := Endpoint{DeviceURL: s.URL, TokenURL: s.URL, Client: "app"}
	d := Device{interval: time.Millisecond, expires: time.Now().Add(time.Minute), code: secret.New("dev")}
	for _, bad := range []string{`{"error":"access_denied"}`, "[]", `{}`, "hidden"} {
		answer.Store(bad)
		if _, err := e.Await(t.Context(), s.Client(), d); err == nil || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: %v", bad, err)
		}
	}
	answer.Store(`{"error":"expired_token"}`)
	if _, err := e.Await(t.Context(), s.Client(), d); !errors.Is(err, ErrTooLate) {
		t.Errorf("expired: %v", err)
	}
	answer.Store(`{"error":"authorization_pending"}`)
	d.expires = time.Now().Add(20 * time.Millisecond)
	if _, err := e.Await(t.Context(), s.Client(), d); !errors.Is(err, ErrTooLate) {
		t.Errorf("too late: %v", err)
	}
	for _, bad := range []string{`{}`, `{"device_code":"d","user_code":"A B\u001b[2J","verification_uri":"https://x.test"}`, `{"device_code":"d","user_code":"ABCD","verification_uri":"http://x.test"}`} {
		answer.Store(bad)
		if d, err := e.Device(t.Context(), s.Client(), nil, time.Now()); err == nil {
			t.Errorf("%s: %+v", bad, d)
		}
	}
}

func TestRefreshErrors(t *testing.T) {
	status, answer := 0, ""
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
		fmt.Fprint(w, answer)
	}))
	defer s.Close()
	client := s.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	for _, v := range []struct {
		status int
		answer string
		lost   bool
	}{
		{400, `{"error":"invalid_grant","error_description":"hidden"}`, true},
		{200, `{"error":"bad_refresh_token"}`, true},
		{500, `hidden`, false}, {302, ``, false}, {200, `{"access_token":7}`, false}, {200, `{"error":{"type":"hidden secret"}}`, false},
		{200, strings.Repeat(" ", maxAnswer) + `{"access_token":"x"}`, false},
	} {
		status, answer = v.status, v.answer
		token, err := Endpoint{TokenURL: s.URL, Client: "app"}.Refresh(t.Context(), client, secret.New("r"), time.Now())
		said, _ := errors.AsType[*Error](err)
		if err == nil || said != nil && said.Lost() != v.lost || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%d %.40s: %+v, %v", v.status, v.answer, token, err)
		}
	}
}
