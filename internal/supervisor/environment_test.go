package supervisor

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestEnvironment: the page on the network names every variable that the way out sets, and Java's keeps the person's options.
func TestEnvironment(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "network-policy.md"))
	if err != nil {
		t.Fatal(err)
	}
	var n network
	env := n.environment([]string{"CURL_CA_BUNDLE=/mine", "JAVA_TOOL_OPTIONS=-Dx=y", "PATH=/bin"})
	for _, kv := range env {
		if name, _, _ := strings.Cut(kv, "="); !strings.Contains(string(page), "`"+strings.ToUpper(name)+"`") && name != "PATH" {
			t.Errorf("the page does not name %s", name)
		}
	}
	for _, want := range []string{"CURL_CA_BUNDLE=" + trustPath, "JAVA_TOOL_OPTIONS=-Djavax.net.ssl.trustStore=" + keyStorePath + " -Dx=y", "PATH=/bin"} {
		if !slices.Contains(env, want) {
			t.Errorf("%s is missing in %q", want, env)
		}
	}
}
