package config

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// parseAny parses by the kind of file that the name of a test case says.
func parseAny(name string, data []byte) error {
	if strings.HasPrefix(name, "global-") {
		_, err := ParseGlobal(GlobalFile, data)
		return err
	}
	_, err := Parse(AgentFile, data)
	return err
}

// Each file in testdata/errors is wrong; beside it is the report, short and long.
func TestReports(t *testing.T) {
	files, err := filepath.Glob("testdata/errors/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no test cases: %v", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			report, ok := errors.AsType[*Error](parseAny(name, data))
			if !ok {
				t.Fatal("no report on a wrong file")
			}
			golden := strings.TrimSuffix(file, ".yaml") + ".golden"
			got := report.Error() + "\n\n" + report.Detail() + "\n"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("report (-want +got):\n%s", diff)
			}
		})
	}
}
