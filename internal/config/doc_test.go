package config

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const docFile = "../../docs/agent-yaml.md"

// docSection returns the part of the page below a heading of the second level.
func docSection(t *testing.T, heading string) string {
	t.Helper()
	page, err := os.ReadFile(docFile)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(page), "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("%s has no section %q", docFile, heading)
	}
	section, _, _ := strings.Cut(rest, "\n## ")
	return section
}

func prefixed(prefix string, keys []string) []string {
	var out []string
	for _, k := range keys {
		out = append(out, prefix+k)
	}
	return out
}

// Each key has a heading in the section of its file, and each heading is a key.
func TestDocHasEveryKey(t *testing.T) {
	audit := prefixed("audit.", auditSchema().keys())
	limits := prefixed("limits.", limitsSchema().keys())
	network := slices.Concat(prefixed("network.", networkSchema().keys()), prefixed("network.limits.", networkLimitsSchema().keys()))
	for file, want := range map[string][]string{
		AgentFile: slices.Concat(agentSchema().keys(), prefixed("mounts[].", mountSchema().keys()), limits, network, audit),
		GlobalFile: slices.Concat(globalSchema().keys(), prefixed("detach.", detachSchema().keys()), limits,
			prefixed("network.", globalNetworkSchema().keys()), prefixed("egress.", egressSchema().keys()), prefixed("terminal.", terminalSchema().keys()), audit),
	} {
		section := docSection(t, file)
		var got []string
		for _, m := range regexp.MustCompile("(?m)^### `(.*)`$").FindAllStringSubmatch(section, -1) {
			got = append(got, m[1])
		}
		slices.Sort(got)
		slices.Sort(want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("keys of %s (-code +page):\n%s", file, diff)
		}
		later := "`" + strings.Join(laterKeys(file), "`, `") + "`."
		if !strings.Contains(section, "it is an error:\n"+later) {
			t.Errorf("%s: the planned keys of %s are not %s", docFile, file, later)
		}
	}
}

// Each example is valid, and each wrong example gives the report below it.
func TestDocExamples(t *testing.T) {
	block := regexp.MustCompile("(?ms)^( *)```yaml( wrong)?\n(.*?)^ *```\n(?:\n *```text\n(.*?)^ *```)?")
	for _, file := range []string{"Rules for both files", AgentFile, GlobalFile} {
		examples := block.FindAllStringSubmatch(docSection(t, file), -1)
		if len(examples) == 0 {
			t.Errorf("no example in section %q", file)
		}
		for _, m := range examples {
			outdent := func(text string) string {
				return strings.TrimPrefix(strings.ReplaceAll("\n"+text, "\n"+m[1], "\n"), "\n")
			}
			text, want := outdent(m[3]), strings.TrimSuffix(outdent(m[4]), "\n")
			_, err := Parse(AgentFile, []byte(text))
			if file == GlobalFile {
				_, err = ParseGlobal(GlobalFile, []byte(text))
			}
			got := ""
			if report, ok := errors.AsType[*Error](err); ok {
				got = report.Detail()
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("report on the example (-page +code):\n%s\n%s", text, diff)
			}
		}
	}
}

// The numbers on the page are those of the code.
func TestDocBounds(t *testing.T) {
	page, err := os.ReadFile(docFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		fmt.Sprintf("at most %d KiB, nested at most %d deep", MaxFileBytes>>10, maxDepth),
		fmt.Sprintf("From `%dm` to\n`%dt`", MinMemory>>20, MaxMemory>>40),
		fmt.Sprintf("From 0.01 to %d,", MaxCPUs),
		fmt.Sprintf("From %d to %d.", MinPIDs, MaxPIDs),
		fmt.Sprintf("`%v` to `%v`, default `%v`", MinStopWindow, MaxStopWindow, DefaultGlobal().Detach.StopWindow),
		fmt.Sprintf("Default: `%v`", DefaultGlobal().Detach.Keys),
		fmt.Sprintf("From 1 to %d.", int64(MaxRequests)),
		fmt.Sprintf("at most %d. The first cannot be `ctrl-[`", maxKeys),
	} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page does not say %q", want)
		}
	}
}
