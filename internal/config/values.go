package config

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/google/go-containerregistry/pkg/name"
)

// ErrNotSet is what [ParseEnv] returns for a variable that is to be inherited
// and is not there.
var ErrNotSet = errors.New("not set in this environment")

// Bounds of the window for the second Ctrl+C. Below, nobody can press twice;
// above, two separate presses would stop a run.
const (
	MinStopWindow = 100 * time.Millisecond
	MaxStopWindow = 10 * time.Second
)

// valueError is a bad value with a hint, which the report on a file shows apart.
type valueError struct{ message, hint string }

func (e *valueError) Error() string {
	if e.hint == "" {
		return e.message
	}
	return e.message + "; " + e.hint
}

func badValue(hint, format string, args ...any) error {
	return &valueError{message: fmt.Sprintf(format, args...), hint: hint}
}

// maxEnvName bounds the name of a variable.
const maxEnvName = 255

// Var is one environment variable.
type Var struct{ Name, Value string }

// ParseEnv reads KEY=VALUE, or KEY alone, which takes the value that lookup
// finds. The error is [ErrNotSet] if it finds none.
func ParseEnv(text string, lookup func(name string) (string, bool)) (Var, error) {
	name, value, hasValue := strings.Cut(text, "=")
	if err := checkEnvName(name); err != nil {
		return Var{}, err
	}
	if !hasValue {
		inherited, ok := lookup(name)
		if !ok {
			return Var{}, fmt.Errorf("%s: %w", name, ErrNotSet)
		}
		value = inherited
	}
	switch {
	case strings.ContainsRune(value, 0):
		return Var{}, badValue("", "%s contains a NUL character", name)
	case len(name)+1+len(value) > maxArg:
		return Var{}, badValue("", "%s is longer than %d bytes", name, maxArg)
	}
	return Var{Name: name, Value: value}, nil
}

// checkEnvName holds names to what every shell can use (POSIX.1-2024, base
// definitions, 3.206 "Name") and to a length that fits in a message.
func checkEnvName(name string) error {
	if len(name) > maxEnvName {
		return badValue("", "the name %s is longer than %d characters", shorten(name), maxEnvName)
	}
	ok := name != ""
	for i, r := range name {
		letter := r == '_' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z'
		ok = ok && (letter || i > 0 && r >= '0' && r <= '9')
	}
	if !ok {
		return badValue("use letters, digits and _, with no digit first",
			"%s is not a name for an environment variable", shorten(name))
	}
	return nil
}

// CheckName reports whether a run may have this name. It must be a DNS label in
// lower case (RFC 1123, section 2.1), since it becomes part of a host name, and
// it must not read as the id of a run.
func CheckName(name string) error {
	const rule = "use 1 to 63 of a-z, 0-9 and -, with no - at either end"
	label := regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	switch {
	case regexp.MustCompile(`^run-[0-9a-f]{12}$`).MatchString(name):
		return badValue("choose another name", "%q reads as the id of a run", name)
	case label.MatchString(name):
		return nil
	case label.MatchString(strings.ToLower(name)):
		return badValue(fmt.Sprintf("write %q", strings.ToLower(name)), "%s is not a valid name: it has upper-case letters", shorten(name))
	}
	return badValue(rule, "%s is not a valid name", shorten(name))
}

// ParseRuntime accepts one of the Runtime constants.
func ParseRuntime(text string) (string, error) {
	runtimes := []string{RuntimeNative, RuntimeDocker, RuntimeApple}
	if slices.Contains(runtimes, text) {
		return text, nil
	}
	hint := "known are " + strings.Join(runtimes, ", ")
	if near := closest(text, runtimes); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	} else if text == "podman" {
		hint = "write docker, which finds Podman too"
	}
	return "", badValue(hint, "there is no runtime %s", shorten(text))
}

// maxImage bounds a reference: 255 bytes of a repository, 128 of a tag, a digest, a registry.
const maxImage = 512

// ParseImage accepts the name of an OCI image: [registry/]repository[:tag][@digest], and returns it as it is written.
func ParseImage(text string) (string, error) {
	const hint = `write a name such as "debian:12" or "ghcr.io/owner/image@sha256:…"`
	if len(text) > maxImage {
		return "", badValue("", "the image %s is longer than %d bytes", shorten(text), maxImage)
	}
	if _, err := name.ParseReference(text); err != nil || text[0] == '.' { // a folder is no registry
		return "", badValue(hint, "%s is not the name of an image", shorten(text))
	}
	return text, nil
}

// ParseWorkDir accepts a directory in the sandbox, and returns it clean.
func ParseWorkDir(text string) (string, error) {
	switch {
	case len(text) > maxPath:
		return "", badValue("", "the directory is longer than %d bytes", maxPath)
	case strings.ContainsFunc(text, unicode.IsControl):
		return "", badValue("", "the directory %s contains a control character", shorten(text))
	case !strings.HasPrefix(text, "/"):
		return "", badValue("write "+shorten(path.Join("/workspace", text)), "the directory %s is not an absolute path", shorten(text))
	}
	return path.Clean(text), nil
}

// ParseStopWindow reads the time in which a second Ctrl+C stops a run, such as
// "1s" or "500ms".
func ParseStopWindow(text string) (time.Duration, error) {
	window, err := time.ParseDuration(text)
	if err != nil {
		return 0, badValue(`write a number and a unit, such as "1s" or "500ms"`, "%s is not a duration", shorten(text))
	}
	if window < MinStopWindow || window > MaxStopWindow {
		return 0, badValue("", "%s is not between %v and %v", shorten(text), MinStopWindow, MaxStopWindow)
	}
	return window, nil
}

// maxPath is PATH_MAX of Linux, less its NUL.
const maxPath = 4095

// ResolvePath makes a path of a file or flag absolute: one that begins with "~/"
// is in the folder home, another relative one in the folder base.
func ResolvePath(path, base, home string) string {
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		return filepath.Join(home, rest)
	}
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(base, path)
}

// checkHostPath refuses what cannot be meant as a path on the host.
func checkHostPath(what, path string) error {
	switch {
	case path == "":
		return badValue("", "there is no %s", what)
	case len(path) > maxPath:
		return badValue("", "the %s is longer than %d bytes", what, maxPath)
	case strings.ContainsFunc(path, unicode.IsControl):
		return badValue("", "the %s %s contains a control character", what, shorten(path))
	case path[0] == '~' && !strings.HasPrefix(path, "~/"):
		return badValue(`write "~/…" or an absolute path; for a file that begins with ~, write "./~…"`,
			"the %s %s is in another person's home", what, shorten(path))
	}
	return nil
}
