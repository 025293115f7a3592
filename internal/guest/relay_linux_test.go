package guest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestInsider reads lines of /proc about processes with names that were made to be misread.
func TestInsider(t *testing.T) {
	rest := func(state, parent, start string) string {
		return state + " " + parent + strings.Repeat(" 1", 17) + " " + start + " 5 5\n"
	}
	for line, want := range map[string]bool{
		"7 (sh) " + rest("S", "1", "99"):          true,
		"8 (a) S 0 (b) " + rest("R", "7", "99"):   true,
		"9 (relay) " + rest("S", "0", "99"):       false,
		"10 (x) 1 1 S 5) " + rest("S", "0", "99"): false,
		"11 (gone) " + rest("Z", "1", "99"):       false,
		"12 (sh) S 1":                             false,
		"x (sh) " + rest("S", "1", "99"):          false,
		"":                                        false,
	} {
		file := filepath.Join(t.TempDir(), "stat")
		if err := os.WriteFile(file, []byte(line), 0o600); err != nil {
			t.Fatal(err)
		}
		pid, identity, inside := insider(file)
		if inside != want || inside && (pid == 0 || !strings.HasSuffix(identity, " 99")) {
			t.Errorf("%q: %d, %q, %v", line, pid, identity, inside)
		}
	}
	if killInside(t.TempDir()) {
		t.Error("everything was ended where no process is to be seen")
	}
}
