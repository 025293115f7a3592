package grant

import (
	"encoding/base64"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http/httpguts"

	"moat/internal/config"
	"moat/internal/policy"
	"moat/internal/secret"
)

// Every provider that moat knows is complete.
func TestBuiltinProvidersAreWhole(t *testing.T) {
	forms := map[string]string{
		"anthropic": `^sk-ant-api03-[\w-]{93}AA$`, "aws": `^AKIA[A-Z2-7]{16}$`, "claude": `^sk-ant-oat01-[\w-]{93}AA$`, "gemini": `^AIza[\w-]{35}$`,
		"github": `^ghp_[A-Za-z0-9]{36}$`, "gitlab": `^glpat-[\w-]{20}$`, "npm": `^npm_[A-Za-z0-9]{36}$`,
		"openai": `^sk-[\w-]{40,}$`, "pypi": `^pypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{70,}$`,
	}
	for _, p := range builtin() {
		if err := config.CheckProviderName(p.Name); err != nil {
			t.Error(err)
		}
		if err := secret.CheckName(p.Name); err != nil {
			t.Error(err)
		}
		for _, host := range append(append([]string{}, p.Hosts...), p.Reach...) {
			if h, err := policy.ParsePattern(host); err != nil || h.String() != host {
				t.Errorf("%s: host %q: %v", p.Name, host, err)
			}
		}
		mark, err := p.placeholder(seed(1))
		if err != nil || !regexp.MustCompile(forms[p.Name]).MatchString(mark) || forms[p.Name] == "" {
			t.Errorf("%s: the placeholder is %q, %v", p.Name, mark, err)
		}
		if doubt, err := p.Check(secret.New(mark)); doubt != "" || err != nil {
			t.Errorf("%s would not take its own placeholder: %s %v", p.Name, doubt, err)
		}
		if _, err := ParseToken(mark); err != nil {
			t.Errorf("%s: %v", p.Name, err)
		}
		whole := p.Sign != nil && len(p.Rules) == 0
		if !whole {
			last := p.Rules[len(p.Rules)-1]
			whole = last.Path == "" && len(last.Hosts) == 0
		}
		if !whole || len(p.Env) == 0 || p.Title == "" || p.Obtain == "" {
			t.Errorf("%s is not whole: %+v", p.Name, p)
		}
		for _, rule := range p.Rules {
			if !httpguts.ValidHeaderFieldValue(rule.value(secret.New(mark))) || http.CanonicalHeaderKey(rule.Header) != rule.Header {
				t.Errorf("%s: rule %+v", p.Name, rule)
			}
		}
	}
}

func basic(user, token string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+token))
}

// What each provider makes of a request that a client has sent with a placeholder, in its own way.
func TestInject(t *testing.T) {
	book := newBook(t)
	provide(t, book, "lab", "name: lab\nhosts: [LAB.test]\ninject: {header: x-lab-key, format: 'Key {token};v=1'}\n")
	provide(t, book, "azure", "name: azure\nhosts: [dev.azure.com]\ninject: {header: Authorization, format: 'Basic {basic}'}\n")
	for _, test := range []struct {
		grant, url string
		sent, want http.Header
		wantURL    string
	}{
		{"github", "https://api.github.com/user", http.Header{"Authorization": {"token PH"}}, http.Header{"Authorization": {"Bearer T"}}, ""},
		{"github", "https://uploads.github.com/", nil, http.Header{"Authorization": {"Bearer T"}}, ""},
		{"github", "https://github.com/o/r.git/info/refs?service=git-receive-pack", http.Header{"Authorization": {"Basic x", "Basic y"}},
			http.Header{"Authorization": {basic("x-access-token", "T")}}, ""},
		{"anthropic", "https://api.anthropic.com/v1/messages", http.Header{"X-Api-Key": {"PH"}, "Authorization": {"Bearer x"}, "Anthropic-Version": {"2023-06-01"}, "Anthropic-Beta": {"a,b"}},
			http.Header{"X-Api-Key": {"T"}, "Anthropic-Version": {"2023-06-01"}, "Anthropic-Beta": {"a,b"}}, ""},
		{"claude", "https://api.anthropic.com/v1/messages", http.Header{"X-Api-Key": {"x"}, "Authorization": {"Bearer PH"}, "Anthropic-Beta": {"oauth-2025-04-20"}},
			http.Header{"Authorization": {"Bearer T"}, "Anthropic-Beta": {"oauth-2025-04-20"}}, ""},
		{"openai", "https://api.openai.com:443/v1/responses", http.Header{"Openai-Organization": {"o"}}, http.Header{"Authorization": {"Bearer T"}, "Openai-Organization": {"o"}}, ""},
		{"gemini", "https://generativelanguage.googleapis.com/v1/m:generate?alt=sse&key=PH&%6Bey=x&a=%20b", nil, http.Header{"X-Goog-Api-Key": {"T"}},
			"https://generativelanguage.googleapis.com/v1/m:generate?alt=sse&a=%20b"},
		{"npm", "https://registry.npmjs.org/left-pad", nil, http.Header{"Authorization": {"Bearer T"}}, ""},
		{"gitlab", "https://gitlab.com/api/v4/user?private_token=PH", http.Header{"Private-Token": {"PH"}}, http.Header{"Authorization": {"Bearer T"}}, "https://gitlab.com/api/v4/user"},
		{"gitlab", "https://gitlab.com/o/r.git/info/refs?service=git-upload-pack", nil, http.Header{"Authorization": {basic("oauth2", "T")}}, ""},
		{"pypi", "https://upload.pypi.org/legacy/", nil, http.Header{"Authorization": {basic("__token__", "T")}}, ""},
		{"lab", "https://lab.test/x", http.Header{"X-Lab-Key": {"a", "b"}, "Authorization": {"x"}}, http.Header{"X-Lab-Key": {"Key T;v=1"}, "Authorization": {"x"}}, ""},
		{"azure", "https://dev.azure.com/x", nil, http.Header{"Authorization": {basic("", "T")}}, ""},
	} {
		p, err := book.Find(test.grant)
		if err != nil {
			t.Fatal(err)
		}
		r, err := http.NewRequest("GET", test.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		for name, values := range test.sent {
			r.Header[name] = values
		}
		if err := p.inject(secret.New("T"), r); err != nil {
			t.Errorf("%s %s: %v", test.grant, test.url, err)
		}
		if diff := cmp.Diff(test.want, r.Header); diff != "" {
			t.Errorf("%s %s (-want +got):\n%s", test.grant, test.url, diff)
		}
		if want := test.wantURL; want != "" && r.URL.String() != want || want == "" && r.URL.String() != test.url {
			t.Errorf("%s %s became %s", test.grant, test.url, r.URL)
		}
	}
}

// A credential is not put in anywhere else.
func TestInjectNowhereElse(t *testing.T) {
	for _, url := range []string{
		"http://api.github.com/", "https://api.github.com:8443/", "https://api.github.com.evil.test/", "https://evil.test/api.github.com",
		"https://codeload.github.com/", "https://api.github.com./", "https://gist.github.com/", "https://api.github.com@evil.test/", "wss://api.github.com/",
		"https://xapi.github.com/", "/",
	} {
		r, err := http.NewRequest("GET", url, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = "api.github.com"
		err = github().inject(secret.New(realToken), r)
		if err == nil || len(r.Header) > 0 {
			t.Errorf("%s: %v, %v", url, err, r.Header)
		}
		if strings.Contains(err.Error(), realToken) {
			t.Errorf("the error shows it: %v", err)
		}
	}
}

func TestCheck(t *testing.T) {
	for _, test := range []struct {
		provider     Provider
		token        string
		doubt, wrong bool
	}{
		{github(), "github_pat_1", false, false}, {github(), "x", true, false}, {anthropic(), "sk-ant-oat01-x", false, true},
		{claude(), "sk-ant-api03-x", false, true}, {openai(), "sk-ant-api03-x", false, true}, {openai(), "sk-x", false, false},
		{Provider{}, "anything", false, false},
	} {
		doubt, err := test.provider.Check(secret.New(test.token))
		if (doubt != "") != test.doubt || (err != nil) != test.wrong {
			t.Errorf("%s %s: %q, %v", test.provider.Name, test.token, doubt, err)
		}
	}
}

func TestParseToken(t *testing.T) {
	for text, want := range map[string]string{"a": "a", "a\n": "a", "a\r\n": "a", strings.Repeat("x", maxToken): strings.Repeat("x", maxToken)} {
		if got, err := ParseToken(text); err != nil || got.Expose() != want {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, text := range []string{"", "\n", "\r\n", "hidden\n\n", "hidden x", "hidden\r\nX-Evil: 1", "hidden\x00", "hidden\x7f", "hidden\u00e9", "\thidden", strings.Repeat("hidden", maxToken)} {
		if _, err := ParseToken(text); err == nil || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%.20q: %v", text, err)
		}
	}
}
