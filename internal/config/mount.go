package config

import (
	"path"
	"strings"
	"unicode"
)

// WorkspaceTarget is where the workspace is in the sandbox.
const WorkspaceTarget = "/workspace"

// Mount asks for a file or folder of the host in the sandbox.
type Mount struct {
	// Source is as written: absolute, beginning with "~/", or relative to the
	// workspace; see [ResolvePath].
	Source string
	// Target is an absolute, clean slash path.
	Target   string
	ReadOnly bool
}

// ParseMount reads source:target, source:target:ro or source:target:rw. The last
// colon before the mode divides, so a source may contain colons; a target that
// does needs the mapping form of the file.
func ParseMount(text string) (Mount, error) {
	const form = "write source:target or source:target:ro"
	rest, readOnly := text, false
	if cut, ok := strings.CutSuffix(text, ":ro"); ok {
		rest, readOnly = cut, true
	} else if cut, ok := strings.CutSuffix(text, ":rw"); ok {
		rest = cut
	}
	i := strings.LastIndexByte(rest, ':')
	if i < 0 {
		return Mount{}, badValue(form, "%s has no target", shorten(text))
	}
	m := Mount{Source: rest[:i], Target: rest[i+1:], ReadOnly: readOnly}
	if !strings.HasPrefix(m.Target, "/") && strings.Contains(m.Source, ":/") {
		return Mount{}, badValue("write ro or rw", "%s is not a mode of a mount", shorten(m.Target))
	}
	return m, m.check()
}

func (m Mount) check() error {
	if err := checkHostPath("source", m.Source); err != nil {
		return err
	}
	return checkTarget(m.Target)
}

// checkTarget refuses targets that are not a place of their own in the sandbox.
func checkTarget(target string) error {
	switch {
	case target == "":
		return badValue("", "there is no target")
	case len(target) > maxPath:
		return badValue("", "the target is longer than %d bytes", maxPath)
	case strings.ContainsFunc(target, unicode.IsControl):
		return badValue("", "the target %s contains a control character", shorten(target))
	case target[0] != '/':
		return badValue("write "+shorten("/"+strings.TrimPrefix(target, "./")), "the target %s is not an absolute path", shorten(target))
	case path.Clean(target) != target:
		return badValue("write "+shorten(path.Clean(target)), "the target %s is not a clean path", shorten(target))
	case target == "/":
		return badValue("", "the target cannot be /")
	case target == WorkspaceTarget:
		return badValue("choose a folder in it or another one", "the target %s is the workspace itself", target)
	}
	if own := inKernelFolder(target); own != "" {
		return badValue("choose another folder", "the target %s is in %s, which the sandbox makes itself", shorten(target), own)
	}
	return nil
}

// inKernelFolder returns which of the folders that show the kernel a clean path
// is in, or an empty string.
func inKernelFolder(clean string) string {
	for _, own := range []string{"/proc", "/dev", "/sys"} {
		if clean == own || strings.HasPrefix(clean, own+"/") {
			return own
		}
	}
	return ""
}
